"""A toy task after ELECTRA (Clark et al. 2020): a generator inside the step replaces tokens, the encoder finds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from jaxbert.config import MaskedLMConfig, PhaseConfig, RunConfig
from jaxbert.core.sharding import BATCH, LAYOUTS, reshard
from jaxbert.models.layers import take_slots
from jaxbert.models.model import Model
from jaxbert.objectives.masked_lm import MaskedLM, cross_entropy
from jaxbert.objectives.vocabulary import frozen_tables
from jaxbert.tasks.base import Metric, RowsTask, TaskKind, Term, TermInfo, Together

MASKED = MaskedLMConfig(rate=0.3, mask=1.0, random=0.0)


class ReplacedTokens(RowsTask):
    """Two terms: the generator's masked LM, and for every token whether the generator has replaced it."""

    metrics = (Metric("replaced_accuracy", "replaced-token accuracy", "rtd"),)
    flops_per_row = 1e6

    def __init__(self, config: RunConfig, phase: PhaseConfig):
        super().__init__(phase.length)
        layout = LAYOUTS[config.mesh.layout]
        small = dataclasses.replace(config.encoder, num_layers=1)
        self.generator = Model(small, ["masked_lm"], layout)
        self.encoder = Model(
            config.encoder, ["token_classification"], layout, sizes={"token_classification": {"labels": 1}}
        )
        self.parts = Together({"generator": self.generator, "encoder": self.encoder})
        self.terms = {"generator": TermInfo(1.0, "generator"), "replaced": TermInfo(50.0, "replaced tokens")}
        self.masking = MaskedLM(MASKED, small, length=phase.length, slots=round(MASKED.rate * phase.length))
        self.vocab_size = config.encoder.vocab_size

    def tables(self, tokenizer: Any, rows: Callable[[], Sequence[Any]]) -> dict[str, np.ndarray]:
        return frozen_tables(tokenizer.special, tokenizer.mask_id)

    def abstract_tables(self) -> dict[str, jax.ShapeDtypeStruct]:
        tables = frozen_tables(np.zeros(self.vocab_size), 0)
        return {name: jax.ShapeDtypeStruct(table.shape, table.dtype) for name, table in tables.items()}

    def prepare(self, params: Any, frozen: Any, batch: Any, key: jax.Array) -> Any:
        mask_key, draw_key = jax.random.split(key)
        masked = self.masking.prepare({}, frozen, batch, mask_key)
        x_BLD = self.generator.hidden(params["generator"], masked)
        z_BMV = self.generator.masked_lm(params["generator"], take_slots(x_BLD, masked["slots"]))
        z_BMV = reshard(z_BMV, P(BATCH, None, None))[..., : self.vocab_size]
        drawn_BM = jnp.argmax(z_BMV + jax.random.gumbel(draw_key, z_BMV.shape), axis=-1).astype(jnp.int32)
        at_BM = jnp.where(masked["slot_weight"] > 0, masked["slots"], batch["tokens"].shape[1])
        tokens_BL = jax.vmap(lambda row, at, new: row.at[at].set(new, mode="drop"))(batch["tokens"], at_BM, drawn_BM)
        return {
            **masked,
            "masked": masked["tokens"],
            "tokens": tokens_BL,
            "replaced": (tokens_BL != batch["tokens"]).astype(jnp.float32),
        }

    def denominators(self, batch: Any) -> dict[str, jax.Array]:
        return {"generator": batch["slot_weight"].sum(), "replaced": (batch["group"] > 0).astype(jnp.float32).sum()}

    def compute(self, params: Any, frozen: Any, batch: Any, *, dropout_key: Any, dtype: Any) -> dict[str, Term]:
        keys = (None, None) if dropout_key is None else jax.random.split(dropout_key)
        seen = {**batch, "tokens": batch["masked"]}
        x_BLD = self.generator.hidden(params["generator"], seen, dropout_key=keys[0], dtype=dtype)
        z_BMV = self.generator.masked_lm(params["generator"], take_slots(x_BLD, batch["slots"]))
        loss_BM = cross_entropy(z_BMV, batch["labels"])[0] * batch["slot_weight"]
        x_BLD = self.encoder.hidden(params["encoder"], batch, dropout_key=keys[1], dtype=dtype)
        z_BL = self.encoder.token_classification(params["encoder"], x_BLD)[..., 0]
        weight_BL, label_BL = (batch["group"] > 0).astype(jnp.float32), batch["replaced"]
        loss_BL = weight_BL * (jnp.logaddexp(0, z_BL) - label_BL * z_BL)
        right_BL = weight_BL * ((z_BL > 0) == (label_BL > 0))
        return {
            "generator": Term(loss_BM.sum(), batch["slot_weight"].sum(), {}),
            "replaced": Term(loss_BL.sum(), weight_BL.sum(), {"accuracy": right_BL.sum()}),
        }


KIND = TaskKind(make=ReplacedTokens)
