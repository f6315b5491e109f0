"""TensorBoard event files in WORKDIR/tensorboard."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jaxbert.observe.sinks.base import RunFacts, SinkKind

# Seconds between two flushes to the file.
FLUSH_S = 20.0


class TensorBoard:
    """Writes scalars to a TensorBoard event file.

    The calling thread writes. The writer of tensorboardX would write in another thread behind a queue: on a full
    disk that thread dies, the queue fills up, and the run hangs.

    Args:
      path: the directory of the event files. The first scalar makes it.
      step: the restored step of a resumed run. TensorBoard then hides what an earlier process wrote after it.
    """

    def __init__(self, path: Path, *, step: int = 0):
        self._path, self._step = path, step
        self._writer: Any = None
        self._flush_at = 0.0

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Sink`.

        Raises:
          OSError: the file cannot be written, for example on a full disk.
        """
        from tensorboardX.summary import scalar

        if self._writer is None:
            self._open()
        for name, value in values.items():
            self._event(step=step, summary=scalar(name, value))
        if time.monotonic() >= self._flush_at:
            self._writer.flush()
            self._flush_at = time.monotonic() + FLUSH_S

    def close(self, ended_well: bool = True) -> None:
        """Flushes and closes the file. On a full disk the last figures are missing here; metrics.jsonl has them."""
        del ended_well
        if self._writer is not None:
            for end in (self._writer.flush, self._writer.close):
                with suppress(OSError):
                    end()
            self._writer = None

    def _open(self) -> None:
        from tensorboardX.proto.event_pb2 import SessionLog
        from tensorboardX.record_writer import RecordWriter

        self._path.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads files in the order of their names. The process id separates two files of the same second.
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self._writer = RecordWriter(str(self._path / name))
        self._event(file_version="brain.Event:2")
        if self._step:
            self._event(step=self._step + 1, session_log=SessionLog(status=SessionLog.START))

    def _event(self, **fields: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write(Event(wall_time=time.time(), **fields).SerializeToString())


def _open(facts: RunFacts) -> TensorBoard:
    return TensorBoard(facts.workdir / "tensorboard", step=facts.step)


# Plain files that this process writes itself: nothing here waits for anybody.
KIND = SinkKind(_open, package="tensorboardX", apart=False)
