"""Finds the files of a source: one file, the files of a folder, or those that a glob pattern matches."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from jaxbert.data.sources.lines import not_permitted, reading
from jaxbert.data.sources.written import Written
from jaxbert.errors import CommandError, InputError

# A pattern with one of these is not the name of a file that is missing.
_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True)
class Found:
    r"""The files of a source.

    Attributes:
      files: sorted (name, path). The name is the path below the directory that all files share, for people. Bytes of it
        that are not UTF-8 have an escape (`\xe9`).
      folder: whether the pattern names folders. Then nobody chose each of the files.
      hidden: the number of files and folders in them that are left out because their names begin with a point.
      written: the folders, with what they are, that are left out because jaxbert wrote them: those of runs, for
        example.
      locked: the folders that are left out because this user may not read them.
    """

    files: list[tuple[str, Path]]
    folder: bool = False
    hidden: int = 0
    written: dict[str, str] = field(default_factory=dict)
    locked: list[str] = field(default_factory=list)


def split_option(rest: str) -> tuple[str, str]:
    """Returns ("GLOB", "option") for "GLOB#option". The option is "" if there is none.

    A "#" that is in the name of a file that exists begins no option.
    """
    if "#" not in rest or matching(rest):
        return rest, ""
    pattern, _, option = rest.rpartition("#")
    return pattern, option


def matching(pattern: str) -> list[Path]:
    """Returns the sorted paths that a glob pattern matches (`**` is any depth), or the one path that it names."""
    pattern = os.path.expanduser(pattern)
    # The name of an existing file is not a pattern, even with a bracket in it.
    return sorted(
        Path(path) for path in ([pattern] if os.path.lexists(pattern) else glob.glob(pattern, recursive=True))
    )


def find_files(pattern: str, spec: str) -> Found:
    """Returns the files of a glob pattern. A pattern that matches only folders gives all files below these folders.

    Folders that jaxbert wrote, or that may not be read, are left out where they are below a folder, or where wildcards
    led into them.

    Raises:
      InputError: no file matches, the folders have no files, or one of them cannot be read.
    """
    paths = matching(pattern)
    if not paths:
        several = _WILDCARDS.intersection(pattern)
        if locked := locked_below(pattern):
            raise not_permitted(locked[0])
        raise InputError(
            "no file matches" if several else "no such file or folder",
            where=spec,
            fix=_advice(pattern),
            code="E-SOURCE-FILE",
        )
    aside = Written()
    paths = _chosen(pattern, paths, aside)
    folders = [path for path in paths if path.is_dir()]
    folder, hidden = len(folders) == len(paths), 0
    locked = locked_below(pattern)
    if folder:
        tops, paths = folders, []
        seen: set[str] = set()
        for top in tops:
            inside, not_seen, not_read = _walk(top, seen, aside)
            paths += inside
            hidden += not_seen
            locked += not_read
        paths.sort()
        if not paths and locked:
            raise not_permitted(locked[0])
        if not paths:
            but = [f"those of a {kind} ({printable(place.name)})" for place, kind in aside.folders.items()][:1]
            but += ["hidden ones"] if hidden else []
            raise InputError(
                f"the folder has no files{' but ' + ' and '.join(but) if but else ''}",
                where=str(tops[0]) if tops else spec,
                fix="Check the path.",
                code="E-SOURCE-FILE",
            )
    else:
        paths = [path for path in paths if not path.is_dir()]
    common = Path(os.path.commonpath([path.parent for path in paths]))
    written = {printable(os.path.relpath(place, common)): kind for place, kind in sorted(aside.folders.items())}
    files = [(printable(path.relative_to(common).as_posix()), path) for path in paths]
    shut = sorted({printable(os.path.relpath(place, common)) for place in locked})
    return Found(files, folder, hidden, written, shut)


def _advice(pattern: str) -> str:
    """Returns what to do about a pattern that matches nothing."""
    if re.match(r"[a-z][a-z0-9+.-]*://", pattern):
        return "Copy the text to this machine first, and give its path: a SOURCE of files is on a disk."
    return "Check the path; quote a pattern in the shell." if _WILDCARDS.intersection(pattern) else "Check the path."


def locked_below(pattern: str) -> list[Path]:
    """Returns the folders that a pattern would search, and that may not be read: `glob` says nothing of them."""
    pattern = os.path.expanduser(pattern)
    parts = Path(pattern).parts
    wild = [number for number, part in enumerate(parts) if _WILDCARDS.intersection(part)]
    if not wild or os.path.lexists(pattern):
        return []
    if "**" in parts:
        try:
            return _walk(Path(*parts[: wild[0]]), set(), Written())[2]
        except CommandError:  # A folder that has just gone, for example. What matches is read in any case.
            return []
    searched = (place for number in wild for place in glob.glob(str(Path(*parts[:number])) if number else os.curdir))
    return sorted(Path(place) for place in set(searched) if os.path.isdir(place) and not _may_read(place))


def _may_read(place: str) -> bool:
    return os.access(place, os.R_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _chosen(pattern: str, paths: list[Path], aside: Written) -> list[Path]:
    """Returns the paths that a pattern matches without those in a folder that jaxbert wrote, which wildcards found."""
    parts = Path(os.path.expanduser(pattern)).parts
    fixed = next((number for number, part in enumerate(parts) if _WILDCARDS.intersection(part)), len(parts))
    if fixed == len(parts) or os.path.lexists(os.path.expanduser(pattern)):
        return paths

    def below(path: Path) -> list[Path]:
        return [Path(*path.parts[:end]) for end in range(fixed + 1, len(path.parts) + path.is_dir())]

    return [path for path in paths if not any(aside.leaves_out(place) for place in below(path))]


def _walk(top: Path, seen: set[str], aside: Written) -> tuple[list[Path], int, list[Path]]:
    """Returns the files below a folder, the number of hidden files and folders, and the folders that are locked.

    It follows links once.
    """
    found: list[Path] = []
    locked: list[Path] = []
    hidden = 0

    def failed(error: OSError) -> None:
        if isinstance(error, PermissionError):
            locked.append(Path(error.filename))
            return
        with reading(Path(error.filename)):
            raise error

    for place, folders, names in os.walk(top, onerror=failed, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # A link leads back here.
            folders.clear()
            continue
        seen.add(real)
        hidden += sum(name.startswith(".") for name in (*folders, *names))
        shown = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [name for name in shown if not aside.leaves_out(Path(place, name))]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return found, hidden, locked


def printable(name: str) -> str:
    """Returns a name that may be printed, with an escape for each byte that is not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
