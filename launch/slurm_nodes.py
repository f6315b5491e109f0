"""Compares a job of Slurm with the nodes that `sinfo` shows, before the job is submitted.

sbatch itself refuses some jobs that no node can run, without saying why, and lets others wait for ever. Slurm 22.05
takes a job of several nodes that asks for more cores than a node has, a job of more nodes than the partition has, and a
job of a longer time than the limit of the partition. Such a job waits with the reason PartitionConfig,
PartitionNodeLimit or PartitionTimeLimit. tests/engines/test_slurm.py submits them to a real Slurm.

The letters of the format are those of slurm.schedmd.com/sinfo.html. A job is refused only if it fits in none of the
partitions that it names, whatever the state of their nodes is: a node that is down may come back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from jaxbert.errors import InputError, counted

from .job import Command, Question
from .slurm_shares import Shares, gpus_of

# Partition (* marks the default one), node, CPUs, MB of memory, GPUs and the like, time limit, fewest-most nodes.
_FORMAT = "%P|%N|%c|%m|%G|%l|%s"
_UNITS = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2}
_NO_LIMIT = ("infinite", "n/a", "UNLIMITED", "NONE")
# The variables by which sbatch takes a partition, and another cluster than that of sinfo.
_PARTITION, _CLUSTERS = "SBATCH_PARTITION", ("SBATCH_CLUSTERS", "SLURM_CLUSTERS")


@dataclass(frozen=True)
class Wanted:
    """Describes what a job asks of a partition. 0 means that the job does not say.

    Attributes:
      nodes: number of nodes.
      cores: cores of each node.
      gpus: GPUs of each node.
      gpu_type: their type; "" for any.
      memory: MB of each node.
      minutes: time limit.
      partitions: the names of the partitions of which it takes one; () for the default one.
    """

    nodes: int
    cores: int
    gpus: int
    gpu_type: str = ""
    memory: float = 0
    minutes: float = 0
    partitions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Node:
    """A node as sinfo shows it: `gpus` has (type, number) pairs, `memory` is in MB."""

    cores: int
    memory: int
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


def wanted(share: Shares, options: Mapping[str, str | None], environment: Mapping[str, str]) -> Wanted:
    """Returns what a job asks.

    Args:
      share: the nodes, GPUs, tasks and cores that it asks for.
      options: the options of `jaxbert launch slurm` that sbatch gets: partition, time, memory, gpus_per_node, gres.
      environment: the environment that sbatch gets.
    """
    memory = re.fullmatch(r"([0-9]{1,15})([KMGT]?)", options["memory"] or "")
    partition = options["partition"] or environment.get(_PARTITION, "")
    gpus = options["gpus_per_node"] or ""
    return Wanted(
        nodes=share.nodes,
        cores=share.tasks * max(share.cores_per_task, 1),
        gpus=share.gpus,
        gpu_type=gpus.partition(":")[0] if ":" in gpus else _type_of(options["gres"]),
        memory=float(memory[1]) * _UNITS[memory[2]] if memory else 0,
        # A limit of a QOS may take the place of the partition's.
        minutes=0 if options["qos"] or options["time"] is None else minutes_of(options["time"]) or 0,
        partitions=tuple(partition.split(",")) if partition else (),
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
        return "sinfo shows no nodes" if found is not None else "sinfo shows lines of another form"
    for name in job.partitions:
        if name not in found:
            raise InputError(
                f"the cluster has no partition {name} with nodes",
                where=f"--partition {name}",
                fix=f"Give one of {', '.join(sorted(found))}.",
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
        raise InputError(
            f"this job can never start in the partition {taken[0]}: {what}",
            where=where,
            fix=f"{f'Give {give}. ' if give else ''}To submit it all the same, add --any-nodes.",
            code="E-LAUNCH-CLUSTER",
        )
    return ""


def _missing(job: Wanted, place: Partition) -> list[tuple[str, str, str]]:
    """Returns for each thing that a partition has too little of: what it lacks, the option, what to write for it."""
    nodes = list(place.nodes.values())
    found = []
    if job.minutes > place.minutes:
        most = _time(place.minutes)
        found.append((f"its time limit is {most}", "--time", f"at most --time {most}"))
    most_nodes = min(place.most, len(nodes))
    if job.nodes > most_nodes:
        limit = "the partition lets a job take" if place.most < len(nodes) else "the partition has"
        said = f"it asks for {counted(job.nodes, 'node')}, and {limit} {int(most_nodes):,}"
        return [*found, (said, "--nodes", f"at most {counted(int(most_nodes), 'node')}")]
    kinds = sorted({kind for node in nodes for kind, _ in node.gpus if kind})
    of = f" of the type {job.gpu_type}" if job.gpu_type else ""
    each = "of a node" if job.nodes == 1 else f"of each of {job.nodes} nodes"
    its = f", and its types are {', '.join(kinds)}" if of and kinds else ""
    for number, has, one, many, more, option, write in (
        (job.gpus, [node.gpus_of(job.gpu_type) for node in nodes], "GPU", "GPUs", of, "--gpus-per-node", f"GPUs{of}"),
        (job.cores, [node.cores for node in nodes], "core", "cores", "", "--cpus-per-task", "cores"),
        (job.memory, [node.memory for node in nodes], "MB", "MB", " of memory", "--memory", "MB of memory"),
    ):
        # The number that as many nodes have as the job asks for.
        least = sorted(has, reverse=True)[job.nodes - 1]
        if number > least:
            enough = sum(own >= number for own in has)
            said = (
                f"it asks for {counted(int(number), one, many)}{more} {each}, and "
                f"{enough} of the partition's {counted(len(has), 'node')} have as many. The most is {max(has):,}{its}"
            )
            found.append((said, option, f"at most {least:,} {write} of each node" if least else ""))
    if (
        not found
        and sum(
            node.cores >= job.cores and node.gpus_of(job.gpu_type) >= job.gpus and node.memory >= job.memory
            for node in nodes
        )
        < job.nodes
    ):
        text = "too few of its nodes have enough cores, enough GPUs and enough memory at once"
        found.append((text, "--cpus-per-task, --gpus-per-node, --memory", "smaller numbers"))
    return found


def partitions(text: str) -> dict[str, Partition] | None:
    """Returns the partitions in an answer of sinfo; None if a line has another form."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) != 7 or not (fields[2].isdecimal() and fields[3].isdecimal()):
            return None
        name, node, cores, memory, gres, time, size = fields
        minutes, most = minutes_of(time), size.rpartition("-")[2]
        if minutes is None or not (most.isdecimal() or most in _NO_LIMIT):
            return None
        one = found.setdefault(
            name.removesuffix("*"),
            Partition(name.endswith("*"), minutes, float(most) if most.isdecimal() else float("inf"), {}),
        )
        one.nodes[node] = Node(int(cores), int(memory), _gpus(gres))
    return found


def _gpus(gres: str) -> tuple[tuple[str, int], ...]:
    """Returns the GPUs in a field such as "gpu:h100:8(S:0-1),nvme:1"."""
    found = []
    for entry in re.sub(r"\([^)]*\)", "", gres).split(","):
        if entry == "gpu" or entry.startswith("gpu:"):
            kind = entry.removeprefix("gpu").removeprefix(":").rpartition(":")
            found.append((kind[0] if kind[2].isdecimal() else kind[2], gpus_of(entry)))
    return tuple(found)


def _type_of(gres: str | None) -> str:
    """Returns the type of the GPUs that --gres asks for; "" for any."""
    kinds = [kind for entry in (gres or "").split(",") for kind, _ in _gpus(entry)]
    return kinds[0] if len(kinds) == 1 else ""


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
