"""Scores labels: one label an example, several, or one of several choices.

The values are those of scikit-learn. It gets the cells of the confusion matrix with their counts as weights, so a
million examples cost no more than a few.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jaxbert.core.metrics import Metric
from jaxbert.errors import InputError
from jaxbert.inputs.values import short
from jaxbert.scores.base import Scored, check_scores, matrix, not_empty

ACCURACY = Metric("accuracy", "accuracy", "acc")
MACRO_F1 = Metric("macro_f1", "macro F1", "macro-f1", note="The mean of the labels' F1.")
MICRO_F1 = Metric("micro_f1", "micro F1", "micro-f1", note="F1 over all decisions together.")
F1 = Metric("f1", "F1 of the second label", "f1")
MATTHEWS = Metric("matthews", "Matthews correlation", "mcc", "number")
SUBSET_ACCURACY = Metric(
    "subset_accuracy", "subset accuracy", "subset", note="Share of examples whose labels are all right."
)
LOG_LOSS = Metric("log_loss", "log loss", "log-loss", "number", "Nats per answer.", higher=False)
CALIBRATION_ERROR = Metric(
    "calibration_error",
    "expected calibration error",
    "ece",
    note="How far the model's confidence is from its accuracy, over 15 bins.",
    higher=False,
)
# The bins of the expected calibration error, of equal width, as in the figures of Guo et al., 2017 (On Calibration of
# Modern Neural Networks).
BINS = 15
UNKNOWN = -1  # the target of an example whose label is unknown
UNKNOWN_SEVERAL = 255
# The confusion matrix of more labels is too large for a file; its largest wrong cells are kept.
MOST_CELLS = 200
_CHUNK = 1 << 16  # examples that are made float64 at once


def metrics(problem: str, labels: Sequence[str]) -> tuple[Metric, ...]:
    """Returns what is measured of a problem with labels. The first metric is the usual one.

    Args:
      problem: "one_label", "several_labels" or "choices".
      labels: the labels. F1 of the second label is measured where there are two.
    """
    if problem == "several_labels":
        return (MICRO_F1, MACRO_F1, SUBSET_ACCURACY, LOG_LOSS)
    if problem == "choices":
        return (ACCURACY, LOG_LOSS, CALIBRATION_ERROR)
    two = (replace(F1, title=f"F1 of {short(labels[1])}"),) if len(labels) == 2 else ()
    return (ACCURACY, MACRO_F1, *two, MATTHEWS, LOG_LOSS, CALIBRATION_ERROR)


def one_label(logits: Any, targets: Any, labels: Sequence[str]) -> Scored:
    """Scores examples that have one label each.

    Macro F1 is the mean over the labels that occur, right or predicted, as in scikit-learn. The F1 of a label that is
    never right is 0.

    Args:
      logits: float (N, C).
      targets: int (N,), numbers of labels. Examples with -1 are left out.
      labels: C labels.

    Returns:
      The values of `metrics`. details: "labels"; "confusion", counts (C, C) with a row for each right label and a
      column for each predicted one, or, of more than `MOST_CELLS` labels, "confused", the `MOST_CELLS` largest counts
      of wrong answers, as [right, predicted, count] with the labels' numbers, and "confusions", the number of
      different ones; "by_label" with the precision, recall, F1 and support of each; and "calibration",
      the bins by confidence, each with its bounds, its count, its mean confidence and its accuracy.

    Raises:
      InputError: shapes do not fit, a target is outside the labels, a logit is NaN, or no target is known.
    """
    golds, predicted, values, details = _judged(logits, targets, len(labels))
    count = len(labels)
    confusion = np.bincount(golds * count + predicted, minlength=count * count).reshape(count, count)
    shares, notes = _of_confusion(confusion, labels)
    details = {
        "labels": list(labels),
        **({"confusion": confusion.tolist()} if count <= MOST_CELLS else _largest(confusion)),
        "by_label": shares.pop("by_label"),
        **details,
    }
    return Scored({**shares, **values}, metrics("one_label", labels), len(golds), details, tuple(notes))


def _largest(confusion: np.ndarray) -> dict[str, Any]:
    """Returns the largest wrong cells of a confusion matrix, and the number of wrong cells."""
    wrong = confusion * ~np.eye(len(confusion), dtype=bool)
    rows, columns = np.nonzero(wrong)
    counts = wrong[rows, columns]
    order = np.argsort(-counts, kind="stable")[:MOST_CELLS]
    cells = np.stack([rows, columns, counts], axis=1)[order]
    return {"confused": cells.tolist(), "confusions": len(counts)}


def choices(logits: Any, targets: Any) -> Scored:
    """Scores questions with several choices each.

    Args:
      logits: float (N, K), minus infinity for choices that a question does not have.
      targets: int (N,), numbers of the right choices. Questions with -1 are left out.

    Returns:
      The values of `metrics`. details: "right" and "predicted", how often each place is right and is predicted; and
      "calibration", as `one_label` has it.

    Raises:
      InputError: as `one_label`.
    """
    golds, predicted, values, details = _judged(logits, targets, None)
    places = int(np.asarray(logits).shape[1])
    details = {
        "right": np.bincount(golds, minlength=places).tolist(),
        "predicted": np.bincount(predicted, minlength=places).tolist(),
        **details,
    }
    values = {"accuracy": float((golds == predicted).mean()), **values}
    return Scored(values, metrics("choices", ()), len(golds), details)


def several_labels(logits: Any, targets: Any, labels: Sequence[str]) -> Scored:
    """Scores examples that have any number of labels. A label is predicted where its logit is positive.

    Args:
      logits: float (N, C).
      targets: uint8 (N, C), 1 where the example has the label. Examples with a 255 are left out.
      labels: C labels.

    Returns:
      The values of `metrics`. Macro F1 is the mean over all labels, as in scikit-learn. details: "labels" and
      "by_label".

    Raises:
      InputError: as `one_label`.
    """
    golds = np.asarray(targets)
    array = matrix(logits, len(golds), len(labels))
    if golds.shape != array.shape or not np.isin(golds, (0, 1, UNKNOWN_SEVERAL)).all():
        raise InputError(
            f"the targets must be 0, 1 or {UNKNOWN_SEVERAL}, with the shape {list(array.shape)}",
            where="targets",
            fix="Give a column for each label.",
            code="E-SCORES-TARGET",
        )
    known = (golds != UNKNOWN_SEVERAL).all(axis=1)
    not_empty(int(known.sum()), "examples")
    counts = np.zeros((3, len(labels)), np.int64)  # right, predicted and true ones of each label
    whole, loss = 0, 0.0
    for start in range(0, len(array), _CHUNK):
        part = slice(start, start + _CHUNK)
        scores, truth = array[part].astype(np.float64), golds[part] == 1
        check_scores(scores, start)
        scores, truth = scores[known[part]], truth[known[part]]
        positive = scores > 0
        counts += np.stack([(positive & truth).sum(0), positive.sum(0), truth.sum(0)])
        whole += int((positive == truth).all(axis=1).sum())
        loss += float(np.logaddexp(0, np.where(truth, -scores, scores)).sum())
    precision, recall, f1 = precision_recall_f1(*counts)
    examples = int(known.sum())
    values = {
        "micro_f1": float(precision_recall_f1(*counts.sum(axis=1))[2]),
        "macro_f1": float(f1.mean()),
        "subset_accuracy": whole / examples,
        "log_loss": loss / (examples * len(labels)),
    }
    details = {
        "labels": list(labels),
        "by_label": by_label(labels, precision, recall, f1, counts[2]),
    }
    return Scored(values, metrics("several_labels", labels), examples, details, _never(labels, counts[2], counts[1]))


def precision_recall_f1(right: Any, predicted: Any, true: Any) -> tuple[Any, Any, Any]:
    """Returns precision, recall and F1 from counts of any shape. A share of nothing is 0.

    Args:
      right: answers that are predicted and true.
      predicted: answers that are predicted.
      true: answers that are true.
    """
    right, predicted, true = (np.asarray(counts, np.float64) for counts in (right, predicted, true))
    return (
        right / np.maximum(predicted, 1),
        right / np.maximum(true, 1),
        2 * right / np.maximum(predicted + true, 1),
    )


def by_label(labels: Sequence[str], precision: Any, recall: Any, f1: Any, support: Any) -> dict[str, dict[str, Any]]:
    """Returns the figures of each label as plain JSON values, by the label."""
    return {
        label: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for label, p, r, f, s in zip(labels, precision, recall, f1, support, strict=True)
    }


def _judged(
    logits: Any, targets: Any, columns: int | None
) -> tuple[np.ndarray, np.ndarray, dict[str, float], dict[str, Any]]:
    """Returns the right and the predicted numbers of examples that are known, and the values of their probabilities.

    Returns:
      int64 (N,); int64 (N,); {"log_loss", "calibration_error"}; {"calibration": bins}.
    """
    golds = np.asarray(targets)
    array = matrix(logits, len(golds), columns)
    if golds.ndim != 1 or golds.dtype.kind not in "iu" or not ((golds >= -1) & (golds < array.shape[1])).all():
        raise InputError(
            f"the targets must be whole numbers from {UNKNOWN} to {array.shape[1] - 1}",
            where="targets",
            fix="Give the number of a label for each example, and -1 where it is unknown.",
            code="E-SCORES-TARGET",
        )
    known = golds != UNKNOWN
    not_empty(int(known.sum()), "examples")
    predicted = np.empty(len(golds), np.int64)
    confidence = np.empty(len(golds))
    loss = 0.0
    for start in range(0, len(array), _CHUNK):
        part = slice(start, start + _CHUNK)
        scores = array[part].astype(np.float64)
        check_scores(scores, start)
        best = scores.argmax(axis=1)
        highest = np.take_along_axis(scores, best[:, None], 1)
        log_sum = np.log(np.exp(scores - highest).sum(axis=1))  # of the probabilities, where the highest one is 1
        predicted[part], confidence[part] = best, np.exp(-log_sum)
        chosen = np.take_along_axis(scores, np.maximum(golds[part], 0)[:, None].astype(np.int64), 1)
        loss += float(((highest - chosen)[:, 0] + log_sum)[known[part]].sum())
    golds, predicted, confidence = golds[known].astype(np.int64), predicted[known], confidence[known]
    bins = _bins(confidence, golds == predicted)
    error = sum(one["count"] * abs(one["accuracy"] - one["confidence"]) for one in bins if one["count"]) / len(golds)
    return golds, predicted, {"log_loss": loss / len(golds), "calibration_error": error}, {"calibration": bins}


def _bins(confidence: np.ndarray, right: np.ndarray) -> list[dict[str, Any]]:
    """Returns the bins of confidence; a bin has its upper bound, and not its lower one."""
    number = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    counts = np.bincount(number, minlength=BINS)
    means = np.bincount(number, confidence, BINS) / np.maximum(counts, 1)
    rights = np.bincount(number, right, BINS) / np.maximum(counts, 1)
    return [
        {
            "from": index / BINS,
            "to": (index + 1) / BINS,
            "count": int(counts[index]),
            "confidence": float(means[index]) if counts[index] else None,
            "accuracy": float(rights[index]) if counts[index] else None,
        }
        for index in range(BINS)
    ]


def _of_confusion(confusion: np.ndarray, labels: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Returns the values that a confusion matrix has, with "by_label", and notes about odd cases."""
    from sklearn.metrics import matthews_corrcoef, precision_recall_fscore_support

    golds, predicted = np.nonzero(confusion)
    weights = confusion[golds, predicted]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sklearn warns of one label only, which the notes say
        precision, recall, f1, _ = precision_recall_fscore_support(
            golds, predicted, labels=np.arange(len(labels)), sample_weight=weights, zero_division=0
        )
        matthews = float(matthews_corrcoef(golds, predicted, sample_weight=weights))
    true, found = confusion.sum(axis=1), confusion.sum(axis=0)
    occurs = (true + found) > 0
    values: dict[str, Any] = {
        "accuracy": float(confusion.trace() / confusion.sum()),
        "macro_f1": float(f1[occurs].mean()),
        "matthews": matthews,
        "by_label": by_label(labels, precision, recall, f1, true),
    }
    if len(labels) == 2:
        values["f1"] = float(f1[1])
    notes = list(_never(labels, true, found))
    if (true > 0).sum() < 2 or (found > 0).sum() < 2:
        notes.append("The Matthews correlation is 0 because all right labels or all predicted ones are the same.")
    return values, notes


def _never(labels: Sequence[str], true: np.ndarray, predicted: np.ndarray) -> tuple[str, ...]:
    """Returns sentences about labels that do not occur."""
    notes = []
    absent = [label for label, count in zip(labels, true, strict=True) if not count]
    silent = [label for label, count, found in zip(labels, true, predicted, strict=True) if count and not found]
    if absent:
        notes.append(f"No example has {_named(absent)}.")
    if silent:
        notes.append(f"The model never predicts {_named(silent)}.")
    return tuple(notes)


def _named(labels: Sequence[str]) -> str:
    shown = ", ".join(repr(label) for label in labels[:5])
    more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
    return f"the label{'s' if len(labels) > 1 else ''} {shown}{more}"
