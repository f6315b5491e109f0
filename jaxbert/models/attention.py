"""Attention between tokens of the same group. All implementations have one interface and pass the same tests.

The reference is einsum and softmax. It runs anywhere, and only it has dropout on the attention probabilities. The fused
implementations never hold the (L, L) probabilities of a row in memory. `choose` says which of them runs where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from jaxbert.config import AttentionName
from jaxbert.core.sharding import BATCH, explicit_mesh, platform
from jaxbert.models.layers import dropout, softmax

Attention = Callable[..., jax.Array]

# Splash holds this many rows and columns of the score matrix at once: the largest of these that divides L. A register
# of a TPU is 128 wide, so no block is smaller.
SPLASH_BLOCKS = (512, 256, 128)


def choose(attention: AttentionName, length: int, dtype: Any) -> str:
    """Returns the key of `IMPLEMENTATIONS` that `EncoderConfig.attention` means under the current mesh.

    `fused` is splash on a TPU if rows have a multiple of 128 tokens, cuDNN's kernel on a GPU in bfloat16 or float16,
    and the reference everywhere else. So any machine can use a model that was trained with one of them.
    """
    if attention == "fused":
        where = platform()
        if where == "tpu" and length % SPLASH_BLOCKS[-1] == 0:
            return "splash"
        if where == "gpu" and jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16):
            return "cudnn"
    return "reference"


def attend(
    q_BLHK: jax.Array,
    k_BLHK: jax.Array,
    v_BLHK: jax.Array,
    group_BL: jax.Array,
    *,
    implementation: str = "reference",
    rate: float = 0.0,
    key: jax.Array | None = None,
    asking_BM: jax.Array | None = None,
) -> jax.Array:
    """Computes softmax attention within groups. Scores are scaled by 1/sqrt(K).

    A token sees only the tokens of its group: for fixed inputs, changing one group changes the outputs of the others by
    exactly 0. Padding is group 0 and sees only padding.

    Args:
      q_BLHK: queries.
      k_BLHK: keys.
      v_BLHK: values.
      group_BL: attention groups.
      implementation: key of `IMPLEMENTATIONS`.
      rate: rate of the dropout on the attention probabilities. Only the reference has it (`jaxbert.config.check`).
      key: key of that dropout. Without a key there is no dropout.
      asking_BM: the groups of the queries, where there are M in a row and not one for each token. Only the reference
        has that.

    Returns:
      Context vectors (B, L, H, K), or (B, M, H, K).
    """
    if implementation == "reference":
        return reference(q_BLHK, k_BLHK, v_BLHK, group_BL, rate=rate, key=key, asking_BM=asking_BM)
    if asking_BM is not None:
        raise ValueError(f"{implementation} attention needs a query for each token")
    if rate and key is not None:
        raise ValueError(f"{implementation} attention has no dropout on its probabilities")
    return IMPLEMENTATIONS[implementation](q_BLHK, k_BLHK, v_BLHK, group_BL)


def reference(
    q_BLHK: jax.Array,
    k_BLHK: jax.Array,
    v_BLHK: jax.Array,
    group_BL: jax.Array,
    *,
    rate: float = 0.0,
    key: jax.Array | None = None,
    asking_BM: jax.Array | None = None,
) -> jax.Array:
    """Computes attention by einsum, softmax, einsum; see `attend`."""
    scale = q_BLHK.shape[-1] ** -0.5
    score_BHLS = jnp.einsum("blhk,bshk->bhls", q_BLHK * jnp.asarray(scale, q_BLHK.dtype), k_BLHK)
    asking_BL = group_BL if asking_BM is None else asking_BM
    same_BLS = asking_BL[:, None, :, None] == group_BL[:, None, None, :]
    score_BHLS = jnp.where(same_BLS, score_BHLS, jnp.finfo(score_BHLS.dtype).min)
    probability_BHLS = dropout(softmax(score_BHLS), rate, key)
    return jnp.einsum("bhls,bshk->blhk", probability_BHLS, v_BLHK)


def splash(
    q_BLHK: jax.Array, k_BLHK: jax.Array, v_BLHK: jax.Array, group_BL: jax.Array, *, interpret: bool = False
) -> jax.Array:
    """Computes attention with the TPU kernel of `jax.experimental.pallas.ops.tpu.splash_attention`.

    The groups are the kernel's segment ids. Each device runs it on its own rows and heads. `interpret` runs the
    kernel's program without a TPU, slowly.
    """
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    length = q_BLHK.shape[1]
    block = next(size for size in SPLASH_BLOCKS if length % size == 0)

    def local(q_BLHK: jax.Array, k_BLHK: jax.Array, v_BLHK: jax.Array, group_BL: jax.Array) -> jax.Array:
        heads, width = q_BLHK.shape[2:]
        attention = kernel.make_splash_mha(
            masks.MultiHeadMask([masks.FullMask((length, length))] * heads),
            head_shards=1,
            q_seq_shards=1,
            block_sizes=kernel.BlockSizes(
                block_q=block,
                block_kv=block,
                block_kv_compute=block,
                block_q_dkv=block,
                block_kv_dkv=block,
                block_kv_dkv_compute=block,
                block_q_dq=block,
                block_kv_dq=block,
            ),
            interpret=interpret,
        )

        def one(q_LHK: jax.Array, k_LHK: jax.Array, v_LHK: jax.Array, group_L: jax.Array) -> jax.Array:
            turned = (x.swapaxes(0, 1) for x in (q_LHK * jnp.asarray(width**-0.5, q_LHK.dtype), k_LHK, v_LHK))
            context_HLK: jax.Array = attention(*turned, segment_ids=kernel.SegmentIds(group_L, group_L))
            return context_HLK.swapaxes(0, 1).astype(q_LHK.dtype)

        return jax.vmap(one)(q_BLHK, k_BLHK, v_BLHK, group_BL)

    if not explicit_mesh():
        return local(q_BLHK, k_BLHK, v_BLHK, group_BL)
    heads_spec = jax.typeof(q_BLHK).sharding.spec[2]
    whole = P(BATCH, None, heads_spec, None)
    mapped: jax.Array = jax.shard_map(
        local, in_specs=(whole, whole, whole, P(BATCH, None)), out_specs=whole, check_vma=False
    )(q_BLHK, k_BLHK, v_BLHK, group_BL)
    return mapped


def fused(
    q_BLHK: jax.Array,
    k_BLHK: jax.Array,
    v_BLHK: jax.Array,
    group_BL: jax.Array,
    *,
    backend: Literal["xla", "cudnn"] = "cudnn",
) -> jax.Array:
    """Computes attention with `jax.nn.dot_product_attention`.

    On a GPU this is cuDNN's flash attention, which needs bfloat16 or float16. `backend` "xla" makes the same call
    without cuDNN.
    """
    same_BLS = group_BL[:, None, :, None] == group_BL[:, None, None, :]
    context_BLHK: jax.Array = jax.nn.dot_product_attention(
        q_BLHK, k_BLHK, v_BLHK, mask=same_BLS, implementation=backend
    )
    return context_BLHK


IMPLEMENTATIONS: Mapping[str, Attention] = {
    "reference": reference,
    "splash": splash,
    "splash_interpreted": partial(splash, interpret=True),
    "cudnn": fused,
    "xla": partial(fused, backend="xla"),
}
