"""Files of records, each of which has its text in one field: what `jsonl:`, `json:`, `csv:` and `parquet:` share.

A user may name the field. Otherwise it is the one that is called "text", or else the only one that holds text. In a
folder, where files may have different fields, it is the one with most text.
"""

from __future__ import annotations

import abc
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxbert.config import did_you_mean
from jaxbert.data.sources.base import Document, is_blank, text_of, without_surrogates
from jaxbert.data.sources.files import FileSource, NoText, Reader
from jaxbert.data.sources.finding import printable
from jaxbert.data.sources.lines import check_head
from jaxbert.errors import InputError, counted

# Among so many records at the beginning of a file, the fields of text are looked for.
HEAD_RECORDS = 100
# The number of files that a message names.
_NAMED = 3
_USUAL = "text"
# The name of a column is not longer, and has no more words. Otherwise the row is no row of names.
_NAME_CHARS, _NAME_WORDS = 60, 5
# From this code point on are the scripts that write no spaces between words (Thai, Chinese, Japanese, ...).
_NO_SPACES, _FEW_LETTERS = 0x0E00, 8


class RecordReader(Reader):
    """Reads files of records. A record whose text is null or only white space is left out and counted.

    Attributes:
      kind: the kind of source.
      holder: what holds the text: "column" or "field".
      column: its name, if the user gave one, else "".
      decides: whether the field with most text is taken where several hold text. It is for a folder, where files may
        have different fields, so that a user cannot name one for all. Otherwise the user names it.
    """

    kind: str
    holder = "column"
    # A file with the ending of records is not a picture that lies among texts: damage in it is not passed over.
    passed_over = ("E-SOURCE-EMPTY",)

    def __init__(self, column: str = ""):
        self.column = column
        self.decides = False
        self._chosen: dict[Path, str] = {}
        self._others: dict[Path, list[str]] = {}

    @abc.abstractmethod
    def head(self, path: Path) -> tuple[list[str], list[Mapping[str, Any]]]:
        """Returns the names of the fields, and the first records; no names for records that are texts themselves."""

    @abc.abstractmethod
    def cells(self, path: Path, column: str) -> Iterator[tuple[int, Any]]:
        """Yields (number of the line or row from 1, what the field holds) of each record of a file."""

    def values(self, path: Path) -> Iterator[tuple[int, Any]]:
        """Yields (number of the line or row from 1, what the field of text holds) of each record of a file."""
        yield from self.cells(path, self.column_in(path))

    def label(self, path: Path) -> str:
        """Returns what holds the text of a file, for messages: "column 'text'"."""
        column = self.column_in(path)
        return f"{self.holder} {column!r}" if column else "the record"

    def check(self, name: str, path: Path) -> None:
        """See `Reader`. It reads the first record."""
        check_head(path)
        for number, value in self.values(path):
            text_of(value, self.label(path), f"{path}:{number}")
            break

    def read(self, name: str, path: Path) -> Iterator[Document]:
        """See `Reader`."""
        label = self.label(path)
        for number, value in self.values(path):
            yield from self.record(f"{name}:{number}", value, label, f"{path}:{number}")

    def column_in(self, path: Path) -> str:
        """Returns the name of the field that holds the text of a file; "" for records that are texts themselves.

        Raises:
          NoText: no field holds text.
          InputError: several fields do, or the file cannot be read.
        """
        if self.column:
            return self.column
        if path not in self._chosen:
            self._chosen[path] = self._choose(path)
        return self._chosen[path]

    def _choose(self, path: Path) -> str:
        names, records = self.head(path)
        if not names or _USUAL in names:
            return _USUAL if names else ""
        strings = [name for name in names if _holds(records, name, _has_letter, 1.0)]
        prose = [name for name in strings if _holds(records, name, _is_prose, 0.5)]
        found = strings if len(strings) == 1 else prose
        if found:
            self.check_names(names, path)
        if len(found) == 1:
            return found[0]
        if found and self.decides:
            best = max(found, key=lambda name: sum(len(str(record.get(name) or "")) for record in records))
            self._others[path] = [name for name in found if name != best]
            return best
        if not found:
            raise self.missing(_USUAL, names, str(path), records[0] if records else {})
        raise InputError(
            f"several {self.holder}s hold text: {_shown(found)}",
            where=str(path),
            fix=f"Name one at the end of SOURCE, such as #{found[-1]}.",
            code="E-SOURCE-FIELD",
        )

    def check_names(self, names: Sequence[str], path: Path) -> None:
        """Raises InputError if the names of the fields are not names."""

    def missing(self, column: str, names: Sequence[str], where: str, record: Mapping[str, Any]) -> InputError:
        """Returns the error for a file, or a record, without a field. The record may have others inside."""
        there = f"{self.holder.capitalize()}s there: {_shown(names)}"
        fix = f"{did_you_mean(column, list(names))}{there}; name one at the end of SOURCE: #{self.holder.upper()}."
        inner = next((name for name, value in record.items() if _are_records(value)), None)
        if inner is not None:
            fix += f" The records are inside {inner!r}: take them out, for example jq '.[{json.dumps(inner)}]'."
        return NoText(f"no {self.holder} {column!r}", where=where, fix=fix, code="E-SOURCE-FIELD")

    def place_of_column(self, names: list[str], path: Path, column: str) -> int:
        """Returns the place of a column among the `names` of a table.

        Raises:
          InputError: no column has the name, or several have it.
        """
        if names.count(column) == 1:
            return names.index(column)
        if column not in names:
            raise self.missing(column, names, str(path), {})
        raise InputError(
            f"{names.count(column)} columns are called {column!r}",
            where=str(path),
            fix="Write the file again with one column of this name, or give another column.",
            code="E-SOURCE-FIELD",
        )

    def findings(self) -> list[str]:
        """See `Reader`."""
        alike: dict[tuple[str, tuple[str, ...]], list[Path]] = {}
        for path, column in self._chosen.items():
            if column not in ("", _USUAL):
                alike.setdefault((column, tuple(self._others.get(path, ()))), []).append(path)
        return [self._said(column, others, paths) for (column, others), paths in alike.items()]

    def _said(self, column: str, others: Sequence[str], paths: Sequence[Path]) -> str:
        """Returns a line about the field that was taken of some files, in place of the same others."""
        why = f"which holds more than {_shown(others)}" if others else "the only one that holds text"
        names = [printable(path.name) for path in paths]
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        return (
            f"the text of {counted(len(names), f'{self.kind} file')} is {self.holder} {column!r}, {why} "
            f"(#{self.holder.upper()} at the end of SOURCE takes another): {', '.join(names[:_NAMED])}{more}"
        )

    def nothing(self) -> str:
        """See `Reader`."""
        if not self.without_text:
            return "the files have no records"
        columns = dict.fromkeys(filter(None, [self.column, *self._chosen.values()]))
        named = " and ".join(map(repr, columns))
        return f"{self.holder} {named} is null, or only white space, in each of {counted(self.without_text, 'record')}"


class RecordFiles(FileSource):
    """A source of files of records, which one reader reads."""

    reader: RecordReader

    def __init__(self, spec: str, pattern: str, reader: RecordReader, endings: Sequence[str] = ()):
        super().__init__(spec, pattern, reader, endings)

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yields (place, text) of each record as it is. A document, in contrast, is never empty and is bounded.

        Raises:
          InputError: as `documents`, or a record is null: a reader of these texts wants one for each record.
        """
        for name, path in self.files:
            label = self.reader.label(path)
            for number, value in self.reader.values(path):
                where = f"{path}:{number}"
                text = text_of(value, label, where)
                if text is None:
                    raise InputError(
                        f"{label} is null, but each record needs a text",
                        where=where,
                        fix='Give "" for an empty text, or remove the record.',
                        code="E-SOURCE-NULL",
                    )
                yield f"{name}:{number}", without_surrogates(text)


def are_names(names: Sequence[str]) -> bool:
    """Returns whether the cells of a first row may be names of columns, and not a row of text."""
    return all(
        len(name) <= _NAME_CHARS and len(words := name.split()) <= _NAME_WORDS and not (words[2:] and _ends(words[-1]))
        for name in names
    )


def _ends(word: str) -> bool:
    """Returns whether a word is the last one of a sentence."""
    return word.endswith(("?", "!", "\u3002")) or (word.endswith(".") and word.removesuffix(".").islower())


def _shown(names: Sequence[str]) -> str:
    """Returns the names of fields for a message. Long ones, which are no names, are cut."""
    short = (" ".join(name.split()) for name in names)
    return ", ".join(name if len(name) <= _NAME_CHARS else f"{name[:_NAME_CHARS]}..." for name in short)[:200]


def _holds(records: Sequence[Mapping[str, Any]], name: str, is_such: Any, share: float) -> bool:
    """Returns whether a share of the values of a field, but for empty ones, are strings with some property."""
    values = [value for record in records if (value := record.get(name)) not in (None, "")]
    values = [_read(value) if isinstance(value, bytes) else value for value in values]
    values = [value for value in values if not (isinstance(value, str) and is_blank(value))]
    return bool(values) and sum(isinstance(value, str) and is_such(value) for value in values) >= share * len(values)


def _are_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _read(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _has_letter(text: str) -> bool:
    return any(map(str.isalpha, text))


def _is_prose(text: str) -> bool:
    words = sum(map(_has_letter, text.split()))
    return words > 1 or sum(ord(letter) >= _NO_SPACES and letter.isalpha() for letter in text) >= _FEW_LETTERS
