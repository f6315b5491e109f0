"""Labels of words: entities, parts of speech.

The first piece of each word has the word's label (Devlin et al. 2019, section 5.3). Labels that mark spans (B-LOC) are
scored as entities, others (NOUN) word by word. Where most words have the label O (O, LOC), accuracy says little: a
model that finds nothing is right about most words. So macro F1 is the usual metric of such labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from jaxbert.config import LabelledTaskConfig, RunConfig
from jaxbert.core.metrics import Metric
from jaxbert.core.sharding import Field
from jaxbert.data.pipeline import Rows
from jaxbert.errors import InputError
from jaxbert.labelled.answers import words_of_windows
from jaxbert.labelled.examples import Example, WordsExample
from jaxbert.labelled.tags import OUTSIDE, are_spans, spans
from jaxbert.scores import classes, entities, intervals
from jaxbert.scores.base import Scored
from jaxbert.tasks.base import Arrays, Term
from jaxbert.tasks.labelled import LabelledTask, Part, examples_of
from jaxbert.tasks.labelled_runs import kind_of
from jaxbert.tasks.sequences import smoothed_cross_entropy

# A mark of a span in small letters: b-loc.
_SMALL = re.compile(r"[bieslu]-.+", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class TokenLabelsConfig(LabelledTaskConfig):
    """Settings of labels of words.

    Attributes:
      smoothing: share of a label's probability that goes to all labels alike.
    """

    name: str = "token_labels"
    smoothing: float = 0.0


class TokenLabels(LabelledTask):
    """See `Task`. Targets: int (B, L), the label of the word whose first piece is at the token, else -1."""

    kind: ClassVar[str] = "token_labels"
    head: ClassVar[str] = "token_classification"
    title: ClassVar[str] = "labels of words"
    per_token = ("logits",)

    settings: TokenLabelsConfig

    @classmethod
    def heads_of(cls, config: RunConfig) -> Mapping[str, Mapping[str, int]]:
        """See `LabelledTask`."""
        assert isinstance(config.task, TokenLabelsConfig)
        return {cls.head: {"labels": len(config.task.labels)}}

    @classmethod
    def metrics_of(cls, settings: TokenLabelsConfig) -> Sequence[Metric]:
        """See `LabelledTask`. Before the run has found its labels, they count as marks of spans."""
        if _mark_spans(settings.labels):
            return entities.METRICS
        metrics = classes.metrics("one_label", settings.labels)
        if OUTSIDE in settings.labels:
            return sorted(metrics, key=lambda metric: metric is not classes.MACRO_F1)
        return metrics

    @classmethod
    def ranges(cls, settings: TokenLabelsConfig) -> Iterator[tuple[str, bool, str]]:
        """See `LabelledTask`."""
        yield ("smoothing", 0 <= settings.smoothing < 1, "0 or more, and less than 1")

    @classmethod
    def idle(cls, settings: TokenLabelsConfig) -> Mapping[str, str]:
        """See `LabelledTask`."""
        del settings
        return {}

    @classmethod
    def found(cls, settings: Any, splits: Mapping[str, Sequence[Example]]) -> Any:
        """See `LabelledTask`; refuses marks of spans in small letters, which would be labels of words."""
        found = super().found(settings, splits)
        marks = [label for label in found.labels if label not in (OUTSIDE, OUTSIDE.lower())]
        if marks and all(_SMALL.fullmatch(label) for label in marks):
            raise InputError(
                f"the tags {', '.join(marks[:3])} look like marks of spans, but their first letters are small",
                where=settings.data.train,
                fix=f"Write the letters as capitals: {OUTSIDE}, {', '.join(_capital(label) for label in marks[:3])}.",
                code="E-LABELLED-TAGS",
            )
        return found

    def answers_at(self, length: int) -> Mapping[str, Field]:
        """See `LabelledTask`."""
        return {"target": Field((length,))}

    def denominators(self, batch: Arrays) -> dict[str, Any]:
        """See `Task`."""
        return {self.kind: self._weights(batch).sum()}

    @staticmethod
    def _weights(batch: Arrays) -> Any:
        return ((batch["target"] >= 0) & (batch["group"] > 0)).astype(jnp.float32)

    def losses(self, outputs: Arrays, batch: Arrays) -> Term:
        """See `LabelledTask`."""
        weight_BL = self._weights(batch)
        loss_BL, right_BL = smoothed_cross_entropy(outputs["logits"], batch["target"], self.settings.smoothing)
        return Term((weight_BL * loss_BL).sum(), weight_BL.sum(), {"accuracy": (weight_BL * right_BL).sum()})

    def scored(self, outputs: Mapping[str, np.ndarray], rows: Rows | Part, *, final: bool = False) -> Scored:
        """See `LabelledTask`."""
        examples = examples_of(rows)
        if _mark_spans(self.settings.labels):
            gold, predicted = self._answers(outputs, rows, examples)
            found = entities.score(predicted, gold, schemes=final)
            if not final:
                return found
            sums = intervals.of_entities(entities.counts_of(predicted, gold))
            return replace(found, intervals=intervals.bounds_of_sums(sums))
        number = {label: index for index, label in enumerate(self.settings.labels)}
        tags = [tag for example in examples for tag in _tags_of(example)]
        words = self._words(outputs, rows, examples)
        logits, right = np.concatenate(words), np.array([number[tag] for tag in tags], np.int64)
        # A word without a token gets no label, so it counts as wrong.
        missing = np.isnan(logits[:, 0])
        logits[missing] = -1.0 * (np.arange(len(number)) == right[missing, None])
        found = self.measured(replace(classes.one_label(logits, right, self.settings.labels), examples=len(examples)))
        if not final or len(number) > intervals.MOST_LABELS:
            return found
        texts = np.repeat(np.arange(len(words)), [len(one) for one in words])
        sums = intervals.of_words(right, logits.argmax(-1), texts, len(number))
        return replace(found, intervals=intervals.bounds_of_sums(sums))

    def _words(
        self, outputs: Mapping[str, np.ndarray], rows: Rows | Part, examples: Sequence[Example]
    ) -> list[np.ndarray]:
        """Returns the logits of the words of each example, float [words, C]; NaN for a word without a token."""
        known = [example for example in examples if isinstance(example, WordsExample)]
        return words_of_windows(outputs["logits"], rows.read(np.arange(len(rows))), known)

    def _answers(
        self, outputs: Mapping[str, np.ndarray], rows: Rows | Part, examples: Sequence[Example]
    ) -> tuple[list[list[tuple[str, int, int]]], list[list[tuple[str, int, int]]]]:
        """Returns the right and the predicted (label, first word, last word) of each example: entities, or words."""
        marks = _mark_spans(self.settings.labels)

        def found(tags: Sequence[str]) -> list[tuple[str, int, int]]:
            if marks:
                return [(label, first, end - 1) for label, first, end in spans(tags)]
            return [(tag, index, index) for index, tag in enumerate(tags)]

        def predicted(logits: np.ndarray) -> list[str]:
            missing = np.isnan(logits[:, 0])
            best = np.where(missing, 0, np.nan_to_num(logits).argmax(-1))
            none = OUTSIDE if marks else ""
            labels = self.settings.labels
            return [none if gone else labels[label] for label, gone in zip(best, missing, strict=True)]

        words = self._words(outputs, rows, examples)
        predicted_words = [found(predicted(logits)) for logits in words]
        return [found(_tags_of(example)) for example in examples], predicted_words

    def constant_outputs(self, rows: Rows) -> dict[str, np.ndarray]:
        """See `LabelledTask`; no entity anywhere, or the most frequent label for every word."""
        if _mark_spans(self.settings.labels):
            scores_C = np.array([label == OUTSIDE for label in self.settings.labels], np.float32)
        else:
            target = rows.read(np.arange(len(rows)))["target"]
            counts_C = np.bincount(target[target >= 0], minlength=len(self.settings.labels))
            scores_C = np.log(counts_C + 1.0).astype(np.float32)
        return {"logits": np.broadcast_to(scores_C, (len(rows), rows.length, len(scores_C)))}

    def errors(
        self, outputs: Mapping[str, np.ndarray], rows: Rows, examples: Sequence[Example], most: int
    ) -> list[dict[str, Any]]:
        """See `LabelledTask`. The score is the number of entities that are wrong or missing, or of wrong words."""
        gold, predicted = self._answers(outputs, rows, examples)
        differ = [(set(one) - set(other), set(other) - set(one)) for one, other in zip(gold, predicted, strict=True)]
        marks = _mark_spans(self.settings.labels)
        wrong = np.array([len(missing) + len(extra) if marks else len(missing) for missing, extra in differ])
        found = []
        for row in np.argsort(-wrong, kind="stable")[:most]:
            if wrong[row]:
                # A text has a label at each word: only the wrong ones say something.
                right, ours = (gold[row], predicted[row]) if marks else map(_in_order, differ[row])
                found.append(
                    {
                        "number": int(row),
                        "text": examples[row].text,
                        "right": _shown(examples[row], right),
                        "predicted": _shown(examples[row], ours),
                        "score": int(wrong[row]),
                    }
                )
        return found


def _capital(label: str) -> str:
    return label[0].upper() + label[1:]


def _mark_spans(labels: Sequence[str]) -> bool:
    return not labels or are_spans(labels)


def _tags_of(example: Example) -> Sequence[str]:
    assert isinstance(example, WordsExample) and example.tags is not None
    return example.tags


def _in_order(answers: Iterable[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    return sorted(answers, key=lambda answer: answer[1:])


def _shown(example: Example, answers: Sequence[tuple[str, int, int]]) -> list[str]:
    """Returns answers as "LABEL: their words"."""
    assert isinstance(example, WordsExample)
    words = example.words
    return [f"{label}: {example.text[words[first][0] : words[last][1]]}" for label, first, last in answers]


KIND = kind_of(TokenLabels, TokenLabelsConfig)
