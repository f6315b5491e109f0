"""The fused kinds of attention on a mesh: values, gradients and isolation are those of one device."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.config import MeshConfig
from jaxbert.core.sharding import BATCH as ROWS
from jaxbert.core.sharding import make_mesh
from jaxbert.models.attention import attend

BATCH, LENGTH, HEADS, WIDTH = 4, 128, 2, 64
GROUP = np.stack([np.repeat([1, 2, 0], [40 + row, 60, 28 - row]) for row in range(BATCH)])
KINDS = ("splash_interpreted", "xla", "reference")


@pytest.fixture(scope="module")
def qkv() -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=(BATCH, LENGTH, HEADS, WIDTH)).astype(np.float32) for _ in range(3))


def run(implementation: str, qkv: Any, mesh_config: MeshConfig | None) -> list[np.ndarray]:
    """Outputs and gradients."""

    def value(q: jax.Array, k: jax.Array, v: jax.Array, group: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = attend(q, k, v, group, implementation=implementation)
        return (out * jnp.cos(out)).sum(), out

    function = jax.jit(jax.grad(value, (0, 1, 2), has_aux=True))
    if mesh_config is None:
        grads, out = function(*qkv, GROUP)
        return [np.asarray(part) for part in (out, *grads)]
    mesh = make_mesh(mesh_config)
    heads = jax.NamedSharding(mesh, jax.P(ROWS, None, "tensor", None))
    with jax.set_mesh(mesh):
        placed = [jax.device_put(array, heads) for array in qkv]
        group = jax.device_put(GROUP, jax.NamedSharding(mesh, jax.P(ROWS, None)))
        grads, out = function(*placed, group)
        assert out.addressable_shards[0].data.shape == (BATCH // 4, LENGTH, HEADS // 2, WIDTH)
        return [np.asarray(jax.device_get(part)) for part in (out, *grads)]


@pytest.mark.parametrize("implementation", KINDS)
def test_a_mesh_gives_what_one_device_gives(implementation: str, qkv: Any):
    mesh = MeshConfig(data=2, fsdp=2, tensor=2)
    for many, one in zip(run(implementation, qkv, mesh), run(implementation, qkv, None), strict=True):
        np.testing.assert_allclose(many, one, atol=2e-6)


@pytest.mark.parametrize("implementation", KINDS)
def test_a_group_does_not_see_another(implementation: str, qkv: Any):
    mesh = MeshConfig(data=2, fsdp=2, tensor=2)
    changed = [array.copy() for array in qkv]
    for array in changed:
        array[GROUP == 2] *= -3
    before, after = (run(implementation, arrays, mesh)[0] for arrays in (qkv, changed))
    assert (before[GROUP == 1] == after[GROUP == 1]).all()
    assert not np.allclose(before[GROUP == 2], after[GROUP == 2])
