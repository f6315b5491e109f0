"""Splits text into sentences by the rules of its language, with the `sentencex` library (Wikimedia, some 300
languages).

A line break always ends a sentence. For a language without rules, the library uses those of its nearest relative, and
in the end those of English.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sentencex import segment

from jaxbert.errors import InputError
from jaxbert.text.scripts import is_mark

_TAG = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
# The library's time grows with the square of the sentence ends in a line, so it gets long lines in windows.
_WINDOW = 1 << 12
_LONGEST_WINDOW = 1 << 15
# White space of more than one byte in UTF-8. Version 1.0.32 of the library counts one byte for it behind "C", and
# panics. It gets a space in its place; the sentences have the original.
_WIDE_SPACE = re.compile(r"[^\S\x00-\x7f]")

# Marks that open and close a quotation alike. If a text has an odd number of one, the library sees none of its pairs.
_MARKS = "'\""
# Such a mark where it opens: before a word, and behind white space, a bracket, a dash, a colon, a comma, or a letter
# that is not ASCII, as in languages without spaces. An inch or an apostrophe stands behind a digit or letter.
_OPENING = re.compile(r"""(?<![^\s\w(\[{<\u2013\u2014,:\uff0c\uff1a-])(?<![0-9A-Za-z_])["'](?=[^\s.,;:!?)\]}])""")


def split_sentences(text: str, language: str = "en") -> list[str]:
    """Returns the sentences of `text` in order, without white space around them. No sentence is empty.

    Together they hold every character of the text but white space.

    Args:
      text: any text.
      language: ISO 639 code ("en", "de", "pt-br").

    Raises:
      InputError: `language` is not such a code.
    """
    check_language(language)
    sentences: list[str] = []
    for line in text.splitlines():
        line = line.strip()
        if line:
            sentences.extend(stripped for sentence in _segment(line, language) if (stripped := sentence.strip()))
    return sentences


def _segment(line: str, language: str) -> Iterator[str]:
    """Yields the sentences of a line, which together are the line.

    A window moves over a long line. The last sentence of a window may go on behind it, so the next window begins with
    that sentence. A sentence that is longer than the longest window is cut there, at white space if it has any.
    A window, except for the longest, does not end inside a quotation: the library would miss all others in it.
    """
    start, size = 0, _WINDOW
    while start < len(line):
        end = start + size
        if end < len(line) and size < _LONGEST_WINDOW:
            end = _before_quotation(line, start, end)
        window = line[start:end]
        ends = _ends(window, language)
        if start + size < len(line):
            ends = ends[:-1]
            if not ends and size < _LONGEST_WINDOW:
                size *= 2
                continue
            if not ends:
                ends = [window.rfind(" ") + 1 or len(window)]
        for begin, end in zip([0, *ends], ends, strict=False):
            yield window[begin:end]
        start, size = start + ends[-1], _WINDOW


def _before_quotation(line: str, start: int, end: int) -> int:
    """Returns where the quotation begins that `line[start:end]` ends in; `end` if it ends in none."""
    for mark in _MARKS:
        if line.count(mark, start, end) % 2:
            last = line.rindex(mark, start, end)
            # What stands on the letter before, such as a vowel sign, belongs to that letter.
            letter = last
            while letter and is_mark(line[letter - 1]):
                letter -= 1
            before = line[max(0, letter - 1) : letter]
            if _OPENING.match(before + line[last : last + 2], len(before)):
                end = last
    return end


def _ends(window: str, language: str) -> list[int]:
    """Returns the places in a window where its sentences end. The last one is its length."""
    try:
        sentences = segment(language, window if window.isascii() else _WIDE_SPACE.sub(" ", window))
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        # Another fault of the library must not stop a corpus: the text stays, as one sentence.
        return [len(window)]
    ends: list[int] = []
    for sentence in sentences:
        ends.append((ends[-1] if ends else 0) + len(sentence))
    # The sentences are the whole window, with its white space. Nothing may be lost if a version does otherwise.
    return ends if ends and ends[-1] == len(window) else [len(window)]


def check_language(language: str) -> None:
    """Raises InputError if `language` is not an ISO 639 code."""
    if not _TAG.fullmatch(language):
        raise InputError(
            f"{language!r} is not a language code",
            where="--language",
            fix='Give an ISO 639 code such as "en" or "de".',
            code="E-RECORDS-LANGUAGE",
        )
