"""The reader of JSON and the opener of regular files: what they accept, and what they refuse in one line."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from jaxbert.errors import InputError, Interrupted
from jaxbert.inputs.files import check_regular, decoded, open_regular, read_bytes, read_text
from jaxbert.inputs.values import MOST_LEVELS, Each, Maybe, OneOf, Whole, check, parse, read_json

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
    '{"a": 1, "b": 2, "a": 3}': '"a" occurs twice',
    '{"a": {"": 1, "": 1}}': '"" occurs twice',
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
    for text in (DEEP, "9" * 5000, "{"):
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
