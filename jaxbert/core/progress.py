"""A progress bar on a terminal, plain lines in a log. Imports no jax."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Any, Self, TextIO

from jaxbert.errors import counted


class Progress:
    """A progress bar on a terminal, or plain lines in a log. Both go to stderr.

    Training calls `update` with the number of steps that are done. Makers of shards call `advance` for each shard.

    Args:
      total: the number of steps or shards; None if it is not known.
      start: the count to begin with, for a resumed run.
      label: name of the measured work.
      unit: the name of one of the items that `advance` counts.
      stream: the stream to write to; None takes stderr.
      enabled: False shows nothing (for processes other than 0).
    """

    # In a log, `advance` prints at most one line per this number of seconds.
    _EVERY_S = 15.0

    def __init__(
        self,
        total: int | None,
        *,
        start: int = 0,
        label: str = "step",
        unit: str = "",
        stream: TextIO | None = None,
        enabled: bool = True,
    ):
        self._total, self._label, self._unit, self._done, self._start = total, label, unit, start, start
        self._stream = sys.stderr if stream is None else stream
        self._enabled, self._text, self._counts = enabled, "", bool(unit)
        self._began = self._printed = time.monotonic()
        self._bar: Any = None
        if enabled and self._stream.isatty() and os.environ.get("TERM", "") != "dumb":
            self._bar, self._task = _bar(total, start, label, unit, self._stream)

    def update(self, done: int, text: str | None = None) -> None:
        """Records that `done` of the total are done. A log gets a line only if `text` is given."""
        self._done = done
        if not self._enabled:
            return
        if text is not None:
            self._text = text
        if self._bar is not None:
            self._bar.update(self._task, completed=done, text=self._text)
        elif text is not None:
            self._print(f"{self._label} {done}/{self._total}  {text}{self._left()}")

    def advance(self, text: str = "") -> None:
        """Records that one more is done. A log gets a line every 15 seconds."""
        self._done, self._text = self._done + 1, text
        if not self._enabled:
            return
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, text=text)
        elif time.monotonic() - self._printed >= self._EVERY_S:
            self._printed = time.monotonic()
            self._print(self._count())

    def note(self, text: str) -> None:
        """Prints a line that stays: above the bar, or in the log."""
        if not self._enabled:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            self._print(text)

    def close(self) -> None:
        """Removes the bar. A log gets a last line if `advance` counts."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        elif self._enabled and self._counts:
            self._print(self._count())
        self._counts = False

    def _count(self) -> str:
        done = counted(self._done, self._unit)
        if self._total is not None:
            done = f"{self._done:,} of {counted(self._total, self._unit)}"
        text = f", {self._text}" if self._text else ""
        return f"{self._label}: {done}{text}, {time.monotonic() - self._began:.0f} s"

    def _left(self) -> str:
        fresh = self._done - self._start
        if fresh <= 0 or self._total is None or self._done >= self._total:
            return ""
        seconds = (time.monotonic() - self._began) / fresh * (self._total - self._done)
        return f"  {duration(seconds)} left"

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _bar(total: int | None, start: int, label: str, unit: str, stream: TextIO) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    bar = RichProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        *([TextColumn(f"{unit}s"), TimeElapsedColumn()] if unit else []),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[text]}", markup=False),
        console=Console(file=stream),
    )
    bar.start()
    return bar, bar.add_task(label, total=total, completed=start, text="")


def duration(seconds: float) -> str:
    """Returns seconds as people write them: "42 s", "3 min 05 s", "2 h 07 min", "3 d 04 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"
