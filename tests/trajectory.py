"""One hundred steps of a small BERT, from numpy's weights on numpy's rows: what ours and the peer's both train.

The real step of a run (corruption, two micro-batches, clipping, AdamW, BERT's schedule, a padded vocabulary), dropout
off. The peer is given the corrupted rows and the rates; weights, gradients, optimizer and losses are its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbert.config import (
    DataConfig,
    EncoderConfig,
    EvaluationConfig,
    NumericsConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
    slots,
)
from jaxbert.core.sharding import replicated, single_device_mesh
from jaxbert.objectives import make_objectives, prepare
from jaxbert.objectives.vocabulary import frozen_tables
from jaxbert.training.step import build

GOLDEN = Path(__file__).parent / "goldens" / "bert_trajectory.txt"
STEPS, ROWS, LENGTH, VOCABULARY, SPECIAL = 100, 8, 24, 211, 5
TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
OPTIMIZER = OptimizerConfig(name="adamw", beta1=0.9, beta2=0.98, epsilon=1e-6, weight_decay=0.01, clip_norm=1.0)
CONFIG = RunConfig(
    name="trajectory",
    encoder=EncoderConfig(
        vocab_size=VOCABULARY,
        hidden_size=24,
        num_layers=2,
        num_heads=3,
        intermediate_size=40,
        max_positions=LENGTH,
        activation="gelu_erf",
        dropout=0.0,
        attention_dropout=0.0,
    ),
    optimizer=OPTIMIZER,
    data=DataConfig(source="none"),
    evaluation=EvaluationConfig(batch_size=ROWS),
    phases=(
        PhaseConfig(
            length=LENGTH,
            batch_size=ROWS,
            accumulation=2,
            steps=STEPS,
            schedule=ScheduleConfig(kind="linear", peak=5e-3, warmup_steps=20, decay_from="zero"),
        ),
    ),
)


def rows(step: int) -> dict[str, np.ndarray]:
    """Clean rows [CLS] A [SEP] B [SEP] of varied length; each word follows from the one before."""
    rng = np.random.default_rng(1000 + step)
    length = rng.integers(LENGTH // 2, LENGTH + 1, (ROWS, 1))
    group = (np.arange(LENGTH) < length).astype(np.int32)
    tokens = SPECIAL + (rng.integers(0, 12, (ROWS, 1)) + np.arange(LENGTH)) % 12
    middle = rng.integers(3, LENGTH // 2 - 1, (ROWS, 1))
    for place, token in ((0, 2), (middle, 3), (length - 1, 3)):
        tokens = np.where(np.arange(LENGTH) == place, token, tokens)
    label = rng.integers(-1, 2, ROWS).astype(np.int32)
    return {
        "tokens": (tokens * group).astype(np.int32),
        "types": (group * (np.arange(LENGTH) > middle)).astype(np.int32),
        "group": group,
        "label": label,
    }


def weights(shapes: Any) -> Any:
    """Float32 weights of every parameter, from numpy; the padding of the vocabulary stays 0."""
    rng = np.random.default_rng(7)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        keys = [key.key for key in path]
        centre = 1.0 if keys[-1] == "scale" else 0.0
        drawn = (centre + 0.1 * rng.normal(size=leaf.shape)).astype(np.float32)
        if keys[-2:] == ["word", "table"] or keys == ["masked_lm", "bias"]:
            drawn[VOCABULARY:] = 0
        return drawn

    return jax.tree_util.tree_map_with_path(draw, shapes)


def ours(dtype: str) -> tuple[Any, list[float], list[float]]:
    """(weights at the start, loss of every step, rate of every step) of our own training in `dtype`."""
    numerics: Any = {"dtype": dtype}  # float64 is no choice of a run's: for comparisons only.
    config = dataclasses.replace(CONFIG, numerics=NumericsConfig(**numerics))
    mesh = single_device_mesh()
    with jax.enable_x64(dtype == "float64"), jax.set_mesh(mesh):
        program = build(config, mesh)
        state = program.init(0)
        start = weights(state["params"])
        floats = jax.tree.map(lambda x: x.astype(dtype) if x.dtype == np.float32 else x, state)
        place = jax.tree.map(lambda x: x.sharding, state["params"])
        state = {**floats, "params": jax.device_put(jax.tree.map(lambda w: w.astype(dtype), start), place)}
        frozen = replicated(mesh, frozen_tables(np.arange(VOCABULARY) < SPECIAL, 4))
        losses, rates = [], []
        for step in range(STEPS):
            state, metrics = program.step(state, frozen, rows(step))
            assert metrics["loss"].dtype == dtype
            losses.append(float(metrics["loss"]))
            rates.append(float(metrics["rate"]))
    return start, losses, rates


def peer_inputs() -> Iterator[dict[str, np.ndarray]]:
    """What our step makes of each batch, as the peer takes it: corrupted ids, labels in place and -100 elsewhere."""
    now = CONFIG.phases[0]
    objectives = make_objectives(CONFIG.objectives, CONFIG.encoder, length=LENGTH, slots=slots(CONFIG, now))
    tables = {name: jax.numpy.asarray(x) for name, x in frozen_tables(np.arange(VOCABULARY) < SPECIAL, 4).items()}
    made = jax.jit(lambda batch, key: prepare(objectives, {}, tables, batch, key))
    for step in range(STEPS):
        key = jax.random.fold_in(jax.random.key(CONFIG.seed, impl="threefry2x32"), step)
        clean = rows(step)
        found = jax.device_get(made(clean, jax.random.split(key)[0]))
        labels = np.full((ROWS, LENGTH), -100)
        row, slot = np.nonzero(found["slot_weight"])
        labels[row, found["slots"][row, slot]] = found["labels"][row, slot]
        yield {
            "input_ids": found["tokens"],
            "token_type_ids": clean["types"],
            "attention_mask": clean["group"],
            "labels": labels,
            "next_sentence_label": np.where(clean["label"] < 0, -100, clean["label"]),
        }
