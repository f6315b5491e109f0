"""The real step, compiled by libtpu for a chip that the machine does not have. It gives memory and collectives.

libtpu comes with `jax[tpu]` and compiles on a machine that has only a CPU. Its version must be the one that belongs to
this jax. `prepare` sets the environment for it before jax is imported. XLA counts the body of a scan once and Pallas
kernels not at all, so nothing takes FLOPs from here.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jaxbert.config import RunConfig
from jaxbert.core.chips import GIB
from jaxbert.errors import InputError
from jaxbert.plan.topologies import Topology

INSTALL = "pip install \"jax[tpu]==$(python -c 'import jax; print(jax.__version__)')\""

# libtpu asks the machine for these values when it starts. Without them it prints two errors that do not matter here.
# The first value lets several processes compile at once.
_ENVIRONMENT = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}


@dataclass(frozen=True)
class Collective:
    """One collective of the compiled program.

    Attributes:
      op: its name in HLO: all-gather, all-reduce, reduce-scatter, all-to-all, collective-permute.
      axes: mesh axes over which its groups run.
      bytes: bytes of its input or of its output on one device, whichever is larger, for one run.
      count: number of runs in a step, from the trip counts of the loops around it.
    """

    op: str
    axes: tuple[str, ...]
    bytes: float
    count: int


@dataclass(frozen=True)
class Compiled:
    """The compiler's answer for a step.

    Attributes:
      fits: whether it gave a program.
      seconds: seconds that the compilation took.
      arguments: bytes of HBM of the step's arguments: state, frozen tables, batch.
      temporaries: bytes of all intermediate arrays.
      code: bytes of the program.
      outputs: bytes of the outputs that do not replace an argument.
      limit: bytes that a program may have.
      over: bytes by which the program is too large.
      collectives: collectives of the program.
    """

    fits: bool
    seconds: float
    arguments: float = 0.0
    temporaries: float = 0.0
    code: float = 0.0
    outputs: float = 0.0
    limit: float = 0.0
    over: float = 0.0
    collectives: tuple[Collective, ...] = ()

    @property
    def total(self) -> float:
        """Returns the sum of all bytes."""
        return self.arguments + self.temporaries + self.code + self.outputs


def available() -> str | None:
    """Returns the version of libtpu; None if it is not installed."""
    if importlib.util.find_spec("libtpu") is None:
        return None
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("libtpu")
    except PackageNotFoundError:
        return "unknown"


def prepare(environment: Any = None) -> None:
    """Sets the environment for libtpu and jax. Call it before jax is imported. jax itself stays on the CPU."""
    environment = os.environ if environment is None else environment
    environment.setdefault("JAX_PLATFORMS", "cpu")
    for name, value in _ENVIRONMENT.items():
        environment.setdefault(name, value)


def devices(topology: Topology) -> list[Any]:
    """Returns libtpu's descriptions of the chips of `topology`."""
    from jax.experimental import topologies

    options: dict[str, Any] = {}
    if topology.slices > 1:
        options["num_slices"] = topology.slices
    if topology.hosts == topology.slices:
        # libtpu puts at most four chips into a host unless it is told. The bounds have three sides at least.
        options["chips_per_host_bounds"] = (*topology.shape, *(1,) * (3 - len(topology.shape)))
    if topology.chip.libtpu:
        options["chip_config_name"] = topology.chip.libtpu
    return list(topologies.get_topology_desc(platform="tpu", topology_name=topology.name, **options).devices)


def compile_step(config: RunConfig, topology: Topology, phase: int) -> Compiled:
    """Compiles the step of phase number `phase` for `topology`, as `jaxbert.training.step.build` makes it.

    Raises:
      InputError: the topology cannot run the config.
    """
    import jax

    from jaxbert.core.sharding import make_mesh
    from jaxbert.training.step import build

    mesh = make_mesh(config.mesh, devices(topology))
    program = build(config, mesh, phase)
    began = time.perf_counter()
    with jax.set_mesh(mesh):
        lowered = program.step.lower(program.state, program.frozen, program.batch)  # type: ignore[attr-defined]
        try:
            compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            given = (program.state, program.frozen, program.batch)
            refused = _refused(str(error), time.perf_counter() - began, topology, _shard_bytes(given))
            if refused is None:
                raise
            return refused
    memory = compiled.memory_analysis()
    sizes = dict(zip(mesh.axis_names, mesh.devices.shape, strict=True))
    return Compiled(
        fits=True,
        seconds=time.perf_counter() - began,
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        outputs=max(0, memory.output_size_in_bytes - memory.alias_size_in_bytes),
        limit=topology.chip.hbm,
        collectives=tuple(collectives(compiled.as_text(), sizes)),
    )


def _shard_bytes(tree: Any) -> float:
    """Returns the bytes of abstract arrays that one device holds."""
    import jax

    return float(sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree)))


# The compiler refuses in two ways. "Used 24.44G of 15.75G hbm. Exceeded hbm capacity by 8.69G." counts everything. "the
# total memory required for HLO temporaries (120.50G) exceeds available HBM (31.25G)" is rough, without the arguments.
_USED = re.compile(r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm")
_TEMPORARIES = re.compile(r"HLO temporaries \(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)")
_VERSIONS = re.compile(r"\bversions?\b|libtpu|deserializ|bytecode", re.I)
_UNIT = {"": 1, "K": 2**10, "M": 2**20, "G": GIB, "T": 2**40}


def _refused(message: str, seconds: float, topology: Topology, arguments: float) -> Compiled | None:
    """Reads the memory figures in the compiler's refusal. Returns None for any other refusal, which is a bug.

    Raises:
      InputError: libtpu and jax do not fit together.
    """
    if whole := _USED.search(message):
        used, limit = _sizes(whole)
        return Compiled(False, seconds, arguments, used - arguments, limit=limit, over=used - limit)
    if rough := _TEMPORARIES.search(message):
        temporaries, limit = _sizes(rough)
        return Compiled(False, seconds, arguments, temporaries, limit=limit, over=arguments + temporaries - limit)
    first = message.strip().splitlines()[0][:300]
    if _VERSIONS.search(message):
        raise InputError(
            f"libtpu cannot compile the step: {first}",
            where=topology.name,
            fix=f"Install the libtpu that belongs to this jax: {INSTALL}.",
            code="E-PLAN-COMPILE",
        )
    return None


def _sizes(found: re.Match[str]) -> tuple[float, float]:
    one, its, other, others = found.groups()
    return float(one) * _UNIT[its], float(other) * _UNIT[others]


# ----------------------------------------------------------------------------------------------------------------------
# Collectives in HLO text

_KINDS = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute|ragged-all-to-all"
_COLLECTIVE = re.compile(rf"= (.+?) ({_KINDS})(?:-start)?\((.*)")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{")
_CALLED = re.compile(r"(?:body|to_apply|calls|condition|called_computations)=\{?%?([\w.\-]+)")
_CONDITION = re.compile(r" while\(.*condition=%?([\w.\-]+)")
_CONSTANT = re.compile(r"= [su]\d+\[\][^ ]* constant\((\d+)\)")
_SHAPE = re.compile(r"\b(pred|[suf]\d+|bf16|f8\w*|c64)\[([\d,]*)\]")
_WIDTH = {"pred": 1, "bf16": 2, "c64": 8}
_CHANNEL = re.compile(r"channel_id=(\d+)")


def collectives(text: str, sizes: Mapping[str, int]) -> Iterator[Collective]:
    """Yields the collectives of a compiled HLO module, each channel once.

    Args:
      text: text of `Compiled.as_text()`.
      sizes: sizes of the mesh's axes, outermost first. Device numbers follow this order.
    """
    computations = _computations(text)
    times = _run_counts(computations)
    seen: set[str] = set()
    for name, lines in computations.items():
        for line in lines:
            found = _COLLECTIVE.search(line)
            if found is None or times.get(name, 0) == 0:
                continue
            channel = _CHANNEL.search(line)
            key = channel.group(1) if channel else f"{name}:{line[:60]}"
            if key in seen:
                continue
            seen.add(key)
            shapes, kind, rest = found.groups()
            axes = _axes(rest, sizes, kind)
            if not axes:
                continue
            size = _bytes(shapes)
            if kind == "reduce-scatter":
                size *= math.prod(sizes[axis] for axis in axes)
            elif kind == "all-gather" and "-start(" in line:
                # (shapes of the input, shapes of the output)
                size = max(_bytes(shape) for shape in re.split(r"(?<=\}), ", shapes))
            yield Collective(kind, axes, size, times[name])


def _computations(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in text.splitlines():
        begun = _COMPUTATION.match(line)
        if begun:
            current = found.setdefault(begun.group(1), [])
            if line.startswith("ENTRY"):
                found["ENTRY"] = current
        elif line == "}":
            current = None
        elif current is not None:
            current.append(line)
    return {name: lines for name, lines in found.items() if name == "ENTRY" or lines is not found.get("ENTRY")}


def _run_counts(computations: Mapping[str, list[str]]) -> dict[str, int]:
    """Returns the number of runs of each computation in a step."""
    times: dict[str, int] = {}

    def visit(name: str, count: int) -> None:
        if name not in computations or times.get(name, 0) >= count:
            return
        times[name] = count
        for line in computations[name]:
            condition = _CONDITION.search(line)
            inner = count * _trips(computations.get(condition.group(1), [])) if condition else count
            for called in _CALLED.findall(line):
                visit(called, inner)

    visit("ENTRY", 1)
    return times


def _trips(condition: list[str]) -> int:
    """Returns the number of runs of a scan: the constant with which its condition compares the counter."""
    return max((int(found.group(1)) for line in condition if (found := _CONSTANT.search(line))), default=1)


def _bytes(shapes: str) -> float:
    total = 0
    for kind, sides in _SHAPE.findall(shapes):
        width = _WIDTH.get(kind) or int(re.sub(r"\D", "", kind.split("e")[0]) or 8) // 8
        total += width * math.prod(int(side) for side in sides.split(",") if side)
    return float(total)


def _axes(rest: str, sizes: Mapping[str, int], kind: str) -> tuple[str, ...]:
    """Returns the mesh axes along which the devices of a group differ."""
    group = _first_group(rest, kind)
    if group is None:
        return tuple(axis for axis, size in sizes.items() if size > 1)
    places = [_place(device, sizes) for device in group]
    return tuple(axis for axis in sizes if len({place[axis] for place in places}) > 1)


def _place(device: int, sizes: Mapping[str, int]) -> dict[str, int]:
    found = {}
    for axis in reversed(list(sizes)):
        device, found[axis] = divmod(device, sizes[axis])
    return found


def _first_group(rest: str, kind: str) -> list[int] | None:
    """Returns the devices of the first group, in any of HLO's four notations. None means all devices."""
    if kind == "collective-permute":
        pairs = re.search(r"source_target_pairs=\{\{(\d+),(\d+)\}", rest)
        return [int(pairs.group(1)), int(pairs.group(2))] if pairs else None
    meshed = re.search(r"replica_groups=mesh\[(.*?)\] ?\{(.*?)\}", rest)
    if meshed:
        sides = [int(side) for side in re.findall(r"=(\d+)", meshed.group(1))]
        names = re.findall(r"'(\w+)'=", meshed.group(1))
        taken = set(re.findall(r"'(\w+)'", meshed.group(2)))
        group = [0]
        stride = 1
        for name, side in reversed(list(zip(names, sides, strict=True))):
            if name in taken:
                group = [base + step * stride for base in group for step in range(side)]
            stride *= side
        return group
    iota = re.search(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", rest)
    if iota:
        import numpy as np

        count, size = int(iota.group(1)), int(iota.group(2))
        sides = [int(side) for side in iota.group(3).split(",")]
        numbers = np.arange(math.prod(sides)).reshape(sides)
        if iota.group(4):
            numbers = numbers.transpose([int(axis) for axis in iota.group(4).split(",")])
        return [int(number) for number in numbers.reshape(count, size)[0]]
    listed = re.search(r"replica_groups=\{\{([\d,]+)\}", rest)
    return [int(device) for device in listed.group(1).split(",")] if listed else None
