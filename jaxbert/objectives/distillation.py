"""Distillation: soft targets and hidden states of a teacher that sees the same masked rows (DistilBERT).

Sources: Sanh et al. 2019, and the code in Hugging Face's examples/research_projects/distillation. The third term there,
the masked LM, is a separate objective here. `frozen["teacher"]` holds the teacher's parameters: sharded, bfloat16,
never checkpointed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxbert.config import DistillationConfig, EncoderBase
from jaxbert.core.metrics import Metric, TermInfo
from jaxbert.core.parameters import Params
from jaxbert.data.policies.segments import Policy
from jaxbert.models.layers import take_slots
from jaxbert.models.model import Model
from jaxbert.objectives.base import Arrays, Frozen, Term


class Distillation:
    """Terms `soft_targets` and `cosine`, over all real tokens or over the masked ones.

    soft_targets: T^2 KL(softmax(teacher / T) || softmax(student / T)), mean over the tokens.
    cosine: 1 - cosine of the last hidden states, mean over the tokens. A student of another width than the teacher is
    projected to the teacher's width.
    """

    config: ClassVar[type] = DistillationConfig
    metrics: Sequence[Metric] = ()

    def __init__(self, config: DistillationConfig, encoder: EncoderBase, *, length: int, slots: int):
        del slots
        self.settings = config
        self.terms: Mapping[str, TermInfo] = {
            "soft_targets": TermInfo(
                config.soft, "soft targets", "Divergence from the teacher, times the squared temperature."
            ),
            "cosine": TermInfo(config.cosine, "cosine", "1 - cosine of the student's and the teacher's hidden states."),
        }
        self.teacher = teacher_model(config, encoder)
        self.chunk = min(config.chunk, length)
        width = self.teacher.config.hidden_size
        self.heads: Mapping[str, Mapping[str, int]] = {"masked_lm": {}}
        if width != encoder.hidden_size:
            self.heads = {**self.heads, "projection": {"width": width}}

    @staticmethod
    def fits(policy: Policy) -> bool:
        """See `Objective`; the teacher sees any row that the student sees."""
        del policy
        return True

    def prepare(self, params: Params, frozen: Frozen, batch: Arrays, key: jax.Array) -> Arrays:
        """See `Objective`; the masked LM has masked the rows."""
        del params, frozen, key
        return batch

    def denominators(self, batch: Arrays) -> dict[str, jax.Array]:
        """See `Objective`."""
        count = self._weight(batch).sum()
        return {"soft_targets": count, "cosine": count}

    def compute(self, model: Model, params: Params, frozen: Frozen, batch: Arrays, x_BLD: jax.Array) -> dict[str, Term]:
        """See `Objective`."""
        given = jax.lax.stop_gradient(frozen["teacher"])
        t_BLD = jax.lax.stop_gradient(self.teacher.hidden(given, batch, dtype=x_BLD.dtype))
        p_BLD = model.projected(params, x_BLD)
        weight_BS = self._weight(batch)
        if self.settings.over == "masked":
            x_BLD, t_BLD, p_BLD = (take_slots(h, batch["slots"]) for h in (x_BLD, t_BLD, p_BLD))
            soft = (self._soft(model, params, given, x_BLD, t_BLD) * weight_BS).sum()
        else:
            soft = self._in_chunks(model, params, given, x_BLD, t_BLD, weight_BS)
        count = weight_BS.sum()
        return {
            "soft_targets": Term(soft, count, {}),
            "cosine": Term(((1 - cosine(p_BLD, t_BLD)) * weight_BS).sum(), count, {}),
        }

    def _weight(self, batch: Arrays) -> jax.Array:
        """Returns 1 for each token that counts: float32 (B, L), or (B, M) over the masked ones."""
        return batch["slot_weight"] if self.settings.over == "masked" else (batch["group"] > 0).astype(jnp.float32)

    def _soft(self, model: Model, params: Params, given: Params, x_BSD: jax.Array, t_BSD: jax.Array) -> jax.Array:
        """Returns the soft-target loss of each of S tokens, (B, S)."""
        size, scale = self.teacher.config.vocab_size, 1 / self.settings.temperature
        teacher_BSV = jax.lax.stop_gradient(self.teacher.masked_lm(given, t_BSD))
        student_BSV = model.masked_lm(params, x_BSD)
        return divergence(teacher_BSV, student_BSV, scale, size) * self.settings.temperature**2

    def _in_chunks(
        self, model: Model, params: Params, given: Params, x_BLD: jax.Array, t_BLD: jax.Array, weight_BL: jax.Array
    ) -> jax.Array:
        """Returns the sum of the soft-target loss over all positions. Computes one stretch at a time: (B, chunk, V)."""

        @jax.checkpoint
        def stretch(x_BSD: jax.Array, t_BSD: jax.Array, weight_BS: jax.Array) -> jax.Array:
            return (self._soft(model, params, given, x_BSD, t_BSD) * weight_BS).sum()

        def body(total: jax.Array, part: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
            return total + stretch(*part), None

        parts = tuple(self._cut(values) for values in (x_BLD, t_BLD, weight_BL))
        zero = jnp.zeros((), jnp.promote_types(x_BLD.dtype, jnp.float32))
        return jax.lax.scan(body, zero, parts)[0]

    def _cut(self, values: jax.Array) -> jax.Array:
        """Returns (B, L, ...) as (L / chunk, B, chunk, ...). Zeros, whose weight is 0, fill up the last stretch."""
        rows, length, *rest = values.shape
        missing = -length % self.chunk
        values = jnp.pad(values, [(0, 0), (0, missing), *((0, 0) for _ in rest)])
        return jnp.moveaxis(values.reshape(rows, -1, self.chunk, *rest), 1, 0)


def teacher_model(config: DistillationConfig, student: EncoderBase) -> Model:
    """Returns the teacher's model, with the vocabulary padded as that of the student."""
    if config.encoder is None:
        raise ValueError("the teacher's encoder is not known yet: call jaxbert.run.teacher.resolve first")
    return Model(dataclasses.replace(config.encoder, vocab_multiple=student.vocab_multiple), ("masked_lm",))


def divergence(p_BSV: jax.Array, q_BSV: jax.Array, scale: float, size: int) -> jax.Array:
    """Returns KL(softmax(scale p) || softmax(scale q)) over the first `size` entries of the vocabulary, (B, S)."""
    real_V = jnp.arange(p_BSV.shape[-1]) < size
    log_p_BSV, log_q_BSV = _log_softmax(p_BSV * scale, real_V), _log_softmax(q_BSV * scale, real_V)
    terms_BSV = jnp.exp(log_p_BSV) * (log_p_BSV - log_q_BSV)
    return jnp.where(real_V, terms_BSV, 0).sum(-1)


def _log_softmax(z_BSV: jax.Array, real_V: jax.Array) -> jax.Array:
    """Returns the log softmax over the real entries, and 0 at the others."""
    z_BSV = jnp.where(real_V, z_BSV, -jnp.inf)
    top_BS1 = jax.lax.stop_gradient(z_BSV.max(-1, keepdims=True))
    log_sum_BS1 = jnp.log(jnp.exp(z_BSV - top_BS1).sum(-1, keepdims=True)) + top_BS1
    return jnp.where(real_V, jnp.where(real_V, z_BSV, 0) - log_sum_BS1, 0)


def cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns the cosine over the last axis, in float32 or wider."""
    wide = jnp.promote_types(a.dtype, jnp.float32)
    a, b = a.astype(wide), b.astype(wide)
    norms = jnp.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return (a * b).sum(-1) / jnp.maximum(norms, jnp.finfo(wide).tiny)
