"""The tables of the page: final figures, what the run is and costs, its processes, evaluations, corpus and config."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from jaxbert.config import LabelledTaskConfig, RunConfig, phase_at, total_steps
from jaxbert.core.progress import duration
from jaxbert.inputs.values import flat, is_number
from jaxbert.report.charts import title_of
from jaxbert.report.read import Run

# Figures of corpus.json that are shown.
_CORPUS_LINES = 60
# Labels of a task that are shown beside the other settings, and the characters of one.
_LABELS, _LABEL = 12, 60


def final_figures(run: Run) -> list[tuple[str, str]]:
    """Returns (name, value as text) for the page. The page leaves out empty values, which are not known."""
    best, done = _best(run), run.steps
    telemetry = run.telemetry

    def median(name: str) -> float | None:
        values = [line[name] for line in telemetry if is_number(line.get(name))]
        return statistics.median(values) if values else None

    _, step_ms = run.points("step_ms.p50")
    memory = [line["host_rss_bytes"] for line in telemetry if is_number(line.get("host_rss_bytes"))]
    device = [line["device_peak_bytes"] for line in telemetry if is_number(line.get("device_peak_bytes"))]
    mfu, peak = median("mfu"), run.last("peak_source")
    return [
        ("Steps", f"{done:,} of {total_steps(run.config):,}"),
        ("Rows seen", f"{_rows_seen(run.config, done):,}"),
        ("Training loss", _known(run.last_number("loss"), "{:.4f}".format)),
        ("Validation", "" if best else _not_judged(run)),
        *(_judged_figures(run) if run.labelled else _validation_figures(run, best)),
        *((f"Counting: {name}", f"{value:.2%}") for name, value in run.baselines.items()),
        *((f"A constant answer: {name}", f"{value:.2%}") for name, value in run.constant_answers.items()),
        ("Steps skipped (not finite)", _known(run.last_number("skipped"), "{:,}".format)),
        ("Time", _known(run.last_number("elapsed_s"), duration)),
        ("Goodput", _known(run.last_number("goodput"), "{:.1%}".format)),
        ("Throughput, median", _known(median("tokens_per_s"), "{:,.0f} real tokens/s".format)),
        ("MFU, median", _known(mfu, lambda value: f"{value:.1%} of a {peak} peak" if peak else f"{value:.1%}")),
        ("Step time, median", f"{statistics.median(step_ms):,.1f} ms" if step_ms else ""),
        ("Waiting for data", _known(median("data_wait_share"), "{:.1%}".format)),
        ("Host memory, most", f"{max(memory) / 2**30:.2f} GiB" if memory else ""),
        ("Device memory, most", f"{max(device) / 2**30:.2f} GiB" if device else ""),
    ]


def _validation_figures(run: Run, best: tuple[int, float] | None) -> list[tuple[str, str]]:
    return [
        ("Validation loss, best", _known(best, lambda pair: f"{pair[1]:.4f} {_where(run, pair[0])}")),
        ("Validation loss, last", _known(run.last_number("validation_loss"), "{:.4f}".format)),
        *(
            (
                f"{title_of(metric)}, last",
                _known(run.last_number(f"validation_{metric.name}"), partial(metric.text, digits=2)),
            )
            for metric in run.shown
        ),
    ]


def _judged_figures(run: Run) -> list[tuple[str, str]]:
    """Returns the figures of a fine-tuned run: of its judgement, or before that of its best evaluation."""
    if run.judgement is not None and run.judgement.splits:
        figures = [("Checkpoint", f"step {run.judgement.step:,}")]
        for name, split in run.judgement.splits.items():
            for metric in split.metrics:
                value = split.values.get(metric.name)
                figures.append((f"{title_of(metric)}, {name}", "none" if value is None else metric.text(value, 2)))
            if run.chosen is not None and run.chosen.name in split.constant:
                constant = run.chosen.text(split.constant[run.chosen.name], 2)
                figures.append((f"{title_of(run.chosen)} of a constant answer, {name}", constant))
        return figures
    best = best_evaluation(run) or {}
    figures = [
        ("Validation loss, last", _known(run.last_number("validation_loss"), "{:.4f}".format)),
        ("Best evaluation", f"step {best['step']:,}" if best else ""),
    ]
    for metric in run.shown:
        then: Any = best.get(f"validation_{metric.name}")
        if is_number(then):
            figures.append((f"{title_of(metric)}, best evaluation", metric.text(then, 2)))
    return figures


def best_evaluation(run: Run) -> dict[str, Any] | None:
    """Returns the line of the evaluation with the best value of the metric that chooses the checkpoint."""
    if run.chosen is None:
        return None
    name, sign = f"validation_{run.chosen.name}", 1 if run.chosen.higher else -1
    found = [line for line in run.metrics if is_number(line.get(name))]
    return max(found, key=lambda line: sign * float(line[name]), default=None)


def _known(value: Any, form: Callable[[Any], str]) -> str:
    return "" if value is None else form(value)


def _best(run: Run) -> tuple[int, float] | None:
    """Returns (step, loss) of the evaluation with the lowest loss in the last phase that was evaluated.

    Its checkpoint is the one for which the workdir stands. Losses of different phases are not compared, because each
    phase has other rows.
    """
    found = [line for line in run.metrics if is_number(line.get("validation_loss"))]
    last = [line for line in found if line.get("phase") == found[-1].get("phase")]
    best = min(last, key=lambda line: float(line["validation_loss"]), default=None)
    return None if best is None else (best["step"], float(best["validation_loss"]))


def _where(run: Run, step: int) -> str:
    kept = "" if run.config.checkpoint.keep_best else ", whose checkpoint may not be kept"
    return f"(step {step:,}{kept})"


def _not_judged(run: Run) -> str:
    """Returns why a run has no validation figure."""
    if run.facts.get("validation_rows") == 0:
        return "none: the rows of the run have no validation split"
    return "none: the run has not evaluated yet"


def _rows_seen(config: RunConfig, step: int) -> int:
    phase, within = phase_at(config, step)
    whole = sum(one.steps * one.batch_size for one in config.phases[:phase])
    return whole + (within * config.phases[phase].batch_size if phase < len(config.phases) else 0)


def about(run: Run) -> list[tuple[str, str]]:
    """Returns what the run is and where it ran, as (name, text). Empty texts are not known."""
    facts, config = run.facts, run.config
    first = run.processes[0].facts if run.processes else {}
    devices, device = facts.get("devices"), facts.get("device")
    hardware = f"{devices} x {device}" if is_number(devices) and isinstance(device, str) else ""
    phases = [
        f"{phase.name}: {phase.steps:,} steps of {phase.batch_size:,} rows of {phase.length} tokens"
        for phase in config.phases
    ]
    return [
        ("Run", config.name),
        *_task(config),
        ("Began", _text(first.get("started"))),
        ("Command", _text(first.get("command"))),
        ("Code", _text(facts.get("code"))),
        ("Parameters", _known(run.parameters, "{:,}".format)),
        ("Phases", "; ".join(phases)),
        ("Devices", hardware),
        ("Machine", _text(facts.get("machine"))),
        ("Peak", _known(_number(facts.get("peak_flops")), lambda value: _peak(value, facts.get("peak_source")))),
        ("Layout", f"{config.mesh.layout}, activations in {config.numerics.dtype}"),
        ("Seed", f"{config.seed}"),
    ]


def _task(config: RunConfig) -> list[tuple[str, str]]:
    """Returns what a fine-tuned run has learned, and from what."""
    task = config.task
    if not isinstance(task, LabelledTaskConfig):
        return []
    shown = ", ".join(label[:_LABEL] + "\u2026" * (len(label) > _LABEL) for label in task.labels[:_LABELS])
    more = f" and {len(task.labels) - _LABELS:,} more" if len(task.labels) > _LABELS else ""
    return [
        ("Task", " ".join((task.name, getattr(task, "problem", ""))).strip().replace("_", " ")),
        ("Labels", f"{len(task.labels):,}: {shown}{more}" if task.labels else ""),
        ("Model at the start", config.init or "random weights"),
        ("Train examples", task.data.train),
    ]


def cost(run: Run) -> list[tuple[str, str]]:
    """Returns what the run has cost, as (name, text). It says what was not measured, and how it can be known."""
    joules, money = run.last_number("energy_joules"), run.last_number("money")
    grams = run.config.logging.carbon_per_kwh
    energy = "not measured: no counter can be read here, and logging.watts gives no estimate"
    carbon = "not known: energy was not measured"
    if joules is not None:
        kwh = joules / 3.6e6
        energy = f"{kwh:.4g} kWh ({_text(run.last('energy_source'))})"
        carbon = "not known: logging.carbon_per_kwh is not set"
        if grams > 0:
            carbon = f"{kwh * grams:,.4g} g CO2e, at {grams:g} g for a kWh"
    paid = "not known: logging.price_per_hour is not set"
    if money is not None:
        paid = f"{money:,.2f} {_text(run.last('currency'))}"
    return [
        ("Time", _known(run.last_number("elapsed_s"), duration)),
        *(
            (f"Time for {words}", _known(run.last_number(f"{name}_s"), duration))
            for name, words in (
                ("compile", "compilation"),
                ("evaluation", "evaluations"),
                ("checkpoint", "checkpoints"),
            )
        ),
        ("Energy", energy),
        ("Carbon", carbon),
        ("Money", paid),
    ]


def processes(run: Run) -> list[list[str]]:
    """Returns a line for each process of the run: number, start, steps, steps lost, time, version of jax."""
    lines = []
    before = 0.0
    for number, one in enumerate(run.processes, 1):
        spent = "" if one.elapsed_s is None else duration(max(0.0, one.elapsed_s - before))
        before = one.elapsed_s if one.elapsed_s is not None else before
        versions = one.facts.get("versions")
        jax = _text(versions.get("jax")) if isinstance(versions, dict) else ""
        lost = f"{one.lost:,}" if one.lost else "none"
        steps = f"{one.first:,} to {one.last:,}"
        lines.append([str(number), _text(one.facts.get("started")), steps, lost, spent, jax])
    return lines


def resumed(run: Run) -> str:
    """Returns in words how often the run was interrupted, and what that cost."""
    often = len(run.processes) - 1
    if often < 1:
        return "The run was not interrupted."
    lost = sum(one.lost for one in run.processes)
    times = "once" if often == 1 else f"{often} times"
    return (
        f"The run was interrupted and continued {times}; at least {lost:,} steps were done again."
        if lost
        else (f"The run was interrupted and continued {times}; no logged step was lost.")
    )


def _peak(flops: float, source: Any) -> str:
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G")):
        if flops >= size:
            return f"{flops / size:.4g} {letter}FLOP/s ({_text(source)})"
    return f"{flops:.4g} FLOP/s ({_text(source)})"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    return value if is_number(value) else None


def texts(values: dict[str, Any]) -> dict[str, str]:
    """Returns the values inside a JSON object as {dotted key: text}. Empty objects and lists are left out."""
    return {key: _plain(value) for key, value in flat(values) if not isinstance(value, (dict, list))}


def _plain(value: Any) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def beside(columns: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """Returns rows of a table with a column per run: {"name", "values", "differs"}, in order of first appearance."""
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = []
    for name in names:
        values = [column.get(name, "") for column in columns]
        if any(values):
            rows.append({"name": name, "values": values, "differs": len(set(values)) > 1})
    return rows


def corpus(run: Run) -> dict[str, Any]:
    """Returns the summary of the corpus for people; every part may be empty.

    "lines" are sentences, "found" is what is wrong with it as (what, fix, whether the run was refused for it), and
    "figures" are the rest as (name, text).
    """
    lines = run.corpus.get("lines")
    kept = [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []
    found = [*_findings(run.corpus.get("refusals"), refused=True), *_findings(run.corpus.get("warnings"))]
    rest = {name: value for name, value in run.corpus.items() if name not in ("lines", "warnings", "refusals")}
    figures = [(name.replace("_", " ").replace(".", ": "), text) for name, text in texts(rest).items() if text]
    return {"lines": kept, "found": found, "figures": figures[:_CORPUS_LINES]}


def _findings(value: Any, *, refused: bool = False) -> list[tuple[str, str, bool]]:
    """Returns the findings in a list of {"what", "fix"}; entries of other forms are left out."""
    given = [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
    return [(_text(one.get("what")), _text(one.get("fix")), refused) for one in given if _text(one.get("what"))]


def evaluations(run: Run) -> dict[str, Any]:
    """Returns every evaluation of a run as a table."""
    lines = [line for line in run.metrics if "validation_loss" in line]
    names = list(dict.fromkeys(key for line in lines for key in line if key.startswith("validation_")))
    known = {f"validation_{metric.name}": metric for metric in run.measured}
    heads = [known[name].title if name in known else name.removeprefix("validation_") for name in names]

    def cell(name: str, value: Any) -> str:
        if not is_number(value):
            return ""
        return known[name].text(value, 2) if name in known else f"{value:.4f}"

    rows = [[f"{line['step']:,}", *(cell(name, line.get(name)) for name in names)] for line in lines]
    return {"label": run.label, "heads": ["step", *heads], "rows": rows}


def cards(run: Run) -> list[tuple[str, str]]:
    """Returns the figures that matter most, for the top of a page about one run."""
    figures = dict(final_figures(run))
    if run.labelled:
        return [*_judged_cards(run), *((name, figures[key]) for key, name in _COST if figures.get(key))]
    wanted = (
        ("Validation", "validation"),
        ("Validation loss, best", "best validation loss"),
        *((f"{title_of(metric)}, last", metric.title) for metric in run.shown[:2]),
        ("Time", "time"),
        ("Throughput, median", "real tokens/s"),
    )
    return [(name, figures[key].split(" (")[0].removesuffix(f" {name}")) for key, name in wanted if figures.get(key)]


# Figures of every page, with their names at its top.
_COST = (("Time", "time"),)


def _judged_cards(run: Run) -> list[tuple[str, str]]:
    """Returns the chosen metric of each split, and of a constant answer, for the top of a page."""
    metric = run.chosen
    if metric is None:
        return []
    if run.judgement is None or not run.judgement.splits:
        found = best_evaluation(run)
        if found is None:
            return [("validation", _not_judged(run))]
        return [(f"{metric.title}, best validation so far", metric.text(found[f"validation_{metric.name}"]))]
    shown = []
    for name, split in run.judgement.splits.items():
        if metric.name in split.values:
            shown.append((f"{metric.title}, {name}", metric.text(split.values[metric.name])))
        if metric.name in split.constant:
            shown.append((f"constant answer, {name}", metric.text(split.constant[metric.name])))
    return shown
