"""One batch job of Slurm with a task for each node or GPU. It requeues itself after an interruption."""

from __future__ import annotations

import getpass
import hashlib
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path

from jaxbert.errors import InputError

from . import machines
from .job import Command, Control, File, Request, Submission, Target
from .scripts import Value, script

# Option -> (kind of name, the option of sbatch that gets its value).
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


# The variables that the job gets from this shell: places of programs and libraries, settings of jax, NCCL and jaxbert.
_NAMES = ("PATH", "HOME", "USER", "LANG", "LD_LIBRARY_PATH", "CUDA_HOME", "XDG_CACHE_HOME")
_PREFIXES = ("JAX_", "JAXBERT_", "XLA_", "NCCL_", "CUDA_VISIBLE_")


def _exported() -> list[str]:
    named = [name for name in os.environ if name.startswith(_PREFIXES) and name.replace("_", "").isalnum()]
    return [*(name for name in _NAMES if name in os.environ), *sorted(named)]


class Slurm(Target):
    """See `jaxbert.launch.job.Target`."""

    name = "slurm"
    summary = "a batch job on a cluster whose nodes share a disk"
    kinds = ("gpu", None)
    example = "--topology h100:8"
    shares_disk = True
    programs: Mapping[str, str] = dict.fromkeys(("sbatch", "squeue", "scancel"), "Use a machine of the cluster.")
    names: Mapping[str, str] = {option: kind for option, (kind, _) in _PASSED.items()}

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `Target`."""
        parser.add_argument(
            "--nodes", type=int, default=1, metavar="N", help="number of nodes, without --topology (default: 1)"
        )
        parser.add_argument(
            "--tasks-per-node", type=int, metavar="N", help="tasks of each node, without --topology (default: 1)"
        )
        parser.add_argument("--cpus-per-task", type=int, metavar="N", help="cores of each task")
        parser.add_argument(
            "--task-per",
            choices=["node", "gpu"],
            default="node",
            help="with --topology: one task for each node or each GPU (default: node)",
        )
        parser.add_argument(
            "--grace",
            type=int,
            default=120,
            metavar="S",
            help="seconds between SIGTERM and the time limit (default: %(default)s)",
        )
        for option, (_, passed) in _PASSED.items():
            parser.add_argument(f"--{option}", metavar="X", help=f"the value of sbatch's {passed}")

    def check(self, options: Namespace) -> None:
        """See `Target`."""
        super().check(options)
        for option in ("nodes", "tasks_per_node", "cpus_per_task", "grace"):
            value = getattr(options, option, None)
            if value is not None and value < 1:
                raise InputError(
                    f"the value is {value}",
                    where=f"--{option.replace('_', '-')}",
                    fix="Give 1 or more.",
                    code="E-LAUNCH-NUMBER",
                )

    def submission(self, request: Request) -> Submission:
        """See `Target`."""
        options, place = request.options, request.topology
        if ":" in request.workdir:
            # The workdir becomes a part of PYTHONPATH, where a colon separates directories.
            raise InputError(
                "the path contains a colon",
                where=f"--workdir {request.workdir}",
                fix="Give another directory.",
                code="E-LAUNCH-PATH",
            )
        if request.spot:
            raise InputError(
                "under Slurm the partition decides whether a job may be preempted",
                where="--spot",
                fix="Give --partition instead.",
                code="E-LAUNCH-OPTIONS",
            )
        if any(reference for reference in request.secrets.values()):
            raise InputError(
                "Slurm takes a secret from this machine's environment, by its name only",
                where="--secret",
                fix="Write --secret NAME.",
                code="E-LAUNCH-SECRET",
            )
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
        # The file's name holds its hash, so that a later launch does not change the file of a waiting or requeued job.
        task_file = folder / f"task-{hashlib.sha256(task.encode()).hexdigest()[:12]}.sh"
        batch = folder / "batch.sh"
        values: dict[str, Value] = {
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
            # --dependency=singleton: a second job of this name waits for the first, and then continues its run.
            *("--requeue", "--open-mode=append", f"--signal=TERM@{options.grace}", "--dependency=singleton"),
            # --output: Slurm would read the name of an output file as a pattern. The batch script writes the log.
            *(f"--export={','.join([*_exported(), *request.secrets])}", "--output=/dev/null", str(batch)),
        )
        each = f" ({gpus} GPUs of each node)" if gpus else ""
        return Submission(
            creates=(
                f"job {request.name}: {nodes} node{'s' if nodes > 1 else ''}, {tasks * nodes} "
                f"task{'s' if tasks * nodes > 1 else ''}{each}",
                f"files in {folder}",
            ),
            where=f"partition {options.partition or '(default)'} of the cluster that sbatch reaches",
            resumes=f"exit 3, preemption, the time limit or a lost node: requeued, {request.restarts} times at most, "
            "counted by Slurm with the job; exit 1, 2 and 4 end the run",
            ends="the job ends with the run",
            files=(
                File(folder / request.archive.name, request.archive.content),
                File(task_file, task.encode(), executable=True),
                File(batch, script("slurm_batch.sh", values).encode(), executable=True),
            ),
            commands=(Command(sbatch, does="submit the job"),),
        )

    def _tasks(self, request: Request) -> tuple[int, int, int]:
        """Returns the tasks of a node, the devices of a task (0 for all of them), and the GPUs of a node."""
        place, options = request.topology, request.options
        if place is None:
            return options.tasks_per_node or 1, 0, 0
        if options.nodes != 1 or options.tasks_per_node:
            raise InputError(
                "--topology and --slices already give the number of nodes and tasks",
                where="--nodes, --tasks-per-node",
                fix="Remove these options, or --topology.",
                code="E-LAUNCH-OPTIONS",
            )
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
