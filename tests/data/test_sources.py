"""Every kind of source: the documents it gives, what its hash depends on, and what it says of bad input."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import io
import json
import lzma
import os
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from jaxbert.data.sources import SOURCES, Document, base, open_source
from jaxbert.data.sources import lines as reading_lines
from jaxbert.data.sources.packed import DamagedFile, open_bytes
from jaxbert.data.sources.record_files import RecordFiles
from jaxbert.data.sources.sample import strip_html
from jaxbert.errors import InputError, Interrupted

TEXT = "First line.\nSecond line.\n\n\n \t\nAnother document: é.\n"
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    # Two frames, as parallel packers write them.
    ".zst": lambda data: zstandard.compress(data[:20]) + zstandard.compress(data[20:]),
}


def texts(spec: str) -> list[str]:
    return [document.text for document in open_source(spec).documents()]


def test_every_kind_says_what_it_lacks() -> None:
    for kind in SOURCES:
        with pytest.raises(InputError, match="E-SOURCE-"):
            open_source(f"{kind}:/no/such/thing")
        with pytest.raises(InputError, match="E-SOURCE-KIND"):
            open_source(f"{kind}:")
    with pytest.raises(InputError, match=r"'txt'.*Did you mean text\?.*E-SOURCE-KIND"):
        open_source("txt:a.txt")
    with pytest.raises(InputError, match=r"no such file.*E-SOURCE-FILE"):
        open_source("novel.txt")


@pytest.mark.parametrize("suffix", PACKERS)
def test_text_in_any_packing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(PACKERS[suffix](TEXT.encode()))
    expected = [
        Document(f"{path.name}:1", "First line.\nSecond line."),
        Document(f"{path.name}:6", "Another document: é."),
    ]
    assert list(open_source(f"text:{path}").documents()) == expected
    lines = tmp_path / f"a.jsonl{suffix}"
    lines.write_bytes(PACKERS[suffix](b'{"text": "one\\ntwo"}\n\n{"text": "three", "id": 3}\n'))
    assert texts(f"jsonl:{lines}") == ["one\ntwo", "three"]


def test_boundaries_of_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(TEXT, encoding="utf-8")
    assert texts(f"text:{path}#file") == ["First line.\nSecond line.\nAnother document: é."]
    assert texts(f"text:{path}#line") == ["First line.", "Second line.", "Another document: é."]
    with pytest.raises(InputError, match=r"Did you mean line.*E-SOURCE-OPTION"):
        open_source(f"text:{path}#lines")
    odd = tmp_path / "a#b.txt"
    odd.write_text("x\n")
    assert texts(f"text:{odd}") == ["x"]


def test_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n\r\nthree")
    assert texts(f"text:{path}") == ["one\ntwo", "three"]


def test_globs_are_sorted_and_named_below_what_is_common(tmp_path: Path) -> None:
    for name in ("b/2.txt", "a/1.txt", "a/deep/3.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    found = list(open_source(f"text:{tmp_path}/**/*").documents())
    assert [document.text for document in found] == ["a/1.txt", "a/deep/3.txt", "b/2.txt"]
    assert [document.name for document in found] == ["a/1.txt:1", "a/deep/3.txt:1", "b/2.txt:1"]


def test_long_documents_come_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No document, and no line, is longer than the bound; nothing is lost."""
    for module in (base, reading_lines, sys.modules["jaxbert.data.sources.text"]):
        monkeypatch.setattr(module, "MAX_DOCUMENT_BYTES", 100)
    words = " ".join(f"wörd{index}" for index in range(200))
    path = tmp_path / "a.txt"
    path.write_text(f"{words}\nshort line\n{'é' * 333}\n\nend", encoding="utf-8")
    parts = texts(f"text:{path}")
    assert max(map(len, parts)) <= 100
    assert "".join("".join(parts).split()) == "".join(f"{words}short line{'é' * 333}end".split())
    assert all(word in words.split() for part in parts[:5] for word in part.split()), "cut between words"
    lines = tmp_path / "a.jsonl"
    lines.write_text(json.dumps({"text": words}))
    found = list(open_source(f"jsonl:{lines}").documents())
    assert " ".join(document.text.strip() for document in found) == words
    assert [document.name for document in found[:2]] == ["a.jsonl:1/1", "a.jsonl:1/2"]


def test_null_texts_are_left_out_and_counted_by_every_source_of_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = ["one", None, " \u200b", "two"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": cell}) + "\n" for cell in cells))
    (tmp_path / "a.csv").write_text("id,text\n1,one\n2,\n3, \n4,two\n")
    pq.write_table(pa.table({"text": cells}), tmp_path / "a.parquet")
    stand_in = types.SimpleNamespace(
        load_dataset=lambda *_, **__: {"train": [{"text": cell} for cell in cells]},
        load_dataset_builder=lambda *_: types.SimpleNamespace(),
    )
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    for spec in (f"jsonl:{tmp_path}/a.jsonl", f"csv:{tmp_path}/a.csv", f"parquet:{tmp_path}/a.parquet", "hf:a"):
        source = open_source(spec)
        for _ in range(2):  # A second reading counts anew.
            assert [document.text for document in source.documents()] == ["one", "two"]
        assert source.findings() == ["2 records without text (null, or only white space), left out"]


@pytest.mark.parametrize(
    "kind", [pa.string_view(), pa.large_string(), pa.binary(), pa.large_binary(), pa.binary_view(), pa.null()]
)
def test_parquet_columns_of_any_kind_of_text(tmp_path: Path, kind: pa.DataType) -> None:
    cells = [None, None] if kind == pa.null() else ["é".encode() if "binary" in str(kind) else "é", None]
    pq.write_table(pa.table({"text": pa.array(cells, kind)}), tmp_path / "a.parquet")
    if kind == pa.null():
        with pytest.raises(InputError, match=r"column 'text' is null.* in each of 2 records.*E-SOURCE-EMPTY"):
            texts(f"parquet:{tmp_path}/a.parquet")
    else:
        assert texts(f"parquet:{tmp_path}/a.parquet") == ["é"]


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [b"fine", b"caf\xe9"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"'text'.*0xe9 at byte 3.*a\.parquet:2.*E-SOURCE-ENCODING"):
        texts(f"parquet:{tmp_path}/a.parquet")


def test_a_parquet_column_twice(tmp_path: Path) -> None:
    twice = pa.table([pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], names=["text", "text", "other"])
    pq.write_table(twice, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"2 columns are called 'text'.*E-SOURCE-FIELD"):
        open_source(f"parquet:{tmp_path}/a.parquet")
    assert texts(f"parquet:{tmp_path}/a.parquet#other") == ["c"]


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,"A stone, here.\n\nTwo ""lines""."\n2,The river is cold.\n')
    found = list(open_source(f"csv:{path}").documents())
    assert [document.text for document in found] == ['A stone, here.\n\nTwo "lines".', "The river is cold."]
    assert [document.name for document in found] == ["a.csv:4", "a.csv:5"]
    (tmp_path / "b.tsv").write_text("body\tn\na, b\t1\n")
    (tmp_path / "c.csv").write_bytes(gzip.compress("\ufeffn;body\n1;a, b\n".encode()))
    (tmp_path / "c.csv").rename(tmp_path / "c.csv.gz")
    assert texts(f"csv:{tmp_path}/b.tsv#body") == texts(f"csv:{tmp_path}/c.csv.gz#body") == ["a, b"]
    for content, what in (
        ("id,txt,tag\n1,a,b\n", r"no column 'text'.*Did you mean txt.*id, txt, tag"),
        ("text,text\na,b\n", r"2 columns are called 'text' [^?]*"),
        ('\n,"a long\nname",x\n', "no column 'text'[^\n]*there: , a long name, x;[^\n]*"),
        ('"never ends\nid,text\n1,a\n', "no column 'text'"),
        ("id,text\n1,a,b\n", r"3 cells, but there are 2 columns.*a\.csv:2.*in quotes"),
        ("id,text\n1,a\n2\n", r"1 cell, but there are 2 columns.*a\.csv:3.*all its cells"),
        ('id,text\n1,a\n2,"never ends\n3,b\n4,c\n', r"opens in this row never closes .*a\.csv:3"),
        ('{"text": "a", "id": 1}\n', r"holds JSON lines, not a table.*jsonl:.*a\.csv"),
        ("1,The river is cold and the mill is old.\n2,The stone is old.\n", "first row holds text.*row of names"),
        ("id,body,title\n1,The river is cold.,A river\n", r"several columns hold text: body, title.*#title"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=rf"(?s){what}.*E-SOURCE-FIELD"):
            texts(f"csv:{path}")


def test_a_table_whose_names_do_not_begin_in_the_first_line(tmp_path: Path) -> None:
    """Blank lines are above the names, or a name holds a line break. The lines are counted."""
    path = tmp_path / "a.csv"
    path.write_text('\n \n"the ""id"";\nof a row";text\n1;a stone\n2;"a\nriver"\n')
    assert [(found.name, found.text) for found in open_source(f"csv:{path}").documents()] == [
        ("a.csv:5", "a stone"),
        ("a.csv:7", "a\nriver"),
    ]
    path.write_text('5" nail,text\n1,a\n2,b\n3,"c"\n')
    assert [(found.name, found.text) for found in open_source(f"csv:{path}").documents()] == [
        ("a.csv:2", "a"),
        ("a.csv:3", "b"),
        ("a.csv:4", "c"),
    ]
    path.write_text("\n \n1;a\n2;b;c\n")
    with pytest.raises(InputError, match=r"3 cells, but there are 2 columns.*a\.csv:4"):
        texts(f"csv:{path}#a")


def test_long_numbers_in_other_fields(tmp_path: Path) -> None:
    """They lose no text: Python's json reads at most 4,300 digits."""
    (tmp_path / "a.jsonl").write_text('{"text": "a stone", "x": ' + "7" * 5000 + "}\n")
    assert texts(f"jsonl:{tmp_path}/a.jsonl") == ["a stone"]


@pytest.mark.parametrize("name", ["a.csv", "a.CSV.gz", "a.tsv", "a.jsonl", "a.jsonl.zst", "a.parquet"])
def test_records_are_not_read_as_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(PACKERS.get(path.suffix, bytes)(b"id,text\n1,a\n"))
    kind = "jsonl" if "jsonl" in name else "parquet" if "parquet" in name else "csv"
    holder = "FIELD" if kind == "jsonl" else "COLUMN"
    with pytest.raises(InputError, match=rf"{kind}:{path}#{holder}.*E-SOURCE-RECORDS"):
        open_source(f"text:{path}")
    assert texts(f"text:{path}#line") == ["id,text", "1,a"]


def test_lines_of_other_ends(tmp_path: Path) -> None:
    path = tmp_path / "mac.txt"
    path.write_bytes(b"\xef\xbb\xbfone\rtwo\r\rthree\r")
    assert texts(f"text:{path}") == ["one\ntwo", "three"]
    path.write_bytes(b"one\r" * (1 << 14) + b"\r\n\r\n\rtwo\nthree")
    assert [text[-9:] for text in texts(f"text:{path}")] == ["e\none\none", "two\nthree"]
    path.write_bytes(b"x" * (1 << 16) + b"\r\ra\r\rb")
    assert texts(f"text:{path}#file") == ["x" * (1 << 16) + "\r\ra\r\rb"], "the beginning decides"
    # Where "\n" ends lines, a "\r" in a line does not: tools that count lines agree.
    path.write_bytes(b"one\r\r\ntwo\rtwo\n\nthree\n")
    assert texts(f"text:{path}") == ["one\ntwo\rtwo", "three"]


def test_old_line_ends_in_pieces(tmp_path: Path) -> None:
    r"""A "\r\n" that two reads divide is one line end."""
    reader = reading_lines._CarriageReturns(b"a\r", io.BytesIO(b"\n\rb\r\nc"))
    assert io.BufferedReader(reader, 1).read() == b"a\n\nb\nc"


def test_lines_that_look_empty_are_boundaries(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n\u200b\ntwo\n\ufeff \u2060\nthree\u200bthree\n\u00ad\n", encoding="utf-8")
    assert texts(f"text:{path}") == ["one", "two", "three\u200bthree"]


@pytest.mark.parametrize("at", [10, 100_000])
def test_nul_is_refused_anywhere(tmp_path: Path, at: int) -> None:
    data = bytearray(b"text here\n" * 20_000)
    data[at] = 0
    for name in ("a.txt", "a.jsonl"):
        (tmp_path / name).write_bytes(data if name == "a.txt" else data.replace(b"text here", b'{"text":"a"}'))
        kind = "jsonl" if "jsonl" in name else "text"
        with pytest.raises(InputError, match=f"NUL byte in line {1 + at // 10} .*{name}.*E-SOURCE-NUL"):
            texts(f"{kind}:{tmp_path}/{name}")
    # A pattern does not pass over such a text.
    (tmp_path / "b.txt").write_text("A stone.\n")
    with pytest.raises(InputError, match=r"a\.txt.*E-SOURCE-NUL"):
        texts(f"text:{tmp_path}/*.txt")


def test_an_escaped_nul_is_refused_by_every_source_of_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule of plain text: the tokenizer would drop the character, or give an unknown token for it."""
    cells = ["one", None, "t\0wo"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": cell}) + "\n" for cell in cells))
    (tmp_path / "a.csv").write_text("id,text\n1,one\n2,\n3,t\0wo\n")
    pq.write_table(pa.table({"text": cells}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": pa.array([b"one", None, b"t\0wo"], pa.binary())}), tmp_path / "b.parquet")
    make_tfds(tmp_path / "made" / "1.0.0", {"train": ["one", "", "t\0wo"]})
    stand_in = types.SimpleNamespace(
        load_dataset=lambda *_, **__: {"train": [{"text": cell} for cell in cells]},
        load_dataset_builder=lambda *_: types.SimpleNamespace(),
    )
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    held = {
        f"jsonl:{tmp_path}/a.jsonl": rf"field 'text' holds a NUL .*character 1 \({tmp_path}/a\.jsonl:3\)",
        f"parquet:{tmp_path}/a.parquet": rf"column 'text' holds a NUL .*{tmp_path}/a\.parquet:3",
        f"parquet:{tmp_path}/b.parquet": rf"column 'text' holds a NUL .*{tmp_path}/b\.parquet:3",
        f"tfds:{tmp_path}/made/1.0.0#body": r"feature 'body' holds a NUL .*train:2",
        "hf:a": r"column 'text' holds a NUL .*hf:a train:2",
    }
    for spec, words in held.items():
        with pytest.raises(InputError, match=rf"{words}.*E-SOURCE-NUL"):
            list(open_source(spec).documents())
    with pytest.raises(InputError, match=r"NUL byte in line 4.*a\.csv.*E-SOURCE-NUL"):
        texts(f"csv:{tmp_path}/a.csv")
    # `embed` reads records as they are, and takes the same ones.
    source = open_source(f"parquet:{tmp_path}/b.parquet")
    assert isinstance(source, RecordFiles)
    pq.write_table(pa.table({"text": ["one", "t\0wo"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet:2.*E-SOURCE-NUL"):
        list(source.texts())
    # Only the field of the text counts.
    (tmp_path / "a.jsonl").write_text('{"text": "one", "id": "\\u0000"}\n')
    assert texts(f"jsonl:{tmp_path}/a.jsonl") == ["one"]


def test_wrapped_lines_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("A stone\nis here. It\n  is cold.\n\nNext\nparagraph.\n\n这是\n一个。\n", encoding="utf-8")
    assert texts(f"text:{path}#wrapped") == ["A stone is here. It is cold.\nNext paragraph.\n这是一个。"]


def test_names_with_a_hash(tmp_path: Path) -> None:
    for name in ("c#notes", "c#line", "d#1/a.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"text": "x", "body": "y"}\n')
    assert texts(f"text:{tmp_path}/c#notes") == texts(f"text:{tmp_path}/c#line") == ['{"text": "x", "body": "y"}']
    assert texts(f"text:{tmp_path}/c#*#line") and texts(f"jsonl:{tmp_path}/d#1/*.jsonl") == ["x"]
    assert texts(f"jsonl:{tmp_path}/d#1/*.jsonl#body") == ["y"]
    with pytest.raises(InputError, match=r"no such file.*E-SOURCE-FILE"):
        open_source(f"text:{tmp_path}/none#such.txt")


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "w") as file:
        file.write("A stone.\n")
    (tmp_path / "b.txt").write_text("A river.\n")
    source = open_source(f"text:{tmp_path}/*.txt")
    found = list(source.documents())
    assert [(document.name, document.text) for document in found] == [
        ("b.txt:1", "A river."),
        ("caf\\xe9.txt:1", "A stone."),
    ]
    one = open_source(f"text:{tmp_path}/caf\udce9.txt")
    for found_source in (source, one):
        json.dumps(found_source.describe(), ensure_ascii=False).encode()
    assert one.spec.endswith("caf\\xe9.txt") and [document.text for document in one.documents()] == ["A stone."]


def test_a_parquet_file_with_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["A stone."]}), tmp_path / "a.parquet")
    (tmp_path / "a.parquet").rename(tmp_path / "caf\udce9.parquet")
    source = open_source(f"parquet:{tmp_path}/*.parquet")
    assert [document.text for document in source.documents()] == ["A stone."]


def test_records_with_a_nul_byte_are_not_passed_over(tmp_path: Path) -> None:
    """One damaged byte must not cost all records of a file, and `embed` must not lose rows."""
    (tmp_path / "a.jsonl").write_text('{"text": "A stone."}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "A\0 river."}\n{"text": "A hill."}\n')
    (tmp_path / "c.jsonl").write_text("")
    with pytest.raises(InputError, match=r"NUL byte in line 1.*b\.jsonl.*E-SOURCE-NUL"):
        open_source(f"jsonl:{tmp_path}/*.jsonl")
    (tmp_path / "b.jsonl").unlink()
    assert [document.text for document in open_source(f"jsonl:{tmp_path}/*.jsonl").documents()] == ["A stone."]


def test_a_folder_with_files_without_text(tmp_path: Path) -> None:
    """They are left out and said. Files that the user has to mend are named all at once."""
    contents = {
        "a.txt": b"A stone.\n",
        "empty.txt": b"",
        # As pictures begin: a first line that is not UTF-8, and zero bytes behind it.
        "picture.txt": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        "void.txt.gz": gzip.compress(b""),
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    source = open_source(f"text:{tmp_path}/*")
    assert [document.text for document in source.documents()] == ["A stone."]
    assert source.findings() == [
        "3 files left out: 2 .txt (the file is empty): empty.txt, void.txt.gz; 1 .txt (not a text file): picture.txt"
    ]
    for name, data in (("b.txt", b"caf\xe9\n"), ("c.txt.gz", b"not packed"), ("d.txt", "x".encode("utf-16"))):
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=r"3 of 7 files.*b\.txt.*0xe9.*c\.txt\.gz.*d\.txt.*UTF-16.*E-SOURCE-FILES"):
        open_source(f"text:{tmp_path}/*")
    every = r"3 of 3 files.*empty\.txt.*picture\.txt.*void\.txt\.gz.*"
    advice = r"empty\.txt, void\.txt\.gz: Remove it or narrow the pattern\. picture\.txt: Give UTF-8 text files\."
    with pytest.raises(InputError, match=rf"{every}\)\. {advice} \[E-SOURCE-FILES"):
        open_source(f"text:{tmp_path}/[epv]*")
    with pytest.raises(InputError, match="E-SOURCE-EMPTY"):
        open_source(f"text:{tmp_path}/void.txt.gz")


def test_files_that_give_no_document_are_named(tmp_path: Path) -> None:
    for name in ("blank", "zero", "rows"):
        (tmp_path / name).mkdir()
    (tmp_path / "blank" / "a.txt").write_text("A stone.\n")
    (tmp_path / "blank" / "b.txt").write_text(" \n\u200b\n" * 40_000)
    pq.write_table(pa.table({"text": ["A stone."]}), tmp_path / "zero" / "a.parquet")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "zero" / "b.parquet")
    (tmp_path / "rows" / "a.csv").write_text("text\nA stone.\n")
    (tmp_path / "rows" / "b.csv").write_text("text\n")
    for spec, name in (("text:blank/*", "b.txt"), ("parquet:zero/*", "b.parquet"), ("csv:rows/*", "b.csv")):
        source = open_source(spec.replace(":", f":{tmp_path}/"))
        for _ in range(2):  # A second reading counts anew.
            assert [document.text for document in source.documents()] == ["A stone."]
            assert source.findings() == [f"1 file left out: 1 .{name[2:]} (no text in it): {name}"]
    (tmp_path / "rows" / "b.csv").write_text(" \n\n")
    source = open_source(f"csv:{tmp_path}/rows/*")
    assert source.findings() == ["1 file left out: 1 .csv (the file has only white space): b.csv"]
    for index in range(30):
        (tmp_path / "rows" / f"{index:02d}.csv").write_text("")
    (finding,) = open_source(f"csv:{tmp_path}/rows/*").findings()
    assert (
        finding.startswith("31 files left out: 30 .csv (the file is empty): 00.csv, ") and " and 27 more; " in finding
    )


def test_utf16_without_a_mark_is_not_taken_for_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A stone.\n")
    for encoding in ("utf-16-le", "utf-16-be"):
        (tmp_path / "b.txt").write_text("A river, of Café and “ink”.\n", encoding=encoding)
        name = encoding.upper().replace("16-", "16")
        with pytest.raises(InputError, match=rf"looks like UTF-16.*b\.txt.*iconv -f {name} .*E-SOURCE-ENCODING"):
            open_source(f"text:{tmp_path}/*")


def test_a_text_with_many_zero_bytes_is_damaged_and_no_picture(tmp_path: Path) -> None:
    """As a crash leaves it: blocks that were never written. A file of only zero bytes has no text."""
    (tmp_path / "a.txt").write_text("A stone.\n" * 1000 + "\0" * 2000)
    with pytest.raises(InputError, match=r"NUL byte in line 1001.*E-SOURCE-NUL"):
        open_source(f"text:{tmp_path}/a.txt")
    (tmp_path / "a.txt").write_bytes("Une pierre \xe9.\n".encode("latin-1") * 1000 + b"\0")
    with pytest.raises(InputError, match=r"E-SOURCE-(NUL|ENCODING)"):
        open_source(f"text:{tmp_path}/a.txt")
    (tmp_path / "a.txt").write_bytes(bytes(5000))
    with pytest.raises(InputError, match=r"not a text file: 100%.*E-SOURCE-BINARY"):
        open_source(f"text:{tmp_path}/a.txt")


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    """A source is read more than once, and a pipe without a writer would hang."""
    os.mkfifo(tmp_path / "pipe.txt")
    for path in (tmp_path / "pipe.txt", Path("/dev/zero")):
        for kind in ("text", "jsonl", "csv", "parquet"):
            with pytest.raises(InputError, match=r"(pipe|device).*E-FILE-KIND"):
                open_source(f"{kind}:{path}")


def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_lines, "MAX_LINE_BYTES", 1 << 20)
    monkeypatch.setattr(reading_lines, "MAX_DOCUMENT_BYTES", 1 << 16)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "fine"}\n{"text": "' + b"x" * (1 << 22)))
    lengths: list[int] = []
    real = reading_lines._decode
    monkeypatch.setattr(reading_lines, "_decode", lambda data, *rest: (lengths.append(len(data)), real(data, *rest))[1])
    with pytest.raises(InputError, match=r"longer than 1 MiB.*a\.jsonl\.gz:2.*E-SOURCE-LINE"):
        texts(f"jsonl:{path}")
    assert max(lengths) <= 1 << 16
    # A long line within the bound arrives whole.
    path.write_bytes(gzip.compress(b'{"text": "' + b"x" * 500_000 + b'"}'))
    assert texts(f"jsonl:{path}") == ["x" * 500_000]


STREAMS = [packer for packer in PACKERS if packer]


def packed(suffix: str) -> tuple[bytes, list[bytes]]:
    """Some text, and ten streams that hold it. A .zst has a checksum, as the program zstd writes it."""
    text = "".join(f"Line {index} of a text, {index * 7919 % 1000}.\n" for index in range(2000)).encode()
    pack = zstandard.ZstdCompressor(write_checksum=True).compress if suffix == ".zst" else PACKERS[suffix]
    return text, [pack(text[start : start + 6000]) for start in range(0, len(text), 6000)]


@pytest.mark.parametrize("suffix", STREAMS)
def test_several_streams(tmp_path: Path, suffix: str) -> None:
    text, streams = packed(suffix)
    path = tmp_path / f"a.txt{suffix}"
    assert len(streams) > 8
    # Zeros that xz(1) takes behind each stream, and gzip(1) behind the last.
    joints = {".xz": [(b"", b""), (b"\0" * 4, b"\0" * 8)], ".gz": [(b"", b""), (b"", b"\0" * 3)]}
    for joint, end in joints.get(suffix, [(b"", b"")]):
        path.write_bytes(joint.join(streams) + end)
        with open_bytes(path) as file:
            assert file.read() == text
    if suffix == ".zst":
        # Frames that every reader skips, as seekable files have them.
        skipped = b"\x50\x2a\x4d\x18\x05\0\0\0abcde"
        path.write_bytes(b"".join(skipped + stream for stream in streams) + skipped)
        with open_bytes(path) as file:
            assert file.read() == text


@pytest.mark.parametrize("suffix", STREAMS)
def test_damage_anywhere_is_seen(tmp_path: Path, suffix: str) -> None:
    """Cuts within any stream, wrong bytes in any place, and something behind the last stream."""
    text, streams = packed(suffix)
    whole = b"".join(streams)
    path = tmp_path / f"a.txt{suffix}"
    ends = {sum(map(len, streams[:count])) for count in range(len(streams) + 1)}
    cuts = [cut for cut in (*range(1, len(whole), 501), *(end - 1 for end in ends if end), len(streams[0]) + 1)]
    cases = [whole[:cut] for cut in cuts if cut not in ends]
    cases += [whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :] for at in (len(streams[0]), *cuts[1:-1:4])]
    # What gzip(1), bzip2(1), xz(1) and zstd(1) refuse, or leave out with a warning.
    cases += [whole + end for end in (b"garbage", b"\0" * 4 + b"garbage", b"\0" * 6)]
    cases += [b"\0" * 4 + whole, streams[0] + b"\0" * 3 + streams[1], b"\0" * 2048, b"\0" * 4100 + whole]
    if suffix == ".xz":
        cases += [lzma.compress(text, format=lzma.FORMAT_ALONE), whole + lzma.compress(b"x", format=lzma.FORMAT_ALONE)]
    else:
        cases.append(streams[0] + b"\0" * 4 + streams[1])
    if suffix == ".gz":
        cases.remove(whole + b"\0" * 6)
    for data in cases:
        path.write_bytes(data)
        with open_bytes(path) as file, pytest.raises(DamagedFile):
            assert file.read() == text
    with pytest.raises(InputError, match=r"damaged or mislabelled.*E-SOURCE-DAMAGED"):
        texts(f"text:{path}")


def test_parquet(tmp_path: Path) -> None:
    rows = [f"document {index}" for index in range(600)]
    pq.write_table(pa.table({"body": [*rows, None, "  "], "id": range(602)}), tmp_path / "a.parquet", row_group_size=70)
    found = list(open_source(f"parquet:{tmp_path}/*.parquet#body").documents())
    assert [document.text for document in found] == rows and found[9].name == "a.parquet:10"
    # "body" is the only column of text.
    assert texts(f"parquet:{tmp_path}/a.parquet") == rows
    with pytest.raises(InputError, match=r"int64.*E-SOURCE-FIELD"):
        open_source(f"parquet:{tmp_path}/a.parquet#id")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no it is not")
    with pytest.raises(InputError, match=r"b\.parquet.*E-SOURCE-DAMAGED"):
        open_source(f"parquet:{tmp_path}/*.parquet#body")


def test_a_flipped_bit_in_a_page_of_parquet_is_seen(tmp_path: Path) -> None:
    """Where the writer gave the page a checksum. A wrong letter would pass for text."""
    path = tmp_path / "a.parquet"
    options: dict[str, Any] = {"compression": "none", "use_dictionary": False}
    pq.write_table(
        pa.table({"text": [f"document {index}" for index in range(50)]}), path, write_page_checksum=True, **options
    )
    data = bytearray(path.read_bytes())
    data[data.index(b"document 7")] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"(?i)damaged near row 0 .*a\.parquet.*E-SOURCE-DAMAGED"):
        texts(f"parquet:{path}")


def make_tfds(directory: Path, splits: dict[str, list[str]]) -> None:
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter

    directory.mkdir(parents=True)
    features = tfds.features.FeaturesDict({"body": tfds.features.Text(), "n": tfds.features.Scalar(np.int64)})
    infos = []
    for split, rows in splits.items():
        writer = ArrayRecordWriter(str(directory / f"made-{split}.array_record-00000-of-00001"), "group_size:1")
        for index, text in enumerate(rows):
            writer.write(features.serialize_example({"body": text, "n": index}))
        writer.close()
        infos.append(tfds.core.SplitInfo(name=split, shard_lengths=[len(rows)], num_bytes=100))
    tfds.folder_dataset.write_metadata(
        data_dir=str(directory),
        features=features,
        split_infos=infos,
        filename_template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        check_data=False,
    )


def test_tfds(tmp_path: Path) -> None:
    make_tfds(tmp_path / "made" / "1.0.0", {"train": [f"text é {i}" for i in range(300)], "validation": ["held out"]})
    found = list(open_source(f"tfds:{tmp_path}/made/1.0.0#body").documents())
    assert [document.split for document in found] == ["train"] * 300 + ["validation"]
    assert found[7] == Document("train:7", "text é 7", "train") and found[-1].text == "held out"
    with pytest.raises(InputError, match=r"'text'.*body.*E-SOURCE-FIELD"):
        open_source(f"tfds:{tmp_path}/made/1.0.0")
    with pytest.raises(InputError, match=r"'n'.*E-SOURCE-FIELD"):
        list(open_source(f"tfds:{tmp_path}/made/1.0.0#n").documents())
    make_tfds(tmp_path / "held" / "1.0.0", {"test": ["a"]})
    with pytest.raises(InputError, match=r"Splits there: test.*E-SOURCE-SPLIT"):
        open_source(f"tfds:{tmp_path}/held/1.0.0#body")
    make_tfds(tmp_path / "one" / "1.0.0", {"train": ["a", "b"]})
    assert {document.split for document in open_source(f"tfds:{tmp_path}/one/1.0.0#body").documents()} == {None}


def test_hf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in for the optional library; its two functions are all that is used of it."""
    asked: list[tuple[Any, ...]] = []

    def load_dataset(name: str, config: str | None, *, streaming: bool) -> dict[str, list[dict[str, Any]]]:
        asked.append((name, config, streaming))
        return {"train": [{"body": "one"}, {"body": None}, {"body": "two"}], "test": [{"body": "three"}]}

    def load_dataset_builder(name: str, config: str | None) -> Any:
        return types.SimpleNamespace(hash="abc", info=types.SimpleNamespace(config_name=config, version="1.0.0"))

    module = types.SimpleNamespace(load_dataset=load_dataset, load_dataset_builder=load_dataset_builder)
    monkeypatch.setitem(sys.modules, "datasets", module)
    source = open_source("hf:org/name:config.en#body")
    assert [(d.text, d.split) for d in source.documents()] == [
        ("one", "train"),
        ("two", "train"),
        ("three", "validation"),
    ]
    assert asked == [("org/name", "config.en", True)] and source.describe()["revision"] == "abc"
    with pytest.raises(InputError, match=r"'text'.*body.*E-SOURCE-FIELD"):
        open_source("hf:org/name")
    module.load_dataset = lambda *_, **__: {"test": []}
    with pytest.raises(InputError, match=r"Splits there: test.*E-SOURCE-SPLIT"):
        open_source("hf:org/name")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"jaxbert\[hf\].*E-SOURCE-INSTALL"):
        open_source("hf:org/name")


class TooManyRequests(OSError):
    """As of `requests`: the status is in the response."""

    response = types.SimpleNamespace(status_code=429)


class NotFound(OSError):
    response = types.SimpleNamespace(status_code=404)


HttpxError = type("ReadTimeout", (Exception,), {"__module__": "httpx"})
HF_FAILURES = [
    (ConnectionError("reset by peer"), Interrupted),
    (TimeoutError(), Interrupted),
    (TooManyRequests("slow down"), Interrupted),
    (HttpxError("timed out"), Interrupted),
    (NotFound("no such file"), InputError),
    (FileNotFoundError("no such dataset"), InputError),
    (ValueError("bad row"), InputError),
]


@pytest.mark.parametrize(("error", "kind"), HF_FAILURES)
def test_hf_network_errors_are_interruptions(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception]
) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"text": "one"}
        yield {"text": "lone \ud800 surrogate"}
        raise error

    class Stream:
        def __iter__(self) -> Iterator[dict[str, Any]]:
            return rows()

    def unreachable(*arguments: Any, **options: Any) -> Any:
        raise error

    module = types.SimpleNamespace(
        load_dataset=lambda *_, **__: {"train": Stream()}, load_dataset_builder=lambda *_: types.SimpleNamespace()
    )
    monkeypatch.setitem(sys.modules, "datasets", module)
    documents = open_source("hf:name").documents()
    assert [next(documents).text, next(documents).text] == ["one", "lone \N{REPLACEMENT CHARACTER} surrogate"]
    code = "E-SOURCE-NETWORK" if kind is Interrupted else "E-SOURCE-DATASET"
    with pytest.raises(kind, match=f"hf:name train:2.*{code}"):
        next(documents)
    module.load_dataset_builder = unreachable
    with pytest.raises(kind, match=code):
        open_source("hf:name")


@pytest.mark.parametrize("dictionary", [False, True])
def test_lone_surrogates_are_replaced(tmp_path: Path, dictionary: bool) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a \\ud800 b \\ud83d\\ude00"}\n')
    assert texts(f"jsonl:{tmp_path}/a.jsonl") == ["a \N{REPLACEMENT CHARACTER} b \N{GRINNING FACE}"]
    cells = pa.array([b"fine", None, b"a \xed\xa0\x80 b"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": cells.dictionary_encode() if dictionary else cells}), tmp_path / "a.parquet")
    assert texts(f"parquet:{tmp_path}/a.parquet") == ["fine", "a \N{REPLACEMENT CHARACTER} b"]


def test_a_failing_disk_is_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text\n")
    for code, kind in (
        (errno.EIO, Interrupted),
        (errno.ESTALE, Interrupted),
        (errno.ENAMETOOLONG, InputError),
        (None, InputError),
    ):
        name = "E-SOURCE-READ" if kind is Interrupted else "E-SOURCE-FILE"
        with pytest.raises(kind, match=rf"a\.txt.*{name}"), reading_lines.reading(path):
            raise OSError(code, "failed") if code else OSError("Invalid data stream")


@pytest.fixture
def few_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real source over a botocore of three services."""
    from jaxbert.data.sources import sample

    services = {
        "alpha": {"2019-01-01": ["<p>Old.</p>"], "2020-01-01": ["<p>Shared.</p>", "<p>Own.</p>", "<p>Own.</p>", ""]},
        "beta": {"2020-01-01": ["<p>Shared.</p>", "Own."]},
        "gamma": {"2020-01-01": ["<div>Shared.</div>", "Only <b>here</b>."]},
    }
    root = tmp_path / "botocore" / "data"
    for name, versions in services.items():
        for version, strings in versions.items():
            (root / name / version).mkdir(parents=True)
            shapes = {str(index): {"documentation": string} for index, string in enumerate(strings)}
            data = json.dumps({"metadata": {"documentation": 3}, "operations": {"list": [shapes]}}).encode()
            path = root / name / version / "service-2.json"
            if name == "alpha":
                path.write_bytes(data)
            else:
                path.with_suffix(".json.gz").write_bytes(gzip.compress(data))
    (root / "endpoints.json").write_text("{}")
    found = types.SimpleNamespace(submodule_search_locations=[str(root.parent)])
    monkeypatch.setattr(sample.importlib.util, "find_spec", lambda name: found)
    monkeypatch.setattr(sample, "_split", lambda service: "validation" if service == "alpha" else "train")
    return root


def test_sample_takes_each_string_once_and_train_goes_first(few_services: Path) -> None:
    found = list(open_source("sample:aws-docs").documents())
    assert found == [
        Document("beta", "Shared.\nOwn.", "train"),
        Document("gamma", "Only here.", "train"),
        # Only the newest version counts, and of that everything stands in train.
    ]
    (few_services / "alpha" / "2021-01-01").mkdir()
    (few_services / "alpha" / "2021-01-01" / "service-2.json").write_text(
        '{"documentation": "<p>New.<br/>Shared.</p>"}'
    )
    assert list(open_source("sample:aws-docs").documents())[-1] == Document("alpha", "New.\nShared.", "validation")
    (few_services / "alpha" / "2021-01-01" / "service-2.json").write_text("{")
    with pytest.raises(InputError, match="E-SOURCE-DAMAGED"):
        list(open_source("sample:aws-docs").documents())


def test_sample_of_the_installed_botocore() -> None:
    from jaxbert.data.sources.sample import _split

    source = open_source("sample:aws-docs")
    services = [path.name for path in source.root.iterdir() if path.is_dir()]  # type: ignore[attr-defined]
    held_out = sum(_split(service) == "validation" for service in services)
    assert len(services) > 300 and 0.06 < held_out / len(services) < 0.14
    first = next(iter(source.documents()))
    assert len(first.text) > 1000 and "<p>" not in first.text
    with pytest.raises(InputError, match=r"Known: aws-docs.*E-SOURCE-KIND"):
        open_source("sample:wikipedia")


def test_html_is_stripped() -> None:
    html = (
        "<p>Tags &lt;b&gt; and  <code>a &amp; b</code>.</p> <ul> <li>One</li><li><p>Two<br>2</p></li></ul><!-- no -->"
    )
    html += "a < b"
    assert strip_html(html) == "Tags <b> and a & b.\nOne\nTwo\n2\na < b"


def test_the_hash_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n")
    first = open_source(f"text:{path}").hash
    assert open_source(f"text:{path}").hash == first
    assert open_source(f"text:{path}#line").hash != first
    path.write_text("two\n")
    assert open_source(f"text:{path}").hash != first


BAD_TEXT: dict[str, tuple[bytes, str]] = {
    "latin.txt": ("fine\ncafé\n".encode("latin-1"), "0xe9 in line 2.*E-SOURCE-ENCODING"),
    "utf16.txt": ("text\n".encode("utf-16"), "E-SOURCE-ENCODING"),
    "binary.txt": (b"\0\1\2\3", "E-SOURCE-BINARY"),
    "empty.txt": (b"", "E-SOURCE-EMPTY"),
    "plain.gz": (b"not packed at all", "E-SOURCE-DAMAGED"),
    "plain.bz2": (b"not packed at all", "E-SOURCE-DAMAGED"),
    "plain.xz": (b"not packed at all", "E-SOURCE-DAMAGED"),
    "plain.zst": (b"not packed at all", "E-SOURCE-DAMAGED"),
    "cut.gz": (gzip.compress(os.urandom(1000))[:500], "E-SOURCE-DAMAGED"),
    "cut.xz": (lzma.compress(os.urandom(1000))[:500], "E-SOURCE-DAMAGED"),
}


@pytest.mark.parametrize("name", BAD_TEXT)
def test_bad_text_files_are_refused_when_opened(tmp_path: Path, name: str) -> None:
    data, what = BAD_TEXT[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=what) as caught:
        open_source(f"text:{tmp_path}/{name}")
    assert name in caught.value.where and caught.value.fix


def test_bad_bytes_far_into_a_file_are_refused_when_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"good line\n" * 20_000 + b"bad \xff line\n")
    with pytest.raises(InputError, match=r"0xff in line 20001.*E-SOURCE-ENCODING"):
        list(open_source(f"text:{path}").documents())


BAD_JSONL = [
    ("{", "E-SOURCE-FIELD"),
    ("[1]", "E-SOURCE-FIELD"),
    ('{"txet": "a", "id": "b"}', r"'text'.*Did you mean txet.*E-SOURCE-FIELD"),
    ('{"text": 3}', "3.*E-SOURCE-FIELD"),
    ('{"text": ["a"]}', "list.*E-SOURCE-FIELD"),
    ('{"text": true}', "bool.*E-SOURCE-FIELD"),
    ('{"text": "a", "x": ' + "[" * 100_000 + "]" * 100_000 + "}", "not JSON.*E-SOURCE-FIELD"),
    ('{"text": ' + "1" * 10_000 + "}", r"'text' holds inf \(float\), not text.*E-SOURCE-FIELD"),
]


@pytest.mark.parametrize(("line", "what"), BAD_JSONL)
def test_bad_json_lines(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=what) as caught:
        open_source(f"jsonl:{path}")
    path.write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(InputError, match=what) as caught:
        list(open_source(f"jsonl:{path}").documents())
    assert caught.value.where == f"{path}:2"


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="E-SOURCE-FILE"):
        open_source(f"text:{tmp_path}/*.txt")
    with pytest.raises(InputError, match=r"the folder has no files.*E-SOURCE-FILE"):
        open_source(f"text:{tmp_path}")


@contextlib.contextmanager
def unprivileged() -> Iterator[Path]:
    """A directory that everybody may enter, as somebody who is not root."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)


def test_files_that_one_may_not_read() -> None:
    with unprivileged() as directory:
        path = directory / "secret.txt"
        path.write_text("text\n")
        path.chmod(0)
        with pytest.raises(InputError, match=r"secret\.txt.*E-SOURCE-PERMISSION"):
            open_source(f"text:{path}")
