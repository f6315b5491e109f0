"""The training contract: what a task brings, so that the step, the loop, the evaluation and the report can serve it.

A task is all that a run learns. It names the fields of a batch, owns the parameters, and gives the terms of the loss
and the metrics. Everything else (the step, the optimizer, checkpoints, the order of the rows, logs, pages) knows tasks
only through the protocol of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import jax
import numpy as np

from jaxbert.config import PhaseConfig, RunConfig, TaskConfig
from jaxbert.core.parameters import Params

Batch = Mapping[str, jax.Array]
# What a step reads and does not change: tables of the vocabulary by name, a teacher's parameters.
Frozen = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """One field of a batch.

    Attributes:
      shape: of one row; the batch has (B, *shape).
      dtype: numpy's name of it.
      fill: the value in rows that fill up the last batch of an evaluation; such rows must weigh nothing.
    """

    shape: tuple[int, ...]
    dtype: str = "int32"
    fill: float = 0


class Term(NamedTuple):
    """A term of the loss over some rows, before it is divided.

    Attributes:
      sum: weighted sum of the losses of the items, float32.
      weight: sum of the weights of the items. Over the whole global batch it is the denominator.
      figures: further sums over the same items, for the metrics; for example "accuracy": the number of right answers.
    """

    sum: jax.Array
    weight: jax.Array
    figures: Mapping[str, jax.Array]


@dataclass(frozen=True)
class TermInfo:
    """What people and the loss need to know of a term.

    Attributes:
      weight: of the term in the loss.
      title: in running text: "masked LM".
      short: in a line of the log: "mlm".
    """

    weight: float
    title: str
    short: str


@dataclass(frozen=True)
class Metric:
    """A figure that logs, evaluations and pages show.

    Attributes:
      name: its key in metrics.jsonl: "masked_lm_accuracy".
      title: in running text and on pages: "masked LM accuracy".
      short: in a line of the log: "mlm".
      form: how it is written: a share as per cent, or a plain number.
      better: which direction is better.
    """

    name: str
    title: str
    short: str
    form: Literal["share", "number"] = "share"
    better: Literal["higher", "lower"] = "higher"

    def text(self, value: float) -> str:
        """The value as people read it: "36.3%" or "0.1234"."""
        return f"{value:.1%}" if self.form == "share" else f"{value:.4f}"


class Parts(Protocol):
    """The parameters of a task: how they start, and what their dimensions are called.

    Attributes:
      names: tree like the parameters, of dimension names (keys of a layout's tables, `jaxbert.core.sharding`).
    """

    names: Params

    def init(self, key: jax.Array) -> Params:
        """Random parameters, float32, born in the layout's places when called under jit and a mesh."""
        ...


class Task(Protocol):
    """What a run learns from rows of one length; see `jaxbert.tasks.TASKS`.

    Attributes:
      terms: the terms of the loss, by name.
      metrics: what is shown, in this order.
      fields: the fields of a clean batch, as `collate` gives them.
      parts: the parameters.
      flops_per_row: analytic FLOPs of one row in one training step, forward and backward; MFU is measured by it.
    """

    terms: Mapping[str, TermInfo]
    metrics: Sequence[Metric]
    fields: Mapping[str, Field]
    parts: Parts
    flops_per_row: float

    def check_rows(self, manifest: Mapping[str, Any], where: str) -> None:
        """Raises InputError where the task cannot learn from rows with this manifest."""
        ...

    def collate(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Rows as they are stored, a structured array [n], as the fields of a batch, each (n, *shape). Pure."""
        ...

    def tables(self, tokenizer: Any, rows: Sequence[Any]) -> dict[str, np.ndarray]:
        """The host arrays of `frozen` that follow from the tokenizer and the train rows (`data.pipeline.Rows`)."""
        ...

    def abstract_tables(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of `tables`, without a file being read."""
        ...

    def prepare(self, params: Params, frozen: Frozen, batch: Batch, key: jax.Array) -> Batch:
        """The global batch with its answers added: masks, swaps, draws. The same bits on every mesh.

        Runs once a step on the whole global batch, before micro-batches are cut. No gradient flows through it, so it
        may run a model on `params` (a generator that replaces tokens).
        """
        ...

    def denominators(self, batch: Batch) -> dict[str, jax.Array]:
        """The weight of each term over the prepared global batch, known before the first gradient."""
        ...

    def compute(
        self, params: Params, frozen: Frozen, batch: Batch, *, dropout_key: jax.Array | None, dtype: Any
    ) -> dict[str, Term]:
        """The terms over a prepared batch or micro-batch. The task runs its encoders itself. Without a key there is
        no dropout.
        """
        ...

    def measure(self, sums: Mapping[str, Term]) -> dict[str, float]:
        """The metrics and the loss of each term ("masked_lm_loss") from terms that were summed over an evaluation.

        The sums are float64 numpy arrays.
        """
        ...

    def evaluation(self) -> Task:
        """The same task as it is evaluated: with fixed masks of evaluation's rate, for example."""
        ...


@dataclass(frozen=True)
class TaskKind:
    """An entry of `jaxbert.tasks.TASKS`.

    Attributes:
      make: (RunConfig, PhaseConfig) -> Task. Touches no file and no device.
      config: the class of `RunConfig.task` that selects it.
    """

    make: Callable[[RunConfig, PhaseConfig], Task]
    config: type[TaskConfig]
