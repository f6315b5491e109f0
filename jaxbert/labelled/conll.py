"""Files of CoNLL: a word a line with its columns, and an empty line behind each text.

The first column is the word, and the last one its tag. Tabs separate the columns, or spaces in a file without tabs. A
line that begins with -DOCSTART- keeps documents apart, and is no word. A file of words without tags has one column.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from jaxbert.data.sources.finding import printable
from jaxbert.data.sources.lines import read_whole_lines
from jaxbert.errors import InputError, counted
from jaxbert.labelled.examples import WordsExample
from jaxbert.labelled.tags import Scheme
from jaxbert.labelled.words import joined

_log = logging.getLogger(__name__)

_DOCUMENT = "-DOCSTART-"
# A first line of two of these names the columns.
_WORDS = ("word", "words", "token", "tokens", "form", "text")
_TAGS = ("tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags", "pos", "pos_tag", "pos_tags", "upos", "xpos")


def read_conll(path: Path, *, first: int = 0, word: str = "", tag: str | None = "") -> Iterator[WordsExample]:
    """Yields the texts of a file. Their tags become BIO, whatever scheme the file has.

    Args:
      path: the file.
      first: the number of its first text.
      word: the number of the column of words, from 1; "" takes the first.
      tag: the number of the column of tags; "" takes the last, if there are two columns or more. None reads no tags.

    Raises:
      InputError: a line has another number of columns than the first one, or the tags are of two kinds.
    """
    name = printable(str(path))
    scheme = Scheme(name)
    columns, number = 0, first
    at, tag_at = int(word or 1) - 1, int(tag) - 1 if tag else None
    place, tokens, tags = "", [], []  # type: str, list[str], list[str]
    # The last line may have no line end behind it.
    for line_number, line in _lines(path):
        cells = _cells(line)
        if not cells or cells[0] == _DOCUMENT:
            if tokens:
                yield _example(scheme, place, str(number), tokens, tags)
                number += 1
            tokens, tags = [], []
            continue
        if not tokens:
            place = f"{name}, line {line_number}"
        if not columns and len(cells) > 1 and cells[0].lower() in _WORDS and cells[-1].lower() in _TAGS:
            _log.warning(f"{name}, line {line_number}: these are names of columns, and no word: {' '.join(cells)}")
            columns = len(cells)
            continue
        columns = columns or len(cells)
        if len(cells) != columns and tag is not None:
            raise InputError(
                f"the line has {counted(len(cells), 'column')}, but the lines before it have {columns}",
                where=f"{name}, line {line_number}",
                fix="Give each word its columns: the word first, its tag last, tabs or spaces between them, and an "
                "empty line behind each text.",
                code="E-LABELLED-TAGS",
            )
        if not max(at, tag_at or 0) < len(cells) or at < 0 or (tag_at or 0) < 0:
            raise InputError(
                f"the line has {counted(len(cells), 'column')}, but column {word or tag} is needed",
                where=f"{name}, line {line_number}",
                fix="Give the numbers of the columns, from 1 on.",
                code="E-LABELLED-COLUMN",
            )
        tokens.append(cells[at])
        if tag is not None and (tag_at is not None or columns > 1):
            tags.append(cells[-1 if tag_at is None else tag_at])
    scheme.report()


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    yield from read_whole_lines(path)
    yield 0, ""


def _cells(line: str) -> list[str]:
    """Returns the columns of a line. Other white space than tabs and spaces belongs to a word."""
    if "\t" in line:
        cells = line.rstrip(" ").split("\t")
        return [] if not any(cell.strip() for cell in cells) else cells
    return [cell for cell in line.split(" ") if cell]


def _example(scheme: Scheme, place: str, number: str, tokens: list[str], tags: list[str]) -> WordsExample:
    text, words = joined(tokens)
    bio = scheme.bio(tags, place) if tags else None
    return WordsExample(place=place, id=number, text=text, words=words, tags=bio)
