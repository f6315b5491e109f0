"""The one place that starts processes, watches them, and stops all where one fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import IO, Any

from jaxbert.launch.job import Command, Job

from jaxbert.errors import InputError, Interrupted
from jaxbert.run.processes import LOST, meaning

# Processes of a run end together by themselves; one that does not within so many seconds is asked to (SIGTERM), then
# made to (SIGKILL) after three times as many: it may have a checkpoint to write first.
GRACE_S = 20.0
_POLL_S = 0.1
_TAIL = 15


def run(
    job: Job,
    *,
    grace_s: float = GRACE_S,
    say: Callable[[str], None] | None = None,
    told: Callable[[int], None] = lambda number: None,
) -> int:
    """Runs a job to its end.

    SIGTERM and SIGINT are passed on to every process.

    Args:
      job: what to run.
      grace_s: between the first process's failure and SIGTERM to the others.
      say: is given lines about what happens; stderr by default.
      told: is given the signal that this process was asked to pass on.

    Returns:
      The exit code: a bug's (1), else that of a process that stopped on purpose (4, 2), else 3, else 0.

    Raises:
      InputError: a log cannot be written.
    """
    say = say or (lambda line: print(line, file=sys.stderr, flush=True))
    sizes = [_open(_log(command)).tell() for command in job.commands]
    children = []
    for number, command in enumerate(job.commands):
        log = _open(_log(command))
        shown = number == 0
        child = subprocess.Popen(
            command.arguments,
            env={**os.environ, **command.environment},
            stdout=subprocess.PIPE if shown else log,
            stderr=subprocess.STDOUT,
            # A terminal's Ctrl-C reaches them through us, once.
            start_new_session=True,
        )
        if shown:
            threading.Thread(target=_show, args=(child.stdout, log), daemon=True).start()
        else:
            log.close()
        children.append(child)

    def forward(signal_number: int, frame: FrameType | None) -> None:
        told(signal_number)
        for child in children:
            if child.poll() is None:
                child.send_signal(signal_number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        first = _watch(children, grace_s, say)
    finally:
        for number, old in before.items():
            signal.signal(number, old)
        for child in children:
            if child.poll() is None:
                child.kill()
    codes = [meaning(child.wait()) for child in children]
    if first is not None:
        command = job.commands[first]
        # Where it ended as process 0 did, the terminal has that one's word for it already.
        if codes[first] != codes[0]:
            say(f"process {first} ended with {_ended(children[first])}; its log, {command.log}, ends so:")
            for line in _tail(_log(command), sizes[first]):
                say(f"  {line}")
        if worst(codes) == Interrupted.exit_code and any(child.returncode == -signal.SIGABRT for child in children):
            say(f"jaxbert: error: {LOST}")
        ends = " ".join(map(str, codes))
        say(f"jaxbert: {len(children)} processes ended with {ends}; their logs: {_log(command).parent}")
    return worst(codes)


def worst(codes: list[int]) -> int:
    """One exit code for all: 1 a bug, 4 and 2 that repeating does not help, else 3 where any ended badly."""
    for code in (1, 4, 2):
        if code in codes:
            return code
    return 3 if any(codes) else 0


def _watch(children: list[subprocess.Popen[bytes]], grace_s: float, say: Callable[[str], None]) -> int | None:
    """Waits for all; the number of the first that failed."""
    first: int | None = None
    failed_at, asked = 0.0, False
    while any(child.poll() is None for child in children):
        time.sleep(_POLL_S)
        if first is None:
            first = next((number for number, child in enumerate(children) if child.poll()), None)
            failed_at = time.monotonic()
            continue
        waited = time.monotonic() - failed_at
        left = [number for number, child in enumerate(children) if child.poll() is None]
        if left and waited > grace_s and not asked:
            say(f"process {first} ended with {_ended(children[first])}: stopping {', '.join(map(str, left))}")
            for number in left:
                children[number].terminate()
            asked = True
        elif left and waited > 4 * grace_s:
            for number in left:
                children[number].kill()
    if first is None:
        first = next((number for number, child in enumerate(children) if child.poll()), None)
    return first


def _ended(child: subprocess.Popen[bytes]) -> str:
    code = child.returncode
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _show(stream: IO[bytes] | None, log: IO[bytes]) -> None:
    """Copies a process's output to its log and to our stderr."""
    assert stream is not None
    with log:
        # What there is at a time, not lines: a bar redraws itself without ending one.
        while chunk := os.read(stream.fileno(), 65536):
            log.write(chunk)
            log.flush()
            sys.stderr.buffer.write(chunk)
            sys.stderr.flush()


def _log(command: Command) -> Path:
    assert command.log is not None
    return command.log


def _open(path: Path) -> Any:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
        file.seek(0, os.SEEK_END)
        return file
    except OSError as error:
        raise InputError(
            f"no log can be written: {error.strerror}", where=str(path), fix="Give another --workdir."
        ) from None


def _tail(path: Path, begin: int) -> list[str]:
    with path.open("rb") as file:
        file.seek(begin)
        return file.read().decode(errors="replace").splitlines()[-_TAIL:]
