"""The small pieces of an encoder: parameters, dense layers, LayerNorm, lookups, dropout, GELU.

Flax NNX only defines parameters: name, shape, initial value, place. Everywhere else parameters are nested dicts, and
`define` gives plain functions over them. Modules hold no random state: dropout takes its key.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec as P

from jaxbert.config import Activation, EncoderBase
from jaxbert.core.parameters import Params
from jaxbert.core.shapes import drawn, without_draws
from jaxbert.core.sharding import Layout, act, explicit_mesh, platform, spec_of

# The name of the results of dense layers, for remat policies that keep them: such a policy does not see the products
# inside `affine`.
PRODUCT = "product"

Initializer = Callable[[jax.Array, tuple[int, ...], Any], jax.Array]


def define(make: Callable[[nnx.Rngs], nnx.Module]) -> tuple[Callable[[jax.Array], Params], Callable[..., Any], Params]:
    """Returns (init, apply, names) of the module that `make` builds.

    init(key) gives its parameters as a nested dict. apply(params, *args) calls the module on them. names is the same
    dict with the dimension name of each parameter (a key of the layout's tables) as its leaf.
    """
    with without_draws():
        graph, state = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
    names = nnx.to_pure_dict(
        jax.tree.map(
            lambda p: p.replace(p.get_metadata()["dims"]), state, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable)
        )
    )

    def init(key: jax.Array) -> Params:
        return nnx.to_pure_dict(nnx.state(make(nnx.Rngs(key)), nnx.Param))

    def apply(params: Params, *args: Any, **kwargs: Any) -> Any:
        return nnx.merge(graph, params)(*args, **kwargs)

    return init, apply, names


def truncated_normal(deviation: float) -> Initializer:
    """Returns a normal that is cut at two deviations and not rescaled: TensorFlow's `truncated_normal_initializer`."""

    def draw(key: jax.Array, shape: tuple[int, ...], out: Any) -> jax.Array:
        return jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32, out_sharding=out) * deviation

    return draw


def normal(deviation: float) -> Initializer:
    """Returns a normal that is not cut."""

    def draw(key: jax.Array, shape: tuple[int, ...], out: Any) -> jax.Array:
        return jax.random.normal(key, shape, jnp.float32, out_sharding=out) * deviation

    return draw


def weights(config: EncoderBase) -> Initializer:
    """Returns the initializer of the kernels and tables of an encoder."""
    draw = {"truncated_normal": truncated_normal, "normal": normal}[config.initializer]
    return draw(config.initializer_range)


def zero_from(row: int, initializer: Initializer) -> Initializer:
    """Returns `initializer` with 0 from row `row` on. Those rows are the padding of a table.

    Padding has no gradient, so it stays 0. Norms of the table, and with them LAMB's trust ratio, then do not depend on
    it.
    """

    def draw(key: jax.Array, shape: tuple[int, ...], out: Any) -> jax.Array:
        table = initializer(key, shape, out)
        return jnp.where(jnp.arange(shape[0])[:, None] < row, table, 0.0) if row < shape[0] else table

    return draw


def constant(value: float) -> Initializer:
    """Returns an initializer that sets every entry to `value`."""
    return lambda key, shape, out: jnp.full(shape, value, jnp.float32, out_sharding=out)


def sinusoidal(deviation: float) -> Initializer:
    """Returns sines and cosines of position (Vaswani et al. 2017, section 3.5), with root mean square `deviation`."""

    def table(key: jax.Array, shape: tuple[int, ...], out: Any) -> jax.Array:
        positions, width = shape
        angle = np.arange(positions)[:, None] / 10000 ** (2 * (np.arange(width) // 2) / width)
        waves = np.where(np.arange(width) % 2 == 0, np.sin(angle), np.cos(angle)) * np.sqrt(2) * deviation
        return jnp.asarray(waves, jnp.float32, out_sharding=out)

    return table


def parameter(rngs: nnx.Rngs, initializer: Initializer, shape: tuple[int, ...], dims: str, layout: Layout) -> Any:
    """Makes a float32 parameter of `shape`, in the place that `layout` has for arrays of dimensions `dims`."""
    out = layout.parameters[dims] if explicit_mesh() else None
    if not drawn():
        return nnx.Param(jnp.zeros(shape, jnp.float32, out_sharding=out), dims=dims)
    value = initializer(rngs.params(), shape, out)
    if (value.shape, value.dtype) != (shape, jnp.float32):
        raise ValueError(f"an initializer made {value.dtype}{value.shape} for a float32 parameter of {shape}")
    return nnx.Param(value, dims=dims)


def affine(x: jax.Array, w: jax.Array, b: jax.Array, equation: str, out: Any, dtype: Any) -> jax.Array:
    """Returns `jnp.einsum(equation, x, w) + b` in `dtype`, laid out as `out`. Both parameter gradients are products.

    JAX's gradient of `w` is a product that is transposed and turned back, and its gradient of `b` is a sum. XLA's CPU
    compiler runs that product at half the speed and copies it, and it computes `dy` again for the sum. It also
    transposes the first factor of the gradient of `w`, element by element, so there the first one is the smaller one.

    Args:
      x: activations, whose leading dimensions are those of the result.
      w: kernel.
      b: bias, with the last dimensions of the result.
      equation: equation of `jnp.einsum`.
      out: spec of the result, if a contraction runs over a sharded axis.
      dtype: dtype of the result.
    """
    # Inside a user's `shard_map`, the rows differ between devices and the weights do not. A rule for derivatives must
    # return types that are equal to those of its arguments. `pcast` makes them equal, and its derivative is the sum.
    varying = [jax.typeof(one).manual_axis_type.varying for one in (x, w, b)]
    x, w, b = (
        jax.lax.pcast(one, tuple(missing), to="varying") if (missing := frozenset().union(*varying) - own) else one
        for one, own in zip((x, w, b), varying, strict=True)
    )
    y: jax.Array = _affine(x, w, b, equation, out, dtype)
    return y


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _affine(x: jax.Array, w: jax.Array, b: jax.Array, equation: str, out: Any, dtype: Any) -> jax.Array:
    y: jax.Array = jnp.einsum(equation, x, w, out_sharding=out, preferred_element_type=dtype)
    return y + b.astype(dtype)


def _affine_forward(x: jax.Array, w: jax.Array, b: jax.Array, *static: Any) -> tuple[jax.Array, Any]:
    return _affine(x, w, b, *static), (x, w, b)


def _affine_backward(
    equation: str, out: Any, dtype: Any, saved: Any, dy: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, w, b = saved
    inputs, y_dims = equation.split("->")
    x_dims, w_dims = inputs.split(",")
    dx = jnp.einsum(f"{y_dims},{w_dims}->{x_dims}", dy, w, out_sharding=spec_of(x))
    if platform() == "cpu" and x.size > dy.size:
        back_dims = "".join(sorted(w_dims, key=lambda dim: dim in x_dims))
        order = [back_dims.index(dim) for dim in w_dims]
        place = spec_of(w)
        back = None if place is None else P(*(place[w_dims.index(dim)] for dim in back_dims))
        dw = jnp.einsum(f"{y_dims},{x_dims}->{back_dims}", dy, x, out_sharding=back).transpose(order)
    else:
        dw = jnp.einsum(f"{x_dims},{y_dims}->{w_dims}", x, dy, out_sharding=spec_of(w))
    lead, spec = dy.ndim - b.ndim, spec_of(dy)
    ones = jnp.ones(dy.shape[:lead], dy.dtype, out_sharding=None if spec is None else P(*spec[:lead]))
    db = jnp.einsum(
        f"{y_dims[:lead]},{y_dims}->{y_dims[lead:]}",
        ones,
        dy,
        out_sharding=spec_of(b),
        precision=jax.lax.Precision.HIGHEST,  # A sum; no device may round its terms.
        preferred_element_type=jnp.promote_types(dy.dtype, jnp.float32),
    )
    return dx.astype(x.dtype), dw.astype(w.dtype), db.astype(b.dtype)


_affine.defvjp(_affine_forward, _affine_backward)


class Dense(nnx.Module):
    """A projection with bias, written as an einsum.

    Args:
      equation: equation of `jnp.einsum`, activations first: "bld,dhk->blhk".
      shape, bias_shape: shapes of kernel and bias.
      dims, bias_dims: their names in the layout's tables.
      start: initializer of the kernel.
    """

    def __init__(
        self,
        equation: str,
        shape: tuple[int, ...],
        bias_shape: tuple[int, ...],
        *,
        dims: str,
        bias_dims: str,
        start: Initializer,
        layout: Layout,
        rngs: nnx.Rngs,
    ):
        self.equation = equation
        self.kernel = parameter(rngs, start, shape, dims, layout)
        self.bias = parameter(rngs, constant(0.0), bias_shape, bias_dims, layout)

    def __call__(self, x: jax.Array, out: Any = None, *, wide: bool = False) -> jax.Array:
        """Projects x.

        Args:
          x: activations.
          out: spec of the result, if a contraction runs over a sharded axis.
          wide: give the result in float32 or wider, without rounding. Logits need this.
        """
        dtype = jnp.promote_types(x.dtype, jnp.float32) if wide else x.dtype
        return checkpoint_name(affine(x, self.kernel[...], self.bias[...], self.equation, out, dtype), PRODUCT)


class LayerNorm(nnx.Module):
    """LayerNorm over the last axis, computed in float32, returned in the dtype of its input."""

    def __init__(self, size: int, epsilon: float, *, layout: Layout, rngs: nnx.Rngs):
        self.epsilon = epsilon
        self.scale = parameter(rngs, constant(1.0), (size,), "bias_D", layout)
        self.bias = parameter(rngs, constant(0.0), (size,), "bias_D", layout)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns normalised x, scaled and shifted."""
        wide = _at_least_float32(x)
        mean = wide.mean(-1, keepdims=True)
        centred = wide - mean
        variance = (centred * centred).mean(-1, keepdims=True)
        normal = centred * jax.lax.rsqrt(variance + self.epsilon)
        return (normal * self.scale[...] + self.bias[...]).astype(x.dtype)


class Table(nnx.Module):
    """A lookup table of vectors.

    Args:
      shape: (rows, width).
      size: number of rows that ids may name; the rows behind them are padding. By default all rows.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        initializer: Initializer,
        *,
        dims: str,
        layout: Layout,
        rngs: nnx.Rngs,
        size: int | None = None,
    ):
        self.rows, self.size = shape[0], shape[0] if size is None else size
        self.table = parameter(rngs, initializer, shape, dims, layout)

    def __call__(self, ids_BL: jax.Array) -> jax.Array:
        """Returns x_BLD. An id outside 0 .. size - 1 gives NaN, so that a wrong vocabulary does not go unnoticed."""
        if self.size < self.rows:
            ids_BL = jnp.where(ids_BL < self.size, ids_BL, self.rows)
        table: Any = self.table[...].at[ids_BL]
        found: jax.Array = table.get(
            mode="fill", fill_value=jnp.nan, out_sharding=act("act_BLD"), wrap_negative_indices=False
        )
        return found


def _at_least_float32(x: jax.Array) -> jax.Array:
    """Returns x in float32, or x itself if it is float64 (comparisons against peers run in float64)."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def softmax(scores: jax.Array) -> jax.Array:
    """Returns the softmax over the last axis, computed in float32, in the dtype of its input."""
    return jax.nn.softmax(_at_least_float32(scores), axis=-1).astype(scores.dtype)


def gelu(x: jax.Array, activation: Activation) -> jax.Array:
    """Returns GELU: `gelu_tanh` (google-research/bert modeling.py) or the exact `gelu_erf` (Hugging Face's BERT).

    The backward pass of a layer computes it again, because its inner terms would be the largest arrays in memory. Where
    layers are `unrolled`, the compiler must not find them again in the forward pass.
    """
    compute = partial(jax.nn.gelu, approximate=activation == "gelu_tanh")
    again: jax.Array = jax.checkpoint(compute, prevent_cse=platform() == "cpu")(x)
    return again


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Returns x with a share `rate` of its entries 0 and the rest scaled up; x itself without a key.

    It draws 16 random bits per element, so the share is exact to 2^-17. The bits are the same on every mesh.
    """
    if key is None or rate == 0.0:
        return x
    *lead, last = x.shape
    words = jax.random.bits(key, (*lead, -(-last // 2)), jnp.uint32, out_sharding=spec_of(x))
    halves = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(*lead, -1)[..., :last]
    keep = halves >= np.uint16(round(rate * 2**16))
    return jnp.where(keep, x * jnp.asarray(1.0 / (1.0 - rate), x.dtype), jnp.zeros((), x.dtype))


def take_slots(x_BLD: jax.Array, position_BM: jax.Array) -> jax.Array:
    """Returns x_BMD, the vectors at M positions of each row. Needs no communication on any mesh."""
    taken: jax.Array = jax.vmap(lambda x, p: x.at[p].get(mode="promise_in_bounds"))(x_BLD, position_BM)
    return taken
