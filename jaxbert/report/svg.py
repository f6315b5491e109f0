"""Charts as SVG, for browsers that run no script. The colours are variables of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from jaxbert.report.charts import Chart, Series, text_of, thin
from jaxbert.report.png import short

_WIDTH, _HEIGHT = 640, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 10, 26
# A line has at most this many points: there are 640 pixels.
_POINTS = 160
_TICKS = 5
# The dashes of a line, by their number.
_DASHES = ("", "6 4", "2 4")
_BORDERS = ("solid", "dashed", "dotted")


def chart_svg(chart: Chart, boundaries: Sequence[tuple[int, str]]) -> str:
    """Returns the chart as an SVG element, and its legend as a list below it.

    Args:
      chart: a chart with at least one point.
      boundaries: (step, name) where phases begin.
    """
    drawn = [one for one in chart.series if one.steps]
    log = chart.curve.log and all(value > 0 for one in drawn for value in one.values)
    steps = [step for one in drawn for step in one.steps]
    values = [math.log10(value) if log else value for one in drawn for value in one.values]
    x_low, x_high = min(steps), max(max(steps), min(steps) + 1)
    y_low, y_high = _limits(values, zero=chart.curve.zero and not log)

    def x(step: float) -> float:
        return _LEFT + (step - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - y_low) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true" class="still">']
    for value in ticks(y_low, y_high):
        at = y(value)
        label = escape(_label(10**value if log else value, chart.curve.form))
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}" stroke="var(--grid)"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{label}</text>')
    for step in ticks(x_low, x_high):
        parts.append(f'<text x="{x(step):.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{short(step)}</text>')
    for step, _ in boundaries:
        if x_low < step < x_high:
            parts.append(
                f'<path d="M{x(step):.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="var(--faint)" stroke-dasharray="2 3"/>'
            )
    for one in drawn:
        (some, kept), *_ = thin((one.steps, one.values), _POINTS)
        line = " ".join(
            f"{x(step):.1f},{y(math.log10(value) if log else value):.1f}"
            for step, value in zip(some, kept, strict=True)
        )
        dash = f' stroke-dasharray="{_DASHES[one.dash]}"' if one.dash else ""
        parts.append(f'<polyline points="{line}" fill="none" stroke="{_colour(one)}" stroke-width="2"{dash}/>')
    parts.append("</svg>")
    if len(drawn) > 1:
        names = "".join(
            f'<li><span style="border-top: 3px {_BORDERS[one.dash]} {_colour(one)}"></span>{escape(one.name)}</li>'
            for one in drawn
        )
        parts.append(f'<ul class="names">{names}</ul>')
    return "".join(parts)


def _colour(one: Series) -> str:
    return f"var(--series-{one.colour})"


def _label(value: float, form: str) -> str:
    if form == "percent":
        return f"{100 * value:.3g}%"
    return text_of(value, form) if form == "bytes" else short(float(f"{value:.3g}"))


def _limits(values: Sequence[float], *, zero: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    low = min(low, 0.0) if zero else low
    if low == high:
        low, high = low - abs(low or 1) / 10, high + abs(high or 1) / 10
    margin = (high - low) * 0.05
    return (low if zero else low - margin), high + margin


def ticks(low: float, high: float) -> list[float]:
    """Returns round numbers from `low` to `high`, about five of them."""
    span = (high - low) / _TICKS
    size = 10.0 ** math.floor(math.log10(span))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= span)
    first = math.ceil(low / step)
    return [float(f"{index * step:.12g}") for index in range(first, math.floor(high / step) + 1)]
