"""`token` chooses single tokens, uniformly without replacement (BERT, RoBERTa)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxbert.config import MaskedLMConfig
from jaxbert.core.sharding import take_along_rows
from jaxbert.objectives.masking.scheme import Candidates, ranks


def choose_tokens(candidates: Candidates, config: MaskedLMConfig, key: jax.Array) -> jax.Array:
    """See `Scheme`; the budget is exact (all of them where fewer are maskable). One sort."""
    del config
    budget_B1 = candidates.budget_B1
    rank_BL = ranks(candidates.maskable_BL, key)
    threshold_B1 = take_along_rows(jnp.sort(rank_BL, axis=1), jnp.maximum(budget_B1 - 1, 0))
    return (rank_BL <= threshold_B1) & candidates.maskable_BL & (budget_B1 > 0)
