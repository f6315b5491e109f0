"""The states in which a kill leaves a directory, before each operation on files of a command.

A point is an operation that changes a file: an opening that makes or empties it (two points, before and after), an
fsync, a renaming, a removal, a directory that is made. Libraries written in other languages open their files unseen
(ArrayRecord's writer, TensorStore); the points around them are the renamings that follow.

`try_states` runs a command once and reads the whole directory before each point: a kill there would leave just this.
Then it puts the directory into each of these states, once for states that are equal, and runs the same command in it.
The bytes must then be those of a command that was not killed. No process is killed or started for that, so that a try
costs as much as the command in a process that has imported and compiled everything. Other tests of this folder send
real signals.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

State = dict[str, tuple[str, int, bytes]]

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Audit events of Python that change files, with the positions of the paths and of the directories they are relative to.
_EVENTS = {
    "os.rename": ((0, 2), (1, 3)),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.mkdir": ((0, 2),),
    "os.link": ((0, 2), (1, 3)),
    "os.symlink": ((0, 2),),
    "os.truncate": ((0, None),),
}


class States:
    """Keeps the state of a directory before each point of the commands of this process, while it is on.

    Args:
      root: the directory.
    """

    def __init__(self, root: Path):
        self._root = os.path.realpath(root)
        self._here = threading.local()
        self._turn = threading.RLock()
        self._on = False
        self.labels: list[str] = []
        self.states: list[State] = []

    def install(self) -> None:
        """Begins to watch. Python cannot undo it."""
        sync = os.fsync

        def watched(descriptor: int) -> None:
            self._point("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
            sync(descriptor)

        os.fsync = watched
        sys.addaudithook(self._hook)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Forgets what it has kept, and keeps the states during the block."""
        self.labels, self.states, self._on = [], [], True
        try:
            yield
        finally:
            self._on = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on or getattr(self._here, "inside", False) or not (event == "open" or event in _EVENTS):
            return
        self._here.inside = True
        try:
            if event == "open":
                path, _, flags = arguments
                if isinstance(path, (str, bytes, os.PathLike)) and flags & _WRITES:
                    self._opened(os.path.abspath(os.fsdecode(path)), flags)
                return
            paths = []
            for place, base in _EVENTS[event]:
                path = os.fsdecode(arguments[place]) if not isinstance(arguments[place], int) else "/"
                below = arguments[base] if base is not None and len(arguments) > base else -1
                if isinstance(below, int) and below >= 0:
                    path = os.path.join(os.readlink(f"/proc/self/fd/{below}"), path)
                paths.append(os.path.abspath(path))
            there = os.path.lexists(paths[0])
            # A removal of nothing, and a directory that is there already, change nothing.
            if there != (event in ("os.mkdir", "os.symlink")):
                self._point(event, *paths)
        finally:
            self._here.inside = False

    def _opened(self, path: str, flags: int) -> None:
        new = flags & os.O_CREAT and not os.path.lexists(path)
        if not (self._ours(path) and (new or flags & os.O_TRUNC)):
            return
        with self._turn:
            self._point("open", path)
            if os.path.isdir(os.path.dirname(path)):
                self._point("opened", path)
                name = os.path.relpath(path, self._root)
                _, mode, _ = self.states[-1].get(name, ("file", 0o644, b""))
                self.states[-1][name] = ("file", mode, b"")

    def _ours(self, path: str) -> bool:
        return path == self._root or path.startswith(f"{self._root}/")

    def _point(self, what: str, *paths: str) -> None:
        if self._on and any(map(self._ours, paths)):
            with self._turn:
                self.labels.append(f"{what} {' '.join(os.path.relpath(path, self._root) for path in paths)}")
                self.states.append(state_of(Path(self._root)))


def state_of(root: Path) -> State:
    """Returns everything below `root`: its kind, its mode, and its bytes or where the link leads."""
    found: State = {}
    for place, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = os.path.join(place, name)
            try:
                mode = os.lstat(path).st_mode
                if stat.S_ISLNK(mode):
                    value = ("link", 0, os.fsencode(os.readlink(path)))
                elif stat.S_ISDIR(mode):
                    value = ("directory", stat.S_IMODE(mode), b"")
                else:
                    with open(path, "rb") as file:
                        value = ("file", stat.S_IMODE(mode), file.read())
            except FileNotFoundError:  # another thread has removed it meanwhile
                continue
            found[os.path.relpath(path, root)] = value
    return found


def put(root: Path, state: State) -> None:
    """Puts a directory into a state."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for name, (what, mode, content) in sorted(state.items()):
        path = root / name
        if what == "link":
            path.symlink_to(os.fsdecode(content))
            continue
        if what == "directory":
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(content)
        path.chmod(mode)


def kind(label: str) -> str:
    """Returns a point without the numbers of shards, steps and processes, so that points of one loop are of one kind.

    Points at which only a temporary file or directory changes are of one kind too, whatever its name: none of its files
    counts until it is renamed, and the point of that renaming finds it, and everything before it, on the disk. So are
    the moves of a run that is replaced, which tests/kills/test_replaced.py tries, and its removal. What one of several
    runs does below its seed-N is of the kind of a single run's point.
    """
    label = re.sub(r"\bseed-\d+/", "", label)
    label = re.sub(r"(\.orbax-checkpoint-tmp|\.partial|\.removed)/\S+", r"\1", label)
    label = re.sub(r"^os\.rename (\S+) \.replaced/\1$", "os.rename OUTPUT .replaced", label)
    label = re.sub(r"^(open|opened|fsync|os\.mkdir|os\.rmdir) \S+(\.partial|-tmp)$", r"written \2", label)
    return re.sub(r"[0-9a-f]{6,}|\d+", "N", label)


def bytes_of(root: Path, ignored: Callable[[str], bool] = lambda name: False) -> dict[str, Any]:
    """Returns the sha256 of every file below `root`, and the target of every link.

    Args:
      root: a directory.
      ignored: whether a file, by its path in the directory, holds clocks or names of this machine.
    """
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if ignored(name):
            continue
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "directory"
    return found


def chosen(labels: list[str], known: set[str] | None) -> Iterator[int]:
    """Yields the numbers of the points to try: all, or the first of every kind that is not in `known`, which it joins.

    Args:
      labels: the points of a command.
      known: the kinds that have been tried; None for every point.
    """
    for number, label in enumerate(labels, start=1):
        if known is None:
            yield number
        elif kind(label) not in known:
            known.add(kind(label))
            yield number


def of_dead_process(state: State) -> State:
    """Returns a state in which temporary names have the number of a process that has ended, as after a kill."""
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    return {re.sub(rf"\.{os.getpid()}(?=[-.])", f".{ended.pid}", name): value for name, value in state.items()}


def try_states(
    name: str,
    command: Callable[[], int],
    states: States,
    root: Path,
    *,
    before: Path | None = None,
    known: set[str] | None = None,
    look: Callable[[Path], dict[str, Any]] = bytes_of,
    same: Callable[[str], bool] = lambda name: False,
) -> dict[str, Any]:
    """Tries the states that kills of one command leave; returns their number and what went wrong.

    Args:
      name: a name for the report.
      command: the command, which writes into `root`; it returns its exit code.
      states: installed in this process, for `root`.
      root: the directory of all commands of this process.
      before: the state in which the command begins; None for an empty directory.
      known: see `chosen`.
      look: returns what must be the same as without a kill.
      same: whether two states with this file are the same whatever it holds: a clock, or a number that is drawn.
    """
    started = seconds()
    put(root, state_of(before) if before is not None else {})
    with states.on():
        code, words = heard(command)
    labels, kept = states.labels, states.states
    if code:
        return {"name": name, "points": len(labels), "wrong": [f"without a kill: exit {code}: {words}"]}
    wanted, wrong = look(root), []
    tried: dict[Any, str] = {}
    for number in chosen(labels, known):
        label, state = labels[number - 1], kept[number - 1]
        key = frozenset((file, *(value[:2] if same(file) else value)) for file, value in state.items())
        if key in tried:
            continue
        tried[key] = label
        put(root, of_dead_process(state))
        code, words = heard(command)
        found = look(root) if code == 0 else {}
        if code:
            wrong.append(f"killed before {label}, then exit {code}: {words[-2000:]}")
        elif found != wanted:
            different = sorted(file for file in wanted.keys() | found.keys() if wanted.get(file) != found.get(file))
            wrong.append(f"killed before {label}: different: {different}")
    return {
        "name": name,
        "points": len(labels),
        "kinds": len(set(map(kind, labels))),
        "tried": len(tried),
        "wrong": wrong,
        "seconds": round(seconds() - started, 1),
    }


def seconds() -> float:
    """Returns the processor's seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def heard(command: Callable[[], int]) -> tuple[int, str]:
    """Runs a command in this process; returns its exit code and what it printed."""
    words = io.StringIO()
    with redirect_stdout(words), redirect_stderr(words):
        try:
            code = command()
        except BaseException:
            traceback.print_exc()
            code = 1
    return code, words.getvalue()
