"""Finds the words of a row, for the schemes that choose whole words."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxbert.core.sharding import act, moved_along_rows, take_along_rows
from jaxbert.objectives.masking.scheme import Candidates


class Words(NamedTuple):
    """Words of maskable tokens.

    Attributes:
      first_BL: bool, whether a word begins here.
      follows_BL: bool, whether a word begins here directly after another word of the same text.
      start_BL: int32, the position at which the word of this token begins (only for maskable tokens).
      next_BL: int32, the first position after this one at which a word begins or text ends; L at the end.
    """

    first_BL: jax.Array
    follows_BL: jax.Array
    start_BL: jax.Array
    next_BL: jax.Array


def words(candidates: Candidates, cap: int) -> Words:
    """Returns the words of each row.

    A word begins where the vocabulary's table says so. It also begins at the start of the row, after a token that
    cannot be masked, and where the group changes. A word of more than `cap` pieces counts as several.
    """
    maskable_BL, group_BL = candidates.maskable_BL, candidates.group_BL
    length = maskable_BL.shape[1]
    index_L = jnp.arange(length, dtype=jnp.int32)
    by_table_BL = candidates.tables["word_start"].at[candidates.tokens_BL].get(out_sharding=act("act_BL"))
    joined_BL = moved_along_rows(maskable_BL, 1, False) & (moved_along_rows(group_BL, 1, 0) == group_BL)
    first_BL = maskable_BL & (by_table_BL | ~joined_BL)
    start_BL = jax.lax.cummax(jnp.where(first_BL, index_L, 0), axis=1)
    first_BL = maskable_BL & ((index_L - start_BL) % cap == 0)
    start_BL = jax.lax.cummax(jnp.where(first_BL, index_L, 0), axis=1)
    boundary_BL = jnp.where(first_BL | ~maskable_BL, index_L, length)
    ahead_BL = moved_along_rows(boundary_BL, -1, length)
    return Words(first_BL, first_BL & joined_BL, start_BL, jax.lax.cummin(ahead_BL, axis=1, reverse=True))


def ends_of_words(found: Words, start_BL: jax.Array, count: int) -> list[jax.Array]:
    """Returns the ends (last position + 1) of the text of 1, 2, .. `count` words from `start` on, int32 (B, L) each.

    A special token or the end of a group ends the text. If fewer words come before that, it returns the end of the last
    one.
    """
    length = start_BL.shape[1]
    end_BL = take_along_rows(found.next_BL, start_BL)
    ends = [end_BL]
    for _ in range(count - 1):
        at_BL = jnp.minimum(end_BL, length - 1)
        goes_on_BL = (end_BL < length) & take_along_rows(found.follows_BL, at_BL)
        end_BL = jnp.where(goes_on_BL, take_along_rows(found.next_BL, at_BL), end_BL)
        ends.append(end_BL)
    return ends
