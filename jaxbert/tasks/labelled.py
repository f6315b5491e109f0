"""The part that the tasks with labels share: they have one encoder and one head, and learn from files.

Each kind of task is a file: sequences, token_labels, answers, choices, vectors. It has the class of its settings, the
loss of a batch and the metrics of an evaluation. `splits` reads the examples of a run. `labelled_runs` finds labels and
steps when a run begins, and makes the rows.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from jaxbert.config import LabelledTaskConfig, PhaseConfig, RunConfig
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import BATCH, LAYOUTS, Field, explicit_mesh
from jaxbert.data.pipeline import Rows
from jaxbert.errors import InputError
from jaxbert.labelled.examples import Example
from jaxbert.labelled.labels import find_labels
from jaxbert.labelled.writing import read_examples
from jaxbert.models.families import check_family
from jaxbert.models.flops import step_flops
from jaxbert.models.layers import dropout
from jaxbert.models.model import Model
from jaxbert.scores.base import Scored
from jaxbert.tasks.base import SEED, Arrays, Frozen, Metric, RowsTask, Term, TermInfo
from jaxbert.text.tokenizers import Tokenizer

_log = logging.getLogger(__name__)

POLICY = "labelled"  # what manifests of such rows say


class LabelledTask(RowsTask):
    """A task with labels over one encoder and one head; a subclass has the loss and the metrics.

    Attributes:
      kind: its name in `jaxbert.tasks.TASKS`, which is the kind of its examples.
      head: the key of its head in `jaxbert.models.heads.HEADS`; "" for vectors, which need none.
      title: the name of its loss in running text.
    """

    kind: ClassVar[str]
    head: ClassVar[str] = ""
    title: ClassVar[str]
    judges = True

    def __init__(self, config: RunConfig, phase: PhaseConfig):
        """Makes the model for the rows of a phase."""
        settings = config.task
        assert isinstance(settings, LabelledTaskConfig)
        self.config, self.phase, self.settings = config, phase, settings
        self.texts = self.texts_of(settings)
        super().__init__(phase.length)
        check_family(config.encoder)
        heads = self.heads_of(config)
        layout = LAYOUTS["fsdp_tensor" if config.mesh.layout == "auto" else config.mesh.layout]
        self.model = Model(config.encoder, heads, layout, sizes=heads)
        self.parts = self.model
        self.terms = {self.kind: TermInfo(1.0, self.title)}
        measured = self.metrics_of(settings)
        # The loss says the same in a line of the log; the judgement has them all.
        self.metrics = [one for one in measured if one.name not in ("log_loss", "calibration_error")]
        self.best = next((one for one in measured if one.name == settings.metric), measured[0])
        self.dropout = getattr(config.encoder, "dropout", 0.0) if settings.dropout < 0 else settings.dropout
        asked = 1 if "pooler" in heads else None
        flops = step_flops(config.encoder, length=phase.length, slots=0, heads=heads, asked=asked)
        self.flops_per_row = self.texts * flops

    @classmethod
    def heads_of(cls, config: RunConfig) -> Mapping[str, Mapping[str, int]]:
        """Returns the heads of the task, with their sizes."""
        raise NotImplementedError

    @classmethod
    def labels_of(cls, config: RunConfig) -> tuple[tuple[str, ...], str] | None:
        """See `TaskKind.labels`."""
        assert isinstance(config.task, LabelledTaskConfig)
        return (config.task.labels, "") if config.task.labels else None

    @classmethod
    def metrics_of(cls, settings: Any) -> Sequence[Metric]:
        """Returns the metrics of an evaluation; the first chooses the best checkpoint, unless the settings name one."""
        raise NotImplementedError

    @classmethod
    def texts_of(cls, settings: Any) -> int:
        """Returns K, the texts of a row, each encoded by itself."""
        del settings
        return 1

    @classmethod
    def problem_of(cls, settings: Any) -> str:
        """Returns the problem of a classification; "" for the other kinds."""
        del settings
        return ""

    @classmethod
    def ranges(cls, settings: Any) -> Iterator[tuple[str, bool, str]]:
        """Yields (name, whether its value can be used, what to do) of settings of this task."""
        del settings
        yield from ()

    @classmethod
    def idle(cls, settings: Any) -> Mapping[str, str]:
        """Returns the settings of this task that would do nothing, each with the reason."""
        del settings
        return {"labels": "this task has no labels"}

    @classmethod
    def told(cls, settings: Any, train: Sequence[Example]) -> str:
        """Returns a line about settings that the run has found in its train examples; "" for none."""
        del settings, train
        return ""

    @classmethod
    def found(cls, settings: Any, splits: Mapping[str, Sequence[Example]]) -> Any:
        """Returns the settings with what the examples decide: the labels, by default."""
        labels = settings.labels or find_labels(cls.kind, cls.problem_of(settings), splits["train"])
        return dataclasses.replace(settings, labels=labels)

    def answers_at(self, length: int) -> Mapping[str, Field]:
        """Returns the fields of the answers in rows of L tokens."""
        del length
        return {"target": Field((), "int32")}

    def fields_at(self, length: int) -> Mapping[str, Field]:
        """See `Task`."""
        row = Field((length,) if self.texts == 1 else (self.texts, length))
        return {"tokens": row, "types": row, "group": row, **self.answers_at(length)}

    def check_rows(self, manifest: Mapping[str, Any], where: str) -> None:
        """See `Task`; the rows must be of this kind, with these labels."""
        if manifest["policy"] == self.config.data.policy:  # rows that the run will make
            return
        made = manifest.get("arguments", {})
        if manifest["policy"] != POLICY or made.get("kind") != self.kind:
            raise InputError(
                f"the task {self.kind} cannot learn from these rows",
                where=where,
                fix="Give the files with labels, and let `jaxbert finetune` make the rows.",
                code="E-TASK-ROWS",
            )
        labels = tuple(made.get("labels", ()))
        if labels != self.settings.labels:
            raise InputError(
                f"the rows have the labels {', '.join(labels) or 'none'}, but the run has "
                f"{', '.join(self.settings.labels) or 'none'}",
                where=where,
                fix="Give a new --workdir, or --overwrite.",
                code="E-TASK-ROWS",
            )

    def collate(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """See `Task`."""
        fields = self.fields_at(rows["tokens"].shape[-1])
        return {name: np.ascontiguousarray(rows[name], field.dtype) for name, field in fields.items()}

    def tables(self, tokenizer: Tokenizer, rows: Any) -> dict[str, np.ndarray]:
        """See `Task`; only the seed, so that runs with other seeds have the same program."""
        del tokenizer, rows
        return {SEED: np.asarray(self.config.seed, np.int32)}

    def abstract_tables(self) -> dict[str, jax.ShapeDtypeStruct]:
        """See `Task`."""
        return {SEED: jax.ShapeDtypeStruct((), np.dtype(np.int32))}

    def hidden(
        self, params: Params, batch: Arrays, key: jax.Array | None, dtype: Any, *, first: bool = False
    ) -> jax.Array:
        """Returns hidden states (B, L, D), or (B x K, L, D) of rows with K texts each, text by text.

        With `first`, L is 1: the encoder computes the vector at the first position only.
        """
        flat = {name: merged(batch[name]) if self.texts > 1 else batch[name] for name in ("tokens", "types", "group")}
        at_BM = jnp.zeros_like(flat["group"][:, :1]) if first else None
        return self.model.hidden(params, flat, dropout_key=key, dtype=dtype, at_BM=at_BM)

    def scores(self, params: Params, batch: Arrays, key: jax.Array | None, dtype: Any) -> jax.Array:
        """Returns the head's logits, float32: (B, C) from the pooled vectors, or (B, L, C). With dropout before it."""
        keys = (None, None) if key is None else jax.random.split(key)
        pooled = "pooler" in self.model.heads
        x = self.hidden(params, batch, keys[0], dtype, first=pooled)
        if pooled:
            x = self.model.pooled(params, x)
        x = dropout(x, self.dropout, keys[1])
        return self.model.apply_head(self.head, params, x, pooled=pooled)

    def scored(self, outputs: Mapping[str, np.ndarray], rows: Rows | Part, *, final: bool = False) -> Scored:
        """Returns the metrics of an evaluation, with their details, from finite outputs of all rows; see `judge`.

        The metrics are among those of `metrics_of`, in its order.

        Args:
          outputs: see `judge`.
          rows: see `judge`.
          final: also make what a judgement at the end of a run has, and an evaluation does not: intervals.
        """
        raise NotImplementedError

    @classmethod
    def needs_answers(cls, settings: Any) -> bool:
        """Returns whether examples without answers can be neither learned nor scored."""
        del settings
        return True

    def measured(self, found: Scored) -> Scored:
        """Returns what was scored without the metrics that the task does not measure, in the order of `metrics_of`."""
        metrics = [metric for metric in self.metrics_of(self.settings) if metric.name in found.values]
        values = {metric.name: found.values[metric.name] for metric in metrics}
        return dataclasses.replace(found, values=values, metrics=metrics)

    def constant(self, rows: Rows) -> dict[str, float]:
        """Returns the metrics of the better constant answer; a metric that is missing, or NaN, has the value 0."""
        found = self.scored(self.constant_outputs(rows), rows).values
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def constant_outputs(self, rows: Rows) -> dict[str, np.ndarray]:
        """Returns the outputs of a model that gives every row the same answer, the likeliest one of these rows."""
        raise NotImplementedError

    def errors(
        self, outputs: Mapping[str, np.ndarray], rows: Rows, examples: Sequence[Example], most: int
    ) -> list[dict[str, Any]]:
        """Returns the examples on which a model was most wrong; see `jaxbert.evaluate.labelled.worst_errors`."""
        raise NotImplementedError

    def judge(self, outputs: Mapping[str, np.ndarray], rows: Rows) -> dict[str, float]:
        """See `Task`; a model that has diverged has no metrics, and the guard of the run says so by the loss."""
        if not all(np.isfinite(values).all() for values in outputs.values()):
            return {}
        return dict(self.scored(outputs, rows).values)

    def losses(self, outputs: Arrays, batch: Arrays) -> Term:
        """Returns the term of the loss from what `answer` gave."""
        raise NotImplementedError

    def answer(self, params: Params, batch: Arrays, key: jax.Array | None, dtype: Any) -> Arrays:
        """Returns the outputs of a batch, by name."""
        return {"logits": self.scores(params, batch, key, dtype)}

    def compute(
        self, params: Params, frozen: Frozen, batch: Arrays, *, dropout_key: jax.Array | None, dtype: Any
    ) -> dict[str, Term]:
        """See `Task`."""
        del frozen
        return {self.kind: self.losses(self.answer(params, batch, dropout_key, dtype), batch)}

    def outputs(self, params: Params, frozen: Frozen, batch: Arrays, *, dtype: Any) -> tuple[dict[str, Term], Arrays]:
        """See `Task`."""
        del frozen
        found = self.answer(params, batch, None, dtype)
        return {self.kind: self.losses(found, batch)}, found


def merged(x: jax.Array) -> jax.Array:
    """Returns (B, K, ...) as (B x K, ...), in the batch's place."""
    shape = (x.shape[0] * x.shape[1], *x.shape[2:])
    return jnp.reshape(x, shape, out_sharding=P(BATCH, *(None for _ in shape[1:])) if explicit_mesh() else None)


def apart(x: jax.Array, texts: int) -> jax.Array:
    """Returns (B x K, ...) as (B, K, ...), in the batch's place."""
    shape = (x.shape[0] // texts, texts, *x.shape[1:])
    return jnp.reshape(x, shape, out_sharding=P(BATCH, *(None for _ in shape[1:])) if explicit_mesh() else None)


class Part:
    """Some examples of a split with their rows, for `LabelledTask.scored`. The examples are numbered from 0 again.

    Attributes:
      directory, split, length: those of the whole split.
      examples: the examples.
      rows: int64 (n,), the numbers of their rows in the whole split.
    """

    def __init__(self, whole: Rows, kept: Sequence[int]):
        """Takes the examples with the numbers `kept`, in rising order."""
        self.directory, self.split, self.length = whole.directory, whole.split, whole.length
        every = examples_of(whole)
        self.examples = [every[number] for number in kept]
        stored = whole.read(np.arange(len(whole)))
        documents = stored["origins"]["document"][:, 0].astype(np.int64)
        self.rows = np.flatnonzero(np.isin(documents, np.asarray(kept, np.int64)))
        self._stored = stored[self.rows]
        self._stored["origins"]["document"][:, 0] = np.searchsorted(kept, documents[self.rows])

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """Returns rows; see `Rows.read`."""
        return self._stored[np.asarray(indices, np.int64)]


def examples_of(rows: Rows | Part) -> list[Example]:
    """Returns the examples of a split that `make_rows` wrote, or of a part of it."""
    return rows.examples if isinstance(rows, Part) else list(read_examples(rows.directory, rows.split))


def real_rows(batch: Arrays) -> jax.Array:
    """Returns 1 for each row that is not there only to fill up a batch, float32 (B,)."""
    group = batch["group"]
    return (group > 0).any(tuple(range(1, group.ndim))).astype(jnp.float32)
