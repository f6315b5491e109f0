"""Words of a text by their characters, and entities that are given by characters."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Sequence

from jaxbert.errors import InputError
from jaxbert.labelled.tags import Span, to_bio
from jaxbert.text.scripts import is_mark, is_unspaced

Words = tuple[tuple[int, int], ...]

_PARTS = re.compile(r"\w+|[^\w\s]")


def split_words(text: str) -> Words:
    """Returns the first character of each word of a text, and the one behind its last.

    A word is a run of letters, digits and underscores with the marks on them. Any other character but white space is a
    word too, and so is each letter of a script without spaces between words (Chinese, Japanese, Thai ...).
    """
    parts = [match.span() for match in _PARTS.finditer(text)]
    if text.isascii():
        return tuple(parts)
    found: list[tuple[int, int]] = []
    for start, end in parts:
        # A vowel sign or an accent is not a letter for `re`, and divides a word.
        after_mark = is_mark(text[start - 1]) and _is_word(text[start]) and not is_unspaced(text[start])
        if found and found[-1][1] == start and (is_mark(text[start]) or after_mark):
            start = found.pop()[0]
        found.append((start, end))
    return tuple(piece for start, end in found for piece in _letters(text, start, end))


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _letters(text: str, start: int, end: int) -> Iterable[tuple[int, int]]:
    """Yields a word, cut before and behind each letter of a script without spaces."""
    begin = start
    for index in range(start, end):
        if is_unspaced(text[index]):
            if begin < index:
                yield begin, index
            begin = index
        elif begin < index and is_unspaced(text[begin]) and not is_mark(text[index]):
            yield begin, index
            begin = index
    yield begin, end


def joined(tokens: Sequence[str]) -> tuple[str, Words]:
    """Returns the text of tokens, with a space between two, and their characters in it."""
    words, end = [], 0
    for token in tokens:
        words.append((end, end + len(token)))
        end += len(token) + 1
    return " ".join(tokens), tuple(words)


def with_entities(
    text: str, entities: Iterable[tuple[int, int, str]], place: str
) -> tuple[Words, tuple[str, ...], int]:
    """Returns the words of a text, their tags in BIO, and the number of words that were cut at the edge of an entity.

    Args:
      text: the text.
      entities: (first character, the one behind the last, type) of each.
      place: the place of the text.

    Raises:
      InputError: an entity is outside the text or has no word in it, or two overlap.
    """
    ordered = sorted(entities)
    edges = sorted({edge for start, end, _ in ordered for edge in (start, end)})
    before = 0
    for start, end, label in ordered:
        shown = f"the entity {label!r} has the characters {start} to {end}"
        if not 0 <= start < end <= len(text) or not text[start:end].strip():
            wrong = f"{shown}, but the text has {len(text)}" if end > len(text) else f"{shown}, which have no word"
            raise _wrong(wrong, place)
        if start < before:
            raise _wrong(f"{shown}, and another one ends at {before}: they overlap", place)
        before = end
    words: list[tuple[int, int]] = []
    cut = 0
    for start, end in split_words(text):
        inside = edges[bisect.bisect_right(edges, start) : bisect.bisect_left(edges, end)]
        cut += bool(inside)
        words += zip([start, *inside], [*inside, end], strict=True)
    found = []
    for start, end, label in ordered:
        numbers = [number for number, word in enumerate(words) if start <= word[0] and word[1] <= end]
        if not numbers:
            raise _wrong(f"the entity {label!r} of the characters {start} to {end} has no word", place)
        found.append(Span(label, numbers[0], numbers[-1] + 1))
    return tuple(words), to_bio(found, len(words)), cut


def _wrong(what: str, place: str) -> InputError:
    return InputError(
        what,
        where=place,
        fix="Count characters from 0; `end` is the character behind the last one. Entities may not overlap.",
        code="E-LABELLED-ENTITY",
    )
