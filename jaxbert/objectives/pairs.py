"""Objectives over a pair of segments, from the pooled vector: next sentence prediction."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxbert.config import EncoderConfig, NextSentenceConfig
from jaxbert.models.layers import Params
from jaxbert.models.model import Model
from jaxbert.objectives.base import Batch, Frozen, Term
from jaxbert.objectives.masked_lm import cross_entropy


class NextSentence:
    """Label 0: B follows A; 1: B is from another document (google-research/bert run_pretraining.py); -1: no label."""

    heads: tuple[str, ...] = ("pooler", "next_sentence")
    policies: tuple[str, ...] = ("segment_pair",)

    def __init__(self, config: NextSentenceConfig, encoder: EncoderConfig, *, length: int, slots: int):
        del encoder, length, slots
        self.weight = config.weight

    def corrupt(self, batch: Batch, frozen: Frozen, key: jax.Array) -> Batch:
        """See `Objective`; the rows carry the answer already."""
        del frozen, key
        return batch

    def denominators(self, batch: Batch) -> dict[str, jax.Array]:
        """See `Objective`."""
        return {"next_sentence": (batch["label"] >= 0).sum().astype(jnp.float32)}

    def terms(self, model: Model, params: Params, batch: Batch, x_BLD: jax.Array) -> dict[str, Term]:
        """See `Objective`."""
        loss_B, right_B = cross_entropy(model.next_sentence(params, x_BLD), jnp.maximum(batch["label"], 0))
        weight_B = (batch["label"] >= 0).astype(jnp.float32)
        return {
            "next_sentence": Term((loss_B * weight_B).sum(), weight_B.sum(), {"accuracy": (right_B * weight_B).sum()})
        }
