"""A toy task: two encoders on one batch. One reads the first segment of a row, the other the second segment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxbert.config import PhaseConfig, RunConfig
from jaxbert.core.sharding import LAYOUTS
from jaxbert.data.policies import POLICIES
from jaxbert.errors import InputError
from jaxbert.models.model import Model
from jaxbert.tasks.base import Metric, RowsTask, TaskKind, Term, TermInfo, Together


class TwoEncoders(RowsTask):
    """The label of a pair from the inner product of the mean vectors of both segments."""

    metrics = (Metric("together_accuracy", "share of pairs judged right", "pairs"),)
    flops_per_row = 1e6

    def __init__(self, config: RunConfig, phase: PhaseConfig):
        super().__init__(phase.length)
        self.models = {name: Model(config.encoder, [], LAYOUTS[config.mesh.layout]) for name in ("first", "second")}
        self.parts = Together(self.models)
        self.terms = {"together": TermInfo(1.0, "pairs")}

    def check_rows(self, manifest: Mapping[str, Any], where: str) -> None:
        policy = POLICIES[manifest["policy"]]
        if not policy.pairs or policy.label == "none":
            raise InputError("the rows have no labelled pairs", where=where, fix="Make pairs.", code="E-TASK-ROWS")

    def denominators(self, batch: Any) -> dict[str, jax.Array]:
        return {"together": (batch["label"] >= 0).astype(jnp.float32).sum()}

    def compute(self, params: Any, frozen: Any, batch: Any, *, dropout_key: Any, dtype: Any) -> dict[str, Term]:
        vectors = []
        for side, (name, model) in enumerate(self.models.items()):
            key = None if dropout_key is None else jax.random.fold_in(dropout_key, side)
            group_BL = jnp.where(batch["types"] == side, batch["group"], 0)
            x_BLD = model.hidden(params[name], {**batch, "group": group_BL}, dropout_key=key, dtype=dtype)
            weight_BL = (group_BL > 0).astype(jnp.float32)
            total_BD = (x_BLD.astype(jnp.float32) * weight_BL[..., None]).sum(1)
            vectors.append(total_BD / jnp.maximum(weight_BL.sum(1), 1.0)[..., None])
        z_B = (vectors[0] * vectors[1]).mean(-1)
        weight_B, label_B = (batch["label"] >= 0).astype(jnp.float32), (batch["label"] == 0).astype(jnp.float32)
        loss_B = weight_B * (jnp.logaddexp(0, z_B) - label_B * z_B)
        right = (weight_B * ((z_B > 0) == (label_B > 0))).sum()
        return {"together": Term(loss_B.sum(), weight_B.sum(), {"accuracy": right})}


KIND = TaskKind(make=TwoEncoders)
