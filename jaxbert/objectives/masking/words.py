"""Words of a row, for the schemes that choose whole ones."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxbert.core.sharding import act
from jaxbert.objectives.masking.scheme import Candidates


class Words(NamedTuple):
    """Words of maskable tokens.

    Attributes:
      first_BL: bool, a word begins here.
      follows_BL: bool, a word begins here, right behind another one of the same text.
      start_BL: int32, where the word of this token begins (of maskable tokens only).
      next_BL: int32, the first position behind this one at which a word begins or text ends; L at the end.
    """

    first_BL: jax.Array
    follows_BL: jax.Array
    start_BL: jax.Array
    next_BL: jax.Array


def words(candidates: Candidates, cap: int) -> Words:
    """The words of each row.

    One begins where the vocabulary's table says so, and wherever what stands before cannot be masked (a special token,
    the row's begin) or is of another group. A word of more than `cap` pieces counts as several.
    """
    maskable_BL, group_BL = candidates.maskable_BL, candidates.group_BL
    length = maskable_BL.shape[1]
    index_L = jnp.arange(length, dtype=jnp.int32)
    by_table_BL = candidates.tables["word_start"].at[candidates.tokens_BL].get(out_sharding=act("act_BL"))
    joined_BL = jnp.roll(maskable_BL, 1, axis=1) & (jnp.roll(group_BL, 1, axis=1) == group_BL) & (index_L > 0)
    first_BL = maskable_BL & (by_table_BL | ~joined_BL)
    start_BL = jax.lax.cummax(jnp.where(first_BL, index_L, 0), axis=1)
    first_BL = maskable_BL & ((index_L - start_BL) % cap == 0)
    start_BL = jax.lax.cummax(jnp.where(first_BL, index_L, 0), axis=1)
    boundary_BL = jnp.where(first_BL | ~maskable_BL, index_L, length)
    ahead_BL = jnp.where(index_L < length - 1, jnp.roll(boundary_BL, -1, axis=1), length)
    return Words(first_BL, first_BL & joined_BL, start_BL, jax.lax.cummin(ahead_BL, axis=1, reverse=True))


def ends_of_words(found: Words, start_BL: jax.Array, count: int) -> list[jax.Array]:
    """Where the text of 1, 2, .. `count` words from `start` on ends (its last position + 1), int32 (B, L) each.

    Where fewer words follow before the text is broken (special token, group's end), the end of the last of them.
    """
    length = start_BL.shape[1]
    end_BL = jnp.take_along_axis(found.next_BL, start_BL, axis=1)
    ends = [end_BL]
    for _ in range(count - 1):
        at_BL = jnp.minimum(end_BL, length - 1)
        goes_on_BL = (end_BL < length) & jnp.take_along_axis(found.follows_BL, at_BL, axis=1)
        end_BL = jnp.where(goes_on_BL, jnp.take_along_axis(found.next_BL, at_BL, axis=1), end_BL)
        ends.append(end_BL)
    return ends
