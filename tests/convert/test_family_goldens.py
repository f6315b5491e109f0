"""Compares every family with recorded outputs of transformers' pretraining class (tests/goldens/record_families.py)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from jaxbert.config import EncoderConfig
from jaxbert.convert.names import export_params
from jaxbert.models.families import FAMILIES
from tests.convert.comparison import judge_gradients, judge_outputs, ours_of, published_of

GOLDENS = Path(__file__).parent.parent / "goldens"
SHAPES = sorted(path.parent.name for path in GOLDENS.glob("*/model.safetensors"))
ACTIVATIONS = {"gelu": "gelu_erf", "gelu_new": "gelu_tanh"}
ACTS = {shape: ("gelu", "gelu_new") if shape.startswith("bert_") else ("gelu",) for shape in SHAPES}
ACTS["albert_pretraining"] = ("gelu_new",)
# Every formula in float64; in float32 the two ways of stacking layers (`make test-peers` has them all).
CASES = [(shape, act, "float64") for shape in SHAPES for act in ACTS[shape]]
CASES += [(shape, ACTS[shape][0], "float32") for shape in SHAPES if shape.startswith(("bert", "albert"))]
HEADS = {
    "BertForPreTraining": ("pooler", "masked_lm", "next_sentence"),
    "RobertaForMaskedLM": ("masked_lm",),
    "AlbertForPreTraining": ("pooler", "masked_lm", "sentence_order"),
    "DistilBertForMaskedLM": ("masked_lm",),
    "BertForMaskedLM": ("masked_lm",),
}


@pytest.mark.parametrize(("shape", "act", "dtype"), CASES)
def test_outputs_losses_and_every_gradient_equal_the_peers(shape: str, act: str, dtype: str) -> None:
    golden = load_file(GOLDENS / shape / "expected.safetensors")
    config, params, heads = published_of(GOLDENS / shape)
    config = EncoderConfig(**{**vars(config), "activation": ACTIVATIONS[act]})
    out, gradients = ours_of(config, params, heads, golden, dtype)

    of_act = {name.removeprefix(f"{act}/"): array for name, array in golden.items() if name.startswith(f"{act}/")}
    expected = {name.removeprefix("gradient/"): g for name, g in of_act.items() if name.startswith("gradient/")}
    theirs = {name: array.squeeze() if name.endswith("_loss") else array for name, array in of_act.items()}
    theirs = {name: array for name, array in theirs.items() if not name.startswith("gradient/")}
    assert theirs.keys() == out.keys() - {"loss", "pooled"}
    judge_outputs(out, theirs, golden["group"] == 1, dtype)
    judge_gradients(gradients, expected, dtype)


SMALL = dict(vocab_size=41, hidden_size=10, num_layers=2, num_heads=5, intermediate_size=13)
READ = {
    "bert_pretraining": dict(
        vocab_size=97,
        hidden_size=18,
        num_layers=2,
        num_heads=3,
        intermediate_size=37,
        max_positions=17,
        type_vocab_size=3,
        layer_norm_epsilon=1e-5,
    ),
    "bert_one_head": dict(
        vocab_size=61,
        hidden_size=10,
        num_layers=3,
        num_heads=1,
        intermediate_size=7,
        max_positions=13,
        type_vocab_size=1,
    ),
    "bert_wide": dict(
        vocab_size=128,
        hidden_size=16,
        num_layers=1,
        num_heads=8,
        intermediate_size=45,
        max_positions=9,
        type_vocab_size=2,
    ),
    "roberta_masked_lm": SMALL
    | dict(max_positions=14, position_offset=2, type_vocab_size=1, layer_norm_epsilon=1e-5, initializer="normal"),
    "albert_pretraining": SMALL
    | dict(num_layers=4, layer_groups=2, embedding_size=6, num_heads=2, max_positions=11, activation="gelu_tanh"),
    "distilbert_masked_lm": SMALL | dict(max_positions=12, type_vocab_size=0, initializer="normal"),
    # Nothing in the file says that it is SpanBERT's.
    "spanbert_masked_lm": SMALL | dict(family="bert", num_heads=1, max_positions=12),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_read_as_the_peer_has_them(shape: str) -> None:
    dropout = 0.0 if shape.startswith("albert") else 0.1
    family = shape.split("_")[0]
    pooler = "relu" if family == "distilbert" else "tanh"
    base = EncoderConfig(
        family=family, activation="gelu_erf", dropout=dropout, attention_dropout=dropout, pooler=pooler
    )
    assert published_of(GOLDENS / shape)[0] == dataclasses.replace(base, **READ[shape])


@pytest.mark.parametrize("shape", SHAPES)
def test_export_is_the_peers_own_file(shape: str) -> None:
    """Same names, same bytes as `save_pretrained` wrote; and a config of the same class and values."""
    config, params, heads = published_of(GOLDENS / shape)
    published = json.loads((GOLDENS / shape / "config.json").read_text())
    (kind,) = published["architectures"]
    assert heads == HEADS[kind]
    theirs, ours = load_file(GOLDENS / shape / "model.safetensors"), export_params(params, config)
    assert ours.keys() == theirs.keys()
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs)
    written = FAMILIES[config.family].to_published(config, heads)
    assert {name: published.get(name, value) for name, value in written.items()} == written


def test_goldens_say_what_made_them() -> None:
    assert {shape.split("_")[0] for shape in SHAPES} == set(FAMILIES)
    assert set(SHAPES) == set(READ)
    for shape in SHAPES:
        with safe_open(GOLDENS / shape / "expected.safetensors", framework="np") as file:
            versions = file.metadata()
        assert versions["torch"].startswith("2.13.0") and versions["transformers"] == "5.23.0"
        assert all(np.isfinite(array).all() for array in load_file(GOLDENS / shape / "expected.safetensors").values())
