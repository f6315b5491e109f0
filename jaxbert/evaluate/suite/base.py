"""The contract of a kind of task: from files to items, from a model to answers, from answers to scores."""

from __future__ import annotations

import abc
import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from jaxbert.core.metrics import Metric
from jaxbert.errors import InputError, counted
from jaxbert.labelled.examples import Example
from jaxbert.scores.intervals import Interval
from jaxbert.text.text_rows import Text
from jaxbert.use.library import Loaded

Item = TypeVar("Item")

# A place that is not a path: a dataset, or a task of GLUE in a folder.
_DATASET, _GLUE = re.compile(r"(hf|tfds):"), re.compile(r"(glue:[^:]*:)(.*)", re.DOTALL)


@dataclass(frozen=True)
class Task:
    """A task of a suite.

    Attributes:
      name: its name in the table.
      kind: a key of `jaxbert.evaluate.suite.kinds.KINDS`.
      files: paths, or datasets such as "hf:NAME". A relative path in the suite's file is below the folder of that file.
      metric: the name of the metric that the table shows; one of the kind's.
      options: settings of the kind.
      place: the task in the suite's file, for messages.
      folder: the folder of the suite's file.
    """

    name: str
    kind: str
    files: tuple[str, ...]
    metric: str
    options: Mapping[str, Any]
    place: str
    folder: str = ""

    def path(self, file: str) -> str:
        """Returns the path of a file that the suite names. Datasets stay as they are."""
        if _DATASET.match(file):
            return file
        glue = _GLUE.fullmatch(file)
        before, path = glue.groups() if glue else ("", file)
        return before + os.path.join(self.folder, os.path.expanduser(path))

    def wrong(self, option: str, what: str, fix: str) -> InputError:
        """Returns the error for an option that is wrong. `what` and `fix` are as in `InputError`."""
        return InputError(what, where=f"{self.place}, option {option!r}", fix=fix, code="E-SUITE-OPTION")


@dataclass(frozen=True)
class Outcome:
    """The scores of a task.

    Attributes:
      values: the interval of each metric by its name. A score without an interval has NaN as bounds.
      details: further figures as plain JSON values.
      notes: sentences about odd cases.
    """

    values: Mapping[str, Interval]
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Setting:
    """The surroundings of a task, beside the model.

    Attributes:
      batch_tokens: tokens a batch; None for the default of the device.
      frequencies: of each word of the evaluation's texts, in small letters, how often the training corpus has it; None
        without a corpus.
      finetune: trains a task with labels; see `jaxbert.evaluate.suite.finetuned`. None where nothing can.
    """

    batch_tokens: int | None = None
    frequencies: Mapping[str, int] | None = None
    finetune: Callable[..., Any] | None = None


class Kind(abc.ABC, Generic[Item]):
    """A kind of task.

    Attributes:
      metrics: the first one is shown where a suite names none.
      options: the names of the options, each with the shape of its value (`jaxbert.inputs.values.check`).
      heads: the heads that a model must have.
      limited: whether the option `limit` may leave items out.
    """

    metrics: ClassVar[tuple[Metric, ...]]
    options: ClassVar[Mapping[str, Any]] = {}
    heads: ClassVar[tuple[str, ...]] = ()
    limited: ClassVar[bool] = True

    @abc.abstractmethod
    def read(self, task: Task) -> list[Item]:
        """Returns the items of the task's files.

        Raises:
          InputError: a file, a record or an option is wrong.
        """

    @abc.abstractmethod
    def texts(self, item: Item) -> Sequence[str]:
        """Returns the texts of an item, which are looked for in the training corpus."""

    @abc.abstractmethod
    def place(self, item: Item) -> str:
        """Returns the file and line of an item."""

    def count(self, items: Sequence[Item]) -> int:
        """Returns the number of examples that the scores are of."""
        return len(items)

    def check(self, model: Loaded, items: Sequence[Item], task: Task) -> None:
        """Raises InputError where the model cannot answer the items. It computes nothing."""

    def notes(self, model: Loaded, items: Sequence[Item]) -> Sequence[str]:
        """Returns sentences about what the model cannot read of the items. It computes nothing."""
        return ()

    @abc.abstractmethod
    def answer(self, model: Loaded, items: Sequence[Item], task: Task, setting: Setting) -> Sequence[Any]:
        """Returns the model's answer to each item; or any other list, where the kind has its own `score_part`."""

    @abc.abstractmethod
    def score(self, task: Task, items: Sequence[Item], answers: Sequence[Any], setting: Setting) -> Outcome:
        """Returns the scores of items."""

    def score_part(
        self, task: Task, items: Sequence[Item], answers: Sequence[Any], kept: Sequence[int], setting: Setting
    ) -> Outcome | None:
        """Returns the scores of the items with the numbers `kept`: those that are not in the training corpus.

        None says that these scores cannot be known.
        """
        return self.score(task, [items[number] for number in kept], [answers[number] for number in kept], setting)


def notes_of_cuts(model: Loaded, texts: Sequence[Text], limit: int = 0) -> list[str]:
    """Returns a sentence about texts longer than `limit`, which are cut at their end; 0: the model's positions."""
    tokenizer, limit = model.require_tokenizer(), limit or model.config.longest_row
    cut = 0
    for text in texts:
        parts = (text,) if isinstance(text, str) else text
        between = 1 if len(parts) == 1 else 1 + tokenizer.pair_separators
        cut += 1 + between + sum(len(tokenizer.encode(part)) for part in parts) > limit
    if not cut:
        return []
    return [f"{cut:,} of {counted(len(texts), 'text')} have more than the model's {limit} tokens, and are cut."]


def notes_of_empty(empty: int) -> list[str]:
    """Returns a sentence about texts of which no token is scored."""
    return [f"{counted(empty, 'text')} without a token to score, with the score 0."] if empty else []


def without_answer(example: Example, what: str, fix: str) -> InputError:
    """Returns the error for an example that cannot be scored. `what` and `fix` are as in `InputError`."""
    return InputError(what, where=example.place, fix=fix, code="E-SUITE-ITEM")


def without_interval(value: float) -> Interval:
    """Returns a score that has no interval."""
    return Interval(value, float("nan"), float("nan"), 0.95, "none")


def mean_of_groups(values: np.ndarray, groups: np.ndarray) -> Interval:
    """Returns the mean of the means of groups, with the normal interval over the examples of each group.

    Args:
      values: float (N,).
      groups: int (N,), the number of the group of each, from 0 on.
    """
    counts = np.bincount(groups)
    means = np.bincount(groups, values) / counts
    spread = np.bincount(groups, (values - means[groups]) ** 2) / np.maximum(counts - 1, 1)
    error = float(np.sqrt((spread / counts).sum())) / len(counts)
    mean = float(means.mean())
    # 1.959964 is the 97.5% quantile of the normal distribution.
    return Interval(mean, mean - 1.959964 * error, mean + 1.959964 * error, 0.95, "normal")


def renamed(values: Mapping[str, Interval], names: Mapping[str, str]) -> dict[str, Interval]:
    """Returns some of the values under other names."""
    return {new: dataclasses.replace(values[old]) for old, new in names.items()}
