"""`files:PATTERN[#COLUMN]`: a folder, a file or a glob pattern of files of any known kind, each by its ending.

PATTERN without `files:` means the same. A folder gives all files in it and below, but for hidden ones. A text file, a
page of HTML and a Markdown file are one document each; a record of a table, a JSON or a Parquet file is one document.
`#COLUMN` names the field of text in all files of records. Without it, each file of a folder has its own: "text", or
else the one with most text. Files of other kinds, and files without text, are left out and named. If nobody knows the
ending of any file that was named, all are read as plain text.
"""

from __future__ import annotations

from pathlib import Path

from jaxbert.core.shell import word
from jaxbert.data.sources.files import FileSource, Reader
from jaxbert.data.sources.finding import split_option
from jaxbert.data.sources.formats import HOLDERS, is_known, kind_of
from jaxbert.data.sources.html import HtmlReader
from jaxbert.data.sources.json_file import JsonReader
from jaxbert.data.sources.jsonl import JsonlReader
from jaxbert.data.sources.markdown import MarkdownReader
from jaxbert.data.sources.parquet import ParquetReader
from jaxbert.data.sources.record_files import RecordReader
from jaxbert.data.sources.table import CsvReader
from jaxbert.data.sources.text import WholeTextReader
from jaxbert.errors import InputError


class MixedSource(FileSource):
    """Documents of files of several kinds."""

    mixed = True

    def __init__(self, spec: str, pattern: str, column: str):
        self._readers: dict[str, Reader] = {
            "text": WholeTextReader(),
            "markdown": MarkdownReader(),
            "html": HtmlReader(),
            "csv": CsvReader(column),
            "jsonl": JsonlReader(column),
            "json": JsonReader(column),
            "parquet": ParquetReader(column),
        }
        self._unknown_are_text = False
        super().__init__(spec, pattern, self._readers["text"])
        if column and not any(kind_of(path) in HOLDERS for _, path in self.files):
            raise InputError(
                f"#{column} names a field of records, and no file has records",
                where=spec,
                fix=f"Leave it out. For one document a line, give {word(f'text:{pattern}#line')}.",
                code="E-SOURCE-OPTION",
            )

    def _choose(self, files: list[tuple[str, Path]]) -> None:
        # A folder may hold anything. In a file that was named, the user means the text.
        self._unknown_are_text = not self.by_ending and not any(is_known(path) for _, path in files)
        for reader in self._readers.values():
            if isinstance(reader, RecordReader):
                reader.decides = self.by_ending

    def reader_of(self, path: Path) -> Reader | None:
        """See `FileSource`."""
        return self._readers.get(kind_of(path) or ("text" if self._unknown_are_text else ""))

    def readers(self) -> list[Reader]:
        """See `FileSource`."""
        readers = [self.reader_of(path) for _, path in self.files]
        return [reader for reader in dict.fromkeys(readers) if reader is not None]

    def findings(self) -> list[str]:
        """See `FileSource`."""
        plain = ["files whose ending is not known are read as plain text"] if self._unknown_are_text else []
        return plain + super().findings()


def open_rest(rest: str) -> MixedSource:
    """Opens the source `files:REST`."""
    pattern, column = split_option(rest)
    return MixedSource(f"files:{rest}", pattern, column)
