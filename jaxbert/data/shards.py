"""What records and rows have in common: a directory of ArrayRecord shards with a manifest, made in parallel, resumable.

A directory in the making holds `.progress/arguments.json` (what it is being made from, and how) and one
`.progress/<shard>.json` per finished shard. When all shards are there, `manifest.json` is written and `.progress` goes.
Neither holds clocks or machine names: the same arguments give the same bytes. What it replaces waits in `.previous`: it
comes back if the input turns out wrong, and goes when the manifest is written.

`parallel` runs a function over jobs in fresh Python processes that talk over pipes. They are not `multiprocessing`
children, because those run the caller's main module again: a plain script without a `__main__` guard would start itself
over, and a script that imports jax would make every worker import it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

import jaxbert.errors
from jaxbert.errors import CommandError, InputError, Interrupted, Stopped

MANIFEST = "manifest.json"
_PROGRESS = ".progress"
_ARGUMENTS = "arguments.json"
_PARTIAL = ".partial"
_PREVIOUS = ".previous"
# What such a directory holds besides shards: TFDS's metadata and the tokenizer's files (Tokenizer.save).
_BESIDES = frozenset({MANIFEST, _PROGRESS, _PREVIOUS, "features.json", "dataset_info.json", "tokenizer"})
_TOKENIZER = frozenset(
    {
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
        *("vocab.txt", "vocab.json", "merges.txt", "spiece.model"),
    }
)

J = TypeVar("J")
R = TypeVar("R")


# ----------------------------------------------------------------------------------------------------------------------
# One shard


@dataclass(frozen=True)
class ShardInfo:
    """A finished shard.

    Attributes:
      file: its name in the directory.
      count: records in it.
      bytes: its size.
      sha256: of its bytes.
      statistics: what its maker counted (JSON values); kept while the directory is in the making, not in the manifest.
    """

    file: str
    count: int
    bytes: int
    sha256: str
    statistics: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The manifest's entry."""
        return {"file": self.file, "count": self.count, "bytes": self.bytes, "sha256": self.sha256}

    @staticmethod
    def from_json(entry: dict[str, Any]) -> ShardInfo:
        """A manifest's entry (or a progress file) as a ShardInfo."""
        return ShardInfo(
            entry["file"], entry["count"], entry["bytes"], entry["sha256"], dict(entry.get("statistics", {}))
        )


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_shard(path: Path, records: Iterable[bytes]) -> ShardInfo:
    """Writes records as an ArrayRecord file (`group_size:1`, so that one record is one read), whole or not at all.

    The bytes lie under a name of this process's until they are on the disk, then get their own.

    Raises:
      Interrupted: the disk is full; no trace of the unfinished file stays.
    """
    from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

    partial = partial_name(path)
    count = 0
    try:
        writer = ArrayRecordWriter(str(partial), "group_size:1")
        try:
            for record in records:
                writer.write(record)
                count += 1
        finally:
            writer.close()
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        reader = ArrayRecordReader(str(partial))
        if reader.num_records() != count:
            raise OSError(errno.EIO, f"{reader.num_records()} of {count} records arrived")
        info = ShardInfo(path.name, count, partial.stat().st_size, sha256_file(partial))
        os.replace(partial, path)
        return info
    except (OSError, RuntimeError) as error:
        raise disk_error(error, path) from error
    finally:
        partial.unlink(missing_ok=True)


def partial_name(path: Path) -> Path:
    """Where what shall be `path` lies until it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")


def disk_error(error: Exception, path: Path) -> Exception:
    """`error` as Interrupted where it says that the disk is full (the same command continues), else `error` itself."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    # ArrayRecord reports the system's message in a RuntimeError.
    if full or any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT)):
        return Interrupted(
            "the disk is full",
            where=str(path),
            fix="Free some space and run the same command again: what is finished is kept.",
        )
    return error


def verify_shard(directory: Path, info: ShardInfo, *, full: bool = True) -> None:
    """Compares a shard with what the manifest says of it: its size, and its sha256 if `full`.

    Raises:
      Stopped: the shard is missing or damaged; the line names it.
    """
    path = directory / info.file
    try:
        size = path.stat().st_size
        damage = f"{size} bytes where {info.bytes} are due" if size != info.bytes else ""
        if not damage and full and sha256_file(path) != info.sha256:
            damage = "its sha256 is not the manifest's"
    except FileNotFoundError:
        damage = "it is missing"
    except OSError as error:
        damage = f"unreadable: {error.strerror}"
    if damage:
        raise Stopped(
            f"damaged shard: {damage}",
            where=str(path),
            fix="Copy the shard again from where it came, or make the directory again with --overwrite.",
        )


# ----------------------------------------------------------------------------------------------------------------------
# A directory of shards


def read_manifest(directory: Path, kind: str) -> dict[str, Any]:
    """manifest.json of a finished directory of `kind` ("records" or "rows").

    Raises:
      InputError: no such directory, one that is unfinished, or one of another kind.
    """
    made_by = {"records": "jaxbert prepare", "rows": "jaxbert rows"}.get(kind, "jaxbert")
    path = directory / MANIFEST
    if not directory.is_dir():
        what = "a file where a directory is due" if directory.exists() else f"no such directory of {kind}"
        raise InputError(what, where=str(directory), fix=f"Give the --out of `{made_by}`.")
    if (directory / _PROGRESS).is_dir() or (directory / _PREVIOUS).is_dir():
        raise InputError(f"unfinished {kind}", where=str(directory), fix=f"Run the same `{made_by}` again to finish.")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found = manifest["kind"]
    except FileNotFoundError:
        raise InputError(
            f"not a directory of {kind}: no {MANIFEST}", where=str(directory), fix=f"Give the --out of `{made_by}`."
        ) from None
    except PermissionError:
        raise InputError("no permission to read", where=str(path), fix="Change its mode or owner.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"unusable manifest ({error})", where=str(path), fix=f"Run `{made_by}` again with --overwrite."
        ) from None
    if found != kind:
        raise InputError(
            f"a directory of {found} where one of {kind} is due", where=str(directory), fix=f"`{made_by}` makes those."
        )
    return dict(manifest)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON with sorted keys, whole or not at all.

    Raises:
      Interrupted: the disk is full.
    """
    partial = partial_name(path)
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class ShardDirectory:
    """A directory in the making (or made). Picklable: workers get it in their job.

    Attributes:
      path: of the directory.
      kind: "records" or "rows".
      arguments: JSON: everything its bytes depend on.
      created: the topmost directory that this call made, if it made one.
      begun: this call began it; else an earlier one did.
    """

    path: Path
    kind: str
    arguments: dict[str, Any]
    created: Path | None = None
    begun: bool = False

    @property
    def done(self) -> bool:
        """The manifest is written: there is nothing left to make."""
        return (self.path / MANIFEST).is_file() and not (self.path / _PROGRESS).exists()

    def begin(self) -> ShardDirectory:
        """Makes the directory unfinished and empty but for `.previous`, where what was there waits; returns it begun.

        Raises:
          InputError: it cannot be written, or holds files that are not ours; nothing is touched then.
          Interrupted: the disk is full.
        """
        try:
            if self.path.exists():
                foreign = _foreign(self.path, self.kind)
                if foreign is not None:
                    raise InputError(
                        f"a file that is not of these {self.kind} lies in the directory to replace",
                        where=str(foreign),
                        fix="Move it away, or give another --out.",
                    )
                if (self.path / _PREVIOUS).exists():
                    _clear(self.path, self.kind)
                else:
                    _set_aside(self.path)
            (self.path / _PROGRESS).mkdir(parents=True, exist_ok=True)
            write_json(self.path / _PROGRESS / _ARGUMENTS, {"kind": self.kind, "arguments": self.arguments})
        except PermissionError:
            raise InputError("no permission to write", where=str(self.path), fix="Give another --out.") from None
        except OSError as error:
            raise disk_error(error, self.path) from error
        return replace(self, begun=True)

    def make(self) -> None:
        """Makes the bare directory, elsewhere than where it was begun."""
        (self.path / _PROGRESS).mkdir(parents=True, exist_ok=True)

    def damaged(self) -> list[ShardInfo]:
        """Shards of the finished directory whose bytes are no longer those of the manifest."""
        damaged = []
        for entries in read_manifest(self.path, self.kind)["splits"].values():
            for info in map(ShardInfo.from_json, entries):
                try:
                    verify_shard(self.path, info)
                except Stopped:
                    damaged.append(info)
        return damaged

    def finished(self, file: str) -> ShardInfo | None:
        """The shard `file`, if an earlier call finished it and its bytes are still those."""
        try:
            info = ShardInfo.from_json(json.loads((self.path / _PROGRESS / f"{file}.json").read_text(encoding="utf-8")))
            verify_shard(self.path, info)
        except (OSError, ValueError, KeyError, TypeError, Stopped):
            return None
        return info

    def finish(self, info: ShardInfo) -> ShardInfo:
        """Notes that a shard is finished, with its statistics; a later call finds it with `finished`."""
        write_json(self.path / _PROGRESS / f"{info.file}.json", {**info.to_json(), "statistics": info.statistics})
        return info

    def commit(self, splits: dict[str, list[ShardInfo]], fields: dict[str, Any]) -> dict[str, Any]:
        """Writes the manifest, removes what is not in it and what it replaces, and returns it.

        The manifest: kind, arguments, splits {name: [{file, count, bytes, sha256}]}, and `fields`.
        """
        manifest = {
            "kind": self.kind,
            "arguments": self.arguments,
            "splits": {split: [info.to_json() for info in infos] for split, infos in splits.items()},
            **fields,
        }
        keep = {info.file for infos in splits.values() for info in infos}
        _remove_partials(self.path)
        for path in self.path.iterdir():
            if _is_shard(path.name, self.kind) and path.name not in keep:
                path.unlink()
        write_json(self.path / MANIFEST, manifest)
        # At one stroke each: a directory with half of its progress notes would look unfinished. `.previous` goes first:
        # without notes beside it, it would be brought back.
        for name in (_PREVIOUS, _PROGRESS):
            if (self.path / name).exists():
                leftover = self.path / f"{name}.{os.getpid()}{_PARTIAL}"
                os.replace(self.path / name, leftover)
                shutil.rmtree(leftover)
        # Through the disk's form, so that a first call and a repeated one return equal values.
        return read_manifest(self.path, self.kind)

    def discard(self) -> None:
        """For input that turns out wrong half-way: takes back what this call began, and brings back what was there.

        What an earlier call began stays: its finished shards are work done, and the next call goes on from them.
        """
        if not self.begun:
            return
        _clear(self.path, self.kind)
        _bring_back(self.path)
        if self.created is not None:
            with contextlib.suppress(OSError):
                for directory in (self.path, *self.path.parents):
                    directory.rmdir()
                    if directory == self.created:
                        break


def open_directory(path: Path, kind: str, arguments: dict[str, Any], *, overwrite: bool = False) -> ShardDirectory:
    """Starts a directory of shards, or finds the one that the same arguments started or finished.

    Args:
      path: made if need be, with its parents.
      kind: "records" or "rows".
      arguments: JSON values; everything the bytes depend on (not the number of workers).
      overwrite: replace what other arguments made. It waits in `.previous` until the new is finished; asking for it
        again before that (with its own arguments) brings it back.

    Raises:
      InputError: `path` holds something else, or cannot be written.
    """
    arguments = json.loads(json.dumps(arguments))
    parent = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not parent.is_dir():
        raise InputError("a file where a directory is due", where=str(parent), fix="Give another --out.")
    if not os.access(parent, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise InputError("no permission to write", where=str(parent), fix="Give another --out, or change its mode.")
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    directory = ShardDirectory(path, kind, arguments, missing[-1] if missing else None)
    if not missing and (path / _PREVIOUS).is_dir():
        # A kill came while it was being moved there or back.
        if not any((path / _PREVIOUS).iterdir()):
            (path / _PREVIOUS).rmdir()
        elif not (path / _PROGRESS / _ARGUMENTS).exists():
            _bring_back(path)
    if not missing and not _blank(path):
        found_kind, found = _found(path)
        if found_kind is None or found_kind != kind:
            raise InputError(
                f"the directory is not empty and holds no {kind}", where=str(path), fix="Give another --out."
            )
        if found == arguments:
            _remove_partials(path)
            return directory
        if not overwrite:
            changed = sorted(key for key in found.keys() | arguments.keys() if found.get(key) != arguments.get(key))
            raise InputError(
                f"{kind} made with other arguments are there (different: {', '.join(changed)})",
                where=str(path),
                fix="Give another --out, or --overwrite to replace them.",
            )
        if _found(path / _PREVIOUS) == (kind, arguments):
            _clear(path, kind)
            _bring_back(path)
            return directory
    return directory.begin()


def _found(path: Path) -> tuple[str | None, dict[str, Any]]:
    """(kind, arguments) of what lies in `path`; (None, {}) where it is not ours."""
    for file in (path / _PROGRESS / _ARGUMENTS, path / MANIFEST):
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
            return str(value["kind"]), dict(value["arguments"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None, {}


def _blank(path: Path) -> bool:
    """Nothing is there, or only what a kill leaves between making a directory and writing its arguments."""
    return {child.name for child in path.iterdir()} <= {_PROGRESS} and not (path / _PROGRESS / _ARGUMENTS).exists()


def _remove_partials(path: Path) -> None:
    """Removes what killed processes had begun. One that still lives cannot do harm: it finds its file gone."""
    for entry in list(path.rglob(f".*{_PARTIAL}")):
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def _is_shard(name: str, kind: str) -> bool:
    return re.fullmatch(rf"{kind}-\w+\.array_record-\d+(-of-\d+)?", name) is not None


def _is_partial(name: str) -> bool:
    return name.startswith(".") and name.endswith(_PARTIAL)


def _foreign(path: Path, kind: str) -> Path | None:
    """Something in a directory of `kind` that is none of ours, or None."""
    for child in sorted(path.iterdir()):
        if not (child.name in _BESIDES or _is_shard(child.name, kind) or _is_partial(child.name)):
            return child
    if (path / "tokenizer").is_dir():
        for child in sorted((path / "tokenizer").iterdir()):
            if child.name not in _TOKENIZER and not _is_partial(child.name):
                return child
    return None


def _clear(path: Path, kind: str) -> None:
    """Removes what is ours but `.previous`, the notes last: what is left of a kill is still known as ours."""
    for child in sorted(path.iterdir(), key=lambda child: (child.name == _PROGRESS, child.name == MANIFEST)):
        if child.name == _PREVIOUS or not (
            child.name in _BESIDES or _is_shard(child.name, kind) or _is_partial(child.name)
        ):
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()


def _set_aside(path: Path) -> None:
    """Moves everything to `.previous`, what says that it is finished or begun first: half of it must not look whole."""
    children = sorted(path.iterdir(), key=lambda child: (child.name != _PROGRESS, child.name != MANIFEST))
    if [child.name for child in children] in ([], [_PROGRESS]):
        return  # Nothing to keep.
    (path / _PREVIOUS).mkdir()
    for child in children:
        os.replace(child, path / _PREVIOUS / child.name)


def _bring_back(path: Path) -> None:
    """Undoes `_set_aside`, whole or half, in the other order."""
    previous = path / _PREVIOUS
    if not previous.is_dir():
        return
    if (path / _PROGRESS).is_dir():
        shutil.rmtree(path / _PROGRESS)
    for child in sorted(previous.iterdir(), key=lambda child: (child.name == _PROGRESS, child.name == MANIFEST)):
        os.replace(child, path / child.name)
    previous.rmdir()


# ----------------------------------------------------------------------------------------------------------------------
# Progress


class Progress:
    """A progress bar on a terminal; elsewhere a plain line now and then. Both on stderr."""

    _EVERY = 15.0

    def __init__(self, label: str, total: int | None = None, unit: str = "shards"):
        self._label, self._total, self._unit = label, total, unit
        self._count, self._extra = 0, ""
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        if label and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(unit),
                TextColumn("{task.fields[extra]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(label, total=total, extra="")
            self._bar.start()

    def advance(self, extra: str = "") -> None:
        """One more is done; `extra` is shown behind the count."""
        self._count, self._extra = self._count + 1, extra
        if self._bar is not None:
            self._bar.update(self._task, advance=1, extra=extra)
        elif self._label and time.monotonic() - self._last >= self._EVERY:
            self._last = time.monotonic()
            self._print()

    def close(self) -> None:
        """Ends the bar, or prints the last line."""
        if self._bar is not None:
            self._bar.stop()
        elif self._label:
            self._print()

    def _print(self) -> None:
        of = f" of {self._total}" if self._total is not None else ""
        seconds = time.monotonic() - self._start
        extra = f", {self._extra}" if self._extra else ""
        print(f"{self._label}: {self._count}{of} {self._unit}{extra}, {seconds:.0f} s", file=sys.stderr, flush=True)


# ----------------------------------------------------------------------------------------------------------------------
# Jobs


class Job(Protocol):
    """One shard to make, by a function of its own module (`MakeShard`). Picklable.

    Attributes:
      directory: of the shard.
      file: name of the shard.
    """

    @property
    def directory(self) -> ShardDirectory: ...  # noqa: D102

    @property
    def file(self) -> str: ...  # noqa: D102

    def made(self) -> tuple[str, ShardInfo] | None:
        """(split, shard) where an earlier call finished it."""

    def needs(self) -> Iterable[Path]:
        """Files that the function reads."""

    def moved(self, place: Callable[[Path], Path]) -> Job:
        """The job with its paths as `place` has them."""

    def without_content(self) -> Job:
        """The job, without the text that it may hold."""


MakeShard = Callable[[Any], tuple[str, ShardInfo]]


class Runner(Protocol):
    """What runs jobs in the place of processes on this machine."""

    def run(self, function: MakeShard, jobs: Iterable[Job], label: str) -> Iterator[tuple[str, ShardInfo]]:
        """(split, shard) of each job, in order, all shards being where the jobs say."""


# ----------------------------------------------------------------------------------------------------------------------
# Workers


def default_workers() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel(
    function: Callable[[J], R],
    jobs: Iterable[J],
    workers: int,
    *,
    label: str = "",
    total: int | None = None,
    unit: str = "shards",
    describe: Callable[[R], str] | None = None,
) -> Iterator[R]:
    """Yields function(job) for each job, in the order of the jobs, computed in `workers` processes.

    `jobs` is read only as fast as it is worked off: at most `workers` + 1 jobs are in memory here. With one worker
    everything runs in this process.

    Args:
      function: of a module that can be imported (not `__main__`), or a `functools.partial` of one.
      jobs: picklable, and so are the results.
      workers: processes, at least 1.
      label: of the progress bar; empty shows none.
      total: number of jobs, where known.
      unit: what a job is called.
      describe: what the progress bar says of a result.

    Raises:
      Interrupted: a worker died (out of memory, or killed).
      CommandError: as raised by `function`.
      RuntimeError: any other exception of `function` in a worker, with its traceback.
    """
    progress = Progress(label, total, unit)
    results = _here(function, jobs) if workers <= 1 else _there(function, jobs, workers, label)
    try:
        for result in results:
            progress.advance(describe(result) if describe else "")
            yield result
    finally:
        results.close()
        progress.close()


def _here(function: Callable[[J], R], jobs: Iterable[J]) -> Generator[R, None, None]:
    for job in jobs:
        yield function(job)


def _there(function: Callable[[J], R], jobs: Iterable[J], workers: int, label: str) -> Generator[R, None, None]:
    inner = function.func if isinstance(function, functools.partial) else function
    if getattr(inner, "__module__", None) == "__main__":
        raise TypeError(f"{inner.__qualname__} is of the main module, which workers do not import: move it to a module")
    children: list[_Child] = []
    idle: deque[_Child] = deque()
    # Jobs that are read but not worked off: one per worker, and one so that no worker waits for the reader.
    room = threading.Semaphore(workers + 1)

    def run(job: J) -> R:
        try:
            child = idle.popleft()
        except IndexError:
            child = _Child(function, label)
            children.append(child)
        result: R = child.call(job)
        idle.append(child)
        return result

    def give_room(_: Future[R]) -> None:
        room.release()

    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="jaxbert-worker")
    failed = threading.Event()

    def note_failure(future: Future[R]) -> None:
        if not future.cancelled() and future.exception() is not None:
            failed.set()

    try:
        source = iter(jobs)
        while True:
            room.acquire()
            if failed.is_set():
                break
            try:
                job = next(source)
            except StopIteration:
                break
            future = pool.submit(run, job)
            del job
            pending.append(future)
            future.add_done_callback(note_failure)
            future.add_done_callback(give_room)
            while pending and pending[0].done():
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
        for child in children:
            child.stop()
        pool.shutdown()


class _Child:
    """One worker process: jobs go to its stdin, results come from its stdout, as pickles behind their lengths."""

    def __init__(self, function: Callable[..., Any], label: str):
        # One thread each: the processes are the parallelism, and libraries must not multiply it.
        environment = os.environ | {
            "TOKENIZERS_PARALLELISM": "false",
            "RAYON_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._label = label
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, *[os.path.abspath(entry) for entry in sys.path]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._function: Callable[..., Any] | None = function

    def call(self, job: Any) -> Any:
        try:
            if self._function is not None:
                _send(self._stdin, pickle.dumps(self._function))
                self._function = None
            _send(self._stdin, pickle.dumps(job, protocol=pickle.HIGHEST_PROTOCOL))
            answer = _receive(self._stdout)
        except (BrokenPipeError, ValueError):
            answer = None
        if answer is None:
            raise Interrupted(
                f"a worker process died ({_cause(self._process.wait())})",
                where=self._label or "workers",
                fix="Run the same command again; fewer --workers need less memory.",
            )
        kind, value = pickle.loads(answer)
        if kind == "result":
            return value
        if kind == "command_error":
            name, what, where, fix = value
            raise getattr(jaxbert.errors, name)(what, where=where, fix=fix)
        raise RuntimeError(f"in a worker process:\n{value}")

    def stop(self) -> None:
        """Ends the process at once; whatever it was writing has no final name yet."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


_BOOT = "import sys; sys.path[:] = sys.argv[1:]; from jaxbert.data.shards import _serve; _serve()"


def _serve() -> None:
    """The main loop of a worker process: ends with its stdin."""
    # Ctrl-C reaches the whole process group; the parent alone decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # A stray print must not get between the pickles.
    jobs = sys.stdin.buffer
    function: Callable[[Any], Any] | None = None
    try:
        while (message := _receive(jobs)) is not None:
            if function is None:
                function = functools.partial(_answer, message)
                continue
            answer = pickle.dumps(function(message), protocol=pickle.HIGHEST_PROTOCOL)
            del message
            _send(answers, answer)
    except BrokenPipeError:
        pass
    os._exit(0)  # Nothing is left to flush, and the parent waits.


def _answer(function: bytes, job: bytes) -> tuple[str, Any]:
    try:
        return "result", _function(function)(pickle.loads(job))
    except CommandError as error:
        return "command_error", (type(error).__name__, error.what, error.where, error.fix)
    except BaseException:
        return "error", traceback.format_exc()


@functools.cache
def _function(message: bytes) -> Callable[[Any], Any]:
    function: Callable[[Any], Any] = pickle.loads(message)
    return function


def _send(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(struct.pack("<Q", len(message)))
    pipe.write(message)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes | None:
    header = pipe.read(8)
    if len(header) < 8:
        return None
    (size,) = struct.unpack("<Q", header)
    message = pipe.read(size)
    return message if len(message) == size else None


def _cause(code: int) -> str:
    if code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
