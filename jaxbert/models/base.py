"""The protocol that every encoder keeps. `jaxbert.models.encoder.PostLN` is the one of the five published families."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxbert.config import EncoderBase
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import Layout
from jaxbert.models.cost import Cost


class Encoder(Protocol):
    """An encoder: functions over plain parameters, a nested dict of float32 arrays.

    Parameters under the key "layers" are stacked over the layers, N first.

    Attributes:
      config: a subclass of `EncoderBase`.
      names: a tree like the parameters, of dimension names (keys of the layout's tables). A stacked parameter's name
        leaves N out.
    """

    config: Any
    names: Params

    def __init__(self, config: Any, layout: Layout): ...

    @staticmethod
    def cost(config: Any) -> Cost:
        """Returns the cost of an encoder of this config."""
        ...

    def init(self, key: jax.Array) -> Params:
        """Returns random parameters, float32; call it under jit, so that each device creates only its shard."""
        ...

    def apply(
        self,
        params: Params,
        tokens_BL: jax.Array,
        types_BL: jax.Array,
        group_BL: jax.Array,
        *,
        dropout_key: jax.Array | None = None,
        dtype: Any = jnp.float32,
        all_layers: bool = False,
        at_BM: jax.Array | None = None,
    ) -> jax.Array:
        """Returns hidden states.

        Args:
          params: from `init`, at rest.
          tokens_BL: int, ids below `vocab_size`.
          types_BL: int, token types.
          group_BL: int, attention groups, 0 for padding. A token sees only its group, and positions restart with it.
          dropout_key: None in evaluation.
          dtype: dtype of the activations and of the weights in use.
          all_layers: return the embeddings and the output of every layer, (N + 1, B, L, D), instead of only the last.
          at_BM: int, M positions in each row whose vectors are wanted; None: all. Not together with `all_layers`.

        Returns:
          Hidden states (B, L, D) of the last layer, or (B, M, D) at the positions `at_BM`. An encoder may leave out
          what the vectors at other positions alone would need. `jaxbert.models.layers.take_slots` takes them too.
        """
        ...

    def word(self, params: Params, dtype: Any) -> jax.Array:
        """Returns the word embeddings (padded V, E) in use, for the heads that decode with them."""
        ...


def check_length(config: EncoderBase, length: int) -> None:
    """Raises ValueError where rows are longer than the encoder's positions."""
    if length > config.longest_row:
        raise ValueError(f"rows have {length} tokens, but the encoder has positions for {config.longest_row}")
