"""Runs a sink in a separate process, so that nothing it does can stop a run or slow it down.

The packages of sinks wait for networks, start threads, catch signals and register work for the end of the process. Any
of that could hold up a training for ever. So the run writes lines of JSON into a pipe, and never waits for it: what the
pipe does not take stays in memory, and a sink that is far behind is ended. The process closes its sink when the pipe
ends, also where the run was killed.

The process is `jaxbert.observe.sinks.process`. It prints into WORKDIR/sinks/NAME.log.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from jaxbert.observe.sinks.base import DIRECTORY, RunFacts
from jaxbert.stores.files import no_links

# Bytes that may wait for the sink, and seconds in which it must have closed after the run's end.
MOST_BYTES = 1 << 24
CLOSE_S = 60.0


class Behind(Exception):
    """The sink has ended, or does not keep up. The message says what it said last."""


class Apart:
    """A sink in a separate process. See `Sink`.

    Args:
      name: the name of the sink in the registry.
      facts: the facts of the run.
    """

    def __init__(self, name: str, facts: RunFacts):
        self._log = facts.workdir / DIRECTORY / f"{name}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with open(self._log, "ab", opener=no_links) as log:
            self._child = subprocess.Popen(
                # -P: a folder `wandb` in the current directory, which W&B makes, is not the package.
                [sys.executable, "-P", "-m", "jaxbert.observe.sinks.process", name, str(facts.workdir)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # An interrupt of the terminal is for the run, which then closes its sinks.
                start_new_session=True,
            )
        assert self._child.stdin is not None
        self._pipe = self._child.stdin.fileno()
        os.set_blocking(self._pipe, False)
        self._waiting = bytearray()
        self._put({"name": facts.name, "config": facts.config, "step": facts.step})

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Sink`; never waits."""
        self._put({"step": step, "values": dict(values)})
        if len(self._waiting) > MOST_BYTES:
            self._child.kill()
            raise Behind(f"it is more than {MOST_BYTES >> 20} MiB behind; {self._said()}")

    def close(self, ended_well: bool) -> None:
        """See `Sink`; waits for a minute at most."""
        until = time.monotonic() + CLOSE_S
        try:
            self._put({"ended_well": ended_well})
            while self._waiting and time.monotonic() < until:
                time.sleep(0.05)
                self._write()
            assert self._child.stdin is not None
            self._child.stdin.close()
            code = self._child.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Behind(f"it has not ended within {CLOSE_S:.0f} s; {self._said()}") from None
        finally:
            self._child.kill()
            self._child.wait()
        if code:
            raise Behind(self._said())

    def _put(self, line: Mapping[str, Any]) -> None:
        self._waiting += json.dumps(line).encode() + b"\n"
        self._write()

    def _write(self) -> None:
        """Writes as much as the pipe takes now."""
        if self._child.poll() is not None:
            raise Behind(self._said())
        try:
            while self._waiting:
                del self._waiting[: os.write(self._pipe, self._waiting[: 1 << 16])]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._child.wait(CLOSE_S)
            raise Behind(self._said()) from None

    def _said(self) -> str:
        """Returns where the sink's log is, with its last line."""
        with self._log.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - 4096))
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        last = f": {lines[-1]}" if lines else ""
        return f"its log is {self._log}{last}"
