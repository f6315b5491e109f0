"""Judges the runs of a fine-tuning, and makes the table over seeds and settings."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxbert.core.metrics import finite, to_json
from jaxbert.evaluate.judged import Judged, best_of, lines_of, metric_of, seeds_named, spread
from jaxbert.evaluate.labelled import entry_of, judge
from jaxbert.stores.files import write_whole
from jaxbert.stores.steps import default_step
from jaxbert.stores.workdir import FINETUNE, JUDGEMENT, OUTPUTS


def judge_run(
    workdir: Path, *, seed: int, setting: str, stopped_early: bool, keep_outputs: bool = False
) -> dict[str, Any]:
    """Judges the best checkpoint of a run on its validation and its test split, and writes judgement.json.

    Args:
      workdir: of the run.
      seed: of the run.
      setting: the part of the sweep that the run has.
      stopped_early: whether it stopped early.
      keep_outputs: also keep what the model gives for each row, for `jaxbert.evaluate.labelled.score_part`.
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
        if keep_outputs:
            packed = io.BytesIO()
            np.savez_compressed(packed, allow_pickle=False, **found.outputs)
            write_whole(workdir / OUTPUTS.format(split=split), packed.getvalue())
        splits[split] = entry_of(found)
    content: dict[str, Any] = {
        "step": step,
        "seed": seed,
        "setting": setting,
        "stopped_early": stopped_early,
        "metric": {} if first is None else to_json([first.metric])[0],
        "value": None if first is None else finite(first.value),
        "learned": True if first is None else first.learned,
        "splits": splits,
    }
    write_whole(workdir / JUDGEMENT, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return content


def write_failed(workdir: Path, *, seed: int, setting: str, why: str) -> dict[str, Any]:
    """Writes and returns the judgement.json of a run that has diverged: it has no splits, and "diverged" says why."""
    content: dict[str, Any] = {
        "step": 0,
        "seed": seed,
        "setting": setting,
        "stopped_early": False,
        "metric": {},
        "value": None,
        "learned": False,
        "diverged": why,
        "splits": {},
    }
    write_whole(workdir / JUDGEMENT, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return content


def table(runs: Sequence[Judged]) -> list[str]:
    """Returns the table of settings over seeds, as lines for people."""
    lines, metric = lines_of(runs), metric_of(runs)
    seeds = max(len(line.runs) for line in lines)
    wide = max(len("setting"), *(len(line.setting or "all") for line in lines))
    head = f"{'setting':<{wide}}  {'mean':>8}  {'sd':>7}  {'worst':>8}  {'best':>8}  seeds that failed to learn"
    shown = [f"{metric.title} on the validation split, over {seeds} seed{'s' * (seeds > 1)}", head]
    for line in lines:
        deviation, failed = spread(metric, line.deviation), seeds_named(line.failed)
        mean, worst, best = ("-" if math.isnan(x) else metric.text(x) for x in (line.mean, line.worst, line.best))
        name = line.setting or "all"
        shown.append(f"{name:<{wide}}  {mean:>8}  {deviation:>7}  {worst:>8}  {best:>8}  {failed}")
    if gone := [run.name for run in runs if run.found.get("diverged")]:
        shown.append(f"diverged, and left out of the mean: {', '.join(gone)}")
    return shown


def write_results(workdir: Path, runs: Sequence[Judged]) -> dict[str, Any]:
    """Writes finetune.json of a fine-tuning with several runs, and returns its content.

    Keys: "best" (the directory of the run to use), "metric", and "settings", the best first, each with "setting",
    "mean", "deviation", "failed" (seeds) and "runs" ("name", "seed", "step", "value", "learned").
    """
    content = {
        "best": best_of(runs).name,
        "metric": to_json([metric_of(runs)])[0],
        "settings": [
            {
                "setting": line.setting,
                "mean": finite(line.mean),
                "deviation": finite(line.deviation),
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
