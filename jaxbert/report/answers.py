"""The parts of the page about the answers of a fine-tuned model.

Metrics beside a constant answer, confusion matrix, figures of each label, calibration, the worst errors, and what
changed texts cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxbert.core.metrics import Metric
from jaxbert.errors import counted
from jaxbert.report.charts import title_of
from jaxbert.report.judged import Interval, Judgement, Split
from jaxbert.report.read import Run
from jaxbert.report.svg import Bar, bars_svg, reliability_svg

# With more labels than this, the pairs that are confused most often are shown in the place of the matrix.
_MOST_LABELS = 20
_PAIRS = 20
# Labels of a table that is open at first, and labels of any table.
_OPEN_LABELS, _LABELS = 30, 1000
# Characters of a text that are shown at first, and of any text.
_SHORT, _LONG = 240, 20_000
# Characters of a name in a table, and of one in a matrix.
_NAME, _NARROW = 120, 60
# Errors that are shown at first.
_OPEN_ERRORS = 6
_ROBUSTNESS = 8
# Notes of `jaxbert.scores` are sentences.
_NOTES = 12

_UNITS = {
    "classification": "how wrong the model was: the loss of the example",
    "token_labels": "the number of entities that are wrong or missing",
    "question_answering": "by how much the model prefers its answer to no answer, in logits",
    "multiple_choice": "by how many nats the wrong choice is likelier than the right one",
    "sentence_vectors": "how far the cosine is from that of the right number; without numbers, the partner's rank",
}
# What an empty answer means.
_EMPTY = {"question_answering": "no answer", "token_labels": "no entity", "classification": "no label"}


@dataclass(frozen=True)
class Folded:
    """A text of a user's file.

    Attributes:
      short: the text, or its beginning.
      whole: the text, where `short` is only its beginning.
      left_out: the number of characters at its end that the page leaves out.
    """

    short: str
    whole: str = ""
    left_out: int = 0


def folded(text: str) -> Folded:
    """Returns a text with its beginning for the eye."""
    if len(text) <= _SHORT:
        return Folded(text)
    return Folded(text[:_SHORT], text[:_LONG], max(0, len(text) - _LONG))


def cut(text: str, most: int = _NAME) -> str:
    """Returns a name of at most `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}\u2026"


def results(run: Run) -> dict[str, Any] | None:
    """Returns the section about the answers of a run; None where it was not judged.

    Keys: "heads" and "rows" of the table of metrics, "said" (a sentence), "learned", and "splits", each with its parts:
    see `_split`.
    """
    judged = run.judgement
    if judged is None or not judged.splits:
        return None
    return {
        "said": _said(judged),
        "learned": judged.learned,
        "heads": ["", *judged.splits],
        "rows": _rows(judged),
        "splits": [_split(name, split) for name, split in judged.splits.items()],
    }


def _said(judged: Judgement) -> str:
    counts = [f"{counted(split.examples, 'example')} of {name}" for name, split in judged.splits.items()]
    early = " The run stopped early." if judged.stopped_early else ""
    chosen = "" if judged.metric is None else f", which has the best {judged.metric.title} of validation,"
    return f"The checkpoint of step {judged.step:,}{chosen} was judged on {' and '.join(counts)}.{early}"


def _rows(judged: Judgement) -> list[dict[str, Any]]:
    """Returns the metrics: {"name", "note", "chosen", "cells"}, with a cell for each split.

    A cell has "value", "interval" and "constant", each as people read it, or "".
    """
    metrics: dict[str, Metric] = {}
    for split in judged.splits.values():
        metrics |= {metric.name: metric for metric in split.metrics if metric.name not in metrics}
    rows = []
    for metric in (*metrics.values(), *_loss(judged)):
        cells = [
            {
                "value": metric.text(split.values[metric.name], 2) if metric.name in split.values else "",
                "interval": " to ".join(metric.text(bound, 2) for bound in split.intervals.get(metric.name, ())),
                "constant": metric.text(split.constant[metric.name], 2) if metric.name in split.constant else "",
            }
            for split in judged.splits.values()
        ]
        if any(cell["value"] or cell["constant"] for cell in cells):
            chosen = judged.metric is not None and metric.name == judged.metric.name
            note = " ".join(filter(None, (metric.note, "" if metric.higher else "Lower is better.")))
            rows.append({"name": title_of(metric), "note": note, "chosen": chosen, "cells": cells})
    return rows


def _loss(judged: Judgement) -> list[Metric]:
    """Returns the loss as a metric, unless it is the log loss, which is among the metrics."""
    pairs = [(split.values.get("loss"), split.values.get("log_loss")) for split in judged.splits.values()]
    if all(one is not None and other is not None and math.isclose(one, other, rel_tol=1e-3) for one, other in pairs):
        return []
    return [Metric("loss", "loss", "loss", "number", "As in training, without dropout.", higher=False)]


def _split(name: str, split: Split) -> dict[str, Any]:
    """Returns the parts of a split; a part that its task does not have is empty.

    Keys: "name", "facts" (folded sentences), "confusion" (`_confusion`), "pairs" (`_pairs`), "labels" (`_labels`),
    "calibration" (`_calibration`), "places" (`_places`); "stacked" and "parts", whether there are parts for a column,
    and any parts.
    """
    details = split.details
    labels = details.get("labels", [])
    confusion = details.get("confusion")
    matrix = _confusion(labels, confusion) if confusion and len(labels) <= _MOST_LABELS else None
    parts = {
        "pairs": _pairs(labels, details) if len(labels) > _MOST_LABELS else None,
        "labels": _labels(details),
        "places": _places(details),
    }
    stacked = any(parts.values()) or bool(matrix and not matrix["wide"])
    calibration = _calibration(details.get("calibration", []))
    return {
        "name": name,
        "facts": [folded(fact) for fact in (*_facts(details), *split.notes[:_NOTES])],
        "confusion": matrix,
        "calibration": calibration,
        **parts,
        "stacked": stacked,
        "parts": bool(stacked or matrix or calibration),
    }


def _facts(details: Mapping[str, Any]) -> list[str]:
    facts = []
    if "entities" in details:
        counts = details["entities"]
        facts.append(
            f"The texts have {_many(counts['true'])}. The model predicts {counts['predicted']:,}, and "
            f"{counts['right']:,} of these are right."
        )
    if "schemes" in details:
        exact, partial, kind = (details["schemes"][name]["f1"] for name in ("exact", "partial", "type"))
        facts.append(
            f"F1 is {exact:.1%} where only the words of an entity must be right, {partial:.1%} where half a point is "
            f"given for some of its words, and {kind:.1%} where only its type must be right and some of its words."
        )
    if "has_answer" in details and "no_answer" in details:
        has, none = details["has_answer"], details["no_answer"]
        facts.append(f"{has:,} of the questions have an answer, and {none:,} have none.")
    for name, title in (("best_f1_threshold", "F1"), ("best_exact_match_threshold", "Exact match")):
        if name in details:
            facts.append(
                f"{title} is best where no answer is given if its score is above that of the answer by more than "
                f"{details[name]:.4g}."
            )
    return facts


def _many(count: int) -> str:
    return counted(count, "entity", "entities")


def _confusion(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Returns the matrix: {"labels", "upright", "wide", "rows"}.

    A row has "label" and "cells" with "count", "share", "right" and "said". "share" is the share of the examples with
    the right label of the row, by which a cell is shaded. "upright" says whether the names above the columns stand on
    end, and "wide" whether the matrix needs the whole width of a page.
    """
    rows = []
    for row, (label, line) in enumerate(zip(labels, counts, strict=True)):
        total = sum(line)
        cells = [
            {
                "count": f"{count:,}",
                "share": count / total if total else 0.0,
                "right": row == column,
                "said": f"{counted(count, 'example')}, {_share(count, total)} of this label",
            }
            for column, count in enumerate(line)
        ]
        rows.append({"label": cut(label, _NARROW), "cells": cells})
    names = [cut(label, _NARROW) for label in labels]
    upright = len(names) > 4 or max(map(len, names)) > 14
    return {"labels": names, "upright": upright, "wide": len(labels) > 8, "rows": rows}


def _pairs(labels: Sequence[str], details: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the pairs that are confused most often, as {"rows", "labels", "all"}; None where nothing is known.

    A row has the right label, the predicted one, the count and its share.
    """
    if "confusion" in details:
        counts = details["confusion"]
        wrong = [
            (row, column, count)
            for row, line in enumerate(counts)
            for column, count in enumerate(line)
            if row != column and count
        ]
        totals = dict(enumerate(map(sum, counts)))
    elif "confused" in details:
        wrong = [(row, column, count) for row, column, count in details["confused"]]
        figures = details.get("by_label", {})
        totals = {row: figures.get(labels[row], {}).get("support", 0) for row, _, _ in wrong}
    else:
        return None
    wrong.sort(key=lambda one: -one[2])
    rows = [
        [cut(labels[row]), cut(labels[column]), f"{count:,}", _share(count, totals[row])]
        for row, column, count in wrong[:_PAIRS]
    ]
    return {"labels": len(labels), "rows": rows, "all": details.get("confusions", len(wrong))}


def _share(count: int, total: int) -> str:
    return f"{count / total:.1%}" if total else "0.0%"


def _labels(details: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the figures of labels, or of types of entities: {"head", "rows", "open", "all"}."""
    name, head = ("by_type", "type") if "by_type" in details else ("by_label", "label")
    found = details.get(name)
    if not found:
        return None
    rows = [
        {
            "label": cut(label),
            "cells": [f"{one['precision']:.1%}", f"{one['recall']:.1%}", f"{one['f1']:.1%}", f"{one['support']:,}"],
            "share": min(1.0, max(0.0, one["f1"])),
        }
        for label, one in list(found.items())[:_LABELS]
    ]
    return {"head": head, "rows": rows, "open": len(rows) <= _OPEN_LABELS, "all": len(found)}


def _calibration(bins: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Returns the diagram of calibration, the same in words, and its figures; None without examples."""
    there = [
        one
        for one in bins
        if one["count"] and all(one[key] is not None and 0 <= one[key] <= 1 for key in _BIN) and one["from"] < one["to"]
    ]
    if not there:
        return None
    rows = [
        [
            f"{one['from']:.0%} to {one['to']:.0%}",
            f"{one['count']:,}",
            f"{one['confidence']:.1%}",
            f"{one['accuracy']:.1%}",
        ]
        for one in there
    ]
    total = sum(one["count"] for one in there)
    sure = sum(one["count"] * one["confidence"] for one in there) / total
    right = sum(one["count"] * one["accuracy"] for one in there) / total
    return {
        "svg": reliability_svg([(one["from"], one["to"], one["accuracy"], one["count"] / total) for one in there]),
        "said": f"On the whole the model is {sure:.1%} sure and {right:.1%} right: {_sureness(sure - right)}.",
        "heads": ("confidence", "examples", "mean confidence", "accuracy"),
        "rows": rows,
    }


_BIN = ("from", "to", "confidence", "accuracy")


def _sureness(difference: float) -> str:
    if abs(difference) < 0.01:
        return "about as sure as it should be"
    return "too sure" if difference > 0 else "not sure enough"


def _places(details: Mapping[str, Any]) -> list[list[str]]:
    """Returns how often each place of a choice is right and is predicted."""
    right, predicted = details.get("right", []), details.get("predicted", [])
    pairs = zip(right, predicted, strict=False)
    return [[f"{number}", f"{one:,}", f"{other:,}"] for number, (one, other) in enumerate(pairs, 1)][:_LABELS]


def errors(run: Run) -> dict[str, Any] | None:
    """Returns the section of the worst errors: {"unit", "splits"}; None where there are none.

    A split has "name", "shown" and "more". An error has "number", "text", "pair", "right", "predicted" and "score".
    """
    if run.judgement is None:
        return None
    kind = run.config.task.name
    splits = []
    for name, split in run.judgement.splits.items():
        listed = [_error(one, kind) for one in split.errors]
        if listed:
            splits.append({"name": name, "shown": listed[:_OPEN_ERRORS], "more": listed[_OPEN_ERRORS:]})
    return {"unit": _UNITS.get(kind, ""), "splits": splits} if splits else None


def _error(one: Mapping[str, Any], kind: str) -> dict[str, Any]:
    number = one.get("number")
    return {
        "number": f"{number:,}" if isinstance(number, int) else "",
        "text": folded(one["text"]),
        "pair": folded(one["pair"]) if one.get("pair") is not None else None,
        "right": _answers(one["right"], kind),
        "predicted": _answers(one["predicted"], kind),
        "score": "" if one.get("score") is None else f"{one['score']:.4g}",
    }


def _answers(value: Any, kind: str) -> list[Folded]:
    """Returns the parts of an answer; an empty one says so."""
    parts = value if isinstance(value, list) else [value]
    shown = [one if isinstance(one, str) else f"{one:g}" for one in parts]
    return [folded(one) for one in shown if one] or [Folded(_EMPTY.get(kind, "none"))]


def robustness(run: Run) -> list[dict[str, Any]]:
    """Returns what changes of the texts cost, as {"title", "said", "svg", "rows"} for each task of the suite."""
    several = len({one.model for one in run.robustness}) > 1
    found = []
    for one in run.robustness[:_ROBUSTNESS]:
        title = f"{cut(one.task)} ({cut(one.model)})" if several else cut(one.task)
        if one.changed:
            bars = [*_bar("texts as they are", one.plain), *_bars(one.changed)]
            level = one.plain.value if one.plain is not None else None
            found.append(
                _drawn(title, f"Accuracy on {counted(one.examples, 'text')}, as they are and changed.", bars, level)
            )
        if one.counterfactual:
            said = f"Accuracy on {counted(one.pairs, 'pair')} of a text and its least change to another label."
            names = {"accuracy": "text", "counterfactual_accuracy": "changed text", "both": "both"}
            bars = _bars({names[name]: value for name, value in one.counterfactual.items()})
            found.append(_drawn(title, said, bars, None))
    return found


def _drawn(title: str, said: str, bars: Sequence[Bar], level: float | None) -> dict[str, Any]:
    return {
        "title": title,
        "said": said,
        "svg": bars_svg(bars, level),
        "rows": [[bar.name, _interval(bar)] for bar in bars],
    }


def _interval(bar: Bar) -> str:
    bounds = f" ({100 * bar.low:.1f} to {100 * bar.high:.1f})" if bar.low is not None and bar.high is not None else ""
    return f"{bar.value:.1%}{bounds}"


def _bars(values: Mapping[str, Interval]) -> list[Bar]:
    return [bar for name, value in values.items() for bar in _bar(name.replace("_", " "), value)]


def _bar(name: str, value: Interval | None) -> list[Bar]:
    return [] if value is None else [Bar(name, value.value, value.low, value.high)]
