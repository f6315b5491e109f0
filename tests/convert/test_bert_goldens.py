"""Our BERT against what transformers' BertForPreTraining computed (tests/goldens/record_bert.py); needs no torch."""

from __future__ import annotations

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

GOLDEN = Path(__file__).parent.parent / "goldens" / "bert_pretraining"
Golden = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def golden() -> Golden:
    return load_file(GOLDEN / "expected.safetensors")


def forward(model: Model, params: Params, golden: Golden, dtype: Any) -> dict[str, jax.Array]:
    hidden = model.hidden(params, golden, dtype=dtype, all_layers=True)
    return {
        "hidden": hidden,
        "masked_lm": model.masked_lm(params, hidden[-1])[..., : model.config.vocab_size],
        "next_sentence": model.next_sentence(params, hidden[-1]),
    }


def loss(params: Params, model: Model, golden: Golden, dtype: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean over the predicted tokens plus mean over the pairs, as the peer has it; and the outputs."""
    out = forward(model, params, golden, dtype)
    chosen = golden["labels"] >= 0
    masked = jax.nn.log_softmax(out["masked_lm"])[chosen]
    pairs = jax.nn.log_softmax(out["next_sentence"])
    total = -(
        jnp.take_along_axis(masked, golden["labels"][chosen][:, None], 1).mean()
        + jnp.take_along_axis(pairs, golden["pair_label"][:, None], 1).mean()
    )
    return total, out


def setting(activation: str, dtype: Any) -> tuple[Model, Params]:
    config, params, heads = read_hf(GOLDEN)
    assert config == EncoderConfig(
        vocab_size=97,
        hidden_size=18,
        num_layers=2,
        num_heads=3,
        intermediate_size=37,
        max_positions=17,
        type_vocab_size=3,
        activation="gelu_erf",
        layer_norm_epsilon=1e-5,
    )
    config = EncoderConfig(**{**vars(config), "activation": activation})
    return Model(config, heads), jax.tree.map(lambda w: jnp.asarray(w, dtype), params)


def check_outputs(golden: Golden, act: str, value: Any, out: dict[str, Any], share: float) -> None:
    real = golden["group"] == 1  # the peer's padding sees the text, ours does not; neither is seen
    for name, ours in out.items():
        theirs, mine = golden[f"{act}/{name}"], np.asarray(ours)
        if name != "next_sentence":
            theirs, mine = theirs[..., real, :], mine[..., real, :]
        for layer in range(len(theirs)) if name == "hidden" else [...]:
            error = np.linalg.norm(mine[layer] - theirs[layer])
            assert error <= share * np.linalg.norm(theirs[layer]), (name, layer)
    np.testing.assert_allclose(value, golden[f"{act}/loss"][0], rtol=share)


@pytest.mark.parametrize(
    ("act", "activation", "dtype", "share"),
    [("gelu_new", "gelu_tanh", "float64", 1e-9), ("gelu", "gelu_erf", "float32", 1e-4)],
)
def test_outputs_equal_the_peer(golden: Golden, act: str, activation: str, dtype: str, share: float) -> None:
    with jax.enable_x64(dtype == "float64"):
        model, params = setting(activation, dtype)
        value, out = jax.jit(lambda p: loss(p, model, golden, dtype))(params)
    assert value.dtype == out["hidden"].dtype == out["masked_lm"].dtype == dtype
    check_outputs(golden, act, value, out, share)


def test_outputs_and_gradients_equal_the_peer(golden: Golden) -> None:
    dtype = "float64"
    with jax.enable_x64(True):
        model, params = setting("gelu_erf", dtype)
        step = jax.jit(jax.value_and_grad(lambda p: loss(p, model, golden, dtype), has_aux=True))
        (value, out), gradients = step(params)
        ours = export_params(gradients, model.config, dtype)
    check_outputs(golden, "gelu", value, out, 1e-9)
    theirs = {name.removeprefix("gradient/"): g for name, g in golden.items() if name.startswith("gradient/")}
    assert ours.keys() == theirs.keys()
    everything = np.sqrt(sum(np.sum(g**2) for g in theirs.values()))
    for name, gradient in theirs.items():
        error = np.linalg.norm(ours[name] - gradient)
        assert error <= 1e-9 * np.linalg.norm(gradient) + 1e-12 * everything, name


def test_export_is_the_peers_own_file() -> None:
    """Same names, same bytes as `save_pretrained` wrote."""
    config, params, heads = read_hf(GOLDEN)
    assert heads == ("pooler", "masked_lm", "next_sentence")
    theirs, ours = load_file(GOLDEN / "model.safetensors"), export_params(params, config)
    assert ours.keys() == theirs.keys()
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs)


def test_goldens_say_what_made_them() -> None:
    with safe_open(GOLDEN / "expected.safetensors", framework="np") as file:
        versions = file.metadata()
    assert versions["torch"].startswith("2.13.0")
    assert versions["transformers"]
