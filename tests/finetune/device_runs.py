"""Trains tasks with labels a few steps on one mesh of all devices, and prints their losses as JSON.

Run by test_devices.py with eight fake devices: `python device_runs.py`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np

sys.path.append(str(Path(__file__).parents[2]))

from jaxbert.config import MeshConfig
from jaxbert.core.sharding import global_batch, make_mesh, replicated, single_device_mesh
from jaxbert.training.step import build
from tests.finetuning import CASES, ROWS, rows

STEPS = 3
# Every kind of loss, with every way to place arrays: pooled vectors, vectors of tokens, several texts a row, vectors
# compared over all rows.
KINDS = (
    "layer_decay",
    "several_labels",
    "number",
    "token_labels",
    "question_answering",
    "multiple_choice",
    "cosine",
    "negatives",
)


def losses(name: str, mesh: jax.sharding.Mesh, config: MeshConfig) -> list[float]:
    run = dataclasses.replace(
        CASES[name].config,
        mesh=config,
        encoder=dataclasses.replace(
            CASES[name].config.encoder, hidden_size=32, num_heads=2, intermediate_size=64, vocab_multiple=256
        ),
        phases=(dataclasses.replace(CASES[name].config.phases[0], accumulation=1),),
        evaluation=dataclasses.replace(CASES[name].config.evaluation, batch_size=ROWS),
    )
    with jax.set_mesh(mesh):
        program = build(run, mesh)
        state, frozen = program.init(3), replicated(mesh, {"seed": np.int32(0)})
        found = []
        for step in range(STEPS):
            host = rows(name, step)
            batch = global_batch(
                mesh, lambda lo, hi, host=host: {key: x[lo:hi] for key, x in host.items()}, ROWS, program.task.fields
            )
            state, metrics = program.step(state, frozen, batch)
            found.append(float(metrics["loss"]))
        assert program.judge is not None
        _, outputs = program.judge(state["params"], frozen, batch, np.int32(0))
        found.append(float(sum(np.abs(jax.device_get(x)[np.isfinite(x)]).clip(0, 100).sum() for x in outputs.values())))
    return found


if __name__ == "__main__":
    eight = MeshConfig(data=2, fsdp=2, tensor=2)
    print(
        json.dumps(
            {
                name: [
                    losses(name, make_mesh(eight), eight),
                    losses(name, single_device_mesh(), MeshConfig(data=1)),
                ]
                for name in KINDS
            }
        )
    )
