"""The contract of a masking scheme: its input, and what it chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import MaskedLMConfig
from jaxbert.core.sharding import act

LAST = np.uint32(0xFFFFFFFF)


class Candidates(NamedTuple):
    """A global batch to choose from.

    Attributes:
      tokens_BL: clean tokens.
      maskable_BL: bool, whether a token may be chosen: it is text, and neither a special token nor padding.
      group_BL: attention groups.
      budget_B1: int32, tokens to choose in each row.
      slots: M, the largest budget there can be.
      tables: `frozen`: word_start bool (V,), and the tables of the scheme.
    """

    tokens_BL: jax.Array
    maskable_BL: jax.Array
    group_BL: jax.Array
    budget_B1: jax.Array
    slots: int
    tables: Mapping[str, jax.Array]


@dataclass(frozen=True)
class Scheme:
    """A rule that chooses tokens: an entry of `jaxbert.objectives.masking.SCHEMES`.

    Attributes:
      choose: (candidates, config, key) -> chosen, bool (B, L). Chooses at most the budget, and only maskable tokens.
      tables: (config, counts, L of the longest rows) -> further arrays for `Candidates.tables`, made on the host. The
        counts say how often each token occurs in the train rows, (V,); they are zeros unless `counts` is set.
      counts: whether `tables` needs the counts.
      replaces_spans: whether a run of chosen tokens is replaced as one: all by [MASK], all at random, or none.
    """

    choose: Callable[[Candidates, MaskedLMConfig, jax.Array], jax.Array]
    tables: Callable[[MaskedLMConfig, np.ndarray, int], Mapping[str, np.ndarray]] = lambda config, counts, longest: {}
    counts: bool = False
    replaces_spans: bool = False


def ranks(among_BL: jax.Array, key: jax.Array) -> jax.Array:
    """Returns a random order of the entries of each row that are `among`: uint32, all different; `LAST` elsewhere.

    A key is a random rank with the position in its lower bits. Ranks may tie, keys cannot.
    """
    length = among_BL.shape[1]
    bits = (length - 1).bit_length()
    rank_BL = jax.random.bits(key, among_BL.shape, jnp.uint32, out_sharding=act("act_BL")) >> bits
    # The largest key stays below the filler, which marks tokens that may not be chosen.
    composite_BL = jnp.minimum((rank_BL << bits) | jnp.arange(length, dtype=jnp.uint32), LAST - 1)
    return jnp.where(among_BL, composite_BL, LAST)


def at_rank(rank_B1: jax.Array, length: int) -> jax.Array:
    """Returns the positions, int32 (B, 1), that `ranks` put into these keys."""
    return (rank_B1 & np.uint32((1 << (length - 1).bit_length()) - 1)).astype(jnp.int32)
