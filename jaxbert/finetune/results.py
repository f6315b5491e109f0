"""Judges the runs of a fine-tuning, and makes the table over seeds and settings."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxbert.core.metrics import Metric, from_json, to_json
from jaxbert.evaluate.labelled import judge, worst_errors
from jaxbert.inputs.files import read_bytes
from jaxbert.inputs.values import Maybe, Whole, checked
from jaxbert.stores.files import write_whole
from jaxbert.stores.steps import default_step
from jaxbert.stores.workdir import FINETUNE, JUDGEMENT

_SHAPE = {
    "step": Whole(),
    "seed": Whole(),
    "setting": str,
    "metric": dict,
    "value": Maybe(float),
    "learned": bool,
    "stopped_early": bool,
    "splits": dict,
}


@dataclass(frozen=True)
class Judged:
    """A run that has ended.

    Attributes:
      name: the directory of the run in the workdir; "" for the workdir itself.
      found: the content of its judgement.json.
    """

    name: str
    found: Mapping[str, Any]

    @property
    def metric(self) -> Metric:
        """Returns the metric that chose the checkpoint."""
        return from_json([self.found["metric"]])[0]

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


def judge_run(workdir: Path, *, seed: int, setting: str, stopped_early: bool) -> dict[str, Any]:
    """Judges the best checkpoint of a run on its validation and its test split, and writes judgement.json.

    Args:
      workdir: of the run.
      seed: of the run.
      setting: the part of the sweep that the run has.
      stopped_early: whether it stopped early.
    """
    step = default_step(workdir)
    assert step is not None
    splits: dict[str, Any] = {}
    first = None
    for split in ("validation", "test"):
        found = judge(workdir, step, split)
        if found is None:
            continue
        first = first or found
        splits[split] = {
            "examples": found.scored.examples,
            "loss": _finite(found.loss),
            "values": {name: _finite(value) for name, value in found.scored.values.items()},
            "metrics": to_json(found.scored.metrics),
            "constant": {name: _finite(value) for name, value in found.constant.items()},
            "details": found.scored.details,
            "notes": list(found.scored.notes),
            "errors": worst_errors(found),
        }
    content: dict[str, Any] = {
        "step": step,
        "seed": seed,
        "setting": setting,
        "stopped_early": stopped_early,
        "metric": {} if first is None else to_json([first.metric])[0],
        "value": None if first is None else _finite(first.value),
        "learned": True if first is None else first.learned,
        "splits": splits,
    }
    write_whole(workdir / JUDGEMENT, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return content


def read_judgement(workdir: Path) -> dict[str, Any] | None:
    """Returns judgement.json of a run; None where there is none, or it is damaged."""
    try:
        found: dict[str, Any] = checked(read_bytes(workdir / JUDGEMENT), _SHAPE)
    except (OSError, ValueError):
        return None
    return found


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


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
        """Returns the mean of the metric over the seeds; NaN where one has none."""
        return statistics.fmean(run.value for run in self.runs)

    @property
    def deviation(self) -> float:
        """Returns the standard deviation over the seeds, of n - 1; NaN for one seed."""
        values = [run.value for run in self.runs]
        return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan

    @property
    def failed(self) -> list[int]:
        """Returns the seeds that have not learned: they are no better than a constant answer."""
        return [run.found["seed"] for run in self.runs if not run.found["learned"]]

    @property
    def rank(self) -> float:
        """Returns the number by which settings are compared; the lowest is the best."""
        if not math.isfinite(self.mean):
            return math.inf
        return -self.mean if self.runs[0].metric.higher else self.mean


def lines_of(runs: Sequence[Judged]) -> list[Line]:
    """Returns the settings of a sweep, the best first by the mean over seeds."""
    settings = dict.fromkeys(run.found["setting"] for run in runs)
    lines = [Line(setting, [run for run in runs if run.found["setting"] == setting]) for setting in settings]
    return sorted(lines, key=lambda line: line.rank)


def best_of(runs: Sequence[Judged]) -> Judged:
    """Returns the run to use: the best seed of the best setting, by the validation split."""
    return min(lines_of(runs)[0].runs, key=lambda run: run.rank)


def table(runs: Sequence[Judged]) -> list[str]:
    """Returns the table of settings over seeds, as lines for people."""
    lines, metric = lines_of(runs), runs[0].metric
    seeds = max(len(line.runs) for line in lines)
    wide = max(len("setting"), *(len(line.setting or "all") for line in lines))
    head = f"{'setting':<{wide}}  {'mean':>8}  {'sd':>7}  {'worst':>8}  {'best':>8}  seeds that failed to learn"
    shown = [f"{metric.title} on the validation split, over {seeds} seed{'s' * (seeds > 1)}", head]
    for line in lines:
        values = sorted((run.value for run in line.runs), key=lambda value: value if metric.higher else -value)
        deviation = "-" if math.isnan(line.deviation) else _spread(metric, line.deviation)
        failed = ", ".join(map(str, line.failed)) or "none"
        worst, best = metric.text(values[0]), metric.text(values[-1])
        name = line.setting or "all"
        shown.append(f"{name:<{wide}}  {metric.text(line.mean):>8}  {deviation:>7}  {worst:>8}  {best:>8}  {failed}")
    return shown


def _spread(metric: Metric, deviation: float) -> str:
    """Returns a standard deviation as people read it: in points of per cent, or as a number."""
    return f"{100 * deviation:.2f}" if metric.form == "share" else f"{deviation:.4f}"


def write_results(workdir: Path, runs: Sequence[Judged]) -> dict[str, Any]:
    """Writes finetune.json of a fine-tuning with several runs, and returns its content.

    Keys: "best" (the directory of the run to use), "metric", and "settings", the best first, each with "setting",
    "mean", "deviation", "failed" (seeds) and "runs" ("name", "seed", "step", "value", "learned").
    """
    content = {
        "best": best_of(runs).name,
        "metric": to_json([runs[0].metric])[0],
        "settings": [
            {
                "setting": line.setting,
                "mean": _finite(line.mean),
                "deviation": _finite(line.deviation),
                "failed": line.failed,
                "runs": [
                    {
                        "name": run.name,
                        "seed": run.found["seed"],
                        "step": run.found["step"],
                        "value": run.found["value"],
                        "learned": run.found["learned"],
                    }
                    for run in line.runs
                ],
            }
            for line in lines_of(runs)
        ],
    }
    write_whole(workdir / FINETUNE, json.dumps(content, indent=1) + "\n")
    return content
