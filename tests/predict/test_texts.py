"""Texts of a file: a line each, none left out."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from jaxbert.data.sources import lines
from jaxbert.errors import InputError
from jaxbert.use.texts import open_texts

PACK = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress, ".zst": zstandard.compress}


@pytest.mark.parametrize("ending", PACK)
def test_lines(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(PACK[ending]("one\n\n zwei ä\r\nthree".encode()))  # type: ignore[operator]
    expected = [(f"{path}:1", "one"), (f"{path}:2", ""), (f"{path}:3", " zwei ä"), (f"{path}:4", "three")]
    assert list(open_texts(str(path))) == expected


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_records(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.jsonl{ending}"
    lines = r'{"text": "one", "de": "eins"}' + "\n\n" + r'{"text": "", "de": "\ud800"}' + "\n"
    path.write_bytes(PACK[ending](lines.encode()))  # type: ignore[operator]
    name = path.name
    assert list(open_texts(str(path))) == [(f"{name}:1", "one"), (f"{name}:3", "")]
    assert [text for _, text in open_texts(f"{path}#de")] == ["eins", "\N{REPLACEMENT CHARACTER}"]
    with pytest.raises(InputError, match=r"'fr'.*E-SOURCE-FIELD"):
        open_texts(f"{path}#fr")


def test_a_line_of_megabytes_is_one_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_DOCUMENT_BYTES", 8)
    (tmp_path / "a").write_text("a b c d e f g h\ni\n")
    assert [text for _, text in open_texts(str(tmp_path / "a"))] == ["a b c d ", "i"]


def test_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,"one, two"\n2,\n')
    assert list(open_texts(str(path))) == [("a.csv:2", "one, two"), ("a.csv:3", "")]
    assert [text for _, text in open_texts(f"{path}#id")] == ["1", "2"]


def test_a_record_without_text_is_refused(tmp_path: Path) -> None:
    """Each record has a vector. Nobody could tell which one is missing."""
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": null}\n')
    with pytest.raises(InputError, match=r"null.*a\.jsonl:2.*E-SOURCE-NULL"):
        list(open_texts(str(tmp_path / "a.jsonl")))


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """Its first check would take the beginning away, and without a writer it would hang."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"pipe.*E-FILE-KIND"):
        open_texts(str(tmp_path / "pipe"))


@pytest.mark.parametrize("ending", [ending for ending in PACK if ending])
def test_a_cut_file_is_refused(tmp_path: Path, ending: str) -> None:
    data = PACK[ending]("".join(f"{number * 7919} lines\n" for number in range(50_000)).encode())  # type: ignore[operator]
    (tmp_path / f"a{ending}").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="E-SOURCE-DAMAGED"):
        list(open_texts(str(tmp_path / f"a{ending}")))


def test_standard_input() -> None:
    code = "from jaxbert.use.texts import open_texts; print(list(open_texts('-')))"
    done = subprocess.run(
        [sys.executable, "-c", code], input="one\n\nthree", capture_output=True, text=True, check=True
    )
    assert done.stdout == "[('stdin:1', 'one'), ('stdin:2', ''), ('stdin:3', 'three')]\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere", None, "no such file"),
        ("nowhere.jsonl", None, "no such file"),
        ("a.txt#text", b"a", "#text.*E-SOURCE-OPTION"),
        ("a.txt", b"\xff\xfea", "UTF-16"),
        ("a.gz", b"not packed", "damaged or mislabelled"),
        ("a.jsonl", b"no json\n", "not JSON"),
    ],
)
def test_refuses(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name.partition("#")[0]).write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_texts(str(tmp_path / name))
