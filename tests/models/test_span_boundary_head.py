"""The span-boundary head against its formulas in numpy (facebookresearch/SpanBERT pretraining), float64.

    h0 = [left; right; p]    h = LN(gelu(W h0 + b)) twice    logits = E h + bias

Its gradients against the reference's own derivatives by a complex step: f'(x) = Im f(x + i t) / t, exact to rounding.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from jaxbert.config import EncoderConfig
from jaxbert.models.families import FAMILIES
from jaxbert.models.model import Model

TARGETS, POSITION, ROWS, SLOTS, STEP = 7, 5, 3, 4, 1e-30
SHAPE = dict(
    vocab_size=29,
    vocab_multiple=8,
    hidden_size=12,
    num_layers=1,
    num_heads=1,
    intermediate_size=7,
    max_positions=9,
    activation="gelu_erf",
)
CONFIGS = {
    "spanbert": EncoderConfig(family="spanbert", **SHAPE),
    "narrow embeddings, a large epsilon": EncoderConfig(
        family="albert", embedding_size=6, layer_groups=1, layer_norm_epsilon=1e-2, **SHAPE
    ),
}
Arrays = dict[str, np.ndarray]


def reference(a: Arrays, epsilon: float, place: np.ndarray) -> np.ndarray:
    """Logits (B, M, V), real or complex, as the formulas say."""

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        mean = x.mean(-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + epsilon) * a[f"{name}/scale"] + a[f"{name}/bias"]

    def gelu(x: np.ndarray) -> np.ndarray:
        return x * (1 + erf(x / np.sqrt(2))) / 2

    h = np.concatenate([a["left"], a["right"], a["place/table"][place]], -1)
    h = norm(gelu(h @ a["first/kernel"] + a["first/bias"]), "first_norm")
    h = norm(gelu(h @ a["second/kernel"] + a["second/bias"]), "second_norm")
    return h @ a["word"].T + a["bias"]


def loss_of(logits: np.ndarray, labels: np.ndarray) -> Any:
    """Mean cross-entropy; differentiable in the complex plane, so without a maximum taken off."""
    correct = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
    return (np.log(np.exp(logits).sum(-1)) - correct).mean()


def case(config: EncoderConfig) -> tuple[Model, Arrays, np.ndarray, np.ndarray]:
    """(model, every array that goes in, with the head's by their path, place and label of each slot)."""
    sizes = {"span_boundary": {"max_targets": TARGETS, "position_size": POSITION}}
    model = Model(config, ["span_boundary"], sizes=sizes)
    rng = np.random.default_rng(5)
    shapes = jax.eval_shape(model.init, jax.random.key(0))["span_boundary"]
    a = {
        "/".join(str(key.key) for key in path): 0.3 * rng.standard_normal(leaf.shape)
        for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]
    }
    a["word"] = 0.3 * rng.standard_normal((config.padded_vocab_size, config.embedding_width))
    a["left"], a["right"] = rng.standard_normal((2, ROWS, SLOTS, config.hidden_size))
    for name in ("first_norm/scale", "second_norm/scale"):
        a[name] += 1
    a["word"][config.vocab_size :] = 0
    a["bias"][config.vocab_size :] = 0
    return model, a, rng.integers(0, TARGETS, (ROWS, SLOTS)), rng.integers(0, config.vocab_size, (ROWS, SLOTS))


def ours(model: Model, place: np.ndarray, a: dict[str, jax.Array]) -> jax.Array:
    head: dict[str, Any] = {"bias": a["bias"]}
    for path, array in a.items():
        if "/" in path:
            name, leaf = path.split("/")
            head.setdefault(name, {})[leaf] = array
    params = {"span_boundary": head, "encoder": {"embeddings": {"word": {"table": a["word"]}}}}
    return model.span_boundary(params, a["left"], a["right"], jnp.asarray(place))


def cut(a: Arrays, size: int) -> Arrays:
    """Without the vocabulary's padding."""
    return {name: array[:size] if name in ("word", "bias") else array for name, array in a.items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_are_the_formulas(name: str) -> None:
    config = CONFIGS[name]
    model, a, place, _ = case(config)
    expected = reference(cut(a, config.vocab_size), config.layer_norm_epsilon, place)
    with jax.enable_x64(True):
        found = np.asarray(jax.jit(partial(ours, model, place))(jax.tree.map(jnp.asarray, a)))
    assert found.dtype == np.float64 and found.shape == (ROWS, SLOTS, config.padded_vocab_size)
    error = np.linalg.norm(found[..., : config.vocab_size] - expected) / np.linalg.norm(expected)
    assert error <= 1e-9, error
    assert (found[..., config.vocab_size :] == np.finfo(np.float64).min).all()


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_are_the_references_derivatives(name: str) -> None:
    """Of every array that goes in, in random directions; each has the rule's share of the gradient's norm."""
    config = CONFIGS[name]
    model, a, place, labels = case(config)

    def loss(a: dict[str, jax.Array]) -> jax.Array:
        log_p = jax.nn.log_softmax(ours(model, place, a))
        return -jnp.take_along_axis(log_p, jnp.asarray(labels)[..., None], -1).mean()

    with jax.enable_x64(True):
        value, gradient = jax.jit(jax.value_and_grad(loss))(jax.tree.map(jnp.asarray, a))
        gradient = {path: np.asarray(array) for path, array in gradient.items()}
    for path in ("word", "bias"):
        assert not gradient[path][config.vocab_size :].any(), path
    a, gradient = cut(a, config.vocab_size), cut(gradient, config.vocab_size)
    expected = loss_of(reference(a, config.layer_norm_epsilon, place), labels)
    assert abs(float(value) - expected) <= 1e-9 * expected
    everything = np.sqrt(sum(np.sum(array**2) for array in gradient.values()))
    assert all(array.any() for array in gradient.values())
    rng = np.random.default_rng(6)
    for path, array in a.items():
        for _ in range(3):
            direction = rng.standard_normal(array.shape)
            direction /= np.linalg.norm(direction)
            moved = {**a, path: array + 1j * STEP * direction}
            slope = loss_of(reference(moved, config.layer_norm_epsilon, place), labels).imag / STEP
            error = abs(float((gradient[path] * direction).sum()) - slope)
            assert error <= 1e-9 * np.linalg.norm(gradient[path]) + 1e-12 * everything, path


def test_the_table_of_places_is_indexed_from_0() -> None:
    """A slot's place picks its row of the table and no other; SpanBERT's own presets have 200 wide ones."""
    model, a, place, _ = case(CONFIGS["spanbert"])
    changed = dict(a, **{"place/table": a["place/table"] + (np.arange(TARGETS) == place[0, 0])[:, None]})
    run = jax.jit(partial(ours, model, place))
    before, after = (np.asarray(run({k: jnp.asarray(v, jnp.float32) for k, v in x.items()})) for x in (a, changed))
    np.testing.assert_array_equal((before != after).any(-1), place == place[0, 0])
    default = jax.eval_shape(Model(FAMILIES["spanbert"].presets["tiny"], ["span_boundary"]).init, jax.random.key(0))
    assert default["span_boundary"]["place"]["table"].shape == (20, 200)
