"""Decides whether a run may begin in a workdir, and holds the right to write it."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import jax

from jaxbert.config import (
    TRAINED_FIRST,
    RunConfig,
    load_json,
    resume_differences,
    save_json,
)
from jaxbert.errors import CommandError, InputError, Interrupted, counted
from jaxbert.run.outputs import check_others, holds_prepared
from jaxbert.run.processes import Watch, wait_for_all
from jaxbert.stores.files import arriving, is_partial, linked, no_links, sync, write_whole
from jaxbert.stores.lease import Lease
from jaxbert.stores.mirror import Mirror
from jaxbert.stores.replaced import (
    OUTPUTS,
    REMOVED,
    REPLACED,
    bring_back,
    config_of_replaced,
    discard,
    moving_was_cut,
    remove_outputs,
    set_aside,
)
from jaxbert.stores.storage import is_remote, storage
from jaxbert.stores.workdir import BEFORE, CHECKPOINTS, check_place, name_of, storage_of

_log = logging.getLogger(__name__)

_LOCK = ".lock"
# The most differences between two runs that an error shows, and those that often follow from another one.
_SHOWN = 8
_FOLLOWS = (
    "task.data.contents",
    "task.found",
    "evaluation.every_steps",
    "phases.0.lengths",
    "phases.0.schedule.warmup",
)


def check_workdir(config: RunConfig, workdir: Path, overwrite: bool) -> bool:
    """Returns whether the workdir holds a run of the same config, which continues, with or without `overwrite`.

    Raises:
      InputError: the directory holds something else, or a run that differs: without `overwrite`, or with files among
        its own that no run writes.
    """
    check_place(name_of(workdir), writes=True)
    _check_links(workdir)
    if workdir.exists() and not workdir.is_dir():
        raise _not_a_directory(workdir)
    nearest = next(path for path in [workdir, *workdir.absolute().parents] if path.exists())
    if not nearest.is_dir():
        raise _not_a_directory(nearest)
    if not os.access(nearest, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise InputError(
            "no permission to write",
            where=str(nearest),
            fix="Give another --workdir.",
            code="E-WORKDIR-PERMISSION",
        )
    name = name_of(workdir)
    if not workdir.is_dir() or {path.name for path in workdir.iterdir() if not is_partial(path.name)} <= {
        REPLACED,
        REMOVED,
        _LOCK,
        *BEFORE,
        *(["data"] if _only_prepared(workdir) else []),
    }:
        if is_remote(name) and storage_of(workdir).names(CHECKPOINTS):
            raise InputError(
                "the URL has checkpoints but no config.json",
                where=name,
                fix="Give a new URL.",
                code="E-WORKDIR-DAMAGED",
            )
        return False
    try:
        saved = load_json(workdir / "config.json")
    except InputError as error:
        path = workdir / "config.json"
        if path.exists() and any((workdir / name).exists() for name in (CHECKPOINTS, _LOCK)):
            raise InputError(
                f"the config of the run cannot be read: {error.what}",
                where=f"{name}/config.json" if is_remote(name) else str(path),
                fix="Restore this file from a copy, or give a new --workdir.",
                code="E-WORKDIR-CONFIG",
            ) from None
        raise InputError(
            "the directory is not empty, and it holds no run",
            where=name,
            fix="Give a new directory.",
            code="E-WORKDIR-FOREIGN",
        ) from None
    differences = resume_differences(saved, config)
    if differences and not overwrite:
        another = f"the workdir holds a run of the task {saved.task.name}, and this one has the task {config.task.name}"
        if saved.task.name == config.task.name:
            more = len(differences) - _SHOWN
            shown = sorted(differences, key=lambda line: line.startswith(_FOLLOWS))[:_SHOWN]
            another = f"the workdir holds another run, which differs in {'; '.join(shown)}" + (
                f"; and {counted(more, 'other setting')}" if more > 0 else ""
            )
        raise InputError(
            another,
            where=name,
            fix="Give another --workdir, undo the difference, or replace that run with --overwrite.",
            code="E-WORKDIR-OTHER-RUN",
        )
    if differences and is_remote(name):
        raise InputError(
            "a run in a bucket cannot be replaced",
            where=name,
            fix="Give another --workdir, or remove that run first.",
            code="E-WORKDIR-OTHER-RUN",
        )
    if differences:
        check_others(workdir)
    return not differences


def _only_prepared(workdir: Path) -> bool:
    """Returns whether a workdir has no run, but what was prepared for one whose corpus was refused."""
    return not (workdir / "config.json").exists() and holds_prepared(workdir)


def _check_links(workdir: Path) -> None:
    """Raises InputError where a path that a run writes is a symbolic link: the run would write where it leads."""
    for name in (*OUTPUTS, REPLACED, REMOVED, _LOCK, *BEFORE):
        for inner in _tree(workdir / name):
            if inner.is_symlink():
                raise linked(inner)


def _tree(path: Path) -> Iterator[Path]:
    """Yields a path, and everything below it if it is a directory and not a link."""
    yield path
    for place, directories, files in os.walk(path) if not path.is_symlink() else ():
        yield from (Path(place, name) for name in (*directories, *files))


def _not_a_directory(path: Path) -> InputError:
    return InputError(
        "the path is a file, but a directory is needed",
        where=str(path),
        fix="Give another --workdir.",
        code="E-WORKDIR-FILE",
    )


def check_inputs_lie_elsewhere(config: RunConfig, workdir: Path) -> None:
    """Raises InputError where the inputs of a new run are in the workdir that it replaces."""
    inputs = [source.path for phase in config.phases for source in phase.rows if not is_remote(source.path)]
    distillation = config.objectives.distillation
    if distillation is not None and not distillation.teacher.startswith(TRAINED_FIRST):
        inputs.append(distillation.teacher)
    for path in filter(None, [*inputs, config.data.tokenizer, config.init]):
        if workdir.absolute() in [Path(path).absolute(), *Path(path).absolute().parents]:
            raise InputError(
                "this path is in the workdir of the new run, which would replace it",
                where=path,
                fix="Give another --workdir, or move the path.",
                code="E-WORKDIR-INPUT",
            )


def settle(config: RunConfig, workdir: Path, hold: Hold) -> None:
    """Brings a run back that another one was about to replace, unless `config` is that other run, which continues."""
    if config_of_replaced(workdir) is None:
        return
    with suppress(InputError):
        if not resume_differences(load_json(workdir / "config.json"), config):
            return
    hold.take()
    bring_back(workdir)


@contextmanager
def begun(
    config: RunConfig, workdir: Path, resuming: bool, leader: bool, hold: Hold, files: Mapping[str, str]
) -> Iterator[None]:
    """Prepares a run in the workdir. A new run writes `files` beside its config.

    If the input of a run turns out to be wrong, its workdir becomes what it was before. Only what was prepared for a
    run whose corpus is refused stays in `data`, for the next command; but a run that was to be replaced comes back
    whole, and nothing else stays. It is removed only when the new one has begun.
    """
    if not leader:
        yield
        return
    made = [path for path in [workdir, *workdir.absolute().parents] if not path.exists()]
    workdir.mkdir(parents=True, exist_ok=True)
    hold.take()
    if resuming:
        try:
            yield
        except InputError as error:
            # A run that was killed before its corpus was judged.
            if _refused(error, hold) and not any((workdir / CHECKPOINTS).glob("*")):
                _keep_prepared(workdir)
            hold.give_back()
            raise
        write_config(config, workdir)
        hold.begun()
        discard(workdir)
        return
    prepared = _only_prepared(workdir)
    set_aside(workdir)
    try:
        for name, text in files.items():
            write_whole(workdir / name, text)
        write_config(config, workdir)
        yield
    except InputError as error:
        kept = (prepared or _refused(error, hold)) and _keep_prepared(workdir)
        if not kept:
            remove_outputs(workdir)
        bring_back(workdir)
        hold.forget()
        if not kept:
            for path in made:
                path.rmdir()
        raise
    hold.begun()
    discard(workdir)


def _refused(error: InputError, hold: Hold) -> bool:
    """Returns whether a corpus was refused in a directory where no run waits to come back."""
    return error.code == "E-FIT-CORPUS" and hold.mirror is None and config_of_replaced(hold.path) is None


def _keep_prepared(workdir: Path) -> bool:
    """Removes a run that has not begun, but for what was prepared for it. Returns whether there was anything."""
    if not holds_prepared(workdir):
        return False
    remove_outputs(workdir, but=["data"])
    _log.info(f"what was prepared stays in {workdir / 'data'}, and the next command in this workdir uses it")
    return True


def write_config(config: RunConfig, workdir: Path) -> None:
    """Writes the config of a run into its workdir, whole or not at all."""
    path = workdir / "config.json"
    with arriving(path) as temporary:
        save_json(config, temporary)
        sync(temporary)


class Hold:
    """The right to write a workdir: a file lock for processes of this machine, a lease for those of other machines.

    Attributes:
      name: the directory or URL, as the user wrote it.
      path: the directory on this machine.
      mirror: copies a workdir in a bucket; None for a directory.

    Raises:
      InputError: a workdir cannot be at this URL.
    """

    def __init__(self, workdir: Path | str, watch: Watch):
        self.name = str(workdir)
        if is_remote(self.name):
            check_place(self.name, writes=True)
        self.mirror = Mirror(self.name, jax.process_index()) if is_remote(self.name) else None
        self.path = Path(workdir) if self.mirror is None else self.mirror.path
        self._file: Any = None
        self._new = self._begun = False
        self._seen: Any = None
        self._before = ""
        self._lease = Lease(storage(self.name), on_loss=watch.end)

    def wait(self) -> None:
        """Returns in every process once no other run writes the workdir.

        A run that another one was about to replace is whole again then.

        Raises:
          InputError: another run writes it.
        """
        self._lease.wait(self._owner_lives)
        self._seen = self._look()
        if jax.process_index() == 0 and self.mirror is None and moving_was_cut(self.path):
            self.take()
            bring_back(self.path)
        wait_for_all("the workdir is free")
        if self.mirror is not None:
            self.mirror.fetch()

    def _owner_lives(self) -> bool | None:
        """Returns whether an owner on this machine lives: it holds the file lock until it ends. None: not known."""
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

    def _look(self) -> Any:
        """Returns what shows whether another run has used the workdir: its config, and the names of its checkpoints."""
        kept = storage(self.name)
        with suppress(FileNotFoundError, NotADirectoryError):
            return kept.read("config.json"), kept.names(CHECKPOINTS)
        return None

    def take(self) -> None:
        """Takes the right to write, if this process does not have it. Only process 0 does so.

        Raises:
          InputError: another process has it.
          Interrupted: another process has had it since `wait`, and has begun a run or continued it.
        """
        if self._file is not None:
            return
        path = self.path / _LOCK
        self._new = not path.exists()
        self._file = open(path, "a+", encoding="utf-8", opener=no_links)  # noqa: SIM115
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            raise InputError(
                f"another process ({owner}) is training here",
                where=self.name,
                fix="Wait for it, or stop it first.",
                code="E-LEASE-TAKEN",
            ) from None
        except OSError as error:
            # Some disks have no such locks. The lease protects the workdir there.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        self._file.seek(0)
        self._before = self._file.read()
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()}\n")
        self._file.flush()
        self._lease.take()
        # What this process knows of the workdir is from before it had the right.
        if self._look() != self._seen:
            raise Interrupted(
                "another process has used this workdir while this one was loading",
                where=self.name,
                fix="Repeat the same command: it looks at the workdir again.",
                code="E-LEASE-USED",
            )

    def begun(self) -> None:
        """Keeps what the run has written so far, and begins to copy it where the workdir is in a bucket."""
        self._begun = True
        if self.mirror is not None:
            self.mirror.publish()
            self.mirror.start()

    def share(self) -> None:
        """Shows the other processes of the run what process 0 has made in the workdir."""
        if self.mirror is not None and jax.process_index() == 0 and jax.process_count() > 1:
            self.mirror.publish()

    def before_commit(self) -> None:
        """Checks that the workdir is still ours and copies what belongs to the step, before a checkpoint counts."""
        self._lease.check()
        if self.mirror is not None:
            self.mirror.publish()

    def forget(self) -> None:
        """Removes every trace of a run that could not begin."""
        if self.mirror is not None:
            self.mirror.withdraw()
        self.give_back()

    def give_back(self) -> None:
        """Gives the right to write back, and leaves the lock as it was."""
        self._lease.release()
        if self._new:
            Path(self._file.name).unlink(missing_ok=True)
        else:
            self._file.truncate(0)
            self._file.write(self._before)
            self._file.flush()

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if self.mirror is not None and self._begun:
                self.mirror.stop()
                # This fails if another run has taken over. Then the error that ended this run is the one to report.
                with suppress(CommandError) if error is not None else nullcontext():
                    self.before_commit()
        finally:
            self._lease.release()
            if self._file is not None:
                self._file.close()
