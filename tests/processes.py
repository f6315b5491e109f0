"""What processes say of themselves, for tests that look at processes which may end at the same moment.

A process that has ended stays listed, as a zombie, until its parent collects it. psutil then raises `ZombieProcess` for
the process's words and environment, and `NoSuchProcess` a moment later. Here a test gets an answer in each case.
"""

from __future__ import annotations

import contextlib

import psutil


def words(process: psutil.Process) -> list[str]:
    """The command line of a process; nothing if the process has ended, or is another user's."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def environment(process: psutil.Process) -> dict[str, str]:
    """The variables that a process was started with; nothing if the process has ended, or is another user's."""
    try:
        return process.environ()
    except psutil.Error:
        return {}


def below(pid: int) -> list[psutil.Process]:
    """The processes that a process started, and those that they started; nothing if the process has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def ended(process: psutil.Process | int) -> bool:
    """Whether a process, given as it is or by number, has ended. It stays a zombie where nobody collects orphans."""
    try:
        process = psutil.Process(process) if isinstance(process, int) else process
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill(process: psutil.Process) -> None:
    """Kills a process, which may have ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
