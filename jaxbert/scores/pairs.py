"""Scores minimal pairs: two texts of which one is right, and the model should give that one the higher score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxbert.core.metrics import Metric
from jaxbert.errors import InputError
from jaxbert.scores.base import Scored, check_scores, same_count

ACCURACY = Metric("accuracy", "accuracy", "acc", note="Share of pairs that are judged right; a tie counts half.")
GROUP_ACCURACY = Metric("group_accuracy", "mean accuracy of the groups", "groups")
TIES = Metric("ties", "ties", "ties", note="Share of pairs with equal scores.", higher=False)
METRICS = (ACCURACY, GROUP_ACCURACY, TIES)


def score(good: Any, bad: Any, groups: Sequence[str] = ()) -> Scored:
    """Scores minimal pairs.

    Args:
      good: float (N,), the score of the right text of each pair.
      bad: float (N,), the score of the wrong one.
      groups: the name of the group of each pair, such as its paradigm; empty if there are no groups.

    Returns:
      The values of `METRICS`. details: "pairs" and "ties" as counts; "by_group" with the accuracy, pairs and ties of
      each group, by its name.

    Raises:
      InputError: shapes do not fit, there are no pairs, or a score is not finite.
    """
    right, wrong = np.asarray(good, np.float64), np.asarray(bad, np.float64)
    if right.ndim != 1 or wrong.ndim != 1 or (groups and len(groups) != len(right)):
        raise InputError(
            f"the scores have the shapes {list(right.shape)} and {list(wrong.shape)}, with {len(groups):,} groups",
            where="pairs",
            fix="Give two scores and a group for each pair.",
            code="E-SCORES-SHAPE",
        )
    same_count(len(right), len(wrong), "pairs")
    check_scores(np.stack([right, wrong], axis=1), what="pair")
    # A pair with a score of minus infinity on one side has an order; check_scores refuses it on both.
    equal = right == wrong
    points = points_of(right, wrong)
    names, number = np.unique(np.asarray(groups or [""] * len(right), dtype=object).astype(str), return_inverse=True)
    pairs = np.bincount(number)
    means = np.bincount(number, points) / pairs
    ties = np.bincount(number, equal)
    by_group = {
        str(name): {"accuracy": float(mean), "pairs": int(count), "ties": int(tie)}
        for name, mean, count, tie in zip(names, means, pairs, ties, strict=True)
    }
    values = {
        "accuracy": float(points.mean()),
        "group_accuracy": float(means.mean()),
        "ties": float(equal.mean()),
    }
    details = {"pairs": len(right), "ties": int(equal.sum()), "by_group": by_group if groups else {}}
    return Scored(values, METRICS, len(right), details)


def points_of(good: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Returns the points of each pair, float64 (N,): 1 where the right text has the higher score, 0.5 for a tie."""
    return (good > bad) + 0.5 * (good == bad)
