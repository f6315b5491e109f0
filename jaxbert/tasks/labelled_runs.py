"""Sets what a run of a task with labels takes from its files: labels, steps, lengths, rate; and makes its rows."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbert.config import LabelledConfig, LabelledTaskConfig, PhaseConfig, RunConfig
from jaxbert.config import check as check_config
from jaxbert.data.lengths import few_lengths
from jaxbert.errors import InputError, counted
from jaxbert.labelled.encode import Counts, Encoding, encode
from jaxbert.labelled.examples import Example
from jaxbert.labelled.labels import check_split, is_unknown, shares_line
from jaxbert.labelled.writing import write_rows
from jaxbert.models.flops import step_flops
from jaxbert.tasks.base import TaskKind
from jaxbert.tasks.labelled import LabelledTask
from jaxbert.tasks.splits import changed_files, contents_of, divided, read_splits, seen_lines, splits_of
from jaxbert.text.tokenizers import Tokenizer

_log = logging.getLogger(__name__)

# The width and the initial weights of BERT-base, for which the rates of configs are published.
_WIDTH, _INITIALIZER = 768, 0.02


def fitted_rate(config: RunConfig, chosen: Collection[str]) -> tuple[RunConfig, str]:
    """Returns the config with a rate that suits the size of the model, and a line that says so; "" where it stays.

    A step of Adam moves each weight by about the rate, whatever the weight's size. So the rate is raised by the ratio
    of BERT-base's width to the model's (Yang et al. 2022, "Tensor Programs V", table 3: the rate of hidden matrices
    falls as 1 / width), and by the ratio of the model's initial weights to BERT-base's. Turc et al. 2019 fine-tune a
    width of 128 at up to 3e-4, six times BERT-base's 5e-5. A wider model keeps the rate.

    Args:
      config: the run, with the sizes of its model.
      chosen: the keys of `--set`; a rate among them stays.
    """
    settings, phase = config.task, config.phases[0]
    assert isinstance(settings, LabelledTaskConfig)
    if not settings.fit_rate or "phases.0.schedule.peak" in chosen or phase.schedule is None:
        return config, ""
    width = getattr(config.encoder, "hidden_size", _WIDTH)
    weights = getattr(config.encoder, "initializer_range", _INITIALIZER)
    factor = max(1.0, _WIDTH / width) * max(1.0, weights / _INITIALIZER)
    if factor == 1.0:
        return config, ""
    peak = phase.schedule.peak * factor
    phases = (dataclasses.replace(phase, schedule=dataclasses.replace(phase.schedule, peak=peak)), *config.phases[1:])
    why = [
        f"the model's width is {width} (BERT-base: {_WIDTH})" if width < _WIDTH else "",
        f"the model's initial weights had a deviation of {weights:g} (BERT-base: {_INITIALIZER:g})"
        if weights > _INITIALIZER
        else "",
    ]
    return (
        dataclasses.replace(config, phases=phases),
        f"the rate is {peak:.3g}, which is {factor:.3g} times the config's {phase.schedule.peak:g}, because "
        f"{' and '.join(filter(None, why))}; another rate: --set phases.0.schedule.peak=RATE",
    )


def _encoding(task: type[LabelledTask], config: RunConfig, tokenizer: Tokenizer, phase: PhaseConfig) -> Encoding:
    settings: Any = config.task
    return Encoding(
        kind=task.kind,
        problem=task.problem_of(settings),
        labels=settings.labels,
        tokenizer=tokenizer,
        length=phase.length,
        texts=task.texts_of(settings),
        stride=getattr(settings, "stride", None),
    )


# The kinds whose long texts become several rows.
_WINDOWED = ("token_labels", "question_answering")
# Examples that are encoded at once to measure them; and examples that stand for all of the other kinds.
_AT_ONCE, _SOME = 1024, 1 << 14


def _measured(encoding: Encoding, examples: Sequence[Example]) -> tuple[int, np.ndarray]:
    """Returns the number of rows that examples become, and the lengths of these rows, or of some of them, int [n]."""
    some = examples if encoding.kind in _WINDOWED else examples[:: -(-len(examples) // _SOME)]
    found = []
    for start in range(0, len(some), _AT_ONCE):
        group = encode(encoding, some[start : start + _AT_ONCE], first=start).rows["group"]
        found.append((group > 0).sum(-1, dtype=np.int32).reshape(len(group), -1).max(-1))
    lengths = np.concatenate(found)
    return len(lengths) if some is examples else len(examples), lengths


# FLOPs that a device computes in half of the time in which it compiles the step and the evaluation of a length. On two
# CPU cores that time is 12 s + 3 s, at 80 GFLOP/s (MiniLM; jax 0.10.2). Half of it counts, because further runs of the
# same shapes find the programs compiled. On accelerators it is an assumption: 20 s at some tens of TFLOP/s.
_COMPILATION = {"cpu": 0.6e12}
_COMPILATION_ELSEWHERE = 0.5e15


def _with_lengths(
    task: type[LabelledTask], config: RunConfig, phase: PhaseConfig, lengths: np.ndarray
) -> tuple[PhaseConfig, str]:
    """Returns the phase with the lengths of its batches, and a line that says so."""
    settings = config.task
    assert isinstance(settings, LabelledTaskConfig)
    a_row = task.texts_of(settings) * step_flops(config.encoder, length=phase.length, slots=0, heads=())
    price = _COMPILATION.get(jax.default_backend(), _COMPILATION_ELSEWHERE) / (a_row / phase.length)
    found = few_lengths(
        lengths, phase.batch_size, phase.grouped, phase.length, settings.shapes, steps=phase.steps, price=price
    )
    if not found:
        return phase, ""
    known = " or ".join(filter(None, (", ".join(map(str, found[:-1])), str(found[-1]))))
    said = f"batches of short texts are cut to {known} tokens, others have {phase.length} (a row has "
    said += f"{lengths.mean():.0f} on average); a run compiles its step for each length"
    return dataclasses.replace(phase, lengths=found), said


def complete(
    task: type[LabelledTask],
    config: RunConfig,
    tokenizer: Tokenizer,
    begun: RunConfig | None,
    chosen: Collection[str],
) -> RunConfig:
    """Returns the config with the labels of the train file, and with the steps that its epochs make.

    Args:
      task: the class of the task.
      config: the run.
      tokenizer: of the rows.
      begun: the config of the same run, which has begun and needs its files no more; None for a new run.
      chosen: the keys of `--set`. Steps, warm-up and times of evaluation that the user has chosen stay.

    Raises:
      InputError: a file cannot be read, or its labels do not fit the task.
    """
    settings = config.task
    assert isinstance(settings, LabelledTaskConfig)
    check_epochs(settings, chosen)
    if len(config.phases) != 1:
        raise InputError(
            f"the task {task.kind} has one phase, but the config has {len(config.phases)}",
            where="phases",
            fix="Leave one phase in the config.",
            code="E-CONFIG-PHASE",
        )
    phase = config.phases[0]
    longest = config.encoder.longest_row
    clipped = "phases.0.length" not in chosen and phase.length > longest
    if clipped:
        phase = dataclasses.replace(phase, length=longest)
    config, said = fitted_rate(dataclasses.replace(config, phases=(phase,)), chosen)
    phase = config.phases[0]
    if begun is not None and isinstance(begun.task, LabelledTaskConfig) and same_places(begun.task.data, settings.data):
        say_changed(begun.task.data)
        kept = _kept(begun.task, settings, chosen)
        was = begun.phases[0]
        schedule = phase.schedule
        if settings.warmup >= 0 and schedule and was.schedule and "warmup" not in _chosen(chosen):
            schedule = dataclasses.replace(schedule, warmup_steps=was.schedule.warmup_steps)
        # A number that the run did not set is compared like any other one.
        steps = was.steps if settings.epochs > 0 and "steps" not in _chosen(chosen) else phase.steps
        every = config.evaluation.every_steps
        if settings.evaluations > 0 and "every" not in _chosen(chosen):
            every = begun.evaluation.every_steps
        cut_to = phase.lengths
        if settings.shapes > 0 and not phase.lengths and "lengths" not in _chosen(chosen):
            cut_to = was.lengths
        return dataclasses.replace(
            config,
            task=dataclasses.replace(settings, **kept),
            phases=(dataclasses.replace(phase, steps=steps, schedule=schedule, lengths=cut_to),),
            evaluation=dataclasses.replace(config.evaluation, every_steps=every),
        )
    # Mistakes in settings are found before files are read. Which metrics there are depends on the labels.
    if phase.schedule is not None and settings.warmup >= 0 and "warmup" not in _chosen(chosen):
        # The config's warm-up belongs to the config's steps.
        phase = dataclasses.replace(phase, schedule=dataclasses.replace(phase.schedule, warmup_steps=0))
    unlabelled = dataclasses.replace(settings, metric="")
    check_config(dataclasses.replace(config, task=unlabelled, phases=(phase,)))
    # The digests are taken before the files are read, so that a file that changes meanwhile counts as changed.
    contents = contents_of(settings.data)
    settings = dataclasses.replace(settings, data=dataclasses.replace(settings.data, contents=contents))
    splits = read_splits(task.kind, task.problem_of(settings), settings.data)
    # The whole file says what is wrong with the labels, and which there are. The rest comes from what is trained on.
    found = _found(task, settings, splits, chosen)
    check(task, dataclasses.replace(config, task=found))
    if "validation" not in splits:
        splits = divided(splits, settings.data, config.evaluation.seed)
        if "validation" in splits:
            settings = dataclasses.replace(settings, labels=found.labels, found=found.found)
            found = _found(task, settings, splits, chosen)
            held = len(splits["validation"])
            every = held + len(splits["train"])
            _log.info(
                f"there is no validation file: {held:,} of the {counted(every, 'example')} of {settings.data.train} "
                f"{'is' if held == 1 else 'are'} held out, chosen at random"
            )
    for name, examples in splits.items():
        check_split(name, found.labels, examples, needs_answers=task.needs_answers(found))
    needs = task.needs_answers(found)
    for line in seen_lines({name: some for name, some in splits.items() if not (needs and all(map(is_unknown, some)))}):
        _log.warning(line)
    if found.labels:
        _log.info(shares_line(found.labels, splits["train"]))
    if line := task.told(found, splits["train"]):
        _log.info(line)
    config = dataclasses.replace(config, task=found)
    rows, lengths = _measured(_encoding(task, config, tokenizer, phase), splits["train"])
    if clipped:
        _log.info(f"rows have {longest} tokens, because the model has no more positions")
    if said:
        _log.info(said)
    if settings.epochs > 0 and "steps" not in _chosen(chosen):
        phase = dataclasses.replace(phase, steps=max(1, math.ceil(settings.epochs * rows / phase.batch_size)))
    if settings.shapes > 0 and not phase.lengths and "lengths" not in _chosen(chosen):
        phase, told = _with_lengths(task, config, phase, lengths)
        if told:
            _log.info(told)
    if settings.warmup >= 0 and phase.schedule is not None and "warmup" not in _chosen(chosen):
        warmup = min(math.ceil(settings.warmup * phase.steps), phase.steps - 1)
        phase = dataclasses.replace(phase, schedule=dataclasses.replace(phase.schedule, warmup_steps=warmup))
    evaluation = config.evaluation
    if settings.evaluations > 0 and "every" not in _chosen(chosen):
        every = max(1, math.ceil(rows / phase.batch_size / settings.evaluations))
        evaluation = dataclasses.replace(evaluation, every_steps=every)
    return dataclasses.replace(config, phases=(phase,), evaluation=evaluation)


def check_epochs(settings: LabelledTaskConfig, chosen: Collection[str]) -> None:
    """Raises InputError where the user asks for no pass over the examples, and does not say how long the run is."""
    if settings.epochs == 0 and "task.epochs" in chosen and "steps" not in _chosen(chosen):
        raise InputError(
            "with 0 epochs, the run needs a number of steps",
            where="task.epochs",
            fix="Set both: --set epochs=0 phases.0.steps=N. To judge a model as it is: `jaxbert evaluate MODEL --test "
            "FILE`.",
            code="E-TASK-SETTING",
        )


def same_places(data: LabelledConfig, other: LabelledConfig) -> bool:
    """Returns whether two runs name the same files and columns, whatever is in the files."""
    return dataclasses.replace(data, contents=()) == dataclasses.replace(other, contents=())


def say_changed(data: LabelledConfig) -> None:
    """Warns where files of a run that has begun have changed."""
    if names := changed_files(data):
        _log.warning(
            f"{counted(len(names), 'file')} changed since this run began: {', '.join(names)}. The run keeps the "
            "examples that it began with, and its figures are of them; for a run on the new ones, repeat the command "
            "with another --workdir, or with --overwrite"
        )


def _chosen(keys: Collection[str]) -> set[str]:
    """Returns which of the numbers that a run sets by itself its user has set."""
    words = {
        "phases.0.steps": "steps",
        "phases.0.schedule.warmup_steps": "warmup",
        "phases.0.lengths": "lengths",
        "evaluation.every_steps": "every",
    }
    return {words[key] for key in keys if key in words}


# The settings that a run may find in its files when it begins.
FOUND = ("labels", "choices", "low", "high", "class_weights", "unanswerable")
_DATA = "data"  # in `found` of every run: its files' contents


def _is_set(settings: LabelledTaskConfig, name: str, chosen: Collection[str]) -> bool:
    """Returns whether the user has set a setting of `FOUND`."""
    default = next(field.default for field in dataclasses.fields(settings) if field.name == name)
    return f"task.{name}" in chosen or (name not in settings.found and getattr(settings, name) != default)


def _found(
    task: type[LabelledTask],
    settings: LabelledTaskConfig,
    splits: Mapping[str, Sequence[Example]],
    chosen: Collection[str],
) -> Any:
    """Returns the settings with what the examples decide, and with the names of these settings.

    Raises:
      InputError: the examples decide a setting that the user has set to something else.
    """
    found = task.found(settings, splits)
    names = [_DATA]
    for name in FOUND:
        if not hasattr(settings, name):
            continue
        was, now = getattr(settings, name), getattr(found, name)
        if was != now and _is_set(settings, name, chosen):
            raise InputError(
                f"task.{name} is set to {was}, but the files make it {now}",
                where=f"task.{name}",
                fix="Leave the setting out.",
                code="E-TASK-SETTING",
            )
        if was != now or name in settings.found:
            names.append(name)
    return dataclasses.replace(found, found=tuple(names))


def _kept(begun: LabelledTaskConfig, settings: LabelledTaskConfig, chosen: Collection[str]) -> dict[str, Any]:
    """Returns the settings that a run which has begun keeps: those that it found, unless the user sets them now.

    An earlier version of jaxbert did not note which these are.
    """
    names = [name for name in begun.found or FOUND if name in FOUND and hasattr(begun, name)]
    kept = {name: getattr(begun, name) for name in names if not _is_set(settings, name, chosen)}
    return {_DATA: begun.data, "found": begun.found, **kept}


def make_rows(task: type[LabelledTask], config: RunConfig, tokenizer: Tokenizer, phase: PhaseConfig, out: Path) -> None:
    """Makes the rows of a run; see `jaxbert.labelled.writing.write_rows`."""
    settings: Any = config.task
    if names := changed_files(settings.data):
        raise InputError(
            f"the rows of this run are not made yet, and {counted(len(names), 'file')} changed since it began: "
            f"{', '.join(names)}",
            where=str(out),
            fix="Restore the files; or begin again with --overwrite, or with another --workdir.",
            code="E-LABELLED-CHANGED",
        )
    splits = splits_of(task.kind, task.problem_of(settings), settings.data, config.evaluation.seed)
    summary = write_rows(out, _encoding(task, config, tokenizer, phase), splits)
    for split in splits:
        for line in summary.counts[split].lines():
            _log.info(f"{split}: {line}")


def make_test_rows(task: LabelledTask, tokenizer: Tokenizer, examples: Sequence[Example], out: Path) -> Counts:
    """Makes the rows of examples that a run has not seen, as the split "test", and returns what was cut.

    Args:
      task: of the run.
      tokenizer: of the run.
      examples: of the run's kind.
      out: the directory of the rows.

    Raises:
      InputError: an example has a label that the run does not know, or some have no answer.
    """
    check_split("test", task.settings.labels, examples, needs_answers=task.needs_answers(task.settings))
    encoding = _encoding(type(task), task.config, tokenizer, task.phase)
    return write_rows(out, encoding, {"test": examples}).counts["test"]


def check(task: type[LabelledTask], config: RunConfig) -> None:
    """Raises InputError at the first rule of a task with labels that a config breaks."""
    settings: Any = config.task
    names = [metric.name for metric in task.metrics_of(settings)]
    if settings.metric and settings.metric not in names:
        raise InputError(
            f"the task {task.kind} has no metric {settings.metric!r}",
            where="task.metric",
            fix=f"It has: {', '.join(names)}.",
            code="E-TASK-METRIC",
        )
    ranges = [
        ("epochs", settings.epochs >= 0, "more than 0, for example 3; or to 0 where phases.0.steps is set"),
        ("evaluations", settings.evaluations >= 0, "0 or more"),
        ("dropout", settings.dropout <= 1, "at most 1"),
        ("warmup", settings.warmup <= 1, "a share of the steps, at most 1; below 0 leaves the schedule as it is"),
        ("data.validation_fraction", 0 <= settings.data.validation_fraction < 1, "0 or more, and less than 1"),
        *task.ranges(settings),
    ]
    for name, fits, wanted in ranges:
        if not fits:
            value = functools.reduce(getattr, name.split("."), settings)
            raise InputError(
                f"{name.rpartition('.')[2]} is {value}",
                where=f"task.{name}",
                fix=f"Set it to {wanted}.",
                code="E-CONFIG-RANGE",
            )
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    for name, why in task.idle(settings).items():
        if getattr(settings, name) != defaults[name]:
            raise InputError(
                f"the setting task.{name} would do nothing: {why}",
                where=f"task.{name}",
                fix="Leave the setting out.",
                code="E-TASK-SETTING",
            )


def kind_of(task: type[LabelledTask], settings: type[LabelledTaskConfig]) -> TaskKind:
    """Returns the entry of `jaxbert.tasks.TASKS` of a task with labels."""
    return TaskKind(
        make=task,
        config=settings,
        check=functools.partial(check, task),
        complete=functools.partial(complete, task),
        make_rows=functools.partial(make_rows, task),
        heads=task.heads_of,
        labels=task.labels_of,
    )
