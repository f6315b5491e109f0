"""A toy task: a float target for each token, measured by a correlation, which is no mean over tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import PhaseConfig, RunConfig, TaskConfig
from jaxbert.core.sharding import LAYOUTS
from jaxbert.models.model import Model
from jaxbert.tasks.base import Field, Metric, RowsTask, TaskKind, Term, TermInfo, at_least_one, means


@dataclass(frozen=True, kw_only=True)
class TokenTargetsConfig(TaskConfig):
    """Settings of the task: a token's target is (its id modulo `period`) / period."""

    name: str = "token_targets"
    period: int = 7


class TokenTargets(RowsTask):
    """Learns a number for each token. The batch has a float32 field per token that rows on disk do not have."""

    metrics = (Metric("correlation", "correlation with the targets", "corr", "number", "Pearson's, over tokens."),)
    flops_per_row = 1e6

    def __init__(self, config: RunConfig, phase: PhaseConfig):
        super().__init__(phase.length)
        assert isinstance(config.task, TokenTargetsConfig)
        self.period = config.task.period
        self.terms = {"targets": TermInfo(0.5, "token targets", "Squared error.")}
        self.fields = {**self.fields, "target": Field((phase.length,), "float32")}
        self.model = self.parts = Model(
            config.encoder,
            ["token_classification"],
            LAYOUTS[config.mesh.layout],
            sizes={"token_classification": {"labels": 1}},
        )

    def collate(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        batch = super().collate(rows)
        return {**batch, "target": (batch["tokens"] % self.period / self.period).astype(np.float32)}

    def denominators(self, batch: Any) -> dict[str, jax.Array]:
        return {"targets": (batch["group"] > 0).astype(jnp.float32).sum()}

    def compute(self, params: Any, frozen: Any, batch: Any, *, dropout_key: Any, dtype: Any) -> dict[str, Term]:
        x_BLD = self.model.hidden(params, batch, dropout_key=dropout_key, dtype=dtype)
        guess_BL = self.model.token_classification(params, x_BLD)[..., 0]
        weight_BL, target_BL = (batch["group"] > 0).astype(jnp.float32), batch["target"]
        moments = {"x": guess_BL, "y": target_BL, "xx": guess_BL**2, "yy": target_BL**2, "xy": guess_BL * target_BL}
        figures = {name: (value * weight_BL).sum() for name, value in moments.items()}
        return {"targets": Term((weight_BL * (guess_BL - target_BL) ** 2).sum(), weight_BL.sum(), figures)}

    def measure(self, sums: Mapping[str, Term]) -> dict[str, Any]:
        term = sums["targets"]
        x, y, xx, yy, xy = (term.figures[name] / at_least_one(term.weight) for name in ("x", "y", "xx", "yy", "xy"))
        loss = means({"targets": Term(term.sum, term.weight, {})})
        return {**loss, "correlation": (xy - x * y) / ((xx - x * x) * (yy - y * y) + 1e-20) ** 0.5}


KIND = TaskKind(make=TokenTargets, config=TokenTargetsConfig)
