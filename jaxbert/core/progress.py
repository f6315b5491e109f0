"""A progress bar on a terminal, plain lines in a log. Imports no jax."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TextIO

from jaxbert.errors import counted


class Progress:
    """A progress bar on a terminal, or plain lines in a log. Both go to stderr.

    Training calls `update` with the number of steps that are done. Makers of shards call `advance` for each shard.
    Work between them that takes a while has a name: `doing`. Its seconds do not count in the time that is left.

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
    # Seconds after which a bar wants new words, and after which a log wants its second line.
    _BAR_S, _EARLY_S = 1.0, 5.0

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
        # Named work: its name and start, and the seconds that all of it has taken.
        self._doing: tuple[str, float] | None = None
        self._beside_s = 0.0
        self._left_s: float | None = None
        self._lines, self._worded = 0, self._began
        self._bar: Any = None
        if enabled and self._stream.isatty() and os.environ.get("TERM", "") != "dumb":
            self._bar, self._task = _bar(self)

    @property
    def is_bar(self) -> bool:
        """Returns whether a terminal shows a bar. A log, or a process that shows nothing, has none."""
        return self._bar is not None

    def update(self, done: int, text: str | None = None, *, left_s: float | None = None) -> None:
        """Records that `done` of the total are done. The bar moves; a log gets a line only if `text` is given.

        Args:
          done: the count.
          text: what to show beside it. The bar keeps it until the next text.
          left_s: seconds until the end, where the caller knows better than the mean over what is done.
        """
        self._done, self._left_s = done, left_s
        if not self._enabled:
            return
        if text is not None:
            self._text, self._worded, self._lines = text, time.monotonic(), self._lines + 1
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
        elif text is not None:
            left = self.left()
            self._print(f"{self._label} {done}/{self._total}  {text}" + (f"  {left} left" if left else ""))

    @property
    def due(self) -> bool:
        """Returns whether `update` should have a text although the caller has no line to write.

        A bar wants one every second. A log wants one for the first count, and one five seconds later, so that a reader
        sees soon that the work runs, and how fast.
        """
        if not self._enabled:
            return False
        waited = time.monotonic() - self._worded
        if self._bar is not None:
            return self._lines == 0 or waited >= self._BAR_S
        return self._lines == 0 or (self._lines == 1 and waited >= self._EARLY_S)

    def advance(self, text: str = "", by: int = 1) -> None:
        """Records that `by` more are done. A log gets a line every 15 seconds."""
        self._done, self._text = self._done + by, text
        if not self._enabled:
            return
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)
        elif time.monotonic() - self._printed >= self._EVERY_S:
            self._printed = time.monotonic()
            self._print(self._count())

    @contextmanager
    def doing(self, name: str, *, log: bool = True) -> Iterator[None]:
        """Shows the name of some work with the seconds that it takes, while the count stands.

        A log gets a line when the work begins, and one with its seconds when it has ended well.

        Args:
          name: the work: "compiling the step of phase short".
          log: False prints nothing in a log, for work that is short or prints a line itself.
        """
        before, began = self._doing, time.monotonic()
        self._doing = (name, began)
        if log and self._bar is None and self._enabled:
            self._print(f"{name} ...")
        try:
            yield
            if log and self._enabled:
                self.note(f"{name}: {duration(time.monotonic() - began)}")
        finally:
            self._doing = before
            if before is None:
                self._beside_s += time.monotonic() - began

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

    def words(self) -> str:
        """Returns what the bar shows beside the count: the work at hand, or the last text and the time left."""
        doing = self._doing
        if doing is not None:
            return f"{doing[0]}, {duration(time.monotonic() - doing[1])}"
        left = self.left()
        return "  ".join(filter(None, [f"{left} left" if left else "", self._text]))

    def left(self) -> str:
        """Returns the time until the end in words; an empty text where nobody knows it."""
        if self._total is None or self._done >= self._total:
            return ""
        if self._left_s is not None:
            return duration(self._left_s)
        fresh = self._done - self._start
        if fresh <= 0:
            return ""
        seconds = time.monotonic() - self._began - self._beside_s
        return duration(seconds / fresh * (self._total - self._done))

    def _count(self) -> str:
        done = counted(self._done, self._unit)
        if self._total is not None:
            done = f"{self._done:,} of {counted(self._total, self._unit)}"
        text = f", {self._text}" if self._text else ""
        return f"{self._label}: {done}{text}, {time.monotonic() - self._began:.0f} s"

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _bar(shown: Progress) -> tuple[Any, Any]:
    """Returns a bar that shows the count and the words of `shown`, drawn four times a second, and its task."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress
    from rich.table import Column
    from rich.text import Text

    class Words(ProgressColumn):
        """The words beside the count. A terminal that is too narrow cuts their end off."""

        # Drawn anew each time, because the seconds of named work run on.
        max_refresh = None

        def render(self, task: Any) -> Text:
            """See rich."""
            del task
            return Text(shown.words())

    counting = [TextColumn(f"{shown._unit}s"), TimeElapsedColumn()] if shown._unit else []
    bar = RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        *counting,
        Words(table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=Console(file=shown._stream),
        refresh_per_second=4,
    )
    bar.start()
    return bar, bar.add_task(shown._label, total=shown._total, completed=shown._start)


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
