"""A job array of Slurm that trains one config with several seeds. Each seed is a run with its own workdir."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from jaxbert.errors import InputError

from .job import Command, Control

# The highest number of a job in an array. It is one less than MaxArraySize, which is 1001 unless the cluster changes it
# (slurm.schedmd.com/slurm.conf.html). A larger number is refused by sbatch: tests/engines/test_slurm.py.
_HIGHEST = 1000
# The largest seed of a config.
_LARGEST = 2**31 - 1
# The state of the jobs. %i is JOB_NUMBER in an array, of which squeue shows each job with --array.
STATE = "%i %j %T %r %M %l %D %R"
# All arrays of one workdir have one name, and a seed may have another number in each. So each job tells its seed: %o is
# the command of the job, which ends with the seeds by their numbers (`argument`). tests/engines/test_slurm.py asks a
# real squeue. The jobs of earlier releases do not tell it. For them, the record gives the words NUMBER=SEED.
# Arguments: user, name, STATE, a seed or "" for all, and these words.
_EACH = (
    'set -o pipefail; declare -A old; for word in "${@:5}"; do old[${word%%=*}]=${word#*=}; done; '
    'squeue --array "--user=$1" "--name=$2" "--format=$3|%o" | while IFS= read -r line; do id=${line%% *} seed=?; '
    "if [[ $id = JOBID ]]; then seed=SEED; elif [[ $id =~ ^[0-9]+_([0-9]+)$ ]]; then "
    "number=${BASH_REMATCH[1]}; seed=${old[$number]:-?}; "
    r"if [[ $line =~ \ seeds=([0-9,]*)$ ]]; then "
    'IFS=, read -ra seeds <<<"${BASH_REMATCH[1]}"; seed=${seeds[number]:-$number}; fi; fi; '
)
_STATUS = (
    _EACH + 'case $seed in SEED) echo "${line%%|*} SEED" ;; "${4:-$seed}") echo "${line%%|*} seed-$seed" ;; esac; done'
)
_STOP = _EACH + 'if [ "$seed" = "$4" ]; then scancel "$id"; fi; done'


def seeds(options: Namespace) -> tuple[int, ...]:
    """Returns the seeds that --seeds names, in ascending order; () without it.

    Raises:
      InputError: it names only one seed, a seed is too large, there are too many, a range ends before it begins, or
        --set gives a seed too.
    """
    given = options.seeds
    if given is None:
        return ()
    found = _named(given)
    if len(found) == 1:
        (one,) = found
        raise InputError(
            f"it names only the seed {one}",
            where=f"--seeds {given}",
            fix=f"Write 0-{min(max(one - 1, 1), _HIGHEST)} for several seeds, or use --set seed={one} instead of "
            "--seeds.",
            code="E-LAUNCH-SEEDS",
        )
    if any(setting.partition("=")[0].strip() == "seed" for setting in options.set or ()):
        raise InputError(
            "--seeds already gives the seed of each run",
            where="--set seed",
            fix="Remove --set seed, or --seeds.",
            code="E-LAUNCH-OPTIONS",
        )
    return found


def _named(given: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in given.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if high < low:
            raise _wrong(given, f"{part} ends before it begins")
        if high > _LARGEST:
            raise _wrong(given, f"a seed is at most {_LARGEST}")
        # A long range is refused before its numbers fill the memory.
        if high - low > _HIGHEST or len(found := found.union(range(low, high + 1))) > _HIGHEST + 1:
            raise InputError(
                f"an array of Slurm has at most {_HIGHEST + 1:,} jobs, and it names more seeds",
                where=f"--seeds {given}",
                fix=f"Give at most {_HIGHEST + 1:,} seeds in each launch.",
                code="E-LAUNCH-SEEDS",
            )
    return tuple(sorted(found))


def listed(found: Sequence[int]) -> list[str]:
    """Returns the seeds by the numbers of their jobs, for the scripts; [] where the numbers are the seeds."""
    return [str(seed) for seed in found] if max(found, default=0) > _HIGHEST else []


def array(given: str, found: Sequence[int]) -> str:
    """Returns the value of sbatch's --array for what --seeds named."""
    if not listed(found):
        return given
    _, percent, most = given.partition("%")
    return f"0-{len(found) - 1}{percent}{most}"


def argument(found: Sequence[int]) -> str:
    """Returns the argument of the batch script by which a job tells its seed. The script does not read it."""
    return f"seeds={','.join(listed(found))}"


def workdir_of(workdir: str, seed: int) -> str:
    """Returns the workdir of one seed. launch/slurm_batch.sh and slurm_task.sh name it likewise."""
    return f"{workdir}/seed-{seed}"


def control(user: str, name: str, options: Namespace, follow: tuple[str, ...]) -> Control:
    """Returns the commands for a whole array, or for one of its runs.

    Args:
      user: the owner of the jobs.
      name: the name of the jobs.
      options: `workdir` of the array or of the run. `seeds`: what --seeds named, or the seed of the run.
        `jobs_tell_seeds`: None in a record of an earlier release, whose jobs do not. Its `array_number` is the number
        of the run's job, or None where it is the seed.
      follow: the option by which `tail` keeps showing new output, or nothing.
    """
    given, workdir = options.seeds, options.workdir
    tail = ("tail", "-n", "+1", *follow)
    seed = given if given.isdecimal() else ""
    old: list[str] = []
    if not options.jobs_tell_seeds:
        number = options.array_number
        old = [f"{seed if number is None else number}={seed}"] if seed else _numbered(given)
    asked = ("bash", user, name, STATE, seed, *old)
    status = (Command(("bash", "-c", _STATUS, *asked)),)
    if seed:
        return Control(
            status=status,
            logs=(Command((*tail, f"{workdir}/logs/process-0.log")),),
            stop=(Command(("bash", "-c", _STOP, *asked)),),
        )
    # The shell lists the logs: a run that still waits has none.
    every = " ".join([*tail, '"$1"/seed-*/logs/process-0.log'])
    return Control(
        status=status,
        logs=(Command(("bash", "-c", every, "bash", workdir)),),
        stop=(Command(("scancel", f"--user={user}", f"--name={name}")),),
    )


def _numbered(given: str) -> list[str]:
    found = _named(given)
    large = max(found) > _HIGHEST
    return [f"{place if large else seed}={seed}" for place, seed in enumerate(found)]


def _wrong(given: str, why: str) -> InputError:
    return InputError(why, where=f"--seeds {given}", fix="Write for example 0-4, or 1,3,7-9.", code="E-LAUNCH-SEEDS")
