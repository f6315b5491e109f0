"""Kills a command before each of its operations on files. Run as a program, because it forks before threads begin.

A point is an operation that changes a file: an opening that makes or empties it (two points, before and after), an
fsync, a renaming, a removal, a directory that is made. Libraries written in other languages open their files unseen
(ArrayRecord's writer, TensorStore); the points around them are the renamings that follow.

For each point the program copies the state before, forks a child that runs the command and dies at the point
(`os._exit`, so that nothing is cleaned up), and forks another that runs the same command to its end. The bytes must
then be those of a command that was not killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

KILLED = 77
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


class Points:
    """Counts the points below a directory, and ends the process at one of them.

    Args:
      root: the directory.
      kill_at: the number of the point, from 1; 0 for none.
    """

    def __init__(self, root: Path, kill_at: int):
        self._root, self._kill_at = os.path.realpath(root), kill_at
        self._inside = False
        self.labels: list[str] = []

    def install(self) -> None:
        """Begins to count. It cannot be undone, so it is for a forked child."""
        sync = os.fsync

        def counted(descriptor: int) -> None:
            self._point("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
            sync(descriptor)

        os.fsync = counted
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._inside or not (event == "open" or event in _EVENTS):
            return
        self._inside = True
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
            self._inside = False

    def _opened(self, path: str, flags: int) -> None:
        new = flags & os.O_CREAT and not os.path.lexists(path)
        if self._ours(path) and (new or flags & os.O_TRUNC):
            self._point("open", path)
            if len(self.labels) + 1 == self._kill_at and os.path.isdir(os.path.dirname(path)):
                os.close(os.open(path, flags | os.O_CREAT, 0o666))
            self._point("opened", path)

    def _ours(self, path: str) -> bool:
        return path == self._root or path.startswith(f"{self._root}/")

    def _point(self, what: str, *paths: str) -> None:
        if not any(map(self._ours, paths)):
            return
        self.labels.append(f"{what} {' '.join(os.path.relpath(path, self._root) for path in paths)}")
        if len(self.labels) == self._kill_at:
            os._exit(KILLED)


def forked(command: Callable[[], object], root: Path, kill_at: int) -> tuple[int, list[str], str]:
    """Runs a command in a forked child; returns its exit code, the points that it passed, and what it printed."""
    reading, writing = os.pipe()
    said = root.parent / f"{root.name}.said"
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(reading)
            output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            points = Points(root, kill_at)
            points.install()
            returned = command()
            code = returned if isinstance(returned, int) else 0
            with os.fdopen(writing, "w") as pipe:
                json.dump(points.labels, pipe)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    words = said.read_text(errors="replace")
    said.unlink()
    return code, json.loads(text) if text else [], words


def kind(label: str) -> str:
    """Returns a point without the numbers of shards, steps and processes, so that points of one loop are of one kind.

    The files in Orbax's temporary directory are of one kind too: none of them counts until the directory is renamed.
    """
    return re.sub(r"[0-9a-f]{6,}|\d+", "N", re.sub(r"(orbax-checkpoint-tmp)/\S+", r"\1/FILE", label))


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


def chosen(labels: list[str], each: int) -> Iterator[int]:
    """Yields the numbers of the points to try: all, or the first `each` of every kind where each > 0."""
    groups: dict[str, list[int]] = {}
    for number, label in enumerate(labels, start=1):
        groups.setdefault(kind(label), []).append(number)
    for numbers in groups.values():
        yield from numbers if not each else numbers[:each]


def try_all(
    name: str,
    command: Callable[[Path], Callable[[], object]],
    place: Path,
    *,
    before: Path | None = None,
    each: int = 0,
    look: Callable[[Path], dict[str, Any]] = bytes_of,
) -> dict[str, Any]:
    """Tries the points of one command; returns their number and what went wrong.

    Args:
      name: a name for the report.
      command: returns the command that writes into a directory. All directories have the same path.
      place: a directory for the tries.
      before: the state in which the command begins; None for a directory that does not exist.
      each: tries this many points of each kind, for commands that take seconds; 0 for every point.
      look: returns what must be the same as without a kill.
    """
    root = place / "root"

    def begin() -> None:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        if before is not None:
            shutil.copytree(before, root, dirs_exist_ok=True, symlinks=True)

    begin()
    started = time.monotonic()
    code, labels, words = forked(command(root), root, 0)
    if code:
        return {"name": name, "points": 0, "wrong": [f"without a kill: exit {code}: {words}"]}
    wanted = look(root)
    wrong = []
    numbers = sorted(chosen(labels, each))
    for number in numbers:
        begin()
        code, _, words = forked(command(root), root, number)
        if code != KILLED:
            # A point of another thread, which comes after the last one now.
            if code:
                wrong.append(f"{labels[number - 1]}: exit {code} instead of a kill: {words[-2000:]}")
            continue
        code, _, words = forked(command(root), root, 0)
        found = look(root) if code == 0 else {}
        if code:
            wrong.append(f"killed before {labels[number - 1]}, then exit {code}: {words[-2000:]}")
        elif found != wanted:
            different = sorted(file for file in wanted.keys() | found.keys() if wanted.get(file) != found.get(file))
            wrong.append(f"killed before {labels[number - 1]}: different: {different}")
    return {
        "name": name,
        "points": len(labels),
        "tried": len(numbers),
        "wrong": wrong,
        "seconds": round(time.monotonic() - started, 1),
    }
