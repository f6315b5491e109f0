"""One hundred steps of every kind of task with labels, from numpy's weights on numpy's rows: both sides train them.

The real step of a run (clipping, AdamW, a rate with warm-up), dropout off. The peer is given the rows and the rates;
weights, losses, gradients and optimizer are its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbert.config import (
    EncoderConfig,
    EvaluationConfig,
    LabelledTaskConfig,
    NumericsConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
)
from jaxbert.core.sharding import replicated, single_device_mesh
from jaxbert.tasks.answers import QuestionAnsweringConfig
from jaxbert.tasks.choices import MultipleChoiceConfig
from jaxbert.tasks.sequences import ClassificationConfig
from jaxbert.tasks.token_labels import TokenLabelsConfig
from jaxbert.tasks.vectors import SentenceVectorsConfig
from jaxbert.training.step import build

GOLDEN = Path(__file__).parent / "goldens" / "finetuning.txt"
STEPS, ROWS, LENGTH, VOCABULARY, CLASSES, CHOICES = 100, 8, 16, 97, 3, 3
TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
RECORDED = 20  # steps whose losses are in the golden file
LABELS = ("a", "b", "c")
OPTIMIZER = OptimizerConfig(name="adamw", weight_decay=0.01, clip_norm=1.0)
CONFIG = RunConfig(
    name="finetuning",
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
    evaluation=EvaluationConfig(batch_size=ROWS),
    phases=(
        PhaseConfig(
            length=LENGTH,
            batch_size=ROWS,
            accumulation=2,
            steps=STEPS,
            schedule=ScheduleConfig(kind="linear", peak=1e-3, warmup_steps=10, decay_from="warmup"),
        ),
    ),
)


@dataclass(frozen=True)
class Case:
    """A task, and what differs from `CONFIG` beside it."""

    task: LabelledTaskConfig
    optimizer: OptimizerConfig = OPTIMIZER
    accumulation: int = 2

    @property
    def config(self) -> RunConfig:
        phase = dataclasses.replace(CONFIG.phases[0], accumulation=self.accumulation)
        return dataclasses.replace(CONFIG, task=self.task, optimizer=self.optimizer, phases=(phase,))


CASES: Mapping[str, Case] = {
    "one_label": Case(ClassificationConfig(labels=LABELS, smoothing=0.1, class_weights=(0.5, 1.0, 2.5))),
    "several_labels": Case(ClassificationConfig(labels=LABELS, problem="several_labels")),
    "number": Case(ClassificationConfig(problem="number")),
    "token_labels": Case(TokenLabelsConfig(labels=LABELS)),
    "question_answering": Case(QuestionAnsweringConfig()),
    "multiple_choice": Case(MultipleChoiceConfig(choices=CHOICES)),
    "cosine": Case(SentenceVectorsConfig(low=0.0, high=5.0)),
    "negatives": Case(SentenceVectorsConfig(loss="negatives"), accumulation=1),
    "layer_decay": Case(ClassificationConfig(labels=LABELS), dataclasses.replace(OPTIMIZER, layer_decay=0.7)),
    "frozen_layer": Case(ClassificationConfig(labels=LABELS), dataclasses.replace(OPTIMIZER, frozen_layers=1)),
    "frozen_encoder": Case(ClassificationConfig(labels=LABELS), dataclasses.replace(OPTIMIZER, frozen_layers=-1)),
}


def rows(name: str, step: int) -> dict[str, np.ndarray]:
    """Rows of varied length whose answers follow from their tokens; a few answers are unknown."""
    rng = np.random.default_rng(5000 + step)
    texts = {"multiple_choice": CHOICES, "cosine": 2, "negatives": 2}.get(name, 1)
    length = rng.integers(LENGTH // 2, LENGTH + 1, (ROWS, texts, 1))
    group = (np.arange(LENGTH) < length).astype(np.int32)
    first = rng.integers(0, 12, (ROWS, texts, 1))
    tokens = 5 + (first + np.arange(LENGTH)) % 80
    tokens[..., 0] = 2
    types = group * (np.arange(LENGTH) > length // 2)
    target = _target(name, rng, first[..., 0], length[..., 0])
    if name == "multiple_choice":
        # The first question has one choice less.
        group[0, -1] = 0
    shape = (ROWS, LENGTH) if texts == 1 else (ROWS, texts, LENGTH)
    batch = {"tokens": tokens * group, "types": types, "group": group}
    return {key: value.reshape(shape).astype(np.int32) for key, value in batch.items()} | {"target": target}


def _target(name: str, rng: np.random.Generator, first: np.ndarray, length: np.ndarray) -> np.ndarray:
    if name in ("number", "cosine"):
        target = (first.sum(-1) % 6).astype(np.float32)
        target[3] = np.nan
        return target
    if name == "negatives":
        return np.full(ROWS, np.nan, np.float32)
    if name == "several_labels":
        return (first % np.array([2, 3, 5]) == 0).astype(np.int32)
    if name == "token_labels":
        places = np.arange(LENGTH)
        known = (places % 2 == 1) & (places < length)
        return np.where(known, (first + places) % CLASSES, -1).astype(np.int32)
    if name == "question_answering":
        start = 1 + first % (LENGTH // 2 - 2)
        span = np.concatenate([start, start + 1], axis=-1)
        span[2] = 0  # no answer
        span[5] = -1  # unknown
        return span.astype(np.int32)
    target = (first[:, 0] % (CHOICES if name == "multiple_choice" else CLASSES)).astype(np.int32)
    if name == "multiple_choice":
        target[0] = 0
    target[4] = -1
    return target


def weights(shapes: Any) -> Any:
    """Float32 weights of every parameter, from numpy; the padding of the vocabulary stays 0."""
    rng = np.random.default_rng(11)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        keys = [key.key for key in path]
        drawn = ((1.0 if keys[-1] == "scale" else 0.0) + 0.1 * rng.normal(size=leaf.shape)).astype(np.float32)
        if keys[-2:] == ["word", "table"]:
            drawn[VOCABULARY:] = 0
        return drawn

    return jax.tree_util.tree_map_with_path(draw, shapes)


def ours(name: str, dtype: str, steps: int = STEPS) -> tuple[Any, list[float], list[float]]:
    """(weights at the start, loss of every step, rate of every step) of our own training in `dtype`."""
    numerics: Any = {"dtype": dtype}  # float64 is no choice of a run's: for comparisons only.
    config = dataclasses.replace(CASES[name].config, numerics=NumericsConfig(**numerics))
    mesh = single_device_mesh()
    with jax.enable_x64(dtype == "float64"), jax.set_mesh(mesh):
        program = build(config, mesh)
        state = program.init(0)
        start = weights(state["params"])
        floats = jax.tree.map(lambda x: x.astype(dtype) if x.dtype == np.float32 else x, state)
        place = jax.tree.map(lambda x: x.sharding, state["params"])
        state = {**floats, "params": jax.device_put(jax.tree.map(lambda w: w.astype(dtype), start), place)}
        frozen = replicated(mesh, {"seed": np.int32(0)})
        losses, rates = [], []
        for step in range(steps):
            batch = rows(name, step)
            if batch["target"].dtype == np.float32:
                batch["target"] = batch["target"].astype(dtype)
            state, metrics = program.step(state, frozen, batch)
            assert metrics["loss"].dtype == dtype
            losses.append(float(metrics["loss"]))
            rates.append(float(metrics["rate"]))
    return start, losses, rates


def recorded() -> dict[str, np.ndarray]:
    """The peer's losses of the first `RECORDED` steps in float64, by case, from the golden file."""
    lines = GOLDEN.read_text(encoding="utf-8").splitlines()
    names = lines[1].removeprefix("# step ").split()
    values = np.array([line.split()[1:] for line in lines if not line.startswith("#")], np.float64)
    return {name: values[:, names.index(name)] for name in CASES}
