"""What an objective is: a corruption of the batch, and terms of the loss from hidden states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import jax

from jaxbert.models.layers import Params
from jaxbert.models.model import Model

Batch = dict[str, jax.Array]
Frozen = Mapping[str, jax.Array]


class Term(NamedTuple):
    """A term of the loss over some rows, before division.

    Attributes:
      sum: weighted sum of the per-item losses, float32.
      weight: sum of the items' weights; over the whole global batch it is the denominator.
      figures: further sums over the same items ("accuracy": number of right answers), divided likewise for display.
    """

    sum: jax.Array
    weight: jax.Array
    figures: dict[str, jax.Array]


class Objective(Protocol):
    """One objective; see `jaxbert.objectives.OBJECTIVES`.

    Attributes:
      weight: of its terms in the loss.
      heads: keys of `jaxbert.models.model.HEADS` that it calls.
      policies: rows policies that it can learn from.
    """

    weight: float
    heads: tuple[str, ...]
    policies: tuple[str, ...]

    def corrupt(self, batch: Batch, frozen: Frozen, key: jax.Array) -> Batch:
        """The batch with its tokens corrupted and its answers added: pure, the same bits on every mesh.

        Runs on the whole global batch, before micro-batches are cut.
        """
        ...

    def denominators(self, batch: Batch) -> dict[str, jax.Array]:
        """Weight of each term over the corrupted global batch, known before the first gradient."""
        ...

    def terms(self, model: Model, params: Params, batch: Batch, x_BLD: jax.Array) -> dict[str, Term]:
        """The terms over a micro-batch, from the encoder's last hidden states."""
        ...
