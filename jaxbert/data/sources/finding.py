"""Finds the files of a source: one file, the files of a folder, or those that a glob pattern matches."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path

from jaxbert.data.sources.lines import reading
from jaxbert.errors import InputError

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
    """

    files: list[tuple[str, Path]]
    folder: bool = False
    hidden: int = 0


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

    Raises:
      InputError: no file matches, the folders have no files, or one of them cannot be read.
    """
    paths = matching(pattern)
    if not paths:
        several = _WILDCARDS.intersection(pattern)
        raise InputError(
            "no file matches" if several else "no such file or folder",
            where=spec,
            fix="Check the path" + ("; quote a pattern in the shell." if several else "."),
            code="E-SOURCE-FILE",
        )
    folders = [path for path in paths if path.is_dir()]
    folder, hidden = len(folders) == len(paths), 0
    if folder:
        paths = []
        seen: set[str] = set()
        for top in folders:
            inside, not_seen = _walk(top, seen)
            paths += inside
            hidden += not_seen
        paths.sort()
        if not paths:
            aside = " but hidden ones" if hidden else ""
            raise InputError(
                f"the folder has no files{aside}", where=str(folders[0]), fix="Check the path.", code="E-SOURCE-FILE"
            )
    else:
        paths = [path for path in paths if not path.is_dir()]
    if len(paths) == 1:
        return Found([(printable(paths[0].name), paths[0])], folder, hidden)
    common = Path(os.path.commonpath([path.parent for path in paths]))
    return Found([(printable(path.relative_to(common).as_posix()), path) for path in paths], folder, hidden)


def _walk(top: Path, seen: set[str]) -> tuple[list[Path], int]:
    """Returns the files below a folder, and the number of hidden files and folders there. It follows links once."""
    found: list[Path] = []
    hidden = 0

    def failed(error: OSError) -> None:
        with reading(Path(error.filename)):
            raise error

    for place, folders, names in os.walk(top, onerror=failed, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # A link leads back here.
            folders.clear()
            continue
        seen.add(real)
        hidden += sum(name.startswith(".") for name in (*folders, *names))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return found, hidden


def printable(name: str) -> str:
    """Returns a name that may be printed, with an escape for each byte that is not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
