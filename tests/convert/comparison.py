"""Compares one step's outputs and gradients with a peer's, and holds the tolerances for it. Needs no torch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import EncoderConfig
from jaxbert.convert.names import export_params
from jaxbert.convert.read import Published, read_model
from jaxbert.core.parameters import Params
from jaxbert.models.model import HeadSizes, Model

# Tolerances: a share of each tensor's norm, and for gradients a share of the norm of them all.
RULE = {"float64": (1e-9, 1e-12), "float32": (1e-4, 1e-6)}
Arrays = Mapping[str, np.ndarray]


def published_of(directory: str | Path) -> tuple[EncoderConfig, Params, tuple[str, ...]]:
    """A published directory: the encoder, its parameters, the names of its heads."""
    published = read_model(directory)
    return published.config, published.params, published.heads


@contextmanager
def nothing_left_out() -> Iterator[None]:
    """Fails where reading a model inside the block says that it leaves something out."""
    said: list[str] = []
    handler, logger = logging.Handler(logging.INFO), logging.getLogger("jaxbert.convert")
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert not said


def read_whole(directory: str | Path) -> Published:
    """Reads a published model, and fails where something in its files is left out."""
    with nothing_left_out():
        return read_model(directory)


# The heads of pairs, and the names under which the peers' files and ours have their losses.
PAIR_HEADS = ("next_sentence", "sentence_order")
# Outputs of tokens: a peer's padding sees the text, ours does not; neither is seen, so neither is compared.
OF_TOKENS = ("hidden", "masked_lm")


def outputs(params: Params, model: Model, batch: Arrays, dtype: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss, and every output by name.

    The loss is the sum of the heads' cross-entropies, means over the labelled tokens and over the pairs; of a model
    without a head that predicts the mean cubes of hidden states and pooled vectors.
    """
    hidden = model.hidden(params, batch, dtype=dtype, all_layers=True)
    out, losses = {"hidden": hidden}, {}
    if "pooler" in model.heads:
        out["pooled"] = model.pooled(params, hidden[-1])
    if "masked_lm" in model.heads:
        out["masked_lm"] = model.masked_lm(params, hidden[-1])[..., : model.config.vocab_size]
        chosen = batch["labels"] >= 0
        losses["masked_lm_loss"] = cross_entropy(out["masked_lm"][chosen], batch["labels"][chosen])
    for head in PAIR_HEADS:
        if head in model.heads:
            out[head] = getattr(model, head)(params, hidden[-1])
            losses[f"{head}_loss"] = cross_entropy(out[head], batch["pair_label"])
    if losses:
        return sum(losses.values(), jnp.zeros((), dtype)), out | losses
    cubes = (hidden[-1][batch["group"] > 0] ** 3).mean()
    return cubes + ((out["pooled"] ** 3).mean() if "pooled" in out else 0), out


def cross_entropy(logits: jax.Array, labels: np.ndarray) -> jax.Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()


def ours_of(
    config: EncoderConfig,
    params: Params,
    heads: tuple[str, ...],
    batch: Arrays,
    dtype: str,
    sizes: HeadSizes | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(outputs with "loss", gradients by published name)."""
    with jax.enable_x64(dtype == "float64"):
        model = Model(config, heads, sizes=sizes)
        params = jax.tree.map(lambda w: jnp.asarray(w, dtype), params)
        step = jax.jit(jax.value_and_grad(lambda p: outputs(p, model, batch, dtype), has_aux=True))
        (loss, out), gradients = step(params)
        assert {array.dtype for array in (loss, *out.values())} == {np.dtype(dtype)}
        found = {name: np.asarray(array) for name, array in {"loss": loss, **out}.items()}
        return found, export_params(gradients, config, dtype)


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Norm of the difference."""
    return float(np.linalg.norm(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)))


def judge_outputs(ours: Arrays, theirs: Arrays, real: np.ndarray, dtype: str) -> float:
    """The largest share of its norm by which an output that both have differs; each layer for itself."""
    share, worst = RULE[dtype][0], 0.0
    for name in theirs:
        mine, yours = ours[name], theirs[name]
        assert mine.shape == yours.shape, name
        if name in OF_TOKENS:
            mine, yours = mine[..., real, :], yours[..., real, :]
        for layer in range(len(yours)) if name == "hidden" else [...]:
            error, norm = distance(mine[layer], yours[layer]), float(np.linalg.norm(yours[layer]))
            assert error <= share * norm, (name, layer, error / norm)
            worst = max(worst, error / norm)
    return worst


def judge_gradients(ours: Arrays, theirs: Arrays, dtype: str) -> float:
    """The largest share of a gradient's norm, with its part of the norm of all, by which one differs."""
    (share, floor), worst = RULE[dtype], 0.0
    assert ours.keys() == theirs.keys()
    everything = float(np.sqrt(sum(np.sum(np.float64(gradient) ** 2) for gradient in theirs.values())))
    for name, gradient in theirs.items():
        assert ours[name].shape == gradient.shape, name
        error, norm = distance(ours[name], gradient), float(np.linalg.norm(gradient))
        assert error <= share * norm + floor * everything, (name, error / everything)
        worst = max(worst, error / (norm + floor / share * everything))
    return worst
