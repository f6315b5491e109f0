"""Compares RoBERTa, ALBERT, DistilBERT and SpanBERT's encoder with transformers' classes: `make test-peers`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file

from jaxbert.config import EncoderConfig
from jaxbert.convert.hf import write_hf
from jaxbert.convert.names import export_params
from jaxbert.models.encoder import positions
from jaxbert.models.families import FAMILIES
from jaxbert.models.model import Model
from tests.convert.comparison import ours_of, published_of
from tests.models.odd import random_params
from tests.models.sizes import SIZES, size_of
from tests.peers.peer import Case, batch_of, compare, judge, opened, peer_of, same_weights, theirs_of


def roberta(layers: int, hidden: int, heads: int, inner: int, padding: int, types: int, **more: Any) -> dict[str, Any]:
    return dict(
        vocab_size=131,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=23 + padding + 1,
        type_vocab_size=types,
        pad_token_id=padding,
        **more,
    )


def albert(
    layers: int, groups: int, width: int, hidden: int, heads: int, inner: int, types: int, **more: Any
) -> dict[str, Any]:
    return dict(
        vocab_size=131,
        embedding_size=width,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_hidden_groups=groups,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=26,
        type_vocab_size=types,
        **more,
    )


def distilbert(layers: int, hidden: int, heads: int, inner: int, **more: Any) -> dict[str, Any]:
    return dict(
        vocab_size=131,
        dim=hidden,
        n_layers=layers,
        n_heads=heads,
        hidden_dim=inner,
        max_position_embeddings=25,
        **more,
    )


def spanbert(layers: int, hidden: int, heads: int, inner: int, **more: Any) -> dict[str, Any]:
    return dict(
        vocab_size=131,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=23,
        type_vocab_size=2,
        **more,
    )


# Odd on purpose: one head, E above, below and equal to D, inner widths that are multiples of nothing, padding ids that
# move the positions, groups of one layer, of two, and one of all.
CASES = [
    Case("RobertaForMaskedLM", roberta(3, 20, 5, 31, 1, 1, layer_norm_eps=1e-5), 4, 23),
    Case("RobertaForMaskedLM", roberta(1, 14, 1, 9, 7, 3), 3, 12),
    Case("RobertaForMaskedLM", roberta(2, 24, 2, 50, 0, 2), 2, 9),
    Case("RobertaModel", roberta(2, 12, 3, 17, 1, 1), 3, 10),
    Case("AlbertForPreTraining", albert(4, 2, 9, 20, 5, 31, 2), 4, 23),
    Case("AlbertForPreTraining", albert(3, 1, 22, 14, 1, 9, 1, hidden_act="gelu"), 3, 12),
    Case("AlbertForPreTraining", albert(3, 3, 16, 16, 2, 50, 3), 3, 16),
    Case("AlbertModel", albert(2, 1, 7, 12, 3, 17, 2), 3, 10),
    Case("DistilBertForMaskedLM", distilbert(3, 20, 5, 31), 4, 23),
    Case("DistilBertForMaskedLM", distilbert(1, 14, 1, 9, activation="gelu_new"), 3, 12),
    Case("DistilBertModel", distilbert(2, 12, 3, 17), 3, 10),
    Case("BertForMaskedLM", spanbert(3, 20, 5, 31), 4, 23),
    Case("BertForMaskedLM", spanbert(1, 14, 1, 9), 3, 12),
]
HEADS = {
    "RobertaForMaskedLM": ("masked_lm",),
    "RobertaModel": ("pooler",),
    "AlbertForPreTraining": ("pooler", "masked_lm", "sentence_order"),
    "AlbertForMaskedLM": ("masked_lm",),
    "AlbertModel": ("pooler",),
    "DistilBertForMaskedLM": ("masked_lm",),
    "DistilBertModel": (),
    "BertForMaskedLM": ("masked_lm",),
}
ALBERT_WORDS = Case("AlbertForMaskedLM", albert(2, 1, 7, 12, 3, 17, 2), 3, 10)
FIRST = {case.kind: case for case in reversed(CASES)}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_and_gradients(tmp_path: Path, case: Case) -> None:
    compare(tmp_path, case, "float64")


@pytest.mark.parametrize("kind", ["RobertaForMaskedLM", "AlbertForPreTraining", "DistilBertForMaskedLM"])
def test_outputs_and_gradients_in_float32(tmp_path: Path, kind: str) -> None:
    compare(tmp_path, FIRST[kind], "float32")


@pytest.mark.parametrize("case", [*CASES, ALBERT_WORDS], ids=str)
def test_each_class_round_trips(tmp_path: Path, case: Case) -> None:
    """Theirs, read and written here, opens without a complaint: the same tensors, the same config."""
    peer = peer_of(case)
    peer.save_pretrained(tmp_path / "theirs")
    config, params, heads = published_of(tmp_path / "theirs")
    assert heads == HEADS[case.kind]
    write_hf(tmp_path / "ours", config, params)
    published = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert published["architectures"] == [case.kind]
    assert {name: published.get(name, value) for name, value in case.fields.items()} == case.fields
    theirs, ours = load_file(tmp_path / "theirs" / "model.safetensors"), load_file(tmp_path / "ours/model.safetensors")
    assert {name: array.tobytes() for name, array in ours.items()} == {
        name: array.tobytes() for name, array in theirs.items()
    }
    again, report = opened(case.kind, tmp_path / "ours")
    assert not any(report.values()), report
    same_weights(peer, again)


SMALL = dict(
    vocab_size=53,
    hidden_size=18,
    num_layers=2,
    num_heads=3,
    intermediate_size=25,
    max_positions=20,
)


def test_a_roberta_of_ours_has_no_types(tmp_path: Path) -> None:
    """The table that its file must have is 0: it changes nothing there, and is none when the file comes back."""
    shape = FAMILIES["roberta"].presets["tiny"]
    config = dataclasses.replace(shape, **SMALL)
    params = random_params(Model(config, ["masked_lm"]))
    write_hf(tmp_path, config, params)
    peer, report = opened("RobertaForMaskedLM", tmp_path)
    assert not any(report.values()), report
    types = "roberta.embeddings.token_type_embeddings.weight"
    table = dict(peer.named_parameters())[types]
    assert table.shape == (1, 18)
    assert not table.any()
    batch = batch_of(peer.config, 3, 17)
    outputs, gradients = theirs_of(peer.double(), batch)
    assert gradients[types].any()
    ours, ours_gradients = ours_of(config, params, ("masked_lm",), batch, "float64")
    # What the peer would move the table by is not ours to learn.
    judge((ours, ours_gradients | {types: gradients[types]}), (outputs, gradients), batch, "float64")
    read, back, _ = published_of(tmp_path)
    assert export_params(back, read)[types].tobytes() == bytes(4 * 18)


def test_a_type_table_of_a_roberta_is_kept(tmp_path: Path) -> None:
    case = CASES[2]
    peer = peer_of(case)
    peer.save_pretrained(tmp_path)
    config, params, _ = published_of(tmp_path)
    assert config.type_vocab_size == case.fields["type_vocab_size"]
    table = params["encoder"]["embeddings"]["type"]["table"]
    np.testing.assert_array_equal(table, peer.roberta.embeddings.token_type_embeddings.weight.detach().numpy())


@pytest.mark.parametrize(("behind", "moves"), [(-1, False), (0, False), (1, True)])
def test_positions_of_a_roberta_start_behind_its_padding(behind: int, moves: bool) -> None:
    """The last of the position rows that changes nothing is the padding's, there and here."""
    case = CASES[1]
    padding = case.fields["pad_token_id"]
    peer = peer_of(case)
    batch = batch_of(peer.config, case.rows, case.length)
    real = batch["group"] == 1
    before = hidden_of(peer, batch)[real]
    with torch.no_grad():
        peer.roberta.embeddings.position_embeddings.weight[padding + behind] += 1
    assert np.any(hidden_of(peer, batch)[real] != before) == moves
    found = np.asarray(positions(jnp.asarray(batch["group"]), padding + 1))
    assert (padding + behind in found[real]) == moves
    theirs = peer.roberta.embeddings.create_position_ids_from_input_ids(torch.tensor(batch["tokens"]), padding)
    np.testing.assert_array_equal(found, theirs.numpy())


def hidden_of(peer: Any, batch: dict[str, np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        given = {"input_ids": batch["tokens"], "attention_mask": batch["group"], "token_type_ids": batch["types"]}
        return peer.base_model(**{name: torch.tensor(array).long() for name, array in given.items()})[0].numpy()


def test_a_spanbert_of_ours_opens_as_a_bert(tmp_path: Path) -> None:
    """What BERT has no place for is named as SpanBERT's own archive names it; it is read back here."""
    config = dataclasses.replace(FAMILIES["spanbert"].presets["tiny"], **SMALL)
    heads, sizes = ("masked_lm", "span_boundary"), {"span_boundary": {"max_targets": 6, "position_size": 11}}
    params = random_params(Model(config, heads, sizes=sizes))
    write_hf(tmp_path, config, params)
    peer, report = opened("BertForMaskedLM", tmp_path)
    head = "cls.pair_target_predictions."
    linear = [f"mlp_layer_norm.{part}{i}.{kind}" for part in ("linear", "layer_norm") for i in (1, 2)
              for kind in ("weight", "bias")]  # fmt: skip
    assert set(report.pop("unexpected_keys")) == {
        head + name for name in ("position_embeddings.weight", "bias", *linear)
    }
    assert not any(report.values()), report
    batch = batch_of(peer.config, 3, 17)
    without = {part: params[part] for part in ("encoder", "masked_lm")}
    judge(ours_of(config, without, ("masked_lm",), batch, "float64"), theirs_of(peer.double(), batch), batch, "float64")
    read, back, there = published_of(tmp_path)
    assert (read.family, there) == ("bert", heads)
    jax.tree.map(np.testing.assert_array_equal, back, params)


@pytest.mark.parametrize(("family", "preset"), SIZES, ids="_".join)
def test_presets_have_as_many_parameters_as_the_peers(family: str, preset: str) -> None:
    """The class that pretrains the family, its parameters counted once where they are tied or shared."""
    heads, count = SIZES[family, preset]
    config: EncoderConfig = FAMILIES[family].presets[preset]
    published = FAMILIES[family].to_published(config, heads)
    (kind,) = published.pop("architectures")
    with torch.device("meta"):
        peer = getattr(transformers, kind)(transformers.AutoConfig.for_model(**published))
    assert peer.num_parameters() == count == size_of(config, heads)
