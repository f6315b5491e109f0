"""What stands on the encoder: pooler, masked LM with the tied decoder, classifiers, span boundary, projection.

Every head takes (config, layout, rngs) and sizes of its own by keyword, which its objective gives.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxbert.config import EncoderConfig
from jaxbert.core.sharding import Layout, act
from jaxbert.models.families import FAMILIES
from jaxbert.models.layers import Dense, LayerNorm, Table, affine, constant, gelu, parameter, weights


class Pooler(nnx.Module):
    """tanh(dense) of the first position, or what the family has in the place of tanh."""

    def __init__(self, config: EncoderConfig, *, layout: Layout, rngs: nnx.Rngs):
        size = config.hidden_size
        self.activation = {"tanh": jnp.tanh, "relu": jax.nn.relu}[FAMILIES[config.family].pooler]
        self.dense = _dense("bd,de->be", size, size, config, layout, rngs)

    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Pooled vectors (B, D)."""
        pooled_BD: jax.Array = self.activation(self.dense(x_BLD[:, 0], act("act_BD")))
        return pooled_BD


class MaskedLM(nnx.Module):
    """dense from D to E, GELU, LayerNorm, then the word embeddings transposed plus a bias of the vocabulary."""

    def __init__(self, config: EncoderConfig, *, layout: Layout, rngs: nnx.Rngs):
        width = config.embedding_width
        self.activation = config.activation
        self.dense = _dense("bmd,de->bme", config.hidden_size, width, config, layout, rngs)
        self.norm = LayerNorm(width, config.layer_norm_epsilon, layout=layout, rngs=rngs)
        self.vocab_size = config.vocab_size
        self.bias = parameter(rngs, constant(0.0), (config.padded_vocab_size,), "bias_V", layout)

    def __call__(self, x_BMD: jax.Array, word_VE: jax.Array) -> jax.Array:
        """Logits (B, M, padded V) in float32; those of the padding are the lowest float, probability 0."""
        h_BME = self.norm(gelu(self.dense(x_BMD, act("act_BMD")), self.activation))
        return decode(h_BME, word_VE, self.bias[...], self.vocab_size)


class Classifier(nnx.Module):
    """C classes from the pooled vector: next sentence, sentence order (of two), classes of texts, a choice (of one)."""

    equation = "bd,dc->bc"

    def __init__(self, config: EncoderConfig, *, layout: Layout, rngs: nnx.Rngs, labels: int = 2):
        self.dense = Dense(
            self.equation,
            (config.hidden_size, labels),
            (labels,),
            dims="class_DC",
            bias_dims="bias_C",
            start=weights(config),
            layout=layout,
            rngs=rngs,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits (B, C) in float32, of x (B, D)."""
        return self.dense(x, wide=True)


class TokenClassifier(Classifier):
    """C classes from each hidden state: classes of tokens, start and end of an answer."""

    equation = "bld,dc->blc"

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits (B, L, C) in float32, of x (B, L, D)."""
        return self.dense(x, wide=True)


class SpanBoundary(nnx.Module):
    """A token of a span from the two tokens around it and its place (facebookresearch/SpanBERT pretraining).

        h0 = [left; right; position of the place]    h = LN(GELU(dense(LN(GELU(dense(h0))))))

    then the word embeddings transposed plus a bias of the vocabulary of its own.
    """

    def __init__(
        self,
        config: EncoderConfig,
        *,
        layout: Layout,
        rngs: nnx.Rngs,
        max_targets: int = 20,
        position_size: int = 200,
    ):
        size, width, start = config.hidden_size, config.embedding_width, weights(config)
        self.activation, self.vocab_size = config.activation, config.vocab_size
        self.place = Table((max_targets, position_size), start, dims="emb_SP", layout=layout, rngs=rngs)
        self.first = Dense(
            "bmi,id->bmd",
            (2 * size + position_size, size),
            (size,),
            dims="wide_ID",
            bias_dims="bias_D",
            start=start,
            layout=layout,
            rngs=rngs,
        )
        self.first_norm = LayerNorm(size, config.layer_norm_epsilon, layout=layout, rngs=rngs)
        self.second = _dense("bmd,de->bme", size, width, config, layout, rngs)
        self.second_norm = LayerNorm(width, config.layer_norm_epsilon, layout=layout, rngs=rngs)
        self.bias = parameter(rngs, constant(0.0), (config.padded_vocab_size,), "bias_V", layout)

    def __call__(self, left_BMD: jax.Array, right_BMD: jax.Array, place_BM: jax.Array, word_VE: jax.Array) -> jax.Array:
        """Logits (B, M, padded V) in float32, as in `MaskedLM`.

        Args:
          left_BMD, right_BMD: hidden states of the tokens before and behind each slot's span.
          place_BM: the slot's place in its span, from 0, below `max_targets`.
          word_VE: word embeddings.
        """
        place_BMP = self.place(place_BM).astype(left_BMD.dtype)
        h_BMI = jnp.concatenate([left_BMD, right_BMD, place_BMP], axis=-1)
        h_BMD = self.first_norm(gelu(self.first(h_BMI, act("act_BMD")), self.activation))
        h_BME = self.second_norm(gelu(self.second(h_BMD, act("act_BMD")), self.activation))
        return decode(h_BME, word_VE, self.bias[...], self.vocab_size)


class Projection(nnx.Module):
    """Hidden states in the width of another model (0: the same): a narrower student beside its teacher."""

    def __init__(self, config: EncoderConfig, *, layout: Layout, rngs: nnx.Rngs, width: int = 0):
        size = config.hidden_size
        self.dense = _dense("bld,de->ble", size, width or size, config, layout, rngs)

    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """x (B, L, width)."""
        return self.dense(x_BLD, act("act_BLD"))


def decode(h_BME: jax.Array, word_VE: jax.Array, bias_V: jax.Array, vocab_size: int) -> jax.Array:
    """Logits (B, M, padded V) in float32 at the least; those of the padding are the lowest float."""
    wide = jnp.promote_types(h_BME.dtype, jnp.float32)
    # Padding rows of the table are 0, so their logits are their bias.
    bias_V = bias_V.astype(wide)
    bias_V = jnp.where(jnp.arange(bias_V.shape[0]) < vocab_size, bias_V, jnp.finfo(wide).min)
    return affine(h_BME, word_VE, bias_V, "bmd,vd->bmv", None, wide)


def _dense(equation: str, size: int, width: int, config: EncoderConfig, layout: Layout, rngs: nnx.Rngs) -> Any:
    names: dict[str, str] = dict(dims="dense_DD", bias_dims="bias_D")
    return Dense(equation, (size, width), (width,), start=weights(config), layout=layout, rngs=rngs, **names)
