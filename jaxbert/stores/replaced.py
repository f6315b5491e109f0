"""A run in a workdir that another run replaces (`pretrain --overwrite`). Imports no jax.

The outputs of the old run wait in WORKDIR/.replaced until the new run has begun. A kill at any moment leaves one of
these states, and the next `pretrain` finishes or undoes what was cut:

  config.json   .replaced                the workdir is
  old           none                     the old run's
  old           without config.json      the old run's: its outputs were on their way, out or back
  none          with config.json         the old run's: it was out, and the new one had written nothing
  new           with config.json         the new run's if the next command continues it, else the old run's
  new           none                     the new run's

So config.json moves last on the way out and first on the way back, and `.replaced` goes by one renaming.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from jaxbert.stores.files import remove
from jaxbert.stores.workdir import (
    CHECKPOINTS,
    CORPUS,
    EVALUATION,
    EXPORT,
    JUDGEMENT,
    METRICS,
    PAGE,
    PARAMETERS,
    PNG,
    PREDICTIONS,
    RECIPE,
    SUITE,
    TELEMETRY,
)

# The names that a run writes in its workdir. --overwrite removes these and nothing else.
OUTPUTS = (
    *(CORPUS, PARAMETERS, CHECKPOINTS, "tokenizer", "data"),
    *(METRICS, TELEMETRY, PREDICTIONS, "tensorboard", "sinks", "profile"),
    *(PAGE, PNG, EVALUATION, JUDGEMENT, SUITE, EXPORT, *RECIPE, "config.json"),
)
REPLACED = ".replaced"
# A replaced run that is being removed.
REMOVED = ".removed"
_CONFIG = "config.json"


def config_of_replaced(workdir: Path) -> Path | None:
    """Returns the config of the run that waits in `.replaced`, or None if no run waits there."""
    config = workdir / REPLACED / _CONFIG
    return config if config.is_file() else None


def set_aside(workdir: Path) -> None:
    """Moves the outputs of the run in the workdir to `.replaced`.

    Without a config.json there is no run, and what was prepared for one that could not begin stays for the next one.
    """
    run = (workdir / _CONFIG).is_file()
    _move(workdir, workdir / REPLACED, [name for name in OUTPUTS if run or name != "data"])


def bring_back(workdir: Path) -> None:
    """Removes what the new run has written, and moves the old run back; undoes a `set_aside` that was cut."""
    place = workdir / REPLACED
    if config_of_replaced(workdir) is not None:
        # All of the old run was out, so every output in the workdir is the new one's.
        remove_outputs(workdir)
    if place.is_dir():
        _move(place, workdir, reversed(OUTPUTS))
        place.rmdir()


def moving_was_cut(workdir: Path) -> bool:
    """Returns whether the old run was on its way out or back: a new run has not even a config."""
    both = config_of_replaced(workdir) is not None and (workdir / _CONFIG).is_file()
    return (workdir / REPLACED).is_dir() and not both


def discard(workdir: Path) -> None:
    """Removes the run that waits in `.replaced`."""
    for _ in range(2):  # A call that was cut may have left `.removed`.
        shutil.rmtree(workdir / REMOVED, ignore_errors=True)
        if (workdir / REPLACED).is_dir():
            os.replace(workdir / REPLACED, workdir / REMOVED)


def remove_outputs(workdir: Path, *, but: Collection[str] = ()) -> None:
    """Removes the outputs of a run, but those named.

    Its config.json goes last, so that a call that is cut leaves a run, which the next command continues. It goes first
    where another run waits to come back.
    """
    for name in reversed(OUTPUTS) if config_of_replaced(workdir) is not None else OUTPUTS:
        if name not in but:
            remove(workdir / name)


def _move(source: Path, target: Path, names: Iterable[str]) -> None:
    for name in names:
        if os.path.lexists(source / name):
            target.mkdir(exist_ok=True)
            os.replace(source / name, target / name)
