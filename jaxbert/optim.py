"""Optimizers and learning rates, composed from optax parts.

An optimizer here gives the direction of a step; the rate is applied in `jaxbert.step`. Which parameters are decayed and
which have a trust ratio goes by name, never by number of dimensions: stacked layers have one more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxbert.config import OptimizerConfig, OptimizerName, ScheduleConfig


class MomentState(NamedTuple):
    """Moments without a step count, for Adam without bias correction."""

    mu: Any
    nu: Any


def decayed(params: Any) -> Any:
    """True for each parameter with weight decay and a trust ratio: all but biases and LayerNorm's."""

    def rule(path: tuple[Any, ...], _: Any) -> bool:
        keys = [str(getattr(key, "key", key)) for key in path]
        return keys[-1] != "bias" and not any("norm" in key for key in keys)

    return jax.tree_util.tree_map_with_path(rule, params)


def adam_without_bias_correction(beta1: float, beta2: float, epsilon: float) -> optax.GradientTransformation:
    """m / (sqrt(v) + epsilon), moments from zero and not corrected (google-research/bert optimization.py)."""

    def init(params: Any) -> MomentState:
        return MomentState(jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params))

    def update(grads: Any, state: MomentState, params: Any = None) -> tuple[Any, MomentState]:
        mu = jax.tree.map(lambda g, m: beta1 * m + (1 - beta1) * g, grads, state.mu)
        nu = jax.tree.map(lambda g, v: beta2 * v + (1 - beta2) * g * g, grads, state.nu)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + epsilon), mu, nu), MomentState(mu, nu)

    return optax.GradientTransformation(init, update)


def trust_ratio_per_layer() -> optax.GradientTransformation:
    """Scales each parameter's direction by |w| / |direction|, where both are above 0 (You et al. 2020, algorithm 2).

    A parameter under `layers` is a stack over N: each layer has its own ratio. Query, key and value are parameters of
    their own, so each of them has one too. `optax.scale_by_trust_ratio` would take one for the whole stack.
    """

    def scale(path: tuple[Any, ...], u: jax.Array, w: jax.Array) -> jax.Array:
        stacked = any(str(getattr(key, "key", key)) == "layers" for key in path)
        axes = tuple(range(1 if stacked else 0, w.ndim))
        norm_w = jnp.sqrt((w * w).sum(axes, keepdims=True))
        norm_u = jnp.sqrt((u * u).sum(axes, keepdims=True))
        return u * jnp.where((norm_w > 0) & (norm_u > 0), norm_w / jnp.where(norm_u > 0, norm_u, 1), 1)

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        def one(path: tuple[Any, ...], u: Any, w: Any) -> Any:
            return u if isinstance(u, optax.MaskedNode) else scale(path, u, w)

        scaled = jax.tree_util.tree_map_with_path(
            one, updates, params, is_leaf=lambda leaf: isinstance(leaf, optax.MaskedNode)
        )
        return scaled, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _adamw(config: OptimizerConfig) -> list[optax.GradientTransformation]:
    return [
        optax.scale_by_adam(config.beta1, config.beta2, config.epsilon),
        optax.add_decayed_weights(config.weight_decay, decayed),
    ]


def _bert_adamw(config: OptimizerConfig) -> list[optax.GradientTransformation]:
    return [
        adam_without_bias_correction(config.beta1, config.beta2, config.epsilon),
        optax.add_decayed_weights(config.weight_decay, decayed),
    ]


def _lamb_mlperf(config: OptimizerConfig) -> list[optax.GradientTransformation]:
    return [*_adamw(config), optax.masked(trust_ratio_per_layer(), decayed)]


OPTIMIZERS: Mapping[OptimizerName, Callable[[OptimizerConfig], list[optax.GradientTransformation]]] = {
    "adamw": _adamw,
    "bert_adamw": _bert_adamw,
    "lamb_mlperf": _lamb_mlperf,
}


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The optimizer's direction: params <- params - rate x direction. The gradient's global norm is clipped first."""
    clip = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    return optax.chain(*clip, *OPTIMIZERS[config.name](config))


def make_schedule(config: ScheduleConfig, horizon: int) -> Callable[[jax.Array], jax.Array]:
    """The learning rate, float32, as a function of the number of steps done since the schedule began.

    Args:
      config: its shape.
      horizon: step at which the decay reaches its end.
    """
    peak, end, warmup = config.peak, config.end, config.warmup_steps

    def rate(step: jax.Array) -> jax.Array:
        now = jnp.asarray(step, jnp.float32)
        if config.kind == "constant":
            after = jnp.full_like(now, peak)
        else:
            start = warmup if config.decay_from == "warmup" else 0
            share = jnp.clip((now - start) / max(1, horizon - start), 0.0, 1.0)
            after = peak + (end - peak) * share
        return jnp.where(now < warmup, peak * now / max(1, warmup), after) if warmup else after

    return rate
