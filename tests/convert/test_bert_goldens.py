"""Our BERT against what transformers' BertForPreTraining computed (tests/goldens/record_bert.py); needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from jaxbert.config import EncoderConfig
from jaxbert.convert.hf import read_hf
from jaxbert.convert.names import export_params
from jaxbert.models.layers import Params
from jaxbert.models.model import Model

GOLDENS = sorted((Path(__file__).parent.parent / "goldens").glob("bert_*/expected.safetensors"))
SHAPES = [path.parent.name for path in GOLDENS]
# Tolerances: a share of each tensor's norm, and for gradients a share of the norm of them all.
RULE = {"float64": (1e-9, 1e-12), "float32": (1e-4, 1e-6)}
ACTIVATIONS = {"gelu": "gelu_erf", "gelu_new": "gelu_tanh"}
Golden = dict[str, np.ndarray]


def losses(params: Params, model: Model, golden: Golden, dtype: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The sum of both losses, means over the predicted tokens and over the pairs; and every output."""
    hidden = model.hidden(params, golden, dtype=dtype, all_layers=True)
    out = {
        "hidden": hidden,
        "masked_lm": model.masked_lm(params, hidden[-1])[..., : model.config.vocab_size],
        "next_sentence": model.next_sentence(params, hidden[-1]),
    }
    chosen = golden["labels"] >= 0
    masked = jax.nn.log_softmax(out["masked_lm"])[chosen]
    pairs = jax.nn.log_softmax(out["next_sentence"])
    out["masked_lm_loss"] = -jnp.take_along_axis(masked, golden["labels"][chosen][:, None], 1).mean()
    out["next_sentence_loss"] = -jnp.take_along_axis(pairs, golden["pair_label"][:, None], 1).mean()
    return out["masked_lm_loss"] + out["next_sentence_loss"], out


@pytest.mark.parametrize("dtype", RULE)
@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_losses_and_every_gradient_equal_the_peers(shape: str, act: str, dtype: str) -> None:
    directory = GOLDENS[SHAPES.index(shape)].parent
    golden = load_file(directory / "expected.safetensors")
    share, floor = RULE[dtype]
    config, params, heads = read_hf(directory)
    config = EncoderConfig(**{**vars(config), "activation": ACTIVATIONS[act]})
    with jax.enable_x64(dtype == "float64"):
        model = Model(config, heads)
        params = jax.tree.map(lambda w: jnp.asarray(w, dtype), params)
        step = jax.jit(jax.value_and_grad(lambda p: losses(p, model, golden, dtype), has_aux=True))
        (_, out), gradients = step(params)
        ours = export_params(gradients, config, dtype)

    real = golden["group"] == 1  # the peer's padding sees the text, ours does not; neither is seen
    for name, found in out.items():
        assert found.dtype == dtype, name
        theirs, mine = golden[f"{act}/{name}"], np.asarray(found)
        if name in ("hidden", "masked_lm"):
            theirs, mine = theirs[..., real, :], mine[..., real, :]
        for layer in range(len(theirs)) if name == "hidden" else [...]:
            assert np.linalg.norm(mine[layer] - theirs[layer]) <= share * np.linalg.norm(theirs[layer]), (name, layer)

    prefix = f"{act}/gradient/"
    expected = {name.removeprefix(prefix): g for name, g in golden.items() if name.startswith(prefix)}
    assert ours.keys() == expected.keys()
    everything = np.sqrt(sum(np.sum(g**2) for g in expected.values()))
    for name, gradient in expected.items():
        error = np.linalg.norm(ours[name] - gradient)
        assert error <= share * np.linalg.norm(gradient) + floor * everything, name


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_read_as_the_peer_has_them(shape: str) -> None:
    directory = GOLDENS[SHAPES.index(shape)].parent
    published, config = json.loads((directory / "config.json").read_text()), read_hf(directory)[0]
    assert config == EncoderConfig(
        vocab_size=published["vocab_size"],
        hidden_size=published["hidden_size"],
        num_layers=published["num_hidden_layers"],
        num_heads=published["num_attention_heads"],
        intermediate_size=published["intermediate_size"],
        max_positions=published["max_position_embeddings"],
        type_vocab_size=published["type_vocab_size"],
        activation="gelu_erf",
        layer_norm_epsilon=published["layer_norm_eps"],
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_export_is_the_peers_own_file(shape: str) -> None:
    """Same names, same bytes as `save_pretrained` wrote."""
    directory = GOLDENS[SHAPES.index(shape)].parent
    config, params, heads = read_hf(directory)
    assert heads == ("pooler", "masked_lm", "next_sentence")
    theirs, ours = load_file(directory / "model.safetensors"), export_params(params, config)
    assert ours.keys() == theirs.keys()
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs)


def test_goldens_say_what_made_them() -> None:
    assert len(SHAPES) == 3
    for path in GOLDENS:
        with safe_open(path, framework="np") as file:
            versions = file.metadata()
        assert versions["torch"].startswith("2.13.0") and versions["transformers"] == "5.23.0"
