"""A directory of rows with labels: what is written is read again, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxbert.data import shards
from jaxbert.data.pipeline import FixedBatches, Rows
from jaxbert.errors import InputError, Interrupted, Stopped
from jaxbert.labelled import writing
from jaxbert.labelled.encode import Encoding, encode
from jaxbert.labelled.examples import ChoiceExample, Example, Question, TextExample, WordsExample
from jaxbert.labelled.writing import read_examples, write_rows
from jaxbert.text.tokenizers import Tokenizer

TEXTS = ["the cat sat on the mat", "where is the red house", "a dog ran to Paris"]


def examples_of(kind: str, count: int, seed: int = 0) -> list[Example]:
    """Random examples of a kind."""
    rng = random.Random(seed)
    found: list[Example] = []
    for number in range(count):
        text = " ".join(rng.choice(TEXTS) for _ in range(rng.randint(1, 4)))
        more = {"place": f"/some/where/a.csv, line {number + 2}", "id": str(number)}
        match kind:
            case "classification":
                found.append(TextExample(text=text, target=rng.choice("xy"), **more))
            case "sentence_vectors":
                found.append(TextExample(text=text, pair="a", target=None if number % 3 else rng.random(), **more))
            case "token_labels":
                words, at = [], 0
                for word in text.split():
                    words.append((at, at + len(word)))
                    at += len(word) + 1
                tags = tuple(rng.choice(("O", "B-X", "I-X")) for _ in words)
                found.append(WordsExample(text=text, words=tuple(words), tags=tags, **more))
            case "question_answering":
                answers = ((text[4:7], 4), (text[:3], 0)) if number % 3 else ()
                found.append(Question(question="who", context=text, answers=answers, **more))
            case _:
                found.append(ChoiceExample(text=text, choices=("a", "b", "c")[: 2 + number % 2], target=1, **more))
    return found


LABELS = {"classification": ("x", "y"), "token_labels": ("O", "B-X", "I-X")}
KINDS = ("classification", "sentence_vectors", "token_labels", "question_answering", "multiple_choice")


def encoding_of(kind: str, tokenizer: Tokenizer, length: int = 16) -> Encoding:
    texts = 3 if kind == "multiple_choice" else 1
    return Encoding(kind=kind, labels=LABELS.get(kind, ()), tokenizer=tokenizer, length=length, texts=texts)


def digests(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_examples_are_read_again(
    tmp_path: Path, kind: str, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(writing, "_SHARD", 8)
    monkeypatch.setattr(writing, "_BLOCK", 3)
    splits = {"train": examples_of(kind, 20), "validation": examples_of(kind, 5, 1)}
    encoding = encoding_of(kind, tokenizer)
    summary = write_rows(tmp_path / "rows", encoding, splits)
    for split, examples in splits.items():
        rows = Rows(tmp_path / "rows", split, verify=True)
        expected = encode(encoding, examples)
        assert rows.dtype == encoding.dtype and summary.counts[split] == expected.counts
        assert rows.read(np.arange(len(rows))).tobytes() == expected.rows.tobytes()
        found = list(read_examples(tmp_path / "rows", split))
        assert [type(one)(**{**vars(one), "place": f"/some/where/{one.place}"}) for one in found] == examples
        assert list(FixedBatches(rows, 4, collate=lambda read: {"target": read["target"]}).read(0)) == ["target"]
    manifest = shards.read_manifest(tmp_path / "rows", "rows")
    assert summary.hash == manifest["hash"] and len(manifest["splits"]["train"]) == 3
    assert manifest["labelled"]["labels"] == list(encoding.labels) and manifest["policy"] == "labelled"
    # The same examples from another folder give the same bytes, and a second call changes nothing.
    moved = {
        split: [type(one)(**{**vars(one), "place": one.place.replace("some", "any")}) for one in examples]
        for split, examples in splits.items()
    }
    assert write_rows(tmp_path / "again", encoding, moved) == summary
    assert digests(tmp_path / "again") == digests(tmp_path / "rows")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").rglob("*")}
    assert write_rows(tmp_path / "rows", encoding, moved) == summary
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").rglob("*")}


def test_other_arguments_are_refused(tmp_path: Path, tokenizer: Tokenizer):
    splits = {"train": examples_of("classification", 5)}
    encoding = encoding_of("classification", tokenizer)
    first = write_rows(tmp_path / "rows", encoding, splits)
    other = encoding_of("classification", tokenizer, length=12)
    with pytest.raises(InputError, match=r"different: length.*E-SHARD-ARGUMENTS"):
        write_rows(tmp_path / "rows", other, splits)
    with pytest.raises(InputError, match=r"different: examples.*E-SHARD-ARGUMENTS"):
        write_rows(tmp_path / "rows", encoding, {"train": examples_of("classification", 6)})
    second = write_rows(tmp_path / "rows", other, splits, overwrite=True)
    assert second.hash != first.hash and Rows(tmp_path / "rows", "train", verify=True).length == 12
    assert write_rows(tmp_path / "rows", encoding, splits, overwrite=True) == first
    with pytest.raises(InputError, match="E-LABELLED-EMPTY"):
        write_rows(tmp_path / "empty", encoding, {"train": []})
    assert not (tmp_path / "empty").exists()
    # An example that cannot be encoded leaves nothing.
    with pytest.raises(InputError, match="E-LABELLED-LABEL"):
        write_rows(tmp_path / "wrong", encoding, {"train": [TextExample(text="a", target="z")]})
    assert not (tmp_path / "wrong").exists()


def test_damage_is_found(tmp_path: Path, tokenizer: Tokenizer):
    splits = {"train": examples_of("classification", 5)}
    encoding = encoding_of("classification", tokenizer)
    write_rows(tmp_path / "rows", encoding, splits)
    for file in ("examples-train.jsonl", "rows-train.array_record-00000-of-00001"):
        shutil.copytree(tmp_path / "rows", tmp_path / file)
        path = tmp_path / file / file
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(Stopped, match=rf"{file}.*E-SHARD-DAMAGED"):
            write_rows(tmp_path / file, encoding, splits)
    with pytest.raises(Stopped, match="E-SHARD-DAMAGED"):
        list(read_examples(tmp_path / "examples-train.jsonl", "train"))
    with pytest.raises(InputError, match=r"Splits there: train.*E-ROWS-SPLIT"):
        list(read_examples(tmp_path / "rows", "test"))
    manifest = json.loads((tmp_path / "rows" / shards.MANIFEST).read_text())
    del manifest["labelled"], manifest["sha256"]
    manifest["hash"] = shards.canonical_hash(manifest)
    shards.write_json(tmp_path / "rows" / shards.MANIFEST, manifest)
    with pytest.raises(InputError, match="E-ROWS-SPLIT"):
        list(read_examples(tmp_path / "rows", "train"))


def test_a_full_disk_stops_and_the_same_call_continues(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
):
    """At each fsync in turn, which is where a full disk shows."""
    monkeypatch.setattr(writing, "_SHARD", 4)
    splits = {"train": examples_of("token_labels", 8), "validation": examples_of("token_labels", 3, 1)}
    encoding = encoding_of("token_labels", tokenizer)
    write_rows(tmp_path / "rows", encoding, splits)
    wanted, sync = digests(tmp_path / "rows"), os.fsync
    failures = 0
    for at in range(1, 100):
        calls = 0

        def full(descriptor: int, at: int = at) -> None:
            nonlocal calls
            calls += 1
            if calls == at:
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(descriptor)

        out = tmp_path / str(at)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            try:
                write_rows(out, encoding, splits)
                break
            except Interrupted as error:
                assert error.code == "E-DISK-FULL"
                failures += 1
        # Nothing passes for complete, and nothing is lost.
        with pytest.raises(InputError, match=r"E-SHARD-(UNFINISHED|MANIFEST)"):
            Rows(out, "train")
        write_rows(out, encoding, splits)
        assert digests(out) == wanted
        shutil.rmtree(out)
    assert failures > 10
