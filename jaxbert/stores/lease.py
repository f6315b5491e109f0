"""Never two writers: who may write a workdir, on a disk that several machines see, or in a bucket.

WORKDIR/.lease/N says who the N-th owner is. Taking the workdir over is making file N+1, which one alone can do
(O_EXCL on a disk, ifGenerationMatch=0 in a bucket). Its owner renews its file every few seconds. Whoever finds a file
that does not change for `period` seconds may take over; an owner that has been taken over, or that could not renew for
that long, stops before it writes again. Clocks of two machines are never compared: what counts is that the file
changes while the other one looks. An owner on this machine is known to be gone as soon as its file lock is.

What this does not rule out: an owner that is suspended between asking whether it is still the owner and writing, for
longer than a period. It writes one checkpoint directory, whose manifest then tells whether it is whole.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxbert.errors import CommandError, InputError, Interrupted, Stopped
from jaxbert.stores.storage import Storage

DIRECTORY = ".lease"
PERIOD = "JAXBERT_LEASE_S"
_PERIOD_S = 60.0
# So many of them an owner that lives is waited for: it may have been told to end, and be writing its last checkpoint.
_PERIODS = 3
_LENGTH = 1024
# What says which job of which engine an owner belongs to.
_JOBS = ("SLURM_JOB_ID", "JOBSET_NAME", "SKYPILOT_TASK_ID", "JAXBERT_JOB")


@dataclass(frozen=True)
class Owner:
    """Who holds a workdir.

    Attributes:
      host, boot: of its machine; `boot` changes with every start of it.
      process: its number there.
      job: of the engine that it runs under; empty where it is none's.
      token: its alone.
      since: seconds since 1970, by its clock: for people.
    """

    host: str
    boot: str
    process: int
    job: str
    token: str
    since: float

    @staticmethod
    def here() -> Owner:
        """This process."""
        job = next((f"{name}={os.environ[name]}" for name in _JOBS if os.environ.get(name)), "")
        return Owner(platform.node(), _boot(), os.getpid(), job[:200], secrets.token_hex(16), time.time())

    @property
    def is_here(self) -> bool:
        """Whether it ran, or runs, on this machine since it was last started."""
        return (self.host, self.boot) == (platform.node(), _boot())

    def __str__(self) -> str:
        where = f"process {self.process} on {self.host}"
        return f"{where}, {self.job}" if self.job else where


@dataclass
class Lease:
    """The right to write one workdir.

    Attributes:
      storage: of the workdir.
      period_s: an owner that has been silent for so long is taken to be gone.
      on_loss: is given the error where it is lost while it is held; called from a thread.
      clock: seconds; `sleep` waits; for tests.
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

    def wait(
        self, lives: Callable[[], bool | None] = lambda: None, note: Callable[[str], None] = lambda line: None
    ) -> None:
        """Returns once nobody holds the workdir: there is no owner, it has left, or it has been silent for a period.

        Args:
          lives: whether an owner that was on this machine is known to live, or to have ended; None: not known.
          note: is told that there is somebody to wait for.

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
        note(f"{owner or 'somebody'} held {self.storage.place}; waiting for at most {most:.0f} s")
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
        """Becomes the owner, after `wait`, and renews from then on.

        Raises:
          InputError: another process was faster.
        """
        # After what `wait` found, not after what is there now: that may be one who was faster.
        self._own, self._number, self._beats = Owner.here(), self._after + 1, 0
        if not self.storage.create(self._name, self._content()):
            # A client that tried twice, because the first answer was lost, may have lost to itself.
            there = _parsed(self._current()[1])
            if there is None or there.token != self._own.token:
                self._own = None
                raise _taken(there, self.storage.place)
        number, content = self._current()
        if number != self._number:
            # Others have come and gone since.
            self._own = None
            self.storage.remove(self._name)
            raise _taken(_parsed(content), self.storage.place)
        self._renewed = self.clock()
        for name in self.storage.names(DIRECTORY):
            if name.isdigit() and int(name) < self._number:
                self.storage.remove(f"{DIRECTORY}/{name}")
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Returns if this process is still the owner, by its own word and by the workdir's.

        Raises:
          Stopped: another has taken over.
          Interrupted: it could not be renewed for a period, so that another may.
        """
        if self._own is None:
            return
        number, content = self._current()
        owner = _parsed(content)
        if number != self._number or (owner is not None and owner.token != self._own.token):
            raise Stopped(
                f"{owner or 'another process'} has taken this run over",
                where=self.storage.place,
                fix="It goes on there; nothing of this process's is needed any more.",
            )
        self._alive()

    def release(self) -> None:
        """Leaves the workdir to others; nothing if it is not held."""
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
        # Always of one length: renewing it needs no room.
        assert self._own is not None
        return json.dumps({**vars(self._own), "beats": self._beats}).encode().ljust(_LENGTH - 1) + b"\n"

    def _current(self) -> tuple[int, bytes]:
        """(number, content) of the newest; (0, nothing) where there is none."""
        while True:
            number = max((int(name) for name in self.storage.names(DIRECTORY) if name.isdigit()), default=0)
            if not number:
                return 0, b""
            with suppress(FileNotFoundError):
                return number, self.storage.read(f"{DIRECTORY}/{number:06d}")

    def _alive(self) -> None:
        silent = self.clock() - self._renewed
        if silent > self.period_s:
            raise Interrupted(
                f"the right to write could not be renewed for {silent:.0f} s",
                where=self.storage.place,
                fix="Repeat the same command to continue.",
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
                # The disk or the network: tried again, as long as nobody else may have taken over.
                try:
                    self._alive()
                except Interrupted as lost:
                    self.on_loss(error if isinstance(error, Interrupted) else lost)
                    return


def period(environment: Mapping[str, str]) -> float:
    """Seconds of silence after which an owner is taken to be gone.

    Raises:
      InputError: JAXBERT_LEASE_S is no number of 1 or more.
    """
    text = environment.get(PERIOD, "")
    if not text:
        return _PERIOD_S
    with suppress(ValueError):
        if 1 <= float(text) < 1e6:
            return float(text)
    raise InputError(f"it is {text!r}", where=PERIOD, fix="Set it to seconds, 1 or more.")


def _parsed(content: bytes) -> Owner | None:
    """The owner that a file names; None for one that is being written, or torn."""
    try:
        values: Any = json.loads(content)
        values.pop("beats", None)
        return Owner(**values)
    except (ValueError, TypeError, AttributeError):
        return None


def _taken(owner: Owner | None, place: str) -> InputError:
    return InputError(
        f"another process ({owner or 'unknown'}) is training here", where=place, fix="Wait for it, or stop it first."
    )


def _boot() -> str:
    """Changes whenever this machine is started anew."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""
