"""Attention between tokens of the same group. One interface; each implementation is held to the same tests."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxbert.models.layers import dropout, softmax


def attend(
    q_BLHK: jax.Array,
    k_BLHK: jax.Array,
    v_BLHK: jax.Array,
    group_BL: jax.Array,
    *,
    rate: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """Softmax attention, scores scaled by 1/sqrt(K), within groups.

    A token sees the tokens of its own group and no other: for fixed inputs, changing one group changes the outputs of
    the others by exactly 0. Padding is group 0 and sees only padding.

    Args:
      q_BLHK: queries.
      k_BLHK: keys.
      v_BLHK: values.
      group_BL: attention groups.
      rate: of dropout on the attention probabilities.
      key: of that dropout; there is none without it.

    Returns:
      Context vectors (B, L, H, K).
    """
    scale = q_BLHK.shape[-1] ** -0.5
    score_BHLS = jnp.einsum("blhk,bshk->bhls", q_BLHK * jnp.asarray(scale, q_BLHK.dtype), k_BLHK)
    same_BLS = group_BL[:, None, :, None] == group_BL[:, None, None, :]
    score_BHLS = jnp.where(same_BLS, score_BHLS, jnp.finfo(score_BHLS.dtype).min)
    probability_BHLS = dropout(softmax(score_BHLS), rate, key)
    return jnp.einsum("bhls,bshk->blhk", probability_BHLS, v_BLHK)
