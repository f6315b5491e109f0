"""The post-LN encoder of all families: embeddings, a scanned stack of blocks, and functions over their parameters."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxbert.config import EncoderConfig, Remat
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import Layout, act, in_use, moved_along_rows, platform, take_along_rows
from jaxbert.models.attention import attend, choose
from jaxbert.models.base import check_length
from jaxbert.models.cost import PostLNCost
from jaxbert.models.layers import (
    PRODUCT,
    Dense,
    LayerNorm,
    Table,
    define,
    dropout,
    gelu,
    sinusoidal,
    take_slots,
    weights,
    zero_from,
)


class Embeddings(nnx.Module):
    """Word + position (+ token type), LayerNorm, dropout (google-research/bert modeling.py), projected where E is set.

    ALBERT normalises and drops at width E, before the projection (google-research/albert modeling.py).
    """

    def __init__(self, config: EncoderConfig, *, layout: Layout, rngs: nnx.Rngs):
        width, start = config.embedding_width, weights(config)
        position = sinusoidal(config.initializer_range) if config.position_init == "sinusoidal" else start
        self.rate = config.dropout
        word = zero_from(config.vocab_size, start)
        self.word = Table(
            (config.padded_vocab_size, width), word, dims="emb_VD", layout=layout, rngs=rngs, size=config.vocab_size
        )
        self.position = Table((config.max_positions, width), position, dims="emb_LD", layout=layout, rngs=rngs)
        self.types = config.type_vocab_size
        self.typed, self.projected = self.types > 0, config.embedding_size > 0
        if self.typed:
            self.type = Table((config.type_vocab_size, width), start, dims="emb_TD", layout=layout, rngs=rngs)
        self.norm = LayerNorm(width, config.layer_norm_epsilon, layout=layout, rngs=rngs)
        if self.projected:
            shape, bias = (width, config.hidden_size), (config.hidden_size,)
            dims: dict[str, str] = dict(dims="dense_DD", bias_dims="bias_D")
            self.projection = Dense("ble,ed->bld", shape, bias, start=start, layout=layout, rngs=rngs, **dims)

    def __call__(
        self, tokens_BL: jax.Array, types_BL: jax.Array, position_BL: jax.Array, dropout_key: jax.Array | None
    ) -> jax.Array:
        """Returns x_BLD of token ids, token types (ignored if the table has fewer than two) and positions."""
        x_BLE = self.word(tokens_BL) + self.position(position_BL)
        if self.typed:
            # A table of one row, as RoBERTa's published files have, knows no types.
            x_BLE = x_BLE + self.type(types_BL if self.types > 1 else jnp.zeros_like(types_BL))
        x_BLE = dropout(self.norm(x_BLE), self.rate, dropout_key)
        return self.projection(x_BLE, act("act_BLD")) if self.projected else x_BLE


class Block(nnx.Module):
    """Post-LN transformer block: LN(x + attention), LN(x + feed-forward)."""

    def __init__(self, config: EncoderConfig, *, layout: Layout, rngs: nnx.Rngs):
        self.config = config
        size, heads, width, inner = config.hidden_size, config.num_heads, config.head_dim, config.intermediate_size
        common: dict[str, Any] = dict(start=weights(config), layout=layout, rngs=rngs)
        heads_in: dict[str, Any] = dict(dims="qkv_DHK", bias_dims="bias_HK", **common)
        self.query = Dense("bld,dhk->blhk", (size, heads, width), (heads, width), **heads_in)
        self.key = Dense("bld,dhk->blhk", (size, heads, width), (heads, width), **heads_in)
        self.value = Dense("bld,dhk->blhk", (size, heads, width), (heads, width), **heads_in)
        self.out = Dense("blhk,hkd->bld", (heads, width, size), (size,), dims="out_HKD", bias_dims="bias_D", **common)
        self.attention_norm = LayerNorm(size, config.layer_norm_epsilon, layout=layout, rngs=rngs)
        self.up = Dense("bld,df->blf", (size, inner), (inner,), dims="up_DF", bias_dims="bias_F", **common)
        self.down = Dense("blf,fd->bld", (inner, size), (size,), dims="down_FD", bias_dims="bias_D", **common)
        self.output_norm = LayerNorm(size, config.layer_norm_epsilon, layout=layout, rngs=rngs)

    def __call__(
        self, x_BLD: jax.Array, group_BL: jax.Array, dropout_key: jax.Array | None, at_BM: jax.Array | None = None
    ) -> jax.Array:
        """Returns x_BLD after the block; or (B, M, D) at the positions `at_BM`, and computes no others."""
        config = self.config
        asked_BLD, asking_BM = x_BLD, None
        attention = choose(config.attention, x_BLD.shape[1], x_BLD.dtype)
        if at_BM is not None:
            asked_BLD, asking_BM = take_slots(x_BLD, at_BM), take_along_rows(group_BL, at_BM)
            attention = "reference"
        keys = (None, None, None) if dropout_key is None else tuple(jax.random.split(dropout_key, 3))
        with jax.named_scope("attention"):
            context_BLHK = attend(
                self.query(asked_BLD),
                self.key(x_BLD),
                self.value(x_BLD),
                group_BL,
                implementation=attention,
                rate=config.attention_dropout,
                key=keys[0],
                asking_BM=asking_BM,
            )
            attended_BLD = self.out(context_BLHK, act("act_BLD"))
            x_BLD = self.attention_norm(asked_BLD + dropout(attended_BLD, config.dropout, keys[1]))
        with jax.named_scope("feed_forward"):
            inner_BLF = gelu(self.up(x_BLD), config.activation)
            fed_BLD = self.down(inner_BLF, act("act_BLD"))
            return self.output_norm(x_BLD + dropout(fed_BLD, config.dropout, keys[2]))


class PostLN:
    """The encoder's functions over plain parameters {"embeddings": ..., "layers": stacked}; see `base.Encoder`.

    Layers are stacked over N, or over the groups where layers share their weights.
    """

    names: Params

    def __init__(self, config: EncoderConfig, layout: Layout):
        self.config: Any = config
        self._init_embeddings, self._embed, embedding_names = define(
            lambda rngs: Embeddings(config, layout=layout, rngs=rngs)
        )
        self._init_block, self._block, block_names = define(lambda rngs: Block(config, layout=layout, rngs=rngs))
        self.names = {"embeddings": embedding_names, "layers": block_names}

    @staticmethod
    def cost(config: EncoderConfig) -> PostLNCost:
        """See `base.Encoder`."""
        return PostLNCost(config)

    def init(self, key: jax.Array) -> Params:
        """See `base.Encoder`."""
        embeddings_key, layers_key = jax.random.split(key)
        keys = jax.random.split(layers_key, self.config.distinct_layers)
        return {"embeddings": self._init_embeddings(embeddings_key), "layers": jax.vmap(self._init_block)(keys)}

    def word(self, params: Params, dtype: Any) -> jax.Array:
        """See `base.Encoder`."""
        table: jax.Array = in_use(params["embeddings"]["word"], dtype)["table"]
        return table

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
        """See `base.Encoder`. Where `at_BM` is given, the last layer has queries and a feed-forward only there."""
        config = self.config
        if all_layers and at_BM is not None:
            raise ValueError("all layers have vectors at all positions only")
        check_length(config, tokens_BL.shape[1])
        embedding_key, layers_key = (None, None) if dropout_key is None else tuple(jax.random.split(dropout_key))
        with jax.named_scope("embeddings"):
            embedded_BLD = self._embed(
                in_use(params["embeddings"], dtype),
                tokens_BL,
                types_BL,
                positions(group_BL, config.position_offset, tokens_BL),
                embedding_key,
            ).astype(dtype)
        keys = None if layers_key is None else jax.random.split(layers_key, config.num_layers)

        shared, repeats = config.layer_groups > 0, config.num_layers // config.distinct_layers
        scan = partial(jax.lax.scan, unroll=unrolled(config.remat))

        def layer(used: Params, x_BLD: jax.Array, key: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
            x_BLD = self._block(used, x_BLD, group_BL, key)
            return x_BLD, x_BLD if all_layers else None

        def body(x_BLD: jax.Array, own: tuple[Params, jax.Array | None]) -> tuple[jax.Array, jax.Array | None]:
            block, key = own
            return layer(in_use(block, dtype), x_BLD, key)

        def repeated(block: Params, x_BLD: jax.Array, keys: jax.Array | None, times: int) -> Any:
            used = in_use(block, dtype)  # Gathered once for all layers of the group.
            return scan(rematerialised(partial(layer, used), config.remat), x_BLD, keys, length=times)

        def group(x_BLD: jax.Array, own: tuple[Params, jax.Array | None]) -> Any:
            block, keys = own
            return repeated(block, x_BLD, keys, repeats)

        def stack(x_BLD: jax.Array, blocks: Params, keys: jax.Array | None) -> Any:
            if not shared:
                return scan(rematerialised(body, config.remat), x_BLD, (blocks, keys))
            if keys is not None:
                keys = keys.reshape(-1, repeats)
            return scan(group, x_BLD, (blocks, keys))

        def last_at(x_BLD: jax.Array, block: Params, key: jax.Array | None) -> jax.Array:
            x_BMD: jax.Array = self._block(in_use(block, dtype), x_BLD, group_BL, key, at_BM)
            return x_BMD

        with jax.named_scope("layers"):
            blocks = params["layers"]
            if at_BM is None:
                last_BLD, each_NBLD = stack(embedded_BLD, blocks, keys)
            else:
                before = jax.tree.map(lambda leaf: leaf[:-1], blocks)
                last = jax.tree.map(lambda leaf: leaf[-1], blocks)
                parts = (None, None, None) if keys is None else (keys[:-repeats], keys[-repeats:-1], keys[-1])
                x_BLD = embedded_BLD
                if config.distinct_layers > 1:
                    x_BLD, _ = stack(x_BLD, before, parts[0])
                if repeats > 1:
                    x_BLD, _ = repeated(last, x_BLD, parts[1], repeats - 1)
                return rematerialised(last_at, config.remat)(x_BLD, last, parts[2])
        if each_NBLD is not None and shared:
            each_NBLD = each_NBLD.reshape(config.num_layers, *each_NBLD.shape[2:])
        return last_BLD if each_NBLD is None else jnp.concatenate([embedded_BLD[None], each_NBLD])


def positions(group_BL: jax.Array, offset: int = 0, tokens_BL: jax.Array | None = None) -> jax.Array:
    """Returns position ids: they count from `offset` at the begin of a row, and again where another group begins.

    A 0 in `group_BL` begins nothing: the count goes on behind it. So an attention mask of zeros and ones has the
    positions of transformers, wherever its zeros are. An offset is one more than the padding id. With it, padding has
    the position `offset` - 1, and only tokens that are not the padding id count (transformers modeling_roberta.py,
    `create_position_ids_from_input_ids`).

    Args:
      group_BL: attention groups, 0 for padding.
      offset: the first position.
      tokens_BL: token ids, which an offset needs where groups have zeros before or inside a text.
    """
    real_BL = group_BL > 0
    count_BL = jnp.broadcast_to(jnp.arange(group_BL.shape[1], dtype=jnp.int32), group_BL.shape)
    # For each token the last group up to it that is not 0; 0 where there is none.
    last_at_BL = jax.lax.cummax(jnp.where(real_BL, count_BL, 0), axis=1)
    last_BL = take_along_rows(jnp.where(real_BL, group_BL, 0), last_at_BL)
    before_BL = moved_along_rows(last_BL, 1, 0)
    begins_BL = real_BL & (before_BL > 0) & (group_BL != before_BL)
    if offset and tokens_BL is not None:
        counts_BL = (real_BL | (tokens_BL != offset - 1)).astype(jnp.int32)
        count_BL = jnp.cumsum(counts_BL, axis=1) - counts_BL
    position_BL = count_BL - jax.lax.cummax(jnp.where(begins_BL, count_BL, 0), axis=1)
    return jnp.where(real_BL, position_BL + offset, offset - 1) if offset else position_BL


# Layers that a program for a CPU repeats at most. Its compilation takes a quarter longer for 12 layers.
_UNROLLED = 12


def unrolled(remat: Remat) -> int:
    """Returns the number of layers that the program has one after the other; 1: it has a loop over them.

    XLA's CPU compiler copies the weights and the gradients of a layer into and out of a loop, and fills what the loop
    is to write with zeros, so a step with a loop takes about a tenth longer. But only with a loop does the compiler
    compute again what `rematerialised` drops. Outside of one it finds the same terms in the forward pass.
    """
    return _UNROLLED if platform() == "cpu" and remat == "none" else 1


def rematerialised(body: Any, remat: Remat) -> Any:
    """Returns `body` under the remat policy.

    The backward pass recomputes nothing, everything but dense products, or everything.
    """
    if remat == "none":
        return body
    policy = jax.checkpoint_policies.save_only_these_names(PRODUCT) if remat == "dots" else None
    return jax.checkpoint(body, prevent_cse=False, policy=policy)
