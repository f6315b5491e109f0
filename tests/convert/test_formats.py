"""A further format of weights, as docs/explanations/structure.md says: two functions, one entry in `FORMATS`."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import jaxbert
from jaxbert.config import EncoderConfig
from jaxbert.convert import read
from jaxbert.convert.read import Format, is_published
from jaxbert.convert.tensors import Tensor, Tensors
from jaxbert.errors import InputError

GOLDEN = Path(__file__).parent.parent / "goldens" / "bert_pretraining"


def found(directory: Path) -> bool:
    return (directory / "weights.npz").is_file()


def open_tensors(directory: Path, stack: ExitStack) -> dict[str, Tensor]:
    arrays = stack.enter_context(np.load(directory / "weights.npz"))
    return {
        name: Tensor(arrays[name].shape, arrays[name].dtype.name, lambda name=name: arrays[name])
        for name in arrays.files
    }


NPZ = Format("npz", ("*.npz",), found, open_tensors)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A model whose weights are in the toy format."""
    shutil.copy(GOLDEN / "config.json", tmp_path)
    np.savez(tmp_path / "weights.npz", **load_file(GOLDEN / "model.safetensors"))
    return tmp_path


@pytest.mark.parametrize("last", [True, False], ids=["after the others", "before the others"])
def test_a_format_needs_its_file_and_one_entry(place: Path, monkeypatch: pytest.MonkeyPatch, last: bool) -> None:
    with pytest.raises(InputError, match="E-CONVERT-NO-WEIGHTS"):
        jaxbert.load(place)
    monkeypatch.setattr(read, "FORMATS", (*read.FORMATS, NPZ) if last else (NPZ, *read.FORMATS))
    ours, theirs = jaxbert.load(place), jaxbert.load(GOLDEN)
    assert ours.config == theirs.config and read.read_model(place).format == "npz"
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)
    with pytest.raises(InputError, match=r"\*\.npz.*E-CONVERT-NO-WEIGHTS"):
        (place / "weights.npz").unlink()
        jaxbert.load(place)


def test_a_format_may_bring_its_own_description_and_task(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read.describe(GOLDEN).config
    asked: list[Tensors] = []

    def read_config(directory: Path) -> EncoderConfig:
        assert directory == place
        return config

    def task_of(tensors: Tensors) -> None:
        asked.append(tensors)

    own = Format("npz", ("*.npz",), found, open_tensors, read_config=read_config, task_of=task_of)
    (place / "config.json").unlink()
    assert not is_published(place)
    monkeypatch.setattr(read, "FORMATS", (*read.FORMATS, own))
    assert is_published(place)
    assert jaxbert.load(place).config == config and len(asked) == 1
