"""The sums of the steps since the last line of metrics.jsonl, from which the next line has its means.

A line says what the model did on all rows since the line before, and not on the last batch only. Each mean weighs its
items once, as an evaluation does: the loss of the masked LM is the sum of the losses over the number of masked tokens.

Each process adds the same float32 numbers in the same order in float64, and JSON keeps every digit of them. Every
checkpoint has the sums, so a run that is killed between two lines writes the second one with the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxbert.evaluate.evaluation import measures
from jaxbert.tasks.base import Task, Term

# Figures of a step, of which a line has the plain mean over the steps.
_PER_STEP = ("grad_norm", "update_norm")
# Figures of a step that a line shows as they are after its last step.
_LATEST = ("rate", "skipped", "skipped_in_a_row")


class Window:
    """Adds up the figures of steps.

    A step that was skipped, because its loss or its gradient was not finite, is in no mean. `skipped` counts it.

    Args:
      memory: what `memory` was when the checkpoint was written from which the run continues; None in a new run, and
        where a version before this one wrote the checkpoint.
      step: the step from which the run continues.
    """

    def __init__(self, memory: Mapping[str, Any] | None = None, *, step: int = 0):
        kept = memory or {}
        # A new run has seen no token. How many a run of an older version has seen, nobody knows.
        self._tokens: int | None = kept.get("tokens", None if step else 0)
        self._latest: dict[str, Any] = {}
        self._begin(kept)

    def _begin(self, kept: Mapping[str, Any]) -> None:
        self._steps: int = kept.get("steps", 0)
        self._counted: int = kept.get("counted", 0)
        self._real: int = kept.get("real_tokens", 0)
        self._sums: dict[str, float] = {name: float(kept.get(name, 0.0)) for name in _PER_STEP}
        self._terms: dict[str, Term] = {name: _term(values) for name, values in kept.get("terms", {}).items()}

    @property
    def memory(self) -> dict[str, Any]:
        """Returns JSON values from which another `Window` goes on as this one would."""
        return {
            "tokens": self._tokens,
            "steps": self._steps,
            "counted": self._counted,
            "real_tokens": self._real,
            **{name: _json(value) for name, value in self._sums.items()},
            "terms": {name: _json(term._asdict()) for name, term in self._terms.items()},
        }

    @property
    def steps(self) -> int:
        """Returns the number of steps since the last line."""
        return self._steps

    def add(self, metrics: Mapping[str, Any]) -> None:
        """Adds the metrics of a step, as `jaxbert.training.step` gives them, on the host."""
        real = int(metrics["real_tokens"])
        self._steps += 1
        self._real += real
        if self._tokens is not None:
            self._tokens += real
        self._latest = {name: np.asarray(metrics[name]).item() for name in _LATEST}
        if self._latest["skipped_in_a_row"]:
            return
        self._counted += 1
        for name in _PER_STEP:
            self._sums[name] += float(metrics[name])
        terms = jax.tree.map(lambda x: np.asarray(x, np.float64), dict(metrics["terms"]))
        self._terms = jax.tree.map(np.add, self._terms, terms) if self._terms else terms

    def means(self, task: Task) -> dict[str, Any]:
        """Returns the figures of a line: means over the steps that were added, the latest rate, and counts.

        Keys: "loss", what the task measures, grad_norm, update_norm, real_tokens (of a batch), tokens (since the start
        of the run; left out if it is not known), rate, skipped, skipped_in_a_row. The loss is NaN where every step was
        skipped.
        """
        measured = measures(task, self._terms) if self._counted else {"loss": math.nan}
        norms = {name: total / self._counted if self._counted else math.nan for name, total in self._sums.items()}
        tokens = {} if self._tokens is None else {"tokens": self._tokens}
        return {**measured, **norms, "real_tokens": self._real / max(1, self._steps), **tokens, **self._latest}

    def clear(self) -> None:
        """Begins the next window."""
        self._begin({})


def _term(values: Mapping[str, Any]) -> Term:
    figures = {name: _number(value) for name, value in values["figures"].items()}
    ones = values["ones"]
    return Term(_number(values["sum"]), _number(values["weight"]), figures, None if ones is None else _number(ones))


def _json(value: Any) -> Any:
    """Returns sums as JSON values. JSON has no number that is not finite, so these are texts."""
    if isinstance(value, Mapping):
        return {name: _json(item) for name, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, list):
        return [_json(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> Any:
    """Returns what `_json` gave as float64, a number or an array."""
    return np.asarray(value, np.float64)[()]
