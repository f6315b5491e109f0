"""A run's workdir at gs://: its checkpoints there, everything else in a directory of this machine and copied there.

Logs are appended to and cut back, rows are read one by one: a bucket can do neither well. So each process of a run has
a directory below `JAXBERT_CACHE` (else ~/.cache/jaxbert) that holds all but the checkpoints, which every process writes
to the bucket itself. The bucket is what counts: the directory is brought in step with it before a run begins, and what
process 0 changes is copied there before each checkpoint counts, every minute, and at the end. Imports no jax.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from jaxbert.errors import CommandError, InputError
from jaxbert.stores.lease import DIRECTORY as LEASE
from jaxbert.stores.storage import Bucket, Storage, cache_directory, is_remote, storage

CHECKPOINTS, LAUNCH, LOGS = "checkpoints", "launch", "logs"
# Where a directory belongs to a workdir in a bucket, its URL.
_REMOTE = ".remote"
# What may lie in a workdir before a run does: a launcher's files, the lease of a run that could not begin.
BEFORE = frozenset({LEASE, LAUNCH, LOGS, _REMOTE})
# Of a workdir in a bucket: what has no copy here.
_THERE_ONLY = (CHECKPOINTS, LAUNCH, LOGS, LEASE)
_EVERY_S = 60.0
_LEFT_OVER = (".tmp", ".cut", ".arriving")


def storage_of(workdir: Path) -> Storage:
    """Where the checkpoints and the lease of the run in `workdir` lie: in it, or in the bucket that it belongs to."""
    url = _url(workdir)
    return storage(workdir if url is None else url)


def workdir_of(model: Path) -> tuple[Path, int | None]:
    """Splits the path of a checkpoint, WORKDIR/checkpoints/STEP, into (WORKDIR, STEP).

    Any other path is taken as a workdir: the result is (`model`, None). Nothing is read from the disk.
    """
    workdir, step = split_checkpoint(str(model))
    return (model, None) if step is None else (Path(workdir), step)


def split_checkpoint(model: str) -> tuple[str, int | None]:
    """Does what `workdir_of` does, for a path or a URL as a string; a URL keeps its two slashes."""
    parent, _, step = model.rstrip("/").rpartition("/")
    workdir, _, name = parent.rpartition("/")
    if name != CHECKPOINTS or not (step.isascii() and step.isdigit()):
        return model, None
    return workdir or ("/" if parent.startswith("/") else "."), int(step)


def _url(workdir: Path) -> str | None:
    with suppress(OSError):
        return (workdir / _REMOTE).read_text(encoding="utf-8").strip()
    return None


def name_of(workdir: Path) -> str:
    """What the user calls it."""
    return _url(workdir) or str(workdir)


class Mirror:
    """The directory here of a run that lies in a bucket.

    Args:
      url: the workdir.
      process: number of this process in the run: each has a directory of its own.
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
        """Brings the directory in step with the bucket.

        Raises:
          InputError: the bucket cannot be read, or there is no place for a copy.
          Interrupted: the network failed.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"no place for a copy: {error.strerror}", where=str(self.path), fix="Set JAXBERT_CACHE to a directory."
            ) from None
        there = {name: size for name, size in self._bucket.files().items() if name.split("/")[0] not in _THERE_ONLY}
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
        (self.path / _REMOTE).write_text(self.url, encoding="utf-8")
        self._sent = {name: _stamp(self.path / name) for name in there}

    def publish(self) -> None:
        """Copies to the bucket what has changed here since the last time.

        Raises:
          InputError: no permission.
          Interrupted: the network failed.
        """
        with self._turn:
            for path in sorted(self.path.rglob("*")):
                name = path.relative_to(self.path).as_posix()
                if not path.is_file() or path.name.startswith(".") or path.suffix in _LEFT_OVER:
                    continue
                with suppress(FileNotFoundError):
                    stamp = _stamp(path)
                    if self._sent.get(name) != stamp:
                        self._bucket.send(name, path)
                        self._sent[name] = stamp

    def withdraw(self) -> None:
        """Removes from the bucket all that a run which could not begin has put there."""
        with self._turn:
            for name in self._sent:
                self._bucket.remove(name)
            self._sent = {}

    def start(self, failed: Callable[[CommandError], None] = lambda error: None) -> None:
        """Publishes every minute from now on; what goes wrong is tried again, and told to `failed`."""

        def run() -> None:
            while not self._stop.wait(_EVERY_S):
                try:
                    self.publish()
                except CommandError as error:
                    failed(error)

        self._thread = threading.Thread(target=run, name="mirror", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends what `start` began."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _is_here(self, name: str, size: int) -> bool:
        path = self.path / name
        if not path.is_file() or path.stat().st_size != size:
            return False
        said = self._bucket.md5(name)
        with path.open("rb") as file:
            return said == base64.b64encode(hashlib.file_digest(file, "md5").digest()).decode()


def readable(model: str) -> str:
    """`model` itself, or of a run (or one checkpoint of it) in a bucket a copy on this machine, to be read only.

    Of a run the best checkpoint and the newest are copied; of a published model at a URL everything.

    Raises:
      InputError: there is none, or the bucket cannot be read.
      Interrupted: the network failed.
    """
    if not is_remote(model):
        return model
    url, step = model.rstrip("/"), None
    parent, _, last = url.rpartition("/")
    if last.isdigit() and parent.endswith(f"/{CHECKPOINTS}"):
        url, step = parent.removesuffix(f"/{CHECKPOINTS}"), last
    mirror = Mirror(url)
    mirror.path = mirror.path.with_name("read")
    mirror.fetch()
    (mirror.path / _REMOTE).unlink()
    if not any(mirror.path.iterdir()):
        raise InputError("nothing there", where=model, fix="Give the URL of a run's workdir.")
    bucket = Bucket(url)
    there = bucket.files(CHECKPOINTS)
    if there:
        # Imported late: it brings jax with it, which `report` and the launchers do without.
        from jaxbert.stores.checkpoint import MANIFEST, best_step, committed_steps

        manifests = [name for name in there if PurePosixPath(name).name == MANIFEST]
        for name in manifests:
            bucket.fetch(f"{CHECKPOINTS}/{name}", mirror.path / CHECKPOINTS / name)
        steps = committed_steps(mirror.path)
        wanted = {step} if step else {str(best_step(mirror.path)), str(steps[-1] if steps else None)}
        for name, size in there.items():
            place = mirror.path / CHECKPOINTS / name
            if name.split("/")[0] in wanted and not (place.is_file() and place.stat().st_size == size):
                bucket.fetch(f"{CHECKPOINTS}/{name}", place)
        for name in manifests:
            if name.split("/")[0] not in wanted:
                (mirror.path / CHECKPOINTS / name).unlink()
    return str(mirror.path / CHECKPOINTS / step) if step else str(mirror.path)


def _stamp(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns
