"""`parquet:GLOB[#column]`: each row is one document, with its text in `column`.

Without `#column` it is the column "text", or else the only one that holds text in the first rows. The column holds
strings, or UTF-8 in bytes. A row whose cell is null or only white space is left out and counted. A packed file (.gz) is
unpacked to a temporary one, because the format is read from its end.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxbert.data.sources.finding import split_option
from jaxbert.data.sources.formats import endings_of
from jaxbert.data.sources.lines import reading
from jaxbert.data.sources.packed import ENDINGS, open_bytes
from jaxbert.data.sources.record_files import HEAD_RECORDS, RecordFiles, RecordReader
from jaxbert.errors import InputError
from jaxbert.inputs.files import open_regular

_BATCH = 256


class ParquetReader(RecordReader):
    """Reads Parquet files, a few hundred rows at a time."""

    kind = "parquet"

    def check(self, name: str, path: Path) -> None:
        """See `Reader`. It reads the schema."""
        self._open(path, self.column_in(path)).close()

    def head(self, path: Path) -> tuple[list[str], list[Mapping[str, Any]]]:
        """See `RecordReader`. Where a column is called "text", it reads no rows."""
        with self._file(path) as file:
            schema = file.schema_arrow
            if "text" in schema.names:
                return schema.names, []
            # A column twice cannot be read by its name.
            columns = [name for name in schema.names if schema.names.count(name) == 1 and _is_text(schema, name)]
            columns = [name for name in columns if "." not in name]
            first = next(_batches(file, path, columns), []) if columns else []
            rows = zip(*(cells[:HEAD_RECORDS] for cells in first), strict=True)
            return schema.names, [dict(zip(columns, row, strict=True)) for row in rows]

    def _file(self, path: Path) -> Any:
        import pyarrow
        import pyarrow.parquet

        with reading(path):
            try:
                # Only some writers give pages a checksum. Without one, a wrong byte in a page may pass for text.
                return pyarrow.parquet.ParquetFile(_readable(path), page_checksum_verification=True)
            except (pyarrow.ArrowException, UnicodeDecodeError) as error:
                what = f"not a usable Parquet file ({str(error).splitlines()[0]})"
                raise InputError(what, where=str(path), fix="Copy the file again.", code="E-SOURCE-DAMAGED") from None

    def _open(self, path: Path, column: str) -> Any:
        file = self._file(path)
        schema = file.schema_arrow
        self.place_of_column(schema.names, path, column)
        if not _is_text(schema, column):
            raise InputError(
                f"column {column!r} holds {schema.field(column).type}, not text",
                where=str(path),
                fix="Give another column.",
                code="E-SOURCE-FIELD",
            )
        return file

    def cells(self, path: Path, column: str) -> Iterator[tuple[int, Any]]:
        """See `RecordReader`."""
        row = 0
        with self._open(path, column) as file:
            for (cells,) in _batches(file, path, [column]):
                for row, cell in enumerate(cells, row + 1):  # noqa: B020
                    yield row, cell


def rows(path: Path, columns: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (number of the row from 1, the cell of each column) of each row of a file.

    Args:
      path: the file.
      columns: the names of the columns to read; all of them where there are none.

    Raises:
      InputError: the file is damaged, or two columns have one name.
    """
    with ParquetReader()._file(path) as file:
        names: list[str] = file.schema_arrow.names
        double = next((name for name in names if names.count(name) > 1), None)
        if double is not None:
            raise InputError(
                f"{names.count(double)} columns are called {double!r}",
                where=str(path),
                fix="Write the file again with one column of each name.",
                code="E-SOURCE-FIELD",
            )
        chosen = [name for name in names if not columns or name in columns]
        row = 0
        for cells in _batches(file, path, chosen):
            for row, values in enumerate(zip(*cells, strict=True), row + 1):  # noqa: B020
                yield row, dict(zip(chosen, values, strict=True))


def names_of(path: Path) -> list[str]:
    """Returns the names of the columns of a file."""
    with ParquetReader()._file(path) as file:
        return list(file.schema_arrow.names)


def _batches(file: Any, path: Path, columns: list[str]) -> Iterator[list[list[Any]]]:
    """Yields the cells of some columns, a few hundred rows at a time."""
    import pyarrow

    row = 0
    batches = file.iter_batches(batch_size=_BATCH, columns=columns)
    while True:
        try:
            with reading(path):
                batch = _next(batches)
            cells = [] if batch is None else [_cells(batch.column(column)) for column in columns]
        except (pyarrow.ArrowException, UnicodeDecodeError) as error:
            what = f"damaged near row {row} ({str(error).splitlines()[0]})"
            raise InputError(what, where=str(path), fix="Copy the file again.", code="E-SOURCE-DAMAGED") from None
        if batch is None:
            break
        row += len(batch)
        yield cells


def _readable(path: Path) -> Any:
    """Returns what the library reads: a path, or an open file that has the same bytes."""
    if path.suffix.lower() in ENDINGS:
        unpacked = tempfile.TemporaryFile()  # noqa: SIM115  # The library closes it.
        with open_bytes(path) as packed:
            shutil.copyfileobj(packed, unpacked)
        return unpacked
    # The library takes only names that are UTF-8.
    return path if _is_utf8(path) else open_regular(path)


def _is_text(schema: Any, column: str) -> bool:
    """Returns whether a column has a type that `text_of` reads."""
    import pyarrow

    kind = schema.field(column).type
    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    return any(is_kind(kind) for is_kind in _text_types())


def _next(batches: Iterator[Any]) -> Any:
    """Returns the next batch, or None. It raises ArrowInvalid for damage, also where the library raises OSError."""
    import pyarrow

    try:
        return next(batches, None)
    except OSError as error:
        if error.errno is not None:  # of the system
            raise
        raise pyarrow.ArrowInvalid(str(error)) from None


def _text_types() -> tuple[Any, ...]:
    """Returns the functions that recognise a type of column that `text_of` reads. A column of null has no text."""
    from pyarrow import types

    strings = (types.is_string, types.is_large_string, types.is_string_view)
    binaries = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    return (*strings, *binaries, types.is_null)


def _cells(column: Any) -> list[Any]:
    """Returns the cells of a column: bytes if they are not UTF-8, which `text_of` then reads."""
    import pyarrow

    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        if pyarrow.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pyarrow.types.is_string_view(column.type):
            column = column.cast(pyarrow.binary_view())
        return list(column.cast(pyarrow.large_binary()).to_pylist())


def open_rest(rest: str) -> RecordFiles:
    """Opens the source `parquet:REST`."""
    pattern, column = split_option(rest)
    return RecordFiles(f"parquet:{rest}", pattern, ParquetReader(column), endings_of("parquet"))


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
