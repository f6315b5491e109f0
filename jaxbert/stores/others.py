"""Files of others in a directory whose content a command replaces. They are named, and not removed. Imports no jax.

A file is ours where its name says so and only our commands use that name there, or where an earlier command has noted
its sha256.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from jaxbert.inputs.files import open_regular

# The most files that a message names.
_NAMED = 8


def files_below(directory: Path) -> Iterator[tuple[str, Path]]:
    """Yields each file and link in a directory and its folders: its path below the directory, and its whole path."""
    for top, folders, files in os.walk(directory):
        for name in [*files, *(folder for folder in folders if Path(top, folder).is_symlink())]:
            path = Path(top, name)
            yield path.relative_to(directory).as_posix(), path


def digest(path: Path) -> str:
    """Returns the sha256 of a file, in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has_digest(path: Path, expected: object) -> bool:
    """Says whether a path is a file, and not a link, with this sha256. None is the sha256 of no file."""
    return expected is not None and path.is_file() and not path.is_symlink() and digest(path) == expected


def listed(names: Collection[str]) -> str:
    """Returns the names of files for a message, in their order: the first of them, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(sorted(names)[:_NAMED]) + more
