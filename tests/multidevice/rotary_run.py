"""Trains the toy rotary encoder in every layout, on meshes of 8 fake devices; prints losses as JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np

sys.path.append(str(Path(__file__).parents[2]))

from jaxbert.config import MeshConfig, ObjectivesConfig, check
from jaxbert.core.sharding import make_mesh, replicated
from jaxbert.models.families import FAMILIES
from jaxbert.objectives.vocabulary import frozen_tables
from jaxbert.training.step import build
from tests.models import toy_rotary
from tests.multidevice.mesh_run import CONFIG, LENGTH, VOCAB, host_batch, on_mesh

MESHES = {
    "one": MeshConfig(data=1, layout="replicated"),
    "replicated": MeshConfig(layout="replicated"),
    "zero1": MeshConfig(fsdp=4, layout="zero1"),
    "fsdp": MeshConfig(fsdp=4, layout="fsdp"),
    "fsdp_tensor": MeshConfig(fsdp=2, tensor=2, layout="fsdp_tensor"),
}


def run(name: str) -> dict:
    encoder = toy_rotary.FAMILY.presets["tiny"]
    objectives = ObjectivesConfig(next_sentence=None)
    phases = tuple(dataclasses.replace(phase, accumulation=1) for phase in CONFIG.phases)
    config = dataclasses.replace(CONFIG, encoder=encoder, objectives=objectives, mesh=MESHES[name], phases=phases)
    mesh = make_mesh(config.mesh, jax.devices()[:1] if name == "one" else None)
    check(config, mesh.size)
    with jax.set_mesh(mesh):
        program = build(config, mesh)
        state, frozen, losses = program.init(0), replicated(mesh, frozen_tables(np.arange(VOCAB) < 5, 4)), []
        for number in range(3):
            state, metrics = program.step(state, frozen, on_mesh(mesh, host_batch(number), LENGTH))
            losses.append(float(metrics["loss"]))
        learned = []
        # The tokens are random, so that it can only learn the rows themselves: on one device, the same ones again.
        for _ in range(40 if name == "one" else 0):
            state, metrics = program.step(state, frozen, on_mesh(mesh, host_batch(0), LENGTH))
            learned.append(float(metrics["loss"]))
        shard = state["params"]["encoder"]["layers"]["up"]["kernel"].addressable_shards[0].data.shape
    return {"losses": losses, "learned": learned, "shard": shard}


if __name__ == "__main__":
    FAMILIES["rotary"] = toy_rotary.FAMILY  # type: ignore[index]
    print(json.dumps({name: run(name) for name in MESHES}))
