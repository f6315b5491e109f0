"""`csv:GLOB[#column]`: each row of a table is one document, with its text in `column` ("text" by default).

The first row that is not blank names the columns. The commas may be semicolons, tabs or bars: the reader takes what
makes the column appear in that row. A cell in quotes may hold line breaks. A row whose cell is empty is left out and
counted.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

from jaxbert.data.sources.base import is_blank
from jaxbert.data.sources.files import MAX_LINE_BYTES, REMOVE_OR_NARROW, read_whole_lines, split_option
from jaxbert.data.sources.record_files import RecordFiles
from jaxbert.errors import InputError, counted

_DELIMITERS = (",", "\t", ";", "|")
# A header does not have more lines. A file whose first line has a quote that never closes is not read whole for it.
_HEADER_LINES = 100


class CsvSource(RecordFiles):
    """Documents of tables, a row each."""

    def values(self, path: Path) -> Iterator[tuple[int, str]]:
        """See `RecordFiles`. The number is that of the last line of the row."""
        csv.field_size_limit(MAX_LINE_BYTES)
        # The module reads line breaks in cells only if they are there.
        lines = (line + "\n" for _, line in read_whole_lines(path))
        above, header = _header(lines)
        if not header:
            raise InputError(
                "the file has only white space", where=str(path), fix=REMOVE_OR_NARROW, code="E-SOURCE-EMPTY"
            )
        rows = csv.reader(iter(()))
        try:
            for delimiter in _DELIMITERS:
                reader = csv.reader(header, delimiter=delimiter, strict=False)
                names = next(reader, [])
                if self.column in names:
                    break
            else:
                names = next(csv.reader(header), [])
            place = self.place_of_column(names, path, "csv")
            above += reader.line_num
            rows = csv.reader(itertools.chain(header[reader.line_num :], lines), delimiter=delimiter, strict=True)
            for row in rows:
                if len(row) not in (0, len(names)):
                    raise InputError(
                        f"the row has {counted(len(row), 'cell')}, but there are {len(names)} columns",
                        where=f"{path}:{rows.line_num + above}",
                        fix="Put cells that hold a comma or a quote in quotes, with inner quotes doubled.",
                        code="E-SOURCE-FIELD",
                    )
                if row:
                    yield rows.line_num + above, row[place]
        except csv.Error as error:
            raise InputError(
                f"not a table: {error}",
                where=f"{path}:{rows.line_num + above}",
                fix="Put cells that hold a comma or a quote in quotes, with inner quotes doubled.",
                code="E-SOURCE-FIELD",
            ) from None


def _header(lines: Iterator[str]) -> tuple[int, list[str]]:
    """Returns the number of blank lines above the names of the columns, and lines that begin with these names.

    A name in quotes may hold line breaks. A quote inside a name may be no more than a sign, so the list may have lines
    behind the names too. It is empty if the file has only blank lines.
    """
    header: list[str] = []
    above = quotes = 0
    for line in lines:
        if not header and is_blank(line):
            above += 1
            continue
        header.append(line)
        quotes += line.count('"')
        if quotes % 2 == 0 or len(header) == _HEADER_LINES:
            break
    return above, header


def open_rest(rest: str) -> CsvSource:
    """Opens the source `csv:REST`."""
    pattern, column = split_option(rest)
    return CsvSource(f"csv:{rest}", pattern, column or "text")
