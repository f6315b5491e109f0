"""The value of a set of answers, as every module of this room returns it, and checks of what they are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxbert.core.metrics import Metric
from jaxbert.errors import InputError, counted


@dataclass(frozen=True)
class Scored:
    """The value of a model's answers to examples whose right answers are known.

    Attributes:
      values: the value of each metric by its name. A share is between 0 and 1. A value that does not exist, such as the
        correlation with a constant, is NaN, and a note says why.
      metrics: the names of the values for people, in the order in which they are shown. The first one is the usual
        one of the task.
      examples: number of examples that count. Examples whose right answer is unknown do not.
      details: further figures as plain JSON values: a confusion matrix, figures of each label, bins.
      notes: sentences about odd cases: labels that nobody predicts, values that do not exist.
      intervals: the bounds of the 95% interval of values, over the examples, by name. Few values have one.
    """

    values: Mapping[str, float]
    metrics: Sequence[Metric]
    examples: int
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def same_count(predicted: int, right: int, what: str) -> None:
    """Checks that there are as many predictions as right answers.

    Args:
      predicted: number of predictions.
      right: number of right answers.
      what: what is counted, in the plural: "examples".

    Raises:
      InputError: the numbers differ, or there are none.
    """
    if predicted != right:
        raise InputError(
            f"{predicted:,} {what} are predicted, and {right:,} have an answer",
            where="predictions",
            fix="Give one prediction for each example, in the order of the examples.",
            code="E-SCORES-SHAPE",
        )
    not_empty(right, what)


def not_empty(count: int, what: str) -> None:
    """Raises InputError where `count`, the number of known answers, is 0. `what` is their noun in the plural."""
    if not count:
        raise InputError(
            f"there are no {what} with a known answer, so there is nothing to score",
            where="examples",
            fix="Give a split that has labels. GLUE's test files have none.",
            code="E-SCORES-EMPTY",
        )


def check_scores(scores: np.ndarray, first: int = 0, what: str = "example") -> None:
    """Checks the scores of examples. Minus infinity is a score, as long as the example has a finite one too.

    Args:
      scores: float (N, C) or (N,).
      first: the number of the first example, for the message.
      what: noun of one example.

    Raises:
      InputError: an example has NaN or infinity, or no finite score. The message has the number of the example.
    """
    rows = scores.reshape(len(scores), -1)
    wrong = np.isnan(rows).any(axis=1) | np.isposinf(rows).any(axis=1) | ~np.isfinite(rows).any(axis=1)
    if wrong.any():
        at = int(wrong.argmax())
        more = int(wrong.sum()) - 1
        raise InputError(
            f"the model's scores are not finite numbers: {', '.join(f'{value:g}' for value in rows[at][:6])}"
            + (f"; {counted(more, f'further {what}')} in the same batch too" if more else ""),
            where=f"{what} {first + at}",
            fix="The model has diverged, or its weights are damaged. Take an earlier checkpoint, or a smaller learning "
            "rate.",
            code="E-SCORES-NAN",
        )


def matrix(scores: Any, rows: int, columns: int | None) -> np.ndarray:
    """Returns scores as an array (N, C).

    Args:
      scores: numbers (N, C), of any type.
      rows: number of right answers.
      columns: C, the number of labels; None for any number.

    Raises:
      InputError: the shape is another one, or there are no examples.
    """
    array = np.asarray(scores)
    if array.ndim != 2 or (columns is not None and array.shape[1] != columns) or array.shape[1] < 1:
        wanted = "(examples, labels)" if columns is None else f"(examples, {columns})"
        raise InputError(
            f"the scores have the shape {list(array.shape)}, but {wanted} is needed",
            where="predictions",
            fix="Give a row for each example, with a score for each label.",
            code="E-SCORES-SHAPE",
        )
    same_count(len(array), rows, "examples")
    return array
