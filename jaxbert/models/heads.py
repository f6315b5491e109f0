"""The heads on the encoder: pooler, masked LM with the tied decoder, classifiers, span boundary, projection.

A head is a subclass of `Head` here and a line in `HEADS`. Its objective calls it by its name, and gives the sizes
that it takes beside the encoder's config.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jaxbert.config import EncoderBase
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import Layout, act
from jaxbert.models.cost import Over, Product
from jaxbert.models.layers import Dense, LayerNorm, Table, affine, constant, gelu, parameter, weights

Sizes = Mapping[str, int]


class Head(nnx.Module):
    """A head. Its constructor takes (config, layout, rngs) and its own sizes by keyword. It is called on activations.

    Attributes:
      reads: "hidden": the caller gives it hidden states; "pooled": `Model.apply_head` gives it the pooled vector.
      decodes: whether its last argument is the word embeddings, which `Model.apply_head` gives.
      classes: default of its size `labels`, the number of classes that it tells apart; 0: it has no classes.
      published: whether files may hold it. A head that only training uses is left out of files.
    """

    reads: ClassVar[Literal["hidden", "pooled"]] = "hidden"
    decodes: ClassVar[bool] = False
    classes: ClassVar[int] = 0
    published: ClassVar[bool] = True

    @classmethod
    def sizes(cls, params: Params) -> Sizes:
        """Returns the sizes that a head with these parameters (or their shapes) has beside the encoder's config."""
        del params
        return {}

    @classmethod
    def products(cls, config: EncoderBase, **sizes: int) -> tuple[Product, ...]:
        """Returns its matrix products, for plans and MFU."""
        del config, sizes
        return ()


class Pooler(Head):
    """The pooler: tanh(dense) of the first position. `EncoderBase.pooler` can name another activation."""

    def __init__(self, config: EncoderBase, *, layout: Layout, rngs: nnx.Rngs):
        size = config.hidden_size
        self.activation = {"tanh": jnp.tanh, "relu": jax.nn.relu}[config.pooler]
        self.dense = _dense("bd,de->be", size, size, config, layout, rngs)

    @classmethod
    def products(cls, config: EncoderBase, **sizes: int) -> tuple[Product, ...]:
        """See `Head`."""
        return (Product("rows", config.hidden_size, config.hidden_size),)

    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Returns pooled vectors (B, D)."""
        pooled_BD: jax.Array = self.activation(self.dense(x_BLD[:, 0], act("act_BD")))
        return pooled_BD


class MaskedLM(Head):
    """The masked-LM head: dense from D to E, GELU, LayerNorm, the transposed word embeddings, a bias per token of V."""

    decodes = True

    @classmethod
    def products(cls, config: EncoderBase, **sizes: int) -> tuple[Product, ...]:
        """See `Head`."""
        return Product("slots", config.hidden_size, config.embedding_width), _decoder(config)

    def __init__(self, config: EncoderBase, *, layout: Layout, rngs: nnx.Rngs):
        width = config.embedding_width
        self.activation = config.activation
        self.dense = _dense("bmd,de->bme", config.hidden_size, width, config, layout, rngs)
        self.norm = LayerNorm(width, config.layer_norm_epsilon, layout=layout, rngs=rngs)
        self.vocab_size = config.vocab_size
        self.bias = parameter(rngs, constant(0.0), (config.padded_vocab_size,), "bias_V", layout)

    def __call__(self, x_BMD: jax.Array, word_VE: jax.Array) -> jax.Array:
        """Returns logits (B, M, padded V) in float32. Those of the padding are the lowest float: probability 0."""
        h_BME = self.norm(gelu(self.dense(x_BMD, act("act_BMD")), self.activation))
        return decode(h_BME, word_VE, self.bias[...], self.vocab_size)


class Classifier(Head):
    """A classifier of C classes from the pooled vector: next sentence, sentence order, classes of texts."""

    reads: ClassVar[Literal["hidden", "pooled"]] = "pooled"
    classes = 2
    equation = "bd,dc->bc"

    @classmethod
    def sizes(cls, params: Params) -> Sizes:
        """See `Head`."""
        return {"labels": params["dense"]["kernel"].shape[-1]}

    @classmethod
    def products(cls, config: EncoderBase, **sizes: int) -> tuple[Product, ...]:
        """See `Head`."""
        over: Over = "rows" if cls.reads == "pooled" else "tokens"
        return (Product(over, config.hidden_size, sizes.get("labels", cls.classes), planned=over != "rows"),)

    def __init__(self, config: EncoderBase, *, layout: Layout, rngs: nnx.Rngs, labels: int = 0):
        labels = labels or self.classes
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
        """Returns logits (B, C) in float32 from x (B, D)."""
        return self.dense(x, wide=True)


class TokenClassifier(Classifier):
    """A classifier of C classes from each hidden state: classes of tokens, start and end of an answer."""

    reads = "hidden"
    equation = "bld,dc->blc"

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns logits (B, L, C) in float32 from x (B, L, D)."""
        return self.dense(x, wide=True)


class Choice(Classifier):
    """A score from the pooled vector. Each row is one choice of a question, and the caller compares the scores."""

    classes = 1


class SpanBoundary(Head):
    """A head that predicts a token of a span from the two tokens around the span and the token's place in it.

    Source: facebookresearch/SpanBERT pretraining.

        h0 = [left; right; position of the place]    h = LN(GELU(dense(LN(GELU(dense(h0))))))

    The logits are h times the transposed word embeddings, plus a separate bias per token of the vocabulary.
    """

    decodes = True

    @classmethod
    def sizes(cls, params: Params) -> Sizes:
        """See `Head`."""
        targets, width = params["place"]["table"].shape
        return {"max_targets": targets, "position_size": width}

    @classmethod
    def products(cls, config: EncoderBase, **sizes: int) -> tuple[Product, ...]:
        """See `Head`. MFU counts the two boundaries, and leaves out the embedding of the place."""
        size, place = config.hidden_size, sizes.get("position_size", 200)
        return (
            Product("slots", 2 * size + place, size, apart=place),
            Product("slots", size, config.embedding_width),
            _decoder(config),
        )

    def __init__(
        self,
        config: EncoderBase,
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
        """Returns logits (B, M, padded V) in float32, as in `MaskedLM`.

        Args:
          left_BMD, right_BMD: hidden states of the tokens before and after the span of each slot.
          place_BM: the slot's place in its span, from 0, below `max_targets`.
          word_VE: word embeddings.
        """
        place_BMP = self.place(place_BM).astype(left_BMD.dtype)
        h_BMI = jnp.concatenate([left_BMD, right_BMD, place_BMP], axis=-1)
        h_BMD = self.first_norm(gelu(self.first(h_BMI, act("act_BMD")), self.activation))
        h_BME = self.second_norm(gelu(self.second(h_BMD, act("act_BMD")), self.activation))
        return decode(h_BME, word_VE, self.bias[...], self.vocab_size)


class Projection(Head):
    """A projection of hidden states to the width of another model (0: the same), for a student with a wider teacher."""

    published = False

    @classmethod
    def sizes(cls, params: Params) -> Sizes:
        """See `Head`."""
        return {"width": params["dense"]["kernel"].shape[-1]}

    @classmethod
    def products(cls, config: EncoderBase, **sizes: int) -> tuple[Product, ...]:
        """See `Head`. MFU does not count it."""
        width = sizes.get("width", 0) or config.hidden_size
        return (Product("tokens", config.hidden_size, width, counted=False),)

    def __init__(self, config: EncoderBase, *, layout: Layout, rngs: nnx.Rngs, width: int = 0):
        size = config.hidden_size
        self.dense = _dense("bld,de->ble", size, width or size, config, layout, rngs)

    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Returns x (B, L, width)."""
        return self.dense(x_BLD, act("act_BLD"))


def _decoder(config: EncoderBase) -> Product:
    return Product("slots", config.embedding_width, config.vocab_size, decodes=True)


def decode(h_BME: jax.Array, word_VE: jax.Array, bias_V: jax.Array, vocab_size: int) -> jax.Array:
    """Returns logits (B, M, padded V) in float32 or wider. Those of the padding are the lowest float."""
    wide = jnp.promote_types(h_BME.dtype, jnp.float32)
    # Padding rows of the table are 0, so each of their logits is only its bias.
    bias_V = bias_V.astype(wide)
    bias_V = jnp.where(jnp.arange(bias_V.shape[0]) < vocab_size, bias_V, jnp.finfo(wide).min)
    return affine(h_BME, word_VE, bias_V, "bmd,vd->bmv", None, wide)


def _dense(equation: str, size: int, width: int, config: EncoderBase, layout: Layout, rngs: nnx.Rngs) -> Any:
    names: dict[str, str] = dict(dims="dense_DD", bias_dims="bias_D")
    return Dense(equation, (size, width), (width,), start=weights(config), layout=layout, rngs=rngs, **names)


# Heads by their key in the parameters. The order is fixed, because a head's initial weights depend on its place here.
# So a new head takes the last line.
HEADS: Mapping[str, type[Head]] = {
    "pooler": Pooler,
    "masked_lm": MaskedLM,
    "next_sentence": Classifier,
    "sentence_order": Classifier,
    "span_boundary": SpanBoundary,
    "projection": Projection,
    "sequence_classification": Classifier,
    "token_classification": TokenClassifier,
    "question_answering": TokenClassifier,
    "multiple_choice": Choice,
}
