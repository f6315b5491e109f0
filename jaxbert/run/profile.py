"""Records some steps of a run with `jax.profiler`, for TensorBoard or Perfetto: `--profile A:B`."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from jaxbert.errors import InputError
from jaxbert.inputs.values import whole_number

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Steps:
    """Steps `first` to `last` of a run, both counted from 1 and included."""

    first: int
    last: int


def parse_steps(text: str) -> Steps:
    """Returns the steps of a text A:B.

    Raises:
      InputError: A and B are not steps in their order.
    """
    words = text.partition(":")
    first, last = whole_number(words[0]), whole_number(words[2])
    if first is None or last is None or not 1 <= first <= last:
        raise InputError(
            f"{text!r} does not name steps",
            where="--profile",
            fix="Write FIRST:LAST, for example 20:24. Steps are counted from 1.",
            code="E-ARGUMENT-PROFILE",
        )
    return Steps(first, last)


class Profile:
    """Starts and stops the trace of a run. The loop calls `before_step` and `after_step` around each step.

    Each process writes its trace: into `directory`, or into its own folder below it where there are several.
    """

    def __init__(self, steps: Steps | None, directory: Path):
        self._steps, self._directory = steps, directory
        self._running = self._written = False

    def __enter__(self) -> Profile:
        return self

    def before_step(self, step: int) -> None:
        """Starts the trace, where `step` is the first one to record that this run does."""
        if self._steps is None or self._running or self._written or not self._steps.first <= step <= self._steps.last:
            return
        import jax

        place = self._directory
        if jax.process_count() > 1:
            place = place / f"process-{jax.process_index()}"
        jax.profiler.start_trace(str(place))
        self._running = True

    def after_step(self, step: int) -> None:
        """Stops the trace after the last step to record."""
        if self._running and self._steps is not None and step >= self._steps.last:
            self._stop()
            _log.info(f"profile of steps {self._steps.first} to {self._steps.last}: {self._directory}")

    def _stop(self) -> None:
        import jax

        jax.profiler.stop_trace()
        self._running, self._written = False, True

    def __exit__(self, *error: Any) -> None:
        if self._running:
            self._stop()
            _log.warning(f"the run ended before the last step to profile; what was recorded is in {self._directory}")
        elif self._steps is not None and not self._written and error[0] is None:
            _log.warning(f"no profile: this run did not do steps {self._steps.first} to {self._steps.last}")
