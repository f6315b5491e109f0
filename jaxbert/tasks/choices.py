"""Multiple choice: each choice is a text with a score, and the choices are compared (Devlin et al. 2019, 4.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from jaxbert.config import LabelledTaskConfig, RunConfig
from jaxbert.core.metrics import Metric
from jaxbert.data.pipeline import Rows
from jaxbert.labelled.examples import ChoiceExample, Example
from jaxbert.scores import classes, intervals
from jaxbert.scores.base import Scored
from jaxbert.tasks.base import Arrays, Term
from jaxbert.tasks.labelled import LabelledTask, Part, apart
from jaxbert.tasks.labelled_runs import kind_of
from jaxbert.tasks.sequences import smoothed_cross_entropy


@dataclass(frozen=True, kw_only=True)
class MultipleChoiceConfig(LabelledTaskConfig):
    """Settings of multiple choice.

    Attributes:
      choices: the most choices of an example; the run finds it when it begins.
    """

    name: str = "multiple_choice"
    choices: int = 0


class MultipleChoice(LabelledTask):
    """See `Task`. A row has K texts, one a choice. Targets: int (B,), the right choice, -1 for unknown."""

    kind: ClassVar[str] = "multiple_choice"
    head: ClassVar[str] = "multiple_choice"
    title: ClassVar[str] = "multiple choice"

    settings: MultipleChoiceConfig

    @classmethod
    def heads_of(cls, config: RunConfig) -> Mapping[str, Mapping[str, int]]:
        """See `LabelledTask`."""
        del config
        return {"pooler": {}, cls.head: {"labels": 1}}

    @classmethod
    def metrics_of(cls, settings: MultipleChoiceConfig) -> Sequence[Metric]:
        """See `LabelledTask`."""
        del settings
        return classes.metrics("choices", ())

    @classmethod
    def texts_of(cls, settings: MultipleChoiceConfig) -> int:
        """See `LabelledTask`."""
        return max(2, settings.choices)

    @classmethod
    def found(cls, settings: MultipleChoiceConfig, splits: Mapping[str, Sequence[Example]]) -> MultipleChoiceConfig:
        """See `LabelledTask`; the most choices of an example of any split."""
        sizes = [len(one.choices) for split in splits.values() for one in split if isinstance(one, ChoiceExample)]
        return replace(settings, choices=max(sizes))

    def denominators(self, batch: Arrays) -> dict[str, Any]:
        """See `Task`."""
        return {self.kind: self._weights(batch).sum()}

    @staticmethod
    def _weights(batch: Arrays) -> Any:
        return ((batch["target"] >= 0) & (batch["group"][:, 0, 0] > 0)).astype(jnp.float32)

    def answer(self, params: Any, batch: Arrays, key: Any, dtype: Any) -> Arrays:
        """See `LabelledTask`; a choice that an example lacks has the lowest score."""
        z_BK = apart(self.scores(params, batch, key, dtype), self.texts)[..., 0]
        return {"logits": jnp.where(batch["group"][..., 0] > 0, z_BK, jnp.finfo(z_BK.dtype).min)}

    def losses(self, outputs: Arrays, batch: Arrays) -> Term:
        """See `LabelledTask`."""
        weight_B = self._weights(batch)
        loss_B, right_B = smoothed_cross_entropy(outputs["logits"], batch["target"], 0.0)
        return Term((weight_B * loss_B).sum(), weight_B.sum(), {"accuracy": (weight_B * right_B).sum()})

    def scored(self, outputs: Mapping[str, np.ndarray], rows: Rows | Part, *, final: bool = False) -> Scored:
        """See `LabelledTask`."""
        logits, target = outputs["logits"], rows.read(np.arange(len(rows)))["target"]
        found = classes.choices(logits, target)
        if not final:
            return found
        sums = intervals.of_means({"accuracy": (logits.argmax(-1) == target)[target >= 0]})
        return replace(found, intervals=intervals.bounds_of_sums(sums))

    def constant_outputs(self, rows: Rows) -> dict[str, np.ndarray]:
        """See `LabelledTask`; the place that is right most often."""
        target = rows.read(np.arange(len(rows)))["target"]
        counts_K = np.bincount(target[target >= 0], minlength=self.texts)
        return {"logits": np.tile(np.log(counts_K + 1.0).astype(np.float32), (len(target), 1))}

    def errors(
        self, outputs: Mapping[str, np.ndarray], rows: Rows, examples: Sequence[Example], most: int
    ) -> list[dict[str, Any]]:
        """See `LabelledTask`. The score is by how many nats the wrong choice is likelier than the right one."""
        target, z = rows.read(np.arange(len(rows)))["target"], outputs["logits"].astype(np.float64)
        ahead = np.where(target >= 0, z.max(-1) - z[np.arange(len(z)), np.maximum(target, 0)], 0.0)
        found = []
        for row in np.argsort(-ahead, kind="stable")[:most]:
            example = examples[row]
            assert isinstance(example, ChoiceExample)
            if ahead[row] > 0:
                found.append(
                    {
                        "number": int(row),
                        "text": " ".join(filter(None, (example.text, example.question))),
                        "right": example.choices[target[row]],
                        "predicted": example.choices[int(z[row].argmax())],
                        "score": round(float(ahead[row]), 4),
                    }
                )
        return found


KIND = kind_of(MultipleChoice, MultipleChoiceConfig)
