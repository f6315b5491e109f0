"""Confidence intervals of scores: over the examples of a split, and over the seeds of a run.

Most scores are functions of sums over examples: F1 needs the numbers of right, predicted and true entities. So a
resample of the examples is a draw of how often each different example occurs, and nobody scores the texts again. A
million examples with a few hundred different rows cost as much as a few hundred examples.

An interval over examples says how far the score would move with other examples of the same kind. It does not say how
far it would move with another seed: `over_seeds` does.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from jaxbert.errors import InputError
from jaxbert.scores.base import same_count
from jaxbert.scores.classes import precision_recall_f1

RESAMPLES = 2000
CONFIDENCE = 0.95
# A resample of so many different rows takes a millisecond. With more of them the interval is the normal one, by the
# jackknife; with so many examples it is hardly another one.
MOST_KINDS = 10_000
# The jackknife of a rank correlation sorts this many lists of this length; a resample sorts one.
MOST_JACKKNIFE = 2_000
MOST_RANKED = 5_000
_CELLS = 1 << 22  # numbers held at once

Method = Literal["bca", "percentile"]
Statistic = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
      value: the score itself.
      low, high: the bounds; NaN where there is no interval, as for one seed.
      confidence: share of such intervals that hold the true value.
      method: "bca" or "percentile" (bootstrap), "normal" (jackknife or Fisher's transformation), "wilson", "t".
    """

    value: float
    low: float
    high: float
    confidence: float
    method: str

    def to_json(self) -> dict[str, Any]:
        """Returns the interval as plain JSON values, with None in the place of NaN."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True)
class Sums:
    """The rows of examples, one row of numbers each, whose sums over the examples determine the scores.

    Attributes:
      kinds: int64 (N,), for each example the number of its row.
      table: float64 (D, K), the different rows.
      statistics: the scores by name. A score takes the sums (..., K) and N, and returns numbers (...).
      shares: names of scores that are shares of examples, which have Wilson's interval.
    """

    kinds: np.ndarray
    table: np.ndarray
    statistics: Mapping[str, Statistic]
    shares: frozenset[str] = frozenset()


# The judgement at the end of a run shall not wait: with more different rows, or more pairs of a rank correlation, it
# has normal intervals.
QUICK = 1_000
# With more labels, a resample of their counts takes long.
MOST_LABELS = 200


# ----------------------------------------------------------------------------------------------------------------------
# From answers to sums


def of_labels(golds: Any, predicted: Any, labels: int) -> Sums:
    """Returns the sums of accuracy, macro F1, the Matthews correlation, and F1 of the second of two labels.

    Args:
      golds: int (N,), numbers of the right labels. Examples with -1 are left out.
      predicted: int (N,), numbers of the predicted labels.
      labels: C, the number of labels.
    """
    golds, predicted = np.asarray(golds, np.int64), np.asarray(predicted, np.int64)
    same_count(len(predicted), len(golds), "examples")
    known = golds >= 0
    golds, predicted = golds[known], predicted[known]
    same_count(len(predicted), len(golds), "examples")
    cells, kinds = np.unique(golds * labels + predicted, return_inverse=True)
    right, found = np.eye(labels)[cells // labels], np.eye(labels)[cells % labels]
    table = np.concatenate([right * found, found, right], axis=1)
    return Sums(kinds, table, _of_label_counts(labels), frozenset({"accuracy"}))


def of_words(golds: Any, predicted: Any, texts: Any, labels: int) -> Sums:
    """Returns the sums of the scores of `of_labels` of words, where an example is a text with all its words.

    The words of a text are not independent of each other, so a resample draws texts.

    Args:
      golds: int (N,), numbers of the right labels of all words.
      predicted: int (N,), numbers of the predicted labels.
      texts: int (N,), the number of each word's text.
      labels: C, the number of labels.
    """
    golds, predicted, texts = (np.asarray(values, np.int64) for values in (golds, predicted, texts))
    same_count(len(predicted), len(golds), "words")
    _, owner = np.unique(texts, return_inverse=True)
    rows = np.zeros((int(owner.max()) + 1, 3 * labels))
    np.add.at(rows, (owner, golds), golds == predicted)
    np.add.at(rows, (owner, labels + predicted), 1)
    np.add.at(rows, (owner, 2 * labels + golds), 1)
    return _of_rows(rows, _of_label_counts(labels))


def _of_label_counts(labels: int) -> dict[str, Statistic]:
    """Returns the scores of sums that have, of each of C labels, how often it is both, predicted and right."""

    def parts(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shape = (*sums.shape[:-1], 3, labels)
        both, ours, theirs = np.moveaxis(sums.reshape(shape), -2, 0)
        return both, ours, theirs

    def macro_f1(sums: np.ndarray, _: int) -> np.ndarray:
        both, ours, theirs = parts(sums)
        occurs = (ours + theirs) > 0
        f1 = precision_recall_f1(both, ours, theirs)[2]
        return np.asarray((f1 * occurs).sum(-1) / occurs.sum(-1))

    def matthews(sums: np.ndarray, _: int) -> np.ndarray:
        both, ours, theirs = parts(sums)
        n = theirs.sum(-1)
        above = n * both.sum(-1) - (ours * theirs).sum(-1)
        below = np.sqrt((n**2 - (ours**2).sum(-1)) * (n**2 - (theirs**2).sum(-1)))
        return np.asarray(above / np.where(below > 0, below, np.inf))

    statistics: dict[str, Statistic] = {
        "accuracy": lambda sums, _: parts(sums)[0].sum(-1) / parts(sums)[2].sum(-1),
        "macro_f1": macro_f1,
        "matthews": matthews,
    }
    if labels == 2:
        statistics["f1"] = lambda sums, _: precision_recall_f1(*parts(sums))[2][..., 1]
    return statistics


def of_several_labels(predicted: Any, targets: Any) -> Sums:
    """Returns the sums of micro F1, macro F1 and subset accuracy.

    Args:
      predicted: bool (N, C), whether each label is predicted.
      targets: bool or 0 and 1 (N, C). Examples with a 255 are left out.
    """
    golds = np.asarray(targets)
    found = np.asarray(predicted, bool)
    same_count(len(found), len(golds), "examples")
    known = (golds != 255).all(axis=1)
    found, golds = found[known], golds[known] == 1
    count = golds.shape[1]
    rows = np.concatenate([found & golds, found, golds, (found == golds).all(axis=1)[:, None]], axis=1)

    def f1(sums: np.ndarray, together: bool) -> np.ndarray:
        parts = sums[..., : 3 * count].reshape(*sums.shape[:-1], 3, count)
        both, ours, theirs = np.moveaxis(parts.sum(-1, keepdims=True) if together else parts, -2, 0)
        return np.asarray(precision_recall_f1(both, ours, theirs)[2].mean(-1))

    return _of_rows(
        rows,
        {
            "micro_f1": lambda sums, _: f1(sums, True),
            "macro_f1": lambda sums, _: f1(sums, False),
            "subset_accuracy": lambda sums, n: sums[..., -1] / n,
        },
        frozenset({"subset_accuracy"}),
    )


def of_entities(counts: Any) -> Sums:
    """Returns the sums of entity F1, precision and recall. `counts` is what `entities.counts_of` gives, int (N, 3)."""
    places = {"entity_precision": 0, "entity_recall": 1, "entity_f1": 2}

    def statistic(place: int) -> Statistic:
        return lambda sums, _: precision_recall_f1(*np.moveaxis(sums, -1, 0))[place]

    return _of_rows(np.asarray(counts), {name: statistic(place) for name, place in places.items()})


def of_means(values: Mapping[str, Any]) -> Sums:
    """Returns the sums of scores that are means over examples.

    Args:
      values: float (N,) of each score by its name: the points of each answer, the error of each number. A score whose
        values are all 0 or 1 is a share.
    """
    rows = np.stack([np.asarray(one, np.float64) for one in values.values()], axis=1)

    def statistic(place: int) -> Statistic:
        return lambda sums, n: sums[..., place] / n

    shares = {name for place, name in enumerate(values) if np.isin(rows[:, place], (0, 1)).all()}
    return _of_rows(rows, {name: statistic(place) for place, name in enumerate(values)}, frozenset(shares))


def _of_rows(rows: np.ndarray, statistics: Mapping[str, Statistic], shares: frozenset[str] = frozenset()) -> Sums:
    rows = np.ascontiguousarray(rows, dtype=np.float64)
    same_count(len(rows), len(rows), "examples")
    # Rows are compared as bytes, which is several times faster than comparing them number by number.
    as_bytes = (rows + 0.0).view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))[:, 0]
    _, first, kinds = np.unique(as_bytes, return_index=True, return_inverse=True)
    return Sums(kinds, rows[first], statistics, shares)


# ----------------------------------------------------------------------------------------------------------------------
# From sums to intervals


def intervals(
    sums: Sums,
    *,
    method: Method = "bca",
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
    most_kinds: int | None = None,
) -> dict[str, Interval]:
    """Returns the interval of each score, over examples that are drawn again.

    Args:
      sums: the examples.
      method: "bca" corrects the bias and the skew of the bootstrap (Efron, 1987); "percentile" takes its quantiles.
      confidence: confidence of the intervals, above 0 and below 1.
      resamples: number of resamples.
      seed: the same seed gives the same intervals.
      most_kinds: with more different rows the interval is the normal one, by the jackknife; None: `MOST_KINDS`.
    """
    counts = np.bincount(sums.kinds, minlength=len(sums.table))
    n = int(counts.sum())
    total = counts @ sums.table
    found = _resampled(counts, sums.table, sums.statistics, method, confidence, resamples, seed, most_kinds)
    for name in sums.shares:
        found[name] = share(round(float(sums.statistics[name](total, n)) * n), n, confidence=confidence)
    return found


def bounds_of_sums(sums: Sums) -> dict[str, tuple[float, float]]:
    """Returns the bounds of the 95% interval of each score, within a second for ten thousand examples."""
    return bounds(intervals(sums, most_kinds=QUICK))


def bounds(found: Mapping[str, Interval]) -> dict[str, tuple[float, float]]:
    """Returns the bounds of intervals, without those that do not exist."""
    return {
        name: (one.low, one.high) for name, one in found.items() if math.isfinite(one.low) and math.isfinite(one.high)
    }


def _resampled(
    counts: np.ndarray,
    table: np.ndarray,
    statistics: Mapping[str, Statistic],
    method: Method,
    confidence: float,
    resamples: int,
    seed: int,
    most_kinds: int | None = None,
) -> dict[str, Interval]:
    _check(confidence)
    n = int(counts.sum())
    total = counts @ table
    # The scores without one example of each kind. Without the only example there is no score: NaN.
    fewer = max(1, n - 1)
    step = max(1, _CELLS // table.shape[1])
    with np.errstate(invalid="ignore"):
        without = {
            name: np.concatenate(
                [one(total - table[start : start + step], fewer) for start in range(0, len(table), step)]
            )
            for name, one in statistics.items()
        }
    if len(table) > (most_kinds or MOST_KINDS):
        return {
            name: _normal(float(one(total, n)), without[name], counts, confidence) for name, one in statistics.items()
        }
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    step = max(1, _CELLS // sum(table.shape))
    for start in range(0, resamples, step):
        times = rng.multinomial(n, counts / n, size=min(step, resamples - start))
        sums = times @ table
        for name, one in statistics.items():
            drawn[name].append(one(sums, n))
    return {
        name: bootstrapped(
            float(one(total, n)),
            np.concatenate(drawn[name]),
            without[name],
            counts,
            method=method,
            confidence=confidence,
        )
        for name, one in statistics.items()
    }


def bootstrapped(
    value: float,
    drawn: np.ndarray,
    without: np.ndarray,
    counts: np.ndarray,
    *,
    method: Method = "bca",
    confidence: float = CONFIDENCE,
) -> Interval:
    """Returns the interval from the scores of resamples.

    BCa (Efron and Tibshirani, 1993, An Introduction to the Bootstrap, equations 14.10, 14.14 and 14.15) needs resamples
    on both sides of the score. Where there are none, the quantiles are taken as they are.

    Args:
      value: the score.
      drawn: float (R,), the scores of the resamples.
      without: float (D,), the score without one example of each kind.
      counts: int (D,), the number of examples of each kind.
      method, confidence: as in `intervals`.
    """
    from scipy.special import ndtr, ndtri

    ends = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    below = ((drawn < value).mean() + (drawn <= value).mean()) / 2
    if method == "bca" and 0 < below < 1:
        apart = np.average(without, weights=counts) - without
        spread = float((counts * apart**2).sum()) ** 1.5
        skew = float((counts * apart**3).sum()) / (6 * spread) if spread > 0 else 0.0
        moved = ndtri(below) + ndtri(ends)
        ends = ndtr(ndtri(below) + moved / (1 - skew * moved))
    else:
        method = "percentile"
    low, high = np.quantile(drawn, ends)
    return Interval(value, float(low), float(high), confidence, method)


def _normal(value: float, without: np.ndarray, counts: np.ndarray, confidence: float) -> Interval:
    """Returns the interval whose standard error is the jackknife's."""
    from scipy.special import ndtri

    n = int(counts.sum())
    apart = without - np.average(without, weights=counts)
    half = float(ndtri((1 + confidence) / 2)) * math.sqrt((n - 1) / n * float((counts * apart**2).sum()))
    return Interval(value, value - half, value + half, confidence, "normal")


def share(count: float, n: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Returns Wilson's interval of a share: `count` of `n` examples. It has a width also for none and for all.

    The formula is that of Wilson (1927, doi 10.1080/01621459.1927.10502953).

    Args:
      count: may have halves: a pair whose scores are equal is half right.
      n: the number of examples, 1 or more.
      confidence: as in `intervals`.
    """
    from scipy.special import ndtri

    _check(confidence)
    value, z = count / n, float(ndtri((1 + confidence) / 2))
    middle = (value + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(value * (1 - value) / n + z**2 / (4 * n**2))
    # Rounding may put the bound of none or of all on the wrong side.
    return Interval(
        value, max(0.0, min(value, middle - half)), min(1.0, max(value, middle + half)), confidence, "wilson"
    )


def over_seeds(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """Returns the mean of the scores of several seeds, with Student's interval. One seed has no interval.

    The difference of two systems that were trained with the same seeds is the interval of their differences.
    """
    from scipy.stats import t

    _check(confidence)
    scores = np.asarray(values, np.float64)
    same_count(len(scores), len(scores), "seeds")
    mean = float(scores.mean())
    if len(scores) < 2:
        return Interval(mean, math.nan, math.nan, confidence, "t")
    half = float(t.ppf((1 + confidence) / 2, len(scores) - 1) * scores.std(ddof=1) / math.sqrt(len(scores)))
    return Interval(mean, mean - half, mean + half, confidence, "t")


# ----------------------------------------------------------------------------------------------------------------------
# Correlations, which are not functions of sums


def correlations(
    predicted: np.ndarray,
    targets: np.ndarray,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
    most: int | None = None,
) -> dict[str, Interval]:
    """Returns the intervals of the Pearson and the Spearman correlation, over pairs that are drawn again.

    scipy.stats.bootstrap makes them, as BCa for up to `MOST_JACKKNIFE` pairs, and as percentiles for up to
    `most`. More pairs have the normal interval of Fisher's transformation; that of Spearman's is by Bonett and
    Wright (2000, Sample size requirements for estimating Pearson, Kendall and Spearman correlations). A resample of
    equal numbers counts as no correlation.

    Args:
      predicted: float (N,), finite.
      targets: float (N,), finite; `numbers.known` gives both.
      confidence, resamples, seed: as in `intervals`.
      most: the most pairs that are drawn again; None: `MOST_RANKED`.
    """
    _check(confidence)
    same_count(len(predicted), len(targets), "examples")
    if len(targets) < 3 or np.ptp(predicted) == 0 or np.ptp(targets) == 0:
        return {name: Interval(math.nan, math.nan, math.nan, confidence, "bca") for name in ("pearson", "spearman")}
    found = {}
    for name, statistic in (("pearson", _pearson), ("spearman", _spearman)):
        value = float(statistic(predicted, targets))
        if len(targets) > (most or MOST_RANKED):
            found[name] = _fisher(value, len(targets), name == "spearman", confidence)
        else:
            found[name] = _drawn_pairs(value, (predicted, targets), statistic, confidence, resamples, seed)
    return found


def _drawn_pairs(
    value: float,
    columns: tuple[np.ndarray, ...],
    statistic: Callable[..., np.ndarray],
    confidence: float,
    resamples: int,
    seed: int,
) -> Interval:
    from scipy.stats import bootstrap

    n = len(columns[0])
    method = "BCa" if n <= MOST_JACKKNIFE else "percentile"
    for attempt in (method, "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # BCa warns where all resamples are equal, and gives NaN
            found = bootstrap(
                columns,
                statistic,
                paired=True,
                vectorized=True,
                axis=-1,
                n_resamples=resamples,
                batch=max(1, _CELLS // n),
                confidence_level=confidence,
                method=attempt,
                rng=np.random.default_rng(seed),
            ).confidence_interval
        if np.isfinite(found.low) and np.isfinite(found.high):
            break
    return Interval(value, float(found.low), float(found.high), confidence, attempt.lower())


def _fisher(value: float, n: int, ranks: bool, confidence: float) -> Interval:
    from scipy.special import ndtri

    error = math.sqrt((1 + value**2 / 2 if ranks else 1.0) / (n - 3))
    middle = math.atanh(min(max(value, -1 + 1e-15), 1 - 1e-15))
    half = float(ndtri((1 + confidence) / 2)) * error
    return Interval(value, math.tanh(middle - half), math.tanh(middle + half), confidence, "normal")


def _pearson(one: Any, other: Any, axis: int = -1) -> np.ndarray:
    a, b = one - one.mean(axis=axis, keepdims=True), other - other.mean(axis=axis, keepdims=True)
    below = np.sqrt((a * a).sum(axis=axis) * (b * b).sum(axis=axis))
    return np.asarray((a * b).sum(axis=axis) / np.where(below > 0, below, np.inf))


def _spearman(one: Any, other: Any, axis: int = -1) -> np.ndarray:
    from scipy.stats import rankdata

    return _pearson(rankdata(one, axis=axis), rankdata(other, axis=axis), axis)


def _check(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise InputError(
            f"the confidence is {confidence:g}",
            where="confidence",
            fix="Give a number above 0 and below 1, such as 0.95.",
            code="E-SCORES-CONFIDENCE",
        )
