"""Charts as SVG: those of browsers without scripts, the diagram of calibration, and bars.

The colours are variables of the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
        width = 4 if one.strong else 2
        parts.append(f'<polyline points="{line}" fill="none" stroke="{_colour(one)}" stroke-width="{width}"{dash}/>')
    parts.append("</svg>")
    named = list({one.group or f"\0{number}": one for number, one in enumerate(drawn)}.values())
    if len(named) > 1:
        names = "".join(
            f'<li><span style="border-top: 3px {_BORDERS[one.dash]} {_colour(one)}"></span>'
            f"{escape(one.group or one.name)}</li>"
            for one in named
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


# The sides of the square in which calibration is drawn, and the height of the strip with the numbers of examples.
_SQUARE, _STRIP = 240, 44
_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


def reliability_svg(bins: Sequence[tuple[float, float, float, float]]) -> str:
    """Returns a diagram of calibration: the accuracy of each bin of confidence, over a diagonal, and its examples.

    Args:
      bins: of each bin its bounds, its accuracy and its share of the examples, all between 0 and 1.
    """
    left, top, bottom = 44, 8, 8 + _SQUARE
    strip, width = bottom + 34 + _STRIP, 44 + _SQUARE + 24
    parts = [f'<svg viewBox="0 0 {width} {strip + 18}" role="img" aria-label="Accuracy by confidence" class="drawn">']
    for share in _QUARTERS:
        x, y = left + share * _SQUARE, bottom - share * _SQUARE
        parts.append(f'<path d="M{left} {y:g}H{left + _SQUARE}M{x:g} {top}V{bottom}" stroke="var(--grid)"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:g}" text-anchor="end">{share:.0%}</text>')
        parts.append(f'<text x="{x:g}" y="{bottom + 16}" text-anchor="middle">{share:.0%}</text>')
    most = max(share for *_, share in bins)
    for low, high, accuracy, share in bins:
        x, wide = left + low * _SQUARE + 1, max(1.0, (high - low) * _SQUARE - 2)
        parts.append(_box(x, bottom, wide, accuracy * _SQUARE, "var(--series-0)"))
        parts.append(_box(x, strip, wide, share / most * _STRIP, "var(--series-2)"))
    diagonal = f"M{left} {bottom}L{left + _SQUARE} {top}"
    parts.append(f'<path d="{diagonal}" stroke="var(--ink)" stroke-width="1.5" stroke-dasharray="5 4"/>')
    parts.append(f'<path d="M{left} {strip}H{left + _SQUARE}" stroke="var(--grid)"/>')
    parts.append(f'<text x="{left + _SQUARE / 2:g}" y="{strip + 14}" text-anchor="middle">confidence</text></svg>')
    return "".join(parts)


def _box(x: float, bottom: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{bottom - height:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


@dataclass(frozen=True)
class Bar:
    """A bar with a share, and the bounds of its interval."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


_BAR_WIDTH, _BAR_ROW, _BAR_NAME = 360, 38, 36


def bars_svg(bars: Sequence[Bar], level: float | None = None) -> str:
    """Returns bars of shares below one another, each with its name, its value and its interval.

    Args:
      bars: the bars.
      level: the share at which a dashed line is drawn, to compare with; None for no line.
    """
    height = _BAR_ROW * len(bars) + 4
    parts = [f'<svg viewBox="0 0 {_BAR_WIDTH} {height}" aria-hidden="true" class="drawn">']
    for number, bar in enumerate(bars):
        top = number * _BAR_ROW
        name = bar.name if len(bar.name) <= _BAR_NAME else f"{bar.name[: _BAR_NAME - 1]}\u2026"
        parts.append(f'<text x="0" y="{top + 14}">{escape(name)}</text>')
        parts.append(f'<text x="{_BAR_WIDTH}" y="{top + 14}" text-anchor="end" class="value">{bar.value:.1%}</text>')
        parts.append(_box(0, top + 32, _BAR_WIDTH, 12, "var(--grid)"))
        parts.append(_box(0, top + 32, bar.value * _BAR_WIDTH, 12, "var(--series-0)"))
        if bar.low is not None and bar.high is not None:
            low, high = bar.low * _BAR_WIDTH, bar.high * _BAR_WIDTH
            whisker = f"M{low:.1f} {top + 26}H{high:.1f}M{low:.1f} {top + 22}v8M{high:.1f} {top + 22}v8"
            parts.append(f'<path d="{whisker}" stroke="var(--ink)" stroke-width="1.5"/>')
    if level is not None:
        at = level * _BAR_WIDTH
        marks = "".join(f"M{at:.1f} {number * _BAR_ROW + 18}v16" for number in range(len(bars)))
        parts.append(f'<path d="{marks}" stroke="var(--series-1)" stroke-width="2" stroke-dasharray="3 2"/>')
    return "".join((*parts, "</svg>"))
