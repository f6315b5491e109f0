"""Runs of a fine-tuning that were judged, and their comparison over seeds and settings. Imports no jax.

`jaxbert finetune` writes a judgement.json for each run (`jaxbert.finetune.results`), and a finetune.json over several.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxbert.core.metrics import Metric, from_json
from jaxbert.errors import counted
from jaxbert.inputs.files import read_bytes
from jaxbert.inputs.values import Each, Maybe, Whole, checked
from jaxbert.stores.workdir import JUDGEMENT

# What judgement.json has at least. A page checks its splits one by one.
SHAPE = {
    "step": Whole(),
    "seed": Whole(),
    "setting": str,
    "metric": dict,
    "value": Maybe(float),
    "learned": bool,
    "stopped_early": bool,
    "splits": dict,
}
# What the lines of the terminal show of a split.
_SPLITS = Each({"examples": Whole(), "values": Each(Maybe(float)), "metrics": list})
# The metric of a run that no split has judged.
_NONE = Metric("", "no metric", "", "number")


@dataclass(frozen=True)
class Judged:
    """A run that has ended.

    Attributes:
      name: the directory of the run in the workdir; "" for the workdir itself.
      found: the content of its judgement.json, or its line of finetune.json with "setting" and "metric".
    """

    name: str
    found: Mapping[str, Any]

    @property
    def metric(self) -> Metric:
        """Returns the metric that chose the checkpoint; its name is "" where there is no split to judge the run."""
        return next(iter(from_json([self.found["metric"]])), _NONE)

    @property
    def value(self) -> float:
        """Returns its value on the validation split; NaN where it has none."""
        value = self.found["value"]
        return math.nan if value is None else float(value)

    @property
    def rank(self) -> float:
        """Returns the number by which runs are compared; the lowest is the best."""
        if math.isnan(self.value):
            return math.inf
        return -self.value if self.metric.higher else self.value


def read_judgement(workdir: Path) -> dict[str, Any] | None:
    """Returns judgement.json of a run; None where there is none, or it is damaged."""
    try:
        found: dict[str, Any] = checked(read_bytes(workdir / JUDGEMENT), {**SHAPE, "splits": _SPLITS})
    except (OSError, ValueError):
        return None
    return found


@dataclass(frozen=True)
class Line:
    """A setting of a sweep, over its seeds.

    Attributes:
      setting: "rate=3e-05 epochs=3"; "" without a sweep.
      runs: its runs, by seed.
    """

    setting: str
    runs: Sequence[Judged]

    @property
    def mean(self) -> float:
        """Returns the mean of the metric over the seeds that have it; NaN where none has."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def values(self) -> list[float]:
        """Returns the values of the seeds that have one: a run that has diverged has none."""
        return [run.value for run in self.runs if math.isfinite(run.value)]

    @property
    def deviation(self) -> float:
        """Returns the standard deviation over the seeds that have a value, of n - 1; NaN for one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan

    @property
    def worst(self) -> float:
        """Returns the value of the worst seed; NaN where one has none."""
        return max(self.runs, key=lambda run: run.rank).value

    @property
    def best(self) -> float:
        """Returns the value of the best seed; NaN where none has one."""
        return min(self.runs, key=lambda run: run.rank).value

    @property
    def failed(self) -> list[int]:
        """Returns the seeds that have not learned: they are no better than a constant answer."""
        return [run.found["seed"] for run in self.runs if not run.found["learned"]]

    @property
    def rank(self) -> tuple[int, float]:
        """Returns what settings are compared by, the lowest is the best: the seeds without a value, then the mean."""
        mean = self.mean if self.values else math.inf
        higher = metric_of(self.runs).higher and self.values
        return len(self.runs) - len(self.values), -mean if higher else mean


def lines_of(runs: Sequence[Judged]) -> list[Line]:
    """Returns the settings of a sweep, the best first by the mean over seeds."""
    settings = dict.fromkeys(run.found["setting"] for run in runs)
    lines = [Line(setting, [run for run in runs if run.found["setting"] == setting]) for setting in settings]
    return sorted(lines, key=lambda line: line.rank)


def best_of(runs: Sequence[Judged]) -> Judged:
    """Returns the run to use: the best seed of the best setting, by the validation split."""
    return best_of_line(lines_of(runs)[0])


def best_of_line(line: Line) -> Judged:
    """Returns the best seed of a setting."""
    return min(line.runs, key=lambda run: run.rank)


def metric_of(runs: Sequence[Judged]) -> Metric:
    """Returns the metric that compares runs; its name is "" where there is no split to judge them."""
    return next((run.metric for run in runs if run.metric.name), _NONE)


def seeds_named(seeds: Sequence[int]) -> str:
    """Returns seeds as people read them, so that no one takes a seed for a count: "none", "seed 0", "seeds 0, 2"."""
    if not seeds:
        return "none"
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def spread(metric: Metric, deviation: float, digits: int = 2) -> str:
    """Returns a standard deviation as people read it: in points of per cent, or as a number; "-" where it is NaN.

    Args:
      metric: the metric of the values.
      deviation: the standard deviation.
      digits: digits of the points after the point.
    """
    if math.isnan(deviation):
        return "-"
    return f"{100 * deviation:.{digits}f}" if metric.form == "share" else f"{deviation:.4f}"


def line_of_split(name: str, one: Mapping[str, Any], chosen: str) -> str:
    """Returns the figures of a split as a line for people.

    Args:
      name: of the split.
      one: its entry in judgement.json.
      chosen: the name of the metric that is shown with its interval and with the value of a constant answer.
    """
    figures = []
    for metric in from_json(one["metrics"]):
        if one["values"].get(metric.name) is None:
            continue
        figures.append(f"{metric.title} {metric.text(one['values'][metric.name])}")
        constant = one.get("constant", {}).get(metric.name)
        if metric.name == chosen:
            bounds = one.get("intervals", {}).get(metric.name)
            # Where all answers are right, resamples of texts say nothing.
            known = bounds and bounds[0] != bounds[1]
            told = f"95% interval: {metric.text(bounds[0])} to {metric.text(bounds[1])}" if known else ""
            beside = f"a constant answer: {metric.text(constant)}" if constant is not None else ""
            figures[-1] += f" ({'; '.join(filter(None, (told, beside)))})" if told or beside else ""
    shown = ", ".join(figures) or "no metric has a value; more examples are needed"
    return f"{name} ({counted(one['examples'], 'example')}): {shown}"
