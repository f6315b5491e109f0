"""Scores vectors of pairs: how often the nearest second text of a first one is its partner."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxbert.core.metrics import Metric
from jaxbert.scores.base import Scored, same_count

RECALL = Metric("recall_at_1", "recall at 1", "r@1", note="Share of first texts whose partner is the nearest text.")
RECALL_10 = Metric("recall_at_10", "recall at 10", "r@10", note="Share of first texts whose partner is in ten nearest.")
RANK = Metric("reciprocal_rank", "mean reciprocal rank", "mrr", "number")
METRICS = (RANK, RECALL, RECALL_10)
_CHUNK = 1024  # first texts that are compared at once


def score(first: Any, second: Any, first_texts: Any = None, second_texts: Any = None) -> Scored:
    """Scores pairs by the rank of each partner among all second texts; see `ranks_of`.

    Raises:
      InputError: the numbers differ, or there are no pairs.
    """
    each = points_of(ranks_of(first, second, first_texts, second_texts))
    return Scored({name: float(points.mean()) for name, points in each.items()}, METRICS, len(first))


def points_of(ranks: np.ndarray) -> dict[str, np.ndarray]:
    """Returns of each pair what it adds to each of `METRICS`, float (N,), from `ranks_of`."""
    return {
        "reciprocal_rank": 1 / ranks,
        "recall_at_1": (ranks < 1.5).astype(np.float64),
        "recall_at_10": (ranks <= 10).astype(np.float64),
    }


def ranks_of(first: Any, second: Any, first_texts: Any = None, second_texts: Any = None) -> np.ndarray:
    """Returns the rank of each partner among the second texts, from 1, float64 (N,), by the cosine.

    A second text that is as near as the partner counts as half before it, so that equal vectors gain nothing. A second
    text that occurs several times is one candidate. Where a first text occurs several times, each of its partners is
    right, so that none of them is before another one.

    Args:
      first: vectors (N, D) of the first texts, of length 1.
      second: vectors (N, D) of their partners, of length 1.
      first_texts: int (N,), a number for each first text: the same for equal texts. None: all texts differ.
      second_texts: the same of the second texts.

    Raises:
      InputError: the numbers differ, or there are no pairs.
    """
    first, second = np.asarray(first, np.float32), np.asarray(second, np.float32)
    same_count(len(first), len(second), "pairs")
    count = len(first)
    # Equal texts have the vector of the first one of them, so that rounding puts none before another one.
    texts = np.arange(count) if second_texts is None else second_texts
    _, at, mine = np.unique(texts, return_index=True, return_inverse=True)
    candidates = second[at]
    asked, number = np.unique(np.arange(count) if first_texts is None else first_texts, return_inverse=True)
    partners: list[list[int]] = [[] for _ in asked]
    for one, other in zip(number.tolist(), mine.tolist(), strict=True):
        partners[one].append(other)
    ranks = np.empty(count, np.float64)
    for start in range(0, count, _CHUNK):
        rows = np.arange(start, min(count, start + _CHUNK))
        cosine = first[rows] @ candidates.T
        partner = cosine[np.arange(len(rows)), mine[rows]].copy()
        for row, pair in enumerate(rows.tolist()):
            cosine[row, partners[number[pair]]] = -np.inf  # the partner itself too
        ranks[rows] = (cosine > partner[:, None]).sum(-1) + (cosine == partner[:, None]).sum(-1) / 2 + 1
    return ranks
