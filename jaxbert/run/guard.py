"""The loss guard: which losses are sane, which checkpoints are therefore good, and when a run has diverged.

The loss of one step is noisy, above all where a batch has few rows. So the guard judges the last steps together: a step
is sane if its loss is finite, and if

- the mean over the last `LATEST` steps, of this phase or an earlier one, is not above `hopeless`. A model that has
  learned nothing has the loss of the run's first step, or ln V for each masked token of a vocabulary of V pieces.
  `hopeless` is `FACTOR` times the larger of the two, and the first limit.
- the median over the last `LATEST` steps is not above the second limit. Within a phase, the lowest mean over `WINDOW`
  steps says what the model can do. A loss of more than `FACTOR` times this mean, and also more than `MARGIN` nats and
  `SPREAD` standard deviations of a step above it, has lost what was learned.

The mean sees at once a loss that has left all bounds. The median passes over three steps that are high by chance.

The second limit holds once a phase has `WINDOW` steps. A model that has learned already, and whose rate rises again,
may lose much of what it can do and then learn more: there, the second limit counts later (`settling`).

See docs/decisions/0025-good-checkpoints.md.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

FACTOR = 2.0
MARGIN = 1.0  # nats
SPREAD = 3.0  # standard deviations
LATEST = 7  # steps
WINDOW = 50  # steps
# This many steps in a row that are not sane, or were skipped, at the end of a run, mean that the run has diverged.
ENDING = 5
# The steps of a rate that rises again, beside those of its warm-up, in which a loss may rise.
SETTLING = 200


def settling(warmup_steps: int) -> int:
    """Returns for how many steps the loss of a model that has learned already may rise when its rate rises again."""
    return 2 * warmup_steps + SETTLING


class Guard:
    """Judges the losses of a run, step by step.

    Args:
      vocab_size: V, the number of pieces of the vocabulary.
      memory: what `memory` was when the checkpoint was written from which the run continues; None in a new run.
      weight: the largest weight of a term of the loss, by which the loss of a model that has learned nothing grows.
    """

    def __init__(self, vocab_size: int, memory: Mapping[str, Any] | None = None, *, weight: float = 1.0):
        kept = memory or {}
        self._chance = math.log(vocab_size) * max(1.0, weight)
        self._first: float | None = kept.get("first")
        self._lowest: float | None = kept.get("lowest")
        self._spread: float = kept.get("spread") or 0.0
        # The last losses that are finite, and how many steps of the phase had one after its rate had settled.
        self._recent: list[float] = list(kept.get("recent", ()))
        self._count: int = kept.get("count", len(self._recent))
        self._in_a_row: int = kept.get("in_a_row", 0)
        self._skipped: int = kept.get("skipped", 0)
        self._lost: bool = kept.get("lost", False)

    @property
    def memory(self) -> dict[str, Any]:
        """Returns JSON values from which another `Guard` goes on as this one would."""
        return {
            "first": self._first,
            "lowest": self._lowest,
            "spread": self._spread,
            "recent": list(self._recent),
            "count": self._count,
            "in_a_row": self._in_a_row,
            "skipped": self._skipped,
            "lost": self._lost,
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
        """Returns the highest sane loss of the last steps."""
        if self._lowest is None:
            return self.hopeless
        return min(self.hopeless, self._lowest + max((FACTOR - 1) * self._lowest, MARGIN, SPREAD * self._spread))

    @property
    def in_a_row(self) -> int:
        """Returns how many of the last steps, one after another, were not sane."""
        return self._in_a_row

    def start_phase(self, settling: int = 0) -> None:
        """Forgets the lowest mean: losses on other rows do not compare.

        Args:
          settling: the number of steps at the start of the phase in which the loss may rise; see `settling`.
        """
        self._lowest, self._spread, self._count = None, 0.0, -settling

    def step(self, loss: float, *, skipped: int = 0, broken: bool = False) -> int:
        """Notes the loss of a step. Returns how many of the last steps had a loss of parameters that have diverged.

        0 says that the step is sane. The loss of a step is that of the parameters before it: 1 says that these have
        diverged, 2 says that the parameters before the step before have diverged too, and so on.

        Args:
          loss: the loss.
          skipped: how many of the last steps, one after another, changed no parameter, because the loss or the
            gradient was not finite. A step that was skipped for its gradient only leaves the parameters good.
          broken: whether the step changed the parameters by values that are not finite.
        """
        finite, limit, hopeless = math.isfinite(loss), self.limit, self.hopeless
        if finite:
            if self._first is None:
                self._first = loss
                limit = hopeless = self.hopeless
            self._recent = [*self._recent[1 - WINDOW :], loss]
            self._count += 1
        latest = self._recent[-LATEST:]
        within = latest[-self._count :] if self._count > 0 else []
        left = bool(latest) and sum(latest) / len(latest) > hopeless
        forgotten = bool(within) and statistics.median_low(within) > limit
        self._lost = broken or not finite or left
        sane = not (self._lost or forgotten)
        self._in_a_row = 0 if sane else self._in_a_row + 1
        self._skipped = skipped
        if finite and self._count >= WINDOW:
            mean = sum(self._recent) / WINDOW
            if self._lowest is None or mean < self._lowest:
                self._lowest, self._spread = mean, statistics.pstdev(self._recent)
        if sane:
            return 0
        high = [back for back, one in enumerate(reversed(latest), start=1) if one > (hopeless if left else limit)]
        return max(high, default=1)

    def sane_evaluation(self, loss: float | None) -> bool:
        """Returns whether a validation loss is sane.

        Held-out rows may have a much higher loss than those that the model has learned, so only `hopeless` counts.
        """
        return loss is not None and math.isfinite(loss) and loss <= self.hopeless

    def diverged_at_the_end(self) -> bool:
        """Returns whether a run whose last step was noted has diverged."""
        return self._lost or self._in_a_row >= ENDING or self._skipped >= ENDING
