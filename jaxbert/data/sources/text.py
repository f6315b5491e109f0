"""`text:GLOB[#file|#line]`: UTF-8 text files.

A document ends at a blank line. With `#file` each file is a document, with `#line` each line is one. A line break
inside a document ends a sentence: the text should have a paragraph or a sentence on each line, and not be wrapped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jaxbert.config import did_you_mean
from jaxbert.data.sources.base import MAX_DOCUMENT_BYTES, Document, FileSource, check_head, read_lines, split_option
from jaxbert.errors import InputError

BOUNDARIES = ("blank", "file", "line")


class TextSource(FileSource):
    """Documents of text files, cut by `boundary`."""

    def __init__(self, spec: str, pattern: str, boundary: str):
        super().__init__(spec, pattern)
        self.boundary = boundary
        for _, path in self.files:
            check_head(path)

    def documents(self) -> Iterator[Document]:
        """See `Source`. A document longer than `MAX_DOCUMENT_BYTES` is divided into parts."""
        for name, path in self.files:
            yield from self._file(name, path)

    def _file(self, name: str, path: Path) -> Iterator[Document]:
        lines: list[str] = []
        start, size = 1, 0
        for number, line in read_lines(path):
            blank = not line.strip()
            ends = blank if self.boundary == "blank" else self.boundary == "line"
            if lines and (ends or size + len(line) > MAX_DOCUMENT_BYTES):
                yield Document(f"{name}:{start}", "\n".join(lines))
                lines, size = [], 0
            if not blank:
                start = start if lines else number
                lines.append(line)
                size += len(line) + 1
        if lines:
            yield Document(f"{name}:{start}", "\n".join(lines))


def open_rest(rest: str) -> TextSource:
    """Opens the source `text:REST`."""
    pattern, option = split_option(rest)
    if option not in ("", "file", "line"):
        if "/" in option or "." in option:  # A "#" in a file's name.
            pattern, option = rest, ""
        else:
            fix = f"{did_you_mean(option, ['file', 'line'])}Known: #file, #line; without, documents end at blank lines."
            raise InputError(f"unknown option #{option}", where=f"text:{rest}", fix=fix, code="E-SOURCE-OPTION")
    return TextSource(f"text:{rest}", pattern, option or "blank")
