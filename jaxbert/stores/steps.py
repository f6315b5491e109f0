"""Lists the checkpoints of a workdir, and verifies their bytes. Imports no jax.

WORKDIR/checkpoints/STEP/ holds the files of one checkpoint (`jaxbert.stores.checkpoint` writes them) and manifest.json:
the size and the sha256 of every file, the JSON state of the run (phase, next batch, skipped steps, best evaluation),
and the sha256 of all this. Orbax keeps no checksum of array data, so that a flipped byte would be restored silently:
every restore verifies the manifest first. A step without a manifest was interrupted while it was written, and does not
count. The manifests of earlier versions have no sha256 of themselves, and are read without it.

A step is undamaged if all checksums agree. It is good if it is undamaged and sane: the loss of its parameters was
finite and below a limit (`jaxbert.run.guard`). A run continues from the newest undamaged step, whatever its loss, so
that it gives the same bits as without the interruption. A model that is used is the best step or the newest good one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxbert.errors import InputError, Stopped
from jaxbert.inputs.values import Each, Maybe, Whole, checked, parse, whole_number
from jaxbert.stores.storage import is_remote
from jaxbert.stores.workdir import CHECKPOINTS, storage_of

MANIFEST = "manifest.json"
_NUMBER = Maybe(float)
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
        "rank": Maybe(float),
        "rows": Maybe([[str]]),
        "teacher": Maybe(str),
        "init": Maybe(str),
        "best": Maybe(_EVALUATION),
        "last_evaluation": Maybe(_EVALUATION),
        "evaluations_since_best": Maybe(Whole()),
        "stopped_early": Maybe(bool),
        "sane": Maybe(bool),
        "guard": Maybe({"first": _NUMBER, "lowest": _NUMBER, "recent": [float], "in_a_row": Whole()}),
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

    @property
    def sane(self) -> bool:
        """Returns whether the loss was sane. Manifests of earlier versions do not say, and count as sane."""
        return self.meta.get("sane") is not False


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
        values = checked(kept.read(name), _SHAPE, nan=True)  # the loss of an evaluation was NaN in earlier versions
        digest = values.pop("sha256", None)
        if values.keys() != {"step", "meta", "files"} or values["step"] != step:
            raise ValueError("it has other keys than a manifest, or another step")
        if digest is not None and digest != _digest(values):
            raise ValueError("its sha256 differs from its content")
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
        name: (size, kept.sha256(f"{directory}/{name}"))
        for name, size in kept.files(directory).items()
        if name.rpartition("/")[2] != MANIFEST
    }
    _write(workdir, Manifest(step, meta, files))


def disown(workdir: Path, step: int) -> None:
    """Notes in the manifest of a step that its loss is not sane; does nothing where there is no such manifest."""
    with suppress(ValueError):
        manifest = read_manifest(workdir, step)
        _write(workdir, replace(manifest, meta={**manifest.meta, "sane": False}))


def _write(workdir: Path, manifest: Manifest) -> None:
    files = {name: list(entry) for name, entry in manifest.files.items()}
    # As they are read again: JSON has neither tuples nor keys that are not strings.
    values = parse(json.dumps({"step": manifest.step, "meta": dict(manifest.meta), "files": files}), strict=False)
    content = json.dumps({**values, "sha256": _digest(values)}, indent=1)
    storage_of(workdir).write(f"{CHECKPOINTS}/{manifest.step}/{MANIFEST}", content.encode())


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


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


def check_whole(workdir: Path, step: int) -> None:
    """Raises Stopped where the checkpoint of a step is damaged."""
    wrong = damage(workdir, step)
    if wrong is not None:
        raise Stopped(
            f"checkpoint {step} is damaged: {wrong}",
            where=str(workdir),
            fix="Name another step.",
            code="E-CHECKPOINT-DAMAGED",
        )


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


def sane_steps(workdir: Path) -> list[int]:
    """Returns the committed steps whose loss was sane, in ascending order. It does not verify their bytes."""
    found = []
    for step in committed_steps(workdir):
        with suppress(ValueError):
            if read_manifest(workdir, step).sane:
                found.append(step)
    return found


def _readable(workdir: Path, step: int) -> bool:
    try:
        read_manifest(workdir, step)
    except ValueError:
        return False
    return True


def best_step(workdir: Path) -> int | None:
    """Returns the sane step of the best evaluation in the last phase that was evaluated, or None.

    The best one has the lowest `rank`, which is the validation loss, or the negative of a metric of which more is
    better. Evaluations of different phases are not compared, because each phase has other rows.
    """
    found = []
    for step in sane_steps(workdir):
        meta = read_manifest(workdir, step).meta
        # Runs of older versions wrote only the loss.
        rank = meta.get("rank", meta.get("validation_loss"))
        if rank is not None and math.isfinite(rank):
            found.append((-(meta.get("evaluated_phase") or 0), rank, step))
    return min(found)[2] if found else None


def default_step(workdir: Path) -> int | None:
    """Returns the step that a workdir stands for: the best one, else the newest good one, or None without any.

    It logs a warning where the best step is damaged, or a newer step than the result is damaged or not sane. A step
    whose manifest cannot be read may be the best one, so the warning names it too.

    Raises:
      InputError: no step is sane.
      Stopped: every step that may be sane is damaged.
    """
    steps, sane = committed_steps(workdir), sane_steps(workdir)
    best = best_step(workdir)
    passed: list[str] = []
    unread = [step for step in reversed(steps) if not _readable(workdir, step)]
    for step in dict.fromkeys([*unread, *([best] if best is not None else []), *reversed(steps)]):
        wrong = damage(workdir, step)
        if wrong is None and step in sane:
            for line in passed:
                _log.warning("%s; using checkpoint %d", line, step)
            return step
        which = f"checkpoint {step}" + (", which has the lowest validation loss," if step == best else "")
        passed.append(f"{which} is damaged: {wrong}" if wrong else f"{which} has a loss that is not sane")
    if not steps:
        return None
    if not sane and not unread:
        raise InputError(
            "the run has diverged: no checkpoint that is left has a sane loss",
            where=checkpoints_place(workdir),
            fix="Train with a lower rate. To use a checkpoint all the same, name it: WORKDIR/checkpoints/STEP.",
            code="E-CHECKPOINT-DIVERGED",
        )
    raise Stopped(
        f"no good checkpoint is left: {passed[0]}",
        where=checkpoints_place(workdir),
        fix="Restore the directory from a copy, or name another step.",
        code="E-CHECKPOINT-DAMAGED",
    )


def staying(workdir: Path, *, keep: int, keep_best: bool) -> list[int]:
    """Returns the steps that `prune` leaves, in ascending order.

    These are the newest `keep`, so that a run continues; the newest `keep` that are sane, so that a run that diverges
    does not lose all that it has learned; and with `keep_best` the best one.
    """
    steps = committed_steps(workdir)
    stay = set(steps[-keep:] + sane_steps(workdir)[-keep:]) if keep else set()
    best = best_step(workdir) if keep_best else None
    return [step for step in steps if step in stay or step == best]


def prune(workdir: Path, *, keep: int, keep_best: bool) -> list[int]:
    """Removes all committed steps but those of `staying`, and returns those removed.

    It finishes a removal that was interrupted, too: a step without a manifest that is older than a good one. A run that
    is going on continued from the newest good step, so that every step that it is writing now is newer.
    """
    kept, stay = storage_of(workdir), staying(workdir, keep=keep, keep_best=keep_best)
    committed = committed_steps(workdir)
    cut = [name for name in kept.names(CHECKPOINTS) if name.isdecimal() and whole_number(name) not in committed]
    # The files are verified only where something was cut.
    good = next((step for step in reversed(sane_steps(workdir)) if not damage(workdir, step)), 0) if cut else 0
    for name in cut:
        step = whole_number(name)
        if step is not None and name == str(step) and step < good:
            kept.remove(f"{CHECKPOINTS}/{name}")
    removed = [step for step in committed if step not in stay]
    for step in removed:
        # The manifest goes first: a removal that is interrupted leaves a step that does not count.
        kept.remove(f"{CHECKPOINTS}/{step}/{MANIFEST}")
        kept.remove(f"{CHECKPOINTS}/{step}")
    return removed
