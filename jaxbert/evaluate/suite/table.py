"""Shows the results of a suite as lines: a table with a row for each task, and what one should know about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxbert.core.metrics import Metric, from_json
from jaxbert.errors import counted

_NAMED = 3  # places that a line names


def lines(results: Mapping[str, Any]) -> list[str]:
    """Returns the lines that `jaxbert evaluate --suite` prints about the results of `evaluate_suite`."""
    tasks, models = results["tasks"], list(results["results"])
    head = ["task", "metric", "examples", *(models if len(models) > 1 else ["value (95% interval)"])]
    rows = [head]
    for name, task in tasks.items():
        found = [results["results"][model][name] for model in models]
        metric = _metric(task, found)
        rows.append([name, metric.title, f"{task['examples']:,}", *(_value(metric, one["values"]) for one in found)])
        pairs = [one["details"].get("counterfactuals") for one in found]
        if any(pairs):
            accuracy = next(one for one in from_json(task["metrics"]) if one.name == "accuracy")
            cells = [_value(accuracy, {"accuracy": one["both"]}) if one else "" for one in pairs]
            number = next(one["pairs"] for one in pairs if one)
            rows.append(["  counterfactual pairs", "both texts right", f"{number:,}", *cells])
        if any(one["without_found"] for one in found):
            cells = [_value(metric, one["without_found"]["values"]) if one["without_found"] else "" for one in found]
            counts = {one["without_found"]["examples"] for one in found if one["without_found"]}
            left = f"{counts.pop():,}" if len(counts) == 1 else ""
            rows.append(["  without those in the corpus", "", left, *cells])
        elif any(one["found"] and 0 < one["found"]["overlap"] < one["found"]["items"] for one in found):
            # A fine-tuned run of an older version has not kept what it answered to each example.
            rows.append(["  without those in the corpus", "", "", *("not known" for _ in found)])
    shown = [f"suite {results['suite']['name']}" + (f", {models[0]}" if len(models) == 1 else "")]
    shown += _aligned(rows)
    shown += list(_remarks(results, models))
    return shown


def _metric(task: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> Metric:
    """Returns the metric of a task; for a fine-tuned one, how its own metric is shown."""
    metric = next(one for one in from_json(task["metrics"]) if one.name == task["metric"])
    own = from_json([one["details"]["shown"] for one in found if "shown" in one["details"]])
    return dataclasses.replace(own[0], name=metric.name) if own else metric


def _value(metric: Metric, values: Mapping[str, Any]) -> str:
    """Returns a value with its interval: "81.2% (80.1 to 82.3)"."""
    one = values[metric.name]
    if one["value"] is None:
        return "none"
    text = metric.text(one["value"])
    low, high = one["low"], one["high"]
    if low is None or high is None or low == high:  # An interval of a single example is none.
        return text
    if metric.form == "share":
        # Student's interval of few seeds may go beyond what a share can be.
        return f"{text} ({100 * max(0.0, low):.1f} to {100 * min(1.0, high):.1f})"
    return f"{text} ({low:.4f} to {high:.4f})"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    shown = []
    for row in rows:
        cells = [
            cell.rjust(width) if column == 2 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        shown.append("  ".join(cells).rstrip())
    return shown


def _remarks(results: Mapping[str, Any], models: Sequence[str]) -> Iterator[str]:
    for name, task in results["tasks"].items():
        if task["examples"] < task["examples_in_files"]:
            part = f"{task['examples']:,} of {task['examples_in_files']:,} examples"
            yield f"look at: {name}: {part}, as its option limit says"
    for spec in dict.fromkeys(one["source"] for one in results["corpora"].values()):
        model = next(model for model in models if results["corpora"][model]["source"] == spec)
        corpus = results["corpora"][model]
        yield f"corpus {spec}: {counted(corpus['documents'], 'document')}, {counted(corpus['words'], 'word')}"
        for name in results["tasks"]:
            found = results["results"][model][name]["found"]
            short = found["items"] - found["looked_for"]
            line = f"  {name}: {found['overlap']:,} of {found['items']:,} examples are in it"
            line += f", {found['whole']:,} of them whole" if found["overlap"] else ""
            line += f"; {short:,} are too short to look for" if short else ""
            places = ", ".join(found["places"][:_NAMED])
            yield line + (f": {places}{' ...' if found['overlap'] > _NAMED else ''}" if places else "")
    for model in models:
        for name, one in results["results"][model].items():
            for note in one["notes"]:
                yield f"look at: {name}{f' ({model})' if len(models) > 1 else ''}: {note}"
