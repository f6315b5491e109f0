"""The span-boundary objective predicts each token of a masked span from the two tokens around it.

Source: SpanBERT (Joshi et al. 2020). A span is a run of masked tokens; spans that touch are one span. A span whose
neighbour is not text (a special token, padding, another group) has no boundary and is not predicted. The original
gathers spans, pads each to 20 tokens and computes all their logits. Here each slot of the masked LM is predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxbert.config import EncoderBase, SpanBoundaryConfig
from jaxbert.core.metrics import Metric, TermInfo
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import act, take_along_rows
from jaxbert.data.policies.segments import Policy
from jaxbert.models.layers import take_slots
from jaxbert.models.model import Model
from jaxbert.objectives import masking
from jaxbert.objectives.base import Arrays, Frozen, Term
from jaxbert.objectives.masked_lm import cross_entropy


class SpanBoundary:
    """Adds `span_left`, `span_right`, `span_place` and `span_weight`, each (B, M), beside the masked LM's slots.

    It prepares the batch after the masked LM, so its line in `OBJECTIVES` comes later.
    """

    config: ClassVar[type] = SpanBoundaryConfig
    metrics: Sequence[Metric] = (
        Metric(
            "span_boundary_accuracy",
            "span-boundary accuracy",
            "sbo",
            note="Share of tokens that the model guesses from the two tokens around their span.",
        ),
    )

    def __init__(self, config: SpanBoundaryConfig, encoder: EncoderBase, *, length: int, slots: int):
        del encoder, length, slots
        self.settings = config
        self.terms: Mapping[str, TermInfo] = {
            "span_boundary": TermInfo(
                config.weight, "span boundary", "Nats per token, from the tokens around its span."
            )
        }
        sizes = {"max_targets": config.max_targets, "position_size": config.position_size}
        self.heads: Mapping[str, Mapping[str, int]] = {"span_boundary": sizes}

    @staticmethod
    def fits(policy: Policy) -> bool:
        """See `Objective`; SpanBERT's rows are single texts and not pairs."""
        return not policy.pairs

    def prepare(self, params: Params, frozen: Frozen, batch: Arrays, key: jax.Array) -> Arrays:
        """See `Objective`; changes no token. Boundaries are not masked, so their tokens are the clean ones."""
        del params, key
        position_BM, filled_BM = batch["slots"], batch["slot_weight"] > 0
        group_BL = batch["group"]
        length = group_BL.shape[1]
        target_BM = jnp.where(filled_BM, position_BM, length)
        chosen_BL = jax.vmap(lambda row, at: row.at[at].set(True, mode="drop"))(group_BL < 0, target_BM)
        first_BL, last_BL = masking.runs(chosen_BL)
        first_BM = take_along_rows(first_BL, position_BM)
        last_BM = take_along_rows(last_BL, position_BM)
        left_BM, right_BM = jnp.maximum(first_BM - 1, 0), jnp.minimum(last_BM + 1, length - 1)
        text_BL = (group_BL > 0) & ~frozen["special"].at[batch["tokens"]].get(out_sharding=act("act_BL"))
        group_BM = take_along_rows(group_BL, position_BM)
        bounded_BM = filled_BM & (first_BM > 0) & (last_BM < length - 1)
        for side_BM in (left_BM, right_BM):
            bounded_BM &= take_along_rows(text_BL, side_BM)
            bounded_BM &= take_along_rows(group_BL, side_BM) == group_BM
        place_BM = position_BM - first_BM
        counts_BM = bounded_BM & (place_BM < self.settings.max_targets)
        return {
            **batch,
            "span_left": left_BM,
            "span_right": right_BM,
            "span_place": jnp.clip(place_BM, 0, self.settings.max_targets - 1),
            "span_weight": counts_BM.astype(jnp.float32),
        }

    def denominators(self, batch: Arrays) -> dict[str, jax.Array]:
        """See `Objective`."""
        return {"span_boundary": batch["span_weight"].sum()}

    def compute(self, model: Model, params: Params, frozen: Frozen, batch: Arrays, x_BLD: jax.Array) -> dict[str, Term]:
        """See `Objective`."""
        del frozen
        left_BMD, right_BMD = take_slots(x_BLD, batch["span_left"]), take_slots(x_BLD, batch["span_right"])
        z_BMV = model.span_boundary(params, left_BMD, right_BMD, batch["span_place"])
        loss_BM, right_BM = cross_entropy(z_BMV, batch["labels"])
        weight_BM = batch["span_weight"]
        figures = {"accuracy": (right_BM * weight_BM).sum()}
        return {"span_boundary": Term((loss_BM * weight_BM).sum(), weight_BM.sum(), figures)}
