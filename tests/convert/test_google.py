"""Google's originals against what transformers made of them (tests/goldens/record_google.py), and damaged ones."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import jaxbert
from jaxbert.cli import main
from jaxbert.convert import google
from jaxbert.convert.google import open_tensors
from jaxbert.convert.names import export_params
from jaxbert.convert.read import read_model
from jaxbert.convert.tensors import Tensor, of_array
from jaxbert.errors import InputError
from jaxbert.models.model import Model
from tests.convert.comparison import RULE, distance

GOLDENS = Path(__file__).parent.parent / "goldens"
FAMILIES = ("bert", "albert")
PAIR = {"bert": "next_sentence", "albert": "sentence_order"}


@pytest.fixture(params=FAMILIES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(GOLDENS / f"google_{request.param}", tmp_path / request.param))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_is_what_transformers_makes_of_it(family: str) -> None:
    golden = load_file(GOLDENS / f"google_{family}" / "expected.safetensors")
    found = read_model(GOLDENS / f"google_{family}")
    assert found.format == "TF1 checkpoint"
    assert (found.config.activation, found.config.layer_norm_epsilon) == ("gelu_tanh", 1e-12)
    assert found.heads == ("pooler", "masked_lm", PAIR[family])
    ours = export_params(found.params, found.config)
    theirs = {name.removeprefix("tensor/"): array for name, array in golden.items() if name.startswith("tensor/")}
    assert ours.keys() == theirs.keys()
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_transformers(family: str) -> None:
    golden = load_file(GOLDENS / f"google_{family}" / "expected.safetensors")
    found = read_model(GOLDENS / f"google_{family}")
    batch = {name: golden[f"batch/{name}"] for name in ("tokens", "types", "group")}
    real = batch["group"] == 1
    with jax.enable_x64(True):
        model = Model(found.config, found.heads)
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, "float64"), found.params)
        hidden = model.hidden(params, batch, dtype="float64")
        ours = {
            "hidden": np.asarray(hidden)[real],
            "masked_lm": np.asarray(model.masked_lm(params, hidden))[real][:, : found.config.vocab_size],
            "pair": np.asarray(getattr(model, PAIR[family])(params, hidden)),
        }
    for name, array in ours.items():
        theirs = golden[name] if name == "pair" else golden[name][real]
        assert distance(array, theirs) <= RULE["float64"][0] * float(np.linalg.norm(theirs)), name


def test_a_directory_of_googles_is_a_model(place: Path, tmp_path: Path) -> None:
    """With its vocabulary, through the command line, to Hugging Face's files and back."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{index}" for index in range(32))]
    (place / "vocab.txt").write_text("\n".join(words) + "\n")
    assert main(["convert", str(place), str(tmp_path / "out"), "--to", "hf"]) == 0
    ours, back = jaxbert.load(place), jaxbert.load(tmp_path / "out")
    jax.tree.map(np.testing.assert_array_equal, ours.params, back.params)
    assert back.config.activation == "gelu_tanh"
    assert main(["fill-mask", str(place), "w1 [MASK] w3"]) == 0


TASKS = [
    ("bert", "sequence_classification", "output", 3),
    ("albert", "sequence_classification", "output", 3),
    ("bert", "question_answering", "cls/squad/output", 2),
]


@pytest.mark.parametrize(("family", "task", "name", "classes"), TASKS)
def test_heads_of_googles_scripts_for_tasks(
    monkeypatch: pytest.MonkeyPatch, family: str, task: str, name: str, classes: int
) -> None:
    """run_classifier.py and run_squad.py: the encoder, and beside it weights (classes, D) and a bias."""
    whole = google.open_bundle
    weights = np.random.default_rng(0).standard_normal((classes, 12)).astype(np.float32)

    def finetuned(prefix: Path, stack: ExitStack) -> dict[str, Tensor]:
        encoder = {key: tensor for key, tensor in whole(prefix, stack).items() if key.startswith("bert/")}
        head = {f"{name}_weights": of_array(weights), f"{name}_bias": of_array(weights[:, 0])}
        return encoder | head | {f"{name}_weights/adam_m": of_array(weights)}

    monkeypatch.setattr(google, "open_bundle", finetuned)
    found = read_model(GOLDENS / f"google_{family}")
    assert found.heads == ("pooler", task)
    np.testing.assert_array_equal(found.params[task]["dense"]["kernel"], weights.T)
    np.testing.assert_array_equal(found.params[task]["dense"]["bias"], weights[:, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"gap_size": 1}, "gap_size is 1"), ({"hidden_act": "relu"}, "'relu' is unknown"), ({"hidden_size": 24}, "shape")],
)
def test_what_it_cannot_express_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    place = Path(shutil.copytree(GOLDENS / "google_albert", tmp_path / "albert"))
    path = place / "albert_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError, match=message):
        read_model(place)


def test_of_several_checkpoints_the_one_that_is_named(place: Path) -> None:
    index = next(place.glob("*.index"))
    (data,) = place.glob("*.data-*")
    stem = index.name.removesuffix(".index")
    shutil.copy(index, place / "other.ckpt-9.index")
    shutil.copy(data, place / "other.ckpt-9.data-00000-of-00001")
    with pytest.raises(InputError, match=r"has 2 checkpoints \(.*other\.ckpt-9.*\)"):
        read_model(place)
    (place / "checkpoint").write_text(f'model_checkpoint_path: "/somewhere/else/{stem}"\n')
    assert read_model(place).heads


def test_missing_data_is_named(place: Path) -> None:
    (data,) = place.glob("*.data-*")
    data.unlink()
    with pytest.raises(InputError, match=r"data-00000-of-00001\)|data-00000-of-00001 is missing|is missing"):
        read_model(place)


def read_everything(place: Path) -> dict[str, bytes]:
    with ExitStack() as stack:
        return {name: tensor.read().tobytes() for name, tensor in open_tensors(place, stack).items()}


def test_no_damage_is_read_as_something_else(place: Path) -> None:
    """Bytes changed and files cut at many places: always an InputError, or the very same tensors."""
    good = read_everything(place)
    (data,) = place.glob("*.data-*")
    refused = 0
    for path in (next(place.glob("*.index")), data):
        whole = path.read_bytes()
        step = max(1, len(whole) // 250)
        for at in range(0, len(whole), step):
            for spoiled in (whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :], whole[:at]):
                path.write_bytes(spoiled)
                try:
                    found = read_everything(place)
                except InputError:
                    refused += 1
                else:
                    # Padding that nothing refers to, and what an optimizer kept, may be anything.
                    assert found == good, (path.name, at)
        path.write_bytes(whole)
    assert refused > 800
    assert read_everything(place) == good


@pytest.mark.parametrize("content", [b"", b"\0" * 47, b"\xff" * 4096, b"not an index of a checkpoint" * 9])
def test_what_is_no_index(place: Path, content: bytes) -> None:
    next(place.glob("*.index")).write_bytes(content)
    with pytest.raises(InputError, match="unusable checkpoint"):
        read_model(place)
