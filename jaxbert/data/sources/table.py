"""`csv:GLOB[#column]`: each row of a table is one document, with its text in `column`.

Without `#column` it is the column "text", or else the only one that holds text in the first rows. The first row that is
not blank names the columns. The commas may be semicolons, tabs or bars: the reader takes what makes the column appear
in that row, or else what gives most columns (tabs for .tsv). A cell in quotes may hold line breaks. A row whose cell is
empty is left out and counted.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxbert.core.shell import word
from jaxbert.data.sources.base import is_blank
from jaxbert.data.sources.finding import split_option
from jaxbert.data.sources.formats import endings_of
from jaxbert.data.sources.lines import MAX_LINE_BYTES, REMOVE_OR_NARROW, read_whole_lines
from jaxbert.data.sources.packed import inner_suffix
from jaxbert.data.sources.record_files import HEAD_RECORDS, RecordFiles, RecordReader, are_names
from jaxbert.errors import InputError, counted
from jaxbert.inputs.values import parse

_DELIMITERS = (",", "\t", ";", "|")
# A header does not have more lines. A file whose first line has a quote that never closes is not read whole for it.
_HEADER_LINES = 100


@dataclass(frozen=True)
class Table:
    """A table whose first row was read.

    Attributes:
      path: the file.
      names: the names of the columns.
      delimiter: what stands between the cells.
      quotes: whether a quote at the begin of a cell opens a cell in quotes; otherwise it is a character like others.
      above: the number of lines above the first row of cells.
      lines: the lines after the names, to read once.
      exact: see `open_table`.
    """

    path: Path
    names: list[str]
    delimiter: str
    quotes: bool
    above: int
    lines: Iterator[str]
    exact: bool = False

    def rows(self) -> Iterator[tuple[int, int, list[str]]]:
        """Yields (number of its first line, number of its last line, cells) of each row that is not blank.

        A row may have any number of cells; see `wrong_row`. In an exact table of one column, a blank line is a row with
        an empty cell. In other tables it is no row.

        Raises:
          InputError: a quote never closes, or text follows a cell in quotes.
        """
        rows = csv.reader(self.lines, delimiter=self.delimiter, strict=True, quoting=_quoting(self.quotes))
        last = self.above
        try:
            for row in rows:
                first, last = last + 1, rows.line_num + self.above
                if row or (self.exact and len(self.names) == 1):
                    yield first, last, row or [""]
        except csv.Error as error:
            unclosed = "unexpected end" in str(error)
            raise InputError(
                "a quote that opens in this row never closes" if unclosed else f"the row has a wrong quote: {error}",
                where=f"{self.path}:{last + 1}",
                fix="Close the quote, or double a quote that is text: a cell in quotes ends with one, and inner quotes "
                "are doubled.",
                code="E-SOURCE-FIELD",
            ) from None

    def wrong_row(self, row: list[str], number: int) -> InputError:
        """Returns the error for a row that has more or fewer cells than there are columns."""
        mark = repr(self.delimiter)
        if not self.quotes:
            fix = f"Give each row {len(self.names)} cells with one {mark} between two, and no {mark} in a text."
        elif len(row) > len(self.names):
            fix = f"Put a cell that holds {mark} or a quote in quotes, with inner quotes doubled."
        else:
            fix = (
                f"Give the row all its cells, with nothing between two {mark} for an empty one. A cell with a line "
                "break must be in quotes."
            )
        return InputError(
            f"the row has {counted(len(row), 'cell')}, but there are {len(self.names)} columns",
            where=f"{self.path}:{number}",
            fix=fix,
            code="E-SOURCE-FIELD",
        )


class CsvReader(RecordReader):
    """Reads tables, a document a row."""

    kind = "csv"

    def head(self, path: Path) -> tuple[list[str], list[Mapping[str, Any]]]:
        """See `RecordReader`."""
        table = open_table(path, ["text"])
        quoting = _quoting(table.quotes)
        rows = csv.reader(table.lines, delimiter=table.delimiter, strict=False, quoting=quoting)
        try:
            some = [row for row in itertools.islice(rows, HEAD_RECORDS) if len(row) == len(table.names)]
        except csv.Error:
            some = []  # `cells` says where.
        return table.names, [dict(zip(table.names, row, strict=True)) for row in some]

    def cells(self, path: Path, column: str) -> Iterator[tuple[int, str]]:
        """See `RecordReader`. The number is that of the last line of the row."""
        table = open_table(path, [column])
        place = self.place_of_column(table.names, path, column)
        for _, last, row in table.rows():
            if len(row) != len(table.names):
                raise table.wrong_row(row, last)
            yield last, row[place]

    def check_names(self, names: Sequence[str], path: Path) -> None:
        """See `RecordReader`."""
        if not are_names(names):
            raise InputError(
                "the first row holds text, where the names of the columns are needed",
                where=str(path),
                fix="Put a row of names above it, such as text. For lines without columns, give "
                f"{word(f'text:{path}#line')}.",
                code="E-SOURCE-FIELD",
            )


def open_table(
    path: Path,
    wanted: Collection[str] = (),
    *,
    delimiter: str = "",
    quotes: bool = True,
    header: bool = True,
    exact: bool = False,
) -> Table:
    """Reads the names of the columns.

    Args:
      path: the file.
      wanted: names of columns. If they are all there, that decides what separates the cells.
      delimiter: what separates the cells; "" finds it.
      quotes: see `Table`.
      header: whether the first row names the columns. Otherwise they are called "1", "2", ...
      exact: whether line breaks in cells stay as the file has them, and empty rows of one column are rows. Otherwise
        a line feed is in the place of each line break, and they are left out.

    Raises:
      InputError: the file is not a table.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    # The module reads line breaks in cells only if they are there.
    lines = (line if exact else line + "\n" for _, line in read_whole_lines(path, ends=exact))
    above, head = _header(lines, quotes=quotes)
    if not head:
        raise InputError("the file has only white space", where=str(path), fix=REMOVE_OR_NARROW, code="E-SOURCE-EMPTY")
    if _is_json(head[0]):
        raise InputError(
            "the file holds JSON lines, not a table",
            where=str(path),
            fix=f"Give {word(f'jsonl:{path}')}, or call the file .jsonl.",
            code="E-SOURCE-FIELD",
        )
    marks = (delimiter,) if delimiter else _DELIMITERS
    readers = [(mark, csv.reader(head, delimiter=mark, strict=False, quoting=_quoting(quotes))) for mark in marks]
    try:
        found = [(next(reader, []), mark, reader.line_num) for mark, reader in readers]
    except csv.Error as error:
        raise InputError(
            f"not a table: {error}",
            where=f"{path}:{above + 1}",
            fix="Give a table whose first row names the columns.",
            code="E-SOURCE-FIELD",
        ) from None
    order = found[1:2] + found if inner_suffix(path) == ".tsv" and not delimiter else found
    fitting = (one for one in order if wanted and set(wanted) <= set(one[0]))
    names, mark, count = next(fitting, None) or max(order, key=lambda one: len(one[0]))
    if header:
        return Table(path, names, mark, quotes, above + count, itertools.chain(head[count:], lines), exact)
    numbers = [str(n) for n in range(1, len(names) + 1)]
    blank = ["\n"] * above if exact and len(numbers) == 1 else []
    return Table(path, numbers, mark, quotes, above - len(blank), itertools.chain(blank, head, lines), exact)


def _quoting(quotes: bool) -> Any:
    return csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE


def _is_json(line: str) -> bool:
    """Returns whether a line is a JSON object."""
    if not line.lstrip().startswith("{"):
        return False
    try:
        return isinstance(parse(line, strict=False), dict)
    except ValueError:
        return False


def _header(lines: Iterator[str], *, quotes: bool) -> tuple[int, list[str]]:
    """Returns the number of blank lines above the names of the columns, and lines that begin with these names.

    A name in quotes may hold line breaks. A quote inside a name may be no more than a sign, so the list may have lines
    behind the names too. It is empty if the file has only blank lines.
    """
    header: list[str] = []
    above = opened = 0
    for line in lines:
        if not header and is_blank(line):
            above += 1
            continue
        header.append(line)
        opened += line.count('"')
        if not quotes or opened % 2 == 0 or len(header) == _HEADER_LINES:
            break
    return above, header


def open_rest(rest: str) -> RecordFiles:
    """Opens the source `csv:REST`."""
    pattern, column = split_option(rest)
    return RecordFiles(f"csv:{rest}", pattern, CsvReader(column), endings_of("csv"))
