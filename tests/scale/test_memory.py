"""FSDP over eight devices: an eighth of parameters and moments on each, by the compiler's word and by what is alive."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from jaxbert.config import MeshConfig, RunConfig, find_config
from jaxbert.config.overrides import apply_overrides
from jaxbert.core.sharding import make_mesh
from jaxbert.training.step import build

# What does not divide lies whole: biases, LayerNorms and counters are 0.2% of bert_base, 0.6% of bert_mini.
OVERHEAD = {"bert_base": 0.002, "bert_mini": 0.006}


def program_of(name: str, fsdp: int) -> tuple[RunConfig, jax.sharding.Mesh, Any]:
    settings = ["phases.*.batch_size=16", "phases.*.accumulation=1", "phases.*.length=32", "evaluation.batch_size=16"]
    config = apply_overrides(find_config(name), settings)
    config = dataclasses.replace(
        config,
        mesh=MeshConfig(data=1, fsdp=fsdp, layout="fsdp"),
        data=dataclasses.replace(config.data, source="none"),
    )
    mesh = make_mesh(config.mesh, jax.devices()[:fsdp])
    return config, mesh, build(config, mesh)


def whole(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def test_by_the_compilers_word():
    """bert_base's step: the bytes that a device is given."""
    config, mesh, program = program_of("bert_base", 8)
    state = {name: program.state[name] for name in ("params", "opt_state")}
    with jax.set_mesh(mesh):
        compiled = program.step.lower(program.state, program.frozen, program.batch).compile()
    given = compiled.memory_analysis().argument_size_in_bytes
    rest = given - sum(
        int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves((program.frozen, program.batch))
    )
    assert whole(state) / 8 <= rest <= (1 / 8 + OVERHEAD["bert_base"]) * whole(state)
    assert config.encoder.hidden_size == 768


@pytest.fixture(scope="module")
def alive() -> tuple[dict[str, Any], dict[int, int], int]:
    """A state of bert_mini, the bytes alive on each device before any step, and the whole of it."""
    _, mesh, program = program_of("bert_mini", 8)
    before = by_device(jax.live_arrays())
    with jax.set_mesh(mesh):
        state = program.init(0)
    jax.block_until_ready(state)
    added = {device: size - before.get(device, 0) for device, size in by_device(jax.live_arrays()).items()}
    return state, added, whole(state)


def by_device(arrays: list[jax.Array]) -> dict[int, int]:
    found: dict[int, int] = {}
    for array in arrays:
        for shard in array.addressable_shards:
            found[shard.device.id] = found.get(shard.device.id, 0) + shard.data.nbytes
    return found


def test_by_what_is_alive(alive: Any):
    """Born sharded: nothing whole was left behind on any device either."""
    _, added, size = alive
    assert len(added) == 8
    for held in added.values():
        assert size / 8 <= held <= (1 / 8 + OVERHEAD["bert_mini"]) * size


def test_parameters_and_moments_are_each_an_eighth(alive: Any):
    state, _, _ = alive
    for name in ("params", "opt_state"):
        held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state[name]))
        assert held <= (1 / 8 + OVERHEAD["bert_mini"]) * whole(state[name]), name
