"""Every implementation of attention, held to the same tests: the reference's values and gradients, exact isolation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.core.sharding import single_device_mesh
from jaxbert.models.attention import IMPLEMENTATIONS, attend, choose

# Those that run without their accelerator: splash in Pallas' interpreter, cuDNN's call through XLA.
HERE = ("reference", "splash_interpreted", "xla")
BATCH, LENGTH, HEADS, WIDTH = 2, 128, 2, 64
# A document, another, padding; and a row of three of which one has a single token.
GROUP = np.stack([np.repeat([1, 2, 0], [40, 60, 28]), np.repeat([1, 2, 3], [1, 100, 27])])


@pytest.fixture(scope="module")
def qkv() -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=(BATCH, LENGTH, HEADS, WIDTH)).astype(np.float32) for _ in range(3))


def run(implementation: str, q: Any, k: Any, v: Any) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Outputs, and gradients of a function of them."""

    def value(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = attend(q, k, v, jnp.asarray(GROUP), implementation=implementation)
        return (out * jnp.cos(out)).sum(), out

    grads, out = jax.jit(jax.grad(value, (0, 1, 2), has_aux=True))(q, k, v)
    return np.asarray(out), tuple(map(np.asarray, grads))


@pytest.fixture(scope="module")
def reference(qkv: tuple[np.ndarray, ...]) -> Any:
    return run("reference", *qkv)


def test_all_implementations_are_tested_but_those_of_an_accelerator():
    assert set(IMPLEMENTATIONS) - set(HERE) == {"splash", "cudnn"}


@pytest.mark.parametrize("implementation", HERE[1:])
def test_values_and_gradients_are_the_reference_s(implementation: str, qkv: Any, reference: Any):
    out, grads = run(implementation, *qkv)
    np.testing.assert_allclose(out, reference[0], atol=3e-6)
    for ours, theirs in zip(grads, reference[1], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("implementation", HERE)
def test_a_group_does_not_see_another(implementation: str, qkv: Any):
    """Bit for bit, forwards and backwards, whatever stands in the other group."""
    q, k, v = (array.copy() for array in qkv)
    before, _ = run(implementation, q, k, v)
    for array in (q, k, v):
        array[:, 40:100] = array[:, 40:100] * -3 + 1
    after, _ = run(implementation, q, k, v)
    same = GROUP[0] != 2
    assert (before[0, same] == after[0, same]).all()
    assert not np.allclose(before[0, 50], after[0, 50])
    assert (before[1, 0] == after[1, 0]).all()


@pytest.mark.parametrize("implementation", HERE)
def test_gradients_do_not_cross_groups(implementation: str, qkv: Any):
    def first(k: jax.Array) -> jax.Array:
        out = attend(qkv[0], k, qkv[2], jnp.asarray(GROUP), implementation=implementation)
        return out[0, :40].sum()

    grad = np.asarray(jax.jit(jax.grad(first))(qkv[1]))
    assert (grad[0, 40:] == 0).all() and (grad[1] == 0).all()
    assert np.abs(grad[0, :40]).max() > 0


def test_the_fused_ones_refuse_dropout(qkv: Any):
    with pytest.raises(ValueError, match="no dropout"):
        attend(*qkv, jnp.asarray(GROUP), implementation="xla", rate=0.1, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("platform", "length", "dtype", "chosen"),
    [
        ("tpu", 512, "bfloat16", "splash"),
        ("tpu", 128, "float32", "splash"),
        ("tpu", 64, "bfloat16", "reference"),
        ("gpu", 64, "bfloat16", "cudnn"),
        ("gpu", 64, "float32", "reference"),
        ("cpu", 512, "float32", "reference"),
    ],
)
def test_fused_is_what_the_platform_has(monkeypatch: Any, platform: str, length: int, dtype: str, chosen: str):
    monkeypatch.setattr("jaxbert.models.attention.platform", lambda: platform)
    assert choose("fused", length, dtype) == chosen
    assert choose("reference", length, dtype) == "reference"


def test_fused_is_the_reference_on_this_machine():
    with jax.set_mesh(single_device_mesh()):
        assert choose("fused", 512, "float32") == "reference"
