"""The curves of the page and their data: which figures are drawn, thinned for long runs, with a summary in words."""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any

from jaxbert.core.metrics import Metric
from jaxbert.report.read import Points, Run

# A page with all curves of a run has at most this many numbers, so that it stays well below 1 MB for any run.
_NUMBERS = 60_000
_MOST_POINTS, _FEWEST_POINTS = 500, 40
# Colours of the page, and kinds of lines: whole, dashed, dotted.
_COLOURS, _DASHES = 6, 3
# Lines of the table below a chart.
_TABLE_ROWS = 12


@dataclass(frozen=True)
class Curve:
    """One chart of the page.

    Attributes:
      title: text above the chart.
      train: name of the training figure. The validation figure's name is the same after "validation_".
      note: text below the chart.
      form: form of the values: "number", "percent", "short" (a few digits), "count", "ms" or "bytes".
      group: heading under which the chart is: "Learning", "Optimizer" or "Machine".
      log: whether the vertical axis begins as a logarithmic one.
      zero: whether the vertical axis begins at zero.
    """

    title: str
    train: str
    note: str
    form: str = "number"
    group: str = "Learning"
    log: bool = False
    zero: bool = False


LOSS = Curve("Loss", "loss", "Sum of the weighted terms, in nats. Validation has fixed masks and no dropout.")
_LABELLED_LOSS = replace(LOSS, note="Of the labels. Validation has no dropout.")
_ALWAYS = (
    Curve("Learning rate", "rate", "As the schedule gives it.", "short", "Optimizer"),
    Curve("Gradient norm", "grad_norm", "Global norm before clipping.", "short", "Optimizer", log=True),
    Curve("Update norm", "update_norm", "Global norm of what a step changes.", "short", "Optimizer", log=True),
    Curve(
        "Throughput", "tokens_per_s", "Real tokens per second; padding is not counted.", "count", "Machine", zero=True
    ),
    Curve(
        "MFU", "mfu", "Share of the peak FLOP/s that the model's own arithmetic uses.", "percent", "Machine", zero=True
    ),
    Curve("Step time", "step_ms.p50", "Median between two lines of the log.", "ms", "Machine", zero=True),
    Curve("Waiting for data", "data_wait_share", "Share of the step time.", "percent", "Machine", zero=True),
    Curve("Host memory", "host_rss_bytes", "Resident memory of process 0.", "bytes", "Machine", zero=True),
    Curve("Device memory", "device_peak_bytes", "Peak of the first device.", "bytes", "Machine", zero=True),
)


def curves(runs: Sequence[Run]) -> list[Curve]:
    """Returns the charts of the page: the loss, the metrics of the runs' tasks, and the figures of every run."""
    measured = {metric.name: metric for run in runs for metric in run.measured}
    loss = _LABELLED_LOSS if all(run.labelled for run in runs) else LOSS
    return [loss, *map(_curve_of, measured.values()), *_ALWAYS]


def _curve_of(metric: Metric) -> Curve:
    return Curve(title_of(metric), metric.name, metric.note, "percent" if metric.form == "share" else "number")


def title_of(metric: Metric) -> str:
    """Returns the metric's title with a capital letter: "Masked-LM accuracy"."""
    return metric.title[:1].upper() + metric.title[1:]


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
      name: name in the legend.
      run: number of its run on the page.
      kind: "training", "validation", or "constant" for a level to compare with.
      colour: number of its colour.
      dash: number of its dashes, which tells it from a line of the same colour; 0 for a line without any.
      group: name in the legend of all lines with this group; empty for a line with its own name there.
      strong: whether the line is drawn thicker than others.
      steps, values: the points.
      low, high: lowest and highest value that a thinned point stands for; empty where nothing was thinned.
    """

    name: str
    run: int
    kind: str
    colour: int
    steps: list[int]
    values: list[float]
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    dash: int = 0
    group: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Chart:
    """A curve with its series, ready to be drawn.

    Attributes:
      curve: what it shows.
      series: its lines, in the order of the legend.
      thinned: how many lines of the log became one point, at most; 1 where each is a point.
    """

    curve: Curve
    series: list[Series]
    thinned: int = 1


def charts_of(runs: Sequence[Run]) -> list[Chart]:
    """Returns the charts for which some run has figures."""
    wanted = curves(runs)
    most = _most_points(runs, wanted)
    found = [_chart(curve, runs, most) for curve in wanted]
    drawn = [chart for chart in found if any(one.kind != "constant" for one in chart.series)]
    # The only term of a loss, with the weight 1, is the whole loss.
    return [chart for chart in drawn if chart.curve.train == LOSS.train or not _same(chart, drawn[0])]


def _most_points(runs: Sequence[Run], wanted: Sequence[Curve]) -> int:
    """Returns the most points of a line, so that a page with all of them has at most `_NUMBERS` numbers."""
    number = sum(bool(run.points(curve.train)[0]) for run in runs for curve in wanted)
    return max(_FEWEST_POINTS, min(_MOST_POINTS, _NUMBERS // (3 * max(1, number))))


def _same(chart: Chart, other: Chart) -> bool:
    """Returns whether two charts have the same lines."""
    return other.curve.train == LOSS.train and chart.series == other.series


@dataclass(frozen=True)
class Look:
    """A run among the runs of a fine-tuning.

    Attributes:
      number: the number of its colour and dash; runs of the same setting share it.
      group: name in the legend of all runs of its setting; empty where each run has its own name there.
      chosen: whether it is the run to use.
    """

    number: int
    group: str
    chosen: bool


def learning_curves(runs: Sequence[Run], looks: Sequence[Look]) -> list[Chart]:
    """Returns how the runs of a fine-tuning learned: training loss, the metrics of validation, and its loss.

    The metric that chooses the checkpoint comes second.

    Args:
      runs: the runs, in the order of the legend.
      looks: the look of each.
    """
    measured = {metric.name: metric for run in runs for metric in run.shown}
    chosen = {metric.name: metric for run in runs if (metric := run.chosen) is not None}
    metrics = [_curve_of(metric) for metric in {**chosen, **measured}.values()]
    wanted = [_TRAINING_LOSS, *metrics[:1], _VALIDATION_LOSS, *metrics[1:]]
    most = _most_points(runs, wanted)
    charts = []
    for curve in wanted:
        kind = "training" if curve is _TRAINING_LOSS else "validation"
        series, thinned = [], 1
        for index, (run, look) in enumerate(zip(runs, looks, strict=True)):
            points = run.points(curve.train if kind == "training" else f"validation_{curve.train}")
            if points[0]:
                kept, low, high, several = thin(points, most)
                thinned = max(thinned, several)
                name = f"{run.label} (chosen)" if look.chosen else run.label
                colour, dash = look_of(look.number)
                series.append(Series(name, index, kind, colour, *kept, low, high, dash, look.group, look.chosen))
        if series:
            charts.append(Chart(curve, series, thinned))
    return charts


_TRAINING_LOSS = replace(LOSS, title="Training loss", note="The mean since the line before, with dropout.")
_VALIDATION_LOSS = replace(LOSS, title="Validation loss", note="Without dropout.")


def _chart(curve: Curve, runs: Sequence[Run], most: int) -> Chart:
    series: list[Series] = []
    thinned = 1
    # On a page about several runs, colour tells runs apart; about one run, it tells training from validation.
    one = len(runs) == 1
    for index, run in enumerate(runs):
        train, validation = run.points(curve.train), run.points(f"validation_{curve.train}")
        for kind, points, colour in (("training", train, 0), ("validation", validation, 1)):
            if points[0]:
                kept, low, high, several = thin(points, most)
                thinned = max(thinned, several)
                name = kind if curve.group == "Learning" else curve.title.lower()
                if not one:
                    name = f"{run.label}: {name}" if curve.group == "Learning" else run.label
                look = (colour, 0) if one else look_of(index)
                series.append(Series(name, index, kind, look[0], *kept, low, high, look[1]))
        if one and series:
            ends = [min(min(line.steps) for line in series), max(max(line.steps) for line in series)]
            series += [
                Series(name, index, "constant", colour, ends, [value] * 2, dash=dash)
                for (name, value), (colour, dash) in zip(_compared(run, curve.train), _levels(), strict=False)
            ]
    return Chart(curve, series, thinned)


def _compared(run: Run, name: str) -> list[tuple[str, float]]:
    """Returns (name, value) of the levels to compare a metric with: tables of counts, or a constant answer."""
    if name == run.first_metric and run.baselines:
        return [(f"{title} {accuracy:.1%}", accuracy) for title, accuracy in run.baselines.items()]
    validation = run.judgement.splits.get("validation") if run.judgement is not None else None
    value = validation.constant.get(name) if validation is not None else None
    if validation is None or value is None:
        return []
    return [(f"constant answer {one.text(value)}", value) for one in validation.metrics if one.name == name]


def look_of(number: int) -> tuple[int, int]:
    """Returns (colour, dash) of the line with a number. All colours are used before a line is dashed."""
    return number % _COLOURS, number // _COLOURS % _DASHES


def _levels() -> Iterator[tuple[int, int]]:
    """Yields (colour, dash) of levels: the colours that training and validation leave over, and never a whole line."""
    return ((colour, dash) for dash in cycle(range(1, _DASHES)) for colour in range(2, _COLOURS))


def thin(points: Points, most: int) -> tuple[Points, list[float], list[float], int]:
    """Returns (points, lowest, highest, how many became one): means of neighbours where there are more than `most`.

    The last step of the neighbours is the step of their mean. `lowest` and `highest` are empty where nothing changed.
    """
    steps, values = points
    several = -(-len(steps) // most)
    if several == 1:
        return points, [], [], 1
    parts = [values[start : start + several] for start in range(0, len(values), several)]
    ends = [steps[min(start + several, len(steps)) - 1] for start in range(0, len(steps), several)]
    return (ends, [statistics.fmean(part) for part in parts]), list(map(min, parts)), list(map(max, parts)), several


def text_of(value: float, form: str) -> str:
    """Returns a value of a chart as text."""
    if form == "percent":
        return f"{value:.2%}"
    if form == "count":
        return f"{value:,.0f}"
    if form == "ms":
        return f"{value:,.1f} ms"
    if form == "bytes":
        return f"{value / 2**30:.2f} GiB"
    return f"{value:.3g}" if form == "short" else f"{value:.4f}"


def summary(chart: Chart) -> str:
    """Returns the chart in words, for readers who cannot see it."""
    parts = []
    for one in chart.series:
        if one.kind == "constant":
            continue
        form = chart.curve.form
        first, last = text_of(one.values[0], form), text_of(one.values[-1], form)
        if len(one.values) == 1:
            parts.append(f"{one.name} {first} at step {one.steps[0]:,}")
            continue
        low, high = min(one.values), max(one.values)
        parts.append(
            f"{one.name} from {first} at step {one.steps[0]:,} to {last} at step {one.steps[-1]:,} "
            f"(lowest {text_of(low, form)}, highest {text_of(high, form)})"
        )
    return f"{chart.curve.title}: {'; '.join(parts)}."


def table(chart: Chart) -> dict[str, Any]:
    """Returns the figures of a chart as a table: {"heads", "rows"}, at most a dozen rows, evenly spread.

    A cell has the last value up to the step of its row.
    """
    series = [one for one in chart.series if one.kind != "constant"]
    judged = [one for one in series if one.kind == "validation"] or series
    steps = sorted({step for one in judged for step in one.steps} | {one.steps[-1] for one in series})
    if len(steps) > _TABLE_ROWS:
        steps = [steps[round(index * (len(steps) - 1) / (_TABLE_ROWS - 1))] for index in range(_TABLE_ROWS)]

    def cell(one: Series, step: int) -> str:
        at = bisect_right(one.steps, step)
        return text_of(one.values[at - 1], chart.curve.form) if at else ""

    return {
        "heads": ["step", *(one.name for one in series)],
        "rows": [[f"{step:,}", *(cell(one, step) for one in series)] for step in steps],
    }


def rounded(values: Iterable[float]) -> list[float]:
    """Returns values with six digits, which no screen can tell from all of them."""
    return [float(f"{value:.6g}") for value in values]
