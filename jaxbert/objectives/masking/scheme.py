"""What a masking scheme takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
      tokens_BL: clean.
      maskable_BL: bool, may be chosen: text, no special token, no padding.
      group_BL: attention groups.
      budget_B1: int32, tokens to choose in each row.
      slots: M, the largest budget there can be.
      tables: `frozen`: word_start bool (V,), and what the scheme asks for.
    """

    tokens_BL: jax.Array
    maskable_BL: jax.Array
    group_BL: jax.Array
    budget_B1: jax.Array
    slots: int
    tables: Mapping[str, jax.Array]


# (candidates, config, key) -> chosen, bool (B, L): never more than the budget, and none that is not maskable.
Scheme = Callable[[Candidates, MaskedLMConfig, jax.Array], jax.Array]


def ranks(among_BL: jax.Array, key: jax.Array) -> jax.Array:
    """A random order of the entries of each row that are `among`: uint32, all different; `LAST` for the others.

    A random rank above the position: ranks may tie, keys cannot.
    """
    length = among_BL.shape[1]
    bits = (length - 1).bit_length()
    rank_BL = jax.random.bits(key, among_BL.shape, jnp.uint32, out_sharding=act("act_BL")) >> bits
    # The largest key stays below the filler, which marks what may not be chosen.
    composite_BL = jnp.minimum((rank_BL << bits) | jnp.arange(length, dtype=jnp.uint32), LAST - 1)
    return jnp.where(among_BL, composite_BL, LAST)


def at_rank(rank_B1: jax.Array, length: int) -> jax.Array:
    """Positions, int32 (B, 1), that `ranks` put into these keys."""
    return (rank_B1 & np.uint32((1 << (length - 1).bit_length()) - 1)).astype(jnp.int32)
