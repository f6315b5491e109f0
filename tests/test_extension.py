"""A sixth objective and a sixth family, each in one file and one line of a registry: nothing else need know of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.config import (
    DataConfig,
    EncoderConfig,
    EvaluationConfig,
    ExtraObjective,
    ObjectivesConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
    from_json,
    to_json,
)
from jaxbert.config.overrides import apply_overrides
from jaxbert.convert.hf import write_hf
from jaxbert.core.sharding import replicated, single_device_mesh
from jaxbert.errors import InputError
from jaxbert.models.families import FAMILIES, bert
from jaxbert.models.families.family import Name
from jaxbert.models.model import Model
from jaxbert.objectives import OBJECTIVES, Term
from jaxbert.training.step import build, frozen_tables
from tests.convert.comparison import published_of

VOCAB, LENGTH, BATCH = 60, 16, 8
ENCODER = EncoderConfig(
    vocab_size=VOCAB, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32, max_positions=LENGTH
)
CONFIG = RunConfig(
    name="toy",
    encoder=ENCODER,
    objectives=ObjectivesConfig(next_sentence=None, extra=(ExtraObjective(name="row_length", weight=2.0),)),
    data=DataConfig(source="none"),
    evaluation=EvaluationConfig(batch_size=BATCH),
    phases=(PhaseConfig(length=LENGTH, batch_size=BATCH, steps=9, schedule=ScheduleConfig(peak=1e-2, warmup_steps=1)),),
)


class RowLength:
    """A toy: whether a row is longer than half, from the pooled vector's first entry."""

    heads: Mapping[str, Mapping[str, int]] = {"pooler": {}}
    policies = ("packed", "segment_pair")

    def __init__(self, config: ExtraObjective, encoder: EncoderConfig, *, length: int, slots: int):
        self.weights: Mapping[str, float] = {"row_length": config.weight}
        self.half = length // 2

    def corrupt(self, batch: Any, frozen: Any, key: jax.Array) -> Any:
        return {**batch, "long": ((batch["group"] > 0).sum(1) > self.half).astype(jnp.float32)}

    def denominators(self, batch: Any) -> dict[str, jax.Array]:
        return {"row_length": jnp.ones_like(batch["long"]).sum()}

    def terms(self, model: Model, params: Any, frozen: Any, batch: Any, x_BLD: jax.Array) -> dict[str, Term]:
        guess_B = model.pooled(params, x_BLD)[:, 0]
        loss = ((guess_B - batch["long"]) ** 2).sum()
        right = ((guess_B > 0.5) == (batch["long"] > 0.5)).sum()
        return {"row_length": Term(loss, jnp.ones_like(guess_B).sum(), {"accuracy": right})}


def batch(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = (np.arange(LENGTH) < rng.integers(4, LENGTH + 1, (BATCH, 1))).astype(np.int32)
    tokens = rng.integers(5, VOCAB, (BATCH, LENGTH)).astype(np.int32) * group
    return {"tokens": tokens, "types": group * 0, "group": group, "label": np.full(BATCH, -1, np.int32)}


def test_an_objective_needs_its_class_and_one_line(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "row_length", RowLength)
    assert from_json(RunConfig, to_json(CONFIG), "config") == CONFIG
    mesh = single_device_mesh()
    program = build(CONFIG, mesh)
    assert set(program.weights) == {"masked_lm", "row_length"} and program.model.heads == ("masked_lm", "pooler")
    with jax.set_mesh(mesh):
        state = program.init(0)
        before = jax.device_get(state["params"])
        frozen = replicated(mesh, frozen_tables(np.arange(VOCAB) < 5, 4))
        for number in range(2):
            state, metrics = program.step(state, frozen, batch(number))
        total = metrics["masked_lm_loss"] + 2.0 * metrics["row_length_loss"]
        np.testing.assert_allclose(metrics["loss"], total, rtol=1e-6)
        judged = program.evaluate(state["params"], frozen, batch(99), np.int32(0))
        after = jax.device_get(state["params"])
    assert (after["pooler"]["dense"]["kernel"][:, 0] != before["pooler"]["dense"]["kernel"][:, 0]).all()
    assert set(judged) == {"masked_lm", "row_length"}


def test_an_objective_that_is_not_registered():
    with pytest.raises(InputError, match="is not registered"):
        build(CONFIG, single_device_mesh())


def test_it_is_set_from_the_command_line():
    plain = dataclasses.replace(CONFIG, objectives=ObjectivesConfig(next_sentence=None))
    config = apply_overrides(plain, ['objectives.extra=[{"name": "row_length", "weight": 2}]'])
    assert config.objectives.extra == (ExtraObjective(name="row_length", weight=2.0),)


def test_a_family_needs_its_file_and_one_line(monkeypatch, tmp_path):
    """A toy: BERT's encoder without token types, under names of its own."""

    def from_published(published: Mapping[str, Any], where: str) -> EncoderConfig:
        return dataclasses.replace(
            bert.from_published({**published, "type_vocab_size": 1}, where), family="toy", type_vocab_size=0
        )

    toy = dataclasses.replace(
        bert.FAMILY,
        presets={"tiny": dataclasses.replace(ENCODER, family="toy", type_vocab_size=0)},
        model_type="toy",
        prefix="toy.",
        from_published=from_published,
        to_published=lambda config, heads: {**bert.to_published(config, heads), "model_type": "toy"},
        names=lambda config: tuple(
            Name(line.ours, line.theirs.replace("bert.", "toy."), line.form, line.vocabulary, line.also)
            for line in bert.NAMES
            if line.ours != "encoder/embeddings/type/table"
        ),
        only={"type_vocab_size": lambda size: size == 0},
    )
    monkeypatch.setitem(FAMILIES, "toy", toy)
    config = toy.presets["tiny"]
    run = dataclasses.replace(CONFIG, encoder=config, objectives=ObjectivesConfig(next_sentence=None))
    mesh = single_device_mesh()
    program = build(run, mesh)
    with jax.set_mesh(mesh):
        state, metrics = program.step(
            program.init(0), replicated(mesh, frozen_tables(np.arange(VOCAB) < 5, 4)), batch(0)
        )
    assert np.isfinite(metrics["loss"])
    params = jax.tree.map(np.asarray, jax.device_get(state["params"]))
    write_hf(tmp_path / "out", config, params)
    read, again, heads = published_of(tmp_path / "out")
    assert read.family == "toy" and heads == ("masked_lm",)
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_what_a_family_cannot_hold_is_refused():
    wrong = dataclasses.replace(
        CONFIG, encoder=dataclasses.replace(ENCODER, embedding_size=8), objectives=ObjectivesConfig()
    )
    with pytest.raises(InputError, match="embedding_size"):
        build(wrong, single_device_mesh())
