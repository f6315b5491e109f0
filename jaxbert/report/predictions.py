"""Tables and charts of the words that runs predicted for fixed sentences, evaluation by evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jaxbert.inputs.values import is_number
from jaxbert.report.charts import Chart, Curve, Series, look_of
from jaxbert.report.read import Run

# Steps that a table shows: the first, the last, and others evenly between them.
_STEPS = 8
# Charts on a page about several runs.
_CHARTS = 8
# The mask of any tokenizer, in a sentence that several runs have.
_HOLE = "\0"
_CURVE = Curve(
    "Probability of the true word",
    "probability",
    "For each of the sentences below; the name of a line is the word that was masked.",
    "percent",
    "Predictions",
    zero=True,
)


def sentences(run: Run) -> list[dict[str, Any]]:
    """Returns the sentences: "before", "mask", "after" and "truth" are texts, "steps" is the number of evaluations.

    "rows" has {"step", "words"} for some of the evaluations, and each word has "text", "share" and "right".
    """
    found = []
    for text, lines in _by_sentence(run).items():
        steps = sorted(lines)
        shown = steps
        if len(steps) > _STEPS:
            shown = sorted({steps[round(index * (len(steps) - 1) / (_STEPS - 1))] for index in range(_STEPS)})
        newest = lines[steps[-1]]
        truth = newest.get("truth") if isinstance(newest.get("truth"), str) else ""
        mask = newest.get("mask") if isinstance(newest.get("mask"), str) else ""
        before, hole, after = text.partition(mask) if mask else (text, "", "")
        rows = [
            {
                "step": f"{step:,}",
                "words": [
                    {"text": word, "share": min(1.0, max(0.0, share)), "right": bool(truth) and word == truth}
                    for word, share in lines[step]["words"]
                ],
            }
            for step in shown
        ]
        found.append(
            {"before": before, "mask": hole, "after": after, "truth": truth, "rows": rows, "steps": len(steps)}
        )
    return found


def charts(runs: Sequence[Run]) -> list[Chart]:
    """Returns the probability of the true word over time.

    Of one run, it is one chart with a line for each sentence that has a true word. Of several, it is a chart for each
    sentence that two or more of them have, with a line for each run.
    """
    if len(runs) == 1:
        lines = [
            _series(number, truth, 0, points) for number, ((_, truth), points) in enumerate(_known(runs[0]).items())
        ]
        return [Chart(_CURVE, lines)] if lines else []
    known = [_known(run) for run in runs]
    found = []
    for text, truth in dict.fromkeys(key for one in known for key in one):
        lines = [
            _series(index, run.label, index, one[text, truth])
            for index, (run, one) in enumerate(zip(runs, known, strict=True))
            if (text, truth) in one
        ]
        if len(lines) > 1:
            note = text.replace(_HOLE, "___")
            found.append(Chart(replace(_CURVE, title=f"Probability of \u201c{truth}\u201d", note=note), lines))
    return found[:_CHARTS]


def _series(number: int, name: str, run: int, points: list[tuple[int, float]]) -> Series:
    colour, dash = look_of(number)
    steps, values = [step for step, _ in points], [value for _, value in points]
    return Series(name, run, "validation", colour, steps, values, dash=dash)


def _known(run: Run) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Returns {(sentence, true word): [(step, probability)]}, with the same sign for the masks of all tokenizers."""
    found = {}
    for text, lines in _by_sentence(run).items():
        points = [
            (step, float(line["probability"])) for step, line in lines.items() if is_number(line.get("probability"))
        ]
        truth = next((line["truth"] for line in lines.values() if isinstance(line.get("truth"), str)), "")
        mask = next((line["mask"] for line in lines.values() if isinstance(line.get("mask"), str)), "")
        if points and truth:
            found[text.replace(mask, _HOLE, 1) if mask else text, truth] = sorted(points)
    return found


def _by_sentence(run: Run) -> dict[str, dict[int, dict[str, Any]]]:
    """Returns {sentence: {step: line}}. Of two lines with the same step, the last counts."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for line in run.predictions:
        found.setdefault(line["sentence"], {})[line["step"]] = line
    return found
