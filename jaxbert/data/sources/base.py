"""Documents, and the rules that all sources share: what a text is, and how long a document may be."""

from __future__ import annotations

import abc
import functools
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jaxbert.errors import InputError, counted

# A document of more characters than this is divided into parts, and a line of more bytes into pieces. So memory stays
# bounded for any file.
MAX_DOCUMENT_BYTES = 4 << 20
_SURROGATE = re.compile("[\ud800-\udfff]")
# The characters that Unicode calls Default_Ignorable_Code_Point (DerivedCoreProperties.txt), without brackets.
IGNORABLE = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# A line of these looks empty.
_NOTHING = re.compile(rf"[\s{IGNORABLE}]*")
# Characters that may join with the one before them, besides marks (Unicode's category M): vowels and finals of Hangul,
# and those without width, behind which a mark may follow.
_JOINING = re.compile(rf"[\u1160-\u11ff{IGNORABLE}]")
# A place for a cut is searched in so many characters. Unicode's "stream-safe" text has at most 30 marks in a row.
_NEAR = 1 << 10


@dataclass(frozen=True)
class Document:
    r"""One document.

    Attributes:
      name: the place of the document in the source, for people: "novel.txt:123", or the name of a service.
      text: the lines of the document, with "\n" between them.
      split: "train" or "validation" if the source has splits, else None.
      part: the number, from 1, of this part of a document that is longer than `MAX_DOCUMENT_BYTES`; 0 for a whole one.
      digest: the digest of the normalised text of the whole document, once it is known (`jaxbert.data.split.drawn`).
    """

    name: str
    text: str
    split: str | None = None
    part: int = 0
    digest: bytes = b""


class Records:
    """Makes documents of records, and counts the records that have no text.

    Attributes:
      without_text: the number of records without text that were left out since the reading began.
    """

    without_text: int = 0

    def record(self, name: str, value: Any, label: str, where: str, split: str | None = None) -> Iterator[Document]:
        """Yields the document of one record, or its parts. A record without text gives none and is counted.

        Args:
          name: the name of the document.
          value: the text; see `text_of`.
          label: what holds the value, for messages: "column 'text'".
          where: the place of the record, for messages.
          split: see `Document`.

        Raises:
          InputError: the value is something else than text.
        """
        text = text_of(value, label, where)
        if text is None or is_blank(text):
            self.without_text += 1
        else:
            yield from bounded(name, text, split)


class Source(Records, abc.ABC):
    """Documents in a fixed order.

    Attributes:
      spec: the SOURCE string.
      licence: the licence of the documents if the source states it, else "".
      without_text: see `Records`.
      unwrap: what a user can do about lines that are broken inside sentences.
    """

    spec: str
    licence: str = ""
    unwrap: str = "join the lines of each paragraph before"

    @abc.abstractmethod
    def documents(self) -> Iterator[Document]:
        """Yields the documents from the start, as a stream.

        Raises:
          InputError: a mistake that only reading shows: not UTF-8, a missing field, damaged compression.
          Interrupted: the disk or the network failed.
        """

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Returns JSON that changes with the documents: the spec, files with sizes and sha256, versions of packages."""

    def findings(self) -> list[str]:
        """Returns a line for each thing that the source left out. It is complete when `documents` has ended."""
        if not self.without_text:
            return []
        return [f"{counted(self.without_text, 'record')} without text (null, or only white space), left out"]

    @functools.cached_property
    def hash(self) -> str:
        """Returns the sha256 of `describe()`, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()


def is_blank(text: str) -> bool:
    """Returns whether a text shows nothing: only white space and characters without width."""
    if "!" <= text[:1] <= "~":  # Nearly every line begins with one of these, and this is much faster.
        return False
    return _NOTHING.fullmatch(text) is not None


def text_of(value: Any, label: str, where: str) -> str | None:
    """Returns the text of a record: a string, UTF-8 in bytes, or None for null. It is the one rule of all sources.

    Args:
      value: what the record holds.
      label: what holds the value: "column 'text'".
      where: the place of the record.

    Raises:
      InputError: the value is something else, bytes that are not UTF-8, or a text with a NUL character.
    """
    text = _decoded(value, label, where) if value is not None else None
    if text is not None and "\0" in text:
        raise InputError(
            f"{label} holds a NUL character (U+0000) at character {text.index(chr(0))}",
            where=where,
            fix="Mend the text, or remove the character.",
            code="E-SOURCE-NUL",
        )
    return text


def _decoded(value: Any, label: str, where: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, bytes):
        raise InputError(
            f"{label} holds {_show(value)}, not text",
            where=where,
            fix="Give another one, or mend the record.",
            code="E-SOURCE-FIELD",
        )
    try:
        # Some writers encode lone surrogates too. `without_surrogates` replaces them.
        return value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{label} holds bytes that are not UTF-8: 0x{value[error.start]:02x} at byte {error.start}",
            where=where,
            fix="Give a column of text, or convert it to UTF-8.",
            code="E-SOURCE-ENCODING",
        ) from None


def _show(value: Any) -> str:
    """Returns a value and its type in a few words."""
    shown = repr(value) if isinstance(value, (int, float)) else ""
    return f"{shown} ({type(value).__name__})" if 0 < len(shown) < 40 else type(value).__name__


def without_surrogates(text: str) -> str:
    """Returns the text with U+FFFD for each lone surrogate, which JSON can write, but UTF-8 and tokenizers cannot."""
    try:
        text.encode()  # Much faster than the search, and it hardly ever fails.
        return text
    except UnicodeEncodeError:
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def whole_letters(text: str, start: int, end: int) -> int:
    """Returns the last place from `start` + 1 to `end` where a letter begins that does not join with the one before it.

    A text that is cut there has the same letters as before, also after Unicode's normalisation. The place is `end` if
    there is none near.
    """
    for place in range(min(end, len(text) - 1), max(start, end - _NEAR), -1):
        first = unicodedata.normalize("NFKD", text[place])[0]
        if unicodedata.category(first)[0] != "M" and not _JOINING.match(first):
            return place
    return end


def bounded(name: str, text: str, split: str | None = None) -> Iterator[Document]:
    """Yields a document, or its parts if it has more than `MAX_DOCUMENT_BYTES` characters, cut at line ends or spaces.

    Lone surrogates, which UTF-8 cannot hold, become U+FFFD.
    """
    text = without_surrogates(text)
    if len(text) <= MAX_DOCUMENT_BYTES:
        if not is_blank(text):
            yield Document(name, text, split)
        return
    start, part = 0, 1
    while start < len(text):
        end = start + MAX_DOCUMENT_BYTES
        if end < len(text):
            end = max(text.rfind("\n", start, end), text.rfind(" ", start, end)) + 1
            end = end or whole_letters(text, start, start + MAX_DOCUMENT_BYTES)
        if not is_blank(text[start:end]):
            yield Document(f"{name}/{part}", text[start:end].strip("\n"), split, part)
            part += 1
        start = end
