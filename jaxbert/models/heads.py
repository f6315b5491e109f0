"""What stands on the encoder: pooler, masked-LM head with the tied decoder, and classifiers of the pooled vector."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxbert.config import EncoderConfig
from jaxbert.models.layers import Dense, LayerNorm, affine, constant, gelu, parameter
from jaxbert.sharding import Layout, act


class Pooler(nnx.Module):
    """tanh(dense) of the first position."""

    def __init__(self, config: EncoderConfig, *, layout: Layout, rngs: nnx.Rngs):
        size = config.hidden_size
        self.dense = Dense(
            "bd,de->be",
            (size, size),
            (size,),
            dims="dense_DD",
            bias_dims="bias_D",
            deviation=config.initializer_range,
            layout=layout,
            rngs=rngs,
        )

    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Pooled vectors (B, D)."""
        return jnp.tanh(self.dense(x_BLD[:, 0], act("act_BD")))


class MaskedLM(nnx.Module):
    """dense, GELU, LayerNorm, then the word embeddings transposed plus a bias of the vocabulary."""

    def __init__(self, config: EncoderConfig, *, layout: Layout, rngs: nnx.Rngs):
        size = config.hidden_size
        self.activation, self.vocab_size = config.activation, config.vocab_size
        self.dense = Dense(
            "bmd,de->bme",
            (size, size),
            (size,),
            dims="dense_DD",
            bias_dims="bias_D",
            deviation=config.initializer_range,
            layout=layout,
            rngs=rngs,
        )
        self.norm = LayerNorm(size, config.layer_norm_epsilon, layout=layout, rngs=rngs)
        self.bias = parameter(rngs, constant(0.0), (config.padded_vocab_size,), "bias_V", layout)

    def __call__(self, x_BMD: jax.Array, word_VD: jax.Array) -> jax.Array:
        """Logits (B, M, padded V) in float32; those of the padding are the lowest float, probability 0."""
        h_BMD = self.norm(gelu(self.dense(x_BMD, act("act_BMD")), self.activation))
        wide = jnp.promote_types(h_BMD.dtype, jnp.float32)
        bias_V = self.bias[...].astype(wide)
        # Padding rows of the table are 0, so their logits are their bias.
        bias_V = jnp.where(jnp.arange(bias_V.shape[0]) < self.vocab_size, bias_V, jnp.finfo(wide).min)
        return affine(h_BMD, word_VD, bias_V, "bmd,vd->bmv", None, wide)


class PairClassifier(nnx.Module):
    """Two classes from the pooled vector: next sentence prediction."""

    def __init__(self, config: EncoderConfig, *, layout: Layout, rngs: nnx.Rngs):
        self.dense = Dense(
            "bd,dc->bc",
            (config.hidden_size, 2),
            (2,),
            dims="class_DC",
            bias_dims="bias_C",
            deviation=config.initializer_range,
            layout=layout,
            rngs=rngs,
        )

    def __call__(self, pooled_BD: jax.Array) -> jax.Array:
        """Logits (B, 2) in float32."""
        return self.dense(pooled_BD, wide=True)
