"""TensorBoard event files."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jaxbert.observe.lines import plain

_BOARD_FLUSH_S = 20.0


class Board:
    """TensorBoard event files, scalars only; does nothing when switched off.

    Written by the calling thread: tensorboardX's own writer has a thread behind a queue, and where the disk is full
    that thread dies, the queue fills, and the run hangs.

    Args:
      path: the directory; made when the first scalar comes.
      enabled: off costs nothing, not even the import.
      step: a resumed run's restored step: what an earlier process wrote after it is hidden.
    """

    def __init__(self, path: Path, *, enabled: bool = True, step: int = 0):
        self._path, self._enabled, self._step = path, enabled, step
        self._writer: Any = None
        self._flush_at = 0.0

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes the numbers among `values`; nested mappings join their keys by a slash.

        Raises:
          OSError: for example a full disk.
        """
        if not self._enabled:
            return
        from tensorboardX.summary import scalar

        if self._writer is None:
            self._open()
        for name, value in _numbers(values):
            self._event(step=step, summary=scalar(name, value))
        if time.monotonic() >= self._flush_at:
            self._writer.flush()
            self._flush_at = time.monotonic() + _BOARD_FLUSH_S

    def close(self) -> None:
        """Flushes and closes; what a full disk does not take is left out, metrics.jsonl has it all."""
        if self._writer is not None:
            for end in (self._writer.flush, self._writer.close):
                with suppress(OSError):
                    end()
            self._writer = None

    def _open(self) -> None:
        from tensorboardX.proto.event_pb2 import SessionLog
        from tensorboardX.record_writer import RecordWriter

        self._path.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files in the order of their names; the process tells two of one second apart.
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self._writer = RecordWriter(str(self._path / name))
        self._event(file_version="brain.Event:2")
        if self._step:
            self._event(step=self._step + 1, session_log=SessionLog(status=SessionLog.START))

    def _event(self, **fields: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write(Event(wall_time=time.time(), **fields).SerializeToString())


def _numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        value = plain(value)
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and key != "step":
            yield prefix + key, float(value)
