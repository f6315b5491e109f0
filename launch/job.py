"""What a target is asked for, and what it answers: files, commands, and words for the one screen."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from jaxbert.launch.archive import Archive

from jaxbert.plan.topologies import Topology


@dataclass(frozen=True)
class Command:
    """One process.

    Attributes:
      arguments: the program and its arguments.
      environment: what is set beside this process's own environment.
      log: where its output goes; None: to the terminal.
      does: what it is for, in a few words.
      unless: a command that says whether it is needed: where this one succeeds, `arguments` is left out.
      optional: it may fail: what it removes or stops may be gone already.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None
    does: str = ""
    unless: tuple[str, ...] = ()
    optional: bool = False

    def line(self) -> str:
        """As a shell takes it."""
        settings = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        end = [] if self.log is None else [">", shlex.quote(str(self.log)), "2>&1"]
        line = " ".join([*settings, shlex.join(self.arguments), *end])
        if self.unless:
            line = f"{shlex.join(self.unless)} || {line}"
        return f"{line} || true" if self.optional else line


@dataclass(frozen=True)
class Job:
    """Processes of this machine that belong together: where one fails, all are stopped. The first's output is shown."""

    commands: tuple[Command, ...]

    def lines(self) -> list[str]:
        """One line a process."""
        return [command.line() for command in self.commands]


@dataclass(frozen=True)
class File:
    """Something that is written on this machine before the first command runs.

    Attributes:
      path: where.
      content: what; the archive of the code is shown by its hash alone.
    """

    path: Path
    content: bytes
    executable: bool = False

    @property
    def is_text(self) -> bool:
        """Whether it can be shown."""
        return b"\0" not in self.content


@dataclass(frozen=True)
class Request:
    """A run that is to be sent somewhere; everything in it has been checked.

    Attributes:
      arguments: of `jaxbert pretrain`, without --workdir.
      workdir: a directory or a URL.
      name: of the job, where engines have names: lower-case letters, digits, hyphens.
      config: name of the run's config.
      topology: slices of chips, or machines with GPUs; None where the target may go without.
      archive: the code, and the config where it is a file.
      folder: where the files of this submission go, on this machine.
      spot: capacity that may be taken away.
      restarts: how often an interrupted run (exit 3, preemption, lost machine) is started again.
      secrets: name of an environment variable -> where the engine finds its value; "": in this machine's environment.
      options: the target's own.
    """

    arguments: tuple[str, ...]
    workdir: str
    name: str
    config: str
    topology: Topology | None
    archive: Archive
    folder: Path
    spot: bool
    restarts: int
    secrets: Mapping[str, str]
    options: Namespace


@dataclass(frozen=True)
class Submission:
    """What a target would do. Nothing has been done.

    Attributes:
      creates: a line for each thing that will be there afterwards.
      where: project, zone, cluster, partition.
      resumes: how the run goes on after an interruption, and what ends it for good.
      ends: what is left when the run is done, and what it goes on costing.
      files: written here first.
      commands: run then, in this order.
    """

    creates: tuple[str, ...]
    where: str
    resumes: str
    ends: str
    files: tuple[File, ...]
    commands: tuple[Command, ...]


@dataclass(frozen=True)
class Control:
    """The commands that ask for a job, show its output and end it."""

    status: tuple[Command, ...]
    logs: tuple[Command, ...]
    stop: tuple[Command, ...]


class Target(Protocol):
    """One engine: pure functions, except that none of them runs anything.

    Attributes:
      name: as the user says it.
      summary: of --help.
      kinds: of chips that it can be asked for, and None where it needs no topology.
      remembered: names of the options that `control` needs, kept with the record of a launch.
    """

    name: str
    summary: str
    kinds: tuple[str | None, ...]
    remembered: Sequence[str]

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Adds the target's own options."""

    def check(self, options: Namespace) -> None:
        """Raises InputError where an option cannot be what it is; also of options read back from a record."""

    def submission(self, request: Request) -> Submission:
        """What it would do.

        Raises:
          InputError: the target cannot honour the request.
        """

    def control(self, name: str, options: Namespace, *, follow: bool = False) -> Control:
        """How to ask for the job `name`, submitted with `options`."""
