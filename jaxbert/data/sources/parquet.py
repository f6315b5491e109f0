"""`parquet:GLOB[#column]`: each row is one document, with its text in `column` ("text" by default).

The column holds strings, or UTF-8 in bytes. A row whose cell is null or only white space is left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxbert.data.sources.files import reading, split_option
from jaxbert.data.sources.record_files import RecordFiles
from jaxbert.errors import InputError
from jaxbert.inputs.files import open_regular

_BATCH = 256


class ParquetSource(RecordFiles):
    """Documents of Parquet files, read a few hundred rows at a time."""

    def check(self, name: str, path: Path) -> None:
        """See `FileSource`. It reads the schema."""
        self._open(path).close()

    def _open(self, path: Path) -> Any:
        import pyarrow
        import pyarrow.parquet

        with reading(path):
            try:
                # The library takes only names that are UTF-8.
                opened = path if _is_utf8(path) else open_regular(path)
                # Only some writers give pages a checksum. Without one, a wrong byte in a page may pass for text.
                file = pyarrow.parquet.ParquetFile(opened, page_checksum_verification=True)
            except (pyarrow.ArrowException, UnicodeDecodeError) as error:
                what = f"not a usable Parquet file ({str(error).splitlines()[0]})"
                raise InputError(what, where=str(path), fix="Copy the file again.", code="E-SOURCE-DAMAGED") from None
        schema = file.schema_arrow
        kind = schema.field(self.place_of_column(schema.names, path, "parquet")).type
        if pyarrow.types.is_dictionary(kind):
            kind = kind.value_type
        if not any(is_kind(kind) for is_kind in _text_types()):
            raise InputError(
                f"column {self.column!r} holds {kind}, not text",
                where=str(path),
                fix="Give another column.",
                code="E-SOURCE-FIELD",
            )
        return file

    def values(self, path: Path) -> Iterator[tuple[int, Any]]:
        """See `RecordFiles`."""
        import pyarrow

        row = 0
        with self._open(path) as file:
            batches = file.iter_batches(batch_size=_BATCH, columns=[self.column])
            while True:
                try:
                    with reading(path):
                        batch = _next(batches)
                    cells = [] if batch is None else _cells(batch.column(self.column))
                except (pyarrow.ArrowException, UnicodeDecodeError) as error:
                    what = f"damaged near row {row} ({str(error).splitlines()[0]})"
                    raise InputError(
                        what, where=str(path), fix="Copy the file again.", code="E-SOURCE-DAMAGED"
                    ) from None
                if batch is None:
                    break
                for row, cell in enumerate(cells, row + 1):  # noqa: B020
                    yield row, cell


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


def _cells(column: Any) -> list[str | bytes | None]:
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


def open_rest(rest: str) -> ParquetSource:
    """Opens the source `parquet:REST`."""
    pattern, column = split_option(rest)
    return ParquetSource(f"parquet:{rest}", pattern, column or "text")


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
