"""What an objective is: a corruption of the batch, and terms of the loss from hidden states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax

from jaxbert.config import EncoderBase
from jaxbert.core.parameters import Params
from jaxbert.models.model import Model

Batch = dict[str, jax.Array]
# Vocabulary tables by name; under "teacher" a tree of parameters.
Frozen = Mapping[str, Any]


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


# Policies whose rows are pairs, and those whose rows are one text, or several that do not see each other.
PAIRS = ("segment_pair", "ordered_pair", "ordered_pair_mixed")
SINGLES = ("full_sentences", "doc_sentences", "single_document", "packed")


class Objective(Protocol):
    """One objective; see `jaxbert.objectives.OBJECTIVES`.

    Built by its line in `OBJECTIVES` from (its part of `ObjectivesConfig`, the encoder's config, length=L, slots=M).

    Attributes:
      weights: of its terms in the loss, by the term's name.
      heads: keys of `jaxbert.models.model.HEADS` that it calls, with the sizes that they take beside the config.
      policies: rows policies that it can learn from.
    """

    weights: Mapping[str, float]
    heads: Mapping[str, Mapping[str, int]]
    policies: tuple[str, ...]

    def __init__(self, config: Any, encoder: EncoderBase, *, length: int, slots: int): ...

    def corrupt(self, batch: Batch, frozen: Frozen, key: jax.Array) -> Batch:
        """The batch with its tokens corrupted and its answers added: pure, the same bits on every mesh.

        Runs on the whole global batch, before micro-batches are cut.
        """
        ...

    def denominators(self, batch: Batch) -> dict[str, jax.Array]:
        """Weight of each term over the corrupted global batch, known before the first gradient."""
        ...

    def terms(self, model: Model, params: Params, frozen: Frozen, batch: Batch, x_BLD: jax.Array) -> dict[str, Term]:
        """The terms over a micro-batch, from the encoder's last hidden states."""
        ...
