"""The contract of an objective. It adds answers to a batch, and computes terms of the loss from hidden states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import EncoderBase
from jaxbert.core.metrics import Metric, TermInfo
from jaxbert.core.parameters import Params
from jaxbert.data.policies.segments import Policy
from jaxbert.models.model import Model

# The fields of a batch by name. (`jaxbert.Batch` is the typed one of texts, for users of the library.)
Arrays = dict[str, jax.Array]
# Vocabulary tables by name; under "teacher" a tree of parameters.
Frozen = Mapping[str, Any]


class Term(NamedTuple):
    """A term of the loss over some rows, before it is divided.

    Attributes:
      sum: weighted sum of the losses of the items, float32.
      weight: sum of the weights of the items. Over the whole global batch it is the denominator.
      figures: further sums over the same items, for the metrics; for example "accuracy": the number of right answers.
      ones: of items in two classes, the number of those in class 1; None for other items. An evaluation tells by it
        what a constant answer scores.
    """

    sum: jax.Array
    weight: jax.Array
    figures: Mapping[str, jax.Array]
    ones: jax.Array | None = None


def at_least_one(weight: Any) -> Any:
    """Returns the weight as a denominator: 1 where no item counts. Takes arrays of jax and of numpy."""
    # A sum of numpy arrays without dimensions is a number of numpy, which jax would round to float32.
    return np.maximum(weight, 1.0) if isinstance(weight, (np.ndarray, np.generic)) else jnp.maximum(weight, 1.0)


def means(sums: Mapping[str, Term]) -> dict[str, Any]:
    """Returns means by name: "masked_lm_loss" and "masked_lm_accuracy" for the term "masked_lm".

    Takes terms in jax arrays, and terms in numpy arrays that were summed over an evaluation. The mean over no item is
    NaN in a step; an evaluation leaves it out.
    """
    found: dict[str, Any] = {}
    for name, term in sums.items():
        weight = at_least_one(term.weight)
        each = {"loss": term.sum / weight, **{figure: value / weight for figure, value in term.figures.items()}}
        if not isinstance(weight, (np.ndarray, np.generic)):
            each = {figure: jnp.where(term.weight > 0, mean, jnp.nan) for figure, mean in each.items()}
        elif not term.weight:
            continue
        found |= {f"{name}_{figure}": mean for figure, mean in each.items()}
    return found


class Objective(Protocol):
    """One objective; see `jaxbert.objectives.OBJECTIVES`.

    `OBJECTIVES` has the class. An instance is made from (its part of `ObjectivesConfig`, the encoder's config,
    length=L, slots=M).

    Attributes:
      config: class of its part of `ObjectivesConfig`. An objective without a field there takes `ExtraObjective`, or a
        subclass of it with more settings.
      terms: its terms of the loss, by name.
      metrics: the numbers that it measures beside the losses of its terms.
      heads: keys of `jaxbert.models.model.HEADS` that it calls, with the sizes that they take beside the config.
    """

    config: ClassVar[type]
    terms: Mapping[str, TermInfo]
    metrics: Sequence[Metric]
    heads: Mapping[str, Mapping[str, int]]

    def __init__(self, config: Any, encoder: EncoderBase, *, length: int, slots: int): ...

    @staticmethod
    def fits(policy: Policy) -> bool:
        """Returns whether it can learn from rows of this policy."""
        ...

    def prepare(self, params: Params, frozen: Frozen, batch: Arrays, key: jax.Array) -> Arrays:
        """Returns the batch with changed tokens and with answers added: pure, the same bits on every mesh.

        Runs on the whole global batch, before micro-batches are cut. No gradient flows through it.
        """
        ...

    def denominators(self, batch: Arrays) -> dict[str, jax.Array]:
        """Returns the weight of each term over the prepared global batch."""
        ...

    def compute(self, model: Model, params: Params, frozen: Frozen, batch: Arrays, x_BLD: jax.Array) -> dict[str, Term]:
        """Returns the terms over a micro-batch, from the encoder's last hidden states."""
        ...
