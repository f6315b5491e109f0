"""`csv:GLOB[#column]`: each row of a table is one document, with its text in `column` ("text" by default).

The first row names the columns. The commas may be semicolons, tabs or bars: the reader takes what makes the column
appear in the first row. A cell in quotes may hold line breaks. A row whose cell is empty is left out and counted.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from jaxbert.config import did_you_mean
from jaxbert.data.sources.files import MAX_LINE_BYTES, read_whole_lines, split_option
from jaxbert.data.sources.record_files import RecordFiles
from jaxbert.errors import InputError

_DELIMITERS = (",", "\t", ";", "|")


class CsvSource(RecordFiles):
    """Documents of tables, a row each."""

    def values(self, path: Path) -> Iterator[tuple[int, str]]:
        """See `RecordFiles`. The number is that of the last line of the row."""
        csv.field_size_limit(MAX_LINE_BYTES)
        # The module reads line breaks in cells only if they are there.
        lines = (line + "\n" for _, line in read_whole_lines(path))
        first = next(lines, "")
        rows = csv.reader(iter(()))
        try:
            for delimiter in _DELIMITERS:
                names = next(csv.reader([first], delimiter=delimiter, strict=False), [])
                if self.column in names:
                    break
            else:
                names = next(csv.reader([first]), [])
            if names.count(self.column) != 1:
                what = f"{names.count(self.column) or 'no'} column{'s' if self.column in names else ''} {self.column!r}"
                fix = (
                    f"{did_you_mean(self.column, names)}Columns there: {', '.join(names)[:200]}; give csv:GLOB#column."
                )
                raise InputError(what, where=str(path), fix=fix, code="E-SOURCE-FIELD")
            place = names.index(self.column)
            rows = csv.reader(lines, delimiter=delimiter, strict=True)
            for row in rows:
                if len(row) not in (0, len(names)):
                    raise InputError(
                        f"the row has {len(row)} cells, but there are {len(names)} columns",
                        where=f"{path}:{rows.line_num + 1}",
                        fix="Put cells that hold a comma or a quote in quotes, with inner quotes doubled.",
                        code="E-SOURCE-FIELD",
                    )
                if row:
                    yield rows.line_num + 1, row[place]
        except csv.Error as error:
            raise InputError(
                f"not a table: {error}",
                where=f"{path}:{rows.line_num + 1}",
                fix="Put cells that hold a comma or a quote in quotes, with inner quotes doubled.",
                code="E-SOURCE-FIELD",
            ) from None


def open_rest(rest: str) -> CsvSource:
    """Opens the source `csv:REST`."""
    pattern, column = split_option(rest)
    return CsvSource(f"csv:{rest}", pattern, column or "text")
