"""Judges a run of a task with labels on a split of its rows: metrics with details, and the worst errors."""

from __future__ import annotations

import dataclasses
import logging
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbert.config import RunConfig, load_json, phase_rows
from jaxbert.core.metrics import Metric, finite, to_json
from jaxbert.core.sharding import replicated, single_device_mesh
from jaxbert.data.pipeline import Rows
from jaxbert.data.staging import local
from jaxbert.errors import InputError
from jaxbert.evaluate.evaluation import measures, over_split
from jaxbert.labelled.examples import Example
from jaxbert.labelled.labels import is_unknown
from jaxbert.scores.base import Scored
from jaxbert.stores.checkpoint import load_params
from jaxbert.stores.workdir import OUTPUTS
from jaxbert.tasks import make_task
from jaxbert.tasks.labelled import LabelledTask, Part, examples_of
from jaxbert.training.step import build

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judgement:
    """A model of a task with labels, on one split.

    Attributes:
      task: the task of the run.
      rows: the rows of the split.
      examples: the examples of the split.
      outputs: of every row, by name.
      scored: the metrics.
      constant: the metrics of the better constant answer, by name; a metric without one is missing.
      loss: the loss.
    """

    task: LabelledTask
    rows: Rows
    examples: Sequence[Example]
    outputs: Mapping[str, np.ndarray]
    scored: Scored
    constant: Mapping[str, float]
    loss: float

    @property
    def metric(self) -> Metric:
        """Returns the metric that chose the checkpoint."""
        assert self.task.best is not None
        return self.task.best

    @property
    def value(self) -> float:
        """Returns the value of that metric; NaN where it has none."""
        return float(self.scored.values.get(self.metric.name, math.nan))

    @property
    def learned(self) -> bool:
        """Returns whether the model is better than a constant answer.

        Some seeds of BERT on small tasks end no better than the larger class (Devlin et al. 2019, section 4.1; Mosbach
        et al. 2021, who call such a run failed). A correlation below 0.1 counts as none.
        """
        value, least = self.value, self.constant.get(self.metric.name, 0.0)
        if math.isnan(value):
            return False
        if not self.metric.higher:
            return value < least
        return value > (max(least, 0.1) if self.metric.name in ("pearson", "spearman") else least)


def judge(workdir: Path, step: int, split: str) -> Judgement | None:
    """Returns how a step of a run judges a split; None where the run's rows have no such split, or no answers in it.

    It runs on one device, with the batches of the run's evaluation.

    Raises:
      InputError: the run is of a task without labels, or its rows are gone.
      Stopped: the checkpoint is damaged.
    """
    opened = _opened(workdir, split)
    if opened is None:
        return None
    config, known, rows = opened
    if no_answers(known, examples_of(rows)):
        _log.info(f"the {split} split has no answers, so nothing is measured on it; `jaxbert predict` answers it")
        return None
    return judge_rows(config, workdir, step, rows)


def no_answers(task: LabelledTask, examples: Sequence[Example]) -> bool:
    """Returns whether nothing can be measured on examples, because none has an answer and the task needs answers."""
    return task.needs_answers(task.settings) and all(map(is_unknown, examples))


def judge_rows(config: RunConfig, workdir: Path, step: int, rows: Rows) -> Judgement:
    """Returns how a step of a run answers rows of its task, on one device.

    Args:
      config: of the run.
      workdir: of the run.
      step: a step that has a checkpoint.
      rows: a split that `jaxbert.labelled.writing.write_rows` wrote with the tokenizer, labels and length of the run.

    Raises:
      Stopped: the checkpoint is damaged.
    """
    examples = examples_of(rows)
    mesh = single_device_mesh()
    program = build(_on_one_device(config), mesh)
    task = program.task
    assert isinstance(task, LabelledTask)
    with jax.set_mesh(mesh):
        params = load_params(workdir, step, task.parts, mesh)
        frozen = replicated(mesh, {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in program.frozen.items()})
        lengths = config.phases[-1].lengths
        outputs, sums, _ = over_split(program, params, frozen, rows, mesh, config=config, lengths=lengths)
    loss = measures(task, sums)["loss"]
    return Judgement(task, rows, examples, outputs, task.scored(outputs, rows, final=True), task.constant(rows), loss)


def entry_of(judgement: Judgement) -> dict[str, Any]:
    """Returns a judgement as JSON values, as judgement.json has it for each split."""
    scored = judgement.scored
    return {
        "examples": scored.examples,
        "loss": finite(judgement.loss),
        "values": {name: finite(value) for name, value in scored.values.items()},
        "intervals": {name: list(bounds) for name, bounds in scored.intervals.items()},
        "metrics": to_json(scored.metrics),
        "constant": {name: finite(value) for name, value in judgement.constant.items()},
        "details": scored.details,
        "notes": list(scored.notes),
        "errors": worst_errors(judgement),
    }


def score_part(workdir: Path, split: str, kept: Sequence[int]) -> Mapping[str, float] | None:
    """Returns the metrics of some examples of a split, from the outputs that the run has kept; None without them.

    Args:
      workdir: of the run; `jaxbert.finetune.results.judge_run` has kept its outputs.
      split: the split.
      kept: the numbers of the examples, from 0, in rising order.
    """
    opened = _opened(workdir, split)
    try:
        with np.load(workdir / OUTPUTS.format(split=split)) as stored:
            outputs = dict(stored)
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    if opened is None or any(len(values) != len(opened[2]) for values in outputs.values()):
        return None
    _, task, rows = opened
    part = Part(rows, kept)
    return task.scored({name: values[part.rows] for name, values in outputs.items()}, part).values


def _opened(workdir: Path, split: str) -> tuple[RunConfig, LabelledTask, Rows] | None:
    """Returns the config of a run, its task, and the rows of a split; None where there are none."""
    config = load_json(workdir / "config.json")
    phase = config.phases[-1]
    ((place, _),) = phase_rows(config, phase, workdir)
    try:
        rows = Rows(local(place), split)
    except InputError as error:
        if error.code == "E-ROWS-SPLIT":
            return None
        raise
    task = make_task(config, phase)
    assert isinstance(task, LabelledTask)
    return (config, task, rows) if len(rows) else None


def _on_one_device(config: RunConfig) -> RunConfig:
    return dataclasses.replace(config, mesh=dataclasses.replace(config.mesh, data=1, fsdp=1, tensor=1))


def worst_errors(judgement: Judgement, most: int = 20) -> list[dict[str, Any]]:
    """Returns the examples on which the model was most wrong, the worst first, as JSON values.

    Keys: "number" (of the example, from 0), "text", "pair" where there is one, "right", "predicted", and "score": how
    wrong it was, in the task's unit (`LabelledTask.errors`).
    """
    return judgement.task.errors(judgement.outputs, judgement.rows, judgement.examples, most)
