"""Batches of few lengths: rows that are stored with L tokens, cut to the shortest length that holds a whole batch.

Rows of texts with labels are mostly padding. So the batches of some steps, a block, are made together: the rows of the
block are sorted by length, cut into batches, and the batches are shuffled. Each batch has about one length, and is cut
to the next of a few. A step is compiled once for each length, and no token is lost.

The block of a step, its rows and their order are pure functions of the rows, the seed and the step, as without lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxbert.data.draws import permutation

_READ = 4096  # rows that are read at once to measure them


def measured(rows: Any) -> np.ndarray:
    """Returns the length of each row of `jaxbert.data.pipeline.Rows`, int32 [n]: its tokens without padding.

    A row of several texts is as long as its longest text.
    """
    found = [np.zeros(0, np.int32)]
    for start in range(0, len(rows), _READ):
        group = rows.read(np.arange(start, min(start + _READ, len(rows))))["group"]
        found.append((group > 0).sum(-1, dtype=np.int32).reshape(len(group), -1).max(-1))
    return np.concatenate(found)


def length_for(longest: int, lengths: Sequence[int]) -> int:
    """Returns the smallest of some ascending lengths that holds `longest` tokens. The last one holds every row."""
    return next((length for length in lengths if longest <= length), lengths[-1])


def cropped(rows: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Returns rows in `dtype`, the format of shorter rows with the same fields: each keeps its first tokens."""
    short = np.empty(len(rows), dtype)
    assert dtype.names is not None
    for name in dtype.names:
        shape = short[name].shape
        # Only the last dimension of a field is along the row, but offsets have a pair for each token.
        cut = tuple(slice(0, size) for size in shape)
        short[name] = rows[name][cut]
    return short


class Block:
    """The rows of the batches of a block, in batches of about one length.

    Args:
      lengths: int [batches x B], of the rows of the block in the order of the stream.
      batch_size: B.
      key: parts of the key of its shuffle.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, *key: int | str):
        self._lengths, self._size = lengths, batch_size
        self._sorted = np.argsort(lengths, kind="stable")
        self._order = permutation(len(lengths) // batch_size, "lengths", *key)

    def batch(self, within: int) -> np.ndarray:
        """Returns where in the block the rows of one of its batches stand, int64 [B]."""
        number = int(self._order[within])
        return self._sorted[number * self._size : (number + 1) * self._size]

    def longest(self, within: int) -> int:
        """Returns the tokens of the longest row of one of its batches."""
        return int(self._lengths[self.batch(within)].max())
