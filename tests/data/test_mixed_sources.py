"""A folder, a file or a pattern without `KIND:`: each file by its ending, what is left out, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxbert.data.sources import lines, open_source, reached_anywhere, without_folders
from jaxbert.data.sources.html import text_of_page
from jaxbert.data.sources.markdown import prose_of
from jaxbert.errors import InputError
from tests.data.test_sources import BAD_TEXT, PACKERS, unprivileged

PAGE = (
    "<!doctype html><html><head><title>T</title><script>let x</script></head><body><nav><a href='/'>Home</a></nav>"
    "<main><h1>The river</h1><p>The river is\n cold &amp; <b>deep</b>.</p><pre><code>x = 1</code></pre></main>"
    "<footer>Imprint</footer></body></html>"
)
CONTENTS: dict[str, tuple[str, list[str]]] = {
    "a.txt": ("A stone.\n\nA hill.\n", ["A stone.\nA hill."]),
    "b.md": ("# A mill\n\nIt is\nold.\n", ["A mill\nIt is old."]),
    "c.csv": ("id,text\n1,one row\n2,two rows\n", ["one row", "two rows"]),
    "d.tsv": ("text\tid\na, b\t1\n", ["a, b"]),
    "e.jsonl": ('{"text": "line one"}\n{"text": "line two"}\n', ["line one", "line two"]),
    "f.json": ('[{"text": "first"}, {"text": "second"}]', ["first", "second"]),
    "g.html": (PAGE, ["The river\nThe river is cold & deep."]),
}


def texts(spec: str) -> list[str]:
    return [document.text for document in open_source(spec).documents()]


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_folder_of_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    for name, (content, _) in CONTENTS.items():
        (tmp_path / f"{name}{suffix}").write_bytes(PACKERS[suffix](content.encode()))
    pq.write_table(pa.table({"text": ["cell"]}), tmp_path / "h.parquet")
    packed = PACKERS[suffix]((tmp_path / "h.parquet").read_bytes())
    (tmp_path / "h.parquet").unlink()
    (tmp_path / f"h.parquet{suffix}").write_bytes(packed)
    expected = [text for _, found in CONTENTS.values() for text in found] + ["cell"]
    for spec in (str(tmp_path), f"{tmp_path}/", f"files:{tmp_path}", f"{tmp_path}/*"):
        assert texts(spec) == expected
    # A file by itself is read as in the folder.
    for name, (_, found) in CONTENTS.items():
        assert texts(f"{tmp_path}/{name}{suffix}") == found
    assert open_source(str(tmp_path)).findings() == []


def test_the_hash_is_that_of_the_files_and_of_the_libraries(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A stone.\n")
    bare, named = open_source(str(tmp_path)), open_source(f"files:{tmp_path}")
    assert bare.hash == named.hash and "versions" not in bare.describe()
    (tmp_path / "pictures.png").write_bytes(b"x")
    assert open_source(str(tmp_path)).hash == bare.hash, "a picture more is not another text"
    (tmp_path / "b.html").write_text(PAGE)
    (tmp_path / "c.md").write_text("A mill.")
    described = open_source(str(tmp_path)).describe()
    assert set(described["versions"]) == {"resiliparse", "markdown-it-py"}


def test_what_is_left_out_is_said_by_ending_and_reason(tmp_path: Path) -> None:
    (tmp_path / "deep" / "down").mkdir(parents=True)
    (tmp_path / "deep" / "down" / "a.txt").write_text("A stone.\n")
    for name in ("p1.png", "p2.png", "p3.png", "p4.png", "x.pdf", "y.docx", "LICENSE", "z.py", ".hidden.txt"):
        (tmp_path / "deep" / name).write_text("text\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "b.txt").write_text("A hill.\n")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "blank.txt").write_text(" \n\n")
    (tmp_path / "numbers.csv").write_text("id,n\n1,2\n")
    (tmp_path / "settings.json").write_text('{"size": 3}')
    (tmp_path / "loop").symlink_to(tmp_path)
    source = open_source(str(tmp_path))
    assert [(found.name, found.text) for found in source.documents()] == [("deep/down/a.txt:1", "A stone.")]
    (finding,) = source.findings()
    assert finding.startswith("14 files left out: ")
    for part in (
        "4 .png (pictures): deep/p1.png, deep/p2.png, deep/p3.png and 1 more",
        "1 .pdf (extract the text first, for example pdftotext FILE.pdf): deep/x.pdf",
        "1 .docx (save as text first, for example pandoc -t plain): deep/y.docx",
        "1 without an ending (not a known kind of text): deep/LICENSE",
        "1 .py (not a known kind of text): deep/z.py",
        "1 .txt (the file is empty): empty.txt",
        "1 .txt (no text in it): blank.txt",
        "1 .csv (no column 'text'): numbers.csv",
        "1 .json (no field 'text'): settings.json",
        "2 hidden",
    ):
        assert part in finding


def test_what_runs_wrote_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A stone.\n")
    folders = {
        "runs/one": ("run", ["config.json", ".lock", "auto.json"]),
        "runs/two": ("run", ["config.json", "checkpoints/2/x.json", "parameters.txt", "tokenizer/vocab.txt"]),
        "out/hf": ("model", ["config.json", "model.safetensors", "vocab.txt"]),
        "out/vocabulary": ("tokenizer", ["tokenizer.json", "vocab.txt"]),
        "out/records": ("shards", [".progress/x.json", "records-train.array_record-00000", "features.json"]),
        "out/rows": ("shards", ["manifest.json", "rows-train.array_record-00000"]),
    }
    for folder, (_, names) in folders.items():
        for name in (*names, "report.html"):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).write_text('{"text": "A run."}')
    # What a user has beside a config of the same name is text.
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "config.json").write_text('{"text": "A hill."}')
    expected = ["A stone.", "A hill."]
    for spec in (str(tmp_path), f"{tmp_path}/**/*", f"{tmp_path}/**/*.*"):
        source = open_source(spec)
        assert [document.text for document in source.documents()] == expected, spec
        assert source.written == {folder: kind for folder, (kind, _) in folders.items()}
        assert source.findings() == [
            "6 folders that training or conversion wrote, left out: out/hf (model), out/records (shards), "
            "out/rows (shards) and 3 more"
        ]
    assert texts(f"text:{tmp_path}/**/*.txt") == texts(f"{tmp_path}/*") == expected[:1]
    # Whoever names such a folder, or a file in it, means it.
    assert texts(f"{tmp_path}/runs/two/parameters.txt") == ['{"text": "A run."}']
    assert "A run." in texts(f"{tmp_path}/runs/one")
    with pytest.raises(InputError, match=r"no files but those of a run \(one\).*E-SOURCE-FILE"):
        open_source(f"{tmp_path}/runs")
    with pytest.raises(InputError, match=r"no files but those of a run \(two\).*E-SOURCE-FILE"):
        open_source(f"{tmp_path}/runs/**/*.txt")


def test_a_folder_without_any_text(tmp_path: Path) -> None:
    for name in ("a.png", "b", "c.py"):
        (tmp_path / name).write_text("A stone.\n")
    with pytest.raises(InputError, match=rf"1 \.png \(pictures\).*text:{tmp_path}/\*\*/\*.*E-SOURCE-NONE"):
        open_source(str(tmp_path))
    # The advice works.
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    assert texts(f"text:{tmp_path}/**/*") == ["A stone."] * 2
    # A file that was named is read as it is.
    assert texts(f"{tmp_path}/b") == texts(f"{tmp_path}/*.py") == ["A stone."]
    assert open_source(f"{tmp_path}/b").findings() == ["files whose ending is not known are read as plain text"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"the folder has no files .*empty.*E-SOURCE-FILE"):
        open_source(f"{tmp_path}/empty")
    with pytest.raises(InputError, match=r"1 \.pdf \(extract the text.*E-SOURCE-NONE"):
        (tmp_path / "empty" / "a.pdf").write_text("x")
        open_source(f"{tmp_path}/empty/a.pdf")


@pytest.mark.parametrize("address", ["https://example.com/a.txt", "gs://bucket/*.txt", "s3://bucket/a.txt"])
def test_an_address_is_no_file(address: str) -> None:
    with pytest.raises(InputError, match=r"Copy the text to this machine first.*E-SOURCE-FILE"):
        open_source(f"files:{address}")


def test_the_advice_of_a_folder_without_any_text_can_be_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "my [x] 'texts'"
    folder.mkdir()
    (folder / "a.bin").write_bytes(bytes(range(256)) * 9)
    with pytest.raises(InputError) as refused:
        open_source(str(folder))
    assert refused.value.fix == "Convert the files to text, or give others."
    (folder / "b.log").write_text("A stone.\n")
    with pytest.raises(InputError) as refused:
        open_source(str(folder))
    (source,) = shlex.split(refused.value.fix.partition("as plain text: ")[2].removesuffix("."))
    assert texts(source) == ["A stone."]
    rows = ["A stone lies near the old mill of the town, and a hill.", "The river is cold, and deep."]
    (folder / "c d.csv").write_text("\n".join(rows))
    with pytest.raises(InputError) as refused:
        open_source(f"{folder}/c d.csv")
    (source,) = shlex.split(refused.value.fix.partition("columns, give ")[2].removesuffix("."))
    assert texts(source) == rows


def test_a_folder_for_one_kind(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A stone.\n\nA hill.\n")
    (tmp_path / "b.md").write_text("A *mill*.\n")
    (tmp_path / "c.jsonl").write_text('{"text": "a line"}\n')
    (tmp_path / "d.png").write_bytes(b"x")
    source = open_source(f"text:{tmp_path}")
    assert [found.text for found in source.documents()] == ["A stone.", "A hill.", "A *mill*."]
    assert source.findings() == [
        "2 files left out: 1 .jsonl (read such files with jsonl:): c.jsonl; 1 .png (pictures): d.png"
    ]
    assert texts(f"text:{tmp_path}#file") == ["A stone.\nA hill.", "A *mill*."]
    assert texts(f"jsonl:{tmp_path}") == ["a line"] and texts(f"markdown:{tmp_path}") == ["A mill."]
    with pytest.raises(InputError, match=r"no file that ends in \.parquet; .*E-SOURCE-NONE"):
        open_source(f"parquet:{tmp_path}")


@pytest.mark.parametrize("name", BAD_TEXT)
def test_bad_files_are_refused_as_by_text(tmp_path: Path, name: str) -> None:
    data, what = BAD_TEXT[name]
    path = tmp_path / (name.replace(".", ".txt.") if not name.endswith(".txt") else name)
    path.write_bytes(data)
    with pytest.raises(InputError, match=what):
        open_source(str(path))
    # A folder takes what it can, and says what it leaves out.
    (tmp_path / "fine.txt").write_text("A stone.\n")
    source = open_source(str(tmp_path))
    assert [document.text for document in source.documents()] == ["A stone."]
    assert path.name in source.findings()[0]
    if name not in ("binary.txt", "empty.txt"):
        with pytest.raises(InputError, match=what):
            open_source(f"{tmp_path}/*")


def test_a_folder_takes_what_it_can(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1,one row\n2,two, rows\n3,three\n")
    (tmp_path / "b.json").write_text('{"name": "a river", "description": "it is cold"}')
    (tmp_path / "c.json").write_text('{// a comment\n"text": 1}')
    (tmp_path / "d.txt").symlink_to(tmp_path / "nothing")
    (tmp_path / "e.txt").symlink_to("e.txt")
    os.mkfifo(tmp_path / "f.txt")
    (tmp_path / "g.txt").write_text("A stone.\n")
    source = open_source(str(tmp_path))
    assert [document.text for document in source.documents()] == ["one row", "it is cold", "A stone."]
    taken, left_out, cut = source.findings()
    assert taken.startswith("the text of 1 json file is field 'description', which holds more than name ")
    assert left_out.startswith("4 files left out: ") and all(f"{name}." in left_out for name in "cdef")
    assert cut.startswith("1 file read only up to a fault, the rest left out: a.csv (the row has 3 cells")
    with pytest.raises(InputError, match=r"the row has 3 cells.*E-SOURCE-FIELD"):
        texts(f"{tmp_path}/a.csv")


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.csv", "a.jsonl", "a.json", "a.html"])
def test_wrong_bytes_are_refused_in_every_kind(tmp_path: Path, name: str) -> None:
    content = CONTENTS[next(known for known in CONTENTS if known[1:] == name[1:])][0]
    for data, what in (
        (content.replace(" ", "\0", 1).encode(), "E-SOURCE-NUL"),
        (content.encode() + b"\xe9 caf\n", "E-SOURCE-ENCODING"),
        (content.encode("utf-16"), "is UTF-16.*E-SOURCE-ENCODING"),
        (content.encode("utf-16-le"), "looks like UTF-16.*E-SOURCE-ENCODING"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=rf"{name}.*{what}|{what}"):
            texts(str(tmp_path / name))
    packed = tmp_path / f"{name}.gz"
    (tmp_path / name).unlink()
    packed.write_bytes(gzip.compress(content.encode())[:-9])
    with pytest.raises(InputError, match=rf"{name}\.gz.*E-SOURCE-DAMAGED"):
        texts(str(packed))


def test_every_advice_names_its_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A stone.\n")
    (tmp_path / "b.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "c.txt.gz").write_bytes(b"not packed")
    (tmp_path / "d.csv").write_bytes("id,text\n1,a\n".encode("utf-16"))
    (tmp_path / "e.csv").write_text("title,body\nA river,It is cold.\n")
    (tmp_path / "f.jsonl").write_text('{"text": }\n')
    with pytest.raises(InputError, match="E-SOURCE-FILES") as caught:
        open_source(f"{tmp_path}/*")
    assert caught.value.what.startswith("5 of 6 files cannot be used: ")
    for advice in (
        "b.txt: Convert it, for example iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW.",
        "c.txt.gz: Copy or pack the file again.",
        "d.csv: Convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW.",
        "e.csv: Name one at the end of SOURCE, such as #body.",
        "f.jsonl: Give one JSON object a line",
    ):
        assert advice in caught.value.fix


def test_a_field_for_all_records(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text,body\n1,one text,one body\n")
    (tmp_path / "b.jsonl").write_text('{"text": "two", "body": "two body"}\n')
    (tmp_path / "c.json").write_text('{"text": "three", "body": "three body"}')
    (tmp_path / "d.txt").write_text("four\n")
    assert texts(str(tmp_path)) == ["one text", "two", "three", "four"]
    assert texts(f"{tmp_path}#body") == ["one body", "two body", "three body", "four"]
    (tmp_path / "b.jsonl").write_text('{"text": "two"}\n')
    source = open_source(f"{tmp_path}/*#body")
    assert [found.text for found in source.documents()] == ["one body", "three body", "four"]
    assert source.findings() == ["1 file left out: 1 .jsonl (no field 'body'): b.jsonl"]
    with pytest.raises(InputError, match=r"#body names a field of records, and no file has records.*E-SOURCE-OPTION"):
        open_source(f"{tmp_path}/d.txt#body")


def test_the_only_field_of_text_is_taken_and_said(tmp_path: Path) -> None:
    rows = [{"id": f"a{number}", "n": number, "story": f"The river {number} is cold."} for number in range(3)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.json").write_text(json.dumps(rows))
    (tmp_path / "c.csv").write_text(
        "id;n;story\n" + "".join(f"{row['id']};{row['n']};{row['story']}\n" for row in rows)
    )
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    source = open_source(str(tmp_path))
    assert [found.text for found in source.documents()] == [str(row["story"]) for row in rows] * 4
    assert [line.partition(",")[0] for line in source.findings()] == [
        "the text of 1 jsonl file is field 'story'",
        "the text of 1 json file is field 'story'",
        "the text of 1 csv file is column 'story'",
        "the text of 1 parquet file is column 'story'",
    ]
    # Chinese has no spaces, and is text all the same.
    (tmp_path / "e.csv").write_text("编号,正文\na1,这条河很冷也很深。\n", encoding="utf-8")
    assert texts(f"{tmp_path}/e.csv") == ["这条河很冷也很深。"]


def test_each_file_of_a_folder_has_its_own_field(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("title,body\nA river,It is cold and deep.\nA hill,It is high and green.\n")
    (tmp_path / "b.jsonl").write_text('{"headline": "Cold river", "story": "The river is cold and deep."}\n')
    pq.write_table(pa.Table.from_pylist([{"n": 1, "content": "A stone is old."}]), tmp_path / "c.parquet")
    (tmp_path / "d.csv").write_text("headline,story\nOld mill,The mill is old and dry.\n")
    source = open_source(str(tmp_path))
    assert [found.text for found in source.documents()] == [
        *("It is cold and deep.", "It is high and green.", "The river is cold and deep."),
        *("A stone is old.", "The mill is old and dry."),
    ]
    take = "at the end of SOURCE takes another)"
    assert source.findings() == [
        f"the text of 1 csv file is column 'body', which holds more than title (#COLUMN {take}: a.csv",
        f"the text of 1 csv file is column 'story', which holds more than headline (#COLUMN {take}: d.csv",
        f"the text of 1 jsonl file is field 'story', which holds more than headline (#FIELD {take}: b.jsonl",
        f"the text of 1 parquet file is column 'content', the only one that holds text (#COLUMN {take}: c.parquet",
    ]
    # Files with the same field and other ones beside it have lines of their own.
    (tmp_path / "e.csv").write_text("body,note\nThe sea is wide and cold.,It is so.\n")
    said = open_source(str(tmp_path)).findings()
    assert f"the text of 1 csv file is column 'body', which holds more than note (#COLUMN {take}: e.csv" in said
    (tmp_path / "e.csv").unlink()
    # A field that the user names is the one of all files. Those without it are left out, and named.
    source = open_source(f"{tmp_path}#story")
    assert [found.text for found in source.documents()] == ["The river is cold and deep.", "The mill is old and dry."]
    (said,) = source.findings()
    assert said.startswith("2 files left out: ") and "(no column 'story'): a.csv" in said and "c.parquet" in said
    # The user can name the field of one file.
    with pytest.raises(InputError, match=r"several columns hold text: title, body.*#body.*E-SOURCE-FIELD"):
        open_source(f"{tmp_path}/a.csv")


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"

    def read(content: str) -> list[tuple[str, str]]:
        path.write_text(content, encoding="utf-8")
        return [(found.name, found.text) for found in open_source(str(path)).documents()]

    assert read('["one",\n "two"]') == [("a.json:1", "one"), ("a.json:2", "two")]
    assert read('\ufeff {"text": "one"}\n') == [("a.json:1", "one")]
    assert read('{"text": "one"}\n{"text": "two"}\n') == [("a.json:1", "one"), ("a.json:2", "two")]
    assert read('[\n{"text": null},\n{"text": "x\\ud800"}\n]') == [("a.json:3", "x\N{REPLACEMENT CHARACTER}")]
    # An array of any size, whose values lie across the pieces that are read.
    many = [f"{number} " + "river " * (number % 7000) for number in range(0, 40_000, 997)]
    assert [text for _, text in read(json.dumps(many, indent=1))] == many
    for content, what in (
        ("3", r"a record is a number, not an object .*a\.json:1.*E-SOURCE-FIELD"),
        ('["a", {"text": "b"}]', "a record is an object, not a string"),
        ('[{"text": "a"},\n{"text": "b"\n]', r"not JSON: .*a\.json:3"),
        ('[{"text": "a"},\n', "not JSON"),
        ('[{"text": "a"}\n', "the end is missing"),
        ('[{"text": "a"}\n{"text": "b"}]', r"a comma or \] is missing .*a\.json:2"),
        ('["a"] "b"', "something follows the array"),
        ('{"data": [{"text": "a"}]}', r"no field 'text'.*inside 'data'.*jq '\.\[\"data\"\]'"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "the files have no records.*E-SOURCE-EMPTY"),
        (" \n", "only white space.*E-SOURCE-EMPTY"),
        ('[{"text": "a\\u0000"}]', "holds a NUL.*E-SOURCE-NUL"),
    ):
        with pytest.raises(InputError, match=what):
            read(content)


def test_markdown_gives_its_prose() -> None:
    text = """---
title: The mill
tags: [a, b]
---
# The *old* mill

It stands
by the `river` [there](https://example.org/x).

```python
print("code")
```

    indented code

1. One stone
2. Two stones
   * Three

> A quotation.

| Name | Length |
|---|---|
| Rhine | 1,230 km |

<!-- a comment --><div class="x">html</div>

![a picture](x.png) 5 &lt; 6 \\* 2
"""
    assert prose_of(text).split("\n") == [
        *("The old mill", "It stands by the river there.", "One stone", "Two stones", "Three", "A quotation."),
        *("Name", "Length", "Rhine", "1,230 km", "5 < 6 * 2"),
    ]
    assert prose_of("---\n\nNo front matter.\n") == "No front matter."
    assert prose_of("+++\nx = 1\n+++\nText.\r\n\r\nMore.\r\n") == "Text.\nMore."


def test_the_text_of_a_page(tmp_path: Path) -> None:
    assert text_of_page(PAGE) == "The river\nThe river is cold & deep."
    assert text_of_page("<p>One<p>Two<br>lines") == "One\nTwo\nlines" and text_of_page("") == ""
    assert text_of_page("<div>" * 20_000 + "deep") in ("deep", "")
    # The encoding that a page declares, as browsers read it.
    page = "<meta charset=iso-8859-1><p>Ein Café für “uns”.</p>"
    path = tmp_path / "a.html"
    path.write_bytes(page.encode("cp1252"))
    assert texts(str(path)) == ["Ein Café für “uns”."]
    path.write_bytes(page.replace("iso-8859-1", "shift_jis").encode("cp1252"))
    with pytest.raises(InputError, match=r"not shift_jis, as its <meta> says.*a\.html.*E-SOURCE-ENCODING"):
        open_source(str(path))
    path.write_text("<body><script>let x</script></body>")
    with pytest.raises(InputError, match=r"the pages show no text.*E-SOURCE-EMPTY"):
        texts(str(path))


def test_a_page_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_WHOLE_BYTES", 1000)
    (tmp_path / "a.md").write_text("A stone. " * 1000)
    with pytest.raises(InputError, match=r"more than .* MiB.*a\.md.*E-SOURCE-LARGE"):
        texts(str(tmp_path))


def test_wrapped_text_is_joined_and_said(tmp_path: Path) -> None:
    line = "the river ran down from the hills to the old mill and over its wheel"
    (tmp_path / "a.txt").write_text(f"A title\n\n{(line + chr(10)) * 20}\n{(line + chr(10)) * 20}")
    (tmp_path / "b.txt").write_text("One line.\nAnother line.\n")
    source = open_source(str(tmp_path))
    assert [found.text.count("\n") for found in source.documents()] == [2, 1]
    assert source.findings() == [
        "lines of a fixed width in 1 file, for example a.txt: the lines of each paragraph are joined (text:GLOB#file "
        "keeps them)"
    ]


def test_names_that_are_not_utf8_and_names_with_a_hash(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "w") as file:
        file.write("A stone.\n")
    (tmp_path / "a#b.txt").write_text("A river.\n")
    source = open_source(str(tmp_path))
    assert [found.name for found in source.documents()] == ["a#b.txt:1", "caf\\xe9.txt:1"]
    json.dumps(source.describe(), ensure_ascii=False).encode()
    assert texts(f"{tmp_path}/a#b.txt") == ["A river."]


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    for spec, what in (
        (f"{tmp_path}/none", r"no such file or folder.*E-SOURCE-FILE"),
        (f"{tmp_path}/*.txt", r"no file matches.*E-SOURCE-FILE"),
        ("aws-docs", r"Did you mean sample:aws-docs\?"),
        ("org/name", r"hub is hf:org/name"),
        ("txet:a.txt", r"unknown kind of source 'txet', and no such file.*Did you mean text\?.*E-SOURCE-KIND"),
        ("sample:aws", r"Did you mean aws-docs\?"),
        ("", "the source is empty.*E-SOURCE-KIND"),
    ):
        with pytest.raises(InputError, match=what):
            open_source(spec)


def test_a_folder_that_one_may_not_read() -> None:
    with unprivileged() as directory:
        (directory / "secret").mkdir()
        (directory / "a.txt").write_text("text\n")
        (directory / "secret").chmod(0)
        (directory / "open").mkdir()
        (directory / "a.txt").rename(directory / "open" / "a.txt")
        source = open_source(f"{directory}/*/*.txt")
        assert [name for name, _ in source.files] == ["a.txt"]
        assert source.findings() == ["1 folder that this user may not read, left out: ../secret"]
        (directory / "open" / "a.txt").rename(directory / "a.txt")
        (directory / "open").rmdir()
        for spec in (str(directory), f"{directory}/**/*.txt", f"text:{directory}/**/*.txt"):
            source = open_source(spec)
            assert [name for name, _ in source.files] == ["a.txt"], spec
            assert source.findings() == ["1 folder that this user may not read, left out: secret"], spec
        (directory / "a.txt").unlink()
        for spec in (str(directory), f"{directory}/**/*.txt", f"{directory}/secret/*.txt", str(directory / "secret")):
            with pytest.raises(InputError, match=r"secret.*E-SOURCE-PERMISSION"):
                open_source(spec)
        (directory / "secret").chmod(0o700)


def test_files_are_not_reached_from_elsewhere_and_no_folder_is_named() -> None:
    for spec, shown in (
        ("/home/me/books", "files:*"),
        ("files:/home/me/books/", "files:*"),
        ("/home/me/books#body", "files:*#body"),
        ("/home/me/books/*.txt", "files:*.txt"),
        ("/home/me/novel.txt.gz", "files:novel.txt.gz"),
        ("text:/home/me/books/**/*.txt#file", "text:*.txt#file"),
        ("text:/home/me/books/", "text:*"),
    ):
        assert not reached_anywhere(spec) and without_folders(spec) == shown
