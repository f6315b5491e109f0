"""The cross-entropy and its own backward pass, against JAX's derivative of log-softmax."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.objectives.masked_lm import cross_entropy


@pytest.mark.parametrize("padding", [0, 3])
def test_cross_entropy_and_its_gradient_are_log_softmaxs(padding: int) -> None:
    """Also with a padded vocabulary, whose logits are the lowest float: no NaN, no gradient."""
    rng = np.random.default_rng(4)
    lowest = np.full((3, 4, padding), np.finfo(np.float32).min, np.float32)
    z = jnp.concatenate([jnp.asarray(20 * rng.normal(size=(3, 4, 9)), jnp.float32), lowest], -1)
    label, weight = rng.integers(0, 9, (3, 4)), jnp.asarray(rng.random((3, 4)), jnp.float32)

    def reference(z: jax.Array) -> jax.Array:
        return -(jnp.take_along_axis(jax.nn.log_softmax(z), label[..., None], -1)[..., 0] * weight).sum()

    def ours(z: jax.Array) -> jax.Array:
        return (cross_entropy(z, jnp.asarray(label))[0] * weight).sum()

    (loss, gradient), (expected, wanted) = (jax.value_and_grad(f)(z) for f in (ours, reference))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, wanted, atol=1e-6)
    assert np.abs(wanted).max() > 0.1 and not np.asarray(gradient)[..., 9:].any()
    np.testing.assert_array_equal(cross_entropy(z, jnp.asarray(label))[1], z.argmax(-1) == label)
