"""`whole_word` and `ngram` choose whole words, one by one or up to three in a row (google-research/albert).

The originals go through the words in random order. At each word they draw a length of n words with probability
proportional to 1/n. They shorten it while it would pass the budget. They leave it out if even one word would pass it,
or if a word of it is chosen already. Whole words one by one (google-research/bert) are the case n = 1.

Here one step chooses, in all rows at once, the next n-gram that the originals would not leave out. So there are as many
steps as slots. Words that come earlier in the order were left out under the same choice, and cannot come back.

One departure: an n-gram never spans a special token (the original's may join the end of A with the begin of B). At the
end of a text the length is drawn from the possible ones, as in the original.
"""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import MaskedLMConfig
from jaxbert.core.sharding import act, take_along_rows
from jaxbert.objectives.masking.scheme import LAST, Candidates, at_rank, ranks
from jaxbert.objectives.masking.slots import share
from jaxbert.objectives.masking.words import ends_of_words, words


def choose_words(candidates: Candidates, config: MaskedLMConfig, key: jax.Array) -> jax.Array:
    """See `Scheme`; no word is split, and the budget is not always filled: a word that would pass it is left out."""
    return choose_ngrams(candidates, dataclasses.replace(config, max_ngram=1), key)


def choose_ngrams(candidates: Candidates, config: MaskedLMConfig, key: jax.Array) -> jax.Array:
    """See `Scheme`; no word is split."""
    order_key, length_key = jax.random.split(key)
    found = words(candidates, config.word_cap)
    length = found.first_BL.shape[1]
    index_L = jnp.arange(length, dtype=jnp.int32)
    rank_BL = ranks(found.first_BL, order_key)
    index_BL = index_L + jnp.zeros_like(found.start_BL)
    ends = ends_of_words(found, index_BL, config.max_ngram)
    n_BL = _lengths(ends, jax.random.bits(length_key, rank_BL.shape, jnp.uint32, out_sharding=act("act_BL")))

    def step(_: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        chosen_BL, left_B1, from_B1 = carry
        # The longest of 1 .. n words that fits. If none fits, the n-gram ends where it begins.
        end_BL = index_BL
        for n, candidate_BL in enumerate(ends, 1):
            end_BL = jnp.where((n <= n_BL) & (candidate_BL - index_L <= left_B1), candidate_BL, end_BL)
        next_chosen_BL = jax.lax.cummin(jnp.where(chosen_BL, index_L, length), axis=1, reverse=True)
        free_BL = (end_BL > index_L) & (next_chosen_BL >= end_BL) & (rank_BL >= from_B1)
        pick_B1 = jnp.min(jnp.where(free_BL, rank_BL, LAST), axis=1, keepdims=True)
        there_B1 = pick_B1 < LAST
        at_B1 = jnp.where(there_B1, at_rank(pick_B1, length), 0)
        to_B1 = take_along_rows(end_BL, at_B1)
        new_BL = there_B1 & (index_L >= at_B1) & (index_L < to_B1)
        left_B1 = left_B1 - jnp.where(there_B1, to_B1 - at_B1, 0)
        return chosen_BL | new_BL, left_B1, jnp.where(there_B1, pick_B1 + 1, from_B1)

    start = (found.first_BL & False, candidates.budget_B1, jnp.zeros_like(candidates.budget_B1, jnp.uint32))
    return jax.lax.fori_loop(0, candidates.slots, step, start)[0]


def _lengths(ends: list[jax.Array], draw_BL: jax.Array) -> jax.Array:
    """Returns n of each word's n-gram, int32 (B, L), with probability proportional to 1/n among possible lengths."""
    there_BL = sum((longer > shorter).astype(jnp.int32) for shorter, longer in itertools.pairwise(ends))
    n_BL = jnp.ones_like(draw_BL, jnp.int32)
    for most in range(2, len(ends) + 1):
        weight = 1 / np.arange(1, most + 1)
        bounds = np.cumsum(weight / weight.sum())[:-1]
        drawn_BL = 1 + sum((draw_BL >= share(bound)).astype(jnp.int32) for bound in bounds)
        n_BL = jnp.where(there_BL + 1 == most, drawn_BL, n_BL)
    return n_BL
