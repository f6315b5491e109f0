"""Pretraining: one encoder, and the objectives of `ObjectivesConfig` over its last hidden states.

The file glues objectives together and adds no arithmetic: each term of the loss is computed in its objective's file.

Four files lead from a config (`configs/bert_base.py`) to the gradient:

    tasks/pretraining.py      makes the model and the objectives from the config, and calls them on a batch
    models/encoder.py         batch to hidden states: `PostLN.apply`, which `Model.hidden` calls
    objectives/masked_lm.py   the answers in the batch (`prepare`), and the loss from hidden states (`compute`)
    training/step.py          the sum of the terms, its gradient over micro-batches, and the optimizer's step
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import PhaseConfig, RunConfig, slots
from jaxbert.config.checks import check_objectives
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import LAYOUTS
from jaxbert.data.pipeline import Rows, count_tokens
from jaxbert.data.policies import POLICIES
from jaxbert.errors import InputError
from jaxbert.models.families import check_family
from jaxbert.models.flops import step_flops
from jaxbert.models.model import Model
from jaxbert.objectives import (
    OBJECTIVES,
    Objective,
    check_rows_fit,
    heads_of,
    make_objectives,
    masking,
    needs_pairs,
    prepare,
)
from jaxbert.objectives.base import Arrays, Frozen, Term
from jaxbert.objectives.distillation import teacher_model
from jaxbert.objectives.vocabulary import frozen_tables, needs_counts
from jaxbert.tasks.base import RowsTask, Task, TaskKind
from jaxbert.text.tokenizers import Tokenizer


class Pretraining(RowsTask):
    """See `Task`. A batch has tokens, types and group (B, L), and label (B,), all int32; `prepare` adds the answers."""

    def __init__(self, config: RunConfig, phase: PhaseConfig):
        """Makes the model and the objectives for the rows of a phase.

        Raises:
          InputError: an extra objective is not registered.
        """
        super().__init__(phase.length)
        self.config, self.phase = config, phase
        self.objectives = phase_objectives(config, phase)
        check_family(config.encoder)
        self.model = make_model(config, self.objectives)
        self.parts = self.model
        self.terms = {name: info for objective in self.objectives for name, info in objective.terms.items()}
        self.metrics = [metric for objective in self.objectives for metric in objective.metrics]
        distillation = config.objectives.distillation
        if distillation is not None:
            self.teachers = {"teacher": teacher_model(distillation, config.encoder)}
        self.flops_per_row = step_flops(
            config.encoder,
            length=phase.length,
            slots=slots(config, phase),
            heads=self.model.heads,
            distillation=distillation,
        )
        self.pairs = any(map(needs_pairs, self.objectives))
        self.conditions = f"{config.evaluation.mask_rate:.0%} masked"

    def check_rows(self, manifest: Mapping[str, Any], where: str) -> None:
        """See `Task`; each objective says which rows policies it can learn from."""
        check_rows_fit(self.objectives, manifest["policy"], where)

    def tables(self, tokenizer: Tokenizer, rows: Callable[[], Sequence[Rows]]) -> dict[str, np.ndarray]:
        """See `Task`; counts tokens in the rows where the masking depends on how often they occur."""
        masked = self.config.objectives.masked_lm
        counts = count_tokens(rows(), tokenizer.vocab_size) if needs_counts(masked) else None
        return self._tables(tokenizer.special, tokenizer.mask_id, tokenizer.word_start, counts)

    def abstract_tables(self) -> dict[str, jax.ShapeDtypeStruct]:
        """See `Task`."""
        vocabulary = np.zeros(self.config.encoder.vocab_size)
        tables = self._tables(vocabulary, 0, None, vocabulary + 1)
        return {name: jax.ShapeDtypeStruct(table.shape, table.dtype) for name, table in tables.items()}

    def _tables(
        self, special: np.ndarray, mask_id: int, word_start: np.ndarray | None, counts: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        longest = max(phase.length for phase in self.config.phases)
        masked = self.config.objectives.masked_lm
        return frozen_tables(special, mask_id, word_start, masked=masked, longest=longest, counts=counts)

    def prepare(self, params: Params, frozen: Frozen, batch: Arrays, key: jax.Array) -> Arrays:
        """See `Task`; each objective in turn changes tokens and adds answers: masks and labels, for the masked LM."""
        return prepare(self.objectives, params, frozen, batch, key)

    def denominators(self, batch: Arrays) -> dict[str, jax.Array]:
        """See `Task`."""
        return {name: weight for objective in self.objectives for name, weight in objective.denominators(batch).items()}

    def compute(
        self,
        params: Params,
        frozen: Frozen,
        batch: Arrays,
        *,
        dropout_key: jax.Array | None = None,
        dtype: Any = jnp.float32,
    ) -> dict[str, Term]:
        """See `Task`; runs the encoder once, and gives its last hidden states to every objective."""
        x_BLD = self.model.hidden(params, batch, dropout_key=dropout_key, dtype=dtype)
        return {
            name: term
            for objective in self.objectives
            for name, term in objective.compute(self.model, params, frozen, batch, x_BLD).items()
        }

    def evaluation(self) -> Task:
        """See `Task`; evaluation's masking replaces that of the training."""
        masked = self.config.objectives.masked_lm
        assert masked is not None
        masked = dataclasses.replace(masked, rate=self.config.evaluation.mask_rate)
        if self.config.evaluation.masking == "token":
            masked = dataclasses.replace(masked, scheme="token", random_ids="vocabulary")
        objectives = dataclasses.replace(self.config.objectives, masked_lm=masked)
        config = dataclasses.replace(self.config, objectives=objectives)
        return Pretraining(config, dataclasses.replace(self.phase, slots=0))


def phase_objectives(config: RunConfig, phase: PhaseConfig) -> list[Objective]:
    """Returns the objectives of a run on the rows of one of its phases."""
    return make_objectives(config.objectives, config.encoder, length=phase.length, slots=slots(config, phase))


def make_model(config: RunConfig, objectives: Sequence[Objective]) -> Model:
    """Returns the encoder and the heads that `objectives` call, in the run's layout."""
    heads = heads_of(objectives)
    layout = LAYOUTS["fsdp_tensor" if config.mesh.layout == "auto" else config.mesh.layout]
    return Model(config.encoder, heads, layout, sizes=heads)


def check(config: RunConfig) -> None:
    """Raises InputError at the first rule of pretraining that a config breaks."""
    check_objectives(config)
    masked, boundary = config.objectives.masked_lm, config.objectives.span_boundary
    if boundary is not None and masked is not None and not masking.SCHEMES[masked.scheme].replaces_spans:
        raise InputError(
            f"the span boundary term needs spans, but the masking scheme is {masked.scheme}",
            where="objectives.span_boundary",
            fix="Pass --set objectives.masked_lm.scheme=span.",
            code="E-OBJECTIVE-SPANS",
        )


def judged(config: RunConfig, manifest: Mapping[str, Any], parts: Collection[str]) -> RunConfig:
    """See `TaskKind`; keeps the objectives whose heads the model has and that can be judged on these rows."""
    policy = POLICIES.get(manifest["policy"])

    def kept(name: str, part: Any) -> bool:
        objective = OBJECTIVES[name]
        made = objective(part, config.encoder, length=manifest["length"], slots=1)
        return policy is not None and objective.fits(policy) and set(made.heads) <= set(parts)

    objectives = dataclasses.replace(config.objectives, distillation=None)
    beside = [field.name for field in dataclasses.fields(objectives) if field.name not in ("masked_lm", "extra")]
    dropped: dict[str, Any] = {
        name: None
        for name in beside
        if getattr(objectives, name) is not None and not kept(name, getattr(objectives, name))
    }
    extra = tuple(part for part in objectives.extra if part.name in OBJECTIVES and kept(part.name, part))
    return dataclasses.replace(config, objectives=dataclasses.replace(objectives, **dropped, extra=extra))


def heads(config: RunConfig) -> Mapping[str, Mapping[str, int]]:
    """Returns the heads that the objectives of a run call, with their sizes."""
    return heads_of(make_objectives(config.objectives, config.encoder, length=config.phases[0].length, slots=1))


KIND = TaskKind(make=Pretraining, check=check, judged=judged, heads=heads, planned=True)
