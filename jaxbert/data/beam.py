"""Shards of records and rows made by an Apache Beam pipeline: one machine's function a shard, on many machines.

What goes where: this process reads the source and cuts it into jobs, as it does without Beam (duplicates and the split
are decided in the order of the whole corpus). Jobs and the files that they need go to `staging`, a directory that every
worker of the runner reaches: a path on shared storage, or gs://, s3://, hdfs:// as Beam's own filesystems know them.
A worker makes its shard in a directory of its own and puts it into `staging`; this process fetches it, holds it against
its sha256, and goes on as if it had made it. So the bytes are those of a local run, and a killed run goes on: what lies
finished in the output or in `staging` is not made again. `staging` is cleared at the end.

Only this module knows Beam (extra `beam`); workers need jaxbert with that extra at the same version, for example in the
image that --sdk_container_image names.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import jaxbert.errors
from jaxbert.data import shards
from jaxbert.data.shards import ShardInfo
from jaxbert.errors import CommandError, InputError, Interrupted, Stopped

_ANSWER, _JOB, _SHARD, _FILES = ".answer", ".job", ".shard", "files"


@dataclass(frozen=True)
class Beam:
    """A runner of jobs in the place of processes on this machine.

    Attributes:
      options: of the pipeline, as on Beam's command line: "--runner=FlinkRunner", "--flink_master=...".
      staging: a directory that all workers reach.
    """

    options: tuple[str, ...]
    staging: str

    @staticmethod
    def of(options: str, staging: str | None) -> Beam:
        """From the command line.

        Raises:
          InputError: Beam is not installed, no staging, or options that it does not know.
        """
        try:
            from apache_beam.options.pipeline_options import PipelineOptions
            from apache_beam.runners import create_runner
        except ImportError:
            raise InputError(
                "Apache Beam is not installed", where="--beam", fix='pip install "jaxbert[beam]", in its own venv.'
            ) from None
        if not staging:
            raise InputError(
                "no directory that the workers reach", where="--staging", fix="Give one: --staging gs://BUCKET/DIR."
            )
        # Dashes may be left out: argparse would take "--runner=..." for an option of ours.
        given = [word if word.startswith("-") else f"--{word}" for word in shlex.split(options)]
        # Beam warns of what it does not know, and goes on.
        known = PipelineOptions(given).get_all_options(drop_default=True)
        for option in given:
            name = option.removeprefix("--").partition("=")[0]
            if option.startswith("--") and name not in known and name.replace("-", "_") not in known:
                raise InputError(f"Beam knows no option --{name}", where="--beam", fix="See its runner's page.")
        try:
            create_runner(known.get("runner") or "DirectRunner")
        except (ValueError, ImportError, AttributeError) as error:
            raise InputError(f"no such runner: {error}", where="--beam", fix="Give runner=DataflowRunner ...") from None
        return Beam(tuple(given), staging)

    def run(
        self, function: shards.MakeShard, jobs: Iterable[shards.Job], label: str
    ) -> Iterator[tuple[str, ShardInfo]]:
        """(split, shard) of each job, in order, all shards being where the jobs say.

        Args:
          function: makes one shard; of a module that can be imported.
          jobs: read once, and kept in staging.
          label: for the lines that are printed.

        Raises:
          CommandError: as raised by `function`; of the first job that did.
          Interrupted: the pipeline failed.
        """
        where: _Staging | None = None
        order: list[shards.Job | tuple[str, ShardInfo]] = []
        due: list[str] = []
        for job in jobs:
            made = job.made()
            if made is not None:
                order.append(made)
                continue
            where = where or _Staging(self.staging, job.directory)
            if not where.has(job.file + _ANSWER):
                where.put_job(job)
                due.append(job.file)
            order.append(job.without_content())
        if where is None:
            yield from (one for one in order if isinstance(one, tuple))
            return
        if due:
            self._pipeline(partial(_make, root=where.root, function=function), due, label)
        progress = shards.Progress(label, len(order))
        try:
            for one in order:
                yield one if isinstance(one, tuple) else where.take(one)
                progress.advance()
        finally:
            progress.close()
        where.clear()

    def _pipeline(self, function: Callable[[str], None], names: Sequence[str], label: str) -> None:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        try:
            with beam.Pipeline(options=PipelineOptions(list(self.options), save_main_session=False)) as pipeline:
                (
                    pipeline
                    | "names" >> beam.Create(list(names))
                    # Else a runner may take all of them for one bundle.
                    | "spread" >> beam.Reshuffle()
                    | label >> beam.Map(function)
                )
        except Exception as error:
            raise Interrupted(
                f"the pipeline failed: {' '.join(str(error).split())[:300]}",
                where="--beam",
                fix="See the runner's own log, and run the same command again: what is finished is kept.",
            ) from error


class _Staging:
    """The files of one directory of shards in the making, in a directory that the workers reach."""

    def __init__(self, staging: str, directory: shards.ShardDirectory):
        content = json.dumps([directory.kind, directory.arguments], sort_keys=True)
        self.root = f"{staging.rstrip('/')}/{directory.kind}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        self._sent: set[Path] = set()

    def has(self, name: str) -> bool:
        return bool(_files().exists(f"{self.root}/{name}"))

    def put_job(self, job: shards.Job) -> None:
        needs = tuple(job.needs())
        for path in needs:
            if path not in self._sent:
                with path.open("rb") as file:
                    _put(f"{self.root}/{_FILES}/{_relative(path)}", file)
                self._sent.add(path)
        _write(f"{self.root}/{job.file}{_JOB}", pickle.dumps((job, needs)))

    def take(self, job: shards.Job) -> tuple[str, ShardInfo]:
        """Fetches a job's shard."""
        kind, value = pickle.loads(_read(f"{self.root}/{job.file}{_ANSWER}"))
        if kind == "command_error":
            # Not to be found again by the next try.
            _files().delete([f"{self.root}/{job.file}{_ANSWER}"])
            name, what, where, fix = value
            raise getattr(jaxbert.errors, name)(what, where=where, fix=fix)
        split, info = value
        place = job.directory.path / job.file
        arriving = shards.partial_name(place)
        try:
            with _files().open(f"{self.root}/{job.file}{_SHARD}", **_plain()) as source, arriving.open("wb") as file:
                shutil.copyfileobj(source, file)
                file.flush()
                os.fsync(file.fileno())
            if shards.sha256_file(arriving) != info.sha256:
                raise Stopped(
                    "the shard is not what the worker made: its sha256 is another",
                    where=f"{self.root}/{job.file}{_SHARD}",
                    fix="Remove that directory and run the same command again.",
                )
            os.replace(arriving, place)
        except OSError as error:
            raise shards.disk_error(error, place) from error
        finally:
            arriving.unlink(missing_ok=True)
        return split, job.directory.finish(info)

    def clear(self) -> None:
        # What is left there does no harm. A bucket has files alone, a disk the folders that held them too.
        for place in (f"{self.root}/", self.root):
            with suppress(Exception):
                _files().delete([place])


def _make(name: str, *, root: str, function: shards.MakeShard) -> None:
    """On a worker: one shard, in a directory that is gone afterwards."""
    job, needs = pickle.loads(_read(f"{root}/{name}{_JOB}"))
    with tempfile.TemporaryDirectory(prefix="jaxbert-") as own:
        for path in needs:
            place = Path(own) / _relative(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            with _files().open(f"{root}/{_FILES}/{_relative(path)}", **_plain()) as source, place.open("wb") as file:
                shutil.copyfileobj(source, file)
        here = job.moved(lambda path: Path(own) / _relative(path))
        here.directory.make()
        try:
            made = function(here)
        except CommandError as error:
            where = error.where.removeprefix(own)
            answer: tuple[str, Any] = "command_error", (type(error).__name__, error.what, where, error.fix)
        else:
            with (here.directory.path / name).open("rb") as file:
                _put(f"{root}/{name}{_SHARD}", file)
            answer = "result", made
    # Last: where it is, the shard is.
    _write(f"{root}/{name}{_ANSWER}", pickle.dumps(answer))


def _relative(path: Path) -> str:
    return path.absolute().as_posix().lstrip("/")


def _files() -> Any:
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def _plain() -> dict[str, Any]:
    """Beam would unpack a file by the ending of its name."""
    from apache_beam.io.filesystem import CompressionTypes

    return {"mime_type": "application/octet-stream", "compression_type": CompressionTypes.UNCOMPRESSED}


def _read(path: str) -> bytes:
    with _files().open(path, **_plain()) as file:
        content: bytes = file.read()
        return content


def _write(path: str, content: bytes) -> None:
    _put(path, io.BytesIO(content))


def _put(path: str, source: IO[bytes]) -> None:
    """Under a name of its own until all of it is there: a runner may make a shard twice at a time."""
    arriving = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    folder = path.rpartition("/")[0]
    # Where folders are things of their own, another worker may make them first.
    with suppress(OSError):
        _files().mkdirs(folder)
    with _files().create(arriving, **_plain()) as file:
        shutil.copyfileobj(source, file)
    if _files().exists(path):
        _files().delete([path])
    _files().rename([arriving], [path])
