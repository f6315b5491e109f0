"""Files that are written whole or not at all, and the tests for a full disk. Imports no jax."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from jaxbert.errors import CommandError, InputError, Interrupted

_FULL = (errno.ENOSPC, errno.EDQUOT)


PARTIAL = ".partial"
# What `replace_directory` has moved out of the way.
_ASIDE = ".aside"
# The leftover of a process on another machine, which nobody here can ask about, is removed after so many seconds.
_OLD_S = 86400.0


def partial_name(path: Path) -> Path:
    """Returns the temporary name of a file or directory that this process writes as `path`."""
    return _own_name(path, PARTIAL)


def _own_name(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{_machine()}{ending}")


def is_partial(name: str) -> bool:
    """Returns whether a name is one of `partial_name`, of any process."""
    return name.startswith(".") and name.endswith(PARTIAL)


def remove_leftovers(path: Path) -> None:
    """Removes what processes that were killed have left of `path` under temporary names."""
    with suppress(OSError):
        for left in _leftovers(path, PARTIAL):
            remove(left)


def _leftovers(path: Path, ending: str) -> Iterator[Path]:
    """Yields what processes that were killed have left beside `path` under names of `_own_name`."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.(\d+)-(\w+){re.escape(ending)}")
    for entry in sorted(os.listdir(path.parent)):
        found = ours.fullmatch(entry)
        if found and _is_left(path.with_name(entry), int(found[1]), found[2]):
            yield path.with_name(entry)


def replace_directory(new: Path, path: Path) -> None:
    """Moves the directory `new` to `path`. A directory that is there is removed only after the new one is in place.

    After a kill in between, `settle_directory` brings the old one back.
    """
    if not path.exists():
        os.replace(new, path)
        return
    aside = _own_name(path, _ASIDE)
    os.replace(path, aside)
    try:
        os.replace(new, path)
    except BaseException:
        os.replace(aside, path)
        raise
    _remove_aside(aside, path)


def settle_directory(path: Path) -> None:
    """Undoes or finishes a `replace_directory` that was killed, and removes what killed processes have left."""
    with suppress(FileNotFoundError, NotADirectoryError):
        for aside in _leftovers(path, _ASIDE):
            if not os.path.lexists(path):
                os.replace(aside, path)
            else:
                _remove_aside(aside, path)
    remove_leftovers(path)


def _remove_aside(aside: Path, path: Path) -> None:
    # Under this name, no later command takes a directory that is half removed for the old one.
    partial = partial_name(path)
    os.replace(aside, partial)
    remove(partial)


def remove(path: Path) -> None:
    """Removes a file, a link, or a directory with everything in it; does nothing if there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_left(path: Path, process: int, machine: str) -> bool:
    """Returns whether the process that wrote a temporary file is gone."""
    if machine != _machine():
        with suppress(OSError):
            return time.time() - path.lstat().st_mtime > _OLD_S
        return False
    # In a container every process may have the same number, and this one has not begun to write `path`.
    if process == os.getpid():
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    return False


@functools.cache
def _machine() -> str:
    return hashlib.sha256(platform.node().encode(errors="replace")).hexdigest()[:6]


@contextmanager
def replacing(path: Path, mode: str = "wb", *, temporary: Path | None = None) -> Iterator[IO[Any]]:
    """Opens a temporary file beside `path`, which replaces `path` when the block ends well.

    The new content is on the disk before the replacement, so that a kill at any moment leaves either the old file or
    the new one. When the block raises, the temporary file is removed and `path` stays as it was. A link at `path` is
    replaced too: nothing is written where it leads.

    Args:
      path: the file to make or to replace. Its directory must exist.
      mode: "wb" or "w"; text is UTF-8.
      temporary: the path of the temporary file; None for `partial_name`.
    """
    # The file must be new ("x"), because a link at its name would be written through.
    mode, encoding = mode.replace("w", "x"), None if "b" in mode else "utf-8"
    with naming(path), arriving(path, temporary) as place, place.open(mode, encoding=encoding) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds `path` to an OSError of the block that names no file: those of writes and syncs name none.

    The command line tells a failing disk from a bug only where the error names a file.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def arriving(path: Path, temporary: Path | None = None) -> Iterator[Path]:
    """Gives a temporary path to the block, which writes a file there; it replaces `path` when the block ends well.

    This is for libraries that open files by their names. The block decides whether the content is on the disk before
    the replacement: see `sync`. When the block raises, the temporary file is removed and `path` stays as it was.

    Args:
      path: the file to make or to replace.
      temporary: the temporary path, for a directory that removes its leftovers by itself; None for `partial_name`.
        Then what processes that were killed have left of `path` is removed first.
    """
    if temporary is None:
        remove_leftovers(path)
        temporary = partial_name(path)
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        # The user knows the path, and not the temporary one beside it.
        if isinstance(error, OSError) and error.filename is not None and str(error.filename) == str(temporary):
            error.filename = str(path)
        raise


def no_links(path: str, flags: int) -> int:
    """Opens a file as `open` does with this `opener`, but not through a symbolic link at its end.

    Raises:
      InputError: the path is a link.
    """
    try:
        return os.open(path, flags | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise linked(path) from None
        raise


def linked(path: object) -> InputError:
    """Returns the error for a file or directory of ours that is a symbolic link."""
    return InputError(
        "the path is a symbolic link, and jaxbert does not write where it leads",
        where=str(path),
        fix="Remove the link. The whole workdir may be one.",
        code="E-WORKDIR-LINK",
    )


def sync(path: Path) -> None:
    """Waits until the content of a file is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_whole(path: Path, content: str | bytes, *, temporary: Path | None = None) -> None:
    """Makes or replaces `path` with `content`, whole or not at all; text is written as UTF-8. See `replacing`."""
    with replacing(path, temporary=temporary) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yields `error`, and then every error that it was raised from, or raised because of."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop(0)
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__]


def disk_full(where: object, fix: str, also: str = "") -> Interrupted:
    """Returns the error that ends a command on a full disk.

    Args:
      where: the path that could not be written.
      fix: what the user can do.
      also: the end of the sentence, for example what was kept.
    """
    return Interrupted(f"the disk is full{also}", where=str(where), fix=fix, code="E-DISK-FULL")


@contextmanager
def full_disk(where: object, fix: str) -> Iterator[None]:
    """Raises `disk_full(where, fix)` for an error of the block that says that the disk is full. Other errors pass."""
    try:
        yield
    except CommandError:
        raise
    except Exception as error:
        if disk_is_full(error):
            raise disk_full(where, fix) from error
        raise


def disk_is_full(error: BaseException) -> bool:
    """Returns whether `error` says that the disk or quota is full, by its number, or by its words if it has none.

    Libraries written in other languages give the message of the system without its number.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    return any(word in str(error).lower() for word in ("no space left", "disk quota exceeded", "enospc"))


def cannot_write(error: OSError) -> bool:
    """Returns whether an error says that the user chose a place where this process may not write."""
    return isinstance(error, (PermissionError, FileExistsError, NotADirectoryError)) or error.errno == errno.EROFS
