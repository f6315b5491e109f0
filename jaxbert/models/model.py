"""A model: one encoder and the heads that its objectives ask for, as functions over one nested dict of parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp

from jaxbert.config import EncoderBase
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import LAYOUTS, Layout, in_use
from jaxbert.models.base import Encoder
from jaxbert.models.families import FAMILIES
from jaxbert.models.heads import HEADS, Head
from jaxbert.models.layers import define

__all__ = ["HEADS", "HeadSizes", "Model", "as_dicts", "count_parameters", "encoder_of", "head_sizes", "on_pooler"]

# The sizes that some heads take beside the encoder's config, by head.
HeadSizes = Mapping[str, Mapping[str, int]]


def encoder_of(config: EncoderBase) -> type[Encoder]:
    """Returns the class of the encoder that `config` describes."""
    return FAMILIES[config.family].encoder()


def on_pooler(head: str) -> bool:
    """Returns whether the head reads the pooled vector, and so needs the head `pooler` beside it."""
    return HEADS[head].reads == "pooled"


class Model:
    """Encoder and heads over params {"encoder": ..., "pooler": ..., "masked_lm": ..., "next_sentence": ...}.

    Attributes:
      config: config of the encoder.
      heads: names of the heads that it has.
      sizes: the sizes of those heads that have sizes beside the encoder's config.
      names: a tree like the parameters, of dimension names (keys of the layout's tables; stacked leaves leave out N).
    """

    def __init__(
        self,
        config: EncoderBase,
        heads: Iterable[str],
        layout: Layout = LAYOUTS["fsdp_tensor"],
        sizes: HeadSizes | None = None,
    ):
        self.config, self.layout = config, layout
        self.heads = tuple(heads)
        self.sizes: HeadSizes = {name: dict((sizes or {}).get(name, {})) for name in self.heads}
        self.encoder: Encoder = _define_encoder(encoder_of(config), config, layout)
        self._heads = {
            name: _define_head(HEADS[name], config, layout, tuple(self.sizes[name].items())) for name in self.heads
        }
        self.names: Params = {"encoder": self.encoder.names, **{name: parts[2] for name, parts in self._heads.items()}}

    def __reduce__(self) -> tuple[Any, ...]:
        # The functions that `define` makes cannot be pickled, but they can be made again.
        return Model, (self.config, self.heads, self.layout, self.sizes)

    def init(self, key: jax.Array) -> Params:
        """Returns random parameters, float32, in the layout's places if it is called under jit and a mesh.

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
        at_BM: jax.Array | None = None,
    ) -> jax.Array:
        """Returns hidden states (B, L, D), or (B, M, D) at the positions `at_BM`; see `Encoder.apply`.

        The batch has `tokens`, `types` and `group`.
        """
        return self.encoder.apply(
            as_dicts(params["encoder"]),
            batch["tokens"],
            batch["types"],
            batch["group"],
            dropout_key=dropout_key,
            dtype=dtype,
            all_layers=all_layers,
            **({} if at_BM is None else {"at_BM": at_BM}),
        )

    def apply_head(self, name: str, params: Params, x: jax.Array, *rest: jax.Array, pooled: bool = False) -> jax.Array:
        """Returns what the head `name` computes.

        Args:
          name: name of one of `heads`.
          params: parameters of the model.
          x: activations for the head, most often hidden states (B, L, D). A head that reads the pooled vector takes
            hidden states here too.
          rest: further arguments of the head, except the word embeddings.
          pooled: `x` is the pooled vector (B, D) already.
        """
        kind = HEADS[name]
        if kind.reads == "pooled" and not pooled:
            x = self.apply_head("pooler", params, x)
        if kind.decodes:
            rest = (*rest, self.encoder.word(as_dicts(params["encoder"]), x.dtype))
        with jax.named_scope(name):
            result: jax.Array = self._heads[name][1](in_use(as_dicts(params[name]), x.dtype), x, *rest)
        return result

    def pooled(self, params: Params, x_BLD: jax.Array) -> jax.Array:
        """Returns the pooled vectors (B, D)."""
        return self.apply_head("pooler", params, x_BLD)

    def masked_lm(self, params: Params, x_BMD: jax.Array) -> jax.Array:
        """Returns logits (B, M, padded V) of hidden states at M positions, float32."""
        return self.apply_head("masked_lm", params, x_BMD)

    def next_sentence(self, params: Params, x_BLD: jax.Array) -> jax.Array:
        """Returns logits (B, 2): 0 B follows A, 1 B is from elsewhere."""
        return self.apply_head("next_sentence", params, x_BLD)

    def sentence_order(self, params: Params, x_BLD: jax.Array) -> jax.Array:
        """Returns logits (B, 2): 0 A and B are in their order, 1 they are swapped."""
        return self.apply_head("sentence_order", params, x_BLD)

    def sequence_classification(self, params: Params, x_BLD: jax.Array) -> jax.Array:
        """Returns logits (B, C) of the classes of a text."""
        return self.apply_head("sequence_classification", params, x_BLD)

    def token_classification(self, params: Params, x_BLD: jax.Array) -> jax.Array:
        """Returns logits (B, L, C) of the classes of each token."""
        return self.apply_head("token_classification", params, x_BLD)

    def question_answering(self, params: Params, x_BLD: jax.Array) -> jax.Array:
        """Returns logits (B, L, 2): the answer starts or ends at the token."""
        return self.apply_head("question_answering", params, x_BLD)

    def multiple_choice(self, params: Params, x_BLD: jax.Array) -> jax.Array:
        """Returns logits (B, 1) of rows that are one choice each; the caller compares the choices of a question."""
        return self.apply_head("multiple_choice", params, x_BLD)

    def span_boundary(
        self, params: Params, left_BMD: jax.Array, right_BMD: jax.Array, place_BM: jax.Array
    ) -> jax.Array:
        """Returns logits (B, M, padded V), float32, of the tokens at `place` in the spans between two tokens each."""
        return self.apply_head("span_boundary", params, left_BMD, right_BMD, place_BM)

    def projected(self, params: Params, x_BLD: jax.Array) -> jax.Array:
        """Returns hidden states in the width of the projection, or unchanged if there is none."""
        return self.apply_head("projection", params, x_BLD) if "projection" in self.heads else x_BLD


def as_dicts(params: Mapping[str, Any]) -> Params:
    """Returns nested dicts of jax arrays: from any nested mapping, as flax's FrozenDict, of jax or numpy arrays."""
    return {
        name: as_dicts(value) if isinstance(value, Mapping) else jnp.asarray(value) for name, value in params.items()
    }


# A run makes its model a dozen times: to check the config, to count memory, to train, to judge. flax traces the modules
# of each for a tenth of a second, so that what it found is kept. Nothing in it depends on a mesh, or changes.
@lru_cache(maxsize=64)
def _define_encoder(kind: type[Encoder], config: EncoderBase, layout: Layout) -> Encoder:
    return kind(config, layout)


@lru_cache(maxsize=64)
def _define_head(kind: type[Head], config: EncoderBase, layout: Layout, sizes: tuple[tuple[str, int], ...]) -> Any:
    return define(lambda rngs: kind(config, layout=layout, rngs=rngs, **dict(sizes)))  # type: ignore[call-arg]


def head_sizes(params: Params) -> HeadSizes:
    """Returns the sizes that the heads in `params` have beside the encoder's config, from their parameters' shapes."""
    found = {head: HEADS[head].sizes(params[head]) for head in params if head in HEADS}
    return {head: sizes for head, sizes in found.items() if sizes}


def count_parameters(params: Params) -> int:
    """Returns the number of entries of all leaves."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
