"""A model: one encoder and the heads that its objectives ask for, as functions over one nested dict of parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxbert.config import EncoderConfig
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import LAYOUTS, Layout, in_use
from jaxbert.models.encoder import Encoder
from jaxbert.models.heads import Classifier, MaskedLM, Pooler, Projection, SpanBoundary, TokenClassifier
from jaxbert.models.layers import define

# Heads by their key in the parameters. The order is fixed: a head's start is drawn from its place in it.
HEADS: Mapping[str, type[nnx.Module]] = {
    "pooler": Pooler,
    "masked_lm": MaskedLM,
    "next_sentence": Classifier,
    "sentence_order": Classifier,
    "span_boundary": SpanBoundary,
    "projection": Projection,
    "sequence_classification": Classifier,
    "token_classification": TokenClassifier,
    "question_answering": TokenClassifier,
    "multiple_choice": Classifier,
}
# Those that read the pooled vector.
ON_POOLER = ("next_sentence", "sentence_order", "sequence_classification", "multiple_choice")
# What some heads take beside the encoder's config, by head.
HeadSizes = Mapping[str, Mapping[str, int]]


class Model:
    """Encoder and heads over params {"encoder": ..., "pooler": ..., "masked_lm": ..., "next_sentence": ...}.

    Attributes:
      config: the encoder's.
      heads: names of the heads it has.
      names: tree like the parameters, of dimension names (keys of the layout's tables; stacked leaves leave out N).
    """

    def __init__(
        self,
        config: EncoderConfig,
        heads: Iterable[str],
        layout: Layout = LAYOUTS["fsdp_tensor"],
        sizes: HeadSizes | None = None,
    ):
        self.config = config
        self.heads = tuple(heads)
        sizes = sizes or {}
        self.encoder = Encoder(config, layout)
        self._heads = {name: _define_head(HEADS[name], config, layout, sizes.get(name, {})) for name in self.heads}
        self.names: Params = {"encoder": self.encoder.names, **{name: parts[2] for name, parts in self._heads.items()}}

    def init(self, key: jax.Array) -> Params:
        """Random parameters, float32, born in the layout's places when called under jit and a mesh.

        Each part draws from its own key, so that adding a head does not change the encoder.
        """
        params: Params = {"encoder": self.encoder.init(jax.random.fold_in(key, 0))}
        for name in self.heads:
            params[name] = self._heads[name][0](jax.random.fold_in(key, 1 + list(HEADS).index(name)))
        return params

    def hidden(
        self,
        params: Params,
        batch: Mapping[str, jax.Array],
        *,
        dropout_key: jax.Array | None = None,
        dtype: Any = jnp.float32,
        all_layers: bool = False,
    ) -> jax.Array:
        """Hidden states (B, L, D) of a batch with `tokens`, `types` and `group`; see `Encoder.__call__`."""
        return self.encoder(
            params["encoder"],
            batch["tokens"],
            batch["types"],
            batch["group"],
            dropout_key=dropout_key,
            dtype=dtype,
            all_layers=all_layers,
        )

    def pooled(self, params: Params, x_BLD: jax.Array) -> jax.Array:
        """Pooled vectors (B, D)."""
        return self._apply("pooler", params, x_BLD)

    def masked_lm(self, params: Params, x_BMD: jax.Array) -> jax.Array:
        """Logits (B, M, padded V) of hidden states at M positions, float32."""
        word = in_use(params["encoder"]["embeddings"]["word"], x_BMD.dtype)["table"]
        return self._apply("masked_lm", params, x_BMD, word)

    def next_sentence(self, params: Params, x_BLD: jax.Array) -> jax.Array:
        """Logits (B, 2): 0 B follows A, 1 B is from elsewhere."""
        return self._apply("next_sentence", params, self.pooled(params, x_BLD))

    def sentence_order(self, params: Params, x_BLD: jax.Array) -> jax.Array:
        """Logits (B, 2): 0 A and B are in their order, 1 they are swapped."""
        return self._apply("sentence_order", params, self.pooled(params, x_BLD))

    def sequence_classification(self, params: Params, x_BLD: jax.Array) -> jax.Array:
        """Logits (B, C) of the classes of a text."""
        return self._apply("sequence_classification", params, self.pooled(params, x_BLD))

    def token_classification(self, params: Params, x_BLD: jax.Array) -> jax.Array:
        """Logits (B, L, C) of the classes of each token."""
        return self._apply("token_classification", params, x_BLD)

    def question_answering(self, params: Params, x_BLD: jax.Array) -> jax.Array:
        """Logits (B, L, 2): the answer starts, ends at the token."""
        return self._apply("question_answering", params, x_BLD)

    def multiple_choice(self, params: Params, x_BLD: jax.Array) -> jax.Array:
        """Logits (B, 1) of rows that are one choice each; choices of a question are compared by the caller."""
        return self._apply("multiple_choice", params, self.pooled(params, x_BLD))

    def span_boundary(
        self, params: Params, left_BMD: jax.Array, right_BMD: jax.Array, place_BM: jax.Array
    ) -> jax.Array:
        """Logits (B, M, padded V), float32, of the tokens at `place` in the spans between two tokens each."""
        word = in_use(params["encoder"]["embeddings"]["word"], left_BMD.dtype)["table"]
        return self._apply("span_boundary", params, left_BMD, right_BMD, place_BM, word)

    def projected(self, params: Params, x_BLD: jax.Array) -> jax.Array:
        """Hidden states in the width of the projection; as they are where there is none."""
        return self._apply("projection", params, x_BLD) if "projection" in self.heads else x_BLD

    def _apply(self, name: str, params: Params, x: jax.Array, *rest: jax.Array) -> jax.Array:
        result: jax.Array = self._heads[name][1](in_use(params[name], x.dtype), x, *rest)
        return result


def _define_head(kind: Any, config: EncoderConfig, layout: Layout, sizes: Mapping[str, int]) -> Any:
    return define(lambda rngs: kind(config, layout=layout, rngs=rngs, **sizes))


def head_sizes(params: Params) -> HeadSizes:
    """What the heads in `params` take beside the encoder's config, from the shapes of their parameters."""
    sizes: dict[str, dict[str, int]] = {}
    for head in params:
        if head == "span_boundary":
            targets, width = params[head]["place"]["table"].shape
            sizes[head] = {"max_targets": targets, "position_size": width}
        elif head in HEADS and issubclass(HEADS[head], Classifier):
            sizes[head] = {"labels": params[head]["dense"]["kernel"].shape[-1]}
    return sizes


def count_parameters(params: Params) -> int:
    """Number of entries of all leaves."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
