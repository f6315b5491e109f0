"""Questions whose answer is a part of a text: the first and the last token of the answer (Devlin et al. 2019, 4.2).

A text without an answer, as SQuAD 2.0 has them, has its answer at the first token of the row (section 4.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from jaxbert.config import LabelledTaskConfig, RunConfig
from jaxbert.core.metrics import Metric
from jaxbert.core.sharding import Field
from jaxbert.data.pipeline import Rows
from jaxbert.errors import counted
from jaxbert.labelled.answers import Answer, best_answers
from jaxbert.labelled.examples import Example, Question
from jaxbert.scores import answers, intervals
from jaxbert.scores.base import Scored
from jaxbert.tasks.base import Arrays, Term
from jaxbert.tasks.labelled import LabelledTask, Part, examples_of
from jaxbert.tasks.labelled_runs import kind_of
from jaxbert.tasks.sequences import smoothed_cross_entropy


@dataclass(frozen=True, kw_only=True)
class QuestionAnsweringConfig(LabelledTaskConfig):
    """Settings of answers in texts.

    Attributes:
      longest_answer: tokens of the longest answer (google-research/bert run_squad.py: 30).
      stride: tokens that two windows of a long text share (transformers' examples: 128). Windows never share more than
        half of their room.
      unanswerable: some texts have no answer (SQuAD 2.0); the run finds it in the train file when it begins.
    """

    name: str = "question_answering"
    longest_answer: int = 30
    stride: int = 128
    unanswerable: bool = False


class QuestionAnswering(LabelledTask):
    """See `Task`. Targets: int (B, 2), the first and last token of the answer; (0, 0) for none, -1 for unknown.

    Padding has no share of the probability, so that the loss does not depend on the length of a batch. The original,
    and transformers, give padding a share.
    """

    kind: ClassVar[str] = "question_answering"
    head: ClassVar[str] = "question_answering"
    title: ClassVar[str] = "answers"
    per_token = ("logits",)

    settings: QuestionAnsweringConfig

    @classmethod
    def heads_of(cls, config: RunConfig) -> Mapping[str, Mapping[str, int]]:
        """See `LabelledTask`."""
        del config
        return {cls.head: {"labels": 2}}

    @classmethod
    def metrics_of(cls, settings: QuestionAnsweringConfig) -> Sequence[Metric]:
        """See `LabelledTask`."""
        return answers.metrics("2.0" if settings.unanswerable else "1.1")

    @classmethod
    def ranges(cls, settings: QuestionAnsweringConfig) -> Iterator[tuple[str, bool, str]]:
        """See `LabelledTask`."""
        yield "longest_answer", settings.longest_answer >= 1, "1 or more"
        yield "stride", settings.stride >= 0, "0 or more"

    @classmethod
    def idle(cls, settings: QuestionAnsweringConfig) -> Mapping[str, str]:
        """See `LabelledTask`."""
        return {**super().idle(settings), "dropout": "there is no dropout before the head of answers"}

    @classmethod
    def found(
        cls, settings: QuestionAnsweringConfig, splits: Mapping[str, Sequence[Example]]
    ) -> QuestionAnsweringConfig:
        """See `LabelledTask`; whether some texts have no answer."""
        right = [one.answers for one in splits["train"] if isinstance(one, Question)]
        return replace(settings, unanswerable=() in right)

    @classmethod
    def told(cls, settings: QuestionAnsweringConfig, train: Sequence[Example]) -> str:
        """See `LabelledTask`."""
        if not settings.unanswerable:
            return ""
        without = sum(isinstance(one, Question) and one.answers == () for one in train)
        return (
            f"{without:,} of {counted(len(train), 'train question')} {'has' if without == 1 else 'have'} no answer, so "
            "the model learns to give none"
        )

    def answers_at(self, length: int) -> Mapping[str, Field]:
        """See `LabelledTask`."""
        del length
        return {"target": Field((2,))}

    def denominators(self, batch: Arrays) -> dict[str, Any]:
        """See `Task`."""
        return {self.kind: self._weights(batch).sum()}

    @staticmethod
    def _weights(batch: Arrays) -> Any:
        """Returns 1 for each row with a known answer."""
        return ((batch["target"][:, 0] >= 0) & (batch["group"][:, 0] > 0)).astype(jnp.float32)

    def answer(self, params: Any, batch: Arrays, key: Any, dtype: Any) -> Arrays:
        """See `LabelledTask`; no dropout before the head, as the original has none."""
        z_BL2 = self.model.question_answering(params, self.hidden(params, batch, key, dtype))
        return {"logits": jnp.where(batch["group"][..., None] > 0, z_BL2, jnp.finfo(z_BL2.dtype).min)}

    def losses(self, outputs: Arrays, batch: Arrays) -> Term:
        """See `LabelledTask`; the mean of the losses of the first and the last token."""
        weight_B = self._weights(batch)
        z_BL2, target_B2 = outputs["logits"], batch["target"]
        first_B, right_B = smoothed_cross_entropy(z_BL2[..., 0], target_B2[:, 0], 0.0)
        last_B, also_B = smoothed_cross_entropy(z_BL2[..., 1], target_B2[:, 1], 0.0)
        figures = {"accuracy": (weight_B * (right_B & also_B)).sum()}
        return Term((weight_B * (first_B + last_B) / 2).sum(), weight_B.sum(), figures)

    def scored(self, outputs: Mapping[str, np.ndarray], rows: Rows | Part, *, final: bool = False) -> Scored:
        """See `LabelledTask`; where some texts have no answer, one is given if its score is above that of none."""
        examples = examples_of(rows)
        found = self._found(outputs, rows, examples)
        right = [accepted(one) for one in examples]
        texts = [one.text for one in found]
        version: answers.Version = "2.0" if self.settings.unanswerable else "1.1"
        nulls = [_lead_of_none(one) for one in found] if self.settings.unanswerable else None
        scored = answers.score(
            texts, right, null_scores=nulls, threshold=None if nulls is None else 0.0, version=version
        )
        unanswered = sum(one is not None and not one for one in right)
        if unanswered and nulls is None:
            about = f"{unanswered:,} of {counted(len(right), 'question')} have no answer"
            scored = replace(
                scored, notes=[*scored.notes, f"{about}; this run learned from none, so it always answers"]
            )
        if not final:
            return scored
        given = texts if nulls is None else ["" if none > 0 else text for text, none in zip(texts, nulls, strict=True)]
        points = answers.points_of(given, right, version)
        sums = intervals.of_means({"exact_match": points[:, 0], "f1": points[:, 1]})
        return replace(scored, intervals=intervals.bounds_of_sums(sums))

    def _found(self, outputs: Mapping[str, np.ndarray], rows: Rows | Part, examples: Sequence[Example]) -> Any:
        first, last = outputs["logits"][..., 0], outputs["logits"][..., 1]
        stored = rows.read(np.arange(len(rows)))
        known = [example for example in examples if isinstance(example, Question)]
        return best_answers(first, last, stored, known, max_tokens=self.settings.longest_answer)

    def constant(self, rows: Rows) -> dict[str, float]:
        """See `LabelledTask`; the answer that there is none."""
        right = [accepted(one) for one in examples_of(rows)]
        version: Any = "2.0" if self.settings.unanswerable else "1.1"
        return dict(answers.score([""] * len(right), right, version=version).values)

    def errors(
        self, outputs: Mapping[str, np.ndarray], rows: Rows, examples: Sequence[Example], most: int
    ) -> list[dict[str, Any]]:
        """See `LabelledTask`. The score is the lead of the wrong answer's score over that of no answer."""
        found = self._found(outputs, rows, examples)
        right = [accepted(one) or [] for one in examples]
        given = ["" if self.settings.unanswerable and one.null_score > one.score else one.text for one in found]
        points = answers.points_of(given, right, "2.0")
        lead = np.array([one.score - one.null_score for one in found])
        wrong = np.where(points[:, 1] < 0.5, lead, -np.inf)
        listed = []
        for row in np.argsort(-wrong, kind="stable")[:most]:
            example = examples[row]
            assert isinstance(example, Question)
            if np.isfinite(wrong[row]):
                listed.append(
                    {
                        "number": int(row),
                        "text": example.question,
                        "pair": example.context,
                        "right": sorted(set(right[row])),
                        "predicted": given[row],
                        "score": round(float(wrong[row]), 4),
                    }
                )
        return listed


def _lead_of_none(found: Answer) -> float:
    """Returns by how much the score of no answer leads, a finite number also where no token can be in an answer."""
    lead = found.null_score - found.score
    return lead if np.isfinite(lead) else float(np.finfo(np.float64).max)


def accepted(example: Example) -> list[str] | None:
    """Returns the accepted answers of a question; an empty list: there is none; None: unknown."""
    assert isinstance(example, Question)
    return None if example.answers is None else [text for text, _ in example.answers]


KIND = kind_of(QuestionAnswering, QuestionAnsweringConfig)
