"""The reader of JSON and the opener of regular files: what they accept, and what they refuse in one line."""

from __future__ import annotations

import ast
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxbert.errors import InputError, Interrupted
from jaxbert.inputs.files import check_regular, decoded, open_regular, read_bytes, read_text
from jaxbert.inputs.values import MOST_LEVELS, Each, Maybe, OneOf, Whole, check, parse, read_json
from jaxbert.stores.workdir import REMOTE, storage_of

DEEP = "[" * 100_000 + "]" * 100_000

GOOD = {
    '{"a": [1, -2.5, true, null, "x"]}': {"a": [1, -2.5, True, None, "x"]},
    "[" * MOST_LEVELS + "]" * MOST_LEVELS: None,
    '"\\ud83d\\ude00 \\\\u0000"': "\U0001f600 \\u0000",
    "9" * 300: int("9" * 300),
    "1" + "0" * 30: 10**30,
    "\ufeff1": 1,
}
BAD = {
    "": "Expecting value",
    "{": "Expecting property name",
    DEEP: "nested too deeply",
    '{"a":' * 100_000 + "1" + "}" * 100_000: "nested too deeply",
    "[" * (MOST_LEVELS + 1) + "]" * (MOST_LEVELS + 1): "nested too deeply",
    "9" * 400: "400 digits",
    "-" + "9" * 10_000: "digits",
    "[1e400]": "too large",
    '{"a": NaN}': "NaN",
    '{"a": -Infinity}': "-Infinity",
    '{"a": 1, "b": 2, "a": 3}': "'a' occurs twice",
    '{"a": {"": 1, "": 1}}': "'' occurs twice",
    '["\\u0000"]': "NUL",
    '{"\\ud800": 1}': "surrogate",
    '"\\uDFFF"': "surrogate",
}


@pytest.mark.parametrize("text", GOOD, ids=range(len(GOOD)))
def test_good_json(text: str):
    value = parse(text.encode())
    assert value == parse(text.removeprefix("\ufeff"))
    assert GOOD[text] is None or value == GOOD[text]


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_bad_json(text: str):
    with pytest.raises(ValueError, match=BAD[text]) as error:
        parse(text)
    assert len(str(error.value)) < 200


def test_json_that_is_not_utf8():
    for data in (b"\xff\xfe1\x00", b'"\xe9"', '"\ud800"'.encode("utf-8", "surrogatepass")):
        with pytest.raises(ValueError, match="not UTF-8 at byte"):
            parse(data)


def test_lines_of_a_corpus_are_read_less_strictly():
    assert parse('{"a": 1, "a": 2}', strict=False) == {"a": 2}
    assert parse('[1e400, "\\ud800"]', strict=False) == [float("inf"), "\ud800"]
    assert parse(f'{{"a": [{"9" * 300}, {"9" * 5000}]}}', strict=False) == {"a": [int("9" * 300), float("inf")]}
    for text in (DEEP, "{"):
        with pytest.raises(ValueError):
            parse(text, strict=False)


SHAPE = {
    "name": str,
    "count": Whole(1, 9),
    "flag": bool,
    "rate": float,
    "pair": (Whole(), str),
    "files": Each([Whole()]),
    "kind": OneOf(("a", "b")),
    "more": Maybe({"x": float}),
    "any": object,
}
RIGHT = {"name": "", "count": 1, "flag": False, "rate": 1, "pair": [0, ""], "files": {"f": [1]}, "kind": "a", "any": []}
WRONG = {
    "name": (1, None, ["x"]),
    "count": (0, 10, 1.0, True, "1", None),
    "flag": (0, "true", None),
    "rate": (True, "1", None),
    "pair": ([0], [0, "", ""], ["", 0], {}, 1),
    "files": ([], {"f": 1}, {"f": [-1]}, {"f": [1 << 60]}),
    "kind": ("c", 1, None),
    "more": ({}, {"x": None}, 1),
}


def test_a_shape_accepts_what_has_it():
    check(RIGHT, SHAPE)
    check({**RIGHT, "more": None, "further": 1}, SHAPE)
    check({**RIGHT, "more": {"x": 1.5}}, SHAPE)


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_shape_names_what_is_mistyped(key: str, value: object):
    with pytest.raises(ValueError, match=rf"^at\.{key}[. ]|'at\.{key}\."):
        check({**RIGHT, key: value}, SHAPE, "at")


def test_a_shape_names_what_is_missing():
    for key in RIGHT:
        with pytest.raises(ValueError, match=f"the key '{key}' is missing"):
            check({name: value for name, value in RIGHT.items() if name != key}, SHAPE)
    for value in ([], "x", None, 1):
        with pytest.raises(ValueError, match="an object is needed"):
            check(value, SHAPE)


def _read(path: Path) -> object:
    return read_json(path, "the file cannot be used", fix="Mend it.", code="E-TEST-FILE", shape=dict, most=100)


def test_a_json_file(tmp_path: Path):
    path = tmp_path / "file.json"
    path.write_text('{"a": 1}')
    assert _read(path) == {"a": 1}
    for content in (DEEP[:90], "[]", "{", "\xe9", '{"a": 1e999}'):
        path.write_bytes(content.encode("latin-1"))
        with pytest.raises(InputError, match=r"the file cannot be used: .*file\.json.*Mend it\. \[E-TEST-FILE\]"):
            _read(path)
    path.write_text(" " * 101)
    with pytest.raises(InputError, match=r"101 bytes.*E-FILE-SIZE"):
        _read(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        _read(path)
    with pytest.raises(IsADirectoryError):
        _read(tmp_path)


def test_only_regular_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pipe, end = tmp_path / "pipe", tmp_path / "socket"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the path of a socket must be short
        server.bind("socket")
        for path in (pipe, end, Path("/dev/zero")):
            for opened in (open_regular, check_regular, read_bytes, read_text):
                with pytest.raises(InputError, match="E-FILE-KIND"):
                    opened(path)
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbfa\r\n")
    (tmp_path / "link").symlink_to("file")
    assert read_text(tmp_path / "link") == "a\r\n"
    assert decoded(b"\xef\xbb\xbfa") == "a"
    with pytest.raises(IsADirectoryError):
        check_regular(tmp_path)


def test_reading_tells_rights_and_failing_disks_from_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(*args: object) -> int:
        raise PermissionError(13, "no")

    def failing(*args: object) -> int:
        raise OSError(5, "EIO")

    monkeypatch.setattr("jaxbert.inputs.files.os.open", refused)
    with pytest.raises(InputError, match="E-DISK-PERMISSION"):
        read_bytes(tmp_path / "file")
    monkeypatch.setattr("jaxbert.inputs.files.os.open", failing)
    with pytest.raises(Interrupted, match="E-DISK-READ"):
        read_bytes(tmp_path / "file")


def test_the_file_of_a_bucket_holds_a_url(tmp_path: Path):
    assert storage_of(tmp_path).place == str(tmp_path)
    for content in (b"\xff", b"no url", b"gs://a\0b", b""):
        (tmp_path / REMOTE).write_bytes(content)
        with pytest.raises(InputError, match=r"\.remote.*E-WORKDIR-REMOTE"):
            storage_of(tmp_path)


# ----------------------------------------------------------------------------------------------------------------------
# Every module reads through these two

ROOT = Path(__file__).parent.parent
# The modules that parse JSON themselves, and why.
PARSES = {
    "jaxbert/inputs/values.py": "it is the reader",
    "jaxbert/text/tokenizers/bpe.py": "the library's trainer gives its merges only as JSON, and no user wrote it",
}
# The functions that open files for reading themselves, and why.
OPENS = {
    ("jaxbert/inputs/files.py", "open_regular"): "it is the opener",
    ("jaxbert/commands/main.py", "_prepare_process"): "a file of the kernel",
    ("jaxbert/commands/main.py", "_close"): "it opens /dev/null for writing",
    ("jaxbert/core/compiled.py", "processor"): "a file of the kernel",
    ("jaxbert/data/beam.py", "_make"): "it opens a URL",
    ("jaxbert/data/beam.py", "_read"): "it opens a URL",
    ("jaxbert/data/beam.py", "put_job"): "it reads what this process wrote",
    ("jaxbert/data/beam.py", "take"): "it opens a URL",
    ("jaxbert/observe/accelerators.py", "_library"): "a file of the kernel",
    ("jaxbert/observe/accelerators.py", "_word"): "a file of the kernel",
    ("jaxbert/observe/accelerators.py", "driver"): "a file of the kernel",
    ("jaxbert/observe/energy.py", "__init__"): "a file of the kernel",
    ("jaxbert/observe/energy.py", "_read_int"): "a file of the kernel",
    ("jaxbert/observe/energy.py", "_zone_name"): "a file of the kernel",
    ("jaxbert/observe/sinks/apart.py", "_said"): "the log of a process that this one started",
    ("jaxbert/observe/started.py", "_processor"): "a file of the kernel",
    ("jaxbert/report/browser/block.py", "script"): "a file of the package",
    ("jaxbert/report/page.py", "_file"): "a file of the package",
    ("jaxbert/run/hold.py", "_owner_lives"): "the file of a lock",
    (
        "jaxbert/stores/arrays.py",
        "read_params",
    ): "tensorstore opens the arrays of a checked checkpoint",
    ("jaxbert/stores/files.py", "no_links"): "it opens logs and locks for writing",
    ("jaxbert/stores/files.py", "replacing"): "it opens for writing",
    ("jaxbert/stores/files.py", "sync"): "it syncs what this process wrote",
    ("jaxbert/core/machine.py", "boot"): "a file of the kernel",
    ("jaxbert/core/machine.py", "started"): "a file of the kernel",
    ("jaxbert/stores/storage.py", "sha256"): "it opens a URL",
    ("launch/archive.py", "_package"): "a file of the package",
    ("launch/jobset.py", "_pod"): "a file of the package",
    ("launch/scripts.py", "script"): "a file of the package",
}
# Functions of ours that are called `open`, and calls of the opener itself.
NOT_FILES = {
    "SOURCES[kind].open",
    "rows.open",
    "self.open",
    "kind.open",
    "SINKS[name].open",
    "files.read_text",
    "tarfile.open",
}
PARSERS = {"json.load", "json.loads", "json.JSONDecoder"}
WRITES = re.compile(r"[wax]b?|r\+b|a\+")


def calls(path: Path, function: str = "", node: ast.AST | None = None) -> Iterator[tuple[str, str]]:
    """Yields (function, name) of every call in a module that parses JSON, or that opens a file for reading."""
    node = ast.parse(path.read_text(encoding="utf-8")) if node is None else node
    function = node.name if isinstance(node, ast.FunctionDef) else function
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        modes = [value.value for value in node.args if isinstance(value, ast.Constant) and isinstance(value.value, str)]
        opens = name.endswith((".read_text", ".read_bytes")) or name.rpartition(".")[2] == "open"
        reads = opens and name not in NOT_FILES and not any(WRITES.fullmatch(mode) for mode in modes)
        if reads or name in PARSERS:
            yield function, name
    for child in ast.iter_child_nodes(node):
        yield from calls(path, function, child)


def all_calls() -> Iterator[tuple[str, str, str]]:
    for folder in ("jaxbert", "launch", "configs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield from ((str(path.relative_to(ROOT)), *call) for call in calls(path))


def test_one_module_parses_json():
    assert {path for path, _, name in all_calls() if name in PARSERS} == set(PARSES)
    assert not re.search(r"^from json import", "".join(path.read_text() for path in ROOT.glob("jaxbert/**/*.py")), re.M)


def test_one_module_opens_files_for_reading():
    found = {(path, function) for path, function, name in all_calls() if name not in PARSERS}
    assert found == set(OPENS), f"read through jaxbert.inputs: {found - set(OPENS)}; gone: {set(OPENS) - found}"
