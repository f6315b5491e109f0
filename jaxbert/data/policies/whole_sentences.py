"""Rows of whole sentences in the order of the text: the part that policies without pairs share."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

import numpy as np

from jaxbert.data.policies.segments import TokenShard

SPECIALS = 2


def divided(shard: TokenShard, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns `shard.sentences` and `shard.documents` after sentences of more than `room` tokens are cut into pieces.

    Every piece has `room` tokens, except the last piece of a sentence.
    """
    lengths = np.diff(shard.sentences)
    counts = -(-lengths // room)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
    steps = np.arange(ends[-1]) - np.repeat(ends[:-1], counts)
    starts = np.repeat(shard.sentences[:-1], counts) + steps * room
    return np.concatenate([starts, shard.sentences[-1:]]), ends[shard.documents]


def gather(
    sentences: np.ndarray, runs: Iterable[tuple[int, int, int]], room: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fills rows with whole sentences, one row after the other, each with as many as fit.

    Args:
      sentences: int64 [S + 1], boundaries. No sentence in `runs` has more than `room` tokens.
      runs: (document, first sentence, last + 1), in the order of the text; empty runs are skipped.
      room: the tokens of a row for text and for the separators between runs.
      width: the most runs in a row. With 1, the end of a run ends the row.

    Returns:
      Pieces int64 [P, 3] of first token, number of tokens, document; and int64 [P], the number of each piece's row.
    """
    bounds: list[int] = sentences.tolist()
    pieces: list[tuple[int, int, int]] = []
    rows: list[int] = []
    row, inside, free = 0, 0, room
    for document, begin, last in runs:
        while begin < last:
            if inside == width:
                row, inside, free = row + 1, 0, room
            # A separator is between two runs of a row.
            fits = free - (inside > 0)
            end = bisect_right(bounds, bounds[begin] + fits, begin, last + 1) - 1
            if end > begin:
                size = bounds[end] - bounds[begin]
                pieces.append((bounds[begin], size, document))
                rows.append(row)
                inside, free, begin = inside + 1, fits - size, end
            if begin < last:
                row, inside, free = row + 1, 0, room
    return np.array(pieces, np.int64).reshape(-1, 3), np.array(rows, np.int64)


def documents_of(documents: np.ndarray) -> Iterable[tuple[int, int, int]]:
    """Returns all documents as runs for `gather`. `documents` is as in `TokenShard`."""
    ends: list[int] = documents.tolist()
    return zip(range(len(ends) - 1), ends[:-1], ends[1:], strict=True)
