"""`html:GLOB`: the text of a page is one document, without menus, banners and scripts.

The library Resiliparse (Apache-2.0, of the web search engine ChatNoir) finds the main part of a page. Each block
(paragraph, heading, list item, row of a table) is one line. Code blocks are left out, as in Markdown. A page is UTF-8,
or what its <meta> says.
"""

from __future__ import annotations

import codecs
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

from jaxbert.data.sources.base import Document, bounded, is_blank
from jaxbert.data.sources.files import FileSource, Reader
from jaxbert.data.sources.finding import split_option
from jaxbert.data.sources.formats import endings_of
from jaxbert.data.sources.lines import check_head, decode_whole, read_head, read_whole
from jaxbert.errors import InputError

# The HTML standard looks for the encoding in so many bytes (13.2.3.2, "prescan a byte stream").
_PRESCAN = 1024
_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]+)", re.IGNORECASE)
_CODE = ["pre code", ".highlight pre"]


class HtmlReader(Reader):
    """Reads pages of HTML, a document each."""

    def check(self, name: str, path: Path) -> None:
        """See `Reader`. It honours the encoding that a page declares."""
        head = read_head(path)
        codec = _declared(head)
        if not codec:
            check_head(path)
            return
        try:
            # The end of the head may cut a character in two, which is not a fault of the page.
            codecs.getincrementaldecoder(codec)().decode(head)
        except UnicodeDecodeError as error:
            raise _not_as_declared(codec, head, error, path) from None

    def read(self, name: str, path: Path) -> Iterator[Document]:
        """See `Reader`."""
        text = text_of_page(_decoded(read_whole(path), path))
        yield from bounded(name, text)

    def describe(self) -> dict[str, str]:
        """See `Reader`."""
        return {"resiliparse": importlib.metadata.version("resiliparse")}

    def nothing(self) -> str:
        """See `Reader`."""
        return "the pages show no text (is it made by a script?)"


def text_of_page(page: str) -> str:
    """Returns the text of the main part of a page, or else of the whole page; "" where it has none."""
    from resiliparse.extract.html2text import extract_plain_text

    for main in (True, False):
        text = extract_plain_text(
            page, main_content=main, list_bullets=False, alt_texts=False, comments=False, skip_elements=_CODE
        )
        lines = (" ".join(line.split()) for line in text.split("\n"))
        if text := "\n".join(line for line in lines if not is_blank(line)):
            return text
    return ""


def _declared(data: bytes) -> str:
    """Returns the codec of the encoding that a page declares; "" for UTF-8, and where it declares none."""
    found = _CHARSET.search(data[:_PRESCAN])
    if found is None or data.startswith(b"\xef\xbb\xbf"):
        return ""
    try:
        name = codecs.lookup(found[1].decode()).name
    except LookupError:
        return ""
    # The standard takes Latin-1 and ASCII for Windows-1252, and an UTF-16 that can be read as ASCII for UTF-8.
    name = {"iso8859-1": "cp1252", "ascii": "cp1252"}.get(name, name)
    return "" if name.startswith("utf") else name


def _decoded(data: bytes, path: Path) -> str:
    codec = _declared(data)
    if not codec:
        return decode_whole(data, path)
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        raise _not_as_declared(codec, data, error, path) from None
    if "\0" in text:
        return decode_whole(text.encode(), path)
    return text


def _not_as_declared(codec: str, data: bytes, error: UnicodeDecodeError, path: Path) -> InputError:
    return InputError(
        f"not {codec}, as its <meta> says: 0x{data[error.start]:02x} at byte {error.start}",
        where=str(path),
        fix="Correct the <meta>, or convert the page to UTF-8.",
        code="E-SOURCE-ENCODING",
    )


def open_rest(rest: str) -> FileSource:
    """Opens the source `html:REST`."""
    pattern, option = split_option(rest)
    if option:
        raise InputError(f"html: has no option #{option}", where=rest, fix="Leave it out.", code="E-SOURCE-OPTION")
    return FileSource(f"html:{rest}", pattern, HtmlReader(), endings_of("html"))
