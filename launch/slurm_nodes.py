"""Compares a job of Slurm with the nodes that `sinfo` shows, before the job is submitted.

sbatch itself refuses some jobs that no node can run, without saying why, and lets others wait for ever. Slurm 22.05
takes a job of several nodes that asks for more cores than a node has, a job of more nodes than the partition has, and a
job of a longer time than the limit of the partition. Such a job waits with the reason PartitionConfig,
PartitionNodeLimit or PartitionTimeLimit. tests/engines/test_slurm.py submits them to a real Slurm.

The letters of the format are those of slurm.schedmd.com/sinfo.html. A job is refused only if it fits in none of the
partitions that it names, whatever the state of their nodes is: a node that is down may come back.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxbert.errors import InputError, counted

from .job import Command, Question
from .slurm_shares import CORES_PER_GPU, Shares, gpus_of, types_of

_log = logging.getLogger(__name__)

# Partition (* marks the default one), node, CPUs, MB of memory, GPUs and the like, time limit, fewest-most nodes.
_FORMAT = "%P|%N|%c|%m|%G|%l|%s"
_UNITS = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2}
_NO_LIMIT = ("infinite", "n/a", "UNLIMITED", "NONE")
# The variables by which sbatch takes a partition, a QOS, and another cluster than that of sinfo.
_PARTITION, _QOS, _CLUSTERS = "SBATCH_PARTITION", "SBATCH_QOS", ("SBATCH_CLUSTERS", "SLURM_CLUSTERS")
_ALL_THE_SAME = "To submit it all the same, add --any-nodes"
# The number of a field that cannot be read. It refuses no job.
_UNKNOWN = float("inf")


@dataclass(frozen=True)
class Wanted:
    """Describes what a job asks of a partition. 0 means that the job does not say.

    Attributes:
      share: its nodes, and the GPUs, tasks and cores of each.
      options: the options of `jaxbert launch slurm`.
      gpu_type: the type of the GPUs; "" for any.
      memory: MB of each node.
      minutes: time limit.
      partitions: the names of the partitions of which it takes one; () for the default one.
      chosen: the option or the variable that names them.
      qos: whether it names a QOS, which may lift the limits of time and nodes of a partition.
    """

    share: Shares
    options: Mapping[str, Any]
    gpu_type: str = ""
    memory: float = 0
    minutes: float = 0
    partitions: tuple[str, ...] = ()
    chosen: str = "--partition"
    qos: bool = False

    @property
    def cores(self) -> int:
        """Returns the cores of each node."""
        return self.share.tasks * max(self.share.cores_per_task, 1)

    def fits(self, node: Node) -> bool:
        """Returns whether a node has all that the job asks of it."""
        gpus = node.gpus_of(self.gpu_type) >= self.share.gpus
        return gpus and node.cores >= self.cores and node.memory >= self.memory

    def gpus_from(self) -> str:
        """Returns the option that says how many GPUs the job takes."""
        if self.options["topology"]:
            return "--topology"
        return "--gres" if gpus_of(self.options["gres"]) else "--gpus-per-node"

    def cores_from(self) -> str:
        """Returns the option that says how many cores the job takes."""
        if self.options["cpus_per_task"]:
            return "--cpus-per-task"
        if self.share.cores_per_task:
            return self.gpus_from()
        return "--tasks-per-node" if self.options["task_per"] == "node" else "--task-per gpu"

    def fewer_nodes(self, most: int) -> str:
        """Returns what to give for at most so many nodes."""
        if self.options["topology"]:
            return f"a --topology or --slices of at most {counted(most, 'machine')}"
        return f"--nodes {most}"

    def other_gpus(self, kind: str, most: int) -> str:
        """Returns what to give for at most so many GPUs of a type; "" if no option can ask for them."""
        option, typed = self.gpus_from(), f"{kind}:" if kind else ""
        if option == "--topology":
            return "" if kind != self.gpu_type else f"a --topology with at most {counted(most, 'GPU')} in a machine"
        if option == "--gpus-per-node":
            return f"{option} {typed}{most}"
        others = [entry for entry in self.options["gres"].split(",") if entry.partition(":")[0] != "gpu"]
        return f"{option} {','.join([f'gpu:{typed}{most}', *others])}"

    def fewer_cores(self, most: int) -> str:
        """Returns what to give for at most so many cores of a node."""
        if self.share.cores_per_task and most >= self.share.tasks:
            return f"--cpus-per-task {most // self.share.tasks}"
        if self.options["task_per"] == "gpu":
            return "--task-per node"
        tasks = [number for number in range(1, most + 1) if not self.share.gpus % number]
        return f"--tasks-per-node {tasks[-1]}" if tasks else ""


@dataclass(frozen=True)
class Node:
    """A node as sinfo shows it: `gpus` has (type, number) pairs, `memory` is in MB. See `_UNKNOWN`."""

    cores: float
    memory: float
    gpus: tuple[tuple[str, int], ...]

    def gpus_of(self, kind: str) -> int:
        """Returns the number of its GPUs of a type; "": of any."""
        return sum(count for name, count in self.gpus if not kind or name.lower() == kind.lower())


@dataclass
class Partition:
    """A partition as sinfo shows it: nodes by their names, minutes and nodes of a job at most (infinity: no limit)."""

    default: bool
    minutes: float
    most: float
    nodes: dict[str, Node]


def wanted(share: Shares, options: Mapping[str, Any], environment: Mapping[str, str]) -> Wanted:
    """Returns what a job asks.

    Args:
      share: the nodes, GPUs, tasks and cores that it asks for.
      options: the options of `jaxbert launch slurm`.
      environment: the environment that sbatch gets.
    """
    memory = re.fullmatch(r"([0-9]{1,15})([KMGT]?)", options["memory"] or "")
    partition = options["partition"] or environment.get(_PARTITION, "")
    gpus, kinds = options["gpus_per_node"] or "", types_of(share.gres)
    return Wanted(
        share=share,
        options=options,
        gpu_type=gpus.partition(":")[0] if ":" in gpus else kinds[0] if len(kinds) == 1 else "",
        memory=float(memory[1]) * _UNITS[memory[2]] if memory else 0,
        minutes=0 if options["time"] is None else minutes_of(options["time"]) or 0,
        partitions=tuple(partition.split(",")) if partition else (),
        chosen="--partition" if options["partition"] else _PARTITION,
        qos=bool(options["qos"] or environment.get(_QOS)),
    )


def question(job: Wanted, environment: Mapping[str, str]) -> Question | None:
    """Returns the question to the cluster whether it can ever run the job; None where sbatch asks another cluster."""
    if any(environment.get(name) for name in _CLUSTERS):
        return None
    return Question(
        Command(
            ("sinfo", "--all", "--noheader", "--Node", f"--format={_FORMAT}"),
            does="ask which nodes the cluster has (this changes nothing)",
        ),
        about="the job was not compared with the nodes of the cluster, and a job that no node can run waits for ever. "
        "`jaxbert launch status` shows why a job waits",
        check=lambda text: _check(job, text),
    )


def _check(job: Wanted, text: str) -> str:
    """Returns why the answer of sinfo says nothing about the job; "" if the job fits.

    Raises:
      InputError: the job fits in no partition that it may take.
    """
    found = partitions(text)
    if not found:
        return "sinfo shows lines of another form" if text.strip() else "sinfo shows no nodes"
    for name in job.partitions:
        if name not in found:
            raise InputError(
                f"sinfo shows no partition {name} with nodes",
                where=f"{job.chosen} {name}",
                fix=f"Give --partition with one of {', '.join(sorted(found))}. {_ALL_THE_SAME}: a cluster may hide "
                "nodes that it starts when a job needs them.",
                code="E-LAUNCH-CLUSTER",
            )
    taken = [name for name, one in found.items() if (name in job.partitions if job.partitions else one.default)]
    if not taken:
        return "sinfo shows no default partition"
    reasons = {name: _missing(job, one) for name, one in found.items()}
    if all(reasons[name] for name in taken):
        others = [f"--partition {name}" for name in sorted(found) if not reasons[name]]
        what, where, smaller = reasons[taken[0]][0]
        give = " or ".join([*([smaller] if smaller else []), *others])
        by = f" (of {_PARTITION})" if job.partitions and job.chosen == _PARTITION else ""
        raise InputError(
            f"this job can never start in the partition {taken[0]}{by}: {what}",
            where=where,
            fix=f"{f'Give {give}. ' if give else ''}{_ALL_THE_SAME}.",
            code="E-LAUNCH-CLUSTER",
        )
    return ""


def _missing(job: Wanted, place: Partition) -> list[tuple[str, str, str]]:
    """Returns for each thing that a partition has too little of: what it lacks, the option, what to write for it."""
    nodes, share = list(place.nodes.values()), job.share
    found = []
    if job.minutes > place.minutes and not job.qos:
        most = _time(place.minutes)
        found.append((f"its time limit is {most}", "--time", f"--time {most}"))
    limit = len(nodes) if job.qos else int(min(place.most, len(nodes)))
    if not limit:
        return [*found, ("it lets a job take no nodes", job.chosen, "")]
    if share.nodes > limit:
        has = "the partition has" if limit == len(nodes) else "the partition lets a job take"
        said = f"it asks for {counted(share.nodes, 'node')}, and {has} {limit:,}"
        return [*found, (said, "--topology" if job.options["topology"] else "--nodes", job.fewer_nodes(limit))]
    each = "of a node" if share.nodes == 1 else f"of each of {share.nodes} nodes"
    of = f" of the type {job.gpu_type}" if job.gpu_type else ""
    gpus = [node.gpus_of(job.gpu_type) for node in nodes]
    if share.gpus > (least := _least(gpus, share.nodes)):
        kinds = sorted({kind for node in nodes for kind, _ in node.gpus if kind})
        its = f". The GPUs there are {', '.join(kinds)}" if of and kinds else ""
        # The types of which enough nodes have as many GPUs as the job asks for.
        right = [kind for kind in kinds if _least([node.gpus_of(kind) for node in nodes], share.nodes) >= share.gpus]
        give = [job.other_gpus(kind, share.gpus) for kind in right if of]
        give += [job.other_gpus(job.gpu_type, int(least))] if least else []
        said = f"it asks for {counted(share.gpus, 'GPU')}{of} {each}, and {_compared(gpus, share.gpus, 'as many')}{its}"
        # With --topology, only --gres names a type.
        option = "--gres" if of and job.options["topology"] else job.gpus_from()
        found.append((said, option, " or ".join(filter(None, give))))
    cores = [node.cores for node in nodes]
    if job.cores > (least := _least(cores, share.nodes)):
        own = share.cores_per_task and not job.options["cpus_per_task"]
        why = f" ({CORES_PER_GPU} with each GPU, because --cpus-per-task does not say it)" if own else ""
        said = f"it asks for {counted(job.cores, 'core')} {each}{why}, and {_compared(cores, job.cores, 'as many')}"
        found.append((said, job.cores_from(), job.fewer_cores(int(least))))
    memory = [node.memory for node in nodes]
    if job.memory > (least := _least(memory, share.nodes)):
        said = f"it asks for {job.memory:,.0f} MB of memory {each}, and {_compared(memory, job.memory, 'as much')}"
        found.append((said, "--memory", f"--memory {least:.0f}M" if least else ""))
    return found or _missing_at_once(job, nodes)


def _missing_at_once(job: Wanted, nodes: Sequence[Node]) -> list[tuple[str, str, str]]:
    """Returns the same for a job that asks for nothing that enough nodes lack, but no node may have all of it."""
    enough = sum(job.fits(node) for node in nodes)
    if enough >= job.share.nodes:
        return []
    # The nodes with enough GPUs that lack the least.
    fitting = [node for node in nodes if node.gpus_of(job.gpu_type) >= job.share.gpus]

    def lacks(node: Node) -> tuple[bool, float, float]:
        return not job.fits(node), -min(node.cores, job.cores), -min(node.memory, job.memory)

    chosen = sorted(fitting, key=lacks)[: job.share.nodes]
    cores, memory = min(node.cores for node in chosen), min(node.memory for node in chosen)
    less = [
        *([(job.cores_from(), job.fewer_cores(int(cores)))] if cores < job.cores else []),
        *([("--memory", f"--memory {memory:.0f}M")] if memory < job.memory else []),
    ]
    asks = [
        *([counted(job.share.gpus, "GPU")] if job.share.gpus else []),
        counted(job.cores, "core"),
        *([f"{job.memory:,.0f} MB of memory"] if job.memory else []),
    ]
    has = f"only {counted(enough, 'node')} of the partition" if enough else "no node of the partition"
    said = f"{has} {'have' if enough > 1 else 'has'} {', '.join(asks[:-1])} and {asks[-1]} at once"
    return [(said, ", ".join(option for option, _ in less), " and ".join(give for _, give in less if give))]


def _least(has: Sequence[float], nodes: int) -> float:
    """Returns the number that as many nodes have as the job asks for."""
    return sorted(has, reverse=True)[nodes - 1]


def _compared(has: Sequence[float], number: float, many: str) -> str:
    """Returns how many nodes have as much as a job asks for, in words."""
    enough, most = sum(own >= number for own in has), f"{max(has):,.0f}"
    if len(has) == 1:
        return f"the partition's only node has {most if max(has) else 'none'}"
    if enough:
        return f"only {enough} of the partition's {len(has)} nodes {'has' if enough == 1 else 'have'} {many}"
    return f"none of the partition's {len(has)} nodes has {many}{f'. The most is {most}' if max(has) else ''}"


def partitions(text: str) -> dict[str, Partition]:
    """Returns the partitions in an answer of sinfo. It warns of what it cannot read, which refuses no job."""
    found: dict[str, Partition] = {}
    unread: list[str] = []
    for line in text.splitlines():
        fields = line.strip().split("|")
        if line.startswith("CLUSTER:"):
            # Partitions of several clusters may have one name.
            return {}
        if len(fields) != 7 or not fields[0] or not fields[1]:
            unread += [line.strip()] if line.strip() else []
            continue
        name, node, cores, memory, gres, time, size = fields
        minutes, most = minutes_of(time), _number(size.rpartition("-")[2])
        numbers = {cores: _number(cores), memory: _number(memory), time: minutes, size: most}
        unread += [f"{field!r} of {node} in {name}" for field, number in numbers.items() if number is None]
        read = {field: _UNKNOWN if number is None else number for field, number in numbers.items()}
        one = found.setdefault(name.removesuffix("*"), Partition(name.endswith("*"), read[time], read[size], {}))
        one.nodes[node] = Node(read[cores], read[memory], _gpus(gres))
    if found and unread:
        more = f", and {len(unread) - 1:,} more" if len(unread) > 1 else ""
        _log.warning("sinfo shows what this command cannot read and does not compare: %.80s%s", unread[0], more)
    return found


def _number(text: str) -> float | None:
    """Returns a number of sinfo: 64, 1K (1,024), 64+ (at least 64), or no limit; None for another text."""
    if text in _NO_LIMIT:
        return float("inf")
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]+)?)([KMGT]?)\+?", text)
    return float(found[1]) * 1024 ** " KMGT".index(found[2] or " ") if found else None


def _gpus(gres: str) -> tuple[tuple[str, int], ...]:
    """Returns the GPUs in a field such as "gpu:h100:8(S:0-1),gpu:a100:no_consume:4,nvme:1"."""
    entries = re.sub(r"\([^)]*\)|:no_consume\b", "", gres).split(",")
    return tuple(((types_of(entry) or ("",))[0], gpus_of(entry)) for entry in entries if entry.split(":")[0] == "gpu")


def minutes_of(text: str) -> float | None:
    """Returns the minutes of a time limit of Slurm, infinity for none; None for another text.

    The forms are those of --time (slurm.schedmd.com/sbatch.html): M, M:S, H:M:S, D-H, D-H:M, D-H:M:S. 0 is no limit.
    """
    if text in _NO_LIMIT:
        return float("inf")
    if not re.fullmatch(r"([0-9]{1,6}-)?[0-9]{1,9}(:[0-9]{1,2}){0,2}", text):
        return None
    days, _, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if days:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
        return int(days) * 1440 + hours * 60 + minutes + seconds / 60
    hours, minutes, seconds = parts if len(parts) == 3 else (0, *parts) if len(parts) == 2 else (0, parts[0], 0)
    return hours * 60 + minutes + seconds / 60


def _time(minutes: float) -> str:
    days, rest = divmod(round(minutes), 1440)
    return f"{days}-{rest // 60:02}:{rest % 60:02}:00"
