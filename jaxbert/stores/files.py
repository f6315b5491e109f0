"""Files that are written whole or not at all, and the tests for a full disk. Imports no jax."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from jaxbert.errors import CommandError, Interrupted

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def replacing(
    path: Path, mode: str = "wb", *, suffix: str = ".tmp", temporary: Path | None = None
) -> Iterator[IO[Any]]:
    """Opens a temporary file beside `path`, which replaces `path` when the block ends well.

    The new content is on the disk before the replacement, so that a kill at any moment leaves either the old file or
    the new one. When the block raises, the temporary file is removed and `path` stays as it was.

    Args:
      path: the file to make or to replace. Its directory must exist.
      mode: "wb" or "w"; text is UTF-8.
      suffix: the ending of the temporary file's name.
      temporary: the path of the temporary file, if a suffix is not enough: processes that may write `path` at the same
        time need different names.
    """
    temporary = temporary or path.with_name(path.name + suffix)
    with arriving(path, temporary), temporary.open(mode, encoding=None if "b" in mode else "utf-8") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def arriving(path: Path, temporary: Path) -> Iterator[Path]:
    """Gives `temporary` to the block, which fills it; it replaces `path` when the block ends well.

    This is for libraries that open files by their names. The block decides whether the content is on the disk before
    the replacement: see `sync`. When the block raises, the temporary file is removed and `path` stays as it was.
    """
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Waits until the content of a file is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_whole(path: Path, content: str | bytes, *, temporary: Path | None = None) -> None:
    """Makes or replaces `path` with `content`, whole or not at all; text is written as UTF-8. See `replacing`."""
    with replacing(path, temporary=temporary) as file:
        file.write(content.encode() if isinstance(content, str) else content)


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
