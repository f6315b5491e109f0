"""A disk may fail while a model is read. Then no message may call the files of the model damaged."""

from __future__ import annotations

import errno
import json
import types
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file

from jaxbert.commands.main import _known
from jaxbert.config import load_json
from jaxbert.convert import flax_msgpack, safetensors_files, sentence_transformers, tf1, torch_bin
from jaxbert.convert.tensors import read_json
from jaxbert.errors import InputError, Interrupted
from jaxbert.inputs.files import disk_fails, reading
from jaxbert.text.tokenizers import base, unigram
from jaxbert.use import model_place

FAILS = OSError(errno.EIO, "Input/output error")
DENIED = PermissionError(errno.EACCES, "Permission denied")
BOTH = [(FAILS, Interrupted, "E-DISK-READ"), (DENIED, InputError, "E-DISK-PERMISSION")]


def raising(error: BaseException) -> Any:
    def fails(*_: Any, **__: Any) -> Any:
        raise error

    return fails


@pytest.mark.parametrize(("error", "seen", "code"), BOTH)
@pytest.mark.parametrize(
    "read",
    [read_json, model_place._is_run, lambda path: sentence_transformers._json(path, dict), base.read_json],
    ids=["a description", "a config", "modules", "a tokenizer"],
)
def test_descriptions(
    read: Any, error: OSError, seen: type[Exception], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({}), encoding="utf-8")
    monkeypatch.setattr("jaxbert.inputs.files.os.open", raising(error))
    with pytest.raises(seen, match=rf"config\.json.*{code}"):
        read(file)


@pytest.mark.parametrize(
    ("error", "seen", "code"),
    [*BOTH, (SafetensorError("I/O error: Input/output error (os error 5)"), Interrupted, "E-DISK-READ")],
)
def test_safetensors(
    error: Exception, seen: type[Exception], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "model.safetensors"
    save_file({"a": np.zeros(3, np.float32)}, file)
    monkeypatch.setattr(safetensors_files, "safe_open", raising(error))
    with ExitStack() as stack, pytest.raises(seen, match=rf"model\.safetensors.*{code}"):
        safetensors_files._open(file, stack)


@pytest.mark.parametrize(("error", "seen", "code"), BOTH)
def test_flax(error: OSError, seen: type[Exception], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "flax_model.msgpack"
    array = msgpack.packb(([3], "float32", np.zeros(3, np.float32).tobytes()))
    file.write_bytes(msgpack.packb({"a": msgpack.ExtType(1, array)}))
    (tensor,) = flax_msgpack._open(file).values()
    with monkeypatch.context() as patch:
        patch.setattr(np, "fromfile", raising(error))
        with pytest.raises(seen, match=rf"flax_model.*{code}"):
            tensor.read()
    monkeypatch.setattr("jaxbert.inputs.files.os.open", raising(error))
    with pytest.raises(seen, match=rf"flax_model.*{code}"):
        flax_msgpack._open(file)


@pytest.mark.parametrize(("error", "seen", "code"), BOTH)
def test_a_unigram_model(
    error: OSError, seen: type[Exception], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / unigram.FILES[0]).write_bytes(b"model")
    monkeypatch.setattr("jaxbert.inputs.files.os.open", raising(error))
    with pytest.raises(seen, match=code):
        unigram.load(tmp_path)


@pytest.mark.parametrize(("error", "seen", "code"), BOTH)
def test_tensorflow(error: OSError, seen: type[Exception], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "model.ckpt.index").write_bytes(b"index")
    monkeypatch.setattr("jaxbert.inputs.files.os.open", raising(error))
    with ExitStack() as stack, pytest.raises(seen, match=rf"model\.ckpt\.index.*{code}"):
        tf1.open_bundle(tmp_path / "model.ckpt", stack)


@pytest.mark.parametrize(("error", "seen", "code"), BOTH)
def test_numbers_of_tensorflow(
    error: OSError, seen: type[Exception], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "model.ckpt.data-00000-of-00001"
    file.write_bytes(bytes(4))
    monkeypatch.setattr("jaxbert.inputs.files.os.open", raising(error))
    with pytest.raises(seen, match=rf"model\.ckpt\.data.*{code}"):
        tf1._read(file, "a", 0, 4, 0)


@pytest.mark.parametrize(("error", "seen", "code"), BOTH)
def test_numbers_of_safetensors(error: OSError, seen: type[Exception], code: str, tmp_path: Path):
    header = types.SimpleNamespace(get_shape=lambda: [3], get_dtype=lambda: "F32")
    handle = types.SimpleNamespace(get_slice=lambda name: header, get_tensor=raising(error))
    with pytest.raises(seen, match=rf"model\.safetensors.*{code}"):
        safetensors_files._tensor(handle, "a", tmp_path / "model.safetensors").read()


@pytest.mark.parametrize(("error", "seen", "code"), [*BOTH, (KeyError("a"), InputError, "E-CONVERT-PICKLE")])
def test_pickles(error: Exception, seen: type[Exception], code: str, tmp_path: Path):
    file = tmp_path / "pytorch_model.bin"
    file.write_bytes(b"pickle")
    with pytest.raises(seen, match=rf"pytorch_model\.bin.*{code}"):
        torch_bin._open(types.SimpleNamespace(load=raising(error)), file)


def test_other_errors_pass(tmp_path: Path):
    for error in (ValueError("Input/output error"), OSError(errno.EINVAL, "Invalid"), KeyError("a")):
        with pytest.raises(type(error)), reading(tmp_path):
            raise error
        assert not disk_fails(error)


def test_a_failing_disk_does_not_make_a_config_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The reader says so, and the command line for any file that something else reads."""
    error = OSError(errno.ESTALE, "Stale file handle", "run.json")
    monkeypatch.setattr("jaxbert.inputs.files.os.open", raising(error))
    with pytest.raises(Interrupted, match=r"run\.json.*E-DISK-READ"):
        load_json(tmp_path / "run.json")
    told = _known(error, ["pretrain", "run.json"])
    assert isinstance(told, Interrupted) and "E-DISK-READ" in str(told) and told.where == "run.json"
