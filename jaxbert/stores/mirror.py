"""The copy on this machine of a workdir in a bucket. Imports no jax.

Logs are appended to and cut back, and rows are read one by one: a bucket can do neither well. So each process of a run
has a directory below `JAXBERT_CACHE` (else ~/.cache/jaxbert) with everything but the checkpoints, which every process
writes to the bucket directly. The bucket decides: the directory is made equal to it before a run begins, and process 0
copies its changes to the bucket before each checkpoint counts, every minute, and at the end.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import threading
from contextlib import suppress
from pathlib import Path, PurePosixPath

from jaxbert.errors import CommandError, InputError
from jaxbert.inputs.files import open_regular
from jaxbert.stores.files import cannot_write, full_disk
from jaxbert.stores.lease import DIRECTORY as LEASE
from jaxbert.stores.storage import Bucket, cache_directory
from jaxbert.stores.workdir import CHECKPOINTS, LAUNCH, LOGS, REMOTE

_log = logging.getLogger(__name__)
# Parts of a workdir in a bucket that have no copy on this machine.
_THERE_ONLY = (CHECKPOINTS, LAUNCH, LOGS, LEASE)
_EVERY_S = 60.0


class Mirror:
    """The directory on this machine of a run whose workdir is in a bucket.

    Args:
      url: the workdir.
      process: the number of this process in the run. Each process has a separate directory.
    """

    def __init__(self, url: str, process: int = 0):
        self.url = url.rstrip("/")
        self._bucket = Bucket(self.url)
        digest = hashlib.sha256(self.url.encode()).hexdigest()[:16]
        name = PurePosixPath(self.url).name or "run"
        self.path = cache_directory() / "runs" / f"{name}-{digest}" / str(process)
        self._sent: dict[str, tuple[int, int]] = {}
        self._turn = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def fetch(self) -> None:
        """Makes the directory equal to the bucket: it fetches files that differ and removes files that are not there.

        Raises:
          InputError: the bucket cannot be read, or the directory cannot be made.
          Interrupted: the network failed.
        """
        # A bucket that cannot be read leaves no directory here.
        there = {name: size for name, size in self._bucket.files().items() if name.split("/")[0] not in _THERE_ONLY}
        try:
            with full_disk(self.path, "Make room. The same command continues."):
                self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if not cannot_write(error):
                raise
            raise InputError(
                f"cannot make a directory for the copy: {error.strerror}",
                where=str(self.path),
                fix="Set JAXBERT_CACHE to a directory that you may write.",
                code="E-WORKDIR-CACHE",
            ) from None
        for path in sorted(self.path.rglob("*"), reverse=True):
            name = path.relative_to(self.path).as_posix()
            if path.is_file() and name not in there and name != ".lock":
                path.unlink()
            elif path.is_dir():
                with suppress(OSError):
                    path.rmdir()
        for name, size in there.items():
            if not self._is_here(name, size):
                self._bucket.fetch(name, self.path / name)
        (self.path / REMOTE).write_text(self.url, encoding="utf-8")
        self._sent = {name: _stamp(self.path / name) for name in there}

    def publish(self) -> None:
        """Copies the files that have changed since the last call to the bucket.

        Raises:
          InputError: no permission.
          Interrupted: the network failed.
        """
        with self._turn:
            for path in sorted(self.path.rglob("*")):
                name = path.relative_to(self.path).as_posix()
                if not path.is_file() or path.name.startswith("."):
                    continue
                with suppress(FileNotFoundError):
                    stamp = _stamp(path)
                    if self._sent.get(name) != stamp:
                        self._bucket.send(name, path)
                        self._sent[name] = stamp

    def withdraw(self) -> None:
        """Removes the files of this run from the bucket, for a run that could not begin."""
        with self._turn:
            for name in self._sent:
                self._bucket.remove(name)
            self._sent = {}

    def start(self) -> None:
        """Publishes every minute from now on. It logs each error, and the next minute tries again."""

        def run() -> None:
            while not self._stop.wait(_EVERY_S):
                try:
                    self.publish()
                except CommandError as error:
                    _log.warning(f"the copy in the bucket is not up to date; the next minute tries again: {error}")

        self._thread = threading.Thread(target=run, name="mirror", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread that `start` began."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _is_here(self, name: str, size: int) -> bool:
        path = self.path / name
        if not path.is_file() or path.stat().st_size != size:
            return False
        stored = self._bucket.md5(name)
        with open_regular(path) as file:
            return stored == base64.b64encode(hashlib.file_digest(file, "md5").digest()).decode()


def _stamp(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns
