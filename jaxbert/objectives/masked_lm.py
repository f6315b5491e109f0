"""Masked language modelling: a fixed number of slots per row, gathered before the vocabulary projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from jaxbert.config import EncoderBase, MaskedLMConfig
from jaxbert.core.metrics import Metric, TermInfo
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import act, reshard, spec_of, take_along_rows
from jaxbert.data.policies.segments import Policy
from jaxbert.models.layers import take_slots
from jaxbert.models.model import Model
from jaxbert.objectives import masking
from jaxbert.objectives.base import Arrays, Frozen, Term


class MaskedLM:
    """Adds `slots`, `labels` and `slot_weight`, each (B, M), to the batch and masks its tokens.

    Args:
      config: rate and replacement.
      encoder: gives the vocabulary size.
      length: L of the rows.
      slots: M.
    """

    config: ClassVar[type] = MaskedLMConfig
    metrics: Sequence[Metric] = (
        Metric(
            "masked_lm_accuracy", "masked-LM accuracy", "mlm", note="Share of masked tokens that the model guesses."
        ),
    )
    heads: Mapping[str, Mapping[str, int]] = {"masked_lm": {}}

    def __init__(self, config: MaskedLMConfig, encoder: EncoderBase, *, length: int, slots: int):
        self.settings = config
        self.scheme = masking.SCHEMES[config.scheme]
        self.terms: Mapping[str, TermInfo] = {
            "masked_lm": TermInfo(config.weight, "masked LM", "Nats per predicted token, before its weight.")
        }
        self.vocab_size, self.slots = encoder.vocab_size, slots
        self.budgets = masking.budgets(length, config.rate, slots)

    @staticmethod
    def fits(policy: Policy) -> bool:
        """See `Objective`; any row has tokens to mask."""
        del policy
        return True

    def prepare(self, params: Params, frozen: Frozen, batch: Arrays, key: jax.Array) -> Arrays:
        """See `Objective`; special tokens count towards the budget and are never chosen."""
        del params
        choose_key, replace_key = jax.random.split(key)
        tokens_BL, group_BL = batch["tokens"], batch["group"]
        special_BL = frozen["special"].at[tokens_BL].get(out_sharding=act("act_BL"))
        maskable_BL = (group_BL > 0) & ~special_BL
        real_B = (group_BL > 0).sum(1)
        budget_B = jnp.asarray(self.budgets).at[real_B].get(out_sharding=act("act_B"))
        candidates = masking.Candidates(
            tokens_BL, maskable_BL, group_BL, budget_B[:, None], slots=self.slots, tables=frozen
        )
        chosen_BL = self.scheme.choose(candidates, self.settings, choose_key)
        position_BM, filled_BM = masking.to_slots(chosen_BL, self.slots)
        corrupted_BL = masking.replace(
            tokens_BL,
            position_BM,
            filled_BM,
            replace_key,
            mask=self.settings.mask,
            random=self.settings.random,
            mask_id=frozen["mask_id"],
            vocab_size=self.vocab_size,
            first_BM=_first_of_span(chosen_BL, position_BM) if self.scheme.replaces_spans else None,
            ids_V=None if self.settings.random_ids == "vocabulary" else frozen["random_ids"],
        )
        return {
            **batch,
            "tokens": corrupted_BL,
            "slots": position_BM,
            "labels": take_along_rows(tokens_BL, position_BM),
            "slot_weight": filled_BM.astype(jnp.float32),
        }

    def denominators(self, batch: Arrays) -> dict[str, jax.Array]:
        """See `Objective`."""
        return {"masked_lm": batch["slot_weight"].sum()}

    def compute(self, model: Model, params: Params, frozen: Frozen, batch: Arrays, x_BLD: jax.Array) -> dict[str, Term]:
        """See `Objective`.

        The head `masked_lm` is a dense layer, GELU and LayerNorm, then the word embeddings transposed plus a bias.
        """
        del frozen
        z_BMV = model.masked_lm(params, take_slots(x_BLD, batch["slots"]))
        loss_BM, right_BM = cross_entropy(z_BMV, batch["labels"])
        weight_BM = batch["slot_weight"]
        return {
            "masked_lm": Term((loss_BM * weight_BM).sum(), weight_BM.sum(), {"accuracy": (right_BM * weight_BM).sum()})
        }


def _first_of_span(chosen_BL: jax.Array, position_BM: jax.Array) -> jax.Array:
    """Returns the slot of the first token of each slot's span. Slots ascend, and every token of a span has one."""
    first_BM = take_along_rows(masking.runs(chosen_BL)[0], position_BM)
    slot_M = jnp.arange(position_BM.shape[1], dtype=jnp.int32)
    return jnp.maximum(slot_M - (position_BM - first_BM), 0)


@jax.custom_vjp
def cross_entropy(z: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns -log softmax(z)[label] and whether the label has the highest logit, both of shape z.shape[:-1].

    It uses only comparisons and reductions over the last axis, so that axis may be sharded. A gather could not be.
    """
    return _cross_entropy_forward(z, label)[0]


def _cross_entropy_forward(z: jax.Array, label: jax.Array) -> tuple[tuple[jax.Array, jax.Array], Any]:
    top = z.max(-1)
    log_sum = jnp.log(jnp.exp(z - top[..., None]).sum(-1)) + top
    at_label = jnp.where(_is_label(z, label), z, 0).sum(-1)
    return (log_sum - at_label, at_label >= top), (z, log_sum, label)


def _cross_entropy_backward(saved: Any, cotangents: Any) -> tuple[jax.Array, None]:
    z, log_sum, label = saved
    return (jnp.exp(z - log_sum[..., None]) - _is_label(z, label)) * cotangents[0][..., None], None


def _is_label(z: jax.Array, label: jax.Array) -> jax.Array:
    """Returns bool of z's shape in z's layout. Without the layout, XLA would gather it over a sharded vocabulary."""
    index_V = jnp.arange(z.shape[-1])
    found = spec_of(z)
    if found is not None:
        index_V = reshard(index_V, P(found[-1]))
    return index_V == label[..., None]


cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)
