"""Finds the texts of an evaluation in a training corpus, in one pass over the corpus.

Texts are compared by their words in small letters, without punctuation, as Brown et al. (2020, "Language Models are
Few-Shot Learners", appendix C) compare them. A text of 13 words or more is found where it shares 13 words in a row with
a document, and found whole where all its stretches of 13 words occur. A shorter text is found whole where all its words
occur in a row. A text of one or two words would be found anywhere, and is not looked for.

The pass keeps hashes of the stretches of words of the evaluation's texts, and nothing of the corpus. So memory does not
grow with the corpus.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jaxbert.core.progress import Progress
from jaxbert.data.sources.base import Document
from jaxbert.text.scripts import spaced

GRAM = 13  # words
LEAST = 3  # words of the shortest text that is looked for
_WORDS = re.compile(r"\w+")
# An odd multiplier spreads the words of a stretch over all bits (Knuth, 2^64 / golden ratio).
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def normalised(text: str) -> list[str]:
    """Returns the words of a text in small letters, without punctuation. A letter of a script without spaces is one."""
    if not text.isascii():
        text = spaced(unicodedata.normalize("NFKC", text))
    return _WORDS.findall(text.lower())


@dataclass(frozen=True)
class Found:
    """The answer for one text: how much of it the corpus has.

    Attributes:
      looked_for: whether the text has words enough.
      overlap: whether the corpus has a stretch of it, of `GRAM` words or of all its words.
      whole: whether the corpus has every such stretch.
    """

    looked_for: bool
    overlap: bool
    whole: bool


class Finder:
    """Looks for texts in documents.

    Attributes:
      documents: the number of documents that were read.
      words: the number of their words.
    """

    def __init__(self, texts: Iterable[str]):
        """Takes the texts of the evaluations. They are numbered in this order."""
        self._numbers: dict[str, int] = {}  # of the words of all texts, from 1 on
        rows = [[self._number(word) for word in normalised(text)] for text in texts]
        # A random value for each word, so that stretches with the same hash do not occur by accident.
        values = np.random.default_rng(0).integers(1, 1 << 63, size=len(self._numbers) + 1, dtype=np.uint64)
        values[0] = 0
        self._values = values
        self._counts = np.zeros(len(values), np.int64)
        self.documents = self.words = 0
        # By the number of words of a stretch: its hashes, and of each text the hashes that it has.
        hashes: dict[int, list[np.ndarray]] = {}
        self._parts: list[tuple[int, int, int]] = []  # words of a stretch, first and end in the list of its hashes
        sizes: dict[int, int] = {}
        for row in rows:
            size = min(len(row), GRAM)
            if size < LEAST:
                self._parts.append((0, 0, 0))
                continue
            mine = _hashes(values[np.array(row, np.int64)], size)
            start = sizes.get(size, 0)
            hashes.setdefault(size, []).append(mine)
            sizes[size] = start + len(mine)
            self._parts.append((size, start, start + len(mine)))
        self._known: dict[int, np.ndarray] = {}
        self._which: dict[int, np.ndarray] = {}
        self._seen: dict[int, np.ndarray] = {}
        for size, some in hashes.items():
            self._known[size], self._which[size] = np.unique(np.concatenate(some), return_inverse=True)
            self._seen[size] = np.zeros(len(self._known[size]), bool)
        self._tail = np.zeros(0, np.int64)

    def _number(self, word: str) -> int:
        return self._numbers.setdefault(word, len(self._numbers) + 1)

    def read(self, documents: Iterable[Document], label: str = "corpus") -> None:
        """Reads the documents of a corpus, and shows on stderr how far it is."""
        with Progress(None, label=label, unit="document") as progress:
            for document in documents:
                self.add(document)
                progress.advance(by=document.part < 2)

    def add(self, document: Document) -> None:
        """Reads one document, or a part of a long one, which continues the part before."""
        get = self._numbers.get
        words = normalised(document.text)
        numbers = np.fromiter((get(word, 0) for word in words), np.int64, len(words))
        self.documents += document.part < 2
        self.words += len(words)
        self._counts += np.bincount(numbers, minlength=len(self._counts))
        if document.part > 1:
            numbers = np.concatenate([self._tail, numbers])
        self._tail = numbers[-(GRAM - 1) :]
        if not self._known or not numbers.size:
            return
        values = self._values[numbers]
        # The number of known words in a row that end at each place.
        index = np.arange(1, len(numbers) + 1)
        run = index - np.maximum.accumulate(np.where(numbers == 0, index, 0))
        hashed = np.zeros(len(values), np.uint64)
        for size in range(1, max(self._known) + 1):
            # The stretch that begins at place i has its last word at i + size - 1.
            hashed = hashed[: len(values) - size + 1] * _MULTIPLIER + values[size - 1 :]
            if not hashed.size:
                return
            if size in self._known:
                self._look(size, hashed[run[size - 1 :] >= size])

    def _look(self, size: int, hashed: np.ndarray) -> None:
        known = self._known[size]
        at = np.minimum(np.searchsorted(known, hashed), len(known) - 1)
        self._seen[size][at[known[at] == hashed]] = True

    def found(self, number: int) -> Found:
        """Returns what the corpus has of a text, by its number."""
        size, start, end = self._parts[number]
        if not size:
            return Found(False, False, False)
        seen = self._seen[size][self._which[size][start:end]]
        return Found(True, bool(seen.any()), bool(seen.all()))

    def frequencies(self) -> dict[str, int]:
        """Returns how often the corpus has each word of the texts."""
        return {word: int(self._counts[number]) for word, number in self._numbers.items()}


def _hashes(values: np.ndarray, size: int) -> np.ndarray:
    """Returns the hash of each stretch of `size` words, uint64, from the values of the words."""
    hashed = np.zeros(len(values) - size + 1, np.uint64)
    for at in range(size):
        hashed = hashed * _MULTIPLIER + values[at : at + len(hashed)]
    return hashed


def any_of(found: Sequence[Found]) -> Found:
    """Returns what the corpus has of an item with several texts: one that is found is enough."""
    return Found(*(any(getattr(one, name) for one in found) for name in ("looked_for", "overlap", "whole")))
