"""A user's own training loop around `jaxbert.load`, with only jax and optax. `make check` checks its types strictly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax  # type: ignore[import-untyped]

import jaxbert

Loss = Callable[[Any, jax.Array], jax.Array]


def classifier(
    model: jaxbert.Loaded, batch: jaxbert.Batch, labels: np.ndarray
) -> tuple[Callable[[Any], jax.Array], Loss]:
    """(logits (B, C) without dropout, mean cross-entropy with it) of a model with a classifier on rows of texts."""

    def logits(params: Any, key: jax.Array | None = None) -> jax.Array:
        return model.sequence_classification(params, model.encode(params, **batch, dropout_key=key))

    def loss(params: Any, key: jax.Array) -> jax.Array:
        losses: jax.Array = optax.softmax_cross_entropy_with_integer_labels(logits(params, key), labels)
        return losses.mean()

    return logits, loss


def masked_lm(model: jaxbert.Loaded, batch: jaxbert.Batch, mask: int, specials: int) -> Loss:
    """Mean cross-entropy of tokens that are masked anew for each key."""
    tokens = jax.numpy.asarray(batch["tokens"])

    def loss(params: Any, key: jax.Array) -> jax.Array:
        draw, dropout = jax.random.split(key)
        chosen = (jax.random.uniform(draw, tokens.shape) < 0.3) & (tokens >= specials)
        given = jax.numpy.where(chosen, mask, tokens)
        hidden = model.encode(params, given, batch["types"], batch["group"], dropout_key=dropout)
        each: jax.Array = optax.softmax_cross_entropy_with_integer_labels(model.masked_lm(params, hidden), tokens)
        return (each * chosen).sum() / jax.numpy.maximum(chosen.sum(), 1)

    return loss


def train(model: jaxbert.Loaded, loss: Loss, steps: int, rate: float) -> tuple[Any, np.ndarray]:
    """(parameters, loss of each step): all steps in one scan, a key for each step's dropout."""
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate))

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, key)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    @jax.jit
    def run(params: Any) -> tuple[Any, jax.Array]:
        keys = jax.random.split(jax.random.key(5), steps)
        (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), keys)
        return params, losses

    params, losses = run(model.params)
    return params, np.asarray(losses)
