"""Which tokens are predicted, and what stands in their place: decisions from random bits, comparisons and one sort.

No logarithm, exponential or floating-point transform stands between the bits and a decision, so that the masks are the
same bits on CPU, GPU and TPU and on every mesh (threefry only).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.sharding import act

_LAST = np.uint32(0xFFFFFFFF)


def budgets(length: int, rate: float, slots: int) -> np.ndarray:
    """Number of tokens to predict in a row of n real ones, n = 0..L: min(M, max(1, round(rate n))), 0 for an empty row.

    Python's own rounding, as in google-research/bert create_pretraining_data.py; a table, so that no device rounds.

    Returns:
      int32 (L + 1,).
    """
    return np.array([0] + [min(slots, max(1, round(rate * n))) for n in range(1, length + 1)], np.int32)


def choose_tokens(maskable_BL: jax.Array, budget_B1: jax.Array, key: jax.Array) -> jax.Array:
    """Draws `budget` of the maskable tokens of each row, uniformly without replacement.

    One sort of a composite key, a random rank above the position: ranks may tie, keys cannot, so the budget is exact
    (all of them where fewer are maskable).

    Returns:
      bool (B, L).
    """
    length = maskable_BL.shape[1]
    bits = (length - 1).bit_length()
    rank_BL = jax.random.bits(key, maskable_BL.shape, jnp.uint32, out_sharding=act("act_BL")) >> bits
    # The largest key stays below the filler, which marks what may not be chosen.
    composite_BL = jnp.minimum((rank_BL << bits) | jnp.arange(length, dtype=jnp.uint32), _LAST - 1)
    composite_BL = jnp.where(maskable_BL, composite_BL, _LAST)
    threshold_B1 = jnp.take_along_axis(jnp.sort(composite_BL, axis=1), jnp.maximum(budget_B1 - 1, 0), axis=1)
    return (composite_BL <= threshold_B1) & maskable_BL & (budget_B1 > 0)


def to_slots(chosen_BL: jax.Array, slots: int) -> tuple[jax.Array, jax.Array]:
    """Positions of the chosen tokens in ascending order, (B, M) int32, and which slots are filled, (B, M) bool.

    An empty slot holds position 0. No row may have more than M chosen.
    """
    length = chosen_BL.shape[1]
    index_L = jnp.arange(length, dtype=jnp.int32)
    position_BM = jnp.sort(jnp.where(chosen_BL, index_L, length), axis=1)[:, :slots]
    filled_BM = position_BM < length
    return jnp.where(filled_BM, position_BM, 0), filled_BM


def replace(
    tokens_BL: jax.Array,
    position_BM: jax.Array,
    filled_BM: jax.Array,
    key: jax.Array,
    *,
    mask: float,
    random: float,
    mask_id: jax.Array,
    vocab_size: int,
) -> jax.Array:
    """The tokens with each filled slot's turned into [MASK] (share `mask`), a uniform id (share `random`) or left.

    The uniform id is over the whole vocabulary, special tokens included, as in google-research/bert.
    """
    choice_key, id_key = jax.random.split(key)
    spec = act("act_BM")
    draw_BM = jax.random.bits(choice_key, position_BM.shape, jnp.uint32, out_sharding=spec)
    random_BM = jax.random.randint(id_key, position_BM.shape, 0, vocab_size, jnp.int32, out_sharding=spec)
    old_BM = jnp.take_along_axis(tokens_BL, position_BM, axis=1)
    new_BM = jnp.where(draw_BM < _share(mask), mask_id, jnp.where(draw_BM < _share(mask + random), random_BM, old_BM))
    # A slot that is not filled writes past the end, where it is dropped.
    target_BM = jnp.where(filled_BM, position_BM, tokens_BL.shape[1])
    return jax.vmap(lambda row, at, new: row.at[at].set(new, mode="drop"))(tokens_BL, target_BM, new_BM)


def _share(probability: float) -> np.uint32:
    """Threshold below which a share `probability` of the 32-bit integers lie."""
    return np.uint32(min(round(probability * 2**32), 2**32 - 1))
