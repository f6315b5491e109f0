"""What a target wants to have run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Command:
    """One process.

    Attributes:
      arguments: the program and its arguments.
      environment: what is set beside this process's own environment.
      log: where its output goes.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path

    def line(self) -> str:
        """As a shell takes it."""
        settings = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return " ".join([*settings, shlex.join(self.arguments), ">", shlex.quote(str(self.log)), "2>&1"])


@dataclass(frozen=True)
class Job:
    """Processes that belong together: where one fails, all are stopped. The first one's output is shown."""

    commands: tuple[Command, ...]

    def lines(self) -> list[str]:
        """One line a process."""
        return [command.line() for command in self.commands]
