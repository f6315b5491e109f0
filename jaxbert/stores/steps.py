"""Lists the checkpoints of a workdir, and verifies their bytes. Imports no jax.

WORKDIR/checkpoints/STEP/ holds the files of one checkpoint (`jaxbert.stores.checkpoint` writes them) and manifest.json:
the size and the sha256 of every file, and the JSON state of the run (phase, next batch, skipped steps, best
evaluation). Orbax keeps no checksum of array data, so that a flipped byte would be restored silently: every restore
verifies the manifest first. A step without a manifest was interrupted while it was written, and does not count.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxbert.errors import Stopped
from jaxbert.inputs.values import Each, Maybe, Whole, checked, whole_number
from jaxbert.stores.storage import is_remote
from jaxbert.stores.workdir import CHECKPOINTS, storage_of

MANIFEST = "manifest.json"
# The best or the last evaluation of a run: the step, and figures by their names.
_EVALUATION = {"step": Whole(), "loss": Maybe(float)}
# What anything reads of a manifest. Runs of older versions did not write all of the state.
_SHAPE = {
    "step": Whole(),
    "files": Each((Whole(), str)),
    "meta": {
        "phase": Maybe(Whole()),
        "next_batch": Maybe(Whole()),
        "evaluated_phase": Maybe(Whole()),
        "validation_loss": Maybe(float),
        "rows": Maybe([[str]]),
        "teacher": Maybe(str),
        "init": Maybe(str),
        "best": Maybe(_EVALUATION),
        "last_evaluation": Maybe(_EVALUATION),
        "evaluations_since_best": Maybe(Whole()),
        "stopped_early": Maybe(bool),
    },
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manifest:
    """The record of one committed step.

    Attributes:
      step: number of training steps done.
      meta: JSON state of the run.
      files: size in bytes and sha256, by path below the step's directory.
    """

    step: int
    meta: Mapping[str, Any]
    files: Mapping[str, tuple[int, str]]


def checkpoints_place(workdir: Path) -> str:
    """Returns the absolute path, or the URL, of the directory that holds the checkpoints of a run."""
    place = storage_of(workdir).place
    return f"{place}/{CHECKPOINTS}" if is_remote(place) else str((workdir / CHECKPOINTS).absolute())


def committed_steps(workdir: Path) -> list[int]:
    """Returns the steps that have a manifest, in ascending order. It does not verify them."""
    kept = storage_of(workdir)
    steps = {name: whole_number(name) for name in kept.names(CHECKPOINTS)}
    # Orbax writes the number without zeros before it. A directory with another name is not ours.
    ours = {name: step for name, step in steps.items() if step is not None and name == str(step)}
    return sorted(step for name, step in ours.items() if MANIFEST in kept.names(f"{CHECKPOINTS}/{name}"))


def read_manifest(workdir: Path, step: int) -> Manifest:
    """Returns the manifest of a step.

    Raises:
      ValueError: the file is missing, or it is not a manifest.
    """
    kept, name = storage_of(workdir), f"{CHECKPOINTS}/{step}/{MANIFEST}"
    try:
        values = checked(kept.read(name), _SHAPE, nan=True)  # the loss of an evaluation may be NaN
    except (
        # Another error of the disk says nothing about the file: a run must not fall back to an older checkpoint for it.
        FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError,
    ) as error:  # fmt: skip
        raise ValueError(f"{kept.place}/{name}: unreadable manifest: {error}") from error
    files = {name: (size, digest) for name, (size, digest) in values["files"].items()}
    return Manifest(values["step"], values["meta"], files)


def write_manifest(workdir: Path, step: int, meta: Mapping[str, Any]) -> None:
    """Writes manifest.json over all files of a step: from then on the step counts.

    It reads the files again, from a bucket too, so that the manifest describes the bytes that have arrived.
    """
    kept, directory = storage_of(workdir), f"{CHECKPOINTS}/{step}"
    files = {
        name: [size, kept.sha256(f"{directory}/{name}")]
        for name, size in kept.files(directory).items()
        if name.rpartition("/")[2] != MANIFEST
    }
    content = json.dumps({"step": step, "meta": meta, "files": files}, indent=1)
    kept.write(f"{directory}/{MANIFEST}", content.encode())


def damage(workdir: Path, step: int) -> str | None:
    """Returns a description of the damage of a committed step, or None if every size and checksum agrees."""
    kept, directory = storage_of(workdir), f"{CHECKPOINTS}/{step}"
    try:
        manifest = read_manifest(workdir, step)
    except ValueError as error:
        return str(error)
    sizes = kept.files(directory)
    for name, (size, digest) in manifest.files.items():
        path = f"{checkpoints_place(workdir)}/{step}/{name}"
        if name not in sizes:
            return f"{path} is missing"
        if sizes[name] != size:
            return f"{path} has {sizes[name]} bytes, but the run wrote {size}"
        if kept.sha256(f"{directory}/{name}") != digest:
            return f"{path} has other bytes than the run wrote (sha256)"
    return None


def latest_good(workdir: Path) -> int | None:
    """Returns the newest step whose checksums all agree, or None if no step was ever committed.

    It logs a warning for each damaged step that it passes over.

    Raises:
      Stopped: steps were committed, and all of them are damaged.
    """
    steps = committed_steps(workdir)
    found = []
    for step in reversed(steps):
        wrong = damage(workdir, step)
        if wrong is None:
            return step
        found.append(wrong)
        _log.warning("checkpoint %d is damaged: %s; trying the one before it", step, wrong)
    if steps:
        raise Stopped(
            f"no good checkpoint is left: {found[0]}",
            where=checkpoints_place(workdir),
            fix="Restore the directory from a copy, or start again with --overwrite.",
            code="E-CHECKPOINT-DAMAGED",
        )
    return None


def best_step(workdir: Path) -> int | None:
    """Returns the committed step with the lowest validation loss in the last phase that was evaluated, or None.

    Losses of different phases are not compared, because each phase has other rows.
    """
    found = []
    for step in committed_steps(workdir):
        try:
            meta = read_manifest(workdir, step).meta
        except ValueError:
            continue
        if meta.get("validation_loss") is not None and math.isfinite(meta["validation_loss"]):
            found.append((-(meta.get("evaluated_phase") or 0), meta["validation_loss"], step))
    return min(found)[2] if found else None


def default_step(workdir: Path) -> int | None:
    """Returns the step that a workdir stands for: the best one, else the newest good one, or None without any."""
    step = best_step(workdir)
    return latest_good(workdir) if step is None or damage(workdir, step) is not None else step


def prune(workdir: Path, *, keep: int, keep_best: bool) -> list[int]:
    """Removes all committed steps but the newest `keep`, and but the best one if `keep_best`; returns those removed."""
    kept, steps = storage_of(workdir), committed_steps(workdir)
    stay = set(steps[-keep:]) if keep else set()
    best = best_step(workdir) if keep_best else None
    removed = [step for step in steps if step not in stay and step != best]
    for step in removed:
        # The manifest goes first: a removal that is interrupted leaves a step that does not count.
        kept.remove(f"{CHECKPOINTS}/{step}/{MANIFEST}")
        kept.remove(f"{CHECKPOINTS}/{step}")
    return removed
