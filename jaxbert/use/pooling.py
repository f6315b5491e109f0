"""From the hidden states of packed rows to a vector for each text."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxbert.convert.sentence_transformers import Pooling
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import moved_along_rows
from jaxbert.models.model import Model
from jaxbert.use.batches import TOKENS_A_TEXT


@partial(jax.jit, static_argnums=(0, 1, 2))
def pooled_vectors(model: Model, pooling: Pooling, normalize: bool, params: Params, batch: dict[str, Any]) -> jax.Array:
    """Returns vectors (B, G, D) of the texts of packed rows; 0 where a row has fewer texts."""
    x_BLD = model.hidden(params, batch)
    group_BL = batch["group"]
    number_G = jnp.arange(1, max(1, group_BL.shape[1] // TOKENS_A_TEXT) + 1)
    mine_BGL = group_BL[:, None, :] == number_G[:, None]
    if pooling == "cls":
        mine_BGL &= (group_BL != moved_along_rows(group_BL, 1, 0))[:, None, :]
    weight_BGL = mine_BGL.astype(x_BLD.dtype)
    # Full float32 on every device: a mean over many tokens would lose digits in bfloat16.
    sum_BGD = jnp.einsum("bgl,bld->bgd", weight_BGL, x_BLD, precision=jax.lax.Precision.HIGHEST)
    y_BGD = sum_BGD / jnp.maximum(weight_BGL.sum(-1, keepdims=True), 1)
    if normalize:
        y_BGD /= jnp.maximum(jnp.linalg.norm(y_BGD, axis=-1, keepdims=True), 1e-12)
    return y_BGD
