"""`jsonl:GLOB[#field]`: each line is a JSON object and one document, with its text in `field`.

Without `#field` it is the field "text", or else the only one that holds text in the first records. A record whose text
is null or only white space is left out and counted.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxbert.data.sources.finding import split_option
from jaxbert.data.sources.formats import endings_of
from jaxbert.data.sources.lines import read_whole_lines
from jaxbert.data.sources.record_files import HEAD_RECORDS, RecordFiles, RecordReader
from jaxbert.errors import InputError
from jaxbert.inputs.values import parse


class JsonlReader(RecordReader):
    """Reads JSON-lines files."""

    kind, holder = "jsonl", "field"

    def head(self, path: Path) -> tuple[list[str], list[Mapping[str, Any]]]:
        """See `RecordReader`."""
        records: list[Mapping[str, Any]] = [record for _, record in itertools.islice(objects(path), HEAD_RECORDS)]
        return list(dict.fromkeys(itertools.chain.from_iterable(records))) or ["text"], records

    def cells(self, path: Path, column: str) -> Iterator[tuple[int, Any]]:
        """See `RecordReader`."""
        for number, record in objects(path):
            if column not in record:
                raise self.missing(column, list(record), f"{path}:{number}", record)
            yield number, record[column]


def objects(path: Path, *, strict: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (number of the line, JSON object) of each line that is not blank.

    Args:
      path: the file.
      strict: refuse a key that occurs twice, a NUL character and half a character. NaN is read in both ways.

    Raises:
      InputError: a line is not a JSON object. The message names it.
    """
    for number, line in read_whole_lines(path):
        if line.strip():
            where = f"{path}:{number}"
            try:
                # A corpus of others may hold what our own files may not: NaN, a key twice, lone surrogates.
                value: Any = parse(line, strict=strict, nan=True)
            except ValueError as error:
                raise InputError(
                    f"not JSON: {reason(error)}",
                    where=where,
                    fix="Give one JSON object a line, or call the file .json if it is one JSON value.",
                    code="E-SOURCE-FIELD",
                ) from None
            if not isinstance(value, dict):
                raise InputError(
                    "not a JSON object", where=where, fix='Give lines such as {"text": "..."}.', code="E-SOURCE-FIELD"
                )
            yield number, value


def reason(error: ValueError) -> str:
    """Returns what is wrong with a JSON text of one line. The place in the line is a number of characters from 1."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[:1].lower()}{error.msg[1:]} at character {error.pos + 1} of the line"
    return str(error)


def open_rest(rest: str) -> RecordFiles:
    """Opens the source `jsonl:REST`."""
    pattern, field = split_option(rest)
    return RecordFiles(f"jsonl:{rest}", pattern, JsonlReader(field), endings_of("jsonl"))
