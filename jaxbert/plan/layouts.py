"""Ranks layouts, meshes, micro-batches and remat on a topology by the analytic model, and resolves `auto`.

`auto` is the fastest of the layouts and meshes that fit. It does not change the config's batch and remat. It is a pure
function of config and topology, so that every process of a run chooses the same layout.
"""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jaxbert.config import LayoutName, MeshConfig, Remat, RunConfig, check, divides, mesh_shape
from jaxbert.core.chips import SLICES, Chip, chip_of
from jaxbert.core.sharding import AXES, LAYOUTS, compute_dtype
from jaxbert.errors import InputError
from jaxbert.plan.cost import StepTime, step_time
from jaxbert.plan.topologies import Topology, sides_of
from jaxbert.plan.work import Work, check_planned, work

# If the analytic model puts a program above this share of HBM, the program counts as too large: the model is within 15%
# of the compiler's figures (docs/explanations/results.md).
SAFE = 0.85


@dataclass(frozen=True)
class Candidate:
    """A way to run the config, and the model's figures for it.

    Attributes:
      config: the whole run, with the changes.
      works, times: work and time of a step of each phase.
      seconds: seconds of training, all phases.
      memory: bytes of the largest phase.
      fits: whether the memory is at most `SAFE` of the chip's.
    """

    config: RunConfig
    works: tuple[Work, ...]
    times: tuple[StepTime, ...]
    seconds: float
    memory: float
    fits: bool

    def changes(self, given: RunConfig) -> str:
        """Returns the `--set` arguments that turn `given` into this config; an empty text if they are equal."""
        words = []
        for name in ("layout", "fsdp", "tensor"):
            value = getattr(self.config.mesh, name)
            if value != getattr(given.mesh, name):
                words.append(f"mesh.{name}={value}")
        if given.mesh.data != -1 and self.config.mesh.data != given.mesh.data:
            words.insert(0, f"mesh.data={self.config.mesh.data}")
        accumulations = [phase.accumulation for phase in self.config.phases]
        if accumulations != [phase.accumulation for phase in given.phases]:
            if len(set(accumulations)) == 1:
                words.append(f"phases.*.accumulation={accumulations[0]}")
            else:
                words += [f"phases.{index}.accumulation={count}" for index, count in enumerate(accumulations)]
        if self.config.encoder.remat != given.encoder.remat:
            words.append(f"encoder.remat={self.config.encoder.remat}")
        # The star of `phases.*` is quoted, because a shell would take it for a pattern of file names.
        return f"--set {shlex.join(words)}" if words else ""


def judge(config: RunConfig, topology: Topology, real: float = 1.0) -> Candidate:
    """Returns the analytic model's figures for a run. `real` is the share of its tokens that are not padding."""
    sizes = sizes_of(config, topology)
    works = tuple(work(config, topology, phase, real=real) for phase in config.phases)
    share = matmul_share(config, topology.chip)
    times = tuple(step_time(one, topology, sizes, matmul_share=share) for one in works)
    seconds = sum(phase.steps * time.expected for phase, time in zip(config.phases, times, strict=True))
    memory = max(one.memory.total for one in works)
    return Candidate(config, works, times, seconds, memory, memory <= SAFE * topology.chip.hbm)


def sizes_of(config: RunConfig, topology: Topology) -> dict[str, int]:
    """Returns the sizes of the mesh's axes."""
    return dict(zip(AXES, mesh_shape(config.mesh, topology.devices), strict=True))


def matmul_share(config: RunConfig, chip: Chip) -> float:
    """Returns the peak of products in the run's dtype, relative to the chip's peak of 16 bits."""
    halves = compute_dtype(config.numerics.dtype, chip.kind).itemsize == 2 and chip.bfloat16
    return 1.0 if halves else chip.float32


def meshes(config: RunConfig, topology: Topology) -> Iterator[MeshConfig]:
    """Yields each layout on the meshes that it can use: fsdp and tensor are powers of two, inside a slice."""
    by_axes: dict[frozenset[str], list[str]] = {}
    for name, layout in LAYOUTS.items():
        by_axes.setdefault(layout.axes, []).append(name)
    for axes, names in by_axes.items():
        for tensor in _powers(min(8, topology.slice_devices))[1:] if "tensor" in axes else [1]:
            for fsdp in _powers(topology.slice_devices // tensor) if "fsdp" in axes else [1]:
                if axes == {"fsdp"} and fsdp == 1:
                    continue
                if divides(config.encoder, fsdp, tensor):
                    for name in names:
                        yield MeshConfig(layout=name, fsdp=fsdp, tensor=tensor)


def _powers(most: int) -> list[int]:
    return [2**power for power in range(most.bit_length()) if 2**power <= most]


def natural(config: RunConfig, topology: Topology, layout: LayoutName) -> MeshConfig:
    """Returns the fastest of `meshes` for a layout, for a config whose mesh does not suit the layout.

    Raises:
      InputError: no mesh of this layout suits the config and the topology.
    """
    found = [one for one in _legal(config, topology, meshes(config, topology)) if one.config.mesh.layout == layout]
    if not found:
        if topology.devices == 1:
            raise InputError(
                "it needs several devices",
                where=topology.name,
                fix="Take the layout replicated.",
                code="E-PLAN-LAYOUT",
            )
        raise InputError(
            f"{config.name} does not divide among 2 or more devices along {max(LAYOUTS[layout].axes)}",
            where=topology.name,
            fix="Take another layout; or make batch sizes multiples of data x fsdp x accumulation, encoder.num_heads a "
            "multiple of tensor, and the padded vocabulary a multiple of 128 x tensor (encoder.vocab_multiple).",
            code="E-PLAN-LAYOUT",
        )
    return min(found, key=lambda one: (not one.fits, one.seconds)).config.mesh


def _legal(config: RunConfig, topology: Topology, wanted: Iterator[MeshConfig]) -> list[Candidate]:
    found = []
    for mesh in wanted:
        changed = dataclasses.replace(config, mesh=mesh)
        try:
            check(changed, topology.devices)
            if topology.slices > 1 and mesh_shape(mesh, topology.devices)[0] % topology.slices:
                continue
        except InputError:
            continue
        found.append(judge(changed, topology))
    return found


def resolved(config: RunConfig, topology: Topology) -> RunConfig:
    """Returns `config` with a layout instead of `auto`: the fastest that fits, or the smallest if none fits.

    Raises:
      InputError: no layout divides the batches.
    """
    if config.mesh.layout != "auto":
        return config
    check_planned(config)
    given = config.mesh
    wanted = (
        mesh for mesh in meshes(config, topology) if given.fsdp in (1, mesh.fsdp) and given.tensor in (1, mesh.tensor)
    )
    found = _legal(config, topology, wanted)
    if not found:
        check(dataclasses.replace(config, mesh=dataclasses.replace(given, layout="fsdp_tensor")), topology.devices)
        raise InputError(
            f"no layout divides the batches and sizes of {config.name}",
            where=topology.name,
            fix="Name a layout and its mesh, for example --set mesh.layout=fsdp mesh.fsdp=4, to see what it needs.",
            code="E-PLAN-LAYOUT",
        )
    best = min(found, key=lambda one: (not one.fits, one.seconds if one.fits else one.memory))
    return best.config


def search(config: RunConfig, topology: Topology) -> list[Candidate]:
    """Returns every layout, mesh, accumulation and remat that suits the config, the fastest that fit first."""
    remats: tuple[Remat, ...] = ("none", "dots", "full")
    found: list[Candidate] = []
    for remat in remats:
        for accumulations in _accumulations(config, topology, single=True):
            changed = _changed(config, remat, accumulations)
            found += _legal(changed, topology, meshes(changed, topology))
    return sorted(found, key=lambda one: (not one.fits, one.seconds if one.fits else one.memory))


def anything_fits(config: RunConfig, topology: Topology) -> bool:
    """Returns whether a candidate of `search` fits. It judges two or three for each mesh, and `search` dozens.

    Remat `full` keeps the fewest activations. More micro-batches keep fewer too, but a single one needs no sum of
    gradients.
    """
    one, *more = _accumulations(config, topology)
    judged: set[MeshConfig] = set()
    for accumulations in (*reversed(more), one):
        changed = _changed(config, "full", accumulations)
        wanted = (mesh for mesh in meshes(changed, topology) if accumulations == one or mesh not in judged)
        found = _legal(changed, topology, wanted)
        if any(candidate.fits for candidate in found):
            return True
        judged |= {candidate.config.mesh for candidate in found}
    return False


def _changed(config: RunConfig, remat: Remat, accumulations: Sequence[int]) -> RunConfig:
    phases = zip(config.phases, accumulations, strict=True)
    return dataclasses.replace(
        config,
        encoder=dataclasses.replace(config.encoder, remat=remat),
        phases=tuple(dataclasses.replace(phase, accumulation=count) for phase, count in phases),
    )


def _accumulations(config: RunConfig, topology: Topology, *, single: bool = False) -> Iterator[tuple[int, ...]]:
    """Yields numbers of micro-batches, one per phase, that the devices divide.

    No phase has more tokens in a micro-batch than the first one, or as few more as the devices allow. With `single` it
    also yields, for each number of the first phase, one micro-batch for all later phases. These need no sum of
    gradients then.
    """
    first = config.phases[0]
    for count in _powers(max(1, first.batch_size // topology.devices)):
        tokens = first.batch_size * first.length / count
        counts = []
        for phase in config.phases:
            own = count
            rows = topology.devices * 2
            while phase.batch_size * phase.length / own > tokens * 1.01 and phase.batch_size % (rows * own) == 0:
                own *= 2
            while own > 1 and phase.batch_size * phase.length / (own // 2) <= tokens * 1.01:
                own //= 2
            counts.append(own)
        if single and any(own > 1 for own in counts[1:]):
            yield (count, *(1 for _ in counts[1:]))
        yield tuple(counts)


def topology_of(devices: Sequence[Any]) -> Topology | None:
    """Returns the topology of this run's devices, as far as jax tells; None if the table does not have the chip."""
    chip = chip_of(devices[0].device_kind)
    if chip is None:
        return None
    slices = len({getattr(device, "slice_index", None) for device in devices})
    if chip.kind == "gpu":
        slices = len({device.process_index for device in devices})
    each = len(devices) // slices
    if each % chip.devices:
        # A process that uses a part of a chip.
        chip = dataclasses.replace(chip, devices=1)
    each //= chip.devices
    shape = next((sides for sides in map(sides_of, SLICES[chip.name]) if math.prod(sides) == each), (each,))
    return Topology(chip, shape, slices)


def chosen_here(config: RunConfig, devices: Sequence[Any]) -> RunConfig:
    """Returns `config` with a layout instead of `auto`, for this run's devices; replicated if the chip is unknown."""
    if config.mesh.layout != "auto":
        return config
    topology = topology_of(devices)
    if topology is None:
        return dataclasses.replace(config, mesh=dataclasses.replace(config.mesh, layout="replicated"))
    return resolved(config, topology)
