"""The opener of regular files, and the errors of reading that say nothing about a file's content. Imports no jax."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxbert.errors import CommandError, InputError, Interrupted

# The most bytes of a file that is read whole. A manifest of a million shards has a fifth of it.
MOST_BYTES = 1 << 30

# The disk, or the mount of a network filesystem, does not answer as it should.
_FAILING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT)
# The first line of a pointer of Git LFS.
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: Path | str) -> io.BufferedReader:
    """Opens a regular file for reading its bytes. It never waits, as `open` does for the writer of a named pipe.

    Raises:
      InputError: the path is a named pipe, a socket or a device.
      OSError: the file cannot be opened; a directory raises IsADirectoryError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket cannot be opened
            raise _irregular(path, "a socket or a device") from None
        raise
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise _irregular(path, next((name for test, name in _KINDS if test(mode)), "of an unknown kind"))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_regular(path: Path | str) -> None:
    """Checks that `path` is a regular file, for libraries that open files by their names. See `open_regular`."""
    open_regular(path).close()


def read_bytes(path: Path | str, *, most: int = MOST_BYTES) -> bytes:
    """Returns the content of a regular file.

    Args:
      path: the file.
      most: the most bytes that it may have.

    Raises:
      InputError: the path is not a regular file, the process may not read it, or it is longer than `most`.
      Interrupted: the disk or the mount fails.
      OSError: the file is missing, or it is a directory.
    """
    with reading(Path(path)), open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise InputError(
                f"the file has {size:,} bytes, but a file of this kind has at most {most:,}",
                where=str(path),
                fix="Give the right file.",
                code="E-FILE-SIZE",
            )
        return file.read()


def read_text(path: Path | str, *, most: int = MOST_BYTES) -> str:
    """Returns the text of a regular file of UTF-8, without a byte order mark. Lines keep their ends.

    Raises:
      ValueError: the file is not UTF-8.
      InputError, Interrupted, OSError: see `read_bytes`.
    """
    return decoded(read_bytes(path, most=most))


def decoded(data: bytes) -> str:
    """Returns UTF-8 as text, without a byte order mark. Raises ValueError where it is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start:,}") from None


def _irregular(path: Path | str, kind: str) -> InputError:
    return InputError(
        f"the path is {kind}, but a regular file is needed",
        where=str(path),
        fix="Give a regular file.",
        code="E-FILE-KIND",
    )


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Translates errors of the block that say nothing about the content of `path`. Other errors pass.

    Raises:
      InputError: the process has no permission to read, or the file is a pointer of Git LFS.
      Interrupted: the disk or the mount fails.
    """
    try:
        if _is_pointer(path):
            raise InputError(
                "this is a Git LFS pointer, not the file itself: the clone has not fetched it",
                where=str(path),
                fix="Run `git lfs pull` in the clone.",
                code="E-FILE-POINTER",
            )
        yield
    except PermissionError:
        raise InputError(
            "no permission to read", where=str(path), fix="Change its mode or owner.", code="E-DISK-PERMISSION"
        ) from None
    except CommandError:
        raise
    except Exception as error:
        if disk_fails(error):
            raise disk_failed(error, path) from error
        raise


def _is_pointer(path: Path) -> bool:
    """Returns whether a file holds what Git LFS leaves in its place (git-lfs docs/spec.md: below 1,024 bytes)."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) or not 0 < about.st_size < 1024:
            return False
        with open_regular(path) as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError:  # The block says what is wrong with the path.
        return False


def disk_fails(error: BaseException) -> bool:
    """Returns whether `error` says that the disk or the mount fails, by its number, or by its words if it has none.

    The words of a ValueError may be those of a file that is read, and do not count.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FAILING
    if isinstance(error, ValueError):
        return False
    return any(os.strerror(number).lower() in str(error).lower() for number in (errno.EIO, errno.ESTALE))


def disk_failed(error: Exception, path: Path) -> Interrupted:
    """Returns the error for a disk or a network filesystem that fails at `path`.

    That says nothing about the bytes of the file, so the file does not count as damaged.
    """
    return Interrupted(
        f"the disk or the mount failed: {getattr(error, 'strerror', None) or error}",
        where=str(path),
        fix="Look at the disk or the mount. The same command continues.",
        code="E-DISK-READ",
    )
