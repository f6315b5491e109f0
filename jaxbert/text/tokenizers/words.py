"""Words, which all kinds share: counted for training in bounded memory, and their ids remembered."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

# Distinct words kept while counting; beyond it those seen once are forgotten. About 2 GB at the worst.
_MAX_WORDS = 10_000_000
# Words shown to a trainer; beyond it all counts are scaled down together, and what rounds to 0 is left out.
_MAX_SHOWN = 200_000_000
# Characters of words whose ids are remembered; some 15 bytes each, all told.
_REMEMBERED_CHARS = 2_000_000


def count_words(texts: Iterable[str], split: Callable[[str], Sequence[str]] = str.split) -> dict[str, int]:
    """How often each string that `split` cuts the texts into stands in them; by default what white space sets apart."""
    words: collections.Counter[str] = collections.Counter()
    for text in texts:
        words.update(split(text))
        if len(words) > _MAX_WORDS:
            words = collections.Counter({word: count for word, count in words.items() if count > 1})
            if len(words) > _MAX_WORDS // 2:
                words = collections.Counter(dict(words.most_common(_MAX_WORDS // 2)))
    return words


def scaled(words: Mapping[str, int], most: int | None = None) -> dict[str, int]:
    """The same words, sorted, their counts scaled down together to `most` words in all (by default `_MAX_SHOWN`)."""
    scale = max(1, -(-sum(words.values()) // (_MAX_SHOWN if most is None else most)))
    return {word: shown for word, count in sorted(words.items()) if (shown := (count + scale // 2) // scale)}


def shown(words: Mapping[str, int]) -> Iterator[str]:
    """Texts in which each word stands as often as it was counted."""
    piece = 4096
    for word, count in words.items():
        for start in range(0, count, piece):
            yield " ".join([word] * min(piece, count - start))


class Remembered:
    """Ids of words, each tokenised once: right where nothing in a tokenizer reaches across the space between words.

    Looking a word up takes a tenth of the time.
    """

    def __init__(self, encode: Callable[[list[str]], Iterable[list[int]]]):
        """`encode` gives the ids of each of the words."""
        self._encode = encode
        self._known: dict[str, list[int]] = {}
        self._chars = 0

    def __call__(self, texts: Sequence[Sequence[str]]) -> list[list[int]]:
        """Ids of each text, given as its words."""
        if self._chars > _REMEMBERED_CHARS:
            self._known, self._chars = {}, 0
        known = self._known
        # Not `- known.keys()`, which walks through all that are known, at every call.
        new = list(set().union(*texts).difference(known))
        if new:
            known.update(zip(new, self._encode(new), strict=True))
            self._chars += sum(map(len, new))
        return [[index for word in words for index in known[word]] for words in texts]
