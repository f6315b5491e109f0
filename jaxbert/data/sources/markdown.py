"""`markdown:GLOB`: the prose of a Markdown file is one document.

The library markdown-it-py (CommonMark, with GitHub's tables) reads it. Each paragraph, heading, list item and cell of a
table is one line: the lines of a paragraph are joined, links and emphasis leave their text, pictures leave nothing. The
front matter between lines of `---` or `+++`, code blocks, HTML and comments are left out. Code in a sentence stays.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxbert.data.sources.base import Document, bounded, is_blank
from jaxbert.data.sources.files import FileSource, Reader
from jaxbert.data.sources.finding import split_option
from jaxbert.data.sources.formats import endings_of
from jaxbert.data.sources.lines import decode_whole, read_whole
from jaxbert.errors import InputError

# YAML or TOML at the beginning of a file, as static sites have it.
_FRONT = re.compile(r"(---|\+\+\+)[ \t]*\n(?:.*\n)*?\1[ \t]*(?:\n|\Z)")
_BREAKS = ("softbreak", "hardbreak")


class MarkdownReader(Reader):
    """Reads Markdown files, a document each."""

    def read(self, name: str, path: Path) -> Iterator[Document]:
        """See `Reader`."""
        yield from bounded(name, prose_of(decode_whole(read_whole(path), path)))

    def describe(self) -> dict[str, str]:
        """See `Reader`."""
        return {"markdown-it-py": importlib.metadata.version("markdown-it-py")}

    def nothing(self) -> str:
        """See `Reader`."""
        return "the Markdown has no prose (front matter, code and HTML are left out)"


@functools.cache
def _parser() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table")


def prose_of(text: str) -> str:
    """Returns the prose of a Markdown text, with each block on a line."""
    text = text.replace("\r\n", "\n")
    front = _FRONT.match(text)
    lines = []
    for block in _parser().parse(text[front.end() :] if front else text):
        if block.type == "inline":
            line = " ".join("".join(map(_of_inline, block.children)).split())
            if not is_blank(line):
                lines.append(line)
    return "\n".join(lines)


def _of_inline(token: Any) -> str:
    if token.type in ("text", "code_inline", "text_special"):
        return str(token.content)
    return " " if token.type in _BREAKS else ""


def open_rest(rest: str) -> FileSource:
    """Opens the source `markdown:REST`."""
    pattern, option = split_option(rest)
    if option:
        raise InputError(f"markdown: has no option #{option}", where=rest, fix="Leave it out.", code="E-SOURCE-OPTION")
    return FileSource(f"markdown:{rest}", pattern, MarkdownReader(), endings_of("markdown"))
