"""`robustness`: how many labels a classifier still gets right when the texts have typos, other case, less punctuation.

The changes are drawn by a seed and the text itself, so that they are the same for every model.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jaxbert.core.metrics import Metric
from jaxbert.errors import InputError
from jaxbert.evaluate.suite.base import Kind, Outcome, Setting, Task, notes_of_cuts, without_answer, without_interval
from jaxbert.evaluate.suite.examples import COLUMNS, read_texts
from jaxbert.inputs.values import Maybe, OneOf, Whole, short
from jaxbert.labelled.examples import TextExample
from jaxbert.labelled.tables import open_records
from jaxbert.scores import intervals
from jaxbert.text.text_rows import Text
from jaxbert.use.library import Loaded
from jaxbert.use.tasks import classify, labels_of, longest_text

TYPO_SHARE = 0.2  # of the words of `_LEAST_LETTERS` letters and more get a typo, at least one
DELETED_SHARE = 0.1  # of the words are deleted, at least one of several
_LEAST_LETTERS = 4
_WORD = re.compile(rf"[^\W\d_]{{{_LEAST_LETTERS},}}")
# The fields of a record of the option "counterfactuals", and the name of such an answer.
_FIELDS = ("text", "label", "counterfactual", "counterfactual_label")
COUNTERFACTUAL = "counterfactual"


def typos(text: str, rng: np.random.Generator) -> str:
    """Returns a text in which some words have two letters swapped, one dropped or one doubled, not the first."""
    words = list(_WORD.finditer(text))
    if not words:
        return text
    number = max(1, round(TYPO_SHARE * len(words)))
    for index in sorted(rng.choice(len(words), number, replace=False).tolist(), reverse=True):
        start, end = words[index].span()
        at = int(rng.integers(start + 1, end - 1))
        changed = (text[at + 1] + text[at], text[at + 1], text[at] + text[at : at + 2])[int(rng.integers(3))]
        text = text[:at] + changed + text[at + 2 :]
    return text


def deletion(text: str, rng: np.random.Generator) -> str:
    """Returns a text without some of its words. One word is left as it is."""
    words = text.split()
    if len(words) < 2:
        return text
    gone = set(rng.choice(len(words), max(1, round(DELETED_SHARE * len(words))), replace=False).tolist())
    return " ".join(word for index, word in enumerate(words) if index not in gone)


def no_punctuation(text: str, rng: np.random.Generator) -> str:
    """Returns a text without punctuation."""
    return " ".join("".join(char for char in text if unicodedata.category(char)[0] != "P").split())


PERTURBATIONS: Mapping[str, Callable[[str, np.random.Generator], str]] = {
    "typos": typos,
    "upper_case": lambda text, _: text.upper(),
    "lower_case": lambda text, _: text.lower(),
    "no_punctuation": no_punctuation,
    "deletion": deletion,
}


@dataclass(frozen=True)
class Case:
    """A text with its label.

    Attributes:
      example: the text or pair.
      counterfactual: the text with the least change that makes another label right; None where none is given.
    """

    example: TextExample
    counterfactual: TextExample | None = None


class Robustness(Kind[Case]):
    """Texts or pairs with labels, for a model with a classifier whose labels have the same names.

    Options: perturbations, some of `PERTURBATIONS`, by default all; seed; counterfactuals, files of records with
    "text", "label", "counterfactual" and "counterfactual_label"; columns, form and split as in
    `jaxbert.evaluate.suite.examples`.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("perturbed_accuracy", "accuracy, texts changed", "perturbed", note="Mean over the changes of a text."),
        Metric("accuracy", "accuracy", "acc"),
        Metric(
            "drop", "lost by the changes", "drop", note="Accuracy minus the accuracy on changed texts.", higher=False
        ),
    )
    options: ClassVar[Mapping[str, Any]] = {
        **COLUMNS,
        "perturbations": Maybe([OneOf(tuple(PERTURBATIONS))]),
        "seed": Maybe(Whole()),
        "counterfactuals": Maybe([str]),
    }
    heads: ClassVar[tuple[str, ...]] = ("sequence_classification",)

    def read(self, task: Task) -> list[Case]:
        """See `Kind`."""
        examples = read_texts(task, "classification", "one_label")
        for one in examples:
            if not isinstance(one.target, str):
                raise without_answer(one, "the text has no label", "Give the text its label, or remove it.")
        return [Case(one) for one in examples] + [
            case for file in task.options.get("counterfactuals") or () for case in _records(task.path(file))
        ]

    def texts(self, item: Case) -> Sequence[str]:
        """See `Kind`."""
        both = (item.example, item.counterfactual)
        return [text for one in both if one is not None for text in (one.text, one.pair) if text is not None]

    def place(self, item: Case) -> str:
        """See `Kind`."""
        return item.example.place

    def count(self, items: Sequence[Case]) -> int:
        """See `Kind`; pairs of a text and its counterfactual have their figures in the details."""
        return sum(item.counterfactual is None for item in items)

    def check(self, model: Loaded, items: Sequence[Case], task: Task) -> None:
        """See `Kind`."""
        known = labels_of(model)
        problem = model.labels.problem_type if model.labels is not None else ""
        if problem not in ("", "single_label_classification"):
            raise InputError(
                f"the model has learned another problem than one label a text ({problem})",
                where=f"{task.place}, {model.source}",
                fix="Give a model with one label for each text: `jaxbert finetune classify` makes one.",
                code="E-SUITE-ITEM",
            )
        for item in items:
            for one in (item.example, item.counterfactual):
                if one is not None and one.target not in known:
                    raise InputError(
                        f"the label {one.target!r} is not one of the model's: {', '.join(known)}",
                        where=one.place,
                        fix="Give files with the model's labels, or a model of these labels.",
                        code="E-SUITE-ITEM",
                    )

    def notes(self, model: Loaded, items: Sequence[Case]) -> Sequence[str]:
        """See `Kind`; of the texts as they are."""
        both = [one for item in items for one in (item.example, item.counterfactual) if one is not None]
        texts = [one.text if one.pair is None else (one.text, one.pair) for one in both]
        return notes_of_cuts(model, texts, longest_text(model))

    def answer(
        self, model: Loaded, items: Sequence[Case], task: Task, setting: Setting
    ) -> Sequence[Mapping[str, bool]]:
        """Returns of each item whether its label is right, by the name of the change; "" is the text as it is."""
        names = task.options.get("perturbations")
        names = list(PERTURBATIONS) if names is None else names
        seed = task.options.get("seed") or 0
        found: list[dict[str, bool]] = [{} for _ in items]
        plain = [index for index, item in enumerate(items) if item.counterfactual is None]
        paired = [index for index, item in enumerate(items) if item.counterfactual is not None]

        def judge(name: str, indices: Sequence[int], examples: Sequence[TextExample], change: str = "") -> None:
            texts = [_changed(example, change, seed) for example in examples]
            labels = classify(model, texts, batch_tokens=setting.batch_tokens)
            for index, example, one in zip(indices, examples, labels, strict=True):
                found[index][name] = one.labels[:1] == (example.target,)

        judge("", range(len(items)), [item.example for item in items])
        for name in names:
            judge(name, plain, [items[index].example for index in plain], name)
        judge(COUNTERFACTUAL, paired, [one for index in paired if (one := items[index].counterfactual) is not None])
        return found

    def score(
        self, task: Task, items: Sequence[Case], answers: Sequence[Mapping[str, bool]], setting: Setting
    ) -> Outcome:
        """See `Kind`."""
        details: dict[str, Any] = {}
        paired = [one for one in answers if COUNTERFACTUAL in one]
        if paired:
            one, other = (np.array([right[name] for right in paired], np.float64) for name in ("", COUNTERFACTUAL))
            means = {"accuracy": one, "counterfactual_accuracy": other, "both": one * other}
            details["counterfactuals"] = {"pairs": len(paired), **_means(means)}
        answers = [one for one in answers if COUNTERFACTUAL not in one]
        if not answers:
            nan = without_interval(float("nan"))
            return Outcome({metric.name: nan for metric in self.metrics}, details, ["No text without a pair is left."])
        plain = np.array([one[""] for one in answers], np.float64)
        changed = {name: np.array([one[name] for one in answers], np.float64) for name in answers[0] if name}
        mean = np.mean(list(changed.values()), axis=0) if changed else plain
        sums = intervals.of_means({"accuracy": plain, "perturbed_accuracy": mean, "drop": plain - mean})
        details["by_perturbation"] = {
            name: _means({"accuracy": right, "drop": plain - right}) for name, right in changed.items()
        }
        return Outcome(intervals.intervals(sums), details)


def _means(values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    found = intervals.intervals(intervals.of_means(values))
    return {name: interval.to_json() for name, interval in found.items()}


def _changed(item: TextExample, name: str, seed: int) -> Text:
    def changed(text: str) -> str:
        return PERTURBATIONS[name](text, np.random.default_rng([seed, zlib.crc32(text.encode())])) if name else text

    return changed(item.text) if item.pair is None else (changed(item.text), changed(item.pair))


def _records(file: str) -> Iterator[Case]:
    """Yields the records of a file of the option "counterfactuals"."""
    for place, record in open_records(file, split="validation", wanted=_FIELDS).read():
        values = {name: record.get(name) for name in _FIELDS}
        if not all(isinstance(value, str) and value for value in values.values()):
            raise InputError(
                f"a record needs the texts {', '.join(_FIELDS)}, and is {short(dict(record))}",
                where=place,
                fix="Mend the record.",
                code="E-SUITE-ITEM",
            )
        text, label, other, other_label = (str(values[name]) for name in _FIELDS)
        yield Case(
            TextExample(place=place, text=text, target=label), TextExample(place=place, text=other, target=other_label)
        )


KIND = Robustness()
