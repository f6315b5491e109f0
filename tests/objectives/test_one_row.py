"""A batch of one row trains, with every objective and every masking scheme; tracing the step finds what does not."""

from __future__ import annotations

import dataclasses

import jax
import pytest

from jaxbert.config import find_config
from jaxbert.config.overrides import apply_overrides
from jaxbert.core.sharding import single_device_mesh
from jaxbert.objectives.masking import SCHEMES
from jaxbert.training.step import build

_ROWS = ("phases.*.batch_size=1", "phases.*.accumulation=1", "evaluation.batch_size=1")


# Each family with its own scheme, and every scheme.
CASES = [(name, None) for name in ("bert_tiny", "roberta_tiny", "albert_tiny", "spanbert_tiny", "distilbert_tiny")]
CASES += [("bert_tiny", scheme) for scheme in SCHEMES]


@pytest.mark.parametrize(("name", "scheme"), CASES)
def test_one_row(name: str, scheme: str | None) -> None:
    settings = [] if scheme is None else [f"objectives.masked_lm.scheme={scheme}"]
    config, mesh = apply_overrides(find_config(name), [*_ROWS, *settings]), single_device_mesh()
    distillation = config.objectives.distillation
    if distillation is not None:  # a run takes the teacher's encoder from its model
        distillation = dataclasses.replace(distillation, encoder=find_config("bert_tiny").encoder)
        objectives = dataclasses.replace(config.objectives, distillation=distillation)
        config = dataclasses.replace(config, objectives=objectives)
    with jax.set_mesh(mesh):
        program = build(config, mesh)
        state, _ = jax.eval_shape(program.step, program.state, program.frozen, program.batch)
        assert jax.tree.structure(state) == jax.tree.structure(program.state)
        number = jax.ShapeDtypeStruct((), "int32")
        jax.eval_shape(program.evaluate, program.state["params"], program.frozen, program.evaluation_batch, number)
