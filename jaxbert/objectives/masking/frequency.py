"""`frequency` chooses rare tokens more often, p proportional to count^-0.7 (DistilBERT, after XLM).

Tokens are drawn one after the other without replacement, in whole-number arithmetic. Each is drawn with probability
proportional to its weight among the tokens that are left. The original draws ceil(0.15 x tokens) of a whole batch at
once. Here each row has a budget, so that every row has the same number of slots.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import MaskedLMConfig
from jaxbert.core.sharding import act
from jaxbert.objectives.masking.scheme import Candidates


def smoothed_weights(count_V: np.ndarray, smoothing: float, length: int) -> np.ndarray:
    """Returns uint32 (V,) on the host: weights proportional to max(count, 1)^-smoothing. L of them add up in 32 bits.

    A very frequent token, whose weight would round to 0, has weight 1.
    """
    weight = np.maximum(np.asarray(count_V, np.float64), 1) ** -smoothing
    largest = (2**32 - 1) // length
    return np.maximum(np.round(weight / weight.max() * largest), 1).astype(np.uint32)


def frequency_tables(config: MaskedLMConfig, counts: np.ndarray, longest: int) -> dict[str, np.ndarray]:
    """Returns `smoothed`, the weight of each token; see `Scheme.tables`."""
    return {"smoothed": smoothed_weights(counts, config.smoothing, longest)}


def choose_by_frequency(candidates: Candidates, config: MaskedLMConfig, key: jax.Array) -> jax.Array:
    """See `Scheme`; the budget is exact (all of them where fewer are maskable)."""
    del config
    maskable_BL = candidates.maskable_BL
    rows, length = maskable_BL.shape
    index_L = jnp.arange(length, dtype=jnp.int32)
    weight_BL = candidates.tables["smoothed"].at[candidates.tokens_BL].get(out_sharding=act("act_BL"))
    weight_BL = jnp.where(maskable_BL, weight_BL, 0)
    draw_BM = jax.random.bits(key, (rows, candidates.slots), jnp.uint32, out_sharding=act("act_BM"))

    def step(number: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        chosen_BL, left_B1 = carry
        up_to_BL = jnp.cumsum(jnp.where(chosen_BL, 0, weight_BL), axis=1, dtype=jnp.uint32)
        total_B1 = up_to_BL[:, -1:]
        slot_M = jnp.arange(candidates.slots) == number
        draw_B1 = jnp.where(slot_M, draw_BM, 0).sum(axis=1, keepdims=True, dtype=jnp.uint32)
        below_B1 = _high_product(draw_B1, total_B1)
        at_B1 = (up_to_BL <= below_B1).sum(axis=1, keepdims=True, dtype=jnp.int32)
        there_B1 = (left_B1 > 0) & (total_B1 > 0)
        return chosen_BL | (there_B1 & (index_L == at_B1)), left_B1 - there_B1.astype(jnp.int32)

    return jax.lax.fori_loop(0, candidates.slots, step, (maskable_BL & False, candidates.budget_B1))[0]


def _high_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns the upper 32 of the 64 bits of a x b. For random bits `a` this is a random number below b."""
    low = np.uint32(0xFFFF)
    a_low, a_high, b_low, b_high = a & low, a >> 16, b & low, b >> 16
    carried = ((a_low * b_low) >> 16) + a_high * b_low
    middle = (carried & low) + a_low * b_high
    return a_high * b_high + (carried >> 16) + (middle >> 16)
