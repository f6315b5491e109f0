"""Optimizers and learning rates, composed from optax parts.

An optimizer gives the direction of a step, and the step applies the rate. All are Adam with differences, so each is a
line in `OPTIMIZERS`. The kinds of `jaxbert.core.parameters` decide which parameters are decayed and which have a
trust ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxbert.config import OptimizerConfig, OptimizerName, ScheduleConfig
from jaxbert.core.parameters import RULES, ParameterKind, is_stacked, kind_of, path_of
from jaxbert.errors import InputError

_WEIGHTS: frozenset[ParameterKind] = frozenset({"weight"})
_ALL: frozenset[ParameterKind] = frozenset(RULES)
_NONE: frozenset[ParameterKind] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The differences between an optimizer and Adam.

    With m and v the moments, w the parameter, d the weight decay:

        u = m' / (sqrt(v') + epsilon) + d w       m', v': bias-corrected or not; d = 0 for kinds that are not decayed
        direction = u |w| / |u|                   for kinds with a trust ratio, where both norms are above 0; else u

    Attributes:
      bias_correction: m' = m / (1 - beta1^t), v' = v / (1 - beta2^t).
      decayed: kinds with weight decay.
      trusted: kinds with a trust ratio. If it is empty, the optimizer is not a LAMB.
      trusted_if_decayed: whether the trust ratio needs a weight decay above 0.
      clip_norm: bound of the gradient's global norm, before the moments, if the config names none; 0: no clipping.
    """

    bias_correction: bool = True
    decayed: frozenset[ParameterKind] = _WEIGHTS
    trusted: frozenset[ParameterKind] = _NONE
    trusted_if_decayed: bool = False
    clip_norm: float = 1.0


# The LAMBs differ in what they leave out and in their usual schedules. `docs/reference/optimizers.md` has
# the whole table:
# paper   You et al. 2020 (ICLR), algorithm 2 as printed: every parameter decayed and scaled, no clipping.
# albert  google-research/albert lamb_optimizer.py: no bias correction; LayerNorm and bias left out of both.
# mlperf  mlcommons/training retired_benchmarks/bert lamb_optimizer_v1.py, and TensorFlow Addons' LAMB, to which the
#         paper points: bias-corrected; LayerNorm and bias left out of both.
# nvidia  NVIDIA DeepLearningExamples PyTorch BERT, FusedLAMB with use_nvlamb=False: where the decay is 0 there is no
#         trust ratio either, so that without any decay it is Adam.
# nvlamb  NVIDIA DeepLearningExamples TensorFlow 2 BERT: a trust ratio on every parameter, decay on weights only.
OPTIMIZERS: Mapping[OptimizerName, Variant] = {
    "adamw": Variant(),
    "bert_adamw": Variant(bias_correction=False),
    # facebookresearch/fairseq optim/adam.py: one group of parameters, all of them decayed.
    "fairseq_adamw": Variant(decayed=_ALL, clip_norm=0.0),
    "lamb_paper": Variant(decayed=_ALL, trusted=_ALL, clip_norm=0.0),
    "lamb_albert": Variant(bias_correction=False, trusted=_WEIGHTS),
    "lamb_mlperf": Variant(trusted=_WEIGHTS),
    "lamb_nvidia": Variant(trusted=_WEIGHTS, trusted_if_decayed=True),
    "lamb_nvlamb": Variant(trusted=_ALL, clip_norm=0.0),
}


class MomentState(NamedTuple):
    """Moments without a step count, for Adam without bias correction."""

    mu: Any
    nu: Any


class Optimizer(NamedTuple):
    """The two parts of an update. A step takes them one after the other: the direction comes from the new moments.

    Attributes:
      init: params -> state, with moments of zero.
      moments: (gradients, state, params) -> the new state. It clips the gradients first.
      direction: (new state, params) -> direction; params <- params - rate x direction.
    """

    init: Callable[[Any], Any]
    moments: Callable[[Any, Any, Any], Any]
    direction: Callable[[Any, Any], Any]


def moments_without_count(beta1: float, beta2: float) -> optax.GradientTransformation:
    """Keeps the moments of the gradients, without a step count, and returns the gradients as they are."""

    def init(params: Any) -> MomentState:
        return MomentState(jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params))

    def update(grads: Any, state: MomentState, params: Any = None) -> tuple[Any, MomentState]:
        mu = jax.tree.map(lambda g, m: beta1 * m + (1 - beta1) * g, grads, state.mu)
        nu = jax.tree.map(lambda g, v: beta2 * v + (1 - beta2) * g * g, grads, state.nu)
        return grads, MomentState(mu, nu)

    return optax.GradientTransformation(init, update)


def of_kinds(kinds: Collection[ParameterKind]) -> Callable[[Any], Any]:
    """Returns a mask for optax: params -> the same tree with True for each parameter of these kinds.

    The mask raises:
      ValueError: a parameter does not match exactly one rule of `jaxbert.core.parameters.RULES`.
    """
    return lambda params: jax.tree_util.tree_map_with_path(lambda path, _: kind_of(path_of(path)) in kinds, params)


def trust_ratio_per_layer(kinds: Collection[ParameterKind]) -> optax.GradientTransformation:
    """Scales the direction of each parameter of these kinds by |w| / |direction|, where both are above 0.

    A stacked parameter is scaled layer by layer. Query, key and value are separate parameters, so each of them has a
    separate ratio. `optax.scale_by_trust_ratio` would take one ratio for the whole stack.
    """

    def scale(path: tuple[Any, ...], u: jax.Array, w: jax.Array) -> jax.Array:
        if kind_of(path_of(path)) not in kinds:
            return u
        axes = tuple(range(1 if is_stacked(path_of(path)) else 0, w.ndim))
        norm_w = jnp.sqrt((w * w).sum(axes, keepdims=True))
        norm_u = jnp.sqrt((u * u).sum(axes, keepdims=True))
        return u * jnp.where((norm_w > 0) & (norm_u > 0), norm_w / jnp.where(norm_u > 0, norm_u, 1), 1)

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        return jax.tree_util.tree_map_with_path(scale, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def clip_by_global_norm(bound: float) -> optax.GradientTransformation:
    """Scales the gradients by bound / norm where their global norm is above `bound`.

    `optax.clip_by_global_norm` divides every gradient by the norm and then chooses between the two. XLA's CPU compiler
    writes the quotients to memory for that, and reads both.
    """

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        share = jnp.minimum(1.0, bound / optax.global_norm(updates))
        return jax.tree.map(lambda g: g * share, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def clip_norm(config: OptimizerConfig) -> float:
    """Returns the bound of the gradient's global norm: from the config, or else from the variant; 0: no bound."""
    return OPTIMIZERS[config.name].clip_norm if config.clip_norm is None else config.clip_norm


def trusted(config: OptimizerConfig) -> frozenset[ParameterKind]:
    """Returns the kinds of parameter with a trust ratio."""
    variant = OPTIMIZERS[config.name]
    return _NONE if variant.trusted_if_decayed and config.weight_decay == 0 else variant.trusted


def decayed(config: OptimizerConfig) -> frozenset[ParameterKind]:
    """Returns the kinds of parameter with weight decay."""
    return OPTIMIZERS[config.name].decayed if config.weight_decay else _NONE


def make_optimizer(config: OptimizerConfig) -> Optimizer:
    """Returns the optimizer of a config.

    With `clip_scope="micro_batch"` the step has clipped the gradients already.
    """
    variant = OPTIMIZERS[config.name]
    beta1, beta2 = config.beta1, config.beta2
    adam = (
        optax.scale_by_adam(beta1, beta2, config.epsilon)
        if variant.bias_correction
        else moments_without_count(beta1, beta2)
    )
    clips = bool(clip_norm(config)) and config.clip_scope == "batch"
    before = [clip_by_global_norm(clip_norm(config))] if clips else []
    after = []
    if decayed(config):
        after.append(optax.add_decayed_weights(config.weight_decay, of_kinds(decayed(config))))
    if trusted(config):
        after.append(trust_ratio_per_layer(trusted(config)))
    whole, scaled = optax.chain(*before, adam, *after), optax.chain(optax.identity(), *after)

    def moments(grads: Any, state: Any, params: Any) -> Any:
        return whole.update(grads, state, params)[1]

    def direction(state: Any, params: Any) -> Any:
        of_adam, rest = state[len(before)], (optax.EmptyState(), *state[len(before) + 1 :])
        mu, nu = of_adam.mu, of_adam.nu
        if variant.bias_correction:
            mu = optax.tree.bias_correction(mu, beta1, of_adam.count)
            nu = optax.tree.bias_correction(nu, beta2, of_adam.count)
        adam_direction = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + config.epsilon), mu, nu)
        return scaled.update(adam_direction, rest, params)[0]

    return Optimizer(whole.init, moments, direction)


def make_schedule(config: ScheduleConfig, horizon: int) -> Callable[[jax.Array], jax.Array]:
    """Returns the learning rate, float32 (float64 under x64), as a function of the number of steps done since it began.

    Args:
      config: shape of the schedule.
      horizon: step at which the decay reaches its end.
    """
    peak, end, warmup = config.peak, config.end, config.warmup_steps

    def share(now: jax.Array, start: int) -> jax.Array:
        return jnp.clip((now - start) / max(1, horizon - start), 0.0, 1.0)

    def falling(now: jax.Array) -> jax.Array:
        start = warmup if config.decay_from == "warmup" else 0
        if config.kind == "constant":
            return jnp.full_like(now, peak)
        if config.kind == "linear":
            return peak + (end - peak) * share(now, start)
        if config.kind == "polynomial":
            return end + (peak - end) * (1.0 - share(now, start)) ** config.power
        if config.kind == "wsd":
            return end + (peak - end) * (1.0 - share(now, horizon - config.decay_steps)) ** config.power
        return peak * jnp.sqrt(warmup / jnp.maximum(now, warmup))  # inverse_sqrt

    def rate(step: jax.Array) -> jax.Array:
        now = jnp.asarray(step, float) + config.first_step
        return jnp.where(now < warmup, peak * now / max(1, warmup), falling(now)) if warmup else falling(now)

    return rate


def shares_of_rate(config: OptimizerConfig, params: Any) -> Any:
    """Returns the share of the learning rate of each parameter; None where every one has the whole rate.

    With the decay d and N layers, heads (the pooler too) have 1, layer i, counted from 0, has d^(N - i), and the
    embeddings have d^(N + 1): the scheme of Clark et al. 2020 (ELECTRA, appendix A), but there is one step from the
    head to the last layer, and not two. Frozen parameters have 0.

    Args:
      config: of the optimizer.
      params: the parameters, or their shapes, of one encoder under "encoder" and of heads.

    Returns:
      A tree like `params` of numbers, and of arrays (N, 1, ...) for parameters that are stacked over N layers.

    Raises:
      InputError: the layers share parameters, or fewer layers are there than are to be frozen.
    """
    if config.layer_decay == 1.0 and config.frozen_layers == 0:
        return None
    stacks = {leaf.shape[0] for path, leaf in jax.tree_util.tree_leaves_with_path(params) if is_stacked(path_of(path))}
    layers = max(stacks, default=0)
    frozen = layers if config.frozen_layers < 0 else config.frozen_layers
    if frozen > layers:
        raise InputError(
            f"{frozen} layers are to be frozen, but the encoder has {layers}",
            where="optimizer.frozen_layers",
            fix=f"Set it to at most {layers}, or to -1 for the whole encoder.",
            code="E-CONFIG-OPTIMIZER",
        )

    def share(keys: tuple[Any, ...], leaf: Any) -> Any:
        path = path_of(keys)
        if not path.startswith("encoder/"):
            return 1.0
        if not is_stacked(path):
            return 0.0 if config.frozen_layers else config.layer_decay ** (layers + 1)
        each = np.array([0.0 if i < frozen else config.layer_decay ** (layers - i) for i in range(layers)])
        return each.reshape(layers, *(1,) * (leaf.ndim - 1))

    return jax.tree_util.tree_map_with_path(share, params)
