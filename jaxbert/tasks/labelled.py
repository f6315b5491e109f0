"""The part that the tasks with labels share: they have one encoder and one head, and learn from files.

Each kind of task is a file: sequences, token_labels, answers, choices, vectors. It has the class of its settings, the
loss of a batch and the metrics of an evaluation. This file reads the examples, finds labels and steps when a run
begins, and makes the rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from jaxbert.config import LabelledConfig, LabelledTaskConfig, PhaseConfig, RunConfig
from jaxbert.config import check as check_config
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import BATCH, LAYOUTS, Field, explicit_mesh
from jaxbert.data.draws import philox
from jaxbert.data.lengths import few_lengths
from jaxbert.data.pipeline import Rows
from jaxbert.data.sources.base import is_blank
from jaxbert.data.sources.files import digest_of
from jaxbert.data.sources.finding import printable
from jaxbert.errors import CommandError, InputError, counted
from jaxbert.labelled.columns import columns_of
from jaxbert.labelled.encode import Encoding, encode
from jaxbert.labelled.examples import ChoiceExample, Example, Question, TextExample
from jaxbert.labelled.glue import is_file as is_glue_file
from jaxbert.labelled.labels import answers_to_keep, check_split, find_labels, shares_line
from jaxbert.labelled.opening import local_files, open_examples
from jaxbert.labelled.writing import read_examples, write_rows
from jaxbert.models.families import check_family
from jaxbert.models.flops import step_flops
from jaxbert.models.layers import dropout
from jaxbert.models.model import Model
from jaxbert.scores.base import Scored
from jaxbert.tasks.base import SEED, Arrays, Frozen, Metric, RowsTask, TaskKind, Term, TermInfo
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
    def told(cls, settings: Any) -> str:
        """Returns a line about settings that the run has found; "" for none."""
        del settings
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

    @property
    def needs_answers(self) -> bool:
        """Returns whether examples without answers cannot be scored."""
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


def places_of(data: LabelledConfig) -> dict[str, str]:
    """Returns the place of each split that `data` has: "train", "validation", "test"."""
    # The folder of a task of GLUE has all splits.
    glue = data.form if data.form.startswith("glue:") else ""
    places = {name: getattr(data, name) for name in ("train", "validation", "test")}
    if glue:
        places = {name: f"{glue}:{place}" if place else "" for name, place in places.items()}
    train = places["train"]
    # A file of GLUE's is one split only.
    if train.startswith("sample:") or (train.startswith("glue:") and not is_glue_file(train)):
        places["validation"] = places["validation"] or train
    if train.startswith("sample:"):  # GLUE's test splits have no answers.
        places["test"] = places["test"] or train
    return {name: place for name, place in places.items() if place}


def contents_of(data: LabelledConfig) -> tuple[str, ...]:
    """Returns "SPLIT NAME SHA256" of each file of `data` on this machine, in the order of the splits.

    Raises:
      InputError: a file is not there, or cannot be read.
    """
    return tuple(line for split, place in places_of(data).items() for line in _contents(split, place))


def _contents(split: str, place: str) -> list[str]:
    found = []
    for path in local_files(place, split):
        status = path.stat()
        found.append(f"{split} {printable(path.name)} {_sha256(path, status.st_size, status.st_mtime_ns)}")
    return found


@functools.lru_cache(maxsize=64)  # The runs of a sweep share their files.
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    del size, modified_ns
    digest: str = digest_of(path)["sha256"]
    return digest


def changed_files(data: LabelledConfig) -> list[str]:
    """Returns the names of the files of a run that has begun whose content is another one now.

    A file that is gone has not changed: the run has its examples. An earlier version of jaxbert noted no contents.
    """
    if not data.contents:
        return []
    now: list[str] = []
    for split, place in places_of(data).items():
        with contextlib.suppress(CommandError, OSError):
            now += _contents(split, place)
    return list(dict.fromkeys(line.split(" ", 1)[1].rsplit(" ", 1)[0] for line in now if line not in data.contents))


@functools.lru_cache(maxsize=1)  # A run asks twice: for its labels and steps, and for its rows.
def read_splits(kind: str, problem: str, data: LabelledConfig) -> dict[str, list[Example]]:
    """Returns the examples of the splits "train", "validation" and "test" that `data` names.

    Raises:
      InputError: a file cannot be read, or has no example.
    """
    columns = columns_of(data.columns)

    def read(place: str, split: str) -> list[Example]:
        form = "" if data.form.startswith("glue:") else data.form
        return list(open_examples(kind, place, problem=problem, columns=columns, form=form, split=split))

    if not data.train:
        raise InputError(
            "the task learns from labels, and the run has no file with them",
            where="task.data.train",
            fix="Give --train FILE.",
            code="E-LABELLED-TRAIN",
        )
    return {name: read(place, name) for name, place in places_of(data).items()}


def divided(splits: Mapping[str, list[Example]], data: LabelledConfig, seed: int) -> dict[str, list[Example]]:
    """Returns the splits, of which a share of the train examples is the validation split where there is none.

    `seed` decides which. It is that of the evaluation, so that runs of several seeds have the same validation examples.
    Every label of the train examples stays in the train split.

    Raises:
      InputError: there are too few examples.
    """
    splits = dict(splits)
    if "validation" not in splits and data.validation_fraction > 0:
        whole = splits["train"]
        held = max(1, round(data.validation_fraction * len(whole)))
        if len(whole) < 2:
            raise InputError(
                f"{counted(len(whole), 'example')} cannot be divided into train and validation",
                where=data.train,
                fix="Give more examples, or a validation file: --validation FILE.",
                code="E-LABELLED-EMPTY",
            )
        out = held_out(whole, held, seed)
        splits["validation"] = [one for one, is_out in zip(whole, out, strict=True) if is_out]
        splits["train"] = [one for one, is_out in zip(whole, out, strict=True) if not is_out]
        if all(out) or not any(out):
            same = len(set(map(_text_of, whole))) == 1
            raise InputError(
                "all examples have the same text, so none can be held out"
                if same
                else "no label has enough examples for one to be held out: one must stay in the train split",
                where=data.train,
                fix="Give each label two different texts or more, or a validation file: --validation FILE.",
                code="E-LABELLED-EMPTY",
            )
    return splits


def splits_of(kind: str, problem: str, data: LabelledConfig, seed: int) -> dict[str, list[Example]]:
    """Returns the splits of a run: those of `read_splits`, divided by `divided`."""
    return divided(read_splits(kind, problem, data), data, seed)


def held_out(examples: Sequence[Example], held: int, seed: int) -> list[bool]:
    """Returns for each example whether it is held out: some at random, and at least `held` if the labels allow it.

    Examples of the same text are held out together, so that no text is on both sides. A text stays where it has the
    last example of a label, because a model cannot learn a label that only the validation split has.
    """
    texts = [_text_of(one) for one in examples]
    groups: dict[Hashable, list[Example]] = {}
    for text, one in zip(texts, examples, strict=True):
        groups.setdefault(text, []).append(one)
    left = Counter(answer for one in examples for answer in answers_to_keep(one))
    order = np.argsort(philox("held out", seed).random_raw(len(groups)), kind="stable")
    different = list(groups)
    chosen, count = set(), 0
    for number in order.tolist():
        if count >= held:
            break
        group = groups[different[number]]
        mine = Counter(answer for one in group for answer in answers_to_keep(one))
        if any(left[answer] == times for answer, times in mine.items()):
            continue
        left -= mine
        chosen.add(different[number])
        count += len(group)
    return [text in chosen for text in texts]


def _text_of(example: Example) -> Hashable:
    """Returns the texts that may not be on both sides of a split. Questions about one text stay together."""
    if isinstance(example, TextExample):
        return example.text, example.pair
    if isinstance(example, Question):
        return ("", example.question) if is_blank(example.context) else example.context
    if isinstance(example, ChoiceExample):
        # Without a text, the question may be the same one everywhere, such as "Which sentence is true?"
        alone = is_blank(example.text)
        return (example.question, tuple(sorted(example.choices))) if alone else example.text
    return getattr(example, "text", None)


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
        f"its width is {width}, and BERT-base's {_WIDTH}" if width < _WIDTH else "",
        f"its weights began at {weights:g}, and BERT-base's at {_INITIALIZER:g}" if weights > _INITIALIZER else "",
    ]
    return (
        dataclasses.replace(config, phases=phases),
        f"rate {peak:.3g}: {factor:.3g} times the config's {phase.schedule.peak:g}, because the model is small: "
        f"{'; '.join(filter(None, why))} (another rate: --set phases.0.schedule.peak=RATE)",
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
    said = f"batches are cut to {known} tokens where their texts fit ({lengths.mean():.0f} on average)"
    return dataclasses.replace(phase, lengths=found), f"{said}; a run compiles its step for each length"


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
            held, every = len(splits["validation"]), sum(map(len, splits.values()))
            _log.info(
                f"there is no validation file: {held:,} of the {counted(every, 'example')} of {settings.data.train} "
                f"{'is' if held == 1 else 'are'} held out, chosen at random"
            )
    for name, examples in splits.items():
        check_split(name, found.labels, examples, kind=task.kind)
    if found.labels:
        _log.info(shares_line(found.labels, splits["train"]))
    if line := task.told(found):
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
        ("epochs", settings.epochs >= 0, "0 or more"),
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
