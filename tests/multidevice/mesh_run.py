"""Corrupts a batch on each mesh of 8 fake devices, trains on two, and prints it all as JSON; run by test_meshes.py."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np

from jaxbert.config import (
    DataConfig,
    EncoderConfig,
    EvaluationConfig,
    MeshConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
)
from jaxbert.core.sharding import global_batch, make_mesh, replicated
from jaxbert.objectives.vocabulary import frozen_tables
from jaxbert.tasks.base import batch_fields
from jaxbert.training.step import build

sys.path.append(str(Path(__file__).parents[1] / "objectives"))

import golden_corruption as golden

LENGTH, BATCH, VOCAB, STEPS = 32, 16, 500, 4
CONFIG = RunConfig(
    name="meshes",
    encoder=EncoderConfig(
        vocab_size=VOCAB, hidden_size=64, num_layers=2, num_heads=4, intermediate_size=128, max_positions=LENGTH
    ),
    optimizer=OptimizerConfig(name="lamb_mlperf"),
    data=DataConfig(source="none"),
    evaluation=EvaluationConfig(batch_size=BATCH),
    phases=(
        PhaseConfig(
            length=LENGTH,
            batch_size=BATCH,
            accumulation=2,
            steps=100,
            schedule=ScheduleConfig(peak=1e-2, warmup_steps=2),
        ),
    ),
)
MESHES = {
    "1": MeshConfig(data=1),
    "8x1x1": MeshConfig(data=8),
    "2x4x1": MeshConfig(data=2, fsdp=4),
    "2x2x2": MeshConfig(data=2, fsdp=2, tensor=2),
    "1x8x1": MeshConfig(data=1, fsdp=8),
}
# Masks are made on all of them, steps on these; tests/scale trains on every mesh.
TRAINED = ("1", "2x2x2")


def host_batch(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    group = (np.arange(LENGTH) < rng.integers(8, LENGTH + 1, (BATCH, 1))).astype(np.int32)
    tokens = rng.integers(5, VOCAB, (BATCH, LENGTH)).astype(np.int32) * group
    label = rng.integers(0, 2, BATCH).astype(np.int32)
    return {"tokens": tokens, "types": group * (np.arange(LENGTH) > 15), "group": group, "label": label}


def on_mesh(mesh: jax.sharding.Mesh, rows: dict[str, np.ndarray], length: int) -> dict[str, jax.Array]:
    size = len(rows["tokens"])
    return global_batch(mesh, lambda lo, hi: {k: v[lo:hi] for k, v in rows.items()}, size, batch_fields(length))


def run(name: str) -> dict:
    config = dataclasses.replace(CONFIG, mesh=MESHES[name])
    mesh = make_mesh(config.mesh, jax.devices()[:1] if name == "1" else None)
    with jax.set_mesh(mesh):
        batch, tables = on_mesh(mesh, golden.rows(), golden.LENGTH), replicated(mesh, golden.frozen())
        masks = golden.digests(jax.jit(golden.corrupted)(batch, tables, jax.random.key(golden.KEY)))
        if name not in TRAINED:
            return {"masks": masks}
        program = build(config, mesh)
        losses = []
        state = program.init(0)
        frozen = replicated(mesh, frozen_tables(np.arange(VOCAB) < 5, 4))
        for number in range(STEPS):
            batch = on_mesh(mesh, host_batch(number), LENGTH)
            state, metrics = program.step(state, frozen, batch)
            losses.append(float(metrics["loss"]))
        held = sum(
            leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves((state["params"], state["opt_state"]))
        )
    return {"masks": masks, "losses": losses, "compilations": program.step._cache_size(), "bytes": held}


if __name__ == "__main__":
    print(json.dumps({name: run(name) for name in MESHES}))
