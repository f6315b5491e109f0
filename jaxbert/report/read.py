"""Reads what a page shows of a run: the files of its workdir.

Reads config.json, metrics.jsonl and telemetry.jsonl; and where they exist predictions.jsonl, corpus.json,
parameters.txt, and evaluation.json, which the end of a run writes, or `jaxbert evaluate --json
WORKDIR/evaluation.json`; of a fine-tuned run also judgement.json and suite.json. The run wrote the titles of its
numbers into telemetry.jsonl. Files may be edited or damaged, so every value is checked before it is used. The page
leaves out damaged lines and files, and `Run.damaged` names them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from math import prod
from pathlib import Path
from typing import Any

from jaxbert.config import LabelledTaskConfig, RunConfig, load_json, total_steps
from jaxbert.core.metrics import Metric, from_json
from jaxbert.core.shell import path_word
from jaxbert.errors import InputError, counted
from jaxbert.inputs.files import read_text
from jaxbert.inputs.values import is_number, read_json
from jaxbert.observe.lines import JsonLines
from jaxbert.report.judged import Judgement, Robustness, read_judgement, read_robustness
from jaxbert.stores.workdir import (
    CORPUS,
    EVALUATION,
    JUDGEMENT,
    METRICS,
    PARAMETERS,
    PREDICTIONS,
    SUITE,
    TELEMETRY,
    check_run,
)

Points = tuple[list[int], list[float]]

# The table of parameters has a line for each array, so a table of any model is smaller than this.
_LONGEST_TABLE = 1 << 22


@dataclass(frozen=True)
class Process:
    """One process that worked on a run: a run that was stopped and continued has several.

    Attributes:
      facts: its first line of telemetry.jsonl: versions, devices, and in newer versions the date and the command.
      first: the step from which it continued; 0 for a new run.
      last: the last step of which it wrote a line; `first` where it wrote none.
      lost: steps that it did and that the next process had to repeat. Steps after its last line are not known.
      elapsed_s: the run's seconds up to its last line, if any.
    """

    facts: dict[str, Any]
    first: int
    last: int
    lost: int = 0
    elapsed_s: float | None = None


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
      processes: the processes that worked on the run, in their order.
      predictions: lines of predictions.jsonl.
      corpus: content of corpus.json, if any.
      parameters: number of parameters; None if it is not known.
      judgement: content of judgement.json of a fine-tuned run, if any.
      robustness: tasks of suite.json with changed texts, if any.
      damaged: what in these files cannot be read and is left out, a sentence for each file.
    """

    label: str
    workdir: Path
    config: RunConfig
    metrics: list[dict[str, Any]]
    telemetry: list[dict[str, Any]]
    facts: dict[str, Any]
    evaluation: dict[str, Any]
    processes: list[Process] = field(default_factory=list)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    corpus: dict[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    judgement: Judgement | None = None
    robustness: list[Robustness] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def points(self, name: str) -> Points:
        """Returns (steps, values) of a number in the metrics, or else in the telemetry.

        A name with a point, such as "step_ms.p50", is a number in an object of the line.
        """
        for lines in (self.metrics, self.telemetry):
            found = [(line["step"], value) for line in lines if is_number(value := _within(line, name))]
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
                if is_number(value):
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
    def labelled(self) -> bool:
        """Returns whether the run is a fine-tuning, of a task with labels."""
        return isinstance(self.config.task, LabelledTaskConfig)

    @property
    def chosen(self) -> Metric | None:
        """Returns the metric that chooses the checkpoint of a fine-tuned run; None where it is not known."""
        if not isinstance(self.config.task, LabelledTaskConfig):
            return None
        if self.judgement is not None and self.judgement.metric is not None:
            return self.judgement.metric
        named = [metric for metric in self.shown if metric.name == self.config.task.metric]
        return next(iter(named or self.shown), None)

    @property
    def first_metric(self) -> str:
        """Returns the name of the first metric of the run, with which tables of counts are compared; "" without any."""
        return self.measured[0].name if self.measured else ""

    @property
    def steps(self) -> int:
        """Returns the last step in the metrics."""
        return max((line["step"] for line in self.metrics), default=0)

    @property
    def ended(self) -> bool:
        """Returns whether the run has done all of its steps."""
        return self.steps >= total_steps(self.config)

    @property
    def baselines(self) -> dict[str, float]:
        """Returns the accuracies of count tables, to compare with the first metric of the run."""
        return _numbers_of(self.evaluation.get("baselines"))

    @property
    def constant_answers(self) -> dict[str, float]:
        """Returns the accuracies of the better constant answer, by the name of the term."""
        found = _numbers_of(self.evaluation.get("constant_answers"))
        return {name.replace("_", " "): value for name, value in found.items()}


def _within(line: dict[str, Any], name: str) -> Any:
    outer, point, inner = name.partition(".")
    value = line.get(outer)
    if not point:
        return value
    return value.get(inner) if isinstance(value, dict) else None


def _numbers_of(value: Any) -> dict[str, float]:
    """Returns the numbers of a JSON object by name, and nothing of any other value."""
    return {name: one for name, one in value.items() if is_number(one)} if isinstance(value, dict) else {}


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


def read_run(workdir: Path, label: str) -> Run:
    """Reads a workdir.

    Raises:
      InputError: the directory is not a workdir, its run has not logged a step yet, or its metrics or one of the files
        of one JSON object cannot be read.
    """
    check_run(workdir)
    config = load_json(workdir / "config.json")
    labelled = isinstance(config.task, LabelledTaskConfig)
    damaged: list[str] = []
    metrics = _lines(workdir / METRICS, _has_step, damaged)
    if not metrics and damaged:
        raise InputError(
            "no line of the file can be read",
            where=str(workdir / METRICS),
            fix="Take it from a copy of the run. Or continue the run, which writes more lines.",
            code="E-REPORT-FILE",
        )
    if not metrics:
        raise InputError(
            "the run has logged no step yet",
            where=str(workdir),
            fix="Wait for its first log line.",
            code="E-RUN-NO-STEP",
        )
    lines = _lines(workdir / TELEMETRY, lambda line: "versions" in line or _has_step(line), damaged)
    by_step = {line["step"]: line for line in lines if "versions" not in line and isinstance(line.get("step"), int)}
    return Run(
        label,
        workdir,
        config,
        metrics,
        [by_step[step] for step in sorted(by_step)],
        next((line for line in reversed(lines) if "versions" in line), {}),
        _object(workdir / EVALUATION, f"Write it again: {_evaluating(workdir)}. Or remove it.", damaged),
        processes=_processes(lines),
        predictions=_lines(workdir / PREDICTIONS, is_prediction, damaged),
        corpus=_object(
            workdir / CORPUS,
            "Repeat the `jaxbert pretrain` of this run, which writes it again. Or remove it.",
            damaged,
        ),
        parameters=_parameters(workdir / PARAMETERS, damaged),
        judgement=read_judgement(workdir / JUDGEMENT, damaged) if labelled else None,
        robustness=read_robustness(workdir / SUITE, damaged) if labelled else [],
        damaged=damaged,
    )


def _lines(path: Path, good: Callable[[dict[str, Any]], bool], damaged: list[str]) -> list[dict[str, Any]]:
    """Returns the good lines of a file. Says in `damaged` how many others there are."""
    lines, wrong = JsonLines.read_counted(path)
    found = [line for line in lines if good(line)]
    wrong += len(lines) - len(found)
    if wrong:
        every = counted(len(found) + wrong, "line")
        damaged.append(f"{path.name}: {wrong:,} of {every} cannot be read, and the page leaves out what they say")
    return found


def _has_step(line: dict[str, Any]) -> bool:
    return isinstance(line.get("step"), int)


def _evaluating(workdir: Path) -> str:
    """Returns the command that writes the evaluation of a run."""
    place = path_word(workdir)
    return f"jaxbert evaluate {place} --baselines --json {path_word(workdir / EVALUATION)}"


def _object(path: Path, fix: str, damaged: list[str]) -> dict[str, Any]:
    """Returns the JSON object of a file; an empty one where there is no such file.

    Where the file holds another value, `damaged` says so.

    Args:
      path: the file.
      fix: what to do about a damaged file.

    Raises:
      InputError: the file is not JSON.
    """
    if not path.is_file():
        return {}
    found = read_json(path, f"{path.name} is damaged", fix=fix, code="E-REPORT-FILE")
    if isinstance(found, dict):
        return found
    damaged.append(f"{path.name}: it does not hold a JSON object, and the page leaves it out")
    return {}


def _processes(lines: Sequence[dict[str, Any]]) -> list[Process]:
    """Returns the processes whose lines are in telemetry.jsonl. Each began with a line that names its versions."""
    parts: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    for line in lines:
        if "versions" in line:
            parts.append((line, []))
        elif parts:
            parts[-1][1].append(line)
    found: list[Process] = []
    for facts, own in parts:
        first = facts["step"] if isinstance(facts.get("step"), int) else 0
        last = max((line["step"] for line in own if isinstance(line.get("step"), int)), default=first)
        times = [line["elapsed_s"] for line in own if is_number(line.get("elapsed_s"))]
        found.append(Process(facts, first, last, elapsed_s=max(times, default=None)))
    return [
        Process(one.facts, one.first, one.last, max(0, one.last - after.first) if after else 0, one.elapsed_s)
        for one, after in zip_longest(found, found[1:])
    ]


def is_prediction(line: dict[str, Any]) -> bool:
    """Returns whether a line of predictions.jsonl has a step, a sentence and its words, each with a probability."""
    words = line.get("words")
    return (
        isinstance(line.get("step"), int)
        and isinstance(line.get("sentence"), str)
        and isinstance(words, list)
        and all(
            isinstance(word, list) and len(word) == 2 and isinstance(word[0], str) and is_number(word[1])
            for word in words
        )
    )


def _parameters(path: Path, damaged: list[str]) -> int | None:
    """Returns the number of parameters in the table that a run wrote; None where there is no whole table.

    Where there is a file without a whole table, `damaged` says so.
    """
    if not path.is_file():
        return None
    try:
        lines = read_text(path, most=_LONGEST_TABLE).splitlines()[1:]
        # A line: name, shape ("2 x 128 x 512"), spec, ... with two spaces or more between them.
        shapes = [[cell.strip() for cell in line.split("  ") if cell.strip()][1] for line in lines if line.strip()]
        number = sum(prod(int(size) for size in shape.split(" x ")) for shape in shapes)
    except (ValueError, IndexError, InputError):
        number = 0
    if not number:
        damaged.append(f"{path.name}: it does not hold a whole table, so the page leaves out the number of parameters")
    return number or None
