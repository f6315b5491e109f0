"""Tables and a chart of the words that a run predicted for its fixed sentences, evaluation by evaluation."""

from __future__ import annotations

from typing import Any

from jaxbert.report.charts import Chart, Curve, Series, look_of
from jaxbert.report.read import Run, is_number

# Steps that a table shows: the first, the last, and others evenly between them.
_STEPS = 8
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


def chart(run: Run) -> Chart | None:
    """Returns the probability of the true word over time; None where no sentence has one."""
    series = []
    for number, lines in enumerate(_by_sentence(run).values()):
        points = [(step, line["probability"]) for step, line in lines.items() if is_number(line.get("probability"))]
        truth = next((line["truth"] for line in lines.values() if isinstance(line.get("truth"), str)), "")
        if points and truth:
            steps, values = zip(*sorted(points), strict=True)
            colour, dash = look_of(number)
            series.append(Series(truth, 0, "validation", colour, list(steps), list(map(float, values)), dash=dash))
    return Chart(_CURVE, series) if series else None


def _by_sentence(run: Run) -> dict[str, dict[int, dict[str, Any]]]:
    """Returns {sentence: {step: line}}. Of two lines with the same step, the last counts."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for line in run.predictions:
        found.setdefault(line["sentence"], {})[line["step"]] = line
    return found
