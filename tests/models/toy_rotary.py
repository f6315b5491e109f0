"""A toy architecture in one file: pre-norm blocks, rotary positions, no biases, no dropout; and its family of files.

It is trained, planned, written and loaded by one line: `FAMILIES["rotary"] = FAMILY`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxbert.config import EncoderBase, Problem, Remat
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import Layout, act, explicit_mesh, in_use
from jaxbert.models.attention import attend
from jaxbert.models.base import check_length
from jaxbert.models.cost import GELU, NORM, SOFTMAX, MicroBatch, Op, dense_op
from jaxbert.models.encoder import positions, rematerialised
from jaxbert.models.families.family import Family, Name, dense, norm
from jaxbert.models.layers import take_slots


@dataclass(frozen=True, kw_only=True)
class RotaryConfig(EncoderBase):
    """The toy's config: `rotary_base` is the wavelength's base, `width` of each of `num_heads` heads is D / H."""

    family: str = "rotary"
    num_heads: int = 4
    intermediate_size: int = 128
    rotary_base: float = 10_000.0

    @property
    def sharded(self) -> Mapping[str, tuple[str, ...]]:
        return {**super().sharded, "num_heads": ("tensor",), "intermediate_size": ("fsdp", "tensor")}

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if self.hidden_size % (2 * self.num_heads):
            yield Problem("num_heads", "the width of a head is odd", "Choose another number of heads.")


class RotaryCost:
    sums = (2, 2)

    def __init__(self, config: RotaryConfig):
        self.config = config

    def with_kernels_of(self, other: Any) -> RotaryCost:
        return self

    def forward(self, length: int, asked: int | None = None) -> int:
        size, inner = self.config.hidden_size, self.config.intermediate_size
        return self.config.num_layers * (length * (4 * size * size + 2 * size * inner) + 2 * length * length * size)

    def layer(self, batch: MicroBatch, *, train: bool = True) -> Iterator[Op]:
        size, inner = self.config.hidden_size, self.config.intermediate_size / batch.split
        tokens, width, passes = batch.tokens, batch.width, 3 if train else 1
        for into, out in ((size, size / batch.split),) * 3 + ((size / batch.split, size), (size, inner), (inner, size)):
            yield dense_op("dense", tokens, into, out, width, train=train)
        scores = tokens * batch.length * self.config.num_heads / batch.split
        pair = 2 * tokens * batch.length * size / batch.split
        yield Op("attention", 2 * pair * passes, scores * SOFTMAX * passes, scores * (width + 4) * passes)
        vector = (tokens * size * 2 * NORM + tokens * inner * GELU) * passes
        yield Op("norms and gelu", vector=vector, bytes=tokens * (4 * size + inner) * width * passes)

    def embeddings(self, batch: MicroBatch) -> Iterator[Op]:
        yield Op("lookups", bytes=batch.tokens * self.config.hidden_size * (batch.width + 4) * 3, gathers=True)

    def saved(self, batch: MicroBatch, remat: Remat) -> float:
        size, inner = self.config.hidden_size, self.config.intermediate_size / batch.split
        if remat != "none":
            return batch.tokens * size * batch.width
        scores = batch.tokens * batch.length * self.config.num_heads / batch.split
        return batch.tokens * (8 * size + 2 * inner) * batch.width + scores * (4 + batch.width)


# name of a layer's parameter -> its dimension name.
_LAYER = {
    "query/kernel": "qkv_DHK",
    "key/kernel": "qkv_DHK",
    "value/kernel": "qkv_DHK",
    "out/kernel": "out_HKD",
    "up/kernel": "up_DF",
    "down/kernel": "down_FD",
    "attention_norm/scale": "bias_D",
    "feed_forward_norm/scale": "bias_D",
}


def nested(flat: Mapping[str, Any]) -> Params:
    tree: Params = {}
    for path, leaf in flat.items():
        part, name = path.split("/")
        tree.setdefault(part, {})[name] = leaf
    return tree


class Rotary:
    names: Params

    def __init__(self, config: RotaryConfig, layout: Layout):
        self.config: Any = config
        self.layout = layout
        self.names = {"word": {"table": "emb_VD"}, "layers": nested(_LAYER), "last_norm": {"scale": "bias_D"}}

    @staticmethod
    def cost(config: RotaryConfig) -> RotaryCost:
        return RotaryCost(config)

    def _shape(self, dims: str) -> tuple[int, ...]:
        config = self.config
        sizes = {"V": config.padded_vocab_size, "D": config.hidden_size, "F": config.intermediate_size}
        sizes |= {"H": config.num_heads, "K": config.hidden_size // config.num_heads}
        return tuple(sizes[letter] for letter in dims.split("_")[1])

    def _parameter(self, key: jax.Array, dims: str) -> jax.Array:
        out = self.layout.parameters[dims] if explicit_mesh() else None
        if dims == "bias_D":
            return jnp.ones(self._shape(dims), jnp.float32, out_sharding=out)
        return 0.05 * jax.random.normal(key, self._shape(dims), jnp.float32, out_sharding=out)

    def init(self, key: jax.Array) -> Params:
        word_key, layers_key = jax.random.split(key)
        word = self._parameter(word_key, "emb_VD")
        word = jnp.where(jnp.arange(word.shape[0])[:, None] < self.config.vocab_size, word, 0.0)

        def layer(key: jax.Array) -> Params:
            keys = jax.random.split(key, len(_LAYER))
            drawn = zip(keys, _LAYER.items(), strict=True)
            return nested({path: self._parameter(one, dims) for one, (path, dims) in drawn})

        return {
            "word": {"table": word},
            "layers": jax.vmap(layer)(jax.random.split(layers_key, self.config.num_layers)),
            "last_norm": {"scale": self._parameter(key, "bias_D")},
        }

    def word(self, params: Params, dtype: Any) -> jax.Array:
        table: jax.Array = in_use(params["word"], dtype)["table"]
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
        config = self.config
        check_length(config, tokens_BL.shape[1])
        table = self.word(params, dtype)
        x_BLD = table.at[tokens_BL].get(mode="fill", fill_value=jnp.nan, out_sharding=act("act_BLD"))
        place_BL = positions(group_BL)

        def body(x_BLD: jax.Array, at_rest: Params) -> tuple[jax.Array, jax.Array | None]:
            block = in_use(at_rest, dtype)
            y_BLD = rms_norm(x_BLD, block["attention_norm"]["scale"], config.layer_norm_epsilon)
            q, k, v = (jnp.einsum("bld,dhk->blhk", y_BLD, block[name]["kernel"]) for name in ("query", "key", "value"))
            context = attend(*(turned(part, place_BL, config.rotary_base) for part in (q, k)), v, group_BL)
            x_BLD += jnp.einsum("blhk,hkd->bld", context, block["out"]["kernel"], out_sharding=act("act_BLD"))
            y_BLD = rms_norm(x_BLD, block["feed_forward_norm"]["scale"], config.layer_norm_epsilon)
            inner_BLF = jax.nn.gelu(jnp.einsum("bld,df->blf", y_BLD, block["up"]["kernel"]))
            x_BLD += jnp.einsum("blf,fd->bld", inner_BLF, block["down"]["kernel"], out_sharding=act("act_BLD"))
            return x_BLD, x_BLD if all_layers else None

        last_BLD, each_NBLD = jax.lax.scan(rematerialised(body, config.remat), x_BLD, params["layers"])
        last_BLD = rms_norm(last_BLD, params["last_norm"]["scale"], config.layer_norm_epsilon)
        if at_BM is not None:
            return take_slots(last_BLD, at_BM)
        return last_BLD if each_NBLD is None else jnp.concatenate([x_BLD[None], each_NBLD[:-1], last_BLD[None]])


def rms_norm(x: jax.Array, scale: jax.Array, epsilon: float) -> jax.Array:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return (wide * jax.lax.rsqrt((wide * wide).mean(-1, keepdims=True) + epsilon) * scale).astype(x.dtype)


def turned(x_BLHK: jax.Array, place_BL: jax.Array, base: float) -> jax.Array:
    """x with the two halves of each head's vector turned by an angle that grows with the position."""
    half = x_BLHK.shape[-1] // 2
    angle_BL1K = place_BL[..., None, None] * base ** (-jnp.arange(half) / half)
    cos, sin = jnp.cos(angle_BL1K).astype(x_BLHK.dtype), jnp.sin(angle_BL1K).astype(x_BLHK.dtype)
    a, b = x_BLHK[..., :half], x_BLHK[..., half:]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


# ----------------------------------------------------------------------------------------------------------------------
# Its files

_PRESET = RotaryConfig(vocab_size=500, hidden_size=64, num_layers=2, max_positions=32, layer_norm_epsilon=1e-6)
_FIELDS = [field.name for field in dataclasses.fields(RotaryConfig)]


def _names(config: RotaryConfig) -> tuple[Name, ...]:
    ours, theirs = "encoder/layers", "rotary.blocks.{layer}"
    return (
        Name("encoder/word/table", "rotary.word.weight", vocabulary=True),
        *(Name(f"{ours}/{part}/kernel", f"{theirs}.{part}.weight", "linear") for part in ("query", "key", "value")),
        Name(f"{ours}/out/kernel", f"{theirs}.out.weight", "linear_of_heads"),
        *(Name(f"{ours}/{part}/kernel", f"{theirs}.{part}.weight", "linear") for part in ("up", "down")),
        Name(f"{ours}/attention_norm/scale", f"{theirs}.norm1.weight"),
        Name(f"{ours}/feed_forward_norm/scale", f"{theirs}.norm2.weight"),
        Name("encoder/last_norm/scale", "rotary.norm.weight"),
        *dense("masked_lm/dense", "head.dense"),
        *norm("masked_lm/norm", "head.norm"),
        Name("masked_lm/bias", "head.bias", vocabulary=True),
    )


FAMILY = Family(
    presets={"tiny": _PRESET},
    model_type="rotary",
    config=RotaryConfig,
    encoder=lambda: Rotary,
    from_published=lambda published, where: RotaryConfig(**{name: published[name] for name in _FIELDS}),
    to_published=lambda config, heads: {
        "architectures": ["RotaryForMaskedLM"],
        "model_type": "rotary",
        **{name: getattr(config, name) for name in _FIELDS},
    },
    names=_names,
    prefix="rotary.",
)
