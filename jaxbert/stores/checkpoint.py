"""Checkpoints: asynchronous writing and restoring with Orbax v1. This is the only file that knows Orbax.

A checkpoint has three parts, params, opt_state and progress, so that the parameters can be read alone. The manifest of
a checkpoint, and the functions that find and verify checkpoints, are in `jaxbert.stores.steps`.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import jax
from jax.sharding import Mesh
from orbax.checkpoint import v1 as ocp

from jaxbert.core.parameters import Params
from jaxbert.core.shapes import shapes_of
from jaxbert.errors import CommandError, InputError, Interrupted, Stopped
from jaxbert.inputs.files import disk_failed, disk_fails
from jaxbert.stores.files import causes, disk_full, disk_is_full
from jaxbert.stores.s3 import teach_orbax
from jaxbert.stores.schemes import scheme_of
from jaxbert.stores.steps import (
    MANIFEST,
    check_whole,
    checkpoints_place,
    committed_steps,
    default_step,
    disown,
    prune,
    write_manifest,
)
from jaxbert.stores.storage import is_remote
from jaxbert.stores.workdir import CHECKPOINTS, check_place, name_of, storage_of

# The shapes of a part's arrays, by path.
_Shapes = dict[str, tuple[int, ...]]


class Initialises(Protocol):
    """A model, as far as this module needs one: it has parameters of known shapes and places."""

    def init(self, key: jax.Array) -> Params:
        """Returns parameters drawn with `key`."""


def checkpoints_of(workdir: Path) -> Any:
    """Returns the directory of a run's checkpoints: a Path, or an epath.Path of etils if it is in a bucket."""
    place = checkpoints_place(workdir)
    if is_remote(place):
        from etils import epath

        if scheme_of(place) == "s3":
            teach_orbax()
        return epath.Path(place)
    # TensorStore takes `..` away without a look at links.
    return Path(os.path.realpath(place))


def load_params(workdir: Path, step: int | None, model: Initialises, mesh: Mesh) -> Params:
    """Verifies a committed step and returns its parameters, on `mesh` in the layout of the model.

    Args:
      workdir: the workdir of the run.
      step: None takes `default_step`.
      model: the encoder and heads that the run's config describes.
      mesh: any mesh.

    Raises:
      InputError: there is no such checkpoint.
      Stopped: it is damaged.
    """
    if step is None:
        step = default_step(workdir)
    if step is None:
        raise InputError(
            "the run has no checkpoint yet",
            where=str(checkpoints_of(workdir)),
            fix="Let it reach its first checkpoint, or name another model.",
            code="E-CHECKPOINT-NONE",
        )
    if step not in committed_steps(workdir):
        raise InputError(
            f"there is no checkpoint {step}",
            where=str(checkpoints_of(workdir)),
            fix=f"It has: {', '.join(map(str, committed_steps(workdir))) or 'none'}.",
            code="E-CHECKPOINT-MISSING",
        )
    check_whole(workdir, step)
    with jax.set_mesh(mesh):
        abstract = shapes_of(model.init)
    return _restore(workdir, step, {"params": _placed(mesh, abstract)})["params"]


def restore(workdir: Path, step: int, abstract: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the state of step `step` in the shapes and places of `abstract`.

    Any mesh and any number of processes can restore a step, whatever wrote it.

    Args:
      workdir: the workdir of the run.
      step: a step that `latest_good` has verified.
      abstract: the state that `jaxbert.training.step.build` describes: ShapeDtypeStructs with shardings.
    """
    return _from_parts(_restore(workdir, step, _to_parts(abstract)), abstract)


class Checkpoints:
    """Writes the checkpoints of one run, one at a time, while the training thread goes on.

    Args:
      workdir: the workdir of the run.
      keep: the number of newest steps that stay.
      keep_best: whether the best step stays too.
      before_commit: process 0 calls it before a step counts. If it raises, the step does not count.
    """

    def __init__(self, workdir: Path, *, keep: int, keep_best: bool, before_commit: Callable[[], None] = lambda: None):
        self._workdir, self._keep, self._keep_best = workdir, keep, keep_best
        self._before_commit = before_commit
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        # The step that is being saved, and the steps whose loss turned out not to be sane meanwhile.
        self._saving: int | None = None
        self._disowned: set[int] = set()
        self._lock = threading.Lock()
        # Errors reach us as exceptions. Orbax's threads would also print each of them with its traceback.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        if not is_remote(storage_of(workdir).place):
            checkpoints_of(workdir).mkdir(parents=True, exist_ok=True)
        if jax.process_index() == 0:
            _remove_uncommitted(workdir)

    def save(self, step: int, state: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Begins to write `state` and returns once `state` is copied. It waits for the save before it.

        Raises:
          Interrupted: the disk is full (in this save or the one before it); earlier steps are untouched.
        """
        self.wait()
        directory = checkpoints_of(self._workdir) / str(step)
        if jax.process_index() == 0:
            # An interrupted save may have left files of this step, or the run went back to a step before a damaged
            # checkpoint.
            kept = storage_of(self._workdir)
            for name in kept.names(CHECKPOINTS):
                if name == str(step) or name.startswith(f"{step}.orbax-checkpoint-tmp"):
                    kept.remove(f"{CHECKPOINTS}/{name}")
        try:
            response = ocp.save_checkpointables_async(directory, _to_parts(state))
        except Exception as error:
            raise _translated(error, directory) from error
        self._saving = step
        shapes = {name: _shapes(tree) for name, tree in _to_parts(state).items()}
        self._thread = threading.Thread(
            target=self._finish, args=(response, step, dict(meta), shapes), name=f"checkpoint-{step}"
        )
        self._thread.start()

    def disown(self, step: int) -> None:
        """Notes that the loss of the parameters after `step` is not sane, whether the step is saved or being saved."""
        if jax.process_index() != 0:
            return
        with self._lock:
            self._disowned.add(step)
            if step != self._saving:
                # Where the disk fails, the next save says so.
                with suppress(CommandError, OSError):
                    disown(self._workdir, step)

    def wait(self) -> None:
        """Returns when the last save is committed and has its manifest.

        Raises:
          Interrupted: the disk is full.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise _translated(error, checkpoints_of(self._workdir)) from error

    def _finish(self, response: Any, step: int, meta: Mapping[str, Any], shapes: Mapping[str, _Shapes]) -> None:
        """Waits for the commit, writes the manifest and removes old steps; runs in a thread."""
        try:
            response.result()
            if jax.process_index() == 0:
                _read_back(checkpoints_of(self._workdir) / str(step), shapes)
                self._before_commit()
                with self._lock:
                    sane = {"sane": False} if step in self._disowned else {}
                    write_manifest(self._workdir, step, {**meta, **sane})
                    self._saving = None
        except BaseException as error:
            self._error = error
            # `Stopped` says that another process owns the workdir now: its files are not ours to remove.
            if jax.process_index() == 0 and not isinstance(error, Stopped):
                with suppress(CommandError, OSError):
                    _remove_uncommitted(self._workdir)
            return
        if jax.process_index() == 0:
            # The next save tries again to remove the rest; the run goes on.
            with suppress(CommandError, OSError):
                prune(self._workdir, keep=self._keep, keep_best=self._keep_best)


def _remove_uncommitted(workdir: Path) -> None:
    """Removes steps without a manifest and Orbax's temporary directories, which an interrupted save or removal left."""
    kept = storage_of(workdir)
    for name in kept.names(CHECKPOINTS):
        unfinished = name.isdigit() and MANIFEST not in kept.names(f"{CHECKPOINTS}/{name}")
        if unfinished or ".orbax-checkpoint-tmp" in name:
            kept.remove(f"{CHECKPOINTS}/{name}")


def _to_parts(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the state as three checkpointables of plain nested dicts."""
    progress = {"step": state["step"], "skipped": state["skipped"]}
    return {"params": state["params"], "opt_state": _nested(state["opt_state"]), "progress": progress}


def _from_parts(parts: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    leaves = [_at(parts["opt_state"], path) for path, _ in jax.tree_util.tree_flatten_with_path(like["opt_state"])[0]]
    opt_state = jax.tree.unflatten(jax.tree.structure(like["opt_state"]), leaves)
    return {"params": parts["params"], "opt_state": opt_state, **parts["progress"]}


def _nested(tree: Any) -> dict[str, Any]:
    """Returns a tree of optax's named tuples as a nested dict, whose keys are field names or positions."""
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
    check_place(name_of(workdir), writes=False)
    directory = checkpoints_of(workdir) / str(step)
    try:
        return ocp.load_checkpointables(directory, abstract)
    except (ValueError, KeyError) as error:
        # Orbax reports another tree, other shapes, its own mistakes, and whatever interrupted it in the same classes.
        for cause in causes(error):
            if isinstance(cause, (CommandError, KeyboardInterrupt)):
                raise cause from error
            if isinstance(cause, Exception) and disk_fails(cause):
                raise disk_failed(cause, directory) from error
        other = _difference(directory, abstract)
        if other is None:
            raise
        raise InputError(
            f"checkpoint {step} belongs to another model: {other}",
            where=str(directory),
            fix="Use the config that the checkpoint was written with.",
            code="E-CHECKPOINT-MODEL",
        ) from error


def _difference(directory: Any, abstract: Mapping[str, Any]) -> str | None:
    """Returns how the arrays of a checkpoint differ from `abstract` in name or shape; None if they agree."""
    there = _kept_shapes(directory)
    if there is None:
        return None  # The metadata cannot be read, so they do not tell of another model.
    for name, tree in abstract.items():
        wanted = _shapes(tree)
        kept = there.get(name, {})
        for path in sorted({*wanted, *kept}):
            if wanted.get(path) != kept.get(path):
                return f"{name}/{path} is {kept.get(path, 'missing')}, but {wanted.get(path, 'nothing')} is needed"
    return None


def _kept_shapes(directory: Any) -> dict[str, _Shapes] | None:
    """Returns the shapes of all arrays of a checkpoint, by part; None if one of the parts cannot be opened."""
    try:
        found = ocp.checkpointables_metadata(directory).metadata
        # Orbax opens every array. It gives None for a part in which that fails.
        return None if None in found.values() else {name: _shapes(tree) for name, tree in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return None


def _read_back(directory: Any, shapes: Mapping[str, _Shapes]) -> None:
    """Checks that every array of a checkpoint that was just written can be opened. The manifest has the bytes' hashes.

    Raises:
      Stopped: an array cannot be opened, or it has another shape.
    """
    if _kept_shapes(directory) != shapes:
        raise Stopped(
            "the checkpoint was written, but it cannot be read back, so it does not count",
            where=str(directory),
            fix="The checkpoints before this one are untouched. Choose a --workdir on another disk.",
            code="E-CHECKPOINT-UNREADABLE",
        )


def _shapes(tree: Any) -> _Shapes:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(_keys(path)): tuple(leaf.shape) for path, leaf in leaves}


def _placed(mesh: Mesh, tree: Any) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=jax.NamedSharding(mesh, x.sharding.spec)), tree
    )


def _translated(error: BaseException, where: Path) -> BaseException:
    """Returns Interrupted for a disk that is full or fails, and any other error as it is."""
    whole = "; the checkpoints before this one are whole"
    if disk_is_full(error):
        fix = "Make room and repeat the same command: it continues from the last checkpoint."
        return disk_full(where, fix, whole)
    for cause in causes(error):
        if isinstance(cause, CommandError):
            return error
        # Nothing is read here but what was just written, so the words of a ValueError are those of the system. Linux
        # mounts a disk that fails read-only.
        read_only = isinstance(cause, OSError) and cause.errno == errno.EROFS
        if read_only or disk_fails(RuntimeError(str(cause)) if isinstance(cause, ValueError) else cause):
            return Interrupted(
                f"the disk or the mount failed while a checkpoint was written{whole}: "
                f"{getattr(cause, 'strerror', None) or ' '.join(str(cause).split())[-200:]}",
                where=str(where),
                fix="Look at the disk or the mount. The same command continues from the last checkpoint.",
                code="E-DISK-WRITE",
            )
    return error
