"""Counts words for training in bounded memory, and remembers the ids of words. All kinds use it."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

# The most distinct words kept while counting (at most about 2 GB). Beyond it, words seen once are forgotten.
_MAX_WORDS = 10_000_000
# The most words shown to a trainer. Beyond it, all counts are scaled down, and those that round to 0 are left out.
_MAX_SHOWN = 200_000_000
# The most characters of words whose ids are remembered, at about 15 bytes each.
_REMEMBERED_CHARS = 2_000_000


def count_words(texts: Iterable[str], split: Callable[[str], Sequence[str]] = str.split) -> dict[str, int]:
    """Returns how often each string that `split` gives occurs in the texts. By default, white space separates them."""
    words: collections.Counter[str] = collections.Counter()
    for text in texts:
        words.update(split(text))
        if len(words) > _MAX_WORDS:
            words = collections.Counter({word: count for word, count in words.items() if count > 1})
            if len(words) > _MAX_WORDS // 2:
                words = collections.Counter(dict(words.most_common(_MAX_WORDS // 2)))
    return words


def scaled(words: Mapping[str, int], most: int | None = None) -> dict[str, int]:
    """Returns the words, sorted, with counts scaled down to `most` words in total (by default `_MAX_SHOWN`)."""
    scale = max(1, -(-sum(words.values()) // (_MAX_SHOWN if most is None else most)))
    return {word: shown for word, count in sorted(words.items()) if (shown := (count + scale // 2) // scale)}


def cut_long(words: Mapping[str, int], limit: int, most: float) -> tuple[dict[str, int], float]:
    """Returns the words without those of more than `limit` characters, and the share of the characters left out.

    Where the long words have more than the share `most` of the characters, they are cut into stretches of `limit`
    characters instead, and nothing is left out.
    """
    whole = sum(count * len(word) for word, count in words.items())
    share = sum(count * len(word) for word, count in words.items() if len(word) > limit) / max(1, whole)
    if share <= most:
        return {word: count for word, count in words.items() if len(word) <= limit}, share
    found: collections.Counter[str] = collections.Counter()
    for word, count in words.items():
        for start in range(0, len(word), limit):
            found[word[start : start + limit]] += count
    return dict(sorted(found.items())), 0.0


def shown(words: Mapping[str, int]) -> Iterator[str]:
    """Yields texts in which each word occurs as often as its count."""
    piece = 4096
    for word, count in words.items():
        for start in range(0, count, piece):
            yield " ".join([word] * min(piece, count - start))


class Remembered:
    """Remembers the ids of words, so that each word is tokenised once. Looking a word up takes a tenth of the time.

    This is correct for a tokenizer in which no piece and no normalisation reaches across the space between words.
    """

    def __init__(self, encode: Callable[[list[str]], Iterable[list[int]]]):
        """Takes `encode`, which returns the ids of each word."""
        self._encode = encode
        self._known: dict[str, list[int]] = {}
        self._chars = 0

    def __call__(self, texts: Sequence[Sequence[str]]) -> list[list[int]]:
        """Returns the ids of each text, which is given as its words."""
        if self._chars > _REMEMBERED_CHARS:
            self._known, self._chars = {}, 0
        known = self._known
        # `- known.keys()` would walk through all known words at every call.
        new = list(set().union(*texts).difference(known))
        if new:
            known.update(zip(new, self._encode(new), strict=True))
            self._chars += sum(map(len, new))
        return [[index for word in words for index in known[word]] for words in texts]
