"""The changes that a run may make when it continues, and the memory that it takes from its checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jaxbert.config import RunConfig, load_json
from jaxbert.errors import CommandError, InputError
from jaxbert.run.initial import load_initial
from jaxbert.run.inputs import PhaseRows
from jaxbert.run.teacher import fingerprint
from jaxbert.stores.steps import committed_steps, read_manifest
from jaxbert.stores.storage import is_remote
from jaxbert.use.library import Loaded
from jaxbert.use.model_place import HUB

_log = logging.getLogger(__name__)


def new_memory(rows: list[PhaseRows], teacher: Loaded | None, initial: Loaded | None) -> dict[str, Any]:
    """Returns what the loop of a new run remembers beside the state. Every checkpoint saves it."""
    return {
        "rows": [[part.hash for part, _ in found.train] for found in rows],
        "teacher": fingerprint(teacher.params) if teacher is not None else None,
        "init": fingerprint(initial.params) if initial is not None else None,
        "best": None,
        "last_evaluation": None,
        "evaluations_since_best": 0,
        "stopped_early": False,
        "guard": None,
        "window": None,
    }


def continued_memory(saved: Mapping[str, Any], now: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Returns what a checkpoint remembers.

    Args:
      saved: JSON state of the checkpoint.
      now: `new_memory` of the inputs that are given now.
      workdir: workdir of the run, for errors.

    Raises:
      InputError: the rows or the teacher are not those that the run began with.
    """
    if saved.get("rows") != now["rows"]:
        raise InputError(
            "the rows are not those that the run began with (their hashes differ)",
            where=str(workdir),
            fix="Give the same rows, or begin another run with --init on this one.",
            code="E-RUN-ROWS",
        )
    if saved.get("teacher") != now["teacher"]:
        raise InputError(
            "the teacher is not the one that the run began with (its parameters differ)",
            where=str(workdir),
            fix="Give the same teacher, or begin another run with --init on this one.",
            code="E-RUN-TEACHER",
        )
    return {name: value if saved.get(name) is None else saved[name] for name, value in now.items()}


def check_steps(before: RunConfig, now: RunConfig, meta: Mapping[str, Any], workdir: Path) -> None:
    """Raises InputError where the config changes steps that are done; steps that are to come may change.

    Args:
      before: the config in the workdir.
      now: the config that is given.
      meta: JSON state of the checkpoint.
      workdir: workdir of the run, for errors.
    """
    current, done = meta.get("phase"), meta.get("next_batch")
    if current is None or done is None or current > len(before.phases):
        raise InputError(
            "the manifest of the checkpoint does not say where the run was",
            where=str(workdir),
            fix="Remove the checkpoint. The run continues from the one before it.",
            code="E-CHECKPOINT-MANIFEST",
        )
    if current == len(before.phases):
        current, done = current - 1, before.phases[-1].steps
    for index, (old, new) in enumerate(zip(before.phases, now.phases, strict=True)):
        changed = index < current and old.steps != new.steps
        if changed or (index == current and new.steps < done):
            finished = "is over" if changed else f"has done {done} steps"
            raise InputError(
                f"steps: {old.steps} -> {new.steps}, but phase {new.name} {finished}",
                where=f"phases.{new.name}.steps",
                fix=f"Leave it at {old.steps}." if changed else f"Take {done} or more.",
                code="E-RUN-STEPS",
            )
    changed_steps = [
        f"{new.name} has {new.steps:,} instead of {old.steps:,}"
        for old, new in zip(before.phases, now.phases, strict=True)
        if old.steps != new.steps
    ]
    if changed_steps:
        _log.info(
            "other steps than before: phase %s; the learning rate follows the new number, so it may jump here",
            ", phase ".join(changed_steps),
        )


def model_has_changed(workdirs: Iterable[Path], model: str) -> bool:
    """Returns whether the model of `--init` has other parameters now than those that a run began with.

    A model that is gone, or is not on this machine, has not changed: the runs do not need it any more.

    Args:
      workdirs: of runs that began from the model.
      model: MODEL.
    """
    if not model or model.startswith(HUB) or is_remote(model):
        return False
    began: dict[str, RunConfig] = {}
    for workdir in workdirs:
        with suppress(CommandError, OSError, ValueError):
            for step in committed_steps(workdir)[-1:]:
                if digest := read_manifest(workdir, step).meta.get("init"):
                    began[digest] = load_json(workdir / "config.json")
    if not began:
        return False
    try:
        return fingerprint(load_initial(next(iter(began.values()))).params) not in began or len(began) > 1
    except CommandError:
        return False
