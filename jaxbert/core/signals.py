"""Signals that ask a command to end: SIGTERM, SIGINT (Ctrl-C) and SIGHUP. Imports no jax.

A handler that raises does so wherever the main thread is: in an import, in a callback of a library, in a destructor.
There the exception is lost, or a library reports it as an error of the input, or the process crashes. So no handler
here raises. A command ends at once with exit code 3 (`end_at_once`), and it leaves files as SIGKILL would leave them.
The loop of a run, and commands that wait for other processes, take the signals over with `handling`.
"""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from jaxbert.errors import Interrupted, line_of, traceback_is_wanted

if TYPE_CHECKING:
    import subprocess

Handler = Callable[[int, FrameType | None], object]

_FIX = "The same command continues."
_fix = _FIX
# Processes that must not outlive this one.
_children: weakref.WeakSet[subprocess.Popen[bytes]] = weakref.WeakSet()
_ending = threading.Lock()
_watching = False


def numbers() -> list[int]:
    """Returns the signals that ask this process to end. `nohup` has a process ignore SIGHUP, and that stays so."""
    wanted: list[int] = [signal.SIGTERM, signal.SIGINT]
    return wanted if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [*wanted, signal.SIGHUP]


def end_at_once(fix: str = _FIX) -> None:
    """Ends this process with exit code 3 when a signal comes, unless `handling` has another handler then.

    Python calls a handler when the main thread is between two instructions of Python, so a long call of a library would
    delay it. A thread reads the number of each signal from a pipe, and ends the process meanwhile.

    Args:
      fix: the advice in the line that the process prints.
    """
    global _fix, _watching
    _fix = fix
    if not _watching:
        _watching = True
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=_watch, args=(reading,), name="signals", daemon=True).start()
        os.register_at_fork(after_in_child=_forget)
    for number in numbers():
        signal.signal(number, _end)
    # `start_again` blocked them in the process that became this one.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers())


def start_again(program: str, arguments: list[str]) -> NoReturn:
    """Replaces this process by a new one of the same number. A signal waits until the new one calls `end_at_once`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers())
    os.execv(program, arguments)


def ends_with_us(process: subprocess.Popen[bytes]) -> None:
    """Has `process` killed when a signal ends this one."""
    _children.add(process)


@contextmanager
def handling(handler: Handler) -> Iterator[None]:
    """Has `handler` called for each signal during the block. It must not raise.

    Only the main thread can handle signals. In another thread the handlers stay as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {number: signal.signal(number, handler) for number in numbers()}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def advising(fix: str) -> Iterator[None]:
    """Has the line of a signal give this advice during the block."""
    global _fix
    before, _fix = _fix, fix
    try:
        yield
    finally:
        _fix = before


def end(number: int) -> None:
    """Prints the line of a signal and ends this process with exit code 3, without any cleaning up."""
    if not _ending.acquire(blocking=False):
        return  # The other thread is ending the process.
    for process in list(_children):
        if process.returncode is None:
            with suppress(OSError):
                os.kill(process.pid, signal.SIGKILL)
    error = ended_by(number)
    with suppress(OSError, ValueError, RuntimeError):
        if traceback_is_wanted():
            import faulthandler

            faulthandler.dump_traceback()
    with suppress(OSError):
        # The buffers of sys.stderr may be in use by the code that the signal has interrupted.
        os.write(2, f"{line_of(error)}\n".encode(errors="replace"))
    os._exit(error.exit_code)


def ended_by(number: int) -> Interrupted:
    """Returns the error of a process that a signal ended."""
    return Interrupted(f"got {signal.Signals(number).name}", where="signal", fix=_fix, code="E-SIGNAL-INTERRUPT")


def end_now(number: int) -> None:
    """Ends the process at once; raises KeyboardInterrupt in a program that uses the package as a library."""
    if _watching:
        end(number)
    raise KeyboardInterrupt


def _end(number: int, frame: FrameType | None) -> None:
    end(number)


def _watch(reading: int) -> None:
    while True:
        for number in os.read(reading, 64):
            if number in numbers() and signal.getsignal(number) is _end:
                end(number)


def _forget() -> None:
    """Gives a forked child the usual handlers: the pipe is its parent's, and the child has no thread that reads it."""
    if not _watching:
        return
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is _end:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
