"""`embed`: packed texts get what each gets alone; files in and out."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import types
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxbert.commands.main import main
from jaxbert.convert.sentence_transformers import SentenceLayout, read_layout, write_layout
from jaxbert.errors import InputError, Interrupted
from jaxbert.use import batches
from jaxbert.use.embed import Pooling, embed, embed_file, embed_stream
from jaxbert.use.library import Loaded

LENGTHS = [3, 60, 0, 130, 12, 7, 1, 100, 12, 200, 31, 5, 5, 90, 2, 17]
TEXTS = [" ".join(f"w{(7 * index + word) % 60}" for word in range(length)) for index, length in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def hidden(model: Loaded) -> list[np.ndarray]:
    """Hidden states (L, D) of each text in a row of its own, 148 pieces of it at most."""
    batch = model.batch(TEXTS, length=150)
    states = np.asarray(jax.jit(model.encode)(model.params, **batch), np.float64)
    return [row[group > 0] for row, group in zip(states, batch["group"], strict=True)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several windows, and two widths in the first."""
    monkeypatch.setattr(batches, "WINDOW", 8)
    monkeypatch.setattr(batches, "OWN_WIDTH", 1)
    monkeypatch.setattr(batches, "_CHUNK", 5)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_packed_text_gets_what_it_gets_alone(
    model: Loaded, hidden: list[np.ndarray], small: None, pooling: Pooling, normalize: bool
) -> None:
    expected = np.stack([states.mean(0) if pooling == "mean" else states[0] for states in hidden])
    if normalize:
        expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    parts = list(embed_stream(model, iter(TEXTS), pooling=pooling, normalize=normalize, batch_tokens=64))
    assert len(parts) == 2
    assert [text for part in parts for text in part.texts] == TEXTS
    assert sum(part.cut for part in parts) == 1
    assert sum(part.tokens for part in parts) == sum(map(len, hidden))
    found = np.concatenate([part.vectors for part in parts])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_the_number_of_tokens_a_batch_changes_nothing(model: Loaded, hidden: list[np.ndarray]) -> None:
    found = embed(model, TEXTS)
    assert found.shape == (len(TEXTS), 16)
    np.testing.assert_allclose(found, np.stack([states.mean(0) for states in hidden]), rtol=0, atol=1e-6)
    assert embed(model, []).shape == (0, 16)


@pytest.mark.parametrize(
    ("texts", "arguments", "message"),
    [
        ("w1", {}, "E-MODEL-TEXTS"),
        (["w1"], {"pooling": "max"}, "'max'.*E-EMBED-POOLING"),
        (["w1"], {"max_length": 2}, "E-EMBED-LENGTH"),
        (["w1"], {"batch_tokens": 0}, "E-EMBED-BATCH"),
    ],
)
def test_refuses(model: Loaded, texts: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        embed(model, texts, **arguments)
    with pytest.raises(InputError, match="E-MODEL-NO-TOKENIZER"):
        embed(Loaded("here", model.config, model.params, None), ["w1"])


def test_files(directory: Path, tmp_path: Path, model: Loaded, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [text for text in TEXTS if len(text) < 50]
    lines.insert(2, "")
    (tmp_path / "texts").write_text("\n".join(lines) + "\n")
    common = [str(directory), str(tmp_path / "texts"), "--max-length", "8", "--json", str(tmp_path / "figures")]
    assert main(["embed", *common, "--out", str(tmp_path / "a.npy")]) == 0
    found = np.load(tmp_path / "a.npy")
    assert (found.shape, found.dtype) == ((len(lines), 16), np.dtype("<f4"))
    np.testing.assert_array_equal(found, embed(model, lines, max_length=8))
    figures = json.loads((tmp_path / "figures").read_text())
    assert (figures["texts"], figures["empty"], figures["cut"]) == (len(lines), 2, 3)
    assert (figures["pooling"], figures["normalize"], figures["max_length"]) == ("mean", False, 8)
    shown = capsys.readouterr().out
    assert "empty lines: 2" in shown
    assert "texts of more than 8 tokens: 3, cut" in shown

    assert main(["embed", *common, "--out", str(tmp_path / "a.jsonl")]) == 0
    records = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [record["text"] for record in records] == lines
    np.testing.assert_array_equal(np.array([record["embedding"] for record in records], np.float32), found)

    before = sorted(tmp_path.iterdir())
    assert main(["embed", *common, "--out", str(tmp_path / "a.npy")]) == 2
    assert main(["embed", *common, "--out", str(tmp_path / "a.npy"), "--overwrite", "--normalize"]) == 0
    np.testing.assert_allclose(np.linalg.norm(np.load(tmp_path / "a.npy"), axis=-1), 1, rtol=1e-6)
    assert sorted(tmp_path.iterdir()) == before


def test_the_directory_says_how_its_vectors_are_made(directory: Path, tmp_path: Path, model: Loaded) -> None:
    shutil.copytree(directory, tmp_path / "model")
    write_layout(tmp_path / "model", SentenceLayout("cls", normalize=True, max_length=9), 16)
    (tmp_path / "texts").write_text("w1 w2\nw3\n")
    figures = embed_file(str(tmp_path / "model"), str(tmp_path / "texts"), tmp_path / "a.npy")
    assert (figures["pooling"], figures["normalize"], figures["max_length"]) == ("cls", True, 9)
    expected = embed(model, ["w1 w2", "w3"], pooling="cls", normalize=True)
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), expected, rtol=0, atol=1e-6)
    arguments: dict[str, Any] = {"pooling": "mean", "normalize": False}
    embed_file(str(tmp_path / "model"), str(tmp_path / "texts"), tmp_path / "b.npy", **arguments)
    np.testing.assert_allclose(np.load(tmp_path / "b.npy"), embed(model, ["w1 w2", "w3"]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("a.txt", "'.txt'.*E-EMBED-FORMAT"),
        ("a", "no ending.*E-EMBED-FORMAT"),
        ("nowhere/a.npy", r"nowhere/a\.npy.*E-EMBED-DIRECTORY"),
        ("folder.npy", r"folder\.npy.*E-EMBED-NOT-FILE"),
        ("texts.jsonl", r"texts\.jsonl.*E-EMBED-TEXTS"),
    ],
)
def test_refuses_a_wrong_out(tmp_path: Path, out: str, message: str) -> None:
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "texts.jsonl").write_text('{"text": "w1"}\n')
    with pytest.raises(InputError, match=message):
        embed_file("no model", str(tmp_path / "texts.jsonl"), tmp_path / out, overwrite=True)


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"of before")
    with pytest.raises(InputError, match=r"a\.npy.*E-EMBED-EXISTS"):
        embed_file("no model", str(tmp_path / "texts"), tmp_path / "a.npy")
    assert (tmp_path / "a.npy").read_bytes() == b"of before"


def test_a_layout_that_the_tokenizer_contradicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = types.SimpleNamespace(
        layout=SentenceLayout("mean", lowercase=True),
        tokenizer=types.SimpleNamespace(lowercase=False),
        step=None,
        path=None,
    )
    monkeypatch.setattr("jaxbert.use.embed.load", lambda _: loaded)
    (tmp_path / "texts").write_text("w1\n")
    with pytest.raises(InputError, match="E-EMBED-LOWERCASE"):
        embed_file("cased", str(tmp_path / "texts"), tmp_path / "a.npy")
    assert not (tmp_path / "a.npy").exists()


def test_vectors_are_cut_as_the_files_say(directory: Path, model: Loaded, tmp_path: Path) -> None:
    """truncate_dim cuts what was normalised; `normalize` makes what is left of length 1 again."""
    shutil.copytree(directory, tmp_path / "cut")
    write_layout(tmp_path / "cut", SentenceLayout("mean", normalize=True, dimension=5, prompts={"query": "w9 "}), 16)
    (tmp_path / "texts").write_text("w1 w2\nw3\n")
    whole = embed(model, ["w1 w2", "w3"], normalize=True)
    assert embed_file(str(tmp_path / "cut"), str(tmp_path / "texts"), tmp_path / "a.npy")["dimension"] == 5
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), whole[:, :5], rtol=0, atol=1e-6)
    embed_file(str(tmp_path / "cut"), str(tmp_path / "texts"), tmp_path / "b.npy", normalize=True)
    expected = whole[:, :5] / np.linalg.norm(whole[:, :5], axis=1, keepdims=True)
    np.testing.assert_allclose(np.load(tmp_path / "b.npy"), expected, rtol=0, atol=1e-6)


def test_a_prompt_before_every_text_is_refused(directory: Path, tmp_path: Path) -> None:
    """The model loads, and writes the prompt again; only its vectors would differ from those of its files."""
    shutil.copytree(directory, tmp_path / "prompted")
    layout = SentenceLayout("mean", max_length=150, prompts={"query": "w9 "}, default_prompt="query")
    write_layout(tmp_path / "prompted", layout, 16)
    (tmp_path / "texts").write_text("w1\n")
    with pytest.raises(InputError, match=r"prompt 'query'.*E-EMBED-PROMPT"):
        embed_file(str(tmp_path / "prompted"), str(tmp_path / "texts"), tmp_path / "a.npy")
    again = ["convert", str(tmp_path / "prompted"), "--to", "sentence-transformers"]
    assert main([*again, str(tmp_path / "again")]) == 0
    assert read_layout(tmp_path / "again") == layout
    # The layout that a model has is not lost with another pooling, either.
    assert main([*again, str(tmp_path / "cls"), "--pooling", "cls"]) == 0
    assert read_layout(tmp_path / "cls") == dataclasses.replace(layout, pooling="cls")


@pytest.mark.parametrize("length", ["-1", "0", "2", "151"])
def test_a_length_that_the_model_has_not(
    directory: Path, tmp_path: Path, length: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts").write_text("w1\n")
    target = ["--to", "sentence-transformers", "--max-length", length]
    assert main(["convert", str(directory), str(tmp_path / "out"), *target]) == 2
    assert (
        main(
            ["embed", str(directory), str(tmp_path / "texts"), "--out", str(tmp_path / "a.npy"), "--max-length", length]
        )
        == 2
    )
    said = capsys.readouterr().err
    # Three tokens are the least of every model, so that `convert` reads none to refuse fewer.
    assert (said.count("E-EMBED-LENGTH"), said.count("E-CONVERT-LENGTH")) == ((2, 0) if length == "151" else (1, 1))
    assert not (tmp_path / "out").exists() and not (tmp_path / "a.npy").exists()


def test_what_goes_wrong_on_the_way_leaves_nothing(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, out = tmp_path / "texts", tmp_path / "a.npy"
    out.write_bytes(b"of before")
    texts.write_bytes(b"w1\n" * 40000 + b"\xff\n")  # behind what is looked at first
    with pytest.raises(InputError, match=r"0xff in line 40001.*E-SOURCE-ENCODING"):
        embed_file(str(directory), str(texts), out, overwrite=True)
    texts.write_text("")
    with pytest.raises(InputError, match="E-SOURCE-EMPTY"):
        embed_file(str(directory), str(texts), out, overwrite=True)
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(InputError, match="E-EMBED-EMPTY"):
        embed_file(str(directory), str(tmp_path / "none.jsonl"), out, overwrite=True)
    (tmp_path / "none.jsonl").unlink()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    texts.write_text("w1\n")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Interrupted, match="E-DISK-FULL"):
        embed_file(str(directory), str(texts), out, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "texts"]
    assert out.read_bytes() == b"of before"
