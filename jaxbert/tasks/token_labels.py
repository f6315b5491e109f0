"""Labels of words: entities, parts of speech. The first piece of each word has the word's label (Devlin et al. 2019)."""

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
from jaxbert.labelled.tags import spans_of
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
        examples = read_examples(rows.directory, rows.split)
        words = words_of_windows(outputs["logits"], rows.read(np.arange(len(rows))), examples)
        gold, predicted = [], []
        for example, logits in zip(examples, words, strict=True):
            gold.append(spans_of(example.tags))
            predicted.append(spans_of([self.settings.labels[label] for label in logits.argmax(-1)]))
        return entities.score(predicted, gold, schemes=False)


KIND = kind_of(TokenLabels, TokenLabelsConfig)
