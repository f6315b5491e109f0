"""Starts the processes of a run on this machine, watches them, and stops all when one fails."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO

from jaxbert.core.signals import handling
from jaxbert.errors import InputError, Interrupted
from jaxbert.inputs.files import open_regular
from jaxbert.run.processes import LOCAL_ID, lost, meaning
from jaxbert.stores.files import no_links

from .job import Command, Job

_log = logging.getLogger(__name__)

# When one process of a run has failed, the others end by themselves within seconds. A process that has not ended after
# GRACE_S seconds gets SIGTERM. After three times as many seconds more it gets SIGKILL: until then it may be writing a
# checkpoint.
GRACE_S = 20.0
_POLL_S = 0.1
# Lines of a failed process's log that are shown.
_TAIL = 15


def check_logs(job: Job) -> None:
    """Makes the logs. Raises InputError if one cannot be written."""
    for command in job.commands:
        _open(_path(command)).close()


def run(job: Job, *, grace_s: float = GRACE_S) -> tuple[int, bool]:
    """Runs a job to its end. Passes SIGTERM, SIGINT and SIGHUP on to every process.

    Args:
      job: the processes.
      grace_s: seconds between the first failure of a process and SIGTERM to the others.

    Returns:
      The exit code as `worst` gives it, and whether this process got a signal.

    Raises:
      InputError: a log cannot be written.
    """
    sizes = [_size(_path(command)) for command in job.commands]
    children: list[subprocess.Popen[bytes]] = []
    shown = _Shown(_path(job.commands[0]), sizes[0])
    signals: list[int] = []

    def forward(signal_number: int, frame: FrameType | None) -> None:
        signals.append(signal_number)
        for child in children:
            if child.poll() is None:
                child.send_signal(signal_number)

    with handling(forward):
        try:
            for command in job.commands:
                children.append(_start(command))
                # A signal may have come while the process started.
                for signal_number in signals:
                    children[-1].send_signal(signal_number)
            first = _watch(children, grace_s)
        finally:
            for child in children:
                if child.poll() is None:
                    child.kill()
            shown.end()
    codes = [meaning(child.wait()) for child in children]
    if first is not None:
        command = job.commands[first]
        # If process 0 ended with the same code, the terminal shows its message already.
        if codes[first] != codes[0]:
            _log.error("process %d ended with %s; the end of its log, %s:", first, _end(children[first]), command.log)
            for line in _tail(_path(command), sizes[first]):
                _log.error("  %s", line)
        if worst(codes) == Interrupted.exit_code and any(child.returncode == -signal.SIGABRT for child in children):
            _log.error("jaxbert: error: %s", lost())
        ends = " ".join(map(str, codes))
        _log.error("jaxbert: %d processes ended with %s; their logs: %s", len(children), ends, _path(command).parent)
    return worst(codes), bool(signals)


def worst(codes: list[int]) -> int:
    """Returns one exit code for all processes: 1 if any has a bug, else 4 or 2, else 3 if any failed, else 0."""
    for code in (1, 4, 2):
        if code in codes:
            return code
    return 3 if any(codes) else 0


def _start(command: Command) -> subprocess.Popen[bytes]:
    """Starts a process that writes into its log. It needs no reader, so it goes on to its end without this process."""
    with _open(_path(command)) as log:
        return subprocess.Popen(
            command.arguments,
            # The number of a process on its machine is another one for each.
            env={name: value for name, value in os.environ.items() if name != LOCAL_ID} | dict(command.environment),
            stdout=log,
            stderr=subprocess.STDOUT,
            # In a new session the process does not get the terminal's Ctrl-C, which we pass on once.
            start_new_session=True,
        )


def _watch(children: list[subprocess.Popen[bytes]], grace_s: float) -> int | None:
    """Waits for all processes, and stops those that remain after a failure. Returns the first that failed."""
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
            stopped = ", ".join(map(str, left))
            _log.warning("process %d ended with %s: stopping %s", first, _end(children[first]), stopped)
            for number in left:
                children[number].terminate()
            asked = True
        elif left and waited > 4 * grace_s:
            for number in left:
                children[number].kill()
    if first is None:
        first = next((number for number, child in enumerate(children) if child.poll()), None)
    return first


def _end(child: subprocess.Popen[bytes]) -> str:
    code = child.returncode
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


class _Shown:
    """Copies what is added to a log to our stderr, until `end`."""

    def __init__(self, path: Path, begin: int):
        self._path, self._begin = path, begin
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Shows the rest, and ends. A terminal that takes nothing is left after a few seconds."""
        self._ended.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        # A terminal that is gone must not end the run.
        with suppress(OSError, ValueError), open_regular(self._path) as log:
            log.seek(self._begin)
            last = False
            while True:
                # Chunks are copied, not lines, because a progress bar draws itself again without a newline.
                while chunk := log.read(65536):
                    sys.stderr.buffer.write(chunk)
                    sys.stderr.flush()
                if last:
                    return
                last = self._ended.wait(_POLL_S)


def _path(command: Command) -> Path:
    assert command.log is not None
    return command.log


def _size(path: Path) -> int:
    with _open(path) as file:
        return file.tell()


def _open(path: Path) -> IO[bytes]:
    """Opens a log at its end; makes its directory."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab", opener=no_links)  # noqa: SIM115
    except (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(
            f"the log cannot be written: {error.strerror}",
            where=str(path),
            fix="Give another --workdir.",
            code="E-LAUNCH-LOG",
        ) from None
    file.seek(0, os.SEEK_END)
    return file


def _tail(path: Path, begin: int) -> list[str]:
    """Returns the last lines that were written after position `begin`."""
    with open_regular(path) as file:
        file.seek(begin)
        return file.read().decode(errors="replace").splitlines()[-_TAIL:]
