"""Objectives that classify a pair of segments from the pooled vector: next sentence, sentence order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxbert.config import EncoderBase, NextSentenceConfig, SentenceOrderConfig
from jaxbert.core.metrics import Metric, TermInfo
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import act, take_along_rows
from jaxbert.data.policies.segments import Policy
from jaxbert.models.model import Model
from jaxbert.objectives.base import Arrays, Frozen, Term
from jaxbert.objectives.masked_lm import cross_entropy
from jaxbert.objectives.masking.slots import share

_CHANCE = (
    "Share of pairs that the model judges right. A constant answer is right for the larger class, whose share "
    "`jaxbert evaluate` prints."
)
_NATS = "Nats per pair, before its weight."


class NextSentence:
    """Next sentence prediction. Label 0: B follows A; 1: B is from another document; -1: no label.

    Source: google-research/bert run_pretraining.py.
    """

    config: ClassVar[type] = NextSentenceConfig
    metrics: Sequence[Metric] = (Metric("next_sentence_accuracy", "next-sentence accuracy", "nsp", note=_CHANCE),)
    heads: Mapping[str, Mapping[str, int]] = {"pooler": {}, "next_sentence": {}}

    def __init__(self, config: NextSentenceConfig, encoder: EncoderBase, *, length: int, slots: int):
        del encoder, length, slots
        self.terms: Mapping[str, TermInfo] = {"next_sentence": TermInfo(config.weight, "next sentence", _NATS)}

    @staticmethod
    def fits(policy: Policy) -> bool:
        """See `Objective`; the label must say whether B follows A."""
        return policy.label == "continuation"

    def prepare(self, params: Params, frozen: Frozen, batch: Arrays, key: jax.Array) -> Arrays:
        """See `Objective`; the rows hold the answer already."""
        del params, frozen, key
        return batch

    def denominators(self, batch: Arrays) -> dict[str, jax.Array]:
        """See `Objective`."""
        return {"next_sentence": _labelled(batch).sum()}

    def compute(self, model: Model, params: Params, frozen: Frozen, batch: Arrays, x_BLD: jax.Array) -> dict[str, Term]:
        """See `Objective`."""
        del frozen
        return {"next_sentence": _term(model.next_sentence(params, x_BLD), batch)}


class SentenceOrder:
    """Sentence order prediction. Label 0: A and B are in order; 1: they are swapped; -1: no label (Lan et al. 2020).

    The swaps are drawn anew at each visit, and not once on disk. Rows of the policy `ordered_pair` all have label 0 or
    -1. Rows of `ordered_pair_mixed` have label 1 where B is from another document, as in google-research/albert
    create_pretraining_data.py, and these rows are not swapped.

    It moves tokens, so its line in `OBJECTIVES` comes before objectives that choose tokens.
    """

    config: ClassVar[type] = SentenceOrderConfig
    metrics: Sequence[Metric] = (Metric("sentence_order_accuracy", "sentence-order accuracy", "sop", note=_CHANCE),)
    heads: Mapping[str, Mapping[str, int]] = {"pooler": {}, "sentence_order": {}}

    def __init__(self, config: SentenceOrderConfig, encoder: EncoderBase, *, length: int, slots: int):
        del encoder, length, slots
        self.settings = config
        self.terms: Mapping[str, TermInfo] = {"sentence_order": TermInfo(config.weight, "sentence order", _NATS)}

    @staticmethod
    def fits(policy: Policy) -> bool:
        """See `Objective`; pairs with label 0 must be in their order."""
        return policy.label == "order"

    def prepare(self, params: Params, frozen: Frozen, batch: Arrays, key: jax.Array) -> Arrays:
        """See `Objective`; swaps a share of the pairs."""
        del params, frozen
        draw_B = jax.random.bits(key, batch["label"].shape, jnp.uint32, out_sharding=act("act_B"))
        swap_B = (batch["label"] == 0) & (draw_B < share(self.settings.swap))
        swapped = swap_segments(batch)
        return {
            **batch,
            "tokens": jnp.where(swap_B[:, None], swapped["tokens"], batch["tokens"]),
            "types": jnp.where(swap_B[:, None], swapped["types"], batch["types"]),
            "label": jnp.where(swap_B, 1, batch["label"]),
        }

    def denominators(self, batch: Arrays) -> dict[str, jax.Array]:
        """See `Objective`."""
        return {"sentence_order": _labelled(batch).sum()}

    def compute(self, model: Model, params: Params, frozen: Frozen, batch: Arrays, x_BLD: jax.Array) -> dict[str, Term]:
        """See `Objective`."""
        del frozen
        return {"sentence_order": _term(model.sentence_order(params, x_BLD), batch)}


def swap_segments(batch: Arrays) -> Arrays:
    """Returns tokens and types, each (B, L), of [CLS] B [SEP] A [SEP] for rows [CLS] A [SEP] B [SEP].

    Each segment keeps the separator behind it. B consists of the tokens of type 1.
    """
    real_BL, types_BL = batch["group"] > 0, batch["types"]
    b_B1 = (real_BL & (types_BL == 1)).sum(axis=1, keepdims=True, dtype=jnp.int32)
    a_B1 = real_BL.sum(axis=1, keepdims=True, dtype=jnp.int32) - b_B1 - 1
    index_L = jnp.arange(types_BL.shape[1], dtype=jnp.int32)
    inside_BL = (index_L >= 1) & (index_L <= a_B1 + b_B1)
    from_BL = jnp.where(inside_BL, jnp.where(index_L <= b_B1, index_L + a_B1, index_L - b_B1), index_L)
    return {
        "tokens": take_along_rows(batch["tokens"], from_BL),
        "types": (inside_BL & (index_L > b_B1)).astype(types_BL.dtype),
    }


def _labelled(batch: Arrays) -> jax.Array:
    """Returns 1 for each row that has a label, float32 (B,)."""
    return (batch["label"] >= 0).astype(jnp.float32)


def _term(z_BC: jax.Array, batch: Arrays) -> Term:
    loss_B, right_B = cross_entropy(z_BC, jnp.maximum(batch["label"], 0))
    weight_B = _labelled(batch)
    ones = (batch["label"] == 1).astype(jnp.float32).sum()
    return Term((loss_B * weight_B).sum(), weight_B.sum(), {"accuracy": (right_B * weight_B).sum()}, ones)
