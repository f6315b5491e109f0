"""The contract between makers of shards and the programs that run them: worker processes, or Apache Beam."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import jaxbert.errors
from jaxbert.data.directory import ShardDirectory
from jaxbert.data.shards import ShardInfo
from jaxbert.errors import CommandError


class Job(Protocol):
    """One shard to make. A `MakeShard` function of the same module makes it. Jobs are picklable.

    Attributes:
      directory: the directory of the shard.
      file: the name of the shard.
    """

    @property
    def directory(self) -> ShardDirectory: ...  # noqa: D102

    @property
    def file(self) -> str: ...  # noqa: D102

    def made(self) -> tuple[str, ShardInfo] | None:
        """Returns (split, shard) if an earlier call finished the shard, else None."""

    def needs(self) -> Iterable[Path]:
        """Returns the files that the function reads."""

    def moved(self, place: Callable[[Path], Path]) -> Job:
        """Returns the job with each path replaced by `place` of it."""

    def without_content(self) -> Job:
        """Returns the job without the text that it may hold."""


MakeShard = Callable[[Any], tuple[str, ShardInfo]]


class Runner(Protocol):
    """Something that runs jobs instead of worker processes on this machine."""

    def run(self, function: MakeShard, jobs: Iterable[Job], label: str) -> Iterator[tuple[str, ShardInfo]]:
        """Yields (split, shard) of each job, in order, once all shards are in the directories of the jobs."""


def pack_error(error: CommandError) -> tuple[str, str, str, str, str]:
    """Returns the parts of an error, which another process can unpickle."""
    return type(error).__name__, error.what, error.where, error.fix, error.code


def unpack_error(parts: tuple[str, str, str, str, str]) -> CommandError:
    """Returns the error that `pack_error` took apart."""
    name, what, where, fix, code = parts
    error: CommandError = getattr(jaxbert.errors, name)(what, where=where, fix=fix, code=code)
    return error
