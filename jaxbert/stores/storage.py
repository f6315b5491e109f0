"""The same few operations on a directory of a disk and on a URL in a bucket. Imports no jax.

A workdir means the same in both places: a file is written whole or not at all, and of several processes that `create`
a file exactly one succeeds. Names are relative and use slashes. URLs are those of fsspec, and `jaxbert.stores.schemes`
names the extra that each kind of bucket needs. Listings are never cached, because Orbax writes checkpoints without
fsspec, and other machines write too.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import posixpath
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from jaxbert.errors import InputError, Interrupted, Stopped
from jaxbert.inputs.files import open_regular, read_bytes
from jaxbert.stores import s3
from jaxbert.stores.files import arriving, disk_is_full, remove, write_whole
from jaxbert.stores.schemes import examples, known, log_in, scheme_of

_BLOCK = 1 << 22

# The errors of buckets' clients that are not OSErrors. Timeouts and the errors of requests are OSErrors.
_CLIENT_ERRORS = (
    ("gcsfs.retry", "HttpError"),
    ("gcsfs.retry", "ChecksumError"),
    ("aiohttp", "ClientError"),
    ("google.auth.exceptions", "GoogleAuthError"),
)


def is_remote(path: str | Path) -> bool:
    """Returns whether a path is a URL."""
    return "://" in str(path)


def cache_directory() -> Path:
    """Returns the directory for copies: `JAXBERT_CACHE`, else `XDG_CACHE_HOME`/jaxbert, else ~/.cache/jaxbert."""
    if "JAXBERT_CACHE" in os.environ:
        return Path(os.environ["JAXBERT_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxbert"


class Storage(Protocol):
    """The operations. A missing file raises FileNotFoundError; the listing of a missing directory is empty."""

    place: str
    """The directory or URL, for messages."""

    def names(self, directory: str = "") -> list[str]:
        """Returns the names of the files and directories directly in `directory`, sorted."""

    def files(self, directory: str = "") -> dict[str, int]:
        """Returns the size in bytes of every file below `directory`, sorted by the name relative to it."""

    def read(self, name: str) -> bytes:
        """Returns the content of the file."""

    def write(self, name: str, content: bytes) -> None:
        """Makes or replaces the file, whole or not at all."""

    def create(self, name: str, content: bytes) -> bool:
        """Makes the file and returns True; returns False and changes nothing if the file exists."""

    def renew(self, name: str, content: bytes) -> None:
        """Replaces a file by one of the same length. It needs no free space on the disk."""

    def remove(self, directory: str) -> None:
        """Removes a file, or a directory with everything in it; does nothing if there is none."""

    def sha256(self, name: str) -> str:
        """Returns the sha256 of the file's bytes, in hexadecimal."""


class Disk:
    """A directory."""

    def __init__(self, root: Path):
        self.root, self.place = root, str(root)

    def names(self, directory: str = "") -> list[str]:
        """See `Storage`."""
        try:
            return sorted(os.listdir(self.root / directory))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def files(self, directory: str = "") -> dict[str, int]:
        """See `Storage`."""
        below = self.root / directory
        found = (path for path in sorted(below.rglob("*")) if path.is_file())
        return {path.relative_to(below).as_posix(): path.stat().st_size for path in found}

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        return read_bytes(self.root / name)

    def write(self, name: str, content: bytes) -> None:
        """See `Storage`."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)

    def create(self, name: str, content: bytes) -> bool:
        """See `Storage`."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            return False
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return True

    def renew(self, name: str, content: bytes) -> None:
        """See `Storage`."""
        with (self.root / name).open("r+b", buffering=0) as file:
            file.write(content)

    def remove(self, directory: str) -> None:
        """See `Storage`."""
        remove(self.root / directory)

    def sha256(self, name: str) -> str:
        """See `Storage`."""
        with open_regular(self.root / name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class Bucket:
    """The objects below a URL. A bucket never shows a part of an object, so that every write is whole.

    Raises:
      InputError: every operation raises it if there is no such bucket, no permission, or no credentials.
      Interrupted: the network failed; the same call continues.
    """

    def __init__(self, url: str):
        self.place = url.rstrip("/")
        self._files, self._root = open_url(self.place)
        # Google's buckets honour the condition of `create`. S3 is also a protocol of other stores: see `create`.
        self._excludes = scheme_of(self.place) != "s3"

    def names(self, directory: str = "") -> list[str]:
        """See `Storage`."""
        with translated(self.place), suppress(FileNotFoundError):
            below = self._at(directory).rstrip("/")
            found = self._files.ls(below, detail=False)
            return sorted(posixpath.basename(path.rstrip("/")) for path in found if path.rstrip("/") != below)
        return []

    def files(self, directory: str = "") -> dict[str, int]:
        """See `Storage`."""
        with translated(self.place), suppress(FileNotFoundError):
            below = self._at(directory).rstrip("/") + "/"
            found = self._files.find(below, detail=True)
            return {path.removeprefix(below): int(info["size"]) for path, info in sorted(found.items())}
        return {}

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        with translated(self.place):
            return bytes(self._files.cat_file(self._at(name)))

    def write(self, name: str, content: bytes) -> None:
        """See `Storage`."""
        with translated(self.place, writes=True):
            self._files.pipe_file(self._at(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """See `Storage`. The bucket decides who succeeds (ifGenerationMatch=0 of gs://, If-None-Match of s3://).

        Raises:
          InputError: the store makes the same file twice, so it cannot keep two processes apart.
        """
        if not self._create(name, content):
            return False
        if not self._excludes:
            # A store that does not know the condition may ignore it, and answer as if it had held.
            if self._create(name, content):
                self.remove(name)
                raise self._no_conditions()
            self._excludes = True
        return True

    def renew(self, name: str, content: bytes) -> None:
        """See `Storage`."""
        self.write(name, content)

    def remove(self, directory: str) -> None:
        """See `Storage`."""
        with translated(self.place), suppress(FileNotFoundError):
            place = self._at(directory)
            found = self._files.find(place) or []
            for path in found:
                with suppress(FileNotFoundError):
                    self._files.rm_file(path)

    def sha256(self, name: str) -> str:
        """See `Storage`. It reads the object."""
        digest = hashlib.sha256()
        with translated(self.place), self._files.open(self._at(name), "rb", block_size=_BLOCK) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    def fetch(self, name: str, place: Path) -> None:
        """Copies an object to a file, whole or not at all."""
        place.parent.mkdir(parents=True, exist_ok=True)
        with arriving(place) as temporary, translated(self.place):
            self._files.get_file(self._at(name), str(temporary))

    def send(self, name: str, place: Path) -> None:
        """Copies a file to an object."""
        with translated(self.place, writes=True):
            self._files.put_file(str(place), self._at(name))

    def md5(self, name: str) -> str | None:
        """Returns the md5 that the bucket has stored for the object, in base64, or None if it stores none.

        The ETag of S3 is the md5 of an object that was sent in one part and is not encrypted with a key of KMS. Other
        objects have another ETag, which no md5 equals.
        """
        with translated(self.place):
            found = self._files.info(self._at(name))
        if stored := found.get("md5Hash"):
            return str(stored)
        tag = str(found.get("ETag", "")).strip('"')
        return base64.b64encode(bytes.fromhex(tag)).decode() if re.fullmatch("[0-9a-f]{32}", tag) else None

    def _create(self, name: str, content: bytes) -> bool:
        with translated(self.place, writes=True):
            try:
                self._files.pipe_file(self._at(name), content, mode="create")
            except FileExistsError:
                return False
            except NotImplementedError:
                raise self._no_conditions() from None
            return True

    def _no_conditions(self) -> InputError:
        return InputError(
            "this store has no conditional writes (If-None-Match), so two runs could write to one workdir",
            where=self.place,
            fix="Use a store or a version that has them, or a --workdir on a disk.",
            code="E-STORE-CONDITION",
        )

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root


def storage(place: str | Path) -> Storage:
    """Returns the storage of a directory or a URL."""
    return Bucket(str(place)) if is_remote(place) else Disk(Path(place))


def open_url(url: str) -> tuple[Any, str]:
    """Returns (fsspec's filesystem of a URL, the path in it).

    Raises:
      InputError: no installed package reads such URLs, or there are no credentials.
    """
    import fsspec

    try:
        if scheme_of(url) == "s3":
            s3.files()
        files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError:
        scheme = known(url)
        fix = f'pip install "jaxbert[{scheme.extra}]".' if scheme else "Install the fsspec filesystem of such URLs."
        raise InputError("no installed package reads such URLs", where=url, fix=fix, code="E-STORE-SCHEME") from None
    except ValueError as error:
        raise InputError(
            f"unknown kind of URL: {error}", where=url, fix=f"Give {examples()}.", code="E-STORE-SCHEME"
        ) from None
    except client_errors() as error:
        raise failure(url, error) from error
    return files, root.rstrip("/")


@contextmanager
def translated(url: str, *, writes: bool = False) -> Iterator[None]:
    """Turns the errors of a bucket's client into errors that a user can act on.

    FileNotFoundError stays as it is, unless it says that there is no such bucket. Any other error is a bug and passes,
    because a launcher must not repeat it.

    Args:
      url: the URL, for messages.
      writes: whether an object is written. Only the bucket itself can be missing then.
    """
    try:
        yield
    except (InputError, Interrupted, Stopped, FileExistsError):
        raise
    except FileNotFoundError as error:
        if error.filename or not (writes or "bucket does not exist" in str(error)):
            raise
        raise InputError(
            "there is no such bucket", where=url, fix="Make it first, or give another URL.", code="E-STORE-BUCKET"
        ) from None
    except PermissionError as error:
        if error.filename:  # The local disk's: the caller knows more about it.
            raise
        raise InputError(
            f"no permission: {_brief(error)}", where=url, fix=log_in(url), code="E-STORE-PERMISSION"
        ) from None
    except client_errors() as error:
        raise failure(url, error) from error


def client_errors() -> tuple[type[Exception], ...]:
    """Returns OSError and the classes of `_CLIENT_ERRORS` whose modules are loaded; no other can have been raised."""
    found = [getattr(sys.modules.get(module), name, None) for module, name in _CLIENT_ERRORS]
    return OSError, *(one for one in found if one is not None)


def failure(url: str, error: Exception) -> Exception:
    """Returns the error to raise for an `error` of a bucket's client."""
    if "credential" in str(error).lower():
        return InputError(f"no credentials: {_brief(error)}", where=url, fix=log_in(url), code="E-STORE-CREDENTIALS")
    # gcsfs gives the answer 403 without a number.
    if str(error).startswith("Forbidden"):
        return InputError(f"no permission: {_brief(error)}", where=url, fix=log_in(url), code="E-STORE-PERMISSION")
    # An error of the local disk: the caller knows more about it. An unsupported operation is a bug.
    if isinstance(error, OSError) and (error.filename or disk_is_full(error)):
        return error
    if isinstance(error, io.UnsupportedOperation):
        return error
    what = f"the bucket does not answer: {type(error).__name__}: {_brief(error)}"
    return Interrupted(what, where=url, fix="Run the same command again: it continues.", code="E-STORE-NETWORK")


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
