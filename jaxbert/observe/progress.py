"""A progress bar on a terminal, plain lines in a log."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Any, Self, TextIO


class Progress:
    """A progress bar on a terminal, plain lines in a log.

    Args:
      total: steps, or whatever is counted.
      start: where it begins, for a resumed run.
      label: what it counts.
      stream: where to; stderr unless told.
      enabled: off says nothing (processes other than 0).
    """

    def __init__(
        self, total: int, *, start: int = 0, label: str = "step", stream: TextIO | None = None, enabled: bool = True
    ):
        self._total, self._label, self._done, self._start = total, label, start, start
        self._stream = sys.stderr if stream is None else stream
        self._enabled, self._text = enabled, ""
        self._began = time.monotonic()
        self._bar: Any = None
        if enabled and self._stream.isatty() and os.environ.get("TERM", "") != "dumb":
            self._bar, self._task = _bar(total, start, label, self._stream)

    def update(self, done: int, text: str | None = None) -> None:
        """`done` of the total are done. A log gets a line only when `text` is given; a terminal shows the last one."""
        self._done = done
        if not self._enabled:
            return
        if text is not None:
            self._text = text
        if self._bar is not None:
            self._bar.update(self._task, completed=done, text=self._text)
        elif text is not None:
            self._print(f"{self._label} {done}/{self._total}  {text}{self._left()}")

    def note(self, text: str) -> None:
        """A line that stays: above the bar, or in the log."""
        if not self._enabled:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            self._print(text)

    def close(self) -> None:
        """Takes the bar down."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _left(self) -> str:
        fresh = self._done - self._start
        if fresh <= 0 or self._done >= self._total:
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


def _bar(total: int, start: int, label: str, stream: TextIO) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    bar = RichProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[text]}", markup=False),
        console=Console(file=stream),
    )
    bar.start()
    return bar, bar.add_task(label, total=total, completed=start, text="")


def duration(seconds: float) -> str:
    """Seconds as people say them: "42 s", "3 min 05 s", "2 h 07 min", "3 d 04 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"
