"""Compares every class for a task after pretraining with transformers': outputs, files in both directions, the gate."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import jaxbert
from jaxbert.models.families import FAMILIES
from jaxbert.models.model import Model, head_sizes
from tests.convert.comparison import RULE, distance
from tests.peers.peer import Case, batch_of, opened, peer_of, same_weights
from tests.peers.test_families_peer import albert, distilbert, roberta, spanbert

FIELDS = {
    "bert": spanbert(2, 20, 5, 31),
    "roberta": roberta(2, 12, 3, 17, 1, 1, layer_norm_eps=1e-5),
    "albert": albert(4, 2, 9, 20, 5, 31, 2),
    "distilbert": distilbert(2, 12, 3, 17),
}
CLASSES = {"question_answering": 2}
CASES = [(family, task) for family in FIELDS for task in FAMILIES[family].tasks]


def case_of(family: str, task: str) -> Case:
    labels = {f"LABEL_{index}": index for index in range(CLASSES.get(task, 4))}
    fields = FIELDS[family] | {"id2label": {index: name for name, index in labels.items()}, "label2id": labels}
    return Case(FAMILIES[family].tasks[task].architecture, fields, 4, 17)


def theirs_of(peer: Any, batch: dict[str, np.ndarray], task: str) -> np.ndarray:
    given = {"input_ids": batch["tokens"], "attention_mask": batch["group"], "token_type_ids": batch["types"]}
    if peer.config.model_type == "distilbert":
        del given["token_type_ids"]
    long = {name: torch.tensor(array).long() for name, array in given.items()}
    if task == "multiple_choice":  # four rows as the choices of one question
        long = {name: array[None] for name, array in long.items()}
    with torch.no_grad():
        out = peer(**long)
    if task == "question_answering":
        return np.stack([out.start_logits.numpy(), out.end_logits.numpy()], axis=-1)
    return np.asarray(out.logits.numpy().reshape(4, 1) if task == "multiple_choice" else out.logits.numpy())


@pytest.mark.parametrize(("family", "task"), CASES)
def test_a_task_of_theirs(tmp_path: Path, family: str, task: str) -> None:
    """Read, computed in both types by the rule, written through the gate, and opened there again without complaint."""
    case = case_of(family, task)
    peer = peer_of(case)
    peer.save_pretrained(tmp_path / "theirs")
    model = jaxbert.load(tmp_path / "theirs")
    assert task in model.params
    if task in ("sequence_classification", "token_classification"):
        assert model.labels is not None and model.labels.names == tuple(f"LABEL_{index}" for index in range(4))
    batch = batch_of(peer.config, case.rows, case.length)
    whole = task in ("sequence_classification", "multiple_choice")
    real = np.ones(4, bool) if whole else batch["group"] == 1
    for dtype in ("float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            ours = Model(model.config, list(model.params)[1:], sizes=head_sizes(model.params))
            params = jax.tree.map(partial(jnp.asarray, dtype=dtype), jax.device_get(model.params))
            hidden = ours.hidden(params, batch, dtype=dtype)
            found = np.asarray(getattr(ours, task)(params, hidden))
        expected = theirs_of(peer.double() if dtype == "float64" else peer, batch, task)
        error = distance(found[real], expected[real]) / float(np.linalg.norm(expected[real]))
        assert error <= RULE[dtype][0], (dtype, error)
    written = model.save(tmp_path / "ours")
    assert task in written.verdict.differences["transformers"]
    published = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert published["architectures"] == [case.kind]
    again, report = opened(case.kind, tmp_path / "ours")
    assert not any(report.values()), report
    same_weights(peer_of(case), again)
    assert again.config.num_labels == peer.config.num_labels or task == "multiple_choice"


def test_what_a_classifiers_scores_mean_is_kept(tmp_path: Path) -> None:
    """Names of classes and the kind of problem, by which pipelines choose between softmax and sigmoid."""
    case = case_of("bert", "sequence_classification")
    names = {0: "bad", 1: "so so", 2: "good", 3: "very good"}
    more = {
        "id2label": names,
        "label2id": {n: i for i, n in names.items()},
        "problem_type": "multi_label_classification",
    }
    peer_of(Case(case.kind, case.fields | more, 4, 17)).save_pretrained(tmp_path / "theirs")
    jaxbert.load(tmp_path / "theirs").save(tmp_path / "ours")
    again, _ = opened(case.kind, tmp_path / "ours")
    assert again.config.id2label == names
    assert again.config.problem_type == "multi_label_classification"


def test_the_gate_through_transformers_stops_a_wrong_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our reader and transformers read the same directory: a config.json that says another epsilon to it is found."""
    from jaxbert.convert import hf
    from jaxbert.errors import Stopped

    case = case_of("bert", "token_classification")
    peer_of(case).save_pretrained(tmp_path / "theirs")
    model = jaxbert.load(tmp_path / "theirs")
    published = hf.published_config

    def wrong(*args: Any) -> dict[str, Any]:
        return published(*args) | {"chunk_size_feed_forward": 0, "hidden_act": "gelu_new", "architectures": [case.kind]}

    monkeypatch.setattr(hf, "published_config", wrong)
    monkeypatch.setattr(hf, "_check_written", lambda *args: "")
    with pytest.raises(Stopped, match="E-GATE-DIFFERS"):
        model.save(tmp_path / "ours")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["theirs"]
