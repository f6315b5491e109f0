"""The process of `jaxbert launch local`: its record, and what `launch status`, `logs` and `stop` say and do about it.

The launcher writes its record when it starts, at each restart, and when it ends. A process is named by its number, the
time when it started, the machine and the machine's start, so that a later process with the same number is another one.
Only the record in this user's state directory names a process that may get a signal. The one in the workdir may be
somebody else's: it is only shown. A workdir in a bucket gets a copy too, so that other machines can say who runs it.
"""

from __future__ import annotations

import dataclasses
import getpass
import logging
import os
import platform
import signal
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxbert.core.machine import boot, process_space, started
from jaxbert.core.shell import path_word
from jaxbert.errors import CommandError, InputError, Interrupted, counted
from jaxbert.inputs.files import check_regular, open_regular
from jaxbert.inputs.values import Matching, Maybe, Whole, check, checked
from jaxbert.stores.lease import is_leased, living_owner
from jaxbert.stores.mirror import Mirror
from jaxbert.stores.storage import Bucket, is_remote, storage
from jaxbert.stores.workdir import LOGS, METRICS

from . import names, records
from .execute import execute
from .job import Command

LOCAL = "local"
_log = logging.getLogger(__name__)

_TEXT = Matching(r"[ -~]{0,255}", "a short text of ASCII")
# The last second of the year 9999.
_TIME = Whole(0, 253_402_300_799)
_SHAPE = {
    "host": _TEXT,
    # Records of earlier releases have no user.
    "user": Maybe(_TEXT),
    "boot": _TEXT,
    "space": _TEXT,
    "process": Whole(1, (1 << 31) - 1),
    "start": _TEXT,
    "since": _TIME,
    "processes": Whole(1),
    "restarts": Whole(),
    "again": Whole(),
    "code": Maybe(Whole(0, 255)),
    "ended": Maybe(_TIME),
}
# Seconds that `stop` waits for the last checkpoint, and between two looks.
PATIENCE_S = 600.0
_POLL_S = 0.1
# The end of metrics.jsonl in which the last line is searched.
_TAIL_BYTES = 1 << 16
_MEANING = {
    0: "the run is done",
    1: "a bug; the end of the log has the traceback",
    2: "the input is wrong; the end of the log says what helps",
    3: "interrupted; the same launch command continues the run",
    4: "stopped on purpose; the end of the log says what helps",
}


@dataclass(frozen=True)
class Launcher:
    """One start of `jaxbert launch local`.

    Attributes:
      host: the name of its machine.
      boot: an identifier that changes with every start of the machine.
      space: the space of its process number: a container has its own.
      process: its process number.
      start: the time when it started; see `jaxbert.core.machine.started`.
      since: the same time in seconds since 1970 by the machine's clock, for people.
      processes: the number of processes of the run.
      restarts: the most restarts.
      again: the number of restarts so far.
      code: its exit code; None until it has ended by itself.
      ended: the time of its end in seconds since 1970; None until then.
      user: the name of its user; None if it is not known.
    """

    host: str
    boot: str
    space: str
    process: int
    start: str
    since: int
    processes: int
    restarts: int
    again: int = 0
    code: int | None = None
    ended: int | None = None
    user: str | None = None

    @staticmethod
    def here(processes: int, restarts: int) -> Launcher:
        """Returns the description of this process."""
        own = os.getpid()
        return Launcher(
            host=_host(),
            boot=boot(),
            space=process_space(),
            process=own,
            start=started(own) or "",
            since=int(time.time()),
            processes=processes,
            restarts=restarts,
            user=_user(),
        )

    @property
    def is_here(self) -> bool:
        """Returns whether process numbers of this machine, or of this container, are those of the launcher."""
        return (self.host, self.space) == (_host(), process_space())

    @property
    def runs(self) -> bool:
        """Returns whether the launcher runs. It must be one of this machine."""
        return self.code is None and self.boot == boot() and started(self.process) == self.start

    def tell(self, number: int) -> bool:
        """Sends a signal to the launcher. Returns whether it still ran. No other process ever gets the signal."""
        if not hasattr(os, "pidfd_open"):  # macOS has none.
            if self.runs:
                with suppress(ProcessLookupError):
                    os.kill(self.process, number)
                    return True
            return False
        try:
            handle = os.pidfd_open(self.process)
        except ProcessLookupError:
            return False
        try:
            # The handle always means the same process. If the launcher runs now, that process is the launcher.
            if not self.runs:
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True


class Book:
    """Keeps the record of this launcher up to date. A record that cannot be written is a warning: the run goes on."""

    def __init__(self, workdir: str, launcher: Launcher):
        self._workdir, self._launcher = workdir, launcher
        # What has failed already, and is not said again.
        self._told: set[str] = set()
        # The record of the launch before this one.
        self._before: records.Record | None = None
        with suppress(CommandError, OSError):  # A record that cannot be read is not put back.
            self._before = records.in_workdir(names.workdir(workdir))

    def note(self, **changes: Any) -> None:
        """Changes the record, and writes it."""
        self._launcher = dataclasses.replace(self._launcher, **changes)
        try:
            workdir = names.workdir(self._workdir)
            for place in records.places(workdir):
                if place.is_symlink():
                    raise InputError(
                        "the directory is a link", where=str(place), fix="Remove the link.", code="E-LAUNCH-RECORD"
                    )
                records.write_to(place, workdir, LOCAL, LOCAL, vars(self._launcher))
        except (CommandError, OSError) as error:
            self._tell("`jaxbert launch status` and `stop` will not know this run", error)
            return
        if is_remote(workdir):
            try:
                records.put(workdir)
            except (CommandError, OSError) as error:
                self._tell("`jaxbert launch status` will not know this run on other machines", error)

    def _tell(self, what: str, error: Exception) -> None:
        if what not in self._told:
            _log.warning("%s: %s", what, error)
        self._told.add(what)

    @contextmanager
    def kept(self, again: int) -> Iterator[None]:
        """Notes a start of the run after `again` restarts, and the exit code of a block that raises."""
        self.note(again=again)
        try:
            yield
        except CommandError as error:
            self.end(error.exit_code)
            raise
        except BaseException:
            self.end(1)
            raise

    def end(self, code: int) -> None:
        """Notes the end.

        A run that was refused because another one holds the workdir puts the record of that one back.
        """
        self.note(code=code, ended=int(time.time()))
        before = self._before
        if code != InputError.exit_code or self._launcher.again or before is None:
            return
        with suppress(CommandError, OSError):
            workdir = names.workdir(self._workdir)
            if is_leased(storage(workdir)):
                records.put_back(workdir, before)


def check_alone(workdir: str) -> None:
    """Raises InputError if a launcher of this user on this machine runs the workdir already."""
    launcher = None
    with suppress(InputError):  # A damaged record names nobody.
        record = records.own(names.workdir(workdir))
        launcher = _launcher(record) if record is not None and record.target == LOCAL else None
    if launcher is not None and launcher.is_here and launcher.runs:
        word = path_word(workdir)
        raise InputError(
            f"process {launcher.process} has launched this run already, and still runs",
            where=f"--workdir {workdir}",
            fix=f"Look at it with `jaxbert launch status --workdir {word}`, or end it with `jaxbert launch stop "
            f"--workdir {word}`.",
            code="E-LAUNCH-RUNNING",
        )


def directory(workdir: str) -> Path:
    """Returns the directory of this machine that has the run's files: the workdir, or the copy of one in a bucket."""
    return Mirror(workdir).path if is_remote(workdir) else Path(workdir)


def log(workdir: str, process: int) -> Path:
    """Returns the log of a process."""
    place = directory(workdir)
    return (place.parent if is_remote(workdir) else place) / LOGS / f"process-{process}.log"


def answer(word: str, record: records.Record, args: Namespace) -> dict[str, Any]:
    """Answers `jaxbert launch WORD` for a run that `launch local` started.

    Args:
      word: status, logs or stop.
      record: a record whose target is `LOCAL`.
      args: `dry_run`, and `follow` for logs.

    Returns:
      What is known of the launch, its last step, and the commands.

    Raises:
      InputError: the record is damaged, or only another machine or user can do that.
      Interrupted: the launcher has not ended in time, or the log could not be shown.
    """
    workdir = record.workdir
    launcher = _launcher(record)
    commands: list[Command] = []
    if word == "logs":
        commands = [_show(workdir, launcher, follow=args.follow)]
        if args.dry_run:
            print(commands[0].line())
        else:
            execute(commands[0], {})
    elif word == "stop":
        commands = _stop(launcher, record, dry_run=args.dry_run)
        if commands and not args.dry_run:
            record = records.own(workdir) or record
            launcher = _launcher(record)
    if word == "status" or (word == "stop" and not args.dry_run):
        for line in _lines(launcher, workdir, step := _step(launcher, workdir)):
            print(line)
    else:
        step = _step(launcher, workdir)
    return {
        "target": LOCAL,
        "name": record.name,
        "commands": [command.line() for command in commands],
        "state": _state(launcher),
        "step": step,
        **{name: value for name, value in vars(launcher).items() if name not in ("boot", "space", "start")},
    }


def newest(record: records.Record) -> records.Record:
    """Returns the record of the latest launch, for one of this user whose target is `LOCAL`.

    Every launch of this user on this machine writes both records. So if the record in the workdir is another one, a
    later launch has written it: on another machine, or by another user.
    """
    if record.own:
        launcher, there = _launcher(record), None
        if not (launcher.is_here and launcher.runs):
            # The own record is good, so one in the workdir that is damaged or cannot be read does not matter.
            with suppress(CommandError):
                there = records.in_workdir(record.workdir)
        if there is not None and (there.target != LOCAL or _process(there) != _process(record)):
            return there
    return record


def _process(record: records.Record) -> tuple[object, ...]:
    return tuple(record.options.get(name) for name in ("host", "boot", "space", "process", "start"))


def _launcher(record: records.Record) -> Launcher:
    try:
        check(dict(record.options), _SHAPE)
    except ValueError as error:
        raise records.damaged(record.workdir, str(error)) from None
    found: dict[str, Any] = {name: record.options.get(name) for name in _SHAPE}
    return Launcher(**found)


def _state(launcher: Launcher) -> str:
    """Returns the state of the launcher.

    It is "running", "ended" (the launcher noted its exit code), "lost" (the launcher ended and noted nothing), or
    "elsewhere" (another machine has it).
    """
    if launcher.code is not None:
        return "ended"
    if not launcher.is_here:
        return "elsewhere"
    return "running" if launcher.runs else "lost"


def _lines(launcher: Launcher, workdir: str, step: int | None) -> list[str]:
    where = "" if launcher.is_here else f" on {launcher.host}"
    state = _state(launcher)
    if state == "running":
        said = f"running since {_time(launcher.since)}, as process {launcher.process} of this machine"
    elif state == "ended":
        meaning = _MEANING.get(launcher.code or 0, "a bug")
        said = f"ended{where} with exit code {launcher.code} at {_time(launcher.ended or 0)}: {meaning}"
    elif state == "lost":
        said = (
            f"process {launcher.process} has ended and noted no exit code: it was killed, or the machine was "
            "restarted. "
        )
        left = _left(workdir)
        said += (
            f"Process {left} of its run still writes its last checkpoint; when it has ended, the same launch command "
            f"continues the run. To end it at once, type: kill {left}"
            if left
            else "The same launch command continues the run"
        )
    else:
        by = f" by {launcher.user}" if launcher.user else ""
        said = f"started{where}{by} at {_time(launcher.since)}; only {launcher.host} can say whether it still runs"
    # The bucket gets the logs of other targets only, and metrics once a minute.
    far = is_remote(workdir) and not launcher.is_here
    of = f"{METRICS} of the bucket" if far else METRICS
    return [
        f"state      {said}",
        f"processes  {launcher.processes}, after {counted(launcher.again, 'restart')} of {launcher.restarts}",
        f"step       {f'none is known from {of}' if step is None else f'{step:,} is the last one in {of}'}",
        f"log        {f'on {launcher.host}' if far else log(workdir, 0)}",
    ]


def _left(workdir: str) -> int | None:
    """Returns the number of a process that has outlived its launcher, and that still holds the workdir."""
    with suppress(CommandError, OSError):
        owner = living_owner(storage(workdir))
        return None if owner is None else owner.process
    return None


def _step(launcher: Launcher, workdir: str) -> int | None:
    """Returns the last step that is logged, from the copy that the launcher's machine has, or from the bucket."""
    if launcher.is_here or not is_remote(workdir):
        return last_step(directory(workdir))
    with suppress(OSError, CommandError):
        return _last(Bucket(workdir).read(METRICS)[-_TAIL_BYTES:])
    return None


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def last_step(place: Path) -> int | None:
    """Returns the step of the last whole line of a run's metrics; None if there is none."""
    with suppress(OSError, CommandError), open_regular(place / METRICS) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
        return _last(file.read())
    return None


def _last(text: bytes) -> int | None:
    for line in reversed(text.splitlines(keepends=True)):
        with suppress(ValueError):
            if line.endswith(b"\n"):
                return int(checked(line, {"step": Whole()}, nan=True)["step"])
    return None


def _show(workdir: str, launcher: Launcher, *, follow: bool) -> Command:
    if is_remote(workdir) and not launcher.is_here:
        raise InputError(
            f"the log of process 0 is on {launcher.host}, which runs this job",
            where=workdir,
            fix=f"Repeat the command {_there(launcher)}.",
            code="E-LAUNCH-NO-LOG",
        )
    path = log(workdir, 0)
    try:
        check_regular(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise InputError(
            f"the log of process 0 cannot be read: {error.strerror}",
            where=str(path),
            fix="If another machine runs this job, ask there.",
            code="E-LAUNCH-NO-LOG",
        ) from None
    return Command(("tail", "-n", "+1", *(["-F"] if follow else []), str(path)))


def _stop(launcher: Launcher, record: records.Record, *, dry_run: bool) -> list[Command]:
    """Tells the launcher to end, and waits for its end. Returns the same as a command, if it ran."""
    if launcher.code is None and not launcher.is_here:
        raise InputError(
            f"{launcher.host} runs this job, and this machine is {_host()}, which cannot end its processes",
            where=record.workdir,
            fix=f"Repeat the command {_there(launcher)}.",
            code="E-LAUNCH-ELSEWHERE",
        )
    if not launcher.runs:
        return []
    command = Command(("kill", "-TERM", str(launcher.process)))
    if not record.own:
        raise InputError(
            f"process {launcher.process} of this machine runs this job by a record that is not yours. Anybody who may "
            "write to the workdir may have written it, so no process gets a signal",
            where=record.workdir,
            fix="Ask the user who launched it to repeat the command, with the same XDG_STATE_HOME.",
            code="E-LAUNCH-ELSEWHERE",
        )
    if dry_run:
        print(command.line())
        return [command]
    try:
        if not launcher.tell(signal.SIGTERM):
            return [command]
    except PermissionError:
        raise InputError(
            f"process {launcher.process}, which runs this job, is another user's",
            where=record.workdir,
            fix="Repeat the command as that user.",
            code="E-LAUNCH-ELSEWHERE",
        ) from None
    print(f"process {launcher.process} was told to end; waiting for its last checkpoint ...", flush=True)
    begin = time.monotonic()
    while launcher.runs:
        if time.monotonic() - begin > PATIENCE_S:
            raise Interrupted(
                f"process {launcher.process} has not ended after {PATIENCE_S:.0f} s; it may still write its checkpoint",
                where=record.workdir,
                fix="Repeat the command: the processes end at once when they are told twice.",
                code="E-LAUNCH-STILL",
            )
        time.sleep(_POLL_S)
    return [command]


def _there(launcher: Launcher) -> str:
    return f"on {launcher.host}" + (f", as {launcher.user}" if launcher.user else "")


def _user() -> str | None:
    try:
        return getpass.getuser().encode("ascii", "replace").decode()[:255]
    except (OSError, KeyError):  # The system knows no name for the number of this user. Python before 3.13: KeyError.
        return None


def _host() -> str:
    return platform.node().encode("ascii", "replace").decode()[:255]
