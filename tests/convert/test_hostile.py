"""Directories that are damaged or hostile end a command with exit code 2 and one line. Nothing is executed or written.

Every case goes through the command line. Google's checkpoints have another test file.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxbert.commands.main import main
from jaxbert.errors import InputError
from jaxbert.use.library import load

GOLDENS = Path(__file__).parent.parent / "goldens"
BERT, ALBERT, FLAX = GOLDENS / "bert_pretraining", GOLDENS / "albert_pretraining", GOLDENS / "flax"
WEIGHTS, MSGPACK, PICKLE = "model.safetensors", "flax_model.msgpack", "pytorch_model.bin"
MARKER = "executed"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{index}" for index in range(92))]
WORD, BIAS = "bert.embeddings.word_embeddings.weight", "cls.predictions.bias"

Spoil = Callable[[Path], Any]


class Evil:
    """Unpickled, it makes a file beside the model."""

    def __init__(self, directory: Path):
        self.marker = directory / MARKER

    def __reduce__(self) -> Any:
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


def trap(directory: Path) -> bytes:
    return pickle.dumps({"a": Evil(directory)})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A sound model that fill-mask can use."""
    directory = tmp_path / "model"
    directory.mkdir()
    for file in ("config.json", WEIGHTS):
        shutil.copy(BERT / file, directory / file)
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return directory


def refused(directory: Path, capsys: pytest.CaptureFixture[str], words: str) -> None:
    """Both commands end with 2 and one line that has `words`; nothing is there that was not there before."""
    before = sorted(directory.parent.rglob("*"))
    out = directory.parent / "out"
    for command in (["convert", str(directory), str(out), "--to", "hf"], ["fill-mask", str(directory), "w0 [MASK] w2"]):
        code = main(command)
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        assert code == 2, (command[0], captured)
        assert len(lines) == 1, (command[0], captured)
        assert words in lines[0], (command[0], lines[0])
        assert not captured.out
        assert sorted(directory.parent.rglob("*")) == before, command[0]


def test_the_trap_works(tmp_path: Path) -> None:
    """An ordinary loader runs the code."""
    pickle.loads(trap(tmp_path))
    assert (tmp_path / MARKER).exists()


# ----------------------------------------------------------------------------------------------------------------------
# safetensors


def packed(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def write(name: str, content: bytes | Callable[[Path], bytes]) -> Spoil:
    def spoil(directory: Path) -> None:
        (directory / name).write_bytes(content(directory) if callable(content) else content)

    return spoil


def cut(name: str, to: int) -> Spoil:
    """The file's first bytes, or without its last."""
    return lambda directory: (directory / name).write_bytes((directory / name).read_bytes()[:to])


def change(edit: Callable[[dict[str, np.ndarray]], Any]) -> Spoil:
    """The model's tensors, edited."""

    def spoil(directory: Path) -> None:
        tensors = load_file(directory / WEIGHTS)
        edit(tensors)
        save_file(tensors, directory / WEIGHTS)

    return spoil


def poison(value: float) -> Spoil:
    def edit(tensors: dict[str, np.ndarray]) -> None:
        tensors[WORD] = tensors[WORD].copy()
        tensors[WORD][40, 3] = value

    return change(edit)


SAFETENSORS: dict[str, tuple[Spoil, str]] = {
    "empty": (write(WEIGHTS, b""), "E-CONVERT-DAMAGED"),
    "cut in its length": (cut(WEIGHTS, 5), "E-CONVERT-DAMAGED"),
    "cut in its header": (cut(WEIGHTS, 1000), "E-CONVERT-DAMAGED"),
    "cut in its numbers": (cut(WEIGHTS, -1), "E-CONVERT-DAMAGED"),
    "more behind": (write(WEIGHTS, (BERT / WEIGHTS).read_bytes() + b"more"), "E-CONVERT-DAMAGED"),
    "a header of 2^60 bytes": (write(WEIGHTS, packed({}, length=2**60)), "E-CONVERT-DAMAGED"),
    "a header of 2^64 - 1 bytes": (write(WEIGHTS, packed({}, length=2**64 - 1)), "E-CONVERT-DAMAGED"),
    "a header longer than the file": (write(WEIGHTS, packed({}, length=99)), "E-CONVERT-DAMAGED"),
    "a header of nothing": (write(WEIGHTS, packed(b"")), "E-CONVERT-DAMAGED"),
    "a header of another text": (write(WEIGHTS, packed(b"hello, world")), "E-CONVERT-DAMAGED"),
    "a header that is no UTF-8": (write(WEIGHTS, packed(b'{"\xff\xfe": 1}')), "E-CONVERT-DAMAGED"),
    "a header that nests 100,000 deep": (
        write(WEIGHTS, packed(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)),
        "E-CONVERT-DAMAGED",
    ),
    "a header with a list": (write(WEIGHTS, packed([1])), "E-CONVERT-DAMAGED"),
    "offsets behind the end": (write(WEIGHTS, packed({WORD: tensor([2], 0, 8)}, bytes(4))), "E-CONVERT-DAMAGED"),
    "offsets that overlap": (
        write(WEIGHTS, packed({WORD: tensor([2], 0, 8), BIAS: tensor([2], 4, 12)}, bytes(12))),
        "E-CONVERT-DAMAGED",
    ),
    "offsets of one place for two": (
        write(WEIGHTS, packed({WORD: tensor([2], 0, 8), BIAS: tensor([2], 0, 8)}, bytes(8))),
        "E-CONVERT-DAMAGED",
    ),
    "offsets with a hole": (
        write(WEIGHTS, packed({WORD: tensor([2], 0, 8), BIAS: tensor([2], 12, 20)}, bytes(20))),
        "E-CONVERT-DAMAGED",
    ),
    "offsets backwards": (write(WEIGHTS, packed({WORD: tensor([2], 8, 0)}, bytes(8))), "E-CONVERT-DAMAGED"),
    "offsets below 0": (write(WEIGHTS, packed({WORD: tensor([2], -8, 0)}, bytes(8))), "E-CONVERT-DAMAGED"),
    "a shape of more than the bytes": (
        write(WEIGHTS, packed({WORD: tensor([3], 0, 8)}, bytes(8))),
        "E-CONVERT-DAMAGED",
    ),
    "a huge shape": (write(WEIGHTS, packed({WORD: tensor([2**40, 2**40], 0, 8)}, bytes(8))), "E-CONVERT-DAMAGED"),
    "a shape below 0": (write(WEIGHTS, packed({WORD: tensor([-2], 0, 8)}, bytes(8))), "E-CONVERT-DAMAGED"),
    "a shape of nothing": (write(WEIGHTS, packed({WORD: tensor([0, 2**60], 0, 0)})), "has 1 tensors"),
    "an unknown type": (write(WEIGHTS, packed({WORD: tensor([2], 0, 8, "OBJECT")}, bytes(8))), "E-CONVERT-DAMAGED"),
    "a name twice": (
        write(WEIGHTS, packed(b'{"a":%b,"a":%b}' % ((json.dumps(tensor([1], 0, 4)).encode(),) * 2), bytes(8))),
        "E-CONVERT-DAMAGED",
    ),
    "a pickle with code": (write(WEIGHTS, trap), "E-CONVERT-DAMAGED"),
    "NaN": (poison(np.nan), f"tensor '{WORD}' has 1 of"),
    "infinity": (poison(-np.inf), f"tensor '{WORD}' has 1 of"),
    "a float64 beyond float32": (
        change(lambda tensors: tensors.update({BIAS: np.full(97, 1e300)})),
        f"tensor '{BIAS}' has 97 of 97",
    ),
    "integers": (
        change(lambda tensors: tensors.update({BIAS: np.zeros(97, np.int32)})),
        f"tensor '{BIAS}' is of int32",
    ),
    "truths": (change(lambda tensors: tensors.update({BIAS: np.zeros(97, np.bool_)})), f"tensor '{BIAS}' is of bool"),
    "complex numbers": (
        write(WEIGHTS, packed({BIAS: tensor([1], 0, 8, "C64")}, bytes(8))),
        "",
    ),
    "another shape": (
        change(lambda tensors: tensors.update({BIAS: np.zeros((97, 1), np.float32)})),
        f"'{BIAS}' has shape",
    ),
    "a scalar": (
        change(lambda tensors: tensors.update({BIAS: np.zeros((), np.float32)})),
        f"'{BIAS}' has shape",
    ),
    "none": (write(WEIGHTS, packed({})), "E-CONVERT-LAYERS"),
    "one too many": (
        change(lambda tensors: tensors.update(more=np.zeros(3, np.float32))),
        "E-CONVERT-UNKNOWN",
    ),
    "a name of another line": (
        change(lambda tensors: tensors.update({"more\nlines": np.zeros(3, np.float32)})),
        "E-CONVERT-UNKNOWN",
    ),
    "one too few": (change(lambda tensors: tensors.pop(BIAS)), "E-CONVERT-MISSING"),
    "tied tensors that differ": (
        change(lambda tensors: tensors.update({"cls.predictions.decoder.weight": tensors[WORD] + 1})),
        "E-CONVERT-TIED",
    ),
    "two names for one parameter": (
        change(
            lambda tensors: tensors.update(
                {"bert.embeddings.LayerNorm.gamma": tensors["bert.embeddings.LayerNorm.weight"] + 1}
            )
        ),
        "E-CONVERT-DUPLICATE",
    ),
    "a directory": (lambda d: ((d / WEIGHTS).unlink(), (d / WEIGHTS).mkdir()), "E-CONVERT-MISSING"),
    "a pipe": (lambda d: ((d / WEIGHTS).unlink(), os.mkfifo(d / WEIGHTS)), "E-CONVERT-MISSING"),
    "a link to nowhere": (
        lambda d: ((d / WEIGHTS).unlink(), (d / WEIGHTS).symlink_to("nowhere")),
        "E-CONVERT-NO-WEIGHTS",
    ),
    "a link to itself": (
        lambda d: ((d / WEIGHTS).unlink(), (d / WEIGHTS).symlink_to(d / WEIGHTS)),
        "E-CONVERT-NO-WEIGHTS",
    ),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_safetensors(model: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    spoil, words = SAFETENSORS[case]
    spoil(model)
    refused(model, capsys, words)


# ----------------------------------------------------------------------------------------------------------------------
# config.json


def settings(**changes: Any) -> Spoil:
    def spoil(directory: Path) -> None:
        path = directory / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def text(old: str, new: str) -> Spoil:
    def spoil(directory: Path) -> None:
        path = directory / "config.json"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return spoil


def albert_of(layers: int) -> Spoil:
    """Its layers share their weights, so that no tensor says how many there are."""

    def spoil(directory: Path) -> None:
        for file in ("config.json", WEIGHTS):
            shutil.copy(ALBERT / file, directory / file)
        (directory / "vocab.txt").write_text("\n".join(WORDS[:41]) + "\n")
        settings(num_hidden_layers=layers)(directory)

    return spoil


CONFIG: dict[str, tuple[Spoil, str]] = {
    **{
        f"{key} {value!r}": (settings(**{key: value}), words)
        for key, value, words in (
            ("hidden_size", 3 * 10**8, "'bert.embeddings."),
            ("hidden_size", 10**9, "does not divide"),
            ("hidden_size", 10**30, "hidden_size"),
            ("num_hidden_layers", 10**9, "num_hidden_layers is 1000000000, more than 10,000"),
            ("num_hidden_layers", 10**12, "num_hidden_layers"),
            ("num_attention_heads", 10**9, "num_attention_heads"),
            ("num_attention_heads", 0, "num_attention_heads"),
            ("vocab_size", 10**12, "vocab_size"),
            ("vocab_size", 10**9, f"'{WORD}' has shape"),
            ("vocab_size", -1, "vocab_size"),
            ("vocab_size", True, "vocab_size"),
            ("vocab_size", 97.0, "vocab_size"),
            ("vocab_size", [97], "vocab_size"),
            ("vocab_size", None, "vocab_size"),
            ("max_position_embeddings", 10**9, "position_embeddings.weight' has shape"),
            ("type_vocab_size", 10**9, "token_type_embeddings.weight' has shape"),
            ("intermediate_size", 10**9, "intermediate.dense."),
            ("layer_norm_eps", float("nan"), "layer_norm_eps"),
            ("layer_norm_eps", float("inf"), "layer_norm_eps"),
            ("layer_norm_eps", -1.0, "layer_norm_eps"),
            ("hidden_dropout_prob", 7, "dropout"),
            ("hidden_act", ["gelu"], "hidden_act"),
            ("model_type", ["bert"], "E-CONVERT-FAMILY"),
            ("architectures", "BertModel", "E-CONVERT-CONFIG"),
            ("architectures", [3], "E-CONVERT-CONFIG"),
            ("architectures", {"a": 1}, "E-CONVERT-CONFIG"),
            ("id2label", [1], "E-CONVERT-LABELS"),
        )
    },
    "an ALBERT of 20,000 layers": (albert_of(20_000), "num_hidden_layers"),
    "empty": (write("config.json", b""), "E-CONFIG-FILE"),
    "a null": (write("config.json", b"null"), "E-CONFIG-FILE"),
    "100,000 maps deep": (write("config.json", b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "E-CONFIG-FILE"),
    "100,000 lists deep": (write("config.json", b"[" * 100_000 + b"]" * 100_000), "E-CONFIG-FILE"),
    "deep inside": (text('"vocab_size": 97', '"vocab_size": ' + "[" * 100_000 + "]" * 100_000), "E-CONFIG-FILE"),
    "no UTF-8": (write("config.json", b'{"model_type": "\xff\xfe"}'), "E-CONFIG-FILE"),
    "UTF-16": (write("config.json", '{"model_type": "bert"}'.encode("utf-16")), "E-CONFIG-FILE"),
    "a key twice": (text('"vocab_size": 97', '"vocab_size": 97, "vocab_size": 98'), "'vocab_size' occurs twice"),
    "a number of 10,000 digits": (text('"vocab_size": 97', '"vocab_size": ' + "9" * 10_000), "E-CONFIG-FILE"),
    "infinity": (text('"vocab_size": 97', '"vocab_size": 1e999'), "1e999"),
    "a pickle with code": (write("config.json", trap), "E-CONFIG-FILE"),
    "a directory": (lambda d: ((d / "config.json").unlink(), (d / "config.json").mkdir()), "config.json"),
    "a pipe": (lambda d: ((d / "config.json").unlink(), os.mkfifo(d / "config.json")), "config.json"),
}


@pytest.mark.parametrize("case", CONFIG)
def test_config(model: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    spoil, words = CONFIG[case]
    spoil(model)
    refused(model, capsys, words)


# ----------------------------------------------------------------------------------------------------------------------
# Indexes of shards: where they lead, a good file waits


def sharded(name: str, file: str) -> Spoil:
    """An index `name` whose tensors are in `file`, and a sound file of that format everywhere it may point."""

    def spoil(directory: Path) -> None:
        (directory / WEIGHTS).unlink()
        good = (BERT / WEIGHTS).read_bytes()
        if name.startswith("flax"):
            good = (FLAX / "FlaxBertForPreTraining" / MSGPACK).read_bytes()
        elif name.startswith("pytorch"):
            good = trap(directory)
        (directory / "inside").mkdir()
        for place in (directory.parent / "x", directory / "inside" / "x"):
            place.write_bytes(good)
        target = file.replace("HERE", str(directory.parent))
        (directory / name).write_text(json.dumps({"metadata": {}, "weight_map": {WORD: target}}))

    return spoil


INDEXES = (f"{WEIGHTS}.index.json", f"{MSGPACK}.index.json", f"{PICKLE}.index.json")
PATHS = ("../x", "HERE/x", "inside/x", "./../x", "inside/../../x", "..", ".", "", "..\\x", "~/x", "file:///x")


@pytest.mark.parametrize("file", PATHS)
@pytest.mark.parametrize("index", INDEXES[:2])
def test_paths_in_an_index(model: Path, capsys: pytest.CaptureFixture[str], index: str, file: str) -> None:
    sharded(index, file)(model)
    refused(model, capsys, "E-CONVERT-OUTSIDE")


@pytest.mark.parametrize("file", PATHS)
def test_paths_in_an_index_of_pickles(model: Path, capsys: pytest.CaptureFixture[str], file: str) -> None:
    sharded(INDEXES[2], file)(model)
    refused(model, capsys, "")  # that torch is missing may be said first


INDEX: dict[str, tuple[Any, str]] = {
    "empty": (b"", "E-CONVERT-UNREADABLE"),
    "no map": (b"{}", "E-CONVERT-INDEX"),
    "an empty map": (b'{"weight_map": {}}', "E-CONVERT-INDEX"),
    "a list": (b'{"weight_map": ["a"]}', "E-CONVERT-INDEX"),
    "a number for a file": (b'{"weight_map": {"a": 1}}', "E-CONVERT-INDEX"),
    "a key twice": (b'{"weight_map": {"a": "x", "a": "y"}}', "'a' occurs twice"),
    "100,000 deep": (b'{"weight_map":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
    "no UTF-8": (b'{"weight_map": {"\xff": "x"}}', "E-CONVERT-UNREADABLE"),
    "a file that is missing": (b'{"weight_map": {"a": "x"}}', "E-CONVERT-MISSING"),
    "itself": (b'{"weight_map": {"a": "%b"}}', "E-CONVERT-DAMAGED"),
    "a directory": (b'{"weight_map": {"a": "folder"}}', "E-CONVERT-MISSING"),
    "a NUL in a name": (b'{"weight_map": {"a": "x\\u0000"}}', "E-CONVERT-UNREADABLE"),
}


@pytest.mark.parametrize("case", INDEX)
@pytest.mark.parametrize("index", INDEXES[:2])
def test_index(model: Path, capsys: pytest.CaptureFixture[str], index: str, case: str) -> None:
    content, words = INDEX[case]
    (model / WEIGHTS).unlink()
    (model / "folder").mkdir()
    (model / index).write_bytes(content.replace(b"%b", index.encode()))
    refused(model, capsys, words)


# ----------------------------------------------------------------------------------------------------------------------
# Flax msgpack (the reader's own test has many more) and pickles


def flax(content: bytes | Callable[[Path], bytes]) -> Spoil:
    def spoil(directory: Path) -> None:
        (directory / WEIGHTS).unlink()
        write(MSGPACK, content)(directory)

    return spoil


def leaf(shape: Any, name: str, data: bytes) -> msgpack.ExtType:
    return msgpack.ExtType(1, msgpack.packb((shape, name, data)))


def table(array: msgpack.ExtType) -> bytes:
    return msgpack.packb({"bert": {"embeddings": {"word_embeddings": {"embedding": array}}}})


FLAX_FILES: dict[str, tuple[Spoil, str]] = {
    "empty": (flax(b""), "E-CONVERT-DAMAGED"),
    "cut": (flax((FLAX / "FlaxBertForPreTraining" / MSGPACK).read_bytes()[:-3]), "E-CONVERT-DAMAGED"),
    "a huge shape": (flax(table(leaf((2**40, 2**40), "float32", bytes(8)))), f"'{WORD[:-6]}embedding'"),
    "a huge shape of nothing": (flax(table(leaf((0, 2**40), "float32", b""))), "has 1 tensors"),
    "objects": (flax(table(leaf((1,), "object", bytes(8)))), f"'{WORD[:-6]}embedding'"),
    "100,000 maps deep": (flax(b"\x81\xa1a" * 100_000 + b"\xc0"), "nested too deeply"),
    "100,000 lists deep": (flax(b"\x81\xa1a" + b"\x91" * 100_000 + b"\xc0"), "tensor 'a'"),
    "a map of 2^32 - 1 entries": (flax(b"\xdf" + b"\xff" * 4), "E-CONVERT-DAMAGED"),
    "a text of 2^32 - 1 bytes": (flax(b"\x81\xdb" + b"\xff" * 4 + b"a" * 99), "E-CONVERT-DAMAGED"),
    "an array of 2^32 - 1 bytes": (flax(b"\x81\xa1a\xc9" + b"\xff" * 4 + b"\x01" + b"a" * 99), "tensor 'a'"),
    "a pickle with code": (flax(trap), "E-CONVERT-DAMAGED"),
    "another model's": (flax((FLAX / "FlaxBertForPreTraining" / MSGPACK).read_bytes()), "has shape"),
    "a directory": (lambda d: ((d / WEIGHTS).unlink(), (d / MSGPACK).mkdir()), "E-CONVERT-MISSING"),
    "a pipe": (lambda d: ((d / WEIGHTS).unlink(), os.mkfifo(d / MSGPACK)), "E-CONVERT-MISSING"),
}


@pytest.mark.parametrize("case", FLAX_FILES)
def test_flax_msgpack(model: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    spoil, words = FLAX_FILES[case]
    spoil(model)
    refused(model, capsys, words)


def test_a_pickle_of_torch_without_torch(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loader is torch's or none."""
    monkeypatch.setitem(sys.modules, "torch", None)
    (model / WEIGHTS).unlink()
    (model / PICKLE).write_bytes(trap(model))
    refused(model, capsys, "pip install 'torch>=")


def test_pickles_beside_a_model_are_left_alone(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trainers leave them; the model is what it is without them."""
    for name in (PICKLE, "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "model.pkl"):
        (model / name).write_bytes(trap(model))
    (model / MSGPACK).write_bytes(b"no msgpack")
    (model / f"{WEIGHTS}.index.json").write_text("{")
    assert main(["convert", str(model), str(model.parent / "out"), "--to", "hf"]) == 0
    assert main(["fill-mask", str(model), "w0 [MASK] w2"]) == 0
    assert not (model / MARKER).exists()
    assert not list((model.parent / "out").glob("*.bin"))


def test_a_pickle_with_code_is_no_source_of_a_library_s_user(model: Path) -> None:
    (model / WEIGHTS).write_bytes(trap(model))
    with pytest.raises(InputError, match="E-CONVERT-DAMAGED"):
        load(model)
    assert not (model / MARKER).exists()


# ----------------------------------------------------------------------------------------------------------------------
# The tokenizer's files


TOKENIZER: dict[str, Spoil] = {
    "a vocabulary that is no UTF-8": write("vocab.txt", b"[PAD]\n\xff\xfe\n"),
    "an empty vocabulary": write("vocab.txt", b""),
    "a larger vocabulary": write("vocab.txt", ("\n".join([*WORDS, "more"]) + "\n").encode()),
    "a vocabulary that is a directory": lambda d: ((d / "vocab.txt").unlink(), (d / "vocab.txt").mkdir()),
    "an empty tokenizer": write("tokenizer.json", b""),
    "a tokenizer 100,000 deep": write("tokenizer.json", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "a tokenizer that is a pickle with code": write("tokenizer.json", trap),
    "settings 100,000 deep": write("tokenizer_config.json", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "settings that are no UTF-8": write("tokenizer_config.json", b'{"a": "\xff"}'),
    "settings that are a list": write("tokenizer_config.json", b"[1]"),
}


@pytest.mark.parametrize("case", TOKENIZER)
def test_tokenizer(model: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    TOKENIZER[case](model)
    refused(model, capsys, str(model))
