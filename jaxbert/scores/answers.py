"""Scores answers to questions as SQuAD does: exact match and F1 of words.

The definitions are those of the official programs, evaluate-v1.1.py (Rajpurkar et al., 2016) and evaluate-v2.0.py
(Rajpurkar et al., 2018). Their values are per cents; these are shares.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jaxbert.core.metrics import Metric
from jaxbert.errors import InputError
from jaxbert.scores.base import Scored, check_scores, not_empty, same_count

Version = Literal["1.1", "2.0"]

F1 = Metric("f1", "F1", "f1", note="F1 of the words of the answer that fits best.")
EXACT_MATCH = Metric("exact_match", "exact match", "em")
METRICS = (F1, EXACT_MATCH)
_PARTS = (
    Metric("has_answer_f1", "F1 of questions with an answer", "has-f1"),
    Metric("has_answer_exact_match", "exact match of questions with an answer", "has-em"),
    Metric("no_answer_accuracy", "accuracy of questions without an answer", "no-acc"),
)
_BEST = (
    Metric("best_f1", "F1 at the best threshold", "best-f1"),
    Metric("best_exact_match", "exact match at the best threshold", "best-em"),
)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def version_of(right: Sequence[Sequence[str] | None]) -> Version:
    """Returns the version of SQuAD that questions follow: 2.0 where one of them has no answer, else 1.1."""
    return "2.0" if any(answers is not None and not answers for answers in right) else "1.1"


def metrics(version: Version) -> tuple[Metric, ...]:
    """Returns what is measured of questions; the first metric is the usual one.

    Of version 2.0, `score` gives the values "best_f1" and "best_exact_match" only where it gets null scores.
    """
    return METRICS if version == "1.1" else (*METRICS, *_PARTS, *_BEST)


def score(
    predicted: Sequence[str],
    right: Sequence[Sequence[str] | None],
    *,
    null_scores: Sequence[float] | None = None,
    threshold: float | None = None,
    version: Version | None = None,
) -> Scored:
    """Scores answers.

    Args:
      predicted: the predicted answer of each question; "" says that there is none.
      right: the accepted answers of each question. Empty: the text has no answer. None: unknown, and left out.
      null_scores: for each question how surely it has no answer, on any scale: a higher number is surer. Then
        `predicted` should be the best answer that is not empty.
      threshold: a null score above it makes the answer empty. None: no answer is changed.
      version: the official program whose definition holds; None: the one by `version_of`.

    Returns:
      The values of `metrics`, without those of questions that do not occur. "no_answer_accuracy" is what the official
      program calls NoAns_exact and NoAns_f1, which are equal. "best_f1" and "best_exact_match" are for the threshold
      that suits these examples best. details: "version", "has_answer" and "no_answer" (counts), and with null scores
      "best_f1_threshold" and "best_exact_match_threshold".

    Raises:
      InputError: the numbers of questions differ, no answer is known, or a null score is not finite.
    """
    same_count(len(predicted), len(right), "questions")
    version = version or version_of(right)
    known = [number for number, answers in enumerate(right) if answers is not None]
    not_empty(len(known), "questions")
    points = points_of(predicted, right, version)
    answerable = np.array([bool(answers) for answers in right if answers is not None])
    nulls: np.ndarray | None = None
    judged = points
    if null_scores is not None:
        same_count(len(null_scores), len(right), "questions")
        given = np.asarray(null_scores, np.float64)
        check_scores(given, what="question")
        nulls = given[known]
        if threshold is not None:
            judged = np.where((nulls > threshold)[:, None], ~answerable[:, None], points)
    elif threshold is not None:
        raise InputError(
            "a threshold applies to null scores, and there are none",
            where="threshold",
            fix="Give null_scores too.",
            code="E-SCORES-SHAPE",
        )
    exact, f1 = (float(value) for value in judged.mean(axis=0))
    values = {"f1": f1, "exact_match": exact}
    details: dict[str, Any] = {"version": version}
    if version == "2.0":
        details |= {"has_answer": int(answerable.sum()), "no_answer": int((~answerable).sum())}
        if answerable.any():
            has_exact, has_f1 = (float(value) for value in judged[answerable].mean(axis=0))
            values |= {"has_answer_f1": has_f1, "has_answer_exact_match": has_exact}
        if not answerable.all():
            values["no_answer_accuracy"] = float(judged[~answerable, 0].mean())
        if nulls is not None:
            empty = np.array([not predicted[number] for number in known])
            for name, column in (("best_f1", 1), ("best_exact_match", 0)):
                best = best_threshold(points[:, column], nulls, answerable, empty)
                values[name] = best.value
                details[f"{name}_threshold"] = best.threshold
    there = tuple(metric for metric in metrics(version) if metric.name in values)
    return Scored(values, there, len(known), details)


def points_of(predicted: Sequence[str], right: Sequence[Sequence[str] | None], version: Version) -> np.ndarray:
    """Returns exact match and F1 of each question whose answers are known, float64 (N, 2).

    Of several accepted answers the best one counts, for each of the two. A question without accepted answers gets 1
    for an empty prediction, and else 0.

    Args:
      predicted: as in `score`.
      right: as in `score`.
      version: as in `score`. The versions differ where an accepted answer is only an article or punctuation: 2.0 drops
        it, and compares two texts without words as equal. 1.1 gives them F1 0.
    """
    rows = []
    for text, answers in zip(predicted, right, strict=True):
        if answers is None:
            continue
        ours = normalized(text)
        theirs = [normalized(answer) for answer in _kept(answers, version)] or [""]
        rows.append(
            (
                float(max(ours == answer for answer in theirs)),
                max(_words_f1(ours.split(), answer.split(), version) for answer in theirs),
            )
        )
    return np.array(rows, np.float64).reshape(-1, 2)


def normalized(text: str) -> str:
    """Returns a text in lower case, without ASCII punctuation and articles, its words with one space between them.

    Punctuation goes before articles do, so "a.m." becomes "am", and "the-a" becomes "thea".
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


@dataclass(frozen=True)
class Best:
    """The null threshold that gives the best value.

    Attributes:
      value: the value at the threshold.
      threshold: a question whose null score is above it gets the empty answer.
    """

    value: float
    threshold: float


def best_threshold(points: np.ndarray, nulls: np.ndarray, answerable: np.ndarray, empty: np.ndarray) -> Best:
    """Returns the null threshold that is best for these questions, as find_best_thresh of evaluate-v2.0.py does.

    Every question begins as unanswered. In the order of null scores, questions get their answers one by one, and the
    first place with the best sum counts. Questions with equal null scores stay in their order.

    Args:
      points: float (N,), the points of each question with its answer.
      nulls: float (N,), null scores.
      answerable: bool (N,), whether the question has an answer.
      empty: bool (N,), whether the predicted answer is empty anyway.

    Returns:
      The value and the threshold. Where the empty answer is best for all, the threshold is 0, as in the official
      program, whose null scores are probabilities; or less, where a null score is not above 0.
    """
    order = np.argsort(nulls, kind="stable")
    gains = np.where(answerable, points, np.where(empty, 0.0, -1.0))[order]
    sums = np.cumsum(np.concatenate([[float((~answerable).sum())], gains]))
    at = int(sums.argmax())
    lowest = float(nulls.min())
    nothing = 0.0 if lowest > 0 else math.nextafter(lowest, -math.inf)
    return Best(float(sums[at]) / len(points), float(nulls[order[at - 1]]) if at else nothing)


def _kept(answers: Sequence[str], version: Version) -> Sequence[str]:
    """Returns the accepted answers that count; version 2.0 drops those without a word."""
    return answers if version == "1.1" else [answer for answer in answers if normalized(answer)]


def _words_f1(ours: list[str], theirs: list[str], version: Version) -> float:
    if version == "2.0" and not (ours and theirs):
        return float(ours == theirs)
    shared = (Counter(ours) & Counter(theirs)).total()
    return 2 * shared / (len(ours) + len(theirs)) if shared else 0.0
