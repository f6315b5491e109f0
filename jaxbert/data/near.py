"""Counts documents that nearly repeat an earlier one, by MinHash (Broder 1997) with the `rensa` library.

A document's words, five at a time, make a set of shingles. Two documents have equal bands of hashes with a chance that
grows with the share of shingles that they have in common. The numbers are those of the FineWeb corpus (Penedo et al.
2024, arXiv:2406.17557): 14 bands of 8 hashes find 77% of the pairs that share three quarters of their shingles, and 5%
of those that share half.
Workers compute the bands, and the one process that receives the shards compares them.
"""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxbert.data.hygiene import HashSet
from jaxbert.errors import counted

BANDS, _HASHES = 14, 8
# The words, or letters, in a shingle.
_WORDS, _LETTERS = 5, 8
_SEED = 1
# Shorter documents share too few shingles for an estimate.
_MIN_SHINGLES = 20
# The beginning decides, so that a long document costs no more.
_SAMPLE_CHARS = 2000
# Text whose words are longer on average has no spaces between words, as Chinese: its shingles are of characters.
_LONG_WORD = 20
_SLOTS = 1 << 24
_EXAMPLES = 3
_SALTS = [bytes([band]) for band in range(BANDS)]
NO_BANDS = np.zeros(0, np.uint64)


def bands(text: str) -> np.ndarray:
    """Returns uint64 [BANDS], hashes of which near copies share at least one; [0] for a text that is too short."""
    from rensa import RMinHash

    text = unicodedata.normalize("NFKC", text[:_SAMPLE_CHARS]).casefold()
    words = text.encode("utf-8", "replace").split()
    if sum(map(len, words)) <= _LONG_WORD * len(words):
        shingles = [b" ".join(words[place : place + _WORDS]) for place in range(len(words) - _WORDS + 1)]
    else:
        joined = b"".join(word.decode().encode("utf-32-le") for word in words)
        shingles = [joined[place : place + 4 * _LETTERS] for place in range(0, len(joined) - 4 * _LETTERS + 1, 4)]
    if len(shingles) < _MIN_SHINGLES:
        return NO_BANDS
    sketch = RMinHash(BANDS * _HASHES, _SEED)
    sketch.update(shingles)
    rows = np.array(sketch.digest(), "<u4").reshape(BANDS, _HASHES)
    digests = [
        hashlib.blake2b(row.tobytes(), digest_size=8, salt=_SALTS[band]).digest() for band, row in enumerate(rows)
    ]
    return np.frombuffer(b"".join(digests), "<u8")


class NearCopies:
    """Counts documents that share a band with an earlier one.

    Attributes:
      documents: their number.
      across: the number of those whose earlier one is in another split.
      examples: the names of the first few.
    """

    def __init__(self) -> None:
        self.documents = self.across = 0
        self.examples: list[str] = []
        self._seen: dict[str, HashSet] = {}
        self._held: list[np.ndarray] = []

    def add(self, split: str, hashes: str, names: list[str]) -> None:
        """Compares the documents of one shard of a split with all documents before them. The rest is of `pack`."""
        found = np.frombuffer(base64.b64decode(hashes), "<u8")
        if not len(found):
            return
        if split == "validation":
            self._held.append(found)
        own = self._seen.setdefault(split, HashSet(_SLOTS)).add(found)
        others = [table.contains(found) for name, table in self._seen.items() if name != split]
        across = np.any(others, axis=0) if others else np.zeros(len(found), bool)
        near = (own | across).reshape(-1, BANDS).any(1)
        self.documents += int(near.sum())
        self.across += int(across.reshape(-1, BANDS).any(1).sum())
        self.examples += [names[index] for index in np.flatnonzero(near)[: _EXAMPLES - len(self.examples)]]

    def held_in_train(self) -> tuple[int, int]:
        """Returns how many documents of validation have a near copy in train, and how many were compared."""
        if not self._held:
            return 0, 0
        bands_of = np.concatenate(self._held)
        train = self._seen.get("train")
        near = train.contains(bands_of) if train is not None else np.zeros(len(bands_of), bool)
        return int(near.reshape(-1, BANDS).any(1).sum()), len(bands_of) // BANDS

    def findings(self) -> list[str]:
        """Returns a line if there are such documents."""
        if not self.documents:
            return []
        full = any(table.full for table in self._seen.values())
        earlier = f" of the first {sum(map(len, self._seen.values())) // BANDS:,}" if full else ""
        near, held = self.held_in_train()
        share = f" ({near / held:.0%} of validation's documents have one in train)" if near else ""
        return [
            f"{counted(self.documents, 'near copy', 'near copies')} of earlier documents{earlier}, by MinHash, "
            f"{self.across:,} of them across train and validation{share}, for example {', '.join(self.examples)} "
            "(kept: copies across the splits flatter the validation figures)"
        ]


def pack(shard: Sequence[tuple[str, np.ndarray]]) -> dict[str, Any]:
    """Returns the names and bands of the documents of a shard that have bands, as JSON, for `NearCopies.add`."""
    found = [(name, values) for name, values in shard if len(values)]
    joined = np.concatenate([NO_BANDS, *(values for _, values in found)]).astype("<u8")
    return {"hashes": base64.b64encode(joined.tobytes()).decode(), "names": [name for name, _ in found]}
