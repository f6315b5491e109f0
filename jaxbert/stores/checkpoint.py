"""Checkpoints: Orbax v1, asynchronous, with a manifest of checksums; this is the only file that knows Orbax.

WORKDIR/checkpoints/STEP/ holds what Orbax wrote (params, opt_state, progress) and manifest.json: size and sha256 of
every file, and the run's JSON state (phase, next batch, skipped steps, best evaluation). Orbax has no checksum on array
data, so a flipped byte would restore silently: every restore verifies the manifest first. A step without a manifest was
interrupted on its way and does not count; a damaged step is named and the one before it used.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from orbax.checkpoint import v1 as ocp

from jaxbert.core.parameters import Params
from jaxbert.errors import CommandError, InputError, Interrupted, Stopped
from jaxbert.models.model import Model
from jaxbert.stores.storage import is_remote
from jaxbert.stores.workdir import CHECKPOINTS, storage_of

MANIFEST = "manifest.json"
Note = Callable[[str], None]


@dataclass(frozen=True)
class Manifest:
    """What was committed at a step.

    Attributes:
      step: number of steps done.
      meta: JSON state of the run.
      files: size in bytes and sha256 by path below the step's directory.
    """

    step: int
    meta: Mapping[str, Any]
    files: Mapping[str, tuple[int, str]]


def checkpoints_of(workdir: Path) -> Any:
    """The directory of a run's checkpoints: a Path, or for a bucket what Orbax takes in its place (etils' epath)."""
    place = storage_of(workdir).place
    if is_remote(place):
        from etils import epath

        return epath.Path(place) / CHECKPOINTS
    return (workdir / CHECKPOINTS).absolute()


def committed_steps(workdir: Path) -> list[int]:
    """Steps with a manifest, ascending; not verified."""
    kept = storage_of(workdir)
    steps = [name for name in kept.names(CHECKPOINTS) if name.isdigit()]
    return sorted(int(name) for name in steps if MANIFEST in kept.names(f"{CHECKPOINTS}/{name}"))


def read_manifest(workdir: Path, step: int) -> Manifest:
    """The manifest of a step.

    Raises:
      ValueError: it is not readable as one.
    """
    kept, name = storage_of(workdir), f"{CHECKPOINTS}/{step}/{MANIFEST}"
    try:
        values = json.loads(kept.read(name))
        files = {name: (int(size), str(digest)) for name, (size, digest) in values["files"].items()}
        return Manifest(int(values["step"]), values["meta"], files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{kept.place}/{name}: unreadable manifest: {error}") from error


def damage(workdir: Path, step: int) -> str | None:
    """What is wrong with a committed step, naming the file; None if every size and checksum agrees."""
    kept, directory = storage_of(workdir), f"{CHECKPOINTS}/{step}"
    try:
        manifest = read_manifest(workdir, step)
    except ValueError as error:
        return str(error)
    sizes = kept.files(directory)
    for name, (size, digest) in manifest.files.items():
        path = f"{checkpoints_of(workdir)}/{step}/{name}"
        if name not in sizes:
            return f"{path} is missing"
        if sizes[name] != size:
            return f"{path} has {sizes[name]} bytes, {size} were written"
        if kept.sha256(f"{directory}/{name}") != digest:
            return f"{path} is not what was written (sha256)"
    return None


def latest_good(workdir: Path, note: Note = lambda line: None) -> int | None:
    """The newest step whose every checksum agrees; None if none was ever committed.

    Args:
      workdir: of the run.
      note: is told of each damaged step, by name.

    Raises:
      Stopped: steps were committed, and all are damaged.
    """
    steps = committed_steps(workdir)
    found = []
    for step in reversed(steps):
        wrong = damage(workdir, step)
        if wrong is None:
            return step
        found.append(wrong)
        note(f"checkpoint {step} is damaged: {wrong}; trying the one before it")
    if steps:
        raise Stopped(
            f"no good checkpoint is left: {found[0]}",
            where=str(checkpoints_of(workdir)),
            fix="Restore the directory from a copy, or start again with --overwrite.",
        )
    return None


def best_step(workdir: Path) -> int | None:
    """The committed step with the lowest validation loss in the last phase that was evaluated; None without any.

    Phases have rows of their own, so that their losses do not compare.
    """
    found = []
    for step in committed_steps(workdir):
        try:
            meta = read_manifest(workdir, step).meta
        except ValueError:
            continue
        if meta.get("validation_loss") is not None and math.isfinite(meta["validation_loss"]):
            found.append((-meta.get("evaluated_phase", 0), meta["validation_loss"], step))
    return min(found)[2] if found else None


def default_step(workdir: Path) -> int | None:
    """The step that a workdir stands for: the best by validation loss, or the newest good one; None without any."""
    step = best_step(workdir)
    return latest_good(workdir) if step is None or damage(workdir, step) is not None else step


def load_params(workdir: Path, step: int | None, model: Model, mesh: Mesh) -> Params:
    """The parameters of a committed step, verified, laid out on `mesh` in the model's layout.

    Args:
      workdir: of the run.
      step: None takes `default_step`.
      model: encoder and heads, as the run's config describes them.
      mesh: any mesh.

    Raises:
      InputError: there is no such checkpoint.
      Stopped: it is damaged.
    """
    if step is None:
        step = default_step(workdir)
    if step is None or step not in committed_steps(workdir):
        raise InputError(
            "the run has no checkpoint yet" if step is None else f"there is no checkpoint {step}",
            where=str(checkpoints_of(workdir)),
            fix=f"It has: {', '.join(map(str, committed_steps(workdir))) or 'none'}.",
        )
    wrong = damage(workdir, step)
    if wrong is not None:
        raise Stopped(f"checkpoint {step} is damaged: {wrong}", where=str(workdir), fix="Name another step.")
    with jax.set_mesh(mesh):
        abstract = jax.eval_shape(jax.jit(model.init), jax.random.key(0))
    return _restore(workdir, step, {"params": _placed(mesh, abstract)})["params"]


def restore(workdir: Path, step: int, abstract: Mapping[str, Any]) -> dict[str, Any]:
    """The state of step `step` in the shapes and places of `abstract`, on any mesh and any number of processes.

    Args:
      workdir: of the run.
      step: verified (`latest_good`).
      abstract: state of `jaxbert.training.step.build`: ShapeDtypeStructs with shardings.
    """
    return _from_parts(_restore(workdir, step, _to_parts(abstract)), abstract)


class Checkpoints:
    """Writes checkpoints of one run, one at a time, without holding up the training thread.

    Args:
      workdir: of the run.
      keep: so many of the newest stay.
      keep_best: so does the best one.
      before_commit: called in process 0 before a step counts; what it raises makes it not count.
    """

    def __init__(self, workdir: Path, *, keep: int, keep_best: bool, before_commit: Callable[[], None] = lambda: None):
        self._workdir, self._keep, self._keep_best = workdir, keep, keep_best
        self._before_commit = before_commit
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        # Errors reach us as exceptions; Orbax's threads would print each of them too, with its traceback.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        if not is_remote(storage_of(workdir).place):
            checkpoints_of(workdir).mkdir(parents=True, exist_ok=True)
        if jax.process_index() == 0:
            _remove_uncommitted(workdir)

    def save(self, step: int, state: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Begins to write `state` and returns once it is copied; waits for the save before it.

        Raises:
          Interrupted: the disk is full (this save or the one before it); earlier steps are untouched.
        """
        self.wait()
        directory = checkpoints_of(self._workdir) / str(step)
        if jax.process_index() == 0:
            # Of this number there may be one that was interrupted, or a damaged one that the run went back behind.
            kept = storage_of(self._workdir)
            for name in kept.names(CHECKPOINTS):
                if name == str(step) or name.startswith(f"{step}.orbax-checkpoint-tmp"):
                    kept.remove(f"{CHECKPOINTS}/{name}")
        try:
            response = ocp.save_checkpointables_async(directory, _to_parts(state))
        except Exception as error:
            raise _translated(error, directory) from error
        self._thread = threading.Thread(
            target=self._finish, args=(response, step, dict(meta)), name=f"checkpoint-{step}"
        )
        self._thread.start()

    def wait(self) -> None:
        """Returns when the last save is committed, with its manifest.

        Raises:
          Interrupted: the disk is full.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise _translated(error, checkpoints_of(self._workdir)) from error

    def _finish(self, response: Any, step: int, meta: Mapping[str, Any]) -> None:
        """In the background: waits for the commit, writes the manifest, removes what need not stay."""
        try:
            response.result()
            if jax.process_index() == 0:
                self._before_commit()
                write_manifest(self._workdir, step, meta)
        except BaseException as error:
            self._error = error
            # Where the workdir has become another's, what lies there is too.
            if jax.process_index() == 0 and not isinstance(error, Stopped):
                with suppress(CommandError, OSError):
                    _remove_uncommitted(self._workdir)
            return
        if jax.process_index() == 0:
            # What cannot be removed now is tried again after the next save; the run goes on.
            with suppress(CommandError, OSError):
                prune(self._workdir, keep=self._keep, keep_best=self._keep_best)


def write_manifest(workdir: Path, step: int, meta: Mapping[str, Any]) -> None:
    """Writes manifest.json over every file of a committed step: from then on the step counts.

    The files are read again for it, from the bucket too: what is there is what was meant to be.
    """
    kept, directory = storage_of(workdir), f"{CHECKPOINTS}/{step}"
    files = {
        name: [size, kept.sha256(f"{directory}/{name}")]
        for name, size in kept.files(directory).items()
        if name.rpartition("/")[2] != MANIFEST
    }
    content = json.dumps({"step": step, "meta": meta, "files": files}, indent=1)
    kept.write(f"{directory}/{MANIFEST}", content.encode())


def prune(workdir: Path, *, keep: int, keep_best: bool) -> list[int]:
    """Removes all committed steps but the newest `keep`, and the best if asked; returns those removed."""
    kept, steps = storage_of(workdir), committed_steps(workdir)
    stay = set(steps[-keep:]) if keep else set()
    best = best_step(workdir) if keep_best else None
    removed = [step for step in steps if step not in stay and step != best]
    for step in removed:
        # First the manifest: a removal that is cut short leaves a step that does not count.
        kept.remove(f"{CHECKPOINTS}/{step}/{MANIFEST}")
        kept.remove(f"{CHECKPOINTS}/{step}")
    return removed


def _remove_uncommitted(workdir: Path) -> None:
    """Removes what an interrupted save or removal left: steps without a manifest, Orbax's temporary directories."""
    kept = storage_of(workdir)
    for name in kept.names(CHECKPOINTS):
        unfinished = name.isdigit() and MANIFEST not in kept.names(f"{CHECKPOINTS}/{name}")
        if unfinished or ".orbax-checkpoint-tmp" in name:
            kept.remove(f"{CHECKPOINTS}/{name}")


def _to_parts(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state as three checkpointables of plain nested dicts, so that parameters can be read alone."""
    progress = {"step": state["step"], "skipped": state["skipped"]}
    return {"params": state["params"], "opt_state": _nested(state["opt_state"]), "progress": progress}


def _from_parts(parts: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    leaves = [_at(parts["opt_state"], path) for path, _ in jax.tree_util.tree_flatten_with_path(like["opt_state"])[0]]
    opt_state = jax.tree.unflatten(jax.tree.structure(like["opt_state"]), leaves)
    return {"params": parts["params"], "opt_state": opt_state, **parts["progress"]}


def _nested(tree: Any) -> dict[str, Any]:
    """A tree of optax's named tuples as a nested dict, keyed by field name or position."""
    nested: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        *inner, last = _keys(path)
        place = nested
        for key in inner:
            place = place.setdefault(key, {})
        place[last] = leaf
    return nested


def _at(nested: Any, path: tuple[Any, ...]) -> Any:
    for key in _keys(path):
        nested = nested[key]
    return nested


def _keys(path: tuple[Any, ...]) -> list[str]:
    return [str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in path]


def _restore(workdir: Path, step: int, abstract: dict[str, Any]) -> dict[str, Any]:
    directory = checkpoints_of(workdir) / str(step)
    try:
        return ocp.load_checkpointables(directory, abstract)
    except (ValueError, KeyError) as error:
        raise InputError(
            f"checkpoint {step} is of another model: {str(error).splitlines()[0]}",
            where=str(directory),
            fix="Use the config that it was written with.",
        ) from error


def _placed(mesh: Mesh, tree: Any) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=jax.NamedSharding(mesh, x.sharding.spec)), tree
    )


def _translated(error: BaseException, where: Path) -> BaseException:
    """Interrupted for a full disk; any other error as it is."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    words = ("no space left", "disk quota exceeded", "enospc")
    if full or any(word in str(error).lower() for word in words):
        return Interrupted(
            "the disk is full; the checkpoints before this one are whole",
            where=str(where),
            fix="Make room and repeat the same command: it continues from the last checkpoint.",
        )
    return error
