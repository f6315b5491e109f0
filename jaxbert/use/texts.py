"""Reads the texts of a file for `embed` and `fill-mask`: one a line, none left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jaxbert.data.sources.base import check_head, open_bytes, read_lines, reading, split_option, without_surrogates
from jaxbert.data.sources.jsonl import JsonlSource
from jaxbert.errors import InputError

STDIN = "-"


def open_texts(file: str) -> Iterator[tuple[str, str]]:
    """Returns a stream of (place, text) for each line of a file, in order, with empty lines.

    Args:
      file: UTF-8 text, a text a line; or JSON lines, NAME.jsonl[#FIELD], a text a record in FIELD ("text" by default).
        Either may be .gz, .xz, .zst or .bz2. "-" is standard input, plain text.

    Raises:
      InputError: there is no such file, or it is of the wrong kind. The head of the file is checked at once, the rest
        while it is read.
    """
    if file == STDIN:
        return _lines(Path("/dev/stdin"), "stdin")
    path, option = (file, "") if Path(file).exists() else split_option(file)
    if ".jsonl" in Path(path).suffixes[-2:]:
        return _Records(f"jsonl:{file}", path, option or "text").texts()
    if option and Path(path).exists():
        raise InputError(
            f"#{option} does not apply to a file that is not .jsonl",
            where=file,
            fix="Leave it out: each line is a text.",
            code="E-SOURCE-OPTION",
        )
    check_head(Path(file))
    return _lines(Path(file), file)


def _lines(path: Path, name: str) -> Iterator[tuple[str, str]]:
    last = 0
    for number, line in read_lines(path):
        # A line of megabytes comes in several pieces. No model reads beyond the first one.
        if number != last:
            yield f"{name}:{number}", line
        last = number


class _Records(JsonlSource):
    """Texts of JSON lines as they are. Documents, in contrast, are never empty and have a largest size."""

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yields (place, text) of each record."""
        for name, path in self.files:
            with reading(path), open_bytes(path) as file:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield f"{name}:{number}", without_surrogates(self._text(line, path, number))
