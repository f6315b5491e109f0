"""`parquet:GLOB[#column]`: each row is one document, with its text in `column` ("text" by default).

Rows with an empty cell are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxbert.config import did_you_mean
from jaxbert.data.sources.base import Document, FileSource, bounded, reading, split_option
from jaxbert.errors import InputError

_BATCH = 256


class ParquetSource(FileSource):
    """Documents of Parquet files, read a few hundred rows at a time."""

    def __init__(self, spec: str, pattern: str, column: str):
        super().__init__(spec, pattern)
        self.column = column
        for _, path in self.files:
            self._open(path).close()

    def _open(self, path: Path) -> Any:
        import pyarrow
        import pyarrow.parquet

        with reading(path):
            try:
                file = pyarrow.parquet.ParquetFile(path)
            except pyarrow.ArrowInvalid as error:
                what = f"not a usable Parquet file ({str(error).splitlines()[0]})"
                raise InputError(what, where=str(path), fix="Copy the file again.", code="E-SOURCE-DAMAGED") from None
        schema = file.schema_arrow
        if self.column not in schema.names:
            fix = f"{did_you_mean(self.column, schema.names)}Columns there: {', '.join(schema.names)}; "
            raise InputError(
                f"no column {self.column!r}",
                where=str(path),
                fix=f"{fix}give parquet:GLOB#column.",
                code="E-SOURCE-FIELD",
            )
        kind = schema.field(self.column).type
        if pyarrow.types.is_dictionary(kind):
            kind = kind.value_type
        if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
            raise InputError(
                f"column {self.column!r} holds {kind}, not text",
                where=str(path),
                fix="Give another column.",
                code="E-SOURCE-FIELD",
            )
        return file

    def documents(self) -> Iterator[Document]:
        """See `Source`."""
        import pyarrow

        for name, path in self.files:
            row = 0
            with self._open(path) as file:
                batches = file.iter_batches(batch_size=_BATCH, columns=[self.column])
                while True:
                    try:
                        with reading(path):
                            batch = next(batches, None)
                        texts = [] if batch is None else _texts(batch.column(0))
                    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
                        what = f"damaged near row {row} ({str(error).splitlines()[0]})"
                        raise InputError(
                            what, where=str(path), fix="Copy the file again.", code="E-SOURCE-DAMAGED"
                        ) from None
                    if batch is None:
                        break
                    for text in texts:
                        row += 1
                        if text is not None:
                            yield from bounded(f"{name}:{row}", text)


def _texts(column: Any) -> list[str | None]:
    """Returns the cells of a column of strings. They may hold lone surrogates, which `bounded` replaces."""
    import pyarrow

    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        if pyarrow.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        cells = column.cast(pyarrow.large_binary()).to_pylist()
        return [None if cell is None else cell.decode("utf-8", "surrogatepass") for cell in cells]


def open_rest(rest: str) -> ParquetSource:
    """Opens the source `parquet:REST`."""
    pattern, column = split_option(rest)
    return ParquetSource(f"parquet:{rest}", pattern, column or "text")
