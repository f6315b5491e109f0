"""Slurm: one batch job; a task a node (or a GPU), started again where it was interrupted."""

from __future__ import annotations

import getpass
import hashlib
import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from jaxbert.launch import machines
from jaxbert.launch.job import Command, Control, File, Request, Submission
from jaxbert.launch.names import checked
from jaxbert.launch.scripts import script

from jaxbert.errors import InputError
from jaxbert.stores.storage import is_remote

# Option -> (kind of name, option of sbatch).
_PASSED = {
    "partition": ("list", "--partition"),
    "account": ("word", "--account"),
    "qos": ("word", "--qos"),
    "constraint": ("list", "--constraint"),
    "time": ("time", "--time"),
    "memory": ("word", "--mem"),
    "gres": ("list", "--gres"),
    "reservation": ("word", "--reservation"),
}


# Of the environment that goes along: where programs and libraries are, and what jax, NCCL and jaxbert are told.
_NAMES = ("PATH", "HOME", "USER", "LANG", "LD_LIBRARY_PATH", "CUDA_HOME", "XDG_CACHE_HOME")
_PREFIXES = ("JAX_", "JAXBERT_", "XLA_", "NCCL_", "CUDA_VISIBLE_")


def _exported() -> list[str]:
    named = [name for name in os.environ if name.startswith(_PREFIXES) and name.replace("_", "").isalnum()]
    return [*(name for name in _NAMES if name in os.environ), *sorted(named)]


class Slurm:
    """See `jaxbert.launch.job.Target`."""

    name = "slurm"
    summary = "a batch job on a cluster whose nodes share a disk"
    kinds = ("gpu", None)
    remembered = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `Target`."""
        parser.add_argument("--nodes", type=int, default=1, metavar="N", help="without --topology (default: 1)")
        parser.add_argument("--tasks-per-node", type=int, metavar="N", help="without --topology (default: 1)")
        parser.add_argument("--cpus-per-task", type=int, metavar="N", help="cores of each task")
        parser.add_argument(
            "--task-per", choices=["node", "gpu"], default="node", help="with --topology: one task each (default: node)"
        )
        parser.add_argument(
            "--grace", type=int, default=120, metavar="S", help="SIGTERM so long before the time is up (default: 120)"
        )
        for option, (_, passed) in _PASSED.items():
            parser.add_argument(f"--{option}", metavar="X", help=f"sbatch's {passed}")

    def check(self, options: Namespace) -> None:
        """See `Target`."""
        for option, (kind, _) in _PASSED.items():
            if getattr(options, option, None) is not None:
                checked(getattr(options, option), kind, f"--{option}")
        for option in ("nodes", "tasks_per_node", "cpus_per_task", "grace"):
            value = getattr(options, option, None)
            if value is not None and value < 1:
                raise InputError(f"it is {value}", where=f"--{option.replace('_', '-')}", fix="Take 1 or more.")

    def submission(self, request: Request) -> Submission:
        """See `Target`."""
        options, place = request.options, request.topology
        if is_remote(request.workdir):
            raise InputError(
                "the nodes of a Slurm cluster share a disk", where=f"--workdir {request.workdir}", fix="Give a DIR."
            )
        if ":" in request.workdir:
            # It is in PYTHONPATH.
            raise InputError("has a colon in it", where=f"--workdir {request.workdir}", fix="Give another DIR.")
        if request.spot:
            raise InputError("it is the partition that decides", where="--spot", fix="Give --partition instead.")
        if any(reference for reference in request.secrets.values()):
            raise InputError("of Slurm only by its name", where="--secret", fix="Write --secret NAME; it is passed on.")
        folder = Path(request.workdir) / "launch"
        tasks, devices, gpus = self._tasks(request)
        nodes = place.slices if place else options.nodes
        config = request.archive.config
        arguments = list(request.arguments)
        if config:
            arguments[0] = f"{folder}/code-{request.archive.sha256}/{config}"
        task = script(
            "slurm_task.sh",
            {
                "python": sys.executable,
                "workdir": request.workdir,
                "arguments": [*arguments, "--workdir", request.workdir],
            },
        )
        if devices:
            task = task.replace("\nset -u\n", f"\nset -u\nexport JAXBERT_DEVICES={devices}\n")
        # By its hash: a job that waits or is requeued must not run what a later launch has written.
        task_file = folder / f"task-{hashlib.sha256(task.encode()).hexdigest()[:12]}.sh"
        batch = folder / "batch.sh"
        values = {
            "workdir": request.workdir,
            "folder": str(folder),
            "task": str(task_file),
            "sha256": request.archive.sha256,
            "archive": request.archive.name,
            "restarts": request.restarts,
        }
        passed = [
            f"{passed}={getattr(options, option)}"
            for option, (_, passed) in _PASSED.items()
            if getattr(options, option) is not None
        ]
        sbatch = (
            *("sbatch", "--parsable", f"--job-name={request.name}", f"--nodes={nodes}", f"--ntasks-per-node={tasks}"),
            *([f"--gpus-per-node={gpus}"] if gpus else []),
            *([f"--cpus-per-task={options.cpus_per_task}"] if options.cpus_per_task else []),
            *passed,
            # A second job of this name waits for the first, and then goes on.
            *("--requeue", "--open-mode=append", f"--signal=TERM@{options.grace}", "--dependency=singleton"),
            # Of this shell's environment only what a run needs, by name; no output file, whose name would be a pattern.
            *(f"--export={','.join([*_exported(), *request.secrets])}", "--output=/dev/null", str(batch)),
        )
        each = f"{gpus} GPUs of each node" if gpus else "each"
        return Submission(
            creates=(
                f"job {request.name}: {nodes} node{'s' if nodes > 1 else ''}, {tasks * nodes} "
                f"task{'s' if tasks * nodes > 1 else ''} ({each})",
                f"files in {folder}",
            ),
            where=f"partition {options.partition or '(default)'} of the cluster that sbatch reaches",
            resumes=f"exit 3, preemption, the time limit or a lost node: requeued, {request.restarts} times at most; "
            "1, 2 and 4 end it",
            ends="the job ends with the run",
            files=(
                File(folder / request.archive.name, request.archive.content),
                File(task_file, task.encode(), executable=True),
                File(batch, script("slurm_batch.sh", values).encode(), executable=True),
            ),
            commands=(Command(sbatch, does="submit the job"),),
        )

    def _tasks(self, request: Request) -> tuple[int, int, int]:
        """(tasks a node, devices a task or 0 for all there are, GPUs a node)."""
        place, options = request.topology, request.options
        if place is None:
            return options.tasks_per_node or 1, 0, 0
        if options.nodes != 1 or options.tasks_per_node:
            raise InputError("--topology and --slices say it", where="--nodes", fix="Leave out --nodes, or --topology.")
        gpus = machines.chips_per_host(place)
        return (gpus, 1, gpus) if options.task_per == "gpu" else (1, gpus, gpus)

    def control(self, name: str, options: Namespace, *, follow: bool = False) -> Control:
        """See `Target`."""
        mine = f"--user={getpass.getuser()}"
        log = Path(options.workdir) / "logs" / "process-0.log"
        tail = ("tail", "-n", "+1", *(["-F"] if follow else []), os.fspath(log))
        return Control(
            status=(Command(("squeue", mine, f"--name={name}", "--format=%i %j %T %r %M %l %D %R")),),
            logs=(Command(tail),),
            stop=(Command(("scancel", mine, f"--name={name}")),),
        )
