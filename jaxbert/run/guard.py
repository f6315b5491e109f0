"""The loss guard: which losses are sane, which checkpoints are therefore good, and when a run has diverged.

A loss is sane if it is finite and not above a limit. The limit comes from two figures of the run itself:

- A model that has learned nothing has the loss of the run's first step, or ln V for each masked token of a vocabulary
  of V pieces. More than `FACTOR` times the larger of the two is worse than knowing nothing. This holds from the first
  step.
- Within a phase, the lowest mean over `WINDOW` steps says what the model can do. More than `FACTOR` times this mean,
  and more than `MARGIN` nats above it, has lost what was learned. This holds once the phase has `WINDOW` steps.

Healthy runs keep away from both: the loss of a step differs from the mean by some per cent. Batches of a few rows are
noisier, and a single step of theirs may be above the limit. It ends nothing. It only means that a checkpoint of this
step, or of the step before, does not count as good (docs/decisions/0025-good-checkpoints.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

FACTOR = 2.0
MARGIN = 1.0  # nats
WINDOW = 20  # steps
# This many steps in a row above the limit, at the end of a run, mean that the run has diverged.
ENDING = 5


class Guard:
    """Judges the losses of a run, step by step.

    Args:
      vocab_size: V, the number of pieces of the vocabulary.
      memory: what `memory` was when the checkpoint was written from which the run continues; None in a new run.
    """

    def __init__(self, vocab_size: int, memory: Mapping[str, Any] | None = None):
        kept = memory or {}
        self._chance = math.log(vocab_size)
        self._first: float | None = kept.get("first")
        self._lowest: float | None = kept.get("lowest")
        self._recent: list[float] = list(kept.get("recent", ()))
        self._in_a_row: int = kept.get("in_a_row", 0)
        self._last: float | None = kept.get("last")

    @property
    def memory(self) -> dict[str, Any]:
        """Returns JSON values from which another `Guard` goes on as this one would."""
        return {
            "first": self._first,
            "lowest": self._lowest,
            "recent": list(self._recent),
            "in_a_row": self._in_a_row,
            "last": self._last,
        }

    @property
    def knows_the_run(self) -> bool:
        """Returns whether it has judged a step of this run: versions before this guard wrote no memory of it."""
        return self._first is not None or self._in_a_row > 0

    @property
    def hopeless(self) -> float:
        """Returns the loss above which a model is worse than one that has learned nothing."""
        return FACTOR * max(self._chance, self._first or 0.0)

    @property
    def limit(self) -> float:
        """Returns the highest sane loss of a step."""
        if self._lowest is None:
            return self.hopeless
        return min(self.hopeless, max(FACTOR * self._lowest, self._lowest + MARGIN))

    @property
    def in_a_row(self) -> int:
        """Returns how many of the last steps, one after another, had a loss that is not sane."""
        return self._in_a_row

    def start_phase(self) -> None:
        """Forgets the lowest mean: losses on other rows do not compare."""
        self._lowest, self._recent = None, []

    def step(self, loss: float, finite: bool) -> bool:
        """Notes the loss of a step, and returns whether it is sane.

        Args:
          loss: the loss.
          finite: whether the loss and the gradient are finite; a step that is not finite was skipped.
        """
        finite = finite and math.isfinite(loss)
        if finite and self._first is None:
            self._first = loss
        sane = finite and loss <= self.limit
        self._in_a_row = 0 if sane else self._in_a_row + 1
        self._last = loss if finite else None
        if finite:
            self._recent = [*self._recent[1 - WINDOW :], loss]
            if len(self._recent) == WINDOW:
                mean = sum(self._recent) / WINDOW
                self._lowest = mean if self._lowest is None else min(self._lowest, mean)
        return sane

    def sane_evaluation(self, loss: float | None) -> bool:
        """Returns whether a validation loss is sane.

        Held-out rows may have a much higher loss than those that the model has learned, so only `hopeless` counts.
        """
        return loss is not None and math.isfinite(loss) and loss <= self.hopeless

    def diverged_at_the_end(self) -> bool:
        """Returns whether a run whose last step was noted has diverged."""
        return self._in_a_row >= ENDING or (self._last is not None and self._last > self.hopeless)
