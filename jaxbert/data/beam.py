"""An Apache Beam pipeline makes the shards of records and rows on many machines, one shard a call.

This process reads the source and cuts it into jobs, as it does without Beam, because duplicates and the split are
decided in the order of the whole corpus. Jobs and the files that they need go to `staging`, a directory that every
worker of the runner reaches: a path on shared storage, or gs://, s3://, hdfs:// in Beam's filesystems. A worker makes
its shard in a temporary directory and puts it into `staging`. This process fetches it, compares its sha256, and goes on
as if it had made the shard. So the bytes equal those of a local run. A killed run continues: a shard that is finished
in the output or in `staging` is not made again. `staging` is cleared at the end.

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
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from jaxbert.core.progress import Progress
from jaxbert.data import shards
from jaxbert.data.directory import ShardDirectory
from jaxbert.data.jobs import Job, MakeShard, pack_error, unpack_error
from jaxbert.data.shards import ShardInfo
from jaxbert.errors import CommandError, InputError, Interrupted, Stopped
from jaxbert.stores.files import partial_name, replacing

_ANSWER, _JOB, _SHARD, _FILES = ".answer", ".job", ".shard", "files"


@dataclass(frozen=True)
class Beam:
    """Runs jobs in a Beam pipeline instead of worker processes on this machine.

    Attributes:
      options: options of the pipeline, as on Beam's command line: "--runner=FlinkRunner", "--flink_master=...".
      staging: a directory that all workers reach.
    """

    options: tuple[str, ...]
    staging: str

    @staticmethod
    def of(options: str, staging: str | None) -> Beam:
        """Returns the runner for the options of the command line.

        Raises:
          InputError: Beam is not installed, there is no staging directory, or Beam does not know an option.
        """
        try:
            from apache_beam.options.pipeline_options import PipelineOptions
            from apache_beam.runners import create_runner
        except ImportError:
            raise InputError(
                "Apache Beam is not installed",
                where="--beam",
                fix='pip install "jaxbert[beam]", in a separate venv.',
                code="E-BEAM-INSTALL",
            ) from None
        if not staging:
            raise InputError(
                "there is no directory that the workers reach",
                where="--staging",
                fix="Give one: --staging gs://BUCKET/DIR.",
                code="E-BEAM-STAGING",
            )
        # The dashes may be left out, because argparse would take "--runner=..." for an option of jaxbert.
        given = [word if word.startswith("-") else f"--{word}" for word in shlex.split(options)]
        # Beam only warns of options that it does not know.
        known = PipelineOptions(given).get_all_options(drop_default=True)
        for option in given:
            name = option.removeprefix("--").partition("=")[0]
            if option.startswith("--") and name not in known and name.replace("-", "_") not in known:
                raise InputError(
                    f"Beam knows no option --{name}",
                    where="--beam",
                    fix="See the documentation of the runner.",
                    code="E-BEAM-OPTION",
                )
        try:
            create_runner(known.get("runner") or "DirectRunner")
        except (ValueError, ImportError, AttributeError) as error:
            raise InputError(
                f"no such runner: {error}",
                where="--beam",
                fix="Give for example runner=DataflowRunner.",
                code="E-BEAM-OPTION",
            ) from None
        return Beam(tuple(given), staging)

    def run(self, function: MakeShard, jobs: Iterable[Job], label: str) -> Iterator[tuple[str, ShardInfo]]:
        """Yields (split, shard) of each job, in order, once the shards are in the directories of the jobs.

        Args:
          function: makes one shard. It belongs to a module that can be imported.
          jobs: is read once, and kept in staging.
          label: the label of the progress lines.

        Raises:
          CommandError: `function` raised it; the error of the first such job.
          Interrupted: the pipeline failed.
        """
        where: _Staging | None = None
        order: list[Job | tuple[str, ShardInfo]] = []
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
        progress = Progress(len(order), label=label, unit="shard")
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
                    # Otherwise a runner may put all names into one bundle.
                    | "spread" >> beam.Reshuffle()
                    | label >> beam.Map(function)
                )
        except _runner_errors() as error:
            if cannot_be_sent(error):
                raise
            raise Interrupted(
                f"the pipeline failed: {' '.join(str(error).split())[:300]}",
                where="--beam",
                fix="See the log of the runner, and run the same command again: it keeps the finished shards.",
                code="E-BEAM-PIPELINE",
            ) from error


# Runners report a failed pipeline, a lost worker and a lost connection by these, besides RuntimeError and OSError.
_RUNNER_ERRORS = (
    ("apache_beam.error", "BeamError"),
    ("apache_beam.runners.dataflow.dataflow_runner", "DataflowRuntimeException"),
    ("apitools.base.py.exceptions", "Error"),
    ("google.api_core.exceptions", "GoogleAPIError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("grpc", "RpcError"),
)


def _runner_errors() -> tuple[type[Exception], ...]:
    """Returns the classes by which a pipeline reports a failure; of `_RUNNER_ERRORS` those whose modules are loaded."""
    found = [getattr(sys.modules.get(module), name, None) for module, name in _RUNNER_ERRORS]
    return RuntimeError, OSError, *(one for one in found if one is not None)


def cannot_be_sent(error: Exception) -> bool:
    """Returns whether Beam could not pickle what a pipeline runs. It says so by a RuntimeError, but that is a bug."""
    return isinstance(error, RuntimeError) and str(error).startswith("Unable to pickle")


class _Staging:
    """The files of one unfinished directory of shards, in a directory that the workers reach."""

    def __init__(self, staging: str, directory: ShardDirectory):
        content = json.dumps([directory.kind, directory.arguments], sort_keys=True)
        self.root = f"{staging.rstrip('/')}/{directory.kind}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        self._sent: set[Path] = set()

    def has(self, name: str) -> bool:
        return bool(_files().exists(f"{self.root}/{name}"))

    def put_job(self, job: Job) -> None:
        needs = tuple(job.needs())
        for path in needs:
            if path not in self._sent:
                with path.open("rb") as file:
                    _put(f"{self.root}/{_FILES}/{_relative(path)}", file)
                self._sent.add(path)
        _write(f"{self.root}/{job.file}{_JOB}", pickle.dumps((job, needs)))

    def take(self, job: Job) -> tuple[str, ShardInfo]:
        """Fetches the shard of a job."""
        kind, value = pickle.loads(_read(f"{self.root}/{job.file}{_ANSWER}"))
        if kind == "command_error":
            # Remove the answer, so that the next call makes the shard again.
            _files().delete([f"{self.root}/{job.file}{_ANSWER}"])
            raise unpack_error(value)
        if kind == "bug":
            _files().delete([f"{self.root}/{job.file}{_ANSWER}"])
            raise RuntimeError(f"a worker failed:\n{value}")
        split, info = value
        place = job.directory.path / job.file
        temporary = partial_name(place)
        try:
            with (
                _files().open(f"{self.root}/{job.file}{_SHARD}", **_plain()) as source,
                replacing(place, temporary=temporary) as file,
            ):
                shutil.copyfileobj(source, file)
                file.flush()
                if shards.sha256_file(temporary) != info.sha256:
                    raise Stopped(
                        "the shard differs from the one that the worker made (sha256)",
                        where=f"{self.root}/{job.file}{_SHARD}",
                        fix="Remove that directory and run the same command again.",
                        code="E-SHARD-DAMAGED",
                    )
        except OSError as error:
            raise shards.disk_error(error, place) from error
        return split, job.directory.finish(info)

    def clear(self) -> None:
        # Files that stay there do no harm. A bucket has only files; a disk also has the folders that held them.
        for place in (f"{self.root}/", self.root):
            with suppress(Exception):
                _files().delete([place])


def _make(name: str, *, root: str, function: MakeShard) -> None:
    """Makes one shard, on a worker, in a temporary directory."""
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
            error.where = error.where.removeprefix(own)
            answer: tuple[str, Any] = "command_error", pack_error(error)
        except (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, TypeError, ValueError):
            # Runners repeat a call that fails, and report every failure as a RuntimeError. A bug must not be repeated.
            answer = "bug", traceback.format_exc()
        else:
            with (here.directory.path / name).open("rb") as file:
                _put(f"{root}/{name}{_SHARD}", file)
            answer = "result", made
    # The answer comes last: if it is there, the shard is there.
    _write(f"{root}/{name}{_ANSWER}", pickle.dumps(answer))


def _relative(path: Path) -> str:
    return path.absolute().as_posix().lstrip("/")


def _files() -> Any:
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def _plain() -> dict[str, Any]:
    """Returns the arguments that keep Beam from unpacking a file because of the ending of its name."""
    from apache_beam.io.filesystem import CompressionTypes

    return {"mime_type": "application/octet-stream", "compression_type": CompressionTypes.UNCOMPRESSED}


def _read(path: str) -> bytes:
    with _files().open(path, **_plain()) as file:
        content: bytes = file.read()
        return content


def _write(path: str, content: bytes) -> None:
    _put(path, io.BytesIO(content))


def _put(path: str, source: IO[bytes]) -> None:
    """Writes a file under a temporary name first, because a runner may make a shard twice at the same time."""
    arriving = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    folder = path.rpartition("/")[0]
    # On filesystems with folders, another worker may make the folder first.
    with suppress(OSError):
        _files().mkdirs(folder)
    with _files().create(arriving, **_plain()) as file:
        shutil.copyfileobj(source, file)
    if _files().exists(path):
        _files().delete([path])
    _files().rename([arriving], [path])
