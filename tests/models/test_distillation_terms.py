"""The two formulas of distillation in numpy, float64: divergence of softened distributions, cosine of vectors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.objectives.distillation import cosine, divergence

ROWS, TOKENS, VOCABULARY, PADDED = 2, 3, 13, 16


def logits() -> tuple[np.ndarray, np.ndarray]:
    """A teacher's and a student's, the padding's the lowest float as a model gives it."""
    rng = np.random.default_rng(7)
    both = 4 * rng.standard_normal((2, ROWS, TOKENS, PADDED))
    both[..., VOCABULARY:] = np.finfo(np.float64).min
    return both[0], both[1]


def softened(z: np.ndarray, temperature: float) -> np.ndarray:
    powers = np.exp(z[..., :VOCABULARY] / temperature)
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.5])
def test_divergence(temperature: float) -> None:
    """Values and gradient in the student's logits, (q - p) / T; 0 at the padding, which is no part of either."""
    teacher, student = logits()
    p, q = softened(teacher, temperature), softened(student, temperature)
    with jax.enable_x64(True):
        found, back = jax.vjp(
            lambda z: divergence(jnp.asarray(teacher), z, 1 / temperature, VOCABULARY), jnp.asarray(student)
        )
        weight = np.random.default_rng(8).standard_normal(found.shape)
        (gradient,) = back(jnp.asarray(weight))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, (p * np.log(p / q)).sum(-1), rtol=1e-12)
    expected = (q - p) / temperature * weight[..., None]
    np.testing.assert_allclose(gradient[..., :VOCABULARY], expected, rtol=1e-9, atol=1e-14)
    assert not np.any(gradient[..., VOCABULARY:])


def test_divergence_of_one_distribution_from_itself_is_0() -> None:
    teacher, _ = logits()
    with jax.enable_x64(True):
        shifted = jnp.asarray(teacher).at[..., :VOCABULARY].add(3.0)  # the same distribution
        found = divergence(jnp.asarray(teacher), shifted, 0.5, VOCABULARY)
    np.testing.assert_allclose(found, 0, atol=1e-14)


def test_divergence_of_logits_far_apart_is_finite() -> None:
    """Where the student gives a piece no weight, the divergence is large; a power of it would be infinite."""
    teacher, student = np.zeros((2, 1, 1, PADDED), np.float32)
    student[..., 0], teacher[..., 1] = 500, 500
    found, gradient = jax.value_and_grad(lambda z: divergence(jnp.asarray(teacher), z, 1.0, VOCABULARY).sum())(
        jnp.asarray(student)
    )
    np.testing.assert_allclose(found, 500, rtol=1e-6)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient[0, 0, :3], [1, -1, 0], atol=1e-6)


def test_cosine() -> None:
    rng = np.random.default_rng(9)
    a, b = rng.standard_normal((2, ROWS, TOKENS, 5))
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    expected = (a * b).sum(-1) / norms
    with jax.enable_x64(True):
        found, back = jax.vjp(lambda a: cosine(a, jnp.asarray(b)), jnp.asarray(a))
        (gradient,) = back(jnp.ones_like(found))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # Its gradient lies across a: what is left of b's direction beside a's, over a's length.
    across = b / norms[..., None] - a * (expected / (a * a).sum(-1))[..., None]
    np.testing.assert_allclose(gradient, across, rtol=1e-9, atol=1e-14)
    assert found.dtype == np.float64


def test_cosine_of_bfloat16_is_summed_in_float32() -> None:
    """Lengths make no difference, and 4096 products are not added in eight bits."""
    a = jnp.asarray(np.random.default_rng(10).standard_normal((1, 1, 4096)), jnp.bfloat16)
    found = cosine(a, 3 * a)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, 1, atol=1e-3)
    np.testing.assert_allclose(cosine(a, -a), -1, atol=1e-6)
