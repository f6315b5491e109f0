"""Says whether the lines of a text were broken at a fixed width, inside sentences."""

from __future__ import annotations

import itertools

_SAMPLE_CHARS = 4000
# Text counts as wrapped if this share of its line breaks are inside a sentence: the line has so many characters and
# does not end like a sentence, and the next line begins with a small letter.
_SHARE, _BREAKS, _CHARS = 0.3, 4, 40
_SENTENCE_ENDS = frozenset(".!?:;\"'”’»)]…。！？")  # noqa: RUF001


def is_wrapped(text: str) -> bool:
    """Returns whether the first 4000 characters of a text look as if they were broken at a fixed width."""
    inside, breaks = _breaks(text[:_SAMPLE_CHARS])
    return breaks >= _BREAKS and inside > _SHARE * breaks


def is_mostly_wrapped(text: str) -> bool:
    """Returns whether most stretches of 4000 characters that have several lines look wrapped.

    A title, a table of contents or a licence before the text does not decide by itself.
    """
    stretches = [_breaks(text[start : start + _SAMPLE_CHARS]) for start in range(0, len(text), _SAMPLE_CHARS)]
    judged = [inside > _SHARE * breaks for inside, breaks in stretches if breaks >= _BREAKS]
    return sum(judged) * 2 > len(judged)


def _breaks(text: str) -> tuple[int, int]:
    """Returns the number of line breaks inside sentences, and of all between two lines of text."""
    lines = [line.strip() for line in text.split("\n")]
    breaks = [(line, after) for line, after in itertools.pairwise(lines) if line and after]
    inside = sum(
        len(line) >= _CHARS and line[-1] not in _SENTENCE_ENDS and after[0].islower() for line, after in breaks
    )
    return inside, len(breaks)
