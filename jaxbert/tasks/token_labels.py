"""Labels of words: entities, parts of speech.

The first piece of each word has the word's label (Devlin et al. 2019, section 5.3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from jaxbert.config import LabelledTaskConfig, RunConfig
from jaxbert.core.metrics import Metric
from jaxbert.core.sharding import Field
from jaxbert.data.pipeline import Rows
from jaxbert.labelled.answers import words_of_windows
from jaxbert.labelled.examples import Example, WordsExample
from jaxbert.labelled.tags import spans
from jaxbert.labelled.writing import read_examples
from jaxbert.scores import entities
from jaxbert.scores.base import Scored
from jaxbert.tasks.base import Arrays, Term
from jaxbert.tasks.labelled import LabelledTask, kind_of
from jaxbert.tasks.sequences import smoothed_cross_entropy


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
        """See `LabelledTask`."""
        del settings
        return entities.METRICS

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

    def scored(self, outputs: Mapping[str, np.ndarray], rows: Rows) -> Scored:
        """See `LabelledTask`."""
        gold, predicted, _ = self._entities(outputs, rows, list(read_examples(rows.directory, rows.split)))
        return entities.score(predicted, gold, schemes=False)

    def _entities(
        self, outputs: Mapping[str, np.ndarray], rows: Rows, examples: Sequence[Example]
    ) -> tuple[list[Any], list[Any], list[np.ndarray]]:
        """Returns the right and the predicted entities of each example, and the logits of its words."""

        def found(tags: Sequence[str]) -> list[tuple[str, int, int]]:
            return [(label, first, end - 1) for label, first, end in spans(tags)]

        known = [example for example in examples if isinstance(example, WordsExample)]
        words = words_of_windows(outputs["logits"], rows.read(np.arange(len(rows))), known)
        gold, predicted = [], []
        for example, logits in zip(known, words, strict=True):
            assert example.tags is not None
            gold.append(found(example.tags))
            predicted.append(found([self.settings.labels[label] for label in logits.argmax(-1)]))
        return gold, predicted, words

    def constant_outputs(self, rows: Rows) -> dict[str, np.ndarray]:
        """See `LabelledTask`; no entity anywhere."""
        logits = np.zeros((len(rows), rows.length, len(self.settings.labels)), np.float32)
        logits[..., self.settings.labels.index("O")] = 1.0
        return {"logits": logits}

    def errors(
        self, outputs: Mapping[str, np.ndarray], rows: Rows, examples: Sequence[Example], most: int
    ) -> list[dict[str, Any]]:
        """See `LabelledTask`. The score is the number of entities that are wrong or missing."""
        gold, predicted, _ = self._entities(outputs, rows, examples)
        wrong = np.array([len(set(one) ^ set(other)) for one, other in zip(gold, predicted, strict=True)])
        found = []
        for row in np.argsort(-wrong, kind="stable")[:most]:
            example = examples[row]
            assert isinstance(example, WordsExample)
            if wrong[row]:
                words = example.words
                right, ours = (
                    [f"{kind}: {example.text[words[first][0] : words[last][1]]}" for kind, first, last in spans[row]]
                    for spans in (gold, predicted)
                )
                found.append(
                    {
                        "number": int(row),
                        "text": example.text,
                        "right": right,
                        "predicted": ours,
                        "score": int(wrong[row]),
                    }
                )
        return found


KIND = kind_of(TokenLabels, TokenLabelsConfig)
