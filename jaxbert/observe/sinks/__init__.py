"""Sinks: programs that show the figures of runs. `logging.sinks` names those that a run gives its scalars to.

A new sink is one file with a `KIND` and one line in `SINKS`. metrics.jsonl and telemetry.jsonl have every figure,
whatever becomes of a sink: a sink that fails is left out from then on, with one warning, and the run goes on.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from jaxbert.errors import InputError
from jaxbert.observe.sinks import mlflow, tensorboard, trackio, wandb
from jaxbert.observe.sinks.apart import Apart
from jaxbert.observe.sinks.base import RunFacts, Sink, SinkKind, numbers

_log = logging.getLogger(__name__)

SINKS: dict[str, SinkKind] = {
    "tensorboard": tensorboard.KIND,
    "wandb": wandb.KIND,
    "mlflow": mlflow.KIND,
    "trackio": trackio.KIND,
}


def check_installed(names: Sequence[str]) -> None:
    """Raises InputError where the package of a sink is not installed. It imports none of them."""
    for name in names:
        kind = SINKS[name]
        found = importlib.util.find_spec(kind.package)
        # W&B makes a folder `wandb` in the current directory, which Python finds too: it has no file.
        if found is None or found.origin is None:
            raise InputError(
                f"the sink {name} needs the package {kind.package}, which is not installed",
                where="logging.sinks",
                fix=f"Run: pip install 'jaxbert[{kind.extra}]'. Or leave {name} out.",
                code="E-SINK-PACKAGE",
            )


class Sinks:
    """The sinks of a run. None of them ends the run, or makes it wait without end.

    Args:
      names: names in `SINKS`; empty in processes other than 0.
      facts: the facts of the run.
    """

    def __init__(self, names: Sequence[str], facts: RunFacts):
        self._open: dict[str, Sink] = {}
        for name in names:
            try:
                kind = SINKS[name]
                self._open[name] = Apart(name, facts) if kind.apart else kind.open(facts)
            except Exception as error:
                _warn(name, error)

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Gives the finite numbers among `values` to every sink. A slash joins the keys of nested mappings."""
        given = dict(numbers(values))
        for name, sink in list(self._open.items()):
            try:
                sink.scalars(step, given)
            except Exception as error:
                del self._open[name]
                _warn(name, error)

    def close(self, ended_well: bool = True) -> None:
        """Closes every sink. `ended_well` says whether the run has ended as it should. A second call does nothing."""
        for name, sink in list(self._open.items()):
            del self._open[name]
            try:
                sink.close(ended_well)
            except Exception as error:
                _warn(name, error)


def _warn(name: str, error: Exception) -> None:
    said = str(error) or type(error).__name__
    _log.warning(f"the sink {name} does not work, and the run goes on without it: {said}")
