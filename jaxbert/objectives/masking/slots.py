"""Turns chosen tokens into prediction slots, and replaces the chosen tokens."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.core.sharding import act, take_along_rows


def budgets(length: int, rate: float, slots: int) -> np.ndarray:
    """Returns the number of tokens to predict in a row of n real tokens, n = 0..L: min(M, max(1, round(rate n))).

    An empty row has 0.
    Python rounds, as in google-research/bert create_pretraining_data.py. The table keeps devices from rounding.

    Returns:
      int32 (L + 1,).
    """
    return np.array([0] + [min(slots, max(1, round(rate * n))) for n in range(1, length + 1)], np.int32)


def to_slots(chosen_BL: jax.Array, slots: int) -> tuple[jax.Array, jax.Array]:
    """Returns positions of the chosen tokens in ascending order, (B, M) int32, and which slots are filled, (B, M) bool.

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
    first_BM: jax.Array | None = None,
    ids_V: jax.Array | None = None,
) -> jax.Array:
    """Returns the tokens with those of filled slots turned into [MASK] (share `mask`), a random id (share `random`), or
    left as they are.

    Args:
      tokens_BL: clean tokens.
      position_BM, filled_BM: the slots.
      key: key of the draws.
      mask, random: the shares.
      mask_id: id of [MASK].
      vocab_size: V.
      first_BM: the slot whose draw decides for each slot: the first slot of its span; by default the slot itself.
      ids_V: cumulative shares of the ids, times 2^32, from which a random id is drawn (`cumulative`); by default
        uniformly over the whole vocabulary, special tokens included, as in google-research/bert.
    """
    choice_key, id_key = jax.random.split(key)
    spec = act("act_BM")
    draw_BM = jax.random.bits(choice_key, position_BM.shape, jnp.uint32, out_sharding=spec)
    if first_BM is not None:
        draw_BM = take_along_rows(draw_BM, first_BM)
    if ids_V is None:
        random_BM = jax.random.randint(id_key, position_BM.shape, 0, vocab_size, jnp.int32, out_sharding=spec)
    else:
        random_BM = _search(ids_V, jax.random.bits(id_key, position_BM.shape, jnp.uint32, out_sharding=spec))
    old_BM = take_along_rows(tokens_BL, position_BM)
    new_BM = jnp.where(draw_BM < share(mask), mask_id, jnp.where(draw_BM < share(mask + random), random_BM, old_BM))
    # A slot that is not filled writes past the end, where it is dropped.
    target_BM = jnp.where(filled_BM, position_BM, tokens_BL.shape[1])
    return jax.vmap(lambda row, at, new: row.at[at].set(new, mode="drop"))(tokens_BL, target_BM, new_BM)


def cumulative(weight_V: np.ndarray) -> np.ndarray:
    """Returns uint32 (V,) on the host: entry v is the share of ids 0 .. v in the whole weight, times 2^32 - 1."""
    total = np.cumsum(np.asarray(weight_V, np.float64))
    return np.floor(total / total[-1] * (2**32 - 1)).astype(np.uint32)


def _search(cumulative_V: jax.Array, draw_BM: jax.Array) -> jax.Array:
    """Returns the id into whose share each draw falls: the number of entries at or below the draw, by bisection.

    The highest draw counts as the one below it. It would give the last id, which may have no share.
    """
    size = cumulative_V.shape[0]
    draw_BM = jnp.minimum(draw_BM, np.uint32(2**32 - 2))
    found_BM = jnp.zeros_like(draw_BM, jnp.int32)
    for bit in reversed(range((size - 1).bit_length())):
        probe_BM = found_BM + (1 << bit)
        entry_BM = cumulative_V.at[jnp.minimum(probe_BM, size) - 1].get(
            mode="promise_in_bounds", out_sharding=act("act_BM")
        )
        found_BM = jnp.where((probe_BM < size) & (entry_BM <= draw_BM), probe_BM, found_BM)
    return found_BM


def share(probability: float) -> np.uint32:
    """Returns the threshold that a share `probability` of the 32-bit integers lie below."""
    return np.uint32(min(round(probability * 2**32), 2**32 - 1))
