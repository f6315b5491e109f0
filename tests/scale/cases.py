"""A small run of each family with its own objectives, on any mesh of the eight devices of this process.

Among them: shared layers and a projection, word starts, spans and their boundaries, a sharded teacher of another width,
packed rows.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import (
    DataConfig,
    DistillationConfig,
    EncoderConfig,
    EvaluationConfig,
    MaskedLMConfig,
    MeshConfig,
    ObjectivesConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
    SentenceOrderConfig,
    SpanBoundaryConfig,
)
from jaxbert.core.sharding import global_batch, make_mesh, replicated
from jaxbert.objectives import prepare
from jaxbert.objectives.vocabulary import frozen_tables
from jaxbert.tasks.base import batch_fields
from jaxbert.tasks.pretraining import phase_objectives
from jaxbert.training.step import build

LENGTH, BATCH, VOCAB, STEPS, SPECIAL = 32, 16, 500, 10, 5
ENCODER = EncoderConfig(
    vocab_size=VOCAB, hidden_size=64, num_layers=2, num_heads=4, intermediate_size=128, max_positions=LENGTH
)
SCHEDULE = ScheduleConfig(peak=1e-3, warmup_steps=2)
# Of another width, another family and in two groups of layers.
TEACHER = dataclasses.replace(ENCODER, family="albert", hidden_size=32, embedding_size=16, num_layers=4, layer_groups=2)


def masked(**settings: Any) -> ObjectivesConfig:
    return ObjectivesConfig(masked_lm=MaskedLMConfig(**settings), next_sentence=None)


FAMILIES: dict[str, tuple[EncoderConfig, ObjectivesConfig, OptimizerConfig]] = {
    "bert": (ENCODER, ObjectivesConfig(), OptimizerConfig(name="lamb_mlperf")),
    "roberta": (
        dataclasses.replace(
            ENCODER,
            family="roberta",
            position_offset=2,
            max_positions=LENGTH + 2,
            type_vocab_size=0,
            activation="gelu_erf",
            layer_norm_epsilon=1e-5,
            initializer="normal",
        ),
        masked(scheme="whole_word", random_ids="ordinary"),
        OptimizerConfig(name="fairseq_adamw"),
    ),
    "albert": (
        dataclasses.replace(ENCODER, family="albert", embedding_size=16, num_layers=4, layer_groups=2),
        dataclasses.replace(masked(scheme="ngram"), sentence_order=SentenceOrderConfig()),
        OptimizerConfig(name="lamb_albert"),
    ),
    "spanbert": (
        dataclasses.replace(ENCODER, family="spanbert"),
        dataclasses.replace(
            masked(scheme="span", random_ids="corpus"), span_boundary=SpanBoundaryConfig(max_targets=4, position_size=6)
        ),
        OptimizerConfig(name="fairseq_adamw"),
    ),
    "distilbert": (
        dataclasses.replace(ENCODER, family="distilbert", type_vocab_size=0),
        dataclasses.replace(
            masked(scheme="frequency"),
            distillation=DistillationConfig(teacher="given", encoder=TEACHER, chunk=8),
        ),
        OptimizerConfig(name="adamw"),
    ),
}
# (data, fsdp, tensor)
MESHES = {"1": (1, 1, 1), "8x1x1": (8, 1, 1), "2x4x1": (2, 4, 1), "2x2x2": (2, 2, 2), "1x8x1": (1, 8, 1)}


@dataclass(frozen=True)
class Case:
    """What a run is made of."""

    mesh: str
    layout: str
    dropout: float
    accumulation: int
    remat: str
    family: str

    def __str__(self) -> str:
        return f"{self.family}-{self.mesh}-{self.layout}-{self.dropout}-{self.accumulation}-{self.remat}"


def host_batch(number: int) -> dict[str, np.ndarray]:
    """Pairs, or what may pass for packed rows: two groups, a special token at the begin of each."""
    rng = np.random.default_rng(number)
    real, first = rng.integers(20, LENGTH + 1, (BATCH, 1)), rng.integers(6, 14, (BATCH, 1))
    column = np.arange(LENGTH)
    second = (column > first).astype(np.int32)
    packed = np.arange(BATCH)[:, None] % 2
    tokens = rng.integers(SPECIAL, VOCAB, (BATCH, LENGTH))
    tokens = np.where((column == 0) | (column == first + 1) & (packed == 1), 2, tokens)
    tokens = np.where((column == first) | (column == real - 1), 3, tokens)
    inside = (column < real).astype(np.int32)
    return {
        "tokens": (tokens * inside).astype(np.int32),
        "types": second * inside * (1 - packed),
        "group": (1 + second * packed) * inside,
        "label": np.where(packed[:, 0] == 1, -1, 0).astype(np.int32),
    }


def config_of(case: Case) -> RunConfig:
    encoder, objectives, optimizer = FAMILIES[case.family]
    data, fsdp, tensor = MESHES[case.mesh]
    return RunConfig(
        name=case.family,
        encoder=dataclasses.replace(encoder, dropout=case.dropout, attention_dropout=case.dropout, remat=case.remat),
        objectives=objectives,
        optimizer=optimizer,
        data=DataConfig(source="none"),
        evaluation=EvaluationConfig(batch_size=BATCH),
        mesh=MeshConfig(data=data, fsdp=fsdp, tensor=tensor, layout=case.layout),
        phases=(
            PhaseConfig(length=LENGTH, batch_size=BATCH, accumulation=case.accumulation, steps=100, schedule=SCHEDULE),
        ),
    )


def run(case: Case, look: bool = False) -> dict[str, Any]:
    """Figures of every step, what the devices hold; with `look` the rows as a step sees them, and an evaluation."""
    config = config_of(case)
    mesh = make_mesh(config.mesh, jax.devices()[:1] if case.mesh == "1" else None)
    program = build(config, mesh)
    special = np.arange(VOCAB) < SPECIAL
    starts = np.arange(VOCAB) % 3 != 0
    tables = frozen_tables(
        special, 4, starts, masked=config.objectives.masked_lm, longest=LENGTH, counts=1000 // np.arange(1, VOCAB + 1)
    )
    figures, seen, judged = [], {}, {}
    with jax.set_mesh(mesh):
        frozen = replicated(mesh, tables)
        if "teacher" in program.frozen:
            frozen["teacher"] = teacher_of(program.frozen["teacher"])
        state = program.init(0)
        for number in range(STEPS):
            rows = host_batch(number)
            batch = global_batch(
                mesh, lambda lo, hi, rows=rows: {k: v[lo:hi] for k, v in rows.items()}, BATCH, batch_fields(LENGTH)
            )
            if look and number == 0:
                made = jax.jit(lambda b, t, k: prepare(phase_objectives(config, config.phases[0]), {}, t, b, k))
                seen = jax.device_get(made(batch, frozen, jax.random.key(3)))
                judged = jax.device_get(program.evaluate(state["params"], frozen, batch, np.int32(0)))
            state, metrics = program.step(state, frozen, batch)
            figures.append({name: float(value) for name, value in metrics.items() if name != "terms"})
    return {
        "figures": figures,
        "seen": seen,
        "judged": {name: float(term.sum / term.weight) for name, term in judged.items()},
        "compilations": program.step._cache_size(),
        "parameters": held(state["params"]),
        "moments": held(state["opt_state"]),
        "teacher": held(frozen.get("teacher", {})),
    }


def held(tree: Any) -> int:
    """Bytes of a tree that its first device holds."""
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))


def teacher_of(like: Any) -> Any:
    """Weights from numpy, the same on every mesh."""
    rng = np.random.default_rng(1)

    def draw(target: jax.ShapeDtypeStruct) -> jax.Array:
        host = np.asarray(rng.normal(size=target.shape) * 0.2, jnp.bfloat16)
        return jax.make_array_from_callback(target.shape, target.sharding, lambda index: host[index])

    return jax.tree.map(draw, like)
