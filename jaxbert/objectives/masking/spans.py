"""`span` chooses spans of whole words of geometric lengths, to an exact budget (facebookresearch/SpanBERT masking.py).

The original draws a length of 1 to 10 words, p(l) proportional to 0.2 x 0.8^(l-1). The mean is 3.8, because p is
renormalised; clipping would give 4.46. It also draws a token that is not chosen yet. From the begin of the token's word
it takes l words, or as many as there are, and stops inside a word if the budget is reached. Spans that touch or overlap
are one span afterwards.

Here each step takes the next token in one random order that is not chosen yet. The distribution is the same, because
the rest of the order is uniform whatever was chosen before.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import MaskedLMConfig
from jaxbert.core.sharding import act, moved_along_rows, take_along_rows
from jaxbert.objectives.masking.scheme import LAST, Candidates, at_rank, ranks
from jaxbert.objectives.masking.slots import share
from jaxbert.objectives.masking.words import ends_of_words, words


def span_probabilities(p: float, longest: int) -> np.ndarray:
    """Returns the probabilities of lengths 1 .. longest, in words: geometric, renormalised; float64 (longest,)."""
    weight = p * (1 - p) ** np.arange(longest)
    return np.asarray(weight / weight.sum())


def choose_spans(candidates: Candidates, config: MaskedLMConfig, key: jax.Array) -> jax.Array:
    """See `Scheme`; the budget is exact (all of them where fewer are maskable), so the last span may end in a word."""
    order_key, length_key = jax.random.split(key)
    found = words(candidates, config.word_cap)
    maskable_BL = candidates.maskable_BL
    length = maskable_BL.shape[1]
    index_L = jnp.arange(length, dtype=jnp.int32)
    rank_BL = ranks(maskable_BL, order_key)
    draw_BL = jax.random.bits(length_key, rank_BL.shape, jnp.uint32, out_sharding=act("act_BL"))
    bounds = np.cumsum(span_probabilities(config.span_p, config.max_span))[:-1]
    words_BL = 1 + sum(
        ((draw_BL >= share(bound)).astype(jnp.int32) for bound in bounds), jnp.zeros_like(found.start_BL)
    )
    ends = ends_of_words(found, found.start_BL, config.max_span)
    end_BL: jax.Array = sum(
        (jnp.where(words_BL == n, end, 0) for n, end in enumerate(ends, 1)), jnp.zeros_like(words_BL)
    )

    def step(_: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        chosen_BL, left_B1 = carry
        pick_B1 = jnp.min(jnp.where(chosen_BL, LAST, rank_BL), axis=1, keepdims=True)
        there_B1 = (pick_B1 < LAST) & (left_B1 > 0)
        at_B1 = jnp.where(there_B1, at_rank(pick_B1, length), 0)
        from_B1 = take_along_rows(found.start_BL, at_B1)
        to_B1 = take_along_rows(end_BL, at_B1)
        new_BL = there_B1 & (index_L >= from_B1) & (index_L < to_B1) & ~chosen_BL
        new_BL &= jnp.cumsum(new_BL, axis=1, dtype=jnp.int32) <= left_B1
        return chosen_BL | new_BL, left_B1 - new_BL.sum(axis=1, keepdims=True, dtype=jnp.int32)

    start = (maskable_BL & False, candidates.budget_B1)
    return jax.lax.fori_loop(0, candidates.slots, step, start)[0]


def runs(chosen_BL: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the (first, last) position, int32 (B, L), of the run of chosen tokens that each chosen token is in."""
    length = chosen_BL.shape[1]
    index_L = jnp.arange(length, dtype=jnp.int32)
    begins_BL = chosen_BL & ~moved_along_rows(chosen_BL, 1, False)
    ends_BL = chosen_BL & ~moved_along_rows(chosen_BL, -1, False)
    first_BL = jax.lax.cummax(jnp.where(begins_BL, index_L, 0), axis=1)
    last_BL = jax.lax.cummin(jnp.where(ends_BL, index_L, length - 1), axis=1, reverse=True)
    return first_BL, last_BL
