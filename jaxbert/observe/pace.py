"""Estimates the seconds until a run ends, from the steps and evaluations that this process has done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# The steps that the estimate looks back on, about: older ones count half.
_RECENT = 200
# An evaluation has no backward pass, whose work is twice that of the forward pass.
_FORWARD = 1 / 3


@dataclass(frozen=True)
class Work:
    """The work of a phase.

    Attributes:
      steps: the steps of the phase.
      step: the work of one step, in any unit that is the same for all phases: FLOPs.
      evaluation: the work of one evaluation if it had a backward pass, in the same unit; 0 if there is none.
    """

    steps: int
    step: float
    evaluation: float = 0.0


class Pace:
    """Adds up what steps, evaluations and checkpoints take, and estimates the rest of the run.

    Compilation counts for nothing: it comes once. A phase with longer rows or larger batches takes as much longer as
    its work is larger. Until the first evaluation is over, its share is estimated by its work too.

    Args:
      phases: the work of each phase.
      evaluate_every: steps between evaluations; 0 evaluates only at the end of the run.
      save_every: steps between checkpoints.
    """

    def __init__(self, phases: Sequence[Work], *, evaluate_every: int, save_every: int):
        self._phases, self._evaluate_every, self._save_every = phases, evaluate_every, save_every
        self._seconds = self._work = 0.0
        self._count = 0.0
        self._first: tuple[float, float] | None = None
        self._evaluation_s = self._evaluation_work = 0.0
        self._saves, self._save_s = 0, 0.0

    def step(self, phase: int, seconds: float, *, first: bool = False) -> None:
        """Adds a step of `phase`.

        Args:
          phase: the phase.
          seconds: its time, without compilation, evaluation and checkpoints.
          first: whether it is the first one after a compilation, which often takes longer than the others. It counts
            only until there is another one.
        """
        if first:
            self._first = (seconds, self._phases[phase].step)
            return
        if self._count >= _RECENT:
            self._count, self._seconds, self._work = self._count / 2, self._seconds / 2, self._work / 2
        self._count += 1
        self._seconds += seconds
        self._work += self._phases[phase].step

    def evaluation(self, phase: int, seconds: float) -> None:
        """Adds an evaluation of `phase`, without its compilation."""
        self._evaluation_s += seconds
        self._evaluation_work += self._phases[phase].evaluation

    def checkpoint(self, seconds: float) -> None:
        """Adds the seconds for which a checkpoint held up training."""
        self._saves += 1
        self._save_s += seconds

    def left_s(self, step: int) -> float | None:
        """Returns the seconds from `step` to the end of the run; None before the first step."""
        seconds, work = (self._seconds, self._work) if self._work else self._first or (0.0, 0.0)
        if not work:
            return None
        each = seconds / work
        evaluation = self._evaluation_s / self._evaluation_work if self._evaluation_work else each * _FORWARD
        save = self._save_s / self._saves if self._saves else 0.0
        total, begin, left = sum(phase.steps for phase in self._phases), 0, 0.0
        for phase in self._phases:
            end = begin + phase.steps
            here = max(step, begin)
            if here < end:
                left += (end - here) * phase.step * each
                left += _times(here, end, self._evaluate_every, end == total) * phase.evaluation * evaluation
                left += _times(here, end, self._save_every, True) * save
            begin = end
        return left


def _times(after: int, end: int, every: int, at_end: bool) -> int:
    """Returns how often something happens in steps after + 1 to end: at multiples of `every`, and at the end."""
    multiples = end // every - after // every if every else 0
    return multiples + (at_end and not (every and end % every == 0))
