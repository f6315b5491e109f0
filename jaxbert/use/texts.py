"""Reads the texts of a file for `embed` and `fill-mask`: one a line, none left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from jaxbert.data.sources import open_source
from jaxbert.data.sources.finding import split_option
from jaxbert.data.sources.formats import HOLDERS, kind_of
from jaxbert.data.sources.lines import check_head, check_regular, read_lines
from jaxbert.data.sources.record_files import RecordFiles
from jaxbert.errors import InputError

STDIN = "-"


def open_texts(file: str) -> Iterator[tuple[str, str]]:
    """Returns a stream of (place, text) for each line of a file, in order, with empty lines.

    Args:
      file: UTF-8 text, a text a line; or records, NAME.jsonl[#FIELD], NAME.csv[#COLUMN] or NAME.parquet[#COLUMN],
        a text a record in the field ("text" by default). All but Parquet may be .gz, .xz, .zst or .bz2. "-" is standard
        input, plain text.

    Raises:
      InputError: there is no such file, or it is of the wrong kind. The head of the file is checked at once, the rest
        while it is read.
    """
    if file == STDIN:
        return _lines(Path("stdin"), "stdin", os.fdopen(os.dup(0), "rb"))
    if Path(file).is_fifo():
        raise InputError(
            "the path is a pipe, but a regular file is needed",
            where=file,
            fix="Give a file, or - for standard input: `jaxbert embed MODEL - --out OUT < PIPE`.",
            code="E-FILE-KIND",
        )
    path, option = split_option(file)
    kind = kind_of(Path(path))
    if kind in HOLDERS:
        source = open_source(f"{kind}:{file}")
        assert isinstance(source, RecordFiles)
        return source.texts()
    if option and Path(path).exists():
        raise InputError(
            f"#{option} does not apply to a file of lines",
            where=file,
            fix="Leave it out: each line is a text.",
            code="E-SOURCE-OPTION",
        )
    check_regular(Path(file))
    check_head(Path(file))
    return _lines(Path(file), file)


def _lines(path: Path, name: str, stream: IO[bytes] | None = None) -> Iterator[tuple[str, str]]:
    last = 0
    for number, line in read_lines(path, stream):
        # A line of megabytes comes in several pieces. No model reads beyond the first one.
        if number != last:
            yield f"{name}:{number}", line
        last = number
