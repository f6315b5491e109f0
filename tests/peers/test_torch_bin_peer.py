"""torch's pickles, read by torch's weights-only loader: accepted files, and files that are refused unopened."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch._utils import _rebuild_tensor_v2

import jaxbert
from jaxbert.commands.main import main
from jaxbert.convert import torch_bin
from jaxbert.convert.names import export_params
from jaxbert.convert.read import read_model
from jaxbert.errors import InputError
from jaxbert.models.families import FAMILIES
from jaxbert.models.model import Model
from tests.convert.comparison import nothing_left_out, read_whole
from tests.models.odd import random_params

GOLDEN = Path(__file__).parent.parent / "goldens" / "bert_pretraining"
TENSORS = {name: torch.tensor(array) for name, array in load_file(GOLDEN / "model.safetensors").items()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A model's directory without its weights."""
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(GOLDEN / "config.json", source)
    return source


def same(ours: Any, theirs: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("packed", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_the_numbers_are_those_of_the_safetensors(place: Path, packed: bool, kind: str) -> None:
    tensors = {name: tensor.to(getattr(torch, kind)) for name, tensor in TENSORS.items()}
    torch.save(OrderedDict(tensors), place / torch_bin.WEIGHTS, _use_new_zipfile_serialization=packed)
    found = read_whole(place)
    assert (found.format, found.dtype) == ("torch pickle", kind)
    expected = read_model(GOLDEN).params
    if kind != "float32":
        expected = jax.tree.map(lambda leaf: np.asarray(jnp.asarray(leaf, kind).astype("float32")), expected)
    same(found.params, expected)
    with ExitStack() as stack:
        tensor = torch_bin.open_tensors(place, stack)["bert.pooler.dense.weight"]
    assert tensor.read().dtype.name == tensor.dtype == kind  # with no detour through another type


def in_shards(place: Path) -> dict[str, str]:
    """Two shards and their index; returns its map."""
    names, home = sorted(TENSORS), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: TENSORS[name] for name in part}, place / file)
        home |= dict.fromkeys(part, file)
    write_index(place, home)
    return home


def write_index(place: Path, home: dict[str, str]) -> None:
    (place / torch_bin.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": home}))


def test_shards_are_the_whole(place: Path) -> None:
    in_shards(place)
    same(read_whole(place).params, read_model(GOLDEN).params)


BIAS = "cls.predictions.bias"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda home: home.pop(BIAS), f"'{BIAS}' is in.*E-CONVERT-INDEX"),
        (lambda home: home.update(more="pytorch_model-00001-of-00002.bin"), "'more' is not in.*E-CONVERT-INDEX"),
        (lambda home: home.update(more="pytorch_model-00009-of-00002.bin"), "E-CONVERT-MISSING"),
        (lambda home: home.update({BIAS: "../pytorch_model.bin"}), "E-CONVERT-OUTSIDE"),
        (lambda home: home.update({BIAS: "/pytorch_model.bin"}), "E-CONVERT-OUTSIDE"),
    ],
)
def test_an_index_that_is_wrong(place: Path, change: Callable[[dict[str, str]], None], words: str) -> None:
    home = in_shards(place)
    change(home)
    write_index(place, home)
    with pytest.raises(InputError, match=words):
        read_model(place)


def test_a_state_dict_as_modules_give_it(place: Path) -> None:
    """Parameters that want gradients, tied tensors, integer buffers, and strides that are not the usual ones."""
    tensors: dict[str, Any] = {name: torch.nn.Parameter(tensor) for name, tensor in TENSORS.items()}
    word = "bert.embeddings.word_embeddings.weight"
    tensors["cls.predictions.decoder.weight"] = tensors[word]
    tensors["bert.embeddings.position_ids"] = torch.arange(17).expand((1, -1))
    turned = "bert.pooler.dense.weight"
    tensors[turned] = TENSORS[turned].T.contiguous().T
    torch.save(tensors, place / torch_bin.WEIGHTS)
    same(read_whole(place).params, read_model(GOLDEN).params)


# ----------------------------------------------------------------------------------------------------------------------
# SpanBERT's archive with heads


@pytest.mark.parametrize("described", [True, False], ids=["model type", "of 2019"])
def test_spanberts_archive_with_heads(tmp_path: Path, described: bool) -> None:
    """Names of facebookresearch/SpanBERT pretraining/fairseq/models/pair_bert.py: decoders tied, gamma and beta."""
    config = read_model(GOLDEN).config
    heads, sizes = ("pooler", "masked_lm", "span_boundary"), {"span_boundary": {"max_targets": 5, "position_size": 6}}
    model = Model(config, heads, sizes=sizes)
    params = jax.tree.map(np.asarray, random_params(model))
    tensors = {}
    for name, array in export_params(params, config).items():
        if name.split(".")[-2] in ("LayerNorm", "layer_norm1", "layer_norm2"):
            name = name.removesuffix("weight").removesuffix("bias") + ("gamma" if name.endswith("weight") else "beta")
        tensors[f"decoder.{name}"] = torch.tensor(array)
    assert any(name.endswith("mlp_layer_norm.layer_norm2.gamma") for name in tensors)
    word = tensors["decoder.bert.embeddings.word_embeddings.weight"]
    tensors["decoder.cls.predictions.decoder.weight"] = word
    tensors["decoder.cls.pair_target_predictions.decoder.weight"] = word
    torch.save(OrderedDict(tensors), tmp_path / torch_bin.WEIGHTS, _use_new_zipfile_serialization=False)
    published = FAMILIES["bert"].to_published(config, heads)
    if not described:  # as bert_config.json was, before there were other models
        del published["model_type"], published["architectures"]
    (tmp_path / "config.json").write_text(json.dumps(published))

    with nothing_left_out():
        loaded = jaxbert.load(tmp_path)
    assert tuple(loaded.params) == ("encoder", *heads)
    same(loaded.params, params)
    hidden = loaded.encode(loaded.params, jnp.ones((2, 7), jnp.int32))
    place = jnp.array([[0, 1, 4], [2, 0, 3]])
    logits = loaded.span_boundary(loaded.params, hidden[:, :3], hidden[:, 4:], place)
    assert logits.shape == (2, 3, config.vocab_size)


# ----------------------------------------------------------------------------------------------------------------------
# What is refused


class Evil:
    """Unpickled by an ordinary loader, it makes a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> Any:
        return (exec, (f"open({str(self.marker)!r}, 'w')",))


class Lie:
    """A tensor whose header says more than there is."""

    def __init__(self, shape: tuple[int, ...], stride: tuple[int, ...]):
        self.storage, self.shape, self.stride = torch.arange(5.0).storage(), shape, stride

    def __reduce__(self) -> Any:
        return _rebuild_tensor_v2, (self.storage, 0, self.shape, self.stride, False, OrderedDict())


def entry(value: Any) -> Callable[[Path], None]:
    return lambda path: torch.save({**TENSORS, "more": value}, path)


def compressed(path: Path) -> None:
    torch.save(TENSORS, path.with_suffix(".plain"))
    with zipfile.ZipFile(path.with_suffix(".plain")) as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for file in plain.infolist():
            out.writestr(file.filename, plain.read(file.filename))


def cut(packed: bool) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        torch.save(TENSORS, path, _use_new_zipfile_serialization=packed)
        path.write_bytes(path.read_bytes()[:-1000])

    return write


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "code in a zip": (lambda path: torch.save({"a": Evil(path.with_name("marker"))}, path), "E-CONVERT-PICKLE"),
    "code in a pickle": (
        lambda path: torch.save({"a": Evil(path.with_name("marker"))}, path, _use_new_zipfile_serialization=False),
        "E-CONVERT-PICKLE",
    ),
    "a whole module": (lambda path: torch.save(torch.nn.Linear(2, 2), path), "E-CONVERT-PICKLE"),
    "a list": (lambda path: torch.save(list(TENSORS.values()), path), "a list"),
    "a tensor": (lambda path: torch.save(torch.ones(3), path), "a Tensor"),
    "a number": (entry(3), "entry 'more' is a int"),
    "a text": (entry("x"), "entry 'more' is a str"),
    "a training state": (entry({"model": TENSORS}), "entry 'more' is a dict"),
    "a name of no text": (lambda path: torch.save({3: torch.ones(2)}, path), "entry 3"),
    "no numbers": (entry(torch.ones(3, device="meta")), "entry 'more' is a tensor without"),
    "sparse": (entry(torch.eye(3).to_sparse()), "entry 'more' is a sparse"),
    "quantised": (
        entry(torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)),
        "entry 'more' is a sparse",
    ),
    "a lying shape": (entry(Lie((10**12,), (1,))), "E-CONVERT-PICKLE"),
    "a shape a little too long": (entry(Lie((6,), (1,))), "E-CONVERT-PICKLE"),
    "a shape of one number": (entry(Lie((10**12,), (0,))), "entry 'more' is a tensor of shape [1000000000000]"),
    "a shape below 0": (entry(Lie((-1,), (1,))), "E-CONVERT-PICKLE"),
    "a compressed zip": (compressed, "compressed"),
    "cut, a zip": (cut(True), "E-CONVERT-PICKLE"),
    "cut, a pickle": (cut(False), "E-CONVERT-PICKLE"),
    "empty": (lambda path: path.touch(), "E-CONVERT-PICKLE"),
    "a directory": (lambda path: path.mkdir(), "E-CONVERT-MISSING"),
    "no pickle": (lambda path: path.write_text("hello"), "E-CONVERT-PICKLE"),
    "a zip of nothing": (lambda path: zipfile.ZipFile(path, "w").close(), "E-CONVERT-PICKLE"),
    "integers": (
        lambda path: torch.save({name: tensor.int() for name, tensor in TENSORS.items()}, path),
        "is of int32, not of floats",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_exit_2_and_nothing_is_run_or_written(place: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    make, words = REFUSED[case]
    make(place / torch_bin.WEIGHTS)
    before = sorted(place.parent.rglob("*"))
    assert main(["convert", str(place), str(place.parent / "out"), "--to", "hf"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert words in error[0] and str(place) in error[0]
    assert sorted(place.parent.rglob("*")) == before  # no marker, no output, no partial


def test_the_traps_would_work(tmp_path: Path) -> None:
    """The code in these pickles runs where it is let."""
    torch.save({"a": Evil(tmp_path / "marker")}, tmp_path / "evil.bin")
    torch.load(tmp_path / "evil.bin", weights_only=False)
    assert (tmp_path / "marker").exists()


def test_a_torch_that_code_gets_past_is_not_used(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(TENSORS, place / torch_bin.WEIGHTS)
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(InputError, match="E-CONVERT-TORCH"):
        read_model(place)
