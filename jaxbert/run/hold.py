"""A workdir: whether a run may begin in it, and the right to write it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import jax

from jaxbert.config import (
    RunConfig,
    load_json,
    resume_differences,
    save_json,
)
from jaxbert.errors import CommandError, InputError
from jaxbert.run.processes import Watch, wait_for_all
from jaxbert.stores.files import arriving
from jaxbert.stores.lease import Lease
from jaxbert.stores.mirror import Mirror
from jaxbert.stores.storage import is_remote, storage
from jaxbert.stores.workdir import BEFORE, CHECKPOINTS, name_of, storage_of

# What a run writes in its workdir; --overwrite removes these and nothing else.
OUTPUTS = (
    *("config.json", "parameters.txt", "checkpoints", "tokenizer", "data"),
    *("metrics.jsonl", "telemetry.jsonl", "tensorboard"),
    *("report.html", "loss.png", "evaluation.json"),
)


# Where a run that is being replaced waits until the new one stands.
_REPLACED = ".replaced"


_LOCK = ".lock"


def check_workdir(config: RunConfig, workdir: Path, overwrite: bool) -> bool:
    """Whether this continues a run: one of the same config, with or without `overwrite`.

    Raises:
      InputError: the directory belongs to something else, or, without `overwrite`, to a run that differs.
    """
    if workdir.exists() and not workdir.is_dir():
        raise InputError("is a file where a directory is due", where=str(workdir), fix="Give another --workdir.")
    nearest = next(path for path in [workdir, *workdir.absolute().parents] if path.exists())
    if not nearest.is_dir():
        raise InputError("is a file where a directory is due", where=str(nearest), fix="Give another --workdir.")
    if not os.access(nearest, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise InputError("no permission to write", where=str(nearest), fix="Give another --workdir.")
    name = name_of(workdir)
    if not workdir.is_dir() or {path.name for path in workdir.iterdir()} <= {_REPLACED, _LOCK, *BEFORE}:
        if is_remote(name) and storage_of(workdir).names(CHECKPOINTS):
            raise InputError("has checkpoints but no config.json", where=name, fix="Give a new URL.")
        return False
    try:
        saved = load_json(workdir / "config.json")
    except InputError:
        raise InputError("is not empty and no run's workdir", where=name, fix="Give a new directory.") from None
    differences = resume_differences(saved, config)
    if differences and not overwrite:
        raise InputError(
            f"holds another run; it differs in {'; '.join(differences)}",
            where=name,
            fix="Give another --workdir, undo the difference, or replace that run with --overwrite.",
        )
    if differences and is_remote(name):
        raise InputError(
            "a run in a bucket is not replaced", where=name, fix="Give another --workdir, or remove that one first."
        )
    return not differences


@contextmanager
def begun(config: RunConfig, workdir: Path, resuming: bool, leader: bool, hold: Hold) -> Iterator[None]:
    """The workdir while a run is being prepared in it.

    A new run's workdir is as it was before if its input turns out to be wrong; a run that is replaced is removed only
    when the new one stands.
    """
    if not leader:
        yield
        return
    made = [path for path in [workdir, *workdir.absolute().parents] if not path.exists()]
    workdir.mkdir(parents=True, exist_ok=True)
    hold.take()
    old = workdir / _REPLACED
    if resuming:
        _write_config(config, workdir)
        yield
        hold.begun()
        shutil.rmtree(old, ignore_errors=True)
        return
    _move(workdir, old)
    try:
        _write_config(config, workdir)
        yield
    except InputError:
        _remove_outputs(workdir)
        _move(old, workdir)
        hold.forget()
        for path in made:
            path.rmdir()
        raise
    hold.begun()
    shutil.rmtree(old, ignore_errors=True)


def _write_config(config: RunConfig, workdir: Path) -> None:
    path = workdir / "config.json"
    with arriving(path, path.with_name("config.json.tmp")) as temporary:
        save_json(config, temporary)


def _move(source: Path, target: Path) -> None:
    """Moves a run's outputs; removes `source` if it is the hidden place of a replaced run."""
    for name in OUTPUTS:
        if (source / name).exists():
            target.mkdir(exist_ok=True)
            os.replace(source / name, target / name)
    if source.name == _REPLACED and source.is_dir():
        source.rmdir()


def _remove_outputs(workdir: Path) -> None:
    for name in OUTPUTS:
        path = workdir / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


class Hold:
    """A workdir, and the right to write it: a file lock on this machine, a lease where others may see the place.

    Attributes:
      name: as the user gave it: a directory or a URL.
      path: the directory of this machine.
      mirror: of a workdir in a bucket.
    """

    def __init__(self, workdir: Path | str, watch: Watch):
        self.name = str(workdir)
        self.mirror = Mirror(self.name, jax.process_index()) if is_remote(self.name) else None
        self.path = Path(workdir) if self.mirror is None else self.mirror.path
        self._file: Any = None
        self._new = self._begun = False
        self._lease = Lease(storage(self.name), on_loss=watch.end)

    def wait(self, note: Callable[[str], None]) -> None:
        """Returns in every process once nobody else writes the workdir.

        Raises:
          InputError: another process does.
        """
        self._lease.wait(self._owner_lives)
        wait_for_all("the workdir is free")
        if self.mirror is not None:
            self.mirror.fetch()

    def _owner_lives(self) -> bool | None:
        """Of an owner on this machine: it has the file lock as long as it lives. In a bucket there is none."""
        try:
            if self.mirror is None:
                with (self.path / _LOCK).open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return False
        except BlockingIOError:
            return True
        except OSError:
            pass
        return None

    def take(self) -> None:
        """Takes the right to write; process 0's.

        Raises:
          InputError: another process has it.
        """
        path = self.path / _LOCK
        self._new = not path.exists()
        self._file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            raise InputError(
                f"another process ({owner}) is training here", where=self.name, fix="Wait for it, or stop it first."
            ) from None
        except OSError as error:
            # Of disks that know no such locks; the lease is there all the same.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()}\n")
        self._file.flush()
        self._lease.take()

    def begun(self) -> None:
        """The run stands: what it has written so far is there to stay."""
        self._begun = True
        if self.mirror is not None:
            self.mirror.publish()
            self.mirror.start(lambda error: say(f"not copied, tried again in a minute: {error}"))

    def share(self) -> None:
        """Shows the other processes of the run what process 0 has made in the workdir."""
        if self.mirror is not None and jax.process_index() == 0 and jax.process_count() > 1:
            self.mirror.publish()

    def before_commit(self) -> None:
        """Before a checkpoint counts: the workdir is still ours, and what belongs to the step lies beside it."""
        self._lease.check()
        if self.mirror is not None:
            self.mirror.publish()

    def forget(self) -> None:
        """Leaves no trace of a run that could not begin."""
        if self.mirror is not None:
            self.mirror.withdraw()
        self._lease.release()
        if self._new:
            Path(self._file.name).unlink(missing_ok=True)

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if self.mirror is not None and self._begun:
                self.mirror.stop()
                # Not where another has taken over; and an error of its own is worth more than one that follows from it.
                with suppress(CommandError) if error is not None else nullcontext():
                    self.before_commit()
        finally:
            self._lease.release()
            if self._file is not None:
                self._file.close()


def say(line: str) -> None:
    """Prints a line on stderr."""
    print(line, file=sys.stderr, flush=True)


def say_nothing(line: str) -> None:
    """What processes other than the first say."""
