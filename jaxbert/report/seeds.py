"""A fine-tuning of several runs for its page: the settings over seeds, the run to use, and the runs that are drawn.

finetune.json names the runs. Where it is damaged, the runs are looked for in the workdir, and compared by their own
judgements.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from jaxbert.core.metrics import Metric, from_json
from jaxbert.core.progress import duration
from jaxbert.errors import CommandError, InputError, counted
from jaxbert.evaluate.judged import Judged, Line, best_of, lines_of, metric_of, read_judgement, seeds_named, spread
from jaxbert.inputs.values import Maybe, Whole
from jaxbert.report.charts import Look, title_of
from jaxbert.report.judged import checked_file, read_robustness
from jaxbert.report.read import Run, read_run
from jaxbert.stores.workdir import FINETUNE, SUITE

# Runs whose curves are drawn, and settings of the table that is open at first.
_DRAWN, _OPEN = 40, 12
_SHAPE = {
    "best": str,
    "metric": dict,
    "settings": [
        {
            "setting": str,
            "runs": [{"name": str, "seed": Whole(), "step": Whole(), "value": Maybe(float), "learned": bool}],
        }
    ],
}


@dataclass(frozen=True)
class Finetuning:
    """A fine-tuning of several runs.

    Attributes:
      workdir: the workdir of all runs.
      lines: the settings, the best first.
      chosen: the run to use.
      drawn: the runs whose curves are drawn, those of the best setting first. `chosen` is one of them.
      looks: the look of each drawn run.
      damaged: what cannot be read and is left out, a sentence for each.
    """

    workdir: Path
    lines: Sequence[Line]
    chosen: Run
    drawn: Sequence[Run]
    looks: Sequence[Look]
    damaged: Sequence[str]


def is_finetuning(workdir: Path) -> bool:
    """Returns whether a directory is the workdir of a fine-tuning with several runs."""
    return (workdir / FINETUNE).is_file() and not (workdir / "config.json").exists()


def chosen_run(workdir: Path) -> Path:
    """Returns the workdir of the run for which a fine-tuning of several runs stands.

    Raises:
      InputError: no run of it can be read.
    """
    return read_finetuning(workdir).chosen.workdir


def read_finetuning(workdir: Path) -> Finetuning:
    """Reads the workdir of a fine-tuning with several runs.

    Raises:
      InputError: no run of it can be read.
    """
    damaged: list[str] = []
    best, judged = _named(workdir, damaged)
    judged = judged or _found(workdir)
    if best not in {run.name for run in judged}:
        known = [run for run in judged if math.isfinite(run.value)]
        best = best_of(known).name if known else ""
    lines = lines_of(judged)
    ordered = [run for line in lines for run in line.runs]
    runs: dict[str, Run] = {}
    for run in sorted(ordered, key=lambda run: run.name != best):
        if len(runs) == _DRAWN:
            break
        try:
            runs[run.name] = read_run(workdir / run.name, _label(run))
        except CommandError as error:
            damaged.append(f"{run.name}: {error.what}, and the page leaves its curves out")
    if not runs:
        raise InputError(
            "no run of the fine-tuning can be read",
            where=str(workdir),
            fix="Repeat the `jaxbert finetune` that made it, or take the runs from a copy.",
            code="E-REPORT-FINETUNE",
        )
    chosen = next(iter(runs))
    names = [run.name for run in ordered if run.name in runs]
    several = len(lines) > 1
    numbers = {run.name: number for number, line in enumerate(lines) for run in line.runs}
    settings = {run.name: line.setting for line in lines for run in line.runs}
    looks = [
        Look(
            numbers[name] if several else number,
            (settings[name] or "other runs") if several else "",
            name == chosen == best,
        )
        for number, name in enumerate(names)
    ]
    # MODEL=WORKDIR is this run, so the figures of a suite may be in either place.
    robustness = read_robustness(workdir / SUITE, damaged) or runs[chosen].robustness
    shown = replace(runs[chosen], robustness=robustness)
    return Finetuning(workdir, lines, shown, [runs[name] for name in names], looks, damaged)


def _named(workdir: Path, damaged: list[str]) -> tuple[str, list[Judged]]:
    """Returns the run to use and all runs by finetune.json; no runs where it is damaged."""
    found = checked_file(workdir / FINETUNE, _SHAPE, damaged)
    if found is None:
        return "", []
    runs = [
        Judged(run["name"], {**run, "setting": line["setting"], "metric": found["metric"]})
        for line in found["settings"]
        for run in line["runs"]
    ]
    good = [run for run in runs if _inside(run.name)]
    if len({run.name for run in good}) < len(runs) or not from_json([found["metric"]]):
        damaged.append(f"{FINETUNE}: it names runs twice, or outside the workdir, or no metric; it is left out")
        return "", []
    return found["best"], good


def _inside(name: str) -> bool:
    """Returns whether a name is that of a directory below the workdir."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _found(workdir: Path) -> list[Judged]:
    """Returns the runs in a workdir by their own files."""
    configs = sorted(path for pattern in ("*/config.json", "*/*/config.json") for path in workdir.glob(pattern))
    names = [str(path.parent.relative_to(workdir)) for path in configs]
    judged = [Judged(name, read_judgement(workdir / name) or _unjudged(name)) for name in names]
    # Values of several metrics do not compare.
    metrics = [run.metric.name for run in judged if run.metric.name]
    return [run for run in judged if run.metric.name in ("", *metrics[:1])]


def _unjudged(name: str) -> dict[str, Any]:
    """Returns what is known of a run without a judgement: what its directory says."""
    place, seed = PurePosixPath(name), re.search(r"seed-(\d{1,9})$", name)
    setting = "" if str(place.parent) == "." else str(place.parent).replace(",", " ")
    number = int(seed.group(1)) if seed else 0
    return {"setting": setting, "seed": number, "step": 0, "metric": {}, "value": None, "learned": True}


def _label(run: Judged) -> str:
    setting = run.found["setting"]
    return f"{setting}, seed {run.found['seed']}" if setting else f"seed {run.found['seed']}"


def settings(found: Finetuning) -> dict[str, Any]:
    """Returns the section of the settings.

    Keys: "metric" (its title), "said" (a sentence), "rows" of the settings with "name", "cells" and "chosen", and
    "runs", the same of every run, with "open" for whether that table is open at first.
    """
    runs = [run for line in found.lines for run in line.runs]
    metric = metric_of(runs)
    chosen = found.chosen.workdir
    marked = [look.chosen for look in found.looks]
    rows = [
        {
            "name": line.setting or "all runs",
            "cells": [
                _text(metric, line.mean),
                spread(metric, line.deviation),
                _text(metric, line.worst),
                _text(metric, line.best),
                _failed(line),
            ],
            "chosen": any(marked) and any(found.workdir / run.name == chosen for run in line.runs),
        }
        for line in found.lines
    ]
    listed = [
        {
            "name": run.name,
            "cells": [
                f"{run.found['seed']}",
                f"{run.found['step']:,}",
                _text(metric, run.value),
                "yes" if run.found["learned"] else "no",
            ],
            "chosen": any(marked) and found.workdir / run.name == chosen,
        }
        for run in runs
    ]
    left = len(runs) - len(found.drawn)
    return {
        "metric": title_of(metric),
        "said": _said(found, any(marked)),
        "undrawn": f"The curves are those of {len(found.drawn):,} of the {len(runs):,} runs." if left > 0 else "",
        "rows": rows,
        "runs": listed,
        "open": len(runs) <= _OPEN,
    }


def _said(found: Finetuning, chosen: bool) -> str:
    name = found.chosen.workdir.relative_to(found.workdir)
    if not chosen:
        return f"The run to use cannot be read. The figures below are those of {name}."
    return f"The run to use is {name}, and the figures below are its figures."


def _failed(line: Line) -> str:
    """Returns which seeds of a setting have not learned: "1 of 5: seed 3"."""
    if not line.failed:
        return "none"
    return f"{len(line.failed)} of {len(line.runs)}: {seeds_named(line.failed)}"


def _text(metric: Metric, value: float) -> str:
    return "none" if math.isnan(value) else metric.text(value, 2)


def state(found: Finetuning) -> str:
    """Returns how many settings and runs there are, in words."""
    runs = sum(len(line.runs) for line in found.lines)
    return f"{counted(len(found.lines), 'setting')}, {counted(runs, 'run')}"


def cards(found: Finetuning) -> list[tuple[str, str]]:
    """Returns the figures over seeds that matter most, for the top of the page."""
    line = found.lines[0]
    metric = metric_of(line.runs)
    if not metric.name:
        return []
    failed = sum(len(one.failed) for one in found.lines)
    runs = sum(len(one.runs) for one in found.lines)
    mean = "none" if math.isnan(line.mean) else metric.text(line.mean)
    if math.isfinite(line.deviation):
        mean += f" \u00b1 {spread(metric, line.deviation, 1)}"
    times = [run.last_number("elapsed_s") for run in found.drawn]
    known = [time for time in times if time is not None]
    return [
        (f"{metric.title}, mean and sd of {counted(len(line.runs), 'seed')}", mean),
        ("runs that failed to learn", f"{failed:,} of {runs:,}"),
        *([(f"time of {runs:,} runs", duration(sum(known)))] if len(known) == runs else []),
    ]
