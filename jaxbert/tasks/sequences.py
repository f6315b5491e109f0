"""Classification of texts and pairs of texts: one label, several labels, or a number.

The pooled vector goes through dropout and one dense layer (Devlin et al. 2019, section 4.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import LabelledTaskConfig, RunConfig
from jaxbert.core.metrics import Metric
from jaxbert.core.sharding import Field
from jaxbert.data.pipeline import Rows
from jaxbert.errors import InputError
from jaxbert.labelled.examples import Example, TextExample
from jaxbert.scores import classes, intervals, numbers
from jaxbert.scores.base import Scored
from jaxbert.tasks.base import Arrays, Term
from jaxbert.tasks.labelled import LabelledTask, Part, real_rows
from jaxbert.tasks.labelled_runs import kind_of

Problem = Literal["one_label", "several_labels", "number"]


@dataclass(frozen=True, kw_only=True)
class ClassificationConfig(LabelledTaskConfig):
    """Settings of a classification.

    Attributes:
      problem: `one_label`: the classes exclude each other, softmax; `several_labels`: each class by itself, sigmoid;
        `number`: regression with the squared error.
      smoothing: share of a label's probability that goes to all classes alike (Szegedy et al. 2016), for `one_label`.
      weighting: `none`; or `balanced`: a class counts by examples / (classes x its examples), for `one_label`.
      class_weights: a weight for each class, in the order of the labels; the run sets it by `weighting` when it
        begins. With `smoothing` the share of a class has the class's weight, as in torch.nn.CrossEntropyLoss.
    """

    name: str = "classification"
    problem: Problem = "one_label"
    smoothing: float = 0.0
    weighting: Literal["none", "balanced"] = "none"
    class_weights: tuple[float, ...] = ()


class Classification(LabelledTask):
    """See `Task`. Targets: int (B,) with -1 for unknown, uint8 (B, C) with 255, or float (B,) with NaN."""

    kind: ClassVar[str] = "classification"
    head: ClassVar[str] = "sequence_classification"
    title: ClassVar[str] = "classification"

    settings: ClassificationConfig

    @classmethod
    def heads_of(cls, config: RunConfig) -> Mapping[str, Mapping[str, int]]:
        """See `LabelledTask`."""
        settings = config.task
        assert isinstance(settings, ClassificationConfig)
        return {"pooler": {}, cls.head: {"labels": 1 if settings.problem == "number" else len(settings.labels)}}

    @classmethod
    def labels_of(cls, config: RunConfig) -> tuple[tuple[str, ...], str] | None:
        """See `LabelledTask`; a number has one class, whose name says nothing."""
        settings = config.task
        assert isinstance(settings, ClassificationConfig)
        words = {
            "one_label": "single_label_classification",
            "several_labels": "multi_label_classification",
            "number": "regression",
        }
        return settings.labels or ("LABEL_0",), words[settings.problem]

    @classmethod
    def metrics_of(cls, settings: ClassificationConfig) -> Sequence[Metric]:
        """See `LabelledTask`."""
        if settings.problem == "number":
            return numbers.METRICS
        return classes.metrics(settings.problem, settings.labels)

    @classmethod
    def ranges(cls, settings: ClassificationConfig) -> Iterator[tuple[str, bool, str]]:
        """See `LabelledTask`."""
        yield ("smoothing", 0 <= settings.smoothing < 1, "0 or more, and less than 1")
        weights = settings.class_weights
        usable = all(0 <= weight < math.inf for weight in weights) and (any(weights) or not weights)
        yield "class_weights", usable, "numbers of 0 or more, of which one is above 0"
        labels = settings.labels
        yield (
            "class_weights",
            not (weights and labels) or len(weights) == len(labels),
            f"{len(labels)} weights, one for each label: {', '.join(labels[:20])}",
        )

    @classmethod
    def idle(cls, settings: ClassificationConfig) -> Mapping[str, str]:
        """See `LabelledTask`."""
        if settings.problem == "one_label":
            return {}
        why = f"it is for problem=one_label, and the problem is {settings.problem}"
        labels = {"labels": "a number has no labels"} if settings.problem == "number" else {}
        return {"smoothing": why, "weighting": why, "class_weights": why, **labels}

    @classmethod
    def problem_of(cls, settings: ClassificationConfig) -> str:
        """See `LabelledTask`."""
        return settings.problem

    @classmethod
    def found(cls, settings: ClassificationConfig, splits: Mapping[str, Sequence[Example]]) -> ClassificationConfig:
        """See `LabelledTask`; also the weights of the classes."""
        if settings.problem == "number":
            return settings
        settings = super().found(settings, splits)
        if settings.weighting == "none" or settings.problem != "one_label":
            return settings
        targets = [example.target for example in splits["train"] if isinstance(example, TextExample)]
        counts = [targets.count(label) for label in settings.labels]
        if not all(counts):
            missing = settings.labels[counts.index(0)]
            raise InputError(
                f"no train example has the label {missing!r}, so it has no balanced weight",
                where="task.weighting",
                fix="Leave the label out of task.labels, or set task.weighting=none.",
                code="E-LABELLED-LABEL",
            )
        return replace(settings, class_weights=tuple(len(targets) / (len(counts) * count) for count in counts))

    def answers_at(self, length: int) -> Mapping[str, Field]:
        """See `LabelledTask`."""
        del length
        if self.settings.problem == "number":
            return {"target": Field((), "float32")}
        if self.settings.problem == "several_labels":
            return {"target": Field((len(self.settings.labels),), "int32")}
        return {"target": Field(())}

    def denominators(self, batch: Arrays) -> dict[str, Any]:
        """See `Task`."""
        return {self.kind: self._weights(batch).sum()}

    def _weights(self, batch: Arrays) -> Any:
        """Returns the weight of each row (B,), or of each class of each row (B, C)."""
        target, real_B = batch["target"], real_rows(batch)
        if self.settings.problem == "number":
            return real_B * jnp.isfinite(target)
        if self.settings.problem == "several_labels":
            return real_B[:, None] * (target <= 1)
        weight_B = real_B * (target >= 0)
        weight_C = self._class_weights()
        if weight_C is not None:
            weight_B = weight_B * ((jnp.arange(len(weight_C)) == target[:, None]) * weight_C).sum(-1)
        return weight_B

    def _class_weights(self) -> Any:
        """Returns the weights of the classes as multiples of the least one above 0, float32 (C,); None for none.

        Only their ratios count, because a loss is divided by the sum of its weights. The step never divides by less
        than 1, which the sum of a batch of light classes might be.
        """
        weights = np.asarray(self.settings.class_weights, np.float64)
        return jnp.asarray(weights / weights[weights > 0].min(), jnp.float32) if weights.any() else None

    def losses(self, outputs: Arrays, batch: Arrays) -> Term:
        """See `LabelledTask`."""
        z_BC, target, weight = outputs["logits"], batch["target"], self._weights(batch)
        if self.settings.problem == "number":
            error_B = z_BC[:, 0] - jnp.where(jnp.isfinite(target), target, 0.0)
            return Term((weight * error_B * error_B).sum(), weight.sum(), {})
        if self.settings.problem == "several_labels":
            true_BC = (target == 1).astype(z_BC.dtype)
            loss_BC = jnp.logaddexp(0.0, z_BC) - true_BC * z_BC
            right_BC = (z_BC > 0) == (true_BC > 0)
            return Term((weight * loss_BC).sum(), weight.sum(), {"accuracy": (weight * right_BC).sum()})
        smoothing, weight_C = self.settings.smoothing, self._class_weights()
        if weight_C is None or not smoothing:
            loss_B, right_B = smoothed_cross_entropy(z_BC, target, smoothing)
            return Term((weight * loss_B).sum(), weight.sum(), {"accuracy": (weight * right_B).sum()})
        # The share of smoothing has the weight of each class, as torch.nn.CrossEntropyLoss has it.
        loss_B, right_B = smoothed_cross_entropy(z_BC, target, 0.0)
        known_B = real_rows(batch) * (target >= 0)
        spread_B = -(weight_C * jax.nn.log_softmax(z_BC, axis=-1)).mean(-1)
        total = (1.0 - smoothing) * (weight * loss_B).sum() + smoothing * (known_B * spread_B).sum()
        return Term(total, weight.sum(), {"accuracy": (weight * right_B).sum()})

    def scored(self, outputs: Mapping[str, np.ndarray], rows: Rows | Part, *, final: bool = False) -> Scored:
        """See `LabelledTask`."""
        target = rows.read(np.arange(len(rows)))["target"]
        if self.settings.problem == "number":
            found = numbers.score(outputs["logits"][:, 0], target)
            return replace(found, intervals=numbers.bounds(outputs["logits"][:, 0], target)) if final else found
        logits, labels = outputs["logits"], self.settings.labels
        if self.settings.problem == "several_labels":
            found = classes.several_labels(logits, target, labels)
            few = len(labels) <= intervals.MOST_LABELS
            sums = intervals.of_several_labels(logits > 0, target) if final and few else None
        else:
            found = classes.one_label(logits, target, labels)
            sums = _sums(target, logits.argmax(-1), len(labels)) if final else None
        return found if sums is None else replace(found, intervals=intervals.bounds_of_sums(sums))

    def constant_outputs(self, rows: Rows) -> dict[str, np.ndarray]:
        """See `LabelledTask`."""
        target = rows.read(np.arange(len(rows)))["target"]
        if self.settings.problem == "number":
            known = target[np.isfinite(target)]
            return {"logits": np.full((len(target), 1), known.mean() if known.size else 0.0, np.float32)}
        classes_ = len(self.settings.labels)
        if self.settings.problem == "several_labels":
            share_C = (target == 1).sum(0) / np.maximum(1, (target <= 1).sum(0))
            return {"logits": np.tile(np.where(share_C > 0.5, 1.0, -1.0).astype(np.float32), (len(target), 1))}
        counts_C = np.bincount(target[target >= 0], minlength=classes_)
        return {"logits": np.tile(np.log(counts_C + 1.0).astype(np.float32), (len(target), 1))}

    def errors(
        self, outputs: Mapping[str, np.ndarray], rows: Rows, examples: Sequence[Example], most: int
    ) -> list[dict[str, Any]]:
        """See `LabelledTask`. The score is the loss of the example: nats, or a squared difference."""
        target, z = rows.read(np.arange(len(rows)))["target"], outputs["logits"].astype(np.float64)
        labels = self.settings.labels
        right: list[Any]
        predicted: list[Any]
        if self.settings.problem == "number":
            loss = np.where(np.isfinite(target), (z[:, 0] - target) ** 2, -1.0)
            right = [float(value) for value in target]
            predicted = [round(float(value), 4) for value in z[:, 0]]
        elif self.settings.problem == "several_labels":
            loss = np.where(target <= 1, np.logaddexp(0.0, z) - (target == 1) * z, 0.0).sum(-1)
            loss = np.where(((z > 0) != (target == 1)).any(-1), loss, -1.0)
            predicted = [[labels[c] for c in np.flatnonzero(row > 0)] for row in z]
            right = [[labels[c] for c in np.flatnonzero(row == 1)] for row in target]
        else:
            log_p = z - np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True)) - z.max(-1, keepdims=True)
            at = np.maximum(target, 0)
            loss = np.where((target >= 0) & (z.argmax(-1) != target), -log_p[np.arange(len(z)), at], -1.0)
            predicted, right = [labels[c] for c in z.argmax(-1)], [labels[c] for c in at]
        return [
            {**text_of(examples[row]), "number": int(row), "right": right[row], "predicted": predicted[row],
             "score": round(float(loss[row]), 4)}
            for row in np.argsort(-loss, kind="stable")[:most]
            if loss[row] > 0
        ]  # fmt: skip


def _sums(target: np.ndarray, predicted: np.ndarray, labels: int) -> intervals.Sums:
    """Returns the sums of the scores of labels; those of the accuracy where there are many labels."""
    if labels <= intervals.MOST_LABELS:
        return intervals.of_labels(target, predicted, labels)
    return intervals.of_means({"accuracy": (predicted == target)[target >= 0]})


def text_of(example: Example) -> dict[str, Any]:
    """Returns the texts of an example for a list of errors."""
    assert isinstance(example, TextExample)
    return {"text": example.text, **({} if example.pair is None else {"pair": example.pair})}


def smoothed_cross_entropy(z: Any, label: Any, smoothing: float) -> tuple[Any, Any]:
    """Returns the cross entropy with smoothed labels, and whether the label has the highest logit.

    The loss is (1 - s) x -log p(label) + s x the mean of -log p over all classes.

    Args:
      z: logits (..., C).
      label: int (...); a negative one counts as class 0, and its caller gives it no weight.
      smoothing: s.
    """
    log_p = z - jnp.log(jnp.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True)) - z.max(-1, keepdims=True)
    is_label = jnp.arange(z.shape[-1]) == jnp.maximum(label, 0)[..., None]
    at_label = jnp.where(is_label, log_p, 0.0).sum(-1)
    loss = -at_label
    if smoothing:
        loss = (1.0 - smoothing) * loss - smoothing * log_p.mean(-1)
    return loss, at_label >= log_p.max(-1)


KIND = kind_of(Classification, ClassificationConfig)
