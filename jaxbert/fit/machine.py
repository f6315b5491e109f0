"""The machine that a recipe is chosen for, and the time of a training step on it: guessed, or measured."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxbert.config import MeshConfig, RunConfig, slots
from jaxbert.core.chips import CHIPS
from jaxbert.core.machine import cores, memory_bytes
from jaxbert.core.sharding import global_batch, make_mesh
from jaxbert.errors import counted
from jaxbert.models.flops import step_flops
from jaxbert.plan.here import CPU_MEMORY
from jaxbert.plan.layouts import chosen_here, judge, topology_of
from jaxbert.plan.topologies import Topology
from jaxbert.training.step import build

# FLOP/s of a CPU core in a small model's step, all overheads included: 18,000 tokens a second of the quickstart on two
# cores (docs/explanations/results.md). It only decides what is measured first.
_CORE_FLOPS = 38e9
# An accelerator that the plan's table does not have is planned as the slowest and smallest one that it has.
_UNKNOWN = {"tpu": "v5e", "gpu": "h100", "cpu": "h100"}
_UNKNOWN_MEMORY = 8 * 2**30
# Steps that are made before the clock runs, and that are timed.
_WARM_UP, _TIMED = 2, 12
_MOST_SECONDS = 10.0


@dataclass(frozen=True)
class Machine:
    """The devices of a run.

    Attributes:
      platform: "cpu", "gpu" or "tpu".
      kind: jax's name of a device.
      devices: number of devices.
      cores: CPU cores of this process.
      topology: the devices as the plan knows them. The memory of a chip counts, and on accelerators its rates.
      known: whether the plan has a table of this chip's rates.
    """

    platform: str
    kind: str
    devices: int
    cores: int
    topology: Topology
    known: bool

    @property
    def words(self) -> str:
        """Returns the machine in words: "2 CPU cores", "4 x TPU v5 lite"."""
        if self.platform == "cpu":
            return counted(self.cores, "CPU core")
        return f"{self.devices} x {self.kind}"


# Returns the seconds of a step of a phase of a run, by the index of the phase.
Speed = Callable[[RunConfig, int], float]


def machine_here(devices: Sequence[Any] | None = None) -> Machine:
    """Returns the machine of these devices (default: all devices of jax)."""
    devices = jax.devices() if devices is None else devices
    platform = devices[0].platform
    topology = topology_of(devices)
    if topology is not None:
        return Machine(platform, devices[0].device_kind, len(devices), cores(), topology, True)
    if platform == "cpu":
        memory = (memory_bytes() or _UNKNOWN_MEMORY) * CPU_MEMORY / len(devices)
    else:
        memory = (devices[0].memory_stats() or {}).get("bytes_limit", _UNKNOWN_MEMORY)
    chip = dataclasses.replace(CHIPS[_UNKNOWN[platform]], kind=platform, hbm=memory)
    return Machine(platform, devices[0].device_kind, len(devices), cores(), Topology(chip, (len(devices),)), False)


def guessed(machine: Machine) -> Speed:
    """Returns a guess of the seconds of a step: the plan's roofline on an accelerator, FLOPs on a CPU."""

    def seconds(config: RunConfig, phase: int) -> float:
        if machine.platform == "cpu":
            now = config.phases[phase]
            row = step_flops(config.encoder, length=now.length, slots=slots(config, now), heads=("masked_lm",))
            return row * now.batch_size / (_CORE_FLOPS * machine.cores)
        return judge(placed(config, machine), machine.topology).times[phase].expected

    return seconds


def placed(config: RunConfig, machine: Machine) -> RunConfig:
    """Returns `config` with a plain layout over the machine's devices where the layout is `auto`."""
    if config.mesh.layout != "auto":
        return config
    return dataclasses.replace(config, mesh=MeshConfig(layout="replicated"))


def fits(config: RunConfig, machine: Machine) -> bool:
    """Returns whether the plan's model of memory says that every phase fits, with a reserve."""
    return judge(placed(config, machine), machine.topology).fits


def measured(config: RunConfig, phase: int) -> float:
    """Compiles the real step of a phase, makes some steps on random rows, and returns the seconds of one.

    Args:
      config: a run.
      phase: the index of the phase.
    """
    config = chosen_here(config, jax.devices())
    now = config.phases[phase]
    mesh = make_mesh(config.mesh)
    with jax.set_mesh(mesh):
        program = build(config, mesh, phase)
        frozen = {
            name: jax.device_put(np.zeros(table.shape, table.dtype), table.sharding)
            for name, table in program.frozen.items()
        }
        ids = np.random.default_rng(0).integers(5, config.encoder.vocab_size, (now.batch_size, now.length), np.int32)
        rows = {
            name: ids if name == "tokens" else np.full((now.batch_size, *field.shape), name == "group", np.int32)
            for name, field in program.task.fields.items()
        }
        batch = global_batch(
            mesh, lambda lo, hi: {name: x[lo:hi] for name, x in rows.items()}, now.batch_size, program.task.fields
        )
        state = program.init(config.seed)
        for _ in range(_WARM_UP):
            state, metrics = program.step(state, frozen, batch)
        jax.block_until_ready(metrics)
        times: list[float] = []
        end = time.perf_counter() + _MOST_SECONDS
        while len(times) < _TIMED and (len(times) < 3 or time.perf_counter() < end):
            began = time.perf_counter()
            state, metrics = program.step(state, frozen, batch)
            jax.block_until_ready(metrics)
            times.append(time.perf_counter() - began)
    return statistics.median(times)
