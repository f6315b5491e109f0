"""Scores numbers: correlations with the right ones, and errors."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from jaxbert.core.metrics import Metric
from jaxbert.errors import InputError
from jaxbert.scores import intervals
from jaxbert.scores.base import Scored, check_scores, not_empty, same_count

PEARSON = Metric("pearson", "Pearson correlation", "pearson", "number")
SPEARMAN = Metric("spearman", "Spearman correlation", "spearman", "number", "Equal numbers share their mean rank.")
SQUARED_ERROR = Metric("squared_error", "mean squared error", "mse", "number", higher=False)
ABSOLUTE_ERROR = Metric("absolute_error", "mean absolute error", "mae", "number", higher=False)
METRICS = (PEARSON, SPEARMAN, SQUARED_ERROR, ABSOLUTE_ERROR)
# What is measured of similarities of vectors, whose scale is another one than that of the right numbers.
CORRELATIONS = (SPEARMAN, PEARSON)


def score(predicted: Any, targets: Any) -> Scored:
    """Scores numbers.

    Args:
      predicted: float (N,) or (N, 1).
      targets: float (N,), the right numbers. Examples with NaN are left out.

    Returns:
      The values of `METRICS`. A correlation with a constant is NaN, and a note says why.

    Raises:
      InputError: shapes do not fit, a prediction is not finite, or no target is known.
    """
    found, golds = known(predicted, targets)
    values, notes = correlations(found, golds)
    values["squared_error"] = float(np.mean((found - golds) ** 2))
    values["absolute_error"] = float(np.mean(np.abs(found - golds)))
    return Scored(values, METRICS, len(golds), notes=notes)


def bounds(predicted: Any, targets: Any) -> dict[str, tuple[float, float]]:
    """Returns the bounds of the 95% interval of each of `METRICS` that has one; the arguments are those of `score`."""
    found, golds = known(predicted, targets)
    errors = {"squared_error": (found - golds) ** 2, "absolute_error": np.abs(found - golds)}
    return {
        **correlation_bounds(predicted, targets),
        **intervals.bounds_of_sums(intervals.of_means(errors)),
    }


def correlation_bounds(predicted: Any, targets: Any) -> dict[str, tuple[float, float]]:
    """Returns the bounds of the 95% intervals of the correlations; the arguments are those of `score`."""
    found, golds = known(predicted, targets)
    return intervals.bounds(intervals.correlations(found, golds, most=intervals.QUICK))


def known(predicted: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns predictions and right numbers, float64 (N,), without examples whose number is unknown.

    Raises:
      InputError: as `score`.
    """
    found, golds = np.asarray(predicted, np.float64), np.asarray(targets, np.float64)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1 or golds.ndim != 1:
        raise InputError(
            f"the predictions have the shape {list(found.shape)}, and the targets {list(golds.shape)}",
            where="predictions",
            fix="Give a number for each example.",
            code="E-SCORES-SHAPE",
        )
    same_count(len(found), len(golds), "examples")
    check_scores(found)
    there = ~np.isnan(golds)
    not_empty(int(there.sum()), "examples")
    found, golds = found[there], golds[there]
    if not np.isfinite(golds).all():
        raise InputError(
            "a target is infinite",
            where="targets",
            fix="Give a number for each example, and NaN where it is unknown.",
            code="E-SCORES-TARGET",
        )
    return found, golds


def correlations(predicted: np.ndarray, targets: np.ndarray) -> tuple[dict[str, float], tuple[str, ...]]:
    """Returns {"pearson", "spearman"}, and a note where they do not exist. Both arrays are float64 (N,), finite."""
    from scipy import stats

    constant = [name for name, values in (("predicted", predicted), ("right", targets)) if np.ptp(values) == 0]
    if len(targets) < 2:
        return dict.fromkeys(("pearson", "spearman"), float("nan")), ("One example has no correlation.",)
    if constant:
        note = f"There is no correlation, because all {' and all '.join(constant)} numbers are the same."
        return dict.fromkeys(("pearson", "spearman"), float("nan")), (note,)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns of numbers that are nearly the same
        pearson = float(stats.pearsonr(predicted, targets).statistic)
        spearman = float(stats.spearmanr(predicted, targets).statistic)
    return {"pearson": pearson, "spearman": spearman}, ()
