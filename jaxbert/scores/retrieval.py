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


def score(first: Any, second: Any) -> Scored:
    """Scores pairs by the rank of each partner among all second texts, by the cosine of vectors of length 1.

    A second text that is as near as the partner counts as half before it, so that equal vectors gain nothing.

    Args:
      first: vectors (N, D) of the first texts.
      second: vectors (N, D) of their partners.

    Raises:
      InputError: the numbers differ, or there are no pairs.
    """
    first, second = np.asarray(first, np.float32), np.asarray(second, np.float32)
    same_count(len(first), len(second), "pairs")
    ranks = []
    for start in range(0, len(first), _CHUNK):
        cosine = first[start : start + _CHUNK] @ second.T
        partner = cosine[np.arange(len(cosine)), start + np.arange(len(cosine))][:, None]
        ranks.append((cosine > partner).sum(-1) + ((cosine == partner).sum(-1) - 1) / 2 + 1)
    rank = np.concatenate(ranks)
    values = {
        "reciprocal_rank": float((1 / rank).mean()),
        "recall_at_1": float((rank < 1.5).mean()),
        "recall_at_10": float((rank <= 10).mean()),
    }
    return Scored(values, METRICS, len(rank))
