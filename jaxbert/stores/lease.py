"""The lease on a workdir: it ensures that one process writes, on a disk that several machines share or in a bucket.

The file WORKDIR/.lease/N names the N-th owner. A process takes the workdir over when it makes the file N+1, and only
one process can make it (O_EXCL on a disk; ifGenerationMatch=0 or If-None-Match in a bucket). The owner renews its file
every few seconds. A process that sees the file unchanged for `period` seconds may take over. An owner that has lost the
lease, or that could not renew it for a period, stops before it writes again. The clocks of two machines are never
compared: a waiting process only watches whether the file changes. An owner on this machine holds the file lock until it
ends.

One case is not excluded: an owner asks whether it still holds the lease, is suspended for longer than a period, and
then writes. It writes one checkpoint directory, and the manifest of the checkpoint shows whether it is whole.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from jaxbert.core.machine import boot, started
from jaxbert.errors import CommandError, InputError, Interrupted, Stopped
from jaxbert.inputs.values import Whole, checked, whole_number
from jaxbert.stores.storage import Storage

DIRECTORY = ".lease"
PERIOD = "JAXBERT_LEASE_S"
_PERIOD_S = 60.0
# A process waits so many periods for an owner that lives: the owner may be writing its last checkpoint.
_PERIODS = 3
_LENGTH = 1024
# Environment variables in which an engine gives the name of the job.
_JOBS = ("SLURM_JOB_ID", "JOBSET_NAME", "SKYPILOT_TASK_ID", "JAXBERT_JOB")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owner:
    """The process that holds a workdir.

    Attributes:
      host: the name of its machine.
      boot: an identifier that changes with every start of the machine.
      process: the process number on the machine.
      job: the engine's job that it runs in; empty without one.
      token: a random number that only this process has.
      since: seconds since 1970 by the clock of its machine, for people to read.
    """

    host: str
    boot: str
    process: int
    job: str
    token: str
    since: float

    @staticmethod
    def here() -> Owner:
        """Returns the description of this process."""
        job = next((f"{name}={os.environ[name]}" for name in _JOBS if os.environ.get(name)), "")
        return Owner(platform.node(), boot(), os.getpid(), job[:200], secrets.token_hex(16), time.time())

    @property
    def is_here(self) -> bool:
        """Returns whether the owner runs or ran on this machine, since the machine was last started."""
        return (self.host, self.boot) == (platform.node(), boot())

    def __str__(self) -> str:
        where = f"process {self.process} on {self.host}"
        return f"{where}, {self.job}" if self.job else where


@dataclass
class Lease:
    """The right to write one workdir.

    Attributes:
      storage: the storage of the workdir.
      period_s: an owner that has not renewed for so many seconds is considered gone.
      on_loss: is called from a thread, with the error, if this process loses the lease while it holds it.
      clock: returns seconds; tests replace it.
      sleep: waits; tests replace it.
    """

    storage: Storage
    period_s: float = 0.0
    on_loss: Callable[[CommandError], None] = lambda error: None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    _own: Owner | None = None
    _after: int = 0
    _number: int = 0
    _beats: int = 0
    _renewed: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.period_s = self.period_s or period(os.environ)

    def wait(self, lives: Callable[[], bool | None] = lambda: None) -> None:
        """Returns once nobody holds the workdir: there is no owner, or it has left or been silent for a period.

        Args:
          lives: whether an owner on this machine lives; None if that is not known.

        Raises:
          InputError: the owner lives.
        """
        number, seen = self._current()
        self._after, owner = number, _parsed(seen)
        if not number:
            return
        if owner is not None and owner.is_here:
            living = lives()
            if living is not None:
                if living:
                    raise _taken(owner, self.storage.place)
                return
        most = _PERIODS * self.period_s
        _log.info("%s held %s; waiting for at most %.0f s", owner or "an unknown process", self.storage.place, most)
        began = changed = self.clock()
        while self.clock() - changed < self.period_s:
            if self.clock() - began > most:
                raise _taken(owner, self.storage.place)
            self.sleep(self.period_s / 12)
            now, content = self._current()
            self._after = now
            if not now:
                return
            if (now, content) != (number, seen):
                number, seen, changed, owner = now, content, self.clock(), _parsed(content)

    def take(self) -> None:
        """Becomes the owner, after `wait`, and renews the lease from then on.

        Raises:
          InputError: another process was faster.
        """
        # The number follows the one that `wait` found. A newer file would be that of a process that was faster.
        self._own, self._number, self._beats = Owner.here(), self._after + 1, 0
        if not self.storage.create(self._name, self._content()):
            # A client that tried twice, because the first answer was lost, may find the file that it made itself.
            there = _parsed(self._current()[1])
            if there is None or there.token != self._own.token:
                self._own = None
                raise _taken(there, self.storage.place)
        number, content = self._current()
        if number != self._number:
            # Other processes have taken and left the workdir since.
            self._own = None
            self.storage.remove(self._name)
            raise _taken(_parsed(content), self.storage.place)
        self._renewed = self.clock()
        for number in self._numbers():
            if number < self._number:
                self.storage.remove(f"{DIRECTORY}/{number:06d}")
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Returns if this process is still the owner.

        Raises:
          Stopped: another process has taken over.
          Interrupted: the lease could not be renewed for a period, so that another process may take over.
        """
        if self._own is None:
            return
        number, content = self._current()
        owner = _parsed(content)
        if number != self._number or (owner is not None and owner.token != self._own.token):
            raise Stopped(
                f"{owner or 'another process'} has taken this run over",
                where=self.storage.place,
                fix="The other process continues the run. Do nothing here.",
                code="E-LEASE-LOST",
            )
        self._alive()

    def release(self) -> None:
        """Leaves the workdir to others; does nothing if this process does not hold it."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        if self._own is not None:
            own, self._own = self._own, None
            with suppress(CommandError, OSError):
                number, content = self._current()
                found = _parsed(content)
                if number == self._number and found is not None and found.token == own.token:
                    self.storage.remove(f"{DIRECTORY}/{number:06d}")
                if not self.storage.names(DIRECTORY):
                    self.storage.remove(DIRECTORY)

    @property
    def _name(self) -> str:
        return f"{DIRECTORY}/{self._number:06d}"

    def _content(self) -> bytes:
        # The length never changes, so that renewing needs no free space on the disk.
        assert self._own is not None
        return json.dumps({**vars(self._own), "beats": self._beats}).encode().ljust(_LENGTH - 1) + b"\n"

    def _numbers(self) -> list[int]:
        """Returns the numbers of the files of owners. Files with other names are not ours."""
        numbers = {name: whole_number(name) for name in self.storage.names(DIRECTORY)}
        return [number for name, number in numbers.items() if number is not None and name == f"{number:06d}"]

    def _current(self) -> tuple[int, bytes]:
        """Returns (number, content) of the newest file, or (0, b"") without any."""
        while True:
            number = max(self._numbers(), default=0)
            if not number:
                return 0, b""
            with suppress(FileNotFoundError):
                return number, self.storage.read(f"{DIRECTORY}/{number:06d}")

    def _alive(self) -> None:
        silent = self.clock() - self._renewed
        if silent > self.period_s:
            raise Interrupted(
                f"the lease on the workdir could not be renewed for {silent:.0f} s",
                where=self.storage.place,
                fix="Repeat the same command to continue.",
                code="E-LEASE-SILENT",
            )

    def _run(self) -> None:
        while not self._stop.wait(self.period_s / 6):
            try:
                self.check()
                self._beats += 1
                began = self.clock()
                self.storage.renew(self._name, self._content())
                self._renewed = began
            except (Stopped, InputError) as error:
                self.on_loss(error)
                return
            except (Interrupted, OSError) as error:
                # The disk or the network failed. Try again as long as no other process may have taken over.
                try:
                    self._alive()
                except Interrupted as lost:
                    self.on_loss(error if isinstance(error, Interrupted) else lost)
                    return


def is_leased(storage: Storage) -> bool:
    """Returns whether a workdir has an owner: one that lives, or one that was killed and left its file."""
    return Lease(storage)._current()[0] > 0


def living_owner(storage: Storage) -> Owner | None:
    """Returns the process of this machine that holds a workdir, if there is one and it has not ended."""
    owner = _parsed(Lease(storage)._current()[1])
    return owner if owner is not None and owner.is_here and started(owner.process) is not None else None


_SHAPE = {"host": str, "boot": str, "process": Whole(), "job": str, "token": str, "since": float}


def period(environment: Mapping[str, str]) -> float:
    """Returns the seconds of silence after which an owner is considered gone.

    Raises:
      InputError: JAXBERT_LEASE_S is not a number of 1 or more.
    """
    text = environment.get(PERIOD, "")
    if not text:
        return _PERIOD_S
    with suppress(ValueError):
        if 1 <= float(text) < 1e6:
            return float(text)
    raise InputError(
        f"{text!r} is not a number of seconds", where=PERIOD, fix="Set it to 1 or more.", code="E-LEASE-PERIOD"
    )


def _parsed(content: bytes) -> Owner | None:
    """Returns the owner that a file names, or None if the file is being written or is torn."""
    try:
        values = checked(content, _SHAPE)
    except ValueError:
        return None
    return Owner(**{name: values[name] for name in _SHAPE})


def _taken(owner: Owner | None, place: str) -> InputError:
    return InputError(
        f"another process ({owner or 'unknown'}) is training here",
        where=place,
        fix="Wait for it, or stop it first.",
        code="E-LEASE-TAKEN",
    )
