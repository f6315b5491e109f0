"""Decides what a job of Slurm asks of its nodes, GPUs, tasks and cores, and what each task is told about them."""

from __future__ import annotations

import re
from argparse import Namespace
from dataclasses import dataclass

from jaxbert.core.chips import GPU_POOL_FRACTION
from jaxbert.errors import InputError
from jaxbert.plan.topologies import Topology
from jaxbert.plan.typed import meaning

from . import machines

# A job that takes a part of a node's GPUs asks for so many cores with each. Slurm cannot be asked for a fair share of
# the node, and a job that asks for more cores than a node has waits for ever. So the number is small: one core drives
# the GPU, the others read rows, write checkpoints and compile.
CORES_PER_GPU = 4


@dataclass(frozen=True)
class Shares:
    """The nodes, GPUs, tasks and cores that a job asks for.

    Attributes:
      nodes: the number of nodes.
      tasks: the tasks of each node.
      gpus: the GPUs of each node; 0 for a job that trains on the CPU.
      gres: the value of sbatch's --gres; None without it.
      asked: the options of sbatch that ask for all of it.
      cores: the cores of a task, in words.
      cores_per_task: the cores of a task; 0 for a share of all that the node has.
    """

    nodes: int
    tasks: int
    gpus: int
    gres: str | None
    asked: tuple[str, ...]
    cores: str
    cores_per_task: int

    @property
    def devices(self) -> int:
        """Returns the number of devices of a task."""
        return self.gpus // self.tasks if self.gpus else 1

    def lines(self, name: str) -> tuple[str, ...]:
        """Returns the lines of the screen about the job `name`."""
        tasks = self.tasks * self.nodes
        has = f"{self.devices} GPU{'s' if self.devices > 1 else ''}" if self.gpus else "the CPU"
        return (
            f"job {name}: {self.nodes} node{'s' if self.nodes > 1 else ''}, {tasks} task{'s' if tasks > 1 else ''}",
            f"each task trains on {has}, with {self.cores}",
        )


def shares(options: Namespace, place: Topology | None) -> Shares:
    """Returns what the options of the command ask.

    Args:
      options: the options of `jaxbert launch slurm`.
      place: the machines with GPUs that --topology and --slices name; None without --topology.

    Raises:
      InputError: two options contradict each other.
    """
    nodes, gpus = _nodes(options, place), _gpus(options, place)
    tasks, gres = _tasks(options, place, gpus), _gres(options, place)
    asked = [f"--nodes={nodes}", f"--ntasks-per-node={tasks}"]
    if gpus and not gpus_of(options.gres):
        asked.append(f"--gpus-per-node={options.gpus_per_node or gpus}")
    # The GPUs of a whole machine come with all of its cores, and so does a job that trains on the CPU of its nodes.
    whole = not gpus or (place is not None and gpus == place.chip.chips_per_host)
    cores = options.cpus_per_task or (0 if options.exclusive or whole else CORES_PER_GPU * (gpus // tasks))
    if options.exclusive or not cores:
        asked.append("--exclusive")
    if cores:
        asked.append(f"--cpus-per-task={cores}")
        words = f"{cores} core{'s' if cores > 1 else ''}"
        if not options.cpus_per_task:
            words += " (--cpus-per-task asks for another number, --exclusive for whole nodes)"
    else:
        words = f"{'all cores' if tasks == 1 else 'an equal share of the cores'} of its node, which no other job shares"
    return Shares(nodes, tasks, gpus, gres, tuple(asked), words, cores)


def gpus_of(gres: str | None) -> int:
    """Returns the number of GPUs in a value of sbatch's --gres.

    It is a list of NAME[[:TYPE]:COUNT], and a missing count means 1 (slurm.schedmd.com/sbatch.html).
    """
    found = 0
    for entry in (gres or "").split(","):
        name, *more = entry.split(":")
        if name == "gpu":
            found += int(more[-1]) if more and re.fullmatch(r"[0-9]{1,4}", more[-1]) else 1
    return found


def types_of(gres: str | None) -> tuple[str, ...]:
    """Returns the types of the GPUs in a value of --gres, each once."""
    found = (entry.split(":") for entry in (gres or "").split(","))
    kinds = (words[1] for words in found if words[0] == "gpu" and len(words) > 1)
    return tuple(dict.fromkeys(kind for kind in kinds if not kind.isdecimal()))


def check_gres(gres: str) -> None:
    """Raises InputError for a value of --gres that is not as `gpus_of` reads it, or that asks for a part of a GPU.

    Some releases of Slurm also take gres/gpu:4, gres:gpu:4 and gpu=4. A job with one of them must not pass as one that
    trains on the CPU.
    """
    entries = [re.sub(r"^gres[/:]", "", entry).replace("=", ":") for entry in gres.split(",")]
    shared = next((entry for entry in entries if entry.partition(":")[0] in ("shard", "mps")), "")
    if shared:
        raise InputError(
            f"{shared} is a part of a GPU, which other jobs use too, and a run takes {GPU_POOL_FRACTION:.0%} of the "
            "memory of each of its GPUs",
            where=f"--gres {gres}",
            fix="Ask for whole GPUs: --gres gpu:1.",
            code="E-LAUNCH-GRES",
        )
    right = ",".join(entries)
    if right != gres or not all(re.fullmatch(r"[^:/]+(:[^:/]+){0,2}", entry) for entry in entries):
        raise InputError(
            "the value is not a list of NAME[:TYPE][:NUMBER]",
            where=f"--gres {gres}",
            fix=f"Write --gres {right if right != gres else 'gpu:h100:8'}.",
            code="E-LAUNCH-GRES",
        )


def _nodes(options: Namespace, place: Topology | None) -> int:
    if place is None:
        return int(options.nodes or 1)
    if options.nodes or options.tasks_per_node or options.gpus_per_node:
        raise InputError(
            "--topology and --slices already give the number of nodes, tasks and GPUs",
            where="--nodes, --tasks-per-node, --gpus-per-node",
            fix="Remove these options, or --topology.",
            code="E-LAUNCH-OPTIONS",
        )
    return place.hosts


def _gpus(options: Namespace, place: Topology | None) -> int:
    by_gres = gpus_of(options.gres)
    if place is not None:
        other, where = machines.chips_per_host(place), f"--topology {place.name}"
    elif options.gpus_per_node:
        other, where = int(options.gpus_per_node.rpartition(":")[2]), f"--gpus-per-node {options.gpus_per_node}"
    else:
        return by_gres
    if by_gres not in (0, other):
        raise InputError(
            f"one option asks for {other} GPUs of each node, the other for {by_gres}",
            where=f"{where}, --gres {options.gres}",
            fix="Give the same number in both, or remove one of them.",
            code="E-LAUNCH-OPTIONS",
        )
    return other


def _gres(options: Namespace, place: Topology | None) -> str | None:
    """Returns --gres with the type of --gpus-per-node. Slurm gets one of the two options, which must agree.

    Raises:
      InputError: the options name different types, or a MIG slice in place of the chip of --topology.
    """
    gres: str | None = options.gres
    kinds, where = types_of(gres), f"--gres {gres}"
    if place is not None and not place.chip.own:
        where = f"--topology {place.name}, {where}"
        for kind in kinds:
            machines.check_whole(kind, place, where)
            chips = meaning(kind).chips
            if chips and place.chip.name not in chips:
                raise _other_type(f"the plan is for {place.chip.name}, and the job asks for {kind}", where)
    given, _, _ = (options.gpus_per_node or "").rpartition(":")
    if not given or not gpus_of(gres):
        return gres
    if any(kind.lower() != given.lower() for kind in kinds):
        what = f"one option asks for GPUs of the type {given}, the other for {' and '.join(kinds)}"
        raise _other_type(what, f"--gpus-per-node {options.gpus_per_node}, {where}")
    return re.sub(r"(^|,)gpu(?=:[0-9]+(?:,|$)|,|$)", rf"\1gpu:{given}", gres or "")


def _other_type(what: str, where: str) -> InputError:
    fix = "Give the same type in both, or no type in --gres."
    return InputError(what, where=where, fix=fix, code="E-LAUNCH-OPTIONS")


def _tasks(options: Namespace, place: Topology | None, gpus: int) -> int:
    if options.task_per == "gpu":
        if not gpus or (options.tasks_per_node or gpus) != gpus:
            raise InputError(
                f"a task for each GPU was asked for, and there are {gpus} GPUs of each node"
                + (f" and {options.tasks_per_node} tasks" if options.tasks_per_node else ""),
                where="--task-per gpu",
                fix="Give --gpus-per-node N and no --tasks-per-node.",
                code="E-LAUNCH-OPTIONS",
            )
        return gpus
    tasks = 1 if place is not None else options.tasks_per_node or 1
    if gpus % tasks:
        raise InputError(
            f"{gpus} GPUs of each node cannot be divided among {tasks} tasks",
            where=f"--tasks-per-node {tasks}",
            fix=f"Give a number that divides {gpus}.",
            code="E-LAUNCH-OPTIONS",
        )
    return int(tasks)
