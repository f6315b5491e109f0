"""The contract of a target: the request that it gets, and the files and commands that it answers with."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any

from jaxbert.plan.topologies import Topology

from .archive import Archive
from .names import checked


@dataclass(frozen=True)
class Command:
    """A command that starts one process.

    Attributes:
      arguments: the program and its arguments.
      environment: variables that are set in addition to this process's environment.
      log: the file that gets the output; None: the terminal gets it.
      does: effect of the command, in a few words.
      unless: a command that runs first. If it succeeds, `arguments` is not run.
      optional: whether the command may fail, because the thing that it removes or stops may be gone already.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None
    does: str = ""
    unless: tuple[str, ...] = ()
    optional: bool = False

    def line(self) -> str:
        """Returns the command as a shell takes it."""
        settings = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        end = [] if self.log is None else [">", shlex.quote(str(self.log)), "2>&1"]
        line = " ".join([*settings, shlex.join(self.arguments), *end])
        if self.unless:
            line = f"{shlex.join(self.unless)} || {line}"
        return f"{line} || true" if self.optional else line


@dataclass(frozen=True)
class Job:
    """Processes of one run on this machine. When one fails, all are stopped. The terminal shows the first's output."""

    commands: tuple[Command, ...]

    def lines(self) -> list[str]:
        """Returns one line for each process."""
        return [command.line() for command in self.commands]


@dataclass(frozen=True)
class File:
    """A file that is written on this machine before the first command runs.

    Attributes:
      path: path to which it is written.
      content: its bytes.
      executable: whether it gets the mode of a program.
    """

    path: Path
    content: bytes
    executable: bool = False

    @property
    def is_text(self) -> bool:
        """Returns whether the content can be shown on a terminal."""
        return b"\0" not in self.content


@dataclass(frozen=True)
class Request:
    """A run that the user wants to send to a target. Every value has been checked.

    Attributes:
      arguments: the arguments of `jaxbert pretrain`, without --workdir.
      workdir: a directory or a URL.
      name: the name of the job: lower-case letters, digits and hyphens.
      config: the name of the run's config.
      topology: slices of TPU chips, or machines with GPUs; None if the target works without --topology.
      archive: the code, together with the config if CONFIG is a file.
      folder: the directory of this machine where the target puts the files of this submission.
      spot: whether to take capacity that the provider may take away.
      restarts: number of times that the engine restarts a run that was interrupted (exit 3, preemption, lost machine).
      secrets: name of an environment variable -> where the engine finds its value; "" for this machine's environment.
      options: the target's own options.
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

    @property
    def place(self) -> Topology:
        """Returns the topology, for a target that always needs one."""
        assert self.topology is not None
        return self.topology


@dataclass(frozen=True)
class Question:
    """A command that asks the engine whether it can ever run the job. It runs before anything is planned or sent.

    Attributes:
      command: the command. It changes nothing.
      about: what is not known if nobody answers, for a warning.
      check: gets the answer. It raises InputError if the engine cannot run the job. It returns why the answer says
        nothing about that, or "".
    """

    command: Command
    about: str
    check: Callable[[str], str]


@dataclass(frozen=True)
class Submission:
    """The files and commands that submit a job, and the words that describe it to the user.

    Attributes:
      creates: a line for each thing that the commands create.
      where: the project, zone, cluster or partition.
      resumes: the way in which the run continues after an interruption, and the exit codes that end it.
      ends: the resources that remain after the run, and whether they still cost money.
      files: the files to write first.
      commands: the commands to run then, in this order.
      environment: whose packages the job uses, unless a lock file gives them.
      runs: for a job of several runs, workdir of each run -> its options that `control` needs. Each run gets a record.
      at_once: how many of these runs may go on at once; 0: all.
      question: what the engine is asked first; None for nothing.
      devices: the number of jax's devices of a run without a topology; None if it is not known.
      apart: whether the job sees other files than this machine, although both share the disk.
    """

    creates: tuple[str, ...]
    where: str
    resumes: str
    ends: str
    files: tuple[File, ...]
    commands: tuple[Command, ...]
    environment: str = "this machine's"
    runs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    at_once: int = 0
    question: Question | None = None
    devices: int | None = None
    apart: bool = False


@dataclass(frozen=True)
class Control:
    """The commands that show the state of a job, show its output, and end it."""

    status: tuple[Command, ...]
    logs: tuple[Command, ...]
    stop: tuple[Command, ...]


class Target(ABC):
    """An engine that takes jobs. Its functions describe what to do and do nothing themselves.

    Attributes:
      name: the word that the user types for TARGET.
      summary: the line of --help.
      kinds: the kinds of chips ("tpu", "gpu") that it offers. With None among them, --topology is optional. Such a
        target must share the disk, because a topology chooses the lock file.
      example: the options that it needs for bert_base, shown by --help. Tests and docs/how-to/launch.md use them too.
      shares_disk: whether its machines see this machine's disk. If so, the workdir must be a directory, and the job
        takes its inputs and its Python environment from the disk. If not, the workdir and the inputs must be in a
        bucket, and the environment comes from a lock file.
      buckets: the schemes of the URLs that its machines can read, where they share no disk.
      provider: the seller of its machines, whose prices a launch shows: a name of `jaxbert.core.chips.PROVIDERS`; "" if
        the target does not say where it runs.
      takes_volumes: whether its machines can have volumes of the cluster (--volume).
      programs: program -> how to install it.
      names: option -> the kind of name (`names.KINDS`) that its value, or each of its values, must be.
      remembered: option -> type; the options that `control` needs. A record of the launch keeps them.
    """

    name: str
    summary: str
    kinds: tuple[str | None, ...]
    example: str
    shares_disk: bool = False
    buckets: tuple[str, ...] = ("gs",)
    provider: str = ""
    takes_volumes: bool = False
    programs: Mapping[str, str] = {}
    names: Mapping[str, str] = {}
    remembered: Mapping[str, type | UnionType] = {}

    def add_arguments(self, parser: ArgumentParser) -> None:  # noqa: B027 (a target may have no options)
        """Adds the target's own options to its parser."""

    def chips(self) -> Mapping[str, str] | None:
        """Returns the engine's names of the chips that it can be asked for; None if it takes any chip."""
        return None

    def seller(self, options: Namespace) -> str:
        """Returns `provider`, or the one that the options choose."""
        return self.provider

    def mounts(self, options: Namespace) -> tuple[str, ...]:
        """Returns the directories that the job's machines have on volumes, and that this machine need not have."""
        return ()

    def check(self, options: Namespace) -> None:
        """Raises InputError for an option with a value that the engine would refuse or misread.

        Args:
          options: all of the target's options, or the remembered ones alone, which a record may have changed.
        """
        for option, kind in self.names.items():
            given = getattr(options, option, None)
            for value in given if isinstance(given, list) else [] if given is None else [given]:
                checked(value, kind, f"--{option.replace('_', '-')}")

    @abstractmethod
    def submission(self, request: Request) -> Submission:
        """Returns the files and commands that submit the request.

        Raises:
          InputError: the target cannot do what the request asks.
        """

    @abstractmethod
    def control(self, name: str, options: Namespace, *, follow: bool = False) -> Control:
        """Returns the commands for the job `name`.

        Args:
          name: the job's name.
          options: the remembered options, and `workdir`.
          follow: whether `logs` keeps showing new output.
        """
