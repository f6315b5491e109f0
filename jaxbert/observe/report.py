"""Writes one self-contained HTML page about one or several runs, and a PNG of each run's loss curve.

Reads config.json, metrics.jsonl and telemetry.jsonl, and evaluation.json if `jaxbert evaluate --json
WORKDIR/evaluation.json` wrote it. Imports no jax, so it works on any machine that can read the workdir, also while the
run goes on. The run wrote the titles of its numbers into telemetry.jsonl.
"""

from __future__ import annotations

import io
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jaxbert.config import RunConfig, load_json, phase_at, to_json, total_steps
from jaxbert.core.metrics import Metric, from_json
from jaxbert.core.progress import duration
from jaxbert.errors import InputError
from jaxbert.inputs.files import open_regular
from jaxbert.inputs.values import read_json
from jaxbert.observe.flops import MFU_FORMULA
from jaxbert.observe.lines import JsonLines
from jaxbert.stores.files import write_whole
from jaxbert.stores.workdir import check_run

PAGE, PNG = "report.html", "loss.png"
_MARK = "jaxbert report"
# With more points than this, a curve is its running mean in front of the faint raw values.
_RAW_POINTS = 150

Points = tuple[list[int], list[float]]


@dataclass(frozen=True)
class Run:
    """The content of a workdir.

    Attributes:
      label: short name, unique on the page.
      workdir: its directory.
      config: config of the run.
      metrics: lines of metrics.jsonl.
      telemetry: lines of telemetry.jsonl. A resumed run repeats steps; of lines with the same step the last counts.
      facts: facts of the last process that ran: versions, devices, peak, titles of metrics.
      evaluation: content of evaluation.json, if any.
    """

    label: str
    workdir: Path
    config: RunConfig
    metrics: list[dict[str, Any]]
    telemetry: list[dict[str, Any]]
    facts: dict[str, Any]
    evaluation: dict[str, Any]

    def points(self, name: str) -> Points:
        """Returns (steps, values) of a number in the metrics, or else in the telemetry."""
        for lines in (self.metrics, self.telemetry):
            found = [(line["step"], line[name]) for line in lines if _is_number(line.get(name))]
            if found:
                return [step for step, _ in found], [float(value) for _, value in found]
        return [], []

    def last(self, name: str) -> Any:
        """Returns the last value of `name` in either file; None if there is none."""
        for lines in (self.metrics, self.telemetry):
            for line in reversed(lines):
                if line.get(name) is not None:
                    return line[name]
        return None

    def last_number(self, name: str) -> int | float | None:
        """Returns the last value of `name` that is a number."""
        for lines in (self.metrics, self.telemetry):
            for line in reversed(lines):
                value: Any = line.get(name)
                if _is_number(value):
                    return value  # type: ignore[no-any-return]
        return None

    @property
    def measured(self) -> list[Metric]:
        """Returns the metrics of the run's task. Runs of older versions did not write them: see `_guessed`."""
        return from_json(self.facts.get("metrics")) or _guessed(self.metrics)

    @property
    def shown(self) -> list[Metric]:
        """Returns the metrics of the run's task without the losses of its terms."""
        return [metric for metric in self.measured if not metric.name.endswith("_loss")]

    @property
    def steps(self) -> int:
        """Returns the number of steps in the metrics."""
        return max((line["step"] for line in self.metrics), default=0)

    @property
    def baselines(self) -> dict[str, float]:
        """Returns the accuracies of count tables, to compare with the first metric of the run."""
        return _numbers_of(self.evaluation.get("baselines"))

    @property
    def constant_answers(self) -> dict[str, float]:
        """Returns the accuracies of the better constant answer, by the name of the term."""
        found = _numbers_of(self.evaluation.get("constant_answers"))
        return {name.replace("_", " "): value for name, value in found.items()}


def _numbers_of(value: Any) -> dict[str, float]:
    """Returns the numbers of a JSON object by name, and nothing of any other value."""
    return {name: one for name, one in value.items() if _is_number(one)} if isinstance(value, dict) else {}


def _guessed(lines: Sequence[dict[str, Any]]) -> list[Metric]:
    """Returns the metrics in lines of metrics.jsonl, which it recognises by the form of their names."""
    names = list(dict.fromkeys(key.removeprefix("validation_") for line in lines for key in line))
    found = []
    for name in names:
        if name.endswith("_accuracy"):
            found.append(Metric(name, name.replace("_", " "), name))
        elif name.endswith("_loss"):
            found.append(Metric(name, name.replace("_", " "), name, "number"))
    return sorted(found, key=lambda metric: metric.form != "share")


def _is_number(value: Any) -> bool:
    """Returns whether a JSON value is a number that can be drawn. Edited or damaged files may hold any value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e300


def read_run(workdir: Path, label: str) -> Run:
    """Reads a workdir.

    Raises:
      InputError: the directory is not a workdir, or its run has not logged a step yet.
    """
    check_run(workdir)
    config = load_json(workdir / "config.json")
    metrics = [line for line in JsonLines.read(workdir / "metrics.jsonl") if isinstance(line.get("step"), int)]
    if not metrics:
        raise InputError(
            "the run has logged no step yet",
            where=str(workdir),
            fix="Wait for its first log line.",
            code="E-RUN-NO-STEP",
        )
    facts: dict[str, Any] = {}
    by_step: dict[int, dict[str, Any]] = {}
    for line in JsonLines.read(workdir / "telemetry.jsonl"):
        if "versions" in line:
            facts = line
        elif isinstance(line.get("step"), int):
            by_step[line["step"]] = line
    evaluation: dict[str, Any] = {}
    if (workdir / "evaluation.json").is_file():
        found = read_json(
            workdir / "evaluation.json",
            "the file cannot be read",
            fix="Write it again, or remove it.",
            code="E-REPORT-FILE",
        )
        evaluation = found if isinstance(found, dict) else {}
    telemetry = [by_step[step] for step in sorted(by_step)]
    return Run(label, workdir, config, metrics, telemetry, facts, evaluation)


def write_report(workdirs: Sequence[Path], out: Path | None = None) -> list[Path]:
    """Writes the page and a PNG of each loss curve, and returns their paths, the page's first.

    Args:
      workdirs: workdirs of the runs. The page shows them beside one another in this order.
      out: directory for everything. None puts the page into the first workdir, and each PNG (loss.png) into its own
        workdir.

    Raises:
      InputError: a directory holds no run, or a file of that name is not a report of jaxbert.
    """
    there = next((path for path in (out, *out.absolute().parents) if path.exists()), None) if out is not None else None
    if there is not None and not there.is_dir():
        raise InputError(
            "the path is a file, but a directory is needed",
            where=str(out),
            fix="Give another --out.",
            code="E-ARGUMENT-OUT",
        )
    labels = _labels(workdirs)
    runs = [read_run(workdir, label) for workdir, label in zip(workdirs, labels, strict=True)]
    targets = [(out or workdirs[0]) / PAGE]
    targets += [
        run.workdir / PNG if out is None else out / f"loss-{re.sub(r'[^A-Za-z0-9._-]+', '-', run.label)}.png"
        for run in runs
    ]
    for path in targets:
        if path.exists() and not _ours(path):
            raise InputError(
                "a file of this name exists, and jaxbert did not write it",
                where=str(path),
                fix="Move it, or give --out DIR.",
                code="E-RUN-REPORT-FOREIGN",
            )
    contents = [page(runs).encode("utf-8"), *(loss_png(run) for run in runs)]
    targets[0].parent.mkdir(parents=True, exist_ok=True)
    for path, content in zip(targets, contents, strict=True):
        write_whole(path, content)
    return targets


def _labels(workdirs: Sequence[Path]) -> list[str]:
    """Returns labels that tell the paths apart: the last parts of each path, as few as possible."""
    paths = [path.resolve() for path in workdirs]
    if len(set(paths)) < len(paths):
        raise InputError("a workdir is given twice", where="report", fix="Give each once.", code="E-ARGUMENT-TWICE")
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    return ["/".join(path.parts[-depth:]) for path in paths]


def _ours(path: Path) -> bool:
    with open_regular(path) as file:
        return _MARK.encode() in file.read(2048)


# ----------------------------------------------------------------------------------------------------------------------
# Curves


@dataclass(frozen=True)
class Curve:
    """One plot of the page.

    Attributes:
      title: text above the plot.
      train: name of the training figure. The validation figure's name is the same after "validation_".
      note: text under the plot.
      form: form of the vertical axis: "number", "percent", "log" or "count".
    """

    title: str
    train: str
    note: str
    form: str = "number"


_LOSS = Curve("Loss", "loss", "Sum of the weighted terms, in nats. Validation has fixed masks and no dropout.")
_ALWAYS = (
    Curve("Learning rate", "rate", "As the schedule gives it."),
    Curve("Gradient norm", "grad_norm", "Global norm before clipping, on a logarithmic axis.", "log"),
    Curve("Throughput", "tokens_per_s", "Real tokens per second; padding is not counted.", "count"),
)


def curves(runs: Sequence[Run]) -> list[Curve]:
    """Returns the plots of the page: the loss, the metrics of the runs' tasks, and the figures of every run."""
    measured = {metric.name: metric for run in runs for metric in run.measured}
    return [
        _LOSS,
        *(
            Curve(_title(metric), metric.name, metric.note, "percent" if metric.form == "share" else "number")
            for metric in measured.values()
        ),
        *_ALWAYS,
    ]


def _title(metric: Metric) -> str:
    """Returns the metric's title with a capital letter: "Masked-LM accuracy"."""
    return metric.title[:1].upper() + metric.title[1:]


# The SVG uses these colours as names, which become CSS variables of the page, light or dark. The PNG uses the values: a
# palette that people with colour-blindness can tell apart (Okabe and Ito, 2008), blue first.
_SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_INK, _FAINT, _GRID = "#1b1f24", "#6b7280", "#e3e6ea"
_NAMES = {colour: f"var(--series-{index})" for index, colour in enumerate(_SERIES)} | {
    _INK: "var(--ink)",
    _FAINT: "var(--faint)",
    _GRID: "var(--grid)",
}


def _draw(curve: Curve, runs: Sequence[Run], size: tuple[float, float]) -> Any:
    """Returns a matplotlib figure of one curve of all runs; None if no run has it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    drawn = False
    for index, run in enumerate(runs):
        train, validation = run.points(curve.train), run.points(f"validation_{curve.train}")
        # On a page about several runs, colour tells runs apart; about one run, it tells training from validation.
        one = len(runs) == 1
        first, second = (_SERIES[0], _SERIES[1]) if one else (_SERIES[index % len(_SERIES)],) * 2
        # A legend leaves out a label that begins with an underscore.
        shown = f" {run.label}" if run.label.startswith("_") else run.label
        name = "" if one else f"{shown}: "
        if train[0]:
            drawn = True
            label = f"{name}training" if validation[0] else (shown if not one else None)
            smooth = curve.train != "rate"  # the schedule has no noise
            _line(axes, train, first, label, faint=bool(validation[0]) and not one, smooth=smooth)
        if validation[0]:
            drawn = True
            axes.plot(*validation, color=second, linewidth=2, marker="o", markersize=4, label=f"{name}validation")
    if not drawn:
        return None
    compared = len(runs) == 1 and curve.train == _first(runs[0])
    if compared:
        _baselines(axes, runs[0])
    _style(axes, curve)
    if axes.get_legend_handles_labels()[0]:
        # The names of the baselines are on the left.
        place: Any = "lower right" if compared else "best"
        legend = axes.legend(frameon=False, fontsize=9, labelcolor=_INK, loc=place)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


def _line(axes: Any, points: Points, colour: str, label: str | None, *, faint: bool, smooth: bool) -> None:
    steps, values = points
    width = 1.0 if faint else 1.6
    if smooth and len(values) > _RAW_POINTS:
        axes.plot(steps, values, color=colour, linewidth=0.6, alpha=0.25)
        values = _running_mean(values, len(values) // 60)
    marker = "o" if len(values) < 3 else None
    axes.plot(steps, values, color=colour, linewidth=width, alpha=0.6 if faint else 1, marker=marker, label=label)


def _running_mean(values: list[float], half: int) -> list[float]:
    return [statistics.fmean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]


def _first(run: Run) -> str:
    """Returns the name of the first metric of a run, with which tables of counts are compared."""
    return run.measured[0].name if run.measured else ""


def _baselines(axes: Any, run: Run) -> None:
    """Draws the accuracies of count tables as dashed lines, only on a page about one run: runs differ in their rows."""
    for name, accuracy in run.baselines.items():
        axes.axhline(accuracy, color=_FAINT, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            f"{name} {accuracy:.1%}",
            (0.01, accuracy),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=8,
            color=_FAINT,
            parse_math=False,
        )


def _style(axes: Any, curve: Curve) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    # A logarithmic axis without a positive value has no limits; matplotlib warns of it on stderr.
    if curve.form == "log" and any(value > 0 for line in axes.lines for value in line.get_ydata()):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        low, high = axes.get_ylim()
        if high / low < 30:
            # Less than two decades: matplotlib would label one power of ten, or none.
            axes.yaxis.set_minor_formatter(
                FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
            )
        else:
            axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(6))
        if curve.form == "percent":
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        elif curve.form == "count" or curve.train == "rate":
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        if curve.form == "count":
            axes.set_ylim(bottom=0)
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


def _svg(figure: Any, name: str) -> str:
    """Returns the figure as inline SVG. Colours are the page's variables, ids are unique, and text stays text."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in _NAMES.items():
        text = text.replace(colour, variable)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    # The page sets the size; the viewBox keeps the shape.
    return re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text, count=1)


def loss_png(run: Run) -> bytes:
    """Returns the loss curve of a run as a PNG, for slides and messages."""
    figure = _draw(_LOSS, [run], (8, 4.5))
    if figure is None:
        raise InputError(
            "the metrics hold no loss",
            where=str(run.workdir),
            fix="Wait for the run's first log line.",
            code="E-RUN-NO-STEP",
        )
    axes: Any = figure.axes[0]
    title = axes.set_title(f"{run.config.name}: loss", loc="left", color=_INK, fontsize=12, fontweight="bold")
    # A dollar sign in a name begins no formula.
    title.set_parse_math(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white", metadata={"Software": _MARK})
    return buffer.getvalue()


# ----------------------------------------------------------------------------------------------------------------------
# Tables


def _best(run: Run) -> tuple[int, float] | None:
    steps, values = run.points("validation_loss")
    return min(zip(values, steps, strict=True))[::-1] if steps else None


def final_figures(run: Run) -> list[tuple[str, str]]:
    """Returns (name, value as text) for the page. The page leaves out empty values, which are not known."""
    best, done = _best(run), run.steps
    telemetry = run.telemetry

    def median(name: str) -> float | None:
        values = [line[name] for line in telemetry if _is_number(line.get(name))]
        return statistics.median(values) if values else None

    times = [line["step_ms"].get("p50") for line in telemetry if isinstance(line.get("step_ms"), dict)]
    step_ms = [value for value in times if _is_number(value)]
    memory = [line["host_rss_bytes"] for line in telemetry if _is_number(line.get("host_rss_bytes"))]
    device = [line["device_peak_bytes"] for line in telemetry if _is_number(line.get("device_peak_bytes"))]
    mfu, peak = median("mfu"), run.last("peak_source")
    joules, money = run.last_number("energy_joules"), run.last_number("money")

    def at(value: Any, form: Callable[[Any], str]) -> str:
        return "" if value is None else form(value)

    return [
        ("Steps", f"{done:,} of {total_steps(run.config):,}"),
        ("Rows seen", f"{_rows_seen(run.config, done):,}"),
        ("Training loss", at(run.last_number("loss"), "{:.4f}".format)),
        ("Validation", "" if best else _not_judged(run)),
        ("Validation loss, best", at(best, lambda pair: f"{pair[1]:.4f} (step {pair[0]:,})")),
        ("Validation loss, last", at(run.last_number("validation_loss"), "{:.4f}".format)),
        *(
            (
                f"{_title(metric)}, last",
                at(run.last_number(f"validation_{metric.name}"), partial(metric.text, digits=2)),
            )
            for metric in run.shown
        ),
        *((f"Counting: {name}", f"{value:.2%}") for name, value in run.baselines.items()),
        *((f"A constant answer: {name}", f"{value:.2%}") for name, value in run.constant_answers.items()),
        ("Steps skipped (not finite)", at(run.last_number("skipped"), "{:,}".format)),
        ("Time", at(run.last_number("elapsed_s"), duration)),
        ("Goodput", at(run.last_number("goodput"), "{:.1%}".format)),
        ("Throughput, median", at(median("tokens_per_s"), "{:,.0f} real tokens/s".format)),
        ("MFU, median", at(mfu, lambda value: f"{value:.1%} of a {peak} peak" if peak else f"{value:.1%}")),
        ("Step time, median", f"{statistics.median(step_ms):,.1f} ms" if step_ms else ""),
        ("Waiting for data", at(median("data_wait_share"), "{:.1%}".format)),
        ("Host memory, most", f"{max(memory) / 2**30:.2f} GiB" if memory else ""),
        ("Device memory, most", f"{max(device) / 2**30:.2f} GiB" if device else ""),
        ("Energy", at(joules, lambda value: f"{value / 3.6e6:.4g} kWh ({run.last('energy_source')})")),
        ("Money", at(money, lambda value: f"{value:,.2f} {run.last('currency') or ''}")),
    ]


def _not_judged(run: Run) -> str:
    """Returns why a run has no validation figure."""
    if run.facts.get("validation_rows") == 0:
        return "none: the rows of the run have no validation split"
    return "none: the run has not evaluated yet"


def _rows_seen(config: RunConfig, step: int) -> int:
    phase, within = phase_at(config, step)
    whole = sum(one.steps * one.batch_size for one in config.phases[:phase])
    return whole + (within * config.phases[phase].batch_size if phase < len(config.phases) else 0)


def flat(value: Any, path: str = "") -> dict[str, str]:
    """Returns a JSON value as {dotted key: text}."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        return {path: "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)}
    found: dict[str, str] = {}
    for key, item in items:
        found |= flat(item, f"{path}.{key}" if path else str(key))
    return found


def beside(columns: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """Returns rows of a table with a column per run: {"name", "values", "differs"}, in order of first appearance."""
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = []
    for name in names:
        values = [column.get(name, "") for column in columns]
        if any(values):
            rows.append({"name": name, "values": values, "differs": len(set(values)) > 1})
    return rows


def _evaluations(run: Run) -> dict[str, Any]:
    """Returns every evaluation of a run as a table."""
    lines = [line for line in run.metrics if "validation_loss" in line]
    names = list(dict.fromkeys(key for line in lines for key in line if key.startswith("validation_")))
    known = {f"validation_{metric.name}": metric for metric in run.measured}
    heads = [known[name].title if name in known else name.removeprefix("validation_") for name in names]

    def cell(name: str, value: Any) -> str:
        if not _is_number(value):
            return ""
        return known[name].text(value, 2) if name in known else f"{value:.4f}"

    rows = [[f"{line['step']:,}", *(cell(name, line.get(name)) for name in names)] for line in lines]
    return {"label": run.label, "heads": ["step", *heads], "rows": rows}


def page(runs: Sequence[Run]) -> str:
    """Returns the page as text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("jaxbert.observe", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    plots = []
    for index, curve in enumerate(curves(runs)):
        figure = _draw(curve, runs, (6.4, 3.4))
        if figure is not None:
            plots.append({"title": curve.title, "note": curve.note, "svg": _svg(figure, f"plot{index}")})
    heading = runs[0].config.name if len(runs) == 1 else f"{len(runs)} runs: " + ", ".join(run.label for run in runs)
    return environment.get_template("report_page.html").render(
        mark=_MARK,
        heading=heading,
        runs=[{"label": run.label, "name": run.config.name, "workdir": str(run.workdir)} for run in runs],
        cards=_cards(runs[0]) if len(runs) == 1 else [],
        plots=plots,
        final=beside([dict(final_figures(run)) for run in runs]),
        evaluations=[table for table in map(_evaluations, runs) if table["rows"]],
        config=beside([flat(to_json(run.config)) for run in runs]),
        versions=beside([flat(run.facts.get("versions", {})) for run in runs]),
        formula=MFU_FORMULA,
    )


def _cards(run: Run) -> list[tuple[str, str]]:
    """Returns the figures that matter most, for the top of a page about one run."""
    figures = dict(final_figures(run))
    wanted = (
        ("Validation", "validation"),
        ("Validation loss, best", "best validation loss"),
        *((f"{_title(metric)}, last", metric.title) for metric in run.shown[:2]),
        ("Time", "time"),
        ("Throughput, median", "real tokens/s"),
    )
    return [(name, figures[key].split(" (")[0].removesuffix(f" {name}")) for key, name in wanted if figures.get(key)]
