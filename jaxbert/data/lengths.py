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


# Lengths are multiples of this, and no batch is shorter than the second.
_STEP, _SHORTEST = 4, 8
# Blocks whose batches stand for all batches of a run.
_BLOCKS = 16
# Fewer lengths are better where they cost no more than this share.
_GAIN = 0.02


def few_lengths(
    lengths: np.ndarray,
    batch_size: int,
    grouped: int,
    longest: int,
    most: int,
    *,
    steps: int = 1,
    price: float = 0.0,
) -> tuple[int, ...]:
    """Returns the lengths below `longest` to which the batches of a run are cut at the least cost.

    It draws some blocks as a run has them, and finds the lengths that hold all their batches with the fewest tokens. A
    further length costs a compilation, which must be less than the padding that it saves.

    Args:
      lengths: of the rows, int [n].
      batch_size: B.
      grouped: batches of a block; see `Block`.
      longest: L, the length that every run has.
      most: the largest number of lengths.
      steps: batches of the run.
      price: of a length, in tokens that the run computes in the time of a compilation.
    """
    size = batch_size * grouped
    blocks = min(_BLOCKS, max(1, len(lengths) // size))
    drawn = np.resize(lengths[permutation(len(lengths), "few lengths")], (blocks, grouped, batch_size))
    maxima = np.sort(drawn.reshape(blocks, size), axis=1).reshape(blocks * grouped, batch_size).max(1)
    needed = np.minimum(longest, np.maximum(_SHORTEST, -(-maxima // _STEP) * _STEP))
    values, counts = np.unique(needed, return_counts=True)
    before = np.concatenate([[0], np.cumsum(counts)])
    # least[j]: tokens of the batches that need at most values[j], with k lengths of which values[j] is the last.
    least, chosen = values * before[1:], [np.zeros(len(values), np.int64)]
    totals = [least[-1]]
    for _ in range(1, min(most, len(values))):
        # The batches that need more than values[i] and at most values[j] are cut to values[j].
        added = values[None, :] * (before[1:][None, :] - before[1:][:, None])
        tokens = np.where(
            np.arange(len(values))[:, None] < np.arange(len(values))[None, :], least[:, None] + added, 2**62
        )
        chosen.append(tokens.argmin(0))
        least = tokens.min(0)
        totals.append(least[-1])
    costs = [total / len(needed) * steps * batch_size + k * price for k, total in enumerate(totals, 1)]
    number = next(k for k, cost in enumerate(costs) if cost <= (1 + _GAIN) * min(costs))
    found, at = [], len(values) - 1
    for k in range(number, -1, -1):
        found.append(int(values[at]))
        at = int(chosen[k][at])
    return tuple(length for length in reversed(found) if length < longest)


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
