"""A model of transformers with random weights, a batch for it, and its outputs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from tests.convert.comparison import Arrays, judge_gradients, judge_outputs, ours_of, published_of

torch.set_num_threads(1)  # The models are too small for more to pay.
# What a class calls the label of a pair, and its logits.
PAIRS = {
    "next_sentence": ("next_sentence_label", "seq_relationship_logits"),
    "sentence_order": ("sentence_order_label", "sop_logits"),
}


@dataclass(frozen=True)
class Case:
    """A class of transformers, the fields of its config, and the rows and length of a batch."""

    kind: str
    fields: Mapping[str, Any]
    rows: int
    length: int

    def __str__(self) -> str:
        return f"{self.kind}-{'-'.join(str(value) for value in self.fields.values())}"


def peer_of(case: Case) -> Any:
    """The model, its weights random and far from where training starts."""
    kind = getattr(transformers, case.kind)
    torch.manual_seed(case.rows + 100 * case.length)
    model = kind(kind.config_class(**case.fields, attn_implementation="eager")).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            centre = 1.0 if weight.ndim == 1 and name.endswith("weight") else 0.0  # a LayerNorm's scale
            weight.copy_(centre + 0.2 * torch.randn_like(weight))
    return model


def opened(kind: str, directory: Path) -> tuple[Any, dict[str, Any]]:
    """(the model that transformers opens there, what it reports about missing and unexpected tensors)."""
    return getattr(transformers, kind).from_pretrained(directory, output_loading_info=True, attn_implementation="eager")


def batch_of(config: Any, rows: int, length: int) -> dict[str, np.ndarray]:
    """Padded rows without the padding id among the real tokens, where torch would drop its gradient."""
    rng = np.random.default_rng(length)
    real = (np.arange(length)[None] < rng.integers(length // 2, length + 1, rows)[:, None]).astype(np.int32)
    padding, types = config.pad_token_id, getattr(config, "type_vocab_size", 1)
    words = np.setdiff1d(np.arange(config.vocab_size), [padding])
    chosen = (rng.random((rows, length)) < 0.4) & (real == 1)
    return {
        "tokens": np.where(real == 1, rng.choice(words, (rows, length)), padding).astype(np.int32),
        "types": rng.integers(0, types, (rows, length)).astype(np.int32) * real,
        "group": real,
        "labels": np.where(chosen, rng.integers(0, config.vocab_size, (rows, length)), -100).astype(np.int32),
        "pair_label": rng.integers(0, 2, rows).astype(np.int32),
    }


def theirs_of(peer: Any, batch: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(outputs with "loss", gradients by name): the class's own loss, or mean cubes of a bare model's outputs."""
    long = {name: torch.tensor(array).long() for name, array in batch.items()}
    takes = inspect.signature(peer.forward).parameters
    given = {"input_ids": long["tokens"], "attention_mask": long["group"]}
    if "token_type_ids" in takes:
        given["token_type_ids"] = long["types"]
    answers = {"labels": long["labels"], **{label: long["pair_label"] for label, _ in PAIRS.values()}}
    answers = {name: answer for name, answer in answers.items() if name in takes}
    peer.zero_grad()
    out = peer(**given, **answers, output_hidden_states=True)
    found = {"hidden": torch.stack(out.hidden_states)}
    pooled = out.get("pooler_output")
    if answers:
        found["masked_lm"] = out["prediction_logits" if "prediction_logits" in out else "logits"]
        found |= {head: out[logits] for head, (_, logits) in PAIRS.items() if logits in out}
        loss = out.loss
        pooled = peer.base_model(**given).get("pooler_output")
    else:
        loss = (out.last_hidden_state[long["group"] > 0] ** 3).mean()
        loss = loss if pooled is None else loss + (pooled**3).mean()
    if pooled is not None:
        found["pooled"] = pooled
    found["loss"] = loss
    loss.backward()
    gradients = {name: weight.grad.numpy() for name, weight in peer.named_parameters()}
    return {name: array.detach().numpy() for name, array in found.items()}, gradients


def compare(directory: Path, case: Case, dtype: str) -> None:
    """Judges what we read in the peer's file against the peer."""
    peer = peer_of(case)
    peer.save_pretrained(directory)
    peer = peer.double() if dtype == "float64" else peer
    batch = batch_of(peer.config, case.rows, case.length)
    judge(ours_of(*published_of(directory), batch, dtype), theirs_of(peer, batch), batch, dtype)


def judge(ours: tuple[Arrays, Arrays], theirs: tuple[Arrays, Arrays], batch: Arrays, dtype: str) -> None:
    """Both sides' (outputs, gradients) by the rule of `dtype`; prints the worst."""
    worst = judge_outputs(ours[0], theirs[0], batch["group"] == 1, dtype), judge_gradients(ours[1], theirs[1], dtype)
    print(f"worst share of a tensor's norm, {dtype}: {worst[0]:.1e} outputs, {worst[1]:.1e} gradients")


def same_weights(peer: Any, other: Any) -> None:
    """Every parameter of both is the same to the last bit."""
    for (name, weight), (_, back) in zip(peer.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(weight, back), name
