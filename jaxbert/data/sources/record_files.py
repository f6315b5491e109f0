"""Files of records, each of which has its text in one named field: what `jsonl:`, `csv:` and `parquet:` share."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxbert.config import did_you_mean
from jaxbert.data.sources.base import Document, text_of, without_surrogates
from jaxbert.data.sources.files import FileSource, check_head
from jaxbert.errors import InputError

# The endings of such files, and the kind of source that reads them.
RECORD_ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}


class RecordFiles(FileSource):
    """A source of files of records. A record whose text is null or only white space is left out and counted.

    Attributes:
      column: the name of the field that holds the text.
      label: what holds the text, for messages: "column 'text'".
    """

    holder = "column"
    # A file with the ending of records is not a picture that lies among texts: damage in it is not passed over.
    passed_over = ("E-SOURCE-EMPTY",)

    def __init__(self, spec: str, pattern: str, column: str):
        self.column, self.label = column, f"{self.holder} {column!r}"
        super().__init__(spec, pattern)

    @abc.abstractmethod
    def values(self, path: Path) -> Iterator[tuple[int, Any]]:
        """Yields (number of the line or row from 1, what the field holds) of each record of a file."""

    def check(self, name: str, path: Path) -> None:
        """See `FileSource`. It reads the first record."""
        check_head(path)
        for number, value in self.values(path):
            text_of(value, self.label, f"{path}:{number}")
            break

    def read(self, name: str, path: Path) -> Iterator[Document]:
        """See `FileSource`."""
        for number, value in self.values(path):
            yield from self.record(f"{name}:{number}", value, self.label, f"{path}:{number}")

    def place_of_column(self, names: list[str], path: Path, kind: str) -> int:
        """Returns the place of the column among the `names` of a table.

        Raises:
          InputError: no column has the name, or several have it.
        """
        if names.count(self.column) == 1:
            return names.index(self.column)
        shown = ", ".join(" ".join(name.split()) for name in names)
        if self.column not in names:
            fix = f"{did_you_mean(self.column, names)}Columns there: {shown[:200]}; give {kind}:GLOB#column."
            raise InputError(f"no {self.label}", where=str(path), fix=fix, code="E-SOURCE-FIELD")
        raise InputError(
            f"{names.count(self.column)} columns are called {self.column!r}",
            where=str(path),
            fix="Write the file again with one column of this name, or give another column.",
            code="E-SOURCE-FIELD",
        )

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yields (place, text) of each record as it is. A document, in contrast, is never empty and is bounded.

        Raises:
          InputError: as `documents`, or a record is null: a reader of these texts wants one for each record.
        """
        for name, path in self.files:
            for number, value in self.values(path):
                where = f"{path}:{number}"
                text = text_of(value, self.label, where)
                if text is None:
                    raise InputError(
                        f"{self.label} is null, but each record needs a text",
                        where=where,
                        fix='Give "" for an empty text, or remove the record.',
                        code="E-SOURCE-NULL",
                    )
                yield f"{name}:{number}", without_surrogates(text)
