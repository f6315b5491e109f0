"""The contract of a sink: a program that shows the figures of runs, and gets them while a run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from jaxbert.observe.lines import plain

# The folder of a workdir in which sinks keep the numbers of their runs, and print.
DIRECTORY = "sinks"


@dataclass(frozen=True)
class RunFacts:
    """The facts of a run that a sink is opened with.

    Attributes:
      name: the run's name for people.
      config: the config, as plain JSON values.
      workdir: the workdir on this machine.
      step: the step from which the run continues; 0 for a new run.
      kept: what the sink kept when an earlier process of this run opened it (`keep`); empty for the first one.
      keep: keeps JSON values in the workdir for the next process of this run: the run's number in the sink's store.
    """

    name: str
    config: Mapping[str, Any]
    workdir: Path
    step: int = 0
    kept: Mapping[str, Any] = field(default_factory=dict)
    keep: Callable[[Mapping[str, Any]], None] = lambda values: None


class Sink(Protocol):
    """An open sink. Any exception ends the sink, with a warning, and never the run."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the figures of a step by name. A step may come twice, with other names: training, then validation."""
        ...

    def close(self, ended_well: bool) -> None:
        """Ends. `ended_well` is False where the run was interrupted, has failed or was killed."""
        ...


@dataclass(frozen=True)
class SinkKind:
    """An entry of `jaxbert.observe.sinks.SINKS`.

    Attributes:
      open: opens the sink for a run. It imports the package, so it may take seconds.
      package: the module that `open` imports.
      extra: the extra of jaxbert that installs the package; empty where `pip install jaxbert` does.
      apart: whether the sink runs in a separate process (`jaxbert.observe.sinks.apart`). A package that uses a
        network or threads needs one: nothing that it does can then stop a run or slow it down.
    """

    open: Callable[[RunFacts], Sink]
    package: str
    extra: str = ""
    apart: bool = True


def numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yields the finite numbers among `values` with their names. A slash joins the keys of nested mappings."""
    for key, value in values.items():
        value = plain(value)
        if isinstance(value, dict):
            yield from numbers(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and key != "step":
            yield prefix + key, float(value)
