"""Reads the judgement of a fine-tuned run for its page: judgement.json, and suite.json with the figures of a suite.

Both files may be edited or damaged. A part that has another shape is left out, and `damaged` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxbert.core.metrics import Metric, from_json
from jaxbert.errors import InputError, counted
from jaxbert.evaluate.judged import SHAPE
from jaxbert.inputs.files import read_bytes
from jaxbert.inputs.values import Each, Maybe, Whole, check, checked, is_number

# Twenty texts of each split, and the figures of some thousand labels, are smaller.
_MOST_BYTES = 1 << 26
SPLITS = ("validation", "test")

_SPLIT = {
    "examples": Whole(),
    "loss": Maybe(float),
    "values": Each(Maybe(float)),
    "metrics": list,
    "constant": Each(Maybe(float)),
    "details": dict,
    "notes": [str],
    "errors": list,
}
_SCHEMES = ("exact", "partial", "type")
_FIGURES = Each({"precision": float, "recall": float, "f1": float, "support": Whole()})
# The parts of the details that a page shows. `jaxbert.scores` makes them.
_DETAILS: Mapping[str, Any] = {
    "labels": [str],
    "confusion": [[Whole()]],
    "confused": [[Whole()]],
    "confusions": Whole(),
    "by_label": _FIGURES,
    "by_type": _FIGURES,
    "calibration": [
        {"from": float, "to": float, "count": Whole(), "confidence": Maybe(float), "accuracy": Maybe(float)}
    ],
    "schemes": {name: {"precision": float, "recall": float, "f1": float} for name in _SCHEMES},
    "entities": {"right": Whole(), "predicted": Whole(), "true": Whole()},
    "right": [Whole()],
    "predicted": [Whole()],
    "has_answer": Whole(),
    "no_answer": Whole(),
    "best_f1_threshold": float,
    "best_exact_match_threshold": float,
}
_ERROR = {"text": str, "pair": Maybe(str), "right": object, "predicted": object, "score": Maybe(float)}
_INTERVAL = {"value": Maybe(float), "low": Maybe(float), "high": Maybe(float)}
_SUITE = {
    "tasks": Each({"kind": str, "examples": Whole()}),
    "results": Each(Each({"values": Each(_INTERVAL), "details": dict})),
}
_PAIRED = ("accuracy", "counterfactual_accuracy", "both")
_ROBUSTNESS = {
    "by_perturbation": Maybe(Each({"accuracy": _INTERVAL})),
    "counterfactuals": Maybe({"pairs": Whole(), **dict.fromkeys(_PAIRED, _INTERVAL)}),
}


@dataclass(frozen=True)
class Split:
    """The judgement of a split.

    Attributes:
      examples: the number of examples that count.
      metrics: the metrics, in the order in which they are shown.
      values: the value of each metric by its name. A metric without a value is missing.
      intervals: the bounds of the 95% interval of each metric that has one.
      constant: the values of the better constant answer.
      details: the parts of the details that have the right shape; see `_DETAILS`.
      notes: sentences about odd cases.
      errors: the worst errors, the worst first.
    """

    examples: int
    metrics: Sequence[Metric]
    values: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    constant: Mapping[str, float]
    details: Mapping[str, Any]
    notes: Sequence[str]
    errors: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Judgement:
    """The content of judgement.json.

    Attributes:
      step: the checkpoint that was judged.
      metric: the metric that chose the checkpoint; None where no split has judged it.
      learned: whether the model is better than a constant answer.
      stopped_early: whether the run stopped early.
      splits: the splits by name, "validation" first.
    """

    step: int
    metric: Metric | None
    learned: bool
    stopped_early: bool
    splits: Mapping[str, Split] = field(default_factory=dict)


@dataclass(frozen=True)
class Interval:
    """A share with the bounds of its 95% interval, which may be missing."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Robustness:
    """How many labels a model gets right when texts are changed: a task of `jaxbert.evaluate.suite.robustness`.

    Attributes:
      task: the name of the task in the suite.
      model: the name of the model.
      examples: the number of texts.
      plain: the accuracy on the texts as they are.
      changed: the accuracy on changed texts, by the name of the change.
      pairs: the number of pairs with another right label.
      counterfactual: the accuracies on such pairs, by name.
    """

    task: str
    model: str
    examples: int
    plain: Interval | None
    changed: Mapping[str, Interval]
    pairs: int
    counterfactual: Mapping[str, Interval]


def checked_file(path: Path, shape: Any, damaged: list[str]) -> Any:
    """Returns the value of a JSON file that has a shape (`jaxbert.inputs.values.check`); None where it is missing.

    A file that cannot be read or has another shape counts as missing, and `damaged` says so.
    """
    if not path.is_file():
        return None
    try:
        return checked(read_bytes(path, most=_MOST_BYTES), shape)
    except (ValueError, InputError) as error:
        reason = error.what if isinstance(error, InputError) else str(error)
        damaged.append(f"{path.name}: {reason}, and the page leaves it out")
    return None


def read_judgement(path: Path, damaged: list[str]) -> Judgement | None:
    """Returns the content of judgement.json; None where there is none, or it is damaged.

    Args:
      path: the file.
      damaged: the list to which sentences about what cannot be read are added.
    """
    found = checked_file(path, SHAPE, damaged)
    if found is None:
        return None
    splits = {}
    for name in SPLITS:
        if name in found["splits"]:
            split = _split(found["splits"][name], f"{path.name}: the {name} split", damaged)
            if split is not None:
                splits[name] = split
    metric = next(iter(from_json([found["metric"]])), None)
    return Judgement(found["step"], metric, found["learned"], found["stopped_early"], splits)


def _split(value: Any, place: str, damaged: list[str]) -> Split | None:
    try:
        check(value, _SPLIT)
    except ValueError as error:
        damaged.append(f"{place}: {error}, and the page leaves it out")
        return None
    errors = [one for one in value["errors"] if _is_error(one)]
    if len(errors) < len(value["errors"]):
        wrong = counted(len(value["errors"]) - len(errors), "error")
        damaged.append(f"{place}: {wrong} of {len(value['errors']):,} cannot be read, and the page leaves them out")
    values = {**value["values"], "loss": value["loss"]}
    return Split(
        value["examples"],
        from_json(value["metrics"]),
        {name: float(one) for name, one in values.items() if is_number(one)},
        _bounds(value.get("intervals", {}), place, damaged),
        {name: float(one) for name, one in value["constant"].items() if is_number(one)},
        _details(value["details"], place, damaged),
        value["notes"],
        errors,
    )


def _bounds(value: Any, place: str, damaged: list[str]) -> dict[str, tuple[float, float]]:
    """Returns the bounds of intervals. A judgement of an earlier version has none."""
    try:
        check(value, Each([float]), "intervals")
    except ValueError as error:
        damaged.append(f"{place}: {error}, and the page leaves it out")
        return {}
    return {name: (one[0], one[1]) for name, one in value.items() if len(one) == 2 and all(map(is_number, one))}


def _details(value: Mapping[str, Any], place: str, damaged: list[str]) -> dict[str, Any]:
    """Returns the parts that have the right shape."""
    found = {}
    for name, shape in _DETAILS.items():
        if name in value:
            try:
                check(value[name], shape, name)
                found[name] = value[name]
            except ValueError as error:
                damaged.append(f"{place}: {error}, and the page leaves it out")
    if "confusion" in found:
        size = len(found.get("labels", ()))
        if len(found["confusion"]) != size or any(len(row) != size for row in found["confusion"]):
            if "labels" in found or "labels" not in value:
                damaged.append(f"{place}: the confusion matrix does not fit the labels, and the page leaves it out")
            del found["confusion"]
    if "confused" in found:
        size = len(found.get("labels", ()))
        found["confused"] = [cell for cell in found["confused"] if len(cell) == 3 and max(cell[:2]) < size]
    return found


def _is_error(value: Any) -> bool:
    """Returns whether a value is an error with a text and two answers."""
    try:
        check(value, _ERROR)
    except ValueError:
        return False
    return all(_is_answer(value[name]) for name in ("right", "predicted"))


def _is_answer(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(one, str) for one in value)
    return isinstance(value, str) or is_number(value)


def read_robustness(path: Path, damaged: list[str]) -> list[Robustness]:
    """Returns the tasks of the kind `robustness` in the results that `jaxbert evaluate --suite` wrote.

    Args:
      path: the file; without one the list is empty.
      damaged: the list to which a sentence about what cannot be read is added.
    """
    found = checked_file(path, _SUITE, damaged)
    tasks = [] if found is None else [name for name, task in found["tasks"].items() if task["kind"] == "robustness"]
    results = []
    for model, by_task in found["results"].items() if found is not None else ():
        for task in tasks:
            one = by_task.get(task)
            if one is None:
                continue
            try:
                check(one["details"], _ROBUSTNESS)
            except ValueError as error:
                damaged.append(f"{path.name}: {task}: {error}, and the page leaves it out")
                continue
            pairs = one["details"].get("counterfactuals") or {}
            results.append(
                Robustness(
                    task,
                    model,
                    found["tasks"][task]["examples"],
                    _interval(one["values"].get("accuracy")),
                    _intervals(one["details"].get("by_perturbation") or {}),
                    pairs.get("pairs", 0),
                    _intervals({name: {"accuracy": pairs[name]} for name in _PAIRED if name in pairs}),
                )
            )
    return results


def _intervals(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Interval]:
    found = {name: _interval(one["accuracy"]) for name, one in values.items()}
    return {name: one for name, one in found.items() if one is not None}


def _interval(value: Any) -> Interval | None:
    """Returns an interval of a share; None where there is no value between 0 and 1."""

    def share(one: Any) -> float | None:
        return float(one) if is_number(one) and 0 <= one <= 1 else None

    if value is None or (middle := share(value["value"])) is None:
        return None
    return Interval(middle, share(value["low"]), share(value["high"]))
