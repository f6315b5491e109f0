"""The training contract: the parts of a task that the step, the loop, the evaluation and the report use.

A task is all that a run learns. It names the fields of a batch, owns the parameters, and gives the terms of the loss
and the metrics. Everything else (the step, the optimizer, checkpoints, the order of the rows, logs, pages) knows tasks
only through the protocol of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from jaxbert.config import PhaseConfig, RunConfig, TaskConfig
from jaxbert.core.metrics import Metric, TermInfo, loss_metric
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import Field
from jaxbert.data.pipeline import Rows, as_batch
from jaxbert.objectives.base import Arrays, Frozen, Term, at_least_one, means
from jaxbert.text.tokenizers import Tokenizer

__all__ = [
    "Arrays",
    "Field",
    "Frozen",
    "Metric",
    "Parts",
    "RowsTask",
    "Task",
    "TaskKind",
    "Term",
    "TermInfo",
    "Together",
    "at_least_one",
    "batch_fields",
    "means",
    "metrics_of",
]

# The key in `frozen` of the run's seed, for tasks whose programs shall not differ between seeds.
SEED = "seed"


class Parts(Protocol):
    """The parameters of a task: their start and the names of their dimensions. `jaxbert.models.model.Model` is one.

    Attributes:
      names: tree like the parameters, of dimension names (keys of a layout's tables, `jaxbert.core.sharding`).
    """

    names: Params

    def init(self, key: jax.Array) -> Params:
        """Returns random parameters, float32, in the layout's places when called under jit and a mesh."""
        ...


class Together:
    """Several `Parts` under one name each: {"generator": ..., "discriminator": ...}. Each draws from its own key."""

    def __init__(self, parts: Mapping[str, Parts]):
        self.parts = dict(parts)
        self.names: Params = {name: part.names for name, part in self.parts.items()}

    def init(self, key: jax.Array) -> Params:
        """See `Parts`."""
        return {
            name: part.init(jax.random.fold_in(key, index)) for index, (name, part) in enumerate(self.parts.items())
        }


class Task(Protocol):
    """The task that a run learns from rows of one length; see `jaxbert.tasks.TASKS`.

    Attributes:
      terms: the terms of the loss, by name.
      metrics: the numbers that are shown beside the loss of each term, in this order.
      fields: the fields of a clean batch, as `collate` gives them.
      parts: the parameters.
      teachers: models that are not trained, by their key in `frozen`, which holds their parameters in bfloat16, in the
        layout's places. No checkpoint holds them. A run provides one teacher, the encoder and masked-LM
        head of `objectives.distillation` (`jaxbert.run.teacher`), under each key; it refuses a task with a teacher
        whose config names none there. A caller of `jaxbert.training.step.build` provides any.
      flops_per_row: analytic FLOPs of one row in one training step, forward and backward. MFU is measured by it.
      conditions: the fixed conditions of an evaluation, in words: "15% masked". May be empty.
      pairs: whether the task can learn only from pairs of segments. A run makes its rows from documents that are split
        into sentences, and reports documents that are not.
    """

    terms: Mapping[str, TermInfo]
    metrics: Sequence[Metric]
    fields: Mapping[str, Field]
    parts: Parts
    teachers: Mapping[str, Parts]
    flops_per_row: float
    conditions: str
    pairs: bool
    judges: bool
    per_token: Collection[str]
    best: Metric | None

    def fields_at(self, length: int) -> Mapping[str, Field]:
        """Returns the fields of batches that are cut to another length (`PhaseConfig.lengths`)."""
        ...

    def check_rows(self, manifest: Mapping[str, Any], where: str) -> None:
        """Raises InputError where the task cannot learn from rows with this manifest.

        Args:
          manifest: manifest that `jaxbert rows` wrote. For rows that the run will make, it has only `policy` and
            `length`.
          where: the directory, or the key of the config, for the message.
        """
        ...

    def collate(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the fields of a batch, each (n, *shape), from rows as they are stored, a structured array [n]. Pure.

        Rows that fill up the last batch of an evaluation have group 0 everywhere and label -1. They must weigh nothing.
        """
        ...

    def tables(self, tokenizer: Tokenizer, rows: Callable[[], Sequence[Rows]]) -> dict[str, np.ndarray]:
        """Returns the host arrays of `frozen`. `rows()` opens the train rows, for a task that counts in them."""
        ...

    def abstract_tables(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns shapes and dtypes of `tables`, without reading a file."""
        ...

    def real_tokens(self, batch: Arrays) -> jax.Array:
        """Returns the number of tokens in a clean batch without padding. Throughput counts them."""
        ...

    def prepare(self, params: Params, frozen: Frozen, batch: Arrays, key: jax.Array) -> Arrays:
        """Returns the global batch with its answers added: masks, swaps, draws. The same bits on every mesh.

        Runs once a step on the whole global batch, before micro-batches are cut. No gradient flows through it, so it
        may run a model on `params` (a generator that replaces tokens).
        """
        ...

    def denominators(self, batch: Arrays) -> dict[str, jax.Array]:
        """Returns the weight of each term over the prepared global batch, known before the first gradient."""
        ...

    def compute(
        self, params: Params, frozen: Frozen, batch: Arrays, *, dropout_key: jax.Array | None, dtype: Any
    ) -> dict[str, Term]:
        """Returns the terms over a prepared batch or micro-batch. The task runs its encoders itself.

        Without a `dropout_key` there is no dropout. `dtype` is that of activations and of weights in use.
        """
        ...

    def measure(self, sums: Mapping[str, Term]) -> dict[str, Any]:
        """Returns the loss of each term ("masked_lm_loss") and the metrics, from the sums of terms.

        The step calls it with the terms of the global batch (jax arrays), and an evaluation with the sums over all its
        batches (float64 numpy arrays). So it uses operators, and `at_least_one` for denominators. `means` does all for
        metrics that are means.
        """
        ...

    def outputs(self, params: Params, frozen: Frozen, batch: Arrays, *, dtype: Any) -> tuple[dict[str, Term], Arrays]:
        """Returns the terms of a clean batch, and what `judge` needs of each row: {"logits": (B, C)}; no dropout."""
        ...

    def judge(self, outputs: Mapping[str, np.ndarray], rows: Rows) -> dict[str, float]:
        """Returns the metrics of an evaluation. They need not be means over rows: F1, correlations.

        Args:
          outputs: by name (n, ...), those of `outputs` for every row of `rows` in its order. Of an output of
            `per_token`, the places behind the length of the row's batch are 0.
          rows: the validation rows.
        """
        ...

    def evaluation(self) -> Task:
        """Returns the same task as it is evaluated: with fixed masks of evaluation's rate, for example."""
        ...


class RowsTask:
    """The part that most tasks share: batches are rows as `jaxbert rows` stores them, and metrics are means.

    A subclass sets `terms`, `parts`, and writes `denominators` and `compute`; it may replace everything else.
    """

    terms: Mapping[str, TermInfo]
    parts: Parts
    metrics: Sequence[Metric] = ()
    teachers: Mapping[str, Parts] = {}
    flops_per_row = 0.0
    conditions = ""
    pairs = False
    judges = False
    per_token: Collection[str] = ()
    best: Metric | None = None

    def __init__(self, length: int):
        """Sets the fields of rows of L tokens."""
        self.fields: Mapping[str, Field] = self.fields_at(length)

    def fields_at(self, length: int) -> Mapping[str, Field]:
        """See `Task`."""
        return batch_fields(length)

    def check_rows(self, manifest: Mapping[str, Any], where: str) -> None:
        """See `Task`; accepts all rows."""
        del manifest, where

    def collate(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """See `Task`."""
        return as_batch(rows)

    def tables(self, tokenizer: Tokenizer, rows: Callable[[], Sequence[Rows]]) -> dict[str, np.ndarray]:
        """See `Task`; there are none."""
        del tokenizer, rows
        return {}

    def abstract_tables(self) -> dict[str, jax.ShapeDtypeStruct]:
        """See `Task`; there are none."""
        return {}

    def real_tokens(self, batch: Arrays) -> jax.Array:
        """See `Task`."""
        return (batch["group"] > 0).sum()

    def prepare(self, params: Params, frozen: Frozen, batch: Arrays, key: jax.Array) -> Arrays:
        """See `Task`; the rows hold the answers already."""
        del params, frozen, key
        return batch

    def denominators(self, batch: Arrays) -> dict[str, jax.Array]:
        """See `Task`."""
        raise NotImplementedError

    def compute(
        self, params: Params, frozen: Frozen, batch: Arrays, *, dropout_key: jax.Array | None, dtype: Any
    ) -> dict[str, Term]:
        """See `Task`."""
        raise NotImplementedError

    def measure(self, sums: Mapping[str, Term]) -> dict[str, Any]:
        """See `Task`."""
        return means(sums)

    def outputs(self, params: Params, frozen: Frozen, batch: Arrays, *, dtype: Any) -> tuple[dict[str, Term], Arrays]:
        """See `Task`."""
        raise NotImplementedError

    def judge(self, outputs: Mapping[str, np.ndarray], rows: Rows) -> dict[str, float]:
        """See `Task`."""
        raise NotImplementedError

    def evaluation(self) -> Task:
        """See `Task`; an evaluation computes what training does, without dropout."""
        return self


def batch_fields(length: int) -> dict[str, Field]:
    """Returns the fields that `as_batch` makes of rows of L tokens: tokens, types, group (B, L), label (B,); int32."""
    row = Field((length,))
    return {"tokens": row, "types": row, "group": row, "label": Field(())}


def metrics_of(task: Task) -> list[Metric]:
    """Returns all that a task measures: its metrics, then the loss of each term."""
    return [*task.metrics, *(loss_metric(name, info) for name, info in task.terms.items())]


def _as_it_is(config: RunConfig, manifest: Mapping[str, Any], parts: Collection[str]) -> RunConfig:
    del manifest, parts
    return config


@dataclass(frozen=True)
class TaskKind:
    """An entry of `jaxbert.tasks.TASKS`.

    Attributes:
      make: (RunConfig, PhaseConfig) -> Task. Touches no file and no device.
      config: the class of `RunConfig.task` that selects it.
      check: raises InputError at the first rule that a config breaks. Touches no file and no device.
      judged: (config, manifest of the rows, parts of the parameters that are there) -> the config with which
        `jaxbert evaluate` judges a model on these rows: without a teacher, and without terms that cannot be judged.
      complete: (config, tokenizer of the rows, config of the run that has begun here or None, keys of `--set`) -> the
        config with what the task finds in its files: labels, steps. A begun run keeps what it found. Reads files.
      make_rows: (config, tokenizer, phase, directory of the rows): makes the rows of a phase; None: they come from
        `DataConfig.source`.
      heads: (config) -> the heads of the task over one encoder, with their sizes, so that `jaxbert.load` opens its
        runs; None: its parameters are not an encoder with heads.
      labels: (config) -> (names of the classes, `problem_type` of files for transformers), for files and answers; None,
        as the value or from the function: the model has no named classes.
      planned: `jaxbert plan` and the layout `auto` know its work. They cover only one encoder with heads: `parts` is a
        `jaxbert.models.model.Model` of the config's encoder, and the terms are those of `ObjectivesConfig`. A task
        without it is trained on a layout that its config names.
    """

    make: Callable[[RunConfig, PhaseConfig], Task]
    config: type[TaskConfig] = TaskConfig
    check: Callable[[RunConfig], None] = lambda config: None
    judged: Callable[[RunConfig, Mapping[str, Any], Collection[str]], RunConfig] = _as_it_is
    complete: Callable[[RunConfig, Tokenizer, RunConfig | None, Collection[str]], RunConfig] | None = None
    make_rows: Callable[[RunConfig, Tokenizer, PhaseConfig, Path], None] | None = None
    heads: Callable[[RunConfig], Mapping[str, Mapping[str, int]]] | None = None
    labels: Callable[[RunConfig], tuple[tuple[str, ...], str] | None] | None = None
    planned: bool = False
