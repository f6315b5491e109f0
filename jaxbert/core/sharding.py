"""The places of arrays: one mesh (data, fsdp, tensor) in explicit mode, and layouts as small tables of specs.

A table gives a spec by the dimensions of an array (`qkv_DHK`: the kernel of a projection from D to H heads of K), so
one line places all arrays of that kind. A layout has two tables: parameters at rest, and optimizer moments. `in_use`
derives the specs in use, which are those of the parameters without `fsdp`. A third table places activations and is the
same in every layout. All functions also work without a mesh, for a user's single-device loop. Then they constrain
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.mesh_utils import create_hybrid_device_mesh
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxbert.config import LayoutName, MeshConfig, check_slices, mesh_shape
from jaxbert.core.parameters import kind_of, path_of

AXES = ("data", "fsdp", "tensor")
BATCH = ("data", "fsdp")

_PARAMETERS: Mapping[str, P] = {
    "emb_VD": P("tensor", "fsdp"),
    "emb_LD": P(None, "fsdp"),
    "emb_TD": P(None, "fsdp"),
    "qkv_DHK": P("fsdp", "tensor", None),
    "bias_HK": P("tensor", None),
    "out_HKD": P("tensor", None, "fsdp"),
    "up_DF": P("fsdp", "tensor"),
    "bias_F": P("tensor"),
    "down_FD": P("tensor", "fsdp"),
    "dense_DD": P("fsdp", None),
    "wide_ID": P(None, "fsdp"),
    "emb_SP": P(None, None),
    "class_DC": P("fsdp", None),
    "bias_D": P(None),
    "bias_C": P(None),
    "bias_V": P("tensor"),
}

ACTIVATIONS: Mapping[str, P] = {
    "act_B": P(BATCH),
    "act_BL": P(BATCH, None),
    "act_BD": P(BATCH, None),
    "act_BM": P(BATCH, None),
    "act_BLD": P(BATCH, None, None),
    "act_BMD": P(BATCH, None, None),
}


@dataclass(frozen=True, eq=False)  # it equals itself only, so that it can be a key
class Layout:
    """The specs of parameters and of optimizer moments at rest, by dimension name."""

    parameters: Mapping[str, P]
    optimizer: Mapping[str, P]

    @property
    def axes(self) -> frozenset[str]:
        """Returns the mesh axes over which the layout shards any array."""
        specs = (*self.parameters.values(), *self.optimizer.values())
        return frozenset(axis for spec in specs for axis in spec if axis is not None)


def _without(table: Mapping[str, P], *axes: str) -> Mapping[str, P]:
    return {name: P(*(None if axis in axes else axis for axis in spec)) for name, spec in table.items()}


LAYOUTS: Mapping[LayoutName, Layout] = {
    "replicated": Layout(_without(_PARAMETERS, "fsdp", "tensor"), _without(_PARAMETERS, "fsdp", "tensor")),
    "zero1": Layout(_without(_PARAMETERS, "fsdp", "tensor"), _without(_PARAMETERS, "tensor")),
    "fsdp": Layout(_without(_PARAMETERS, "tensor"), _without(_PARAMETERS, "tensor")),
    "fsdp_tensor": Layout(_PARAMETERS, _PARAMETERS),
}


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns the mesh of `config` over `devices` (by default all), with every axis explicit.

    If the devices belong to several TPU slices, the outer part of `data` runs over the slices and the inner part within
    each. So gathers of weights and sums over heads stay in a slice, and only the sum of gradients crosses the network
    between slices.

    Raises:
      InputError: the slices do not divide `data`.
    """
    devices = jax.devices() if devices is None else devices
    shape = mesh_shape(config, len(devices))
    slices = len({getattr(device, "slice_index", None) for device in devices})
    kinds = (AxisType.Explicit,) * 3
    if slices == 1:
        return jax.make_mesh(shape, AXES, axis_types=kinds, devices=devices)
    check_slices(shape[0], slices)
    inside = (shape[0] // slices, *shape[1:])
    return Mesh(create_hybrid_device_mesh(inside, (slices, 1, 1), devices=devices), AXES, axis_types=kinds)


def single_device_mesh() -> Mesh:
    """Returns a mesh of 1x1x1, for evaluation, conversion and tests on one device."""
    return make_mesh(MeshConfig(data=1), jax.local_devices()[:1])


def explicit_mesh() -> bool:
    """Returns whether the current mesh has our axes in explicit mode."""
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and mesh.axis_names == AXES and all(kind == AxisType.Explicit for kind in mesh.axis_types)


def automatic(function: Callable[..., jax.Array], *args: Any, rows: jax.Array, kept: int) -> jax.Array:
    """Returns `function(*args)` on arrays of a user's mesh, whose axes may be explicit, as `jax.make_mesh` makes them.

    The specs of this package are only for its own axes. So the compiler decides on the places inside the function, as
    it does for axes that are not explicit.

    Args:
      function: computes one array.
      args: its arguments.
      rows: an argument whose first dimensions are those of the result.
      kept: number of these dimensions. The result has them in the same places, and its other dimensions whole.
    """
    for leaf in jax.tree.leaves((rows, args)):
        mesh = jax.typeof(leaf).sharding.mesh
        if AxisType.Explicit in mesh.axis_types:
            out = P(*jax.typeof(rows).sharding.spec[:kept])
            with jax.sharding.use_abstract_mesh(mesh):
                found: jax.Array = jax.sharding.auto_axes(function, out_sharding=out)(*args)
            return found
    return function(*args)


def act(name: str) -> P | None:
    """Returns the spec of an activation by dimension name, for an `out_sharding=` argument."""
    return ACTIVATIONS[name] if explicit_mesh() else None


def spec_of(x: jax.Array) -> P | None:
    """Returns the spec of `x` under the current mesh; None if there is no mesh. Works inside jit."""
    return jax.typeof(x).sharding.spec if explicit_mesh() else None


def take_along_rows(x_BL: jax.Array, at_BM: jax.Array) -> jax.Array:
    """Returns (B, M): of each row the values at the positions of the same row.

    `jnp.take_along_axis` broadcasts a dimension of size 1, and then it does not know the place of its result: one row,
    one position in each. So this takes the rows one by one.
    """
    found_BM: jax.Array = jax.vmap(lambda x_L, at_M: jnp.take_along_axis(x_L, at_M, axis=0))(x_BL, at_BM)
    return found_BM


def moved_along_rows(x_BL: jax.Array, by: int, fill: int) -> jax.Array:
    """Returns each row moved by `by` places to the right, or to the left where `by` is negative; `fill` comes in.

    `jnp.roll` does not know the place of its result where there is one row (jax 0.12).
    """
    before, after = max(by, 0), max(-by, 0)
    stays_BL = x_BL[:, after : x_BL.shape[1] - before]
    return jnp.pad(stays_BL, ((0, 0), (before, after)), constant_values=fill)


def reshard(x: Any, to: P) -> Any:
    """Returns `x` laid out as `to`; `x` itself if no mesh of ours is set."""
    return jax.sharding.reshard(x, to) if explicit_mesh() else x


def reshard_like(tree: Any, like: Any) -> Any:
    """Returns `tree` with each leaf in the spec of the same leaf of `like`."""
    if not explicit_mesh():
        return tree
    return jax.tree.map(lambda x, y: jax.sharding.reshard(x, jax.typeof(y).sharding.spec), tree, like)


def in_use(params: Any, dtype: Any) -> Any:
    """Returns parameters as the forward pass takes them: gathered over `fsdp`, kernels and tables cast to `dtype`.

    LayerNorm's parameters and biases keep their dtype. Only this function makes sharded weights whole (over `fsdp`, not
    over `tensor`). It casts first, so that the gather moves few bytes. The scanned body calls it, for one layer at a
    time.
    """

    def use(path: tuple[Any, ...], w: jax.Array) -> jax.Array:
        if kind_of(path_of(path)) == "weight":
            w = w.astype(dtype)
        if not explicit_mesh():
            return w
        resting = jax.typeof(w).sharding.spec
        return jax.sharding.reshard(w, P(*(None if axis == "fsdp" else axis for axis in resting)))

    return jax.tree_util.tree_map_with_path(use, params)


def platform() -> str:
    """Returns the platform of the current mesh: "cpu", "gpu" or "tpu". The machine need not have such devices."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    found = jax.default_backend() if device is None or device.platform is None else device.platform
    return "gpu" if found in ("cuda", "rocm") else found


def compute_dtype(name: str, on: str | None = None) -> Any:
    """Returns the dtype that `NumericsConfig.dtype` names. `auto` is bfloat16 on TPU and GPU, float32 on CPU.

    Args:
      name: the config's name of the dtype.
      on: platform of the mesh; by default the platform of this process's devices.
    """
    if name == "auto":
        name = "float32" if (on or jax.default_backend()) == "cpu" else "bfloat16"
    return jnp.dtype(name)


def replicated(mesh: Mesh, tree: Any) -> Any:
    """Places host arrays whole on every device of `mesh`, from any number of processes."""
    place = NamedSharding(mesh, P())

    def put(x: Any) -> jax.Array:
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, place, lambda index: x[index])

    return jax.tree.map(put, tree)


@dataclass(frozen=True)
class Field:
    """One field of a batch.

    Attributes:
      shape: shape of one row; the batch has (B, *shape).
      dtype: numpy's name of the dtype.
    """

    shape: tuple[int, ...]
    dtype: str = "int32"


def abstract_batch(mesh: Mesh, batch_size: int, fields: Mapping[str, Field]) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes, dtypes and places of the arrays that `global_batch` makes."""
    return {
        name: jax.ShapeDtypeStruct(
            (batch_size, *field.shape),
            np.dtype(field.dtype),
            sharding=NamedSharding(mesh, P(BATCH, *(None for _ in field.shape))),
        )
        for name, field in fields.items()
    }


def global_batch(mesh: Mesh, read: Any, batch_size: int, fields: Mapping[str, Field]) -> dict[str, jax.Array]:
    """Returns a global batch, of which each process reads the rows of its devices.

    Args:
      mesh: the mesh.
      read: `read(lo, hi)` gives the host arrays of rows lo:hi, by field.
      batch_size: B.
      fields: shape and dtype of each field.

    Returns:
      Arrays (B, *shape), batch over (data, fsdp). `read` is called once for each slice that this process holds.
    """
    cache: dict[tuple[int, int], Mapping[str, np.ndarray]] = {}

    def part(name: str, index: tuple[slice, ...]) -> np.ndarray:
        lo, hi, _ = index[0].indices(batch_size)
        if (lo, hi) not in cache:
            cache[lo, hi] = read(lo, hi)
        return np.asarray(cache[lo, hi][name], fields[name].dtype)

    return {
        name: jax.make_array_from_callback(like.shape, like.sharding, partial(part, name))
        for name, like in abstract_batch(mesh, batch_size, fields).items()
    }
