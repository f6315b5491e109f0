"""A job array of Slurm that trains one config with several seeds. Each seed is a run with its own workdir."""

from __future__ import annotations

from argparse import Namespace

from jaxbert.errors import InputError

from .job import Command, Control

# Slurm numbers the jobs of an array by their seeds. The highest number is one less than MaxArraySize, which is 1001
# unless the cluster changes it (slurm.schedmd.com/slurm.conf.html, read in November 2026).
_HIGHEST = 1000
# The state of the jobs. %i is JOB_SEED in an array, of which squeue shows each job with --array.
STATE = "%i %j %T %r %M %l %D %R"
_STATUS = (
    'set -o pipefail; squeue --array "--user=$1" "--name=$2" "--format=$4" | '
    'while read -r id rest; do case $id in JOBID | *_"$3") echo "$id $rest" ;; esac; done'
)
_STOP = (
    'set -o pipefail; squeue --noheader --array "--user=$1" "--name=$2" --format=%i | '
    'while read -r id; do case $id in *_"$3") scancel "$id" ;; esac; done'
)


def seeds(options: Namespace) -> tuple[int, ...]:
    """Returns the seeds that --seeds names, in ascending order; () without it.

    Raises:
      InputError: it names only one seed, a seed is too large, a range ends before it begins, or --set gives a seed too.
    """
    given = options.seeds
    if given is None:
        return ()
    found: set[int] = set()
    for part in given.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if high < low:
            raise _wrong(given, f"{part} ends before it begins")
        if high > _HIGHEST:
            raise _wrong(
                given, f"a seed is the number of a job in the array, and Slurm takes 0 to {_HIGHEST}, but not {high}"
            )
        found.update(range(low, high + 1))
    if len(found) == 1:
        (one,) = found
        raise InputError(
            f"it names only the seed {one}",
            where=f"--seeds {given}",
            fix=f"Write 0-{max(one - 1, 1)} for {max(one, 2)} seeds, or use --set seed={one} instead of --seeds.",
            code="E-LAUNCH-SEEDS",
        )
    if any(setting.partition("=")[0].strip() == "seed" for setting in options.set or ()):
        raise InputError(
            "--seeds already gives the seed of each run",
            where="--set seed",
            fix="Remove --set seed, or --seeds.",
            code="E-LAUNCH-OPTIONS",
        )
    return tuple(sorted(found))


def workdir_of(workdir: str, seed: int) -> str:
    """Returns the workdir of one seed. launch/slurm_batch.sh and slurm_task.sh name it likewise."""
    return f"{workdir}/seed-{seed}"


def control(user: str, name: str, given: str, workdir: str, follow: tuple[str, ...]) -> Control:
    """Returns the commands for a whole array, or for one of its runs.

    Args:
      user: the owner of the jobs.
      name: the name of the jobs.
      given: what --seeds named; for one run, its seed.
      workdir: the workdir of the array or of the run.
      follow: the option by which `tail` keeps showing new output, or nothing.
    """
    tail = ("tail", "-n", "+1", *follow)
    if given.isdecimal():
        return Control(
            status=(Command(("bash", "-c", _STATUS, "bash", user, name, given, STATE)),),
            logs=(Command((*tail, f"{workdir}/logs/process-0.log")),),
            stop=(Command(("bash", "-c", _STOP, "bash", user, name, given)),),
        )
    # The shell lists the logs: a run that still waits has none.
    every = " ".join([*tail, '"$1"/seed-*/logs/process-0.log'])
    return Control(
        status=(Command(("squeue", "--array", f"--user={user}", f"--name={name}", f"--format={STATE}")),),
        logs=(Command(("bash", "-c", every, "bash", workdir)),),
        stop=(Command(("scancel", f"--user={user}", f"--name={name}")),),
    )


def _wrong(given: str, why: str) -> InputError:
    return InputError(why, where=f"--seeds {given}", fix="Write for example 0-4, or 1,3,7-9.", code="E-LAUNCH-SEEDS")
