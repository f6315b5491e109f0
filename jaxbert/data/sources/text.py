"""`text:GLOB[#file|#line|#wrapped]`: UTF-8 text files.

A document ends at a blank line. With `#file` each file is a document, with `#line` each line is one. A line break
inside a document ends a sentence: the text should have a paragraph or a sentence on each line. For text that is wrapped
at a fixed width, `#wrapped` joins the lines of a paragraph, up to a blank line; each file is a document. A folder
gives its .txt and .md files.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

from jaxbert.config import did_you_mean
from jaxbert.core.shell import word
from jaxbert.data.sources.base import MAX_DOCUMENT_BYTES, Document, is_blank
from jaxbert.data.sources.files import FileSource, Reader
from jaxbert.data.sources.finding import matching, split_option
from jaxbert.data.sources.formats import HOLDERS, endings_of, kind_of
from jaxbert.data.sources.lines import read_head, read_lines
from jaxbert.errors import InputError, counted
from jaxbert.text.wrapped import is_mostly_wrapped

BOUNDARIES = ("file", "line", "wrapped")


class TextReader(Reader):
    """Reads text files, cut by `boundary`, which is "" for blank lines."""

    unwrap = "read it with text:GLOB#wrapped, which joins the lines of a paragraph"

    def __init__(self, boundary: str):
        self.boundary = boundary

    def check(self, name: str, path: Path) -> None:
        """See `Reader`."""
        kind = kind_of(path)
        if kind in HOLDERS and not self.boundary:
            # It would become one document of commas and brackets.
            raise InputError(
                "the file holds records, not plain text",
                where=str(path),
                fix=f"Give {word(f'{kind}:{path}#{HOLDERS[kind]}')}. To read its lines as they are, give "
                f"{word(f'text:{path}#line')}.",
                code="E-SOURCE-RECORDS",
            )
        super().check(name, path)

    def read(self, name: str, path: Path) -> Iterator[Document]:
        """See `Reader`. A document longer than `MAX_DOCUMENT_BYTES` is divided into parts."""
        yield from _documents(name, path, self.boundary)


class WholeTextReader(Reader):
    """Reads text files, a document a file. It joins the lines of a paragraph where a file was wrapped."""

    def __init__(self) -> None:
        self._wrapped: dict[str, bool] = {}

    def read(self, name: str, path: Path) -> Iterator[Document]:
        """See `Reader`."""
        if name not in self._wrapped:
            head = read_head(path).decode("utf-8", "replace")
            self._wrapped[name] = is_mostly_wrapped(head.replace("\r\n", "\n").replace("\r", "\n"))
        yield from _documents(name, path, "wrapped" if self._wrapped[name] else "file")

    def findings(self) -> list[str]:
        """See `Reader`."""
        joined = [name for name, wrapped in self._wrapped.items() if wrapped]
        if not joined:
            return []
        return [
            f"lines of a fixed width in {counted(len(joined), 'file')}, for example {joined[0]}: the lines of each "
            "paragraph are joined (text:GLOB#file keeps them)"
        ]


def _documents(name: str, path: Path, boundary: str) -> Iterator[Document]:
    """Yields the documents of a text file, cut by `boundary`."""
    numbered = read_lines(path)
    if boundary == "wrapped":
        numbered = _paragraphs(numbered)
    lines: list[str] = []
    start, last, size, part = 1, 0, 0, 0
    for number, line in numbered:
        blank = is_blank(line)
        # A line of megabytes comes in pieces of the same number.
        ends = {"": blank, "line": number != last}.get(boundary, False)
        last = number
        if lines and (ends or size + len(line) > MAX_DOCUMENT_BYTES):
            part += part > 0 or not ends
            yield Document(f"{name}:{start}", "\n".join(lines), part=part)
            lines, size = [], 0
        part = 0 if ends else part
        if not blank:
            start = start if lines else number
            lines.append(line)
            size += len(line) + 1
    if lines:
        yield Document(f"{name}:{start}", "\n".join(lines), part=part + (part > 0))


def _paragraphs(numbered: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yields (number of its first line, text) for each paragraph of wrapped lines."""
    start, text = 0, ""
    for number, line in numbered:
        line = line.strip()
        if text and (is_blank(line) or len(text) + len(line) > MAX_DOCUMENT_BYTES):
            yield start, text
            text = ""
        if not is_blank(line):
            start = start if text else number
            # Chinese and Japanese have no space between words, and none where a line was broken.
            text += ("" if not text or (_wide(text[-1]) and _wide(line[0])) else " ") + line
    if text:
        yield start, text


def _wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF"


def open_rest(rest: str) -> FileSource:
    """Opens the source `text:REST`."""
    pattern, option = split_option(rest)
    if option not in ("", *BOUNDARIES):
        if matching(pattern):
            known = ", ".join(f"#{name}" for name in BOUNDARIES)
            fix = f"{did_you_mean(option, list(BOUNDARIES))}Known: {known}; without, documents end at blank lines."
            raise InputError(f"unknown option #{option}", where=f"text:{rest}", fix=fix, code="E-SOURCE-OPTION")
        pattern, option = rest, ""
    return FileSource(f"text:{rest}", pattern, TextReader(option), endings_of("text", "markdown"))
