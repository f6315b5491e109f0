"""`json:GLOB[#field]`: a JSON array of objects or of strings, each of which is one document, or one JSON object.

The text of an object is in `field`. Without `#field` it is the field "text", or else the only one that holds text in
the first records. An array may have any size, because its values are read one after another. Objects one after another,
without an array, are read too. A record whose text is null or only white space is left out and counted.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxbert.data.sources.finding import split_option
from jaxbert.data.sources.formats import endings_of
from jaxbert.data.sources.lines import MAX_LINE_BYTES, REMOVE_OR_NARROW, read_lines
from jaxbert.data.sources.record_files import HEAD_RECORDS, RecordFiles, RecordReader
from jaxbert.errors import InputError
from jaxbert.inputs.values import parse_next

_SPACE = re.compile(r"[ \t\r\n]*")
# The text that is read at a time, in characters. A value that is longer is decoded again with twice as much.
_STEP = 1 << 16


class JsonReader(RecordReader):
    """Reads files of one JSON value."""

    kind, holder = "json", "field"

    def head(self, path: Path) -> tuple[list[str], list[Mapping[str, Any]]]:
        """See `RecordReader`. An array of strings has no fields."""
        records = [value for _, value in itertools.islice(values_of(path), HEAD_RECORDS)]
        if isinstance(records[0] if records else None, str):
            return [], []
        objects: list[Mapping[str, Any]] = [value for value in records if isinstance(value, dict)]
        return list(dict.fromkeys(itertools.chain.from_iterable(objects))) or ["text"], objects

    def cells(self, path: Path, column: str) -> Iterator[tuple[int, Any]]:
        """See `RecordReader`. The number is that of the line in which the record begins."""
        for number, value in values_of(path):
            where = f"{path}:{number}"
            if isinstance(value, dict) and column:
                if column not in value:
                    raise self.missing(column, list(value), where, value)
                yield number, value[column]
            elif isinstance(value, str) and not self.column and not column:
                yield number, value
            else:
                raise InputError(
                    f"a record is {_kind(value)}, not {'an object' if column else 'a string'}",
                    where=where,
                    fix='Give an array of objects such as {"text": "..."}, or an array of strings.',
                    code="E-SOURCE-FIELD",
                )


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


class _Text:
    """The text of a file, as far as it is read and not yet decoded."""

    def __init__(self, path: Path, *, unique: bool = False):
        self.path, self.text, self.start, self._unique = path, "", 0, unique
        self._pieces, self._line, self._last = read_lines(path), 1, 1

    def more(self) -> bool:
        """Reads as much again as there is. Returns False at the end of the file."""
        self._line, self.text, self.start = self.line(), self.text[self.start :], 0
        pieces, size = [self.text], 0
        for number, piece in self._pieces:
            pieces.append("\n" * (number - self._last) + piece)
            self._last, size = number, size + len(pieces[-1])
            if size >= max(_STEP, len(self.text)):
                break
        self.text = "".join(pieces)
        return size > 0

    def line(self) -> int:
        """Returns the number of the line at `start`."""
        return self._line + self.text.count("\n", 0, self.start)

    def next(self) -> str:
        """Passes over white space. Returns the next character; "" at the end of the file."""
        while True:
            self.start = _SPACE.match(self.text, self.start).end()  # type: ignore[union-attr]
            if self.start < len(self.text):
                return self.text[self.start]
            if not self.more():
                return ""

    def value(self) -> tuple[int, Any]:
        """Returns (line of its beginning, value) of the next value, and passes over it."""
        while True:
            try:
                value, end = parse_next(self.text, self.start, unique=self._unique)
                # A number may go on in what is not read yet.
                if end < len(self.text) or not self.more():
                    number = self.line()
                    self.start = end
                    return number, value
                continue
            except json.JSONDecodeError as error:
                failure = error
            except ValueError as error:
                raise self.wrong(error) from None
            if len(self.text) - self.start > MAX_LINE_BYTES:
                raise InputError(
                    f"a record is longer than {MAX_LINE_BYTES >> 20} MiB",
                    where=f"{self.path}:{self.line()}",
                    fix="Divide a text of this size.",
                    code="E-SOURCE-LINE",
                )
            if not self.more():
                raise self.wrong(failure)

    def wrong(self, error: ValueError | str) -> InputError:
        """Returns the error for text that is not JSON. It names the line."""
        number, what = self.line(), str(error)
        if isinstance(error, json.JSONDecodeError):
            what = f"{error.msg[:1].lower()}{error.msg[1:]}"
            number = self._line + self.text.count("\n", 0, error.pos)
        return InputError(
            f"not JSON: {what}",
            where=f"{self.path}:{number}",
            fix="Mend the file. A file with one object a line is read too.",
            code="E-SOURCE-FIELD",
        )


def values_of(path: Path, *, unique: bool = False) -> Iterator[tuple[int, Any]]:
    """Yields (number of the line of its beginning, value) of each record of a file.

    Args:
      path: the file.
      unique: refuse a key that occurs twice in an object. Otherwise the last one counts.

    Raises:
      InputError: the file is not JSON. The message names the line.
    """
    text = _Text(path, unique=unique)
    first = text.next()
    if not first:
        raise InputError("the file has only white space", where=str(path), fix=REMOVE_OR_NARROW, code="E-SOURCE-EMPTY")
    if first != "[":
        while text.next():
            yield text.value()
        return
    text.start += 1
    if text.next() == "]":
        text.start += 1
    else:
        while True:
            text.next()
            yield text.value()
            mark = text.next()
            if mark not in (",", "]"):
                raise text.wrong("a comma or ] is missing" if mark else "the end is missing")
            text.start += 1
            if mark == "]":
                break
    if text.next():
        raise text.wrong("something follows the array")


def open_rest(rest: str) -> RecordFiles:
    """Opens the source `json:REST`."""
    pattern, field = split_option(rest)
    return RecordFiles(f"json:{rest}", pattern, JsonReader(field), endings_of("json"))
