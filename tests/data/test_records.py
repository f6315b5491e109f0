"""Records: what stands in them, that every way of making them gives the same bytes, and that others can open them."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.data import records as module
from jaxbert.data.records import prepare_records, read_records, tokenise
from jaxbert.data.shards import read_manifest
from jaxbert.data.sources import Document, Source, open_source
from jaxbert.data.split import drawn, train_texts
from jaxbert.errors import CommandError, InputError, Interrupted, Stopped
from jaxbert.text.sentences import split_sentences
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer

SETTINGS: dict[str, Any] = {"shard_bytes": 8_000, "validation_fraction": 0.2}


def made_up_documents(count: int = 60) -> list[str]:
    draw = random.Random(7)
    words = ["".join(draw.choices("abcdefgh", k=draw.randrange(1, 8))) for _ in range(150)]
    return [
        "\n".join(
            " ".join(draw.choices(words, k=draw.randrange(3, 20))).capitalize() + "."
            for _ in range(draw.randrange(1, 25))
        )
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "made_up.txt"
    path.write_text("\n\n".join(made_up_documents()) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer("wordpiece", made_up_documents(), vocab_size=200, lowercase=True)


@pytest.fixture(scope="module")
def made(text: Path, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "records"
    prepare_records(open_source(f"text:{text}"), tokenizer, out, workers=1, **SETTINGS)
    return out


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }


def all_records(directory: Path, split: str) -> list[module.Record]:
    count = len(read_manifest(directory, "records")["splits"][split])
    return [record for shard in range(count) for record in read_records(directory, split, shard)]


def test_records_hold_every_document(made: Path, text: Path, tokenizer: Tokenizer) -> None:
    expected = {document.name: document.text for document in open_source(f"text:{text}").documents()}
    manifest = read_manifest(made, "records")
    assert len(manifest["splits"]["train"]) >= 4
    seen = []
    for split in ("train", "validation"):
        found = all_records(made, split)
        assert [record.document for record in found] == list(range(len(found))) and len(found) >= 2
        assert manifest["counts"][split] == len(found)
        assert all(entry["count"] >= 2 for entry in manifest["splits"][split][:-1])
        for record in found:
            seen.append(record.name)
            assert record.tokens.dtype == np.uint16 and record.sentence_lengths.dtype == np.uint32
            sentences = split_sentences(expected[record.name])
            ids = tokenizer.encode_batch(sentences)
            assert record.sentence_lengths.tolist() == [len(sentence) for sentence in ids]
            assert record.tokens.tolist() == [index for sentence in ids for index in sentence]
    assert sorted(seen) == sorted(expected)
    summary = manifest["summary"]["splits"]["train"]
    assert summary["tokens"] == sum(len(record.tokens) for record in all_records(made, "train"))
    assert summary["words"] == sum(len(expected[record.name].split()) for record in all_records(made, "train"))
    assert Tokenizer.load(made / "tokenizer").hash == manifest["tokenizer_hash"] == tokenizer.hash


def test_bytes_do_not_depend_on_workers(made: Path, text: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    summary = prepare_records(open_source(f"text:{text}"), tokenizer, tmp_path / "two", workers=2, **SETTINGS)
    assert contents(tmp_path / "two") == contents(made)
    # And a second call finds the first.
    stamp = (tmp_path / "two" / "manifest.json").stat().st_mtime_ns
    assert prepare_records(open_source(f"text:{text}"), tokenizer, tmp_path / "two", workers=1, **SETTINGS) == summary
    assert (tmp_path / "two" / "manifest.json").stat().st_mtime_ns == stamp


SCRIPT = """
import sys
from jaxbert.data.records import prepare_records
from jaxbert.data.sources import open_source
from jaxbert.text.tokenizers import Tokenizer
source, tokenizer, out, workers = sys.argv[1:]
prepare_records(open_source(source), Tokenizer.load(tokenizer), out, workers=int(workers), shard_bytes=8000,
                validation_fraction=0.2)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_moment_it_goes_on(
    made: Path, text: Path, tokenizer: Tokenizer, tmp_path: Path, workers: int
) -> None:
    """SIGKILL after the first shards; then the same call gives the same bytes and leaves those shards alone."""
    out = tmp_path / "records"
    tokenizer.save(tmp_path / "tokenizer")
    # The source hangs half-way, so that the kill surely finds the work unfinished.
    arguments = [f"text:{text}", str(tmp_path / "tokenizer"), str(out), str(workers)]
    slow = SCRIPT.replace("prepare_records(open", "slow(); prepare_records(open").replace("import sys\n", SLOW, 1)
    process = subprocess.Popen(
        [sys.executable, "-c", slow, *arguments], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )
    try:
        deadline = time.monotonic() + 60
        while len(list(out.glob(".progress/*.array_record-*.json"))) < 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished = [path.name.removesuffix(".json") for path in out.glob(".progress/*.array_record-*.json")]
    stamps = {name: (out / name).stat().st_mtime_ns for name in finished}
    assert finished and not (out / "manifest.json").exists()
    with pytest.raises(InputError, match="E-SHARD-UNFINISHED"):
        read_manifest(out, "records")
    prepare_records(open_source(f"text:{text}"), tokenizer, out, workers=1, **SETTINGS)
    assert contents(out) == contents(made)
    assert {name: (out / name).stat().st_mtime_ns for name in finished} == stamps


# A source that gives its first 40 documents and then hangs.
SLOW = """import sys, time
from jaxbert.data import hygiene
from jaxbert.data.sources.files import FileSource
hygiene._BATCH_DOCUMENTS = 1
def slow():
    read = FileSource.documents
    def documents(self):
        for index, document in enumerate(read(self)):
            if index == 40:
                time.sleep(600)
            yield document
    FileSource.documents = documents
"""


OPEN = """
import sys
import tensorflow_datasets as tfds
builder = tfds.builder_from_directory(sys.argv[1])
train = builder.as_data_source("train")
first = train[0]
loaded = [name for name in ("tensorflow", "jax") if name in sys.modules]
print(len(train), len(builder.as_data_source("validation")), first["tokens"].dtype, first["sentence_lengths"].sum())
print(len(first["tokens"]), first["document"], first["name"].decode(), loaded)
"""


def test_tfds_opens_them_without_tensorflow(made: Path) -> None:
    done = subprocess.run([sys.executable, "-c", OPEN, str(made)], capture_output=True, text=True, check=True)
    train = all_records(made, "train")
    tokens = len(train[0].tokens)
    assert done.stdout == (
        f"{len(train)} {len(all_records(made, 'validation'))} uint16 {tokens}\n{tokens} 0 {train[0].name} []\n"
    )


class Given(Source):
    """Documents from a list; `bad` raises after them, as a file that is not UTF-8 half-way does."""

    def __init__(self, documents: list[Document], bad: bool = False):
        self.spec, self.given, self.bad = "given", documents, bad

    def describe(self) -> dict[str, Any]:
        return {"spec": self.spec, "texts": [document.text for document in self.given]}

    def documents(self) -> Iterator[Document]:
        yield from self.given
        if self.bad:
            raise InputError("not UTF-8", where="somewhere", fix="Mend it.", code="E-TEST")


def split_of(document: Document, fraction: float) -> str | None:
    (found,) = drawn([document], fraction)
    return found.split


def given(count: int, split: str | None = None) -> list[Document]:
    return [Document(f"d{index}", text, split) for index, text in enumerate(made_up_documents(count))]


def names(directory: Path) -> dict[str, list[str]]:
    return {split: [record.name for record in all_records(directory, split)] for split in ("train", "validation")}


def test_who_is_held_out(tokenizer: Tokenizer, tmp_path: Path) -> None:
    # So few documents that the hash draws none: the last two go, as long as two stay. Of one or two, the end goes.
    for count, held_out in ((1, ["d0 (end)"]), (2, ["d1 (end)"]), (3, ["d2"]), (6, ["d5", "d4"])):
        out = tmp_path / f"few{count}"
        summary = prepare_records(Given(given(count)), tokenizer, out, workers=1, validation_fraction=1e-9)
        assert names(out)["validation"] == held_out
        said = " ".join(summary.findings)
        assert ("validation is the end of the document" in said) == (count < 3) and "no validation split" not in said
        assert ("of the text, where 1e-09 was asked for" in said) == (count > 2) and "little text" in said
    prepare_records(Given(given(6)), tokenizer, tmp_path / "none", workers=1, validation_fraction=0.0)
    assert names(tmp_path / "none")["validation"] == []
    # By content: order and name do not matter.
    prepare_records(Given(given(40)), tokenizer, tmp_path / "a", workers=1, validation_fraction=0.3)
    prepare_records(Given(given(40)[::-1]), tokenizer, tmp_path / "b", workers=1, validation_fraction=0.3)
    first, second = names(tmp_path / "a")["validation"], names(tmp_path / "b")["validation"]
    assert sorted(first) == sorted(second) and 4 <= len(first) <= 20
    # A source's own split stands.
    own = [*given(5, "train"), *[Document("held", "Held out. Yes.", "validation")]]
    prepare_records(Given(own), tokenizer, tmp_path / "own", workers=1, validation_fraction=0.9)
    assert names(tmp_path / "own") == {"train": [f"d{index}" for index in range(5)], "validation": ["held"]}


@pytest.mark.parametrize("shard_bytes", [8_000, 8 << 20])
def test_a_long_document_in_validation_is_said(tokenizer: Tokenizer, tmp_path: Path, shard_bytes: int) -> None:
    """A hash that draws several documents may draw one that is most of the text, in however many shards."""
    documents = given(40)
    drawn = next(index for index, document in enumerate(documents) if split_of(document, 0.2) == "validation")
    for name, length in (("even", 0), ("long", 2000)):
        long = next(
            document
            for number in range(100)
            if split_of(document := Document("long", f"Number {number}. " + "It is long.\n" * length), 0.2)
            == "validation"
        )
        mixed = [*documents[: drawn + 1], long, *documents[drawn + 1 :]]
        summary = prepare_records(
            Given(mixed), tokenizer, tmp_path / name, workers=1, validation_fraction=0.2, shard_bytes=shard_bytes
        )
        assert len(names(tmp_path / name)["validation"]) > 2
        chars = [summary.splits[split].chars for split in ("train", "validation")]
        said = [finding for finding in summary.findings if "of the text, where 0.2 was asked for" in finding]
        assert len(said) == (length > 0) == (chars[1] > 0.4 * sum(chars)), (chars, summary.findings)


def test_the_end_of_one_document_is_held_out(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """One document has lines or sentences that can be held out. That it stands in both splits is said."""
    lines = [f"Line {index} of a text. It is long enough." for index in range(100)]
    for joint in ("\n", " "):
        out = tmp_path / f"one{ord(joint)}"
        source = Given([Document("novel", joint.join(lines))])
        summary = prepare_records(source, tokenizer, out, workers=1, validation_fraction=0.05)
        assert names(out) == {"train": ["novel"], "validation": ["novel (end)"]}
        (validation,) = all_records(out, "validation")
        assert validation.tokens.tolist() == tokenise(joint.join(lines[-5:]), tokenizer, "en")[0].tolist()
        (train,) = all_records(out, "train")
        assert train.tokens.tolist() == tokenise(joint.join(lines[:-5]), tokenizer, "en")[0].tolist()
        assert any("the end of the document novel, 5." in finding for finding in summary.findings)
    # A line out of three would be more than was asked for.
    few = Given([Document("note", "One line.\nTwo lines.\nThree lines.")])
    summary = prepare_records(few, tokenizer, tmp_path / "few", workers=1)
    assert names(tmp_path / "few")["validation"] == []
    assert any(finding.startswith("little text: ") and " in 3 sentences" in finding for finding in summary.findings)
    assert summary.findings[-1] == "no validation split: there are too few documents to hold any out"


def test_a_source_of_which_the_hash_holds_out_everything(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Such a source once had "no text"."""
    for count, held in ((1, ["d0 (end)"]), (2, ["d1"]), (5, ["d1", "d2", "d3", "d4"])):
        documents = given(count)
        assert {split_of(document, 1 - 1e-9) for document in documents} == {"validation"}
        source = Given(documents)
        assert list(train_texts(source, 1 - 1e-9)) == [document.text for document in documents]
        prepare_records(source, tokenizer, tmp_path / str(count), workers=1, validation_fraction=1 - 1e-9)
        assert names(tmp_path / str(count)) == {"train": ["d0"], "validation": held}
    with pytest.raises(InputError, match=r"no text for training.*E-SOURCE-EMPTY"):
        prepare_records(Given(given(2, "validation")), tokenizer, tmp_path / "own", workers=1)
    kept = [document.text for document in given(40) if split_of(document, 0.3) == "train"]
    assert list(train_texts(Given(given(40)), 0.3)) == kept and 20 <= len(kept) < 40


def bound_documents(monkeypatch: pytest.MonkeyPatch, chars: int) -> None:
    for place in ("sources.base", "sources.lines", "sources.text", "split"):
        monkeypatch.setattr(f"jaxbert.data.{place}.MAX_DOCUMENT_BYTES", chars)


def test_a_long_document_is_not_held_out(
    tokenizer: Tokenizer, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document that comes in parts stays in train, whatever a hash of its parts says."""
    bound_documents(monkeypatch, 2000)
    monkeypatch.setattr("jaxbert.data.split._SMALL_CHARS", 100)
    line = "A sentence of a long book is here.\n"
    path = tmp_path / "a.txt"
    path.write_text("".join(line.replace("here", str(index)) for index in range(500)))
    parts = list(open_source(f"text:{path}").documents())
    assert [document.part for document in parts] == list(range(1, len(parts) + 1)) and len(parts) > 5
    assert {document.split for document in drawn(parts, 0.9)} == {"train"}
    rows = Given([Document("x", "short"), *open_source(f"text:{path}").documents()])
    assert [document.part for document in rows.documents()][:3] == [0, 1, 2]
    summary = prepare_records(open_source(f"text:{path}"), tokenizer, tmp_path / "r", workers=1)
    found = names(tmp_path / "r")
    assert len(found["train"]) == len(parts) and found["validation"] == [f"{parts[-1].name} (end)"]
    shares = [summary.splits[split].chars for split in ("train", "validation")]
    assert 0.005 < shares[1] / sum(shares) < 0.02


def test_a_long_document_among_short_ones_is_not_held_out(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation gets no more than its share by one document, although a hash of that document would draw it."""
    bound_documents(monkeypatch, 5000)
    long = next(
        text
        for number in range(100)
        if split_of(Document("long", text := f"Number {number}. " + "It is long.\n" * 330), 0.2) == "validation"
    )
    bound_documents(monkeypatch, 2000)
    for number, document in enumerate([*given(40), Document("", long)]):
        (tmp_path / f"{number:02d}.txt").write_text(document.text)
    source = open_source(f"text:{tmp_path}/*.txt#file")
    assert sum(document.part > 0 for document in source.documents()) > 1
    summary = prepare_records(source, tokenizer, tmp_path / "r", workers=1, validation_fraction=0.2)
    found = names(tmp_path / "r")
    assert not any(name.startswith("40.txt") for name in found["validation"]) and len(found["validation"]) >= 4
    assert not any("of the text, where 0.2 was asked for" in finding for finding in summary.findings)


COPIES = {
    "white space": lambda text: text.replace(".\n", ". \n\t", 1),
    "one line": lambda text: text.replace("\n", " "),
    "case": str.upper,
    "composed letters": lambda text: unicodedata.normalize("NFD", text),
    "compatible letters": lambda text: text.replace("fi", "\ufb01").replace(" ", "\u00a0"),
    "zero width": lambda text: text.replace(" ", " \u200b", 2),
}


@pytest.mark.parametrize("change", COPIES)
def test_copies_are_duplicates_and_have_one_split(tokenizer: Tokenizer, tmp_path: Path, change: str) -> None:
    documents = [replace(document, text=f"Café fish.\n{document.text}") for document in given(40)]
    copies = [Document(f"copy of {document.name}", COPIES[change](document.text)) for document in documents]
    assert all(copy.text != document.text for copy, document in zip(copies, documents, strict=True))
    splits = [split_of(document, 0.3) for document in documents]
    assert [split_of(document, 0.3) for document in copies] == splits and 4 <= splits.count("validation") <= 20
    summary = prepare_records(Given([*documents, *copies]), tokenizer, tmp_path / "r", workers=1)
    assert summary.findings[0].startswith("40 duplicates of documents, equal but for white space, case")
    assert sum(read_manifest(tmp_path / "r", "records")["counts"].values()) == 40


def long_copies() -> list[str]:
    """Copies of one document, with much white space in one and none between lines in another."""
    text = "".join(f"The {index}th stone of the caf\u00e9 is here.\n" for index in range(150))
    shifted = text[:40].replace(" ", "  \t " * 20) + text[40:]
    return [
        text,
        shifted,
        text.replace("\n", " "),
        text.upper(),
        unicodedata.normalize("NFD", text),
        text.replace(" ", ""),
        text.replace("stone", "st\u200bone"),
    ]


@pytest.mark.parametrize("kind", ["text", "jsonl"])
@pytest.mark.parametrize("waiting", [100, 1 << 20])
def test_copies_of_a_long_document_are_duplicates_and_have_one_split(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, waiting: int
) -> None:
    """However they are cut into parts, and if only some are. The parts wait in memory, or in a file."""
    copies = long_copies()
    chars = len("".join(copies[0].split()))
    assert chars < len(copies[5]) < len(copies[0])
    monkeypatch.setattr("jaxbert.data.split._WAITING_BYTES", waiting)
    for bound in (chars // 5, (chars + len(copies[0])) // 2):
        bound_documents(monkeypatch, bound)
        for number, copy in enumerate(copies):
            name = tmp_path / f"{number}.{kind}"
            name.write_text(copy if kind == "text" else json.dumps({"text": copy}) + "\n", encoding="utf-8")
        spec = f"{kind}:{tmp_path}/*.{kind}{'#file' if kind == 'text' else ''}"
        whole = [document for document in open_source(spec).documents() if document.part <= 1]
        assert len(whole) == len(copies) and {document.part for document in whole} == ({1} if bound < chars else {0, 1})
        documents = list(drawn(open_source(spec).documents(), 1 - 1e-9))
        assert len({document.digest for document in documents}) == 1
        assert {document.split for document in documents} == {"train" if bound < chars else "validation"}
        summary = prepare_records(open_source(spec), tokenizer, tmp_path / f"r{bound}", workers=1)
        assert summary.findings[0].startswith(f"{len(copies) - 1} duplicates of documents, equal but for white space")
        kept = "".join(f"{record.name}|" for record in all_records(tmp_path / f"r{bound}", "train"))
        assert kept.startswith(f"0.{kind}:1") and f"|1.{kind}" not in kept
    # One letter more, at the end, is another document.
    (tmp_path / f"1.{kind}").write_text(copies[1] + "x" if kind == "text" else json.dumps({"text": copies[1] + "x"}))
    assert len({document.digest for document in drawn(open_source(spec).documents(), 0.5)}) == 2


def test_parts_that_wait_on_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile", lambda max_size: Full())
    parts = [Document(f"long/{part}", "text", part=part) for part in (1, 2)]
    with pytest.raises(Interrupted, match=r"TMPDIR.*E-DISK-FULL"):
        list(drawn(parts, 0.5))


def test_a_source_of_which_the_hash_holds_out_one_long_document(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its parts go back to train."""
    text = long_copies()[0]
    bound_documents(monkeypatch, len(text) - 100)
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    source = open_source(f"text:{tmp_path}/a.txt")
    parts = [document.name for document in source.documents()]
    assert {document.split for document in drawn(source.documents(), 1 - 1e-9)} == {"validation"} and len(parts) == 2
    prepare_records(source, tokenizer, tmp_path / "r", workers=1, validation_fraction=1 - 1e-9)
    assert names(tmp_path / "r")["train"] == parts


def test_duplicates_are_removed_unless_kept(tokenizer: Tokenizer, tmp_path: Path) -> None:
    documents = [*given(5), Document("again", given(5)[2].text)]
    removed = prepare_records(Given(documents), tokenizer, tmp_path / "a", workers=1, validation_fraction=0)
    assert "again" not in names(tmp_path / "a")["train"] and "1 duplicate of" in removed.findings[0]
    prepare_records(
        Given(documents), tokenizer, tmp_path / "b", workers=1, validation_fraction=0, remove_duplicates=False
    )
    assert names(tmp_path / "b")["train"][-1] == "again"


def test_every_shard_has_two_documents_where_there_are_two(tokenizer: Tokenizer, tmp_path: Path) -> None:
    documents = given(7)
    prepare_records(Given(documents), tokenizer, tmp_path / "r", workers=1, shard_bytes=1, validation_fraction=0)
    counts = [entry["count"] for entry in read_manifest(tmp_path / "r", "records")["splits"]["train"]]
    assert counts == [2, 2, 3]
    assert names(tmp_path / "r")["train"] == [f"d{index}" for index in range(7)]


def test_bad_input_leaves_nothing(text: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    out = tmp_path / "new" / "records"
    table: list[tuple[Source, dict[str, Any], str]] = [
        (Given(given(20), bad=True), {}, "E-TEST"),
        (Given([Document("a", "  \n ")]), {}, "E-SOURCE-EMPTY"),
        (Given(given(3)), {"language": "English!"}, "E-RECORDS-LANGUAGE"),
        (Given(given(3)), {"validation_fraction": 1.0}, "validation fraction.*E-RECORDS-ARGUMENT"),
        (Given(given(3)), {"workers": 0}, "workers is 0.*E-WORKERS-NUMBER"),
    ]
    for source, arguments, what in table:
        for workers in (1, 2):
            with pytest.raises(InputError, match=what):
                prepare_records(source, tokenizer, out, **({"workers": workers, "shard_bytes": 2000} | arguments))
            assert not (tmp_path / "new").exists()
    prepare_records(Given(given(9)), tokenizer, out, workers=1)
    before = contents(out)
    with pytest.raises(InputError, match=r"different: shard_bytes.*E-SHARD-ARGUMENTS"):
        prepare_records(Given(given(9)), tokenizer, out, workers=1, shard_bytes=99)
    assert contents(out) == before
    prepare_records(Given(given(9)), tokenizer, out, workers=1, shard_bytes=99, overwrite=True)
    assert contents(out) != before


class Breaking(Source):
    """Gives some documents, then fails."""

    def __init__(self, documents: list[Document], error: Exception | None):
        self.spec, self.given, self.error = "breaking:", documents, error

    def describe(self) -> dict[str, Any]:
        return {"spec": self.spec}

    def documents(self) -> Iterator[Document]:
        yield from self.given
        if self.error is not None:
            raise self.error


def test_overwriting_in_vain_leaves_what_was_there(tokenizer: Tokenizer, tmp_path: Path) -> None:
    out = tmp_path / "records"
    prepare_records(Given(given(9)), tokenizer, out, workers=1)
    before = contents(out)
    bad = Breaking(given(30), InputError("not UTF-8", where="x", fix="y", code="E-TEST"))
    with pytest.raises(InputError, match="E-TEST"):
        prepare_records(bad, tokenizer, out, workers=1, shard_bytes=2000, overwrite=True)
    assert contents(out) == before
    # The tokenizer, TFDS's metadata and all else that we write counts as ours.
    prepare_records(Breaking(given(30), None), tokenizer, out, workers=1, shard_bytes=2000, overwrite=True)
    assert contents(out) != before and not (out / ".previous").exists()


def test_errors_when_going_on_leave_finished_shards(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jaxbert.data.hygiene._BATCH_DOCUMENTS", 1)
    out = tmp_path / "records"
    documents = given(30)
    error: CommandError
    for error in (
        Interrupted("EIO", where="x", fix="y", code="E-TEST"),
        InputError("gone", where="x", fix="y", code="E-TEST"),
    ):
        with pytest.raises(type(error)):
            prepare_records(Breaking(documents, error), tokenizer, out, workers=1, shard_bytes=2000)
        finished = list(out.glob(".progress/*.array_record-*.json"))
        assert len(finished) >= 2
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("records-*")}
    prepare_records(Breaking(documents, None), tokenizer, out, workers=1, shard_bytes=2000)
    assert stamps and {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert sum(read_manifest(out, "records")["counts"].values()) == 30


@pytest.mark.parametrize("remove_repeated_lines", [False, True])
def test_split_of_is_what_prepare_does(tokenizer: Tokenizer, tmp_path: Path, remove_repeated_lines: bool) -> None:
    line = "A line that stands in every document of this source."
    documents = [replace(document, text=f"{line}\n{document.text}") for document in given(40)]
    prepare_records(
        Given(documents),
        tokenizer,
        tmp_path / "r",
        workers=1,
        validation_fraction=0.3,
        remove_repeated_lines=remove_repeated_lines,
    )
    expected: dict[str, list[str]] = {"train": [], "validation": []}
    for document in documents:
        expected[split_of(document, 0.3)].append(document.name)
    assert names(tmp_path / "r") == expected and len(expected["validation"]) >= 4
    assert split_of(Document("own", documents[0].text, "validation"), 0.0) == "validation"
    assert {split_of(document, 0.0) for document in documents} == {"train"}


def test_a_full_disk_loses_nothing(
    made: Path, text: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "records"
    real, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        # The arguments, four files of the tokenizer, and two files a shard; then the disk is full.
        if calls > 11:
            raise OSError(28, os.strerror(28))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Interrupted, match="E-DISK-FULL"):
        prepare_records(open_source(f"text:{text}"), tokenizer, out, workers=1, **SETTINGS)
    assert len(list(out.glob(".progress/*.array_record-*.json"))) >= 2
    monkeypatch.undo()
    prepare_records(open_source(f"text:{text}"), tokenizer, out, workers=1, **SETTINGS)
    assert contents(out) == contents(made)


def test_a_damaged_shard_is_named_and_can_be_made_again(
    made: Path, text: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    out = tmp_path / "records"
    prepare_records(open_source(f"text:{text}"), tokenizer, out, workers=1, **SETTINGS)
    path = out / read_manifest(out, "records")["splits"]["train"][1]["file"]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(Stopped, match=f"{path.name}.*E-SHARD-DAMAGED"):
        list(read_records(out, "train", 1))
    assert list(read_records(out, "train", 0))
    # The same call does not say that all is well.
    with pytest.raises(Stopped, match=rf"{path.name}.*--overwrite.*E-SHARD-DAMAGED"):
        prepare_records(open_source(f"text:{text}"), tokenizer, out, workers=1, **SETTINGS)
    prepare_records(open_source(f"text:{text}"), tokenizer, out, workers=1, overwrite=True, **SETTINGS)
    assert contents(out) == contents(made)
    (out / "tokenizer" / "tokenizer.json").write_text("{")
    with pytest.raises(Stopped, match=r"tokenizer.*--overwrite.*E-SHARD-DAMAGED"):
        prepare_records(open_source(f"text:{text}"), tokenizer, out, workers=1, **SETTINGS)
    prepare_records(open_source(f"text:{text}"), tokenizer, out, workers=1, overwrite=True, **SETTINGS)
    assert contents(out) == contents(made)
    with pytest.raises(InputError, match=r"shard 99.*E-RECORDS-SHARD"):
        list(read_records(out, "train", 99))
    with pytest.raises(InputError, match=r"shard 0 of split 'test'.*E-RECORDS-SHARD"):
        list(read_records(out, "test", 0))


def test_large_vocabularies_and_empty_texts(tokenizer: Tokenizer) -> None:
    tokens, lengths = tokenise("\u200b\n \n", tokenizer, "en")
    assert tokens.shape == lengths.shape == (0,)
    assert module.token_dtype(65536) == np.uint16 and module.token_dtype(65537) == np.uint32
    record = module.Record(np.array([70000, 3], np.uint32), np.array([2], np.uint32), 5, "é")
    value = module.features(70001).deserialize_example_np(module.serialize(record, 70001))
    assert value["tokens"].tolist() == [70000, 3] and value["tokens"].dtype == np.uint32


def test_bytes_do_not_depend_on_the_process(tokenizer: Tokenizer) -> None:
    """A protobuf map has another order in every process, unless one asks for a fixed one."""
    code = (
        "import numpy as np, sys; from jaxbert.data.records import Record, serialize;"
        "sys.stdout.write(serialize(Record(np.arange(9, dtype=np.uint16), np.array([9], np.uint32), 1, 'n'), 99).hex())"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env=environment | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1


def test_another_tokenizer_under_the_same_path_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process may prepare records in two directories, or again in one, with a path such as `records`."""
    monkeypatch.setattr(module.Tokenizer, "load", staticmethod(lambda path: (path / "name").read_text()))
    for place in ("a", "b"):
        (tmp_path / place / "tokenizer").mkdir(parents=True)
        (tmp_path / place / "tokenizer/name").write_text(place)
    found = []
    for place in ("a", "b", "a"):
        monkeypatch.chdir(tmp_path / place)
        found.append(module._tokenizer(Path("tokenizer")))
    assert found == ["a", "b", "a"]
    (tmp_path / "a/tokenizer").rename(tmp_path / "old")
    (tmp_path / "b/tokenizer").rename(tmp_path / "a/tokenizer")
    assert module._tokenizer(Path("tokenizer")) == "b"
    module._kept.cache_clear()
