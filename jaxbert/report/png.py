"""The loss curve of a run as a PNG, by matplotlib, for slides and messages."""

from __future__ import annotations

import io
import statistics
from typing import Any

from jaxbert.errors import InputError
from jaxbert.report.charts import LOSS
from jaxbert.report.read import Points, Run

# What `jaxbert report` wrote names itself with this, so that no file of others is replaced.
MARK = "jaxbert report"
# With more points than this, a curve is its running mean in front of the faint raw values.
_RAW_POINTS = 150
# A palette that people with colour-blindness can tell apart (Okabe and Ito, 2008), blue first.
_TRAINING, _VALIDATION = "#0072b2", "#d55e00"
_INK, _FAINT, _GRID = "#1b1f24", "#6b7280", "#e3e6ea"


def loss_png(run: Run) -> bytes:
    """Returns the loss curve of a run as a PNG.

    Raises:
      InputError: the metrics hold no loss.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    train, validation = run.points(LOSS.train), run.points(f"validation_{LOSS.train}")
    if not train[0] and not validation[0]:
        raise InputError(
            "the metrics hold no loss",
            where=str(run.workdir),
            fix="Wait for the run's first log line.",
            code="E-RUN-NO-STEP",
        )
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes: Any = figure.add_subplot()
    if train[0]:
        _line(axes, train, "training" if validation[0] else None)
    if validation[0]:
        axes.plot(*validation, color=_VALIDATION, linewidth=2, marker="o", markersize=4, label="validation")
    _style(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9, labelcolor=_INK)
    title = axes.set_title(f"{run.config.name}: loss", loc="left", color=_INK, fontsize=12, fontweight="bold")
    # A dollar sign in a name begins no formula.
    title.set_parse_math(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white", metadata={"Software": MARK})
    return buffer.getvalue()


def _line(axes: Any, points: Points, label: str | None) -> None:
    steps, values = points
    if len(values) > _RAW_POINTS:
        axes.plot(steps, values, color=_TRAINING, linewidth=0.6, alpha=0.25)
        values = _running_mean(values, len(values) // 60)
    marker = "o" if len(values) < 3 else None
    axes.plot(steps, values, color=_TRAINING, linewidth=1.6, marker=marker, label=label)


def _running_mean(values: list[float], half: int) -> list[float]:
    return [statistics.fmean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]


def _style(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.set_xlabel("step", color=_FAINT, fontsize=9)
    axes.grid(True, color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_FAINT, labelsize=9, length=0, which="both")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)
    axes.margins(x=0.02)


def short(value: float) -> str:
    """Returns a number as text for an axis: 0.0003, 12, 1.5k, 2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
