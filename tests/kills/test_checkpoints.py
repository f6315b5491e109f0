"""Checkpoints on paths that libraries read as patterns, and checkpoints that cannot be read back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from jaxbert.launch.local import launch_locally

from jaxbert.config import find_config
from jaxbert.errors import InputError, Interrupted, Stopped
from jaxbert.run.hold import check_workdir
from jaxbert.stores import checkpoint, steps
from jaxbert.stores.checkpoint import Checkpoints, restore
from jaxbert.stores.workdir import check_place

STATE = {
    "params": {"a": np.arange(3, dtype=np.float32), "b": {"c": np.ones((2, 5), np.float32)}},
    "opt_state": {"mu": np.zeros((2, 5), np.float32)},
    "step": np.int32([7]),
    "skipped": np.int32([0]),
}


def state() -> dict:
    return jax.tree.map(jax.numpy.asarray, STATE)


def saved(workdir: Path) -> Path:
    """Writes checkpoint 7 in a workdir, and returns its directory."""
    checkpoints = Checkpoints(workdir, keep=3, keep_best=True)
    checkpoints.save(7, state(), {})
    checkpoints.wait()
    return workdir / "checkpoints" / "7"


def read(workdir: Path) -> None:
    """Restores checkpoint 7, and compares every array."""
    found = restore(workdir, 7, state())
    jax.tree.map(np.testing.assert_array_equal, found, STATE)


REFUSED = ["a[b]c", "[", "a]", "a*", "a?b", "a\\b", os.fsdecode(b"a\xff")]


@pytest.mark.parametrize("name", REFUSED)
def test_a_path_that_libraries_misread_is_refused_before_anything_is_written(tmp_path, name):
    workdir = tmp_path / name / "run"
    with pytest.raises(InputError, match="E-WORKDIR-PATH"):
        check_workdir(find_config("smoke"), workdir, False)
    # Also where only a link leads there.
    (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / name)
    with pytest.raises(InputError, match="E-WORKDIR-PATH"):
        check_workdir(find_config("smoke"), tmp_path / "link" / "run", True)
    assert list((tmp_path / name).iterdir()) == []


def test_a_launch_is_refused_too(tmp_path):
    from argparse import Namespace

    options = Namespace(topology=None, grace=1.0, restarts=0, workdir=f"{tmp_path}/a[b]", processes=1, devices=None)
    with pytest.raises(InputError, match="E-WORKDIR-PATH"):
        launch_locally(options, ["smoke", "--workdir", options.workdir])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["gs://bucket/a[b]", "gs://bucket/a*/run"])
def test_the_name_of_a_bucket_is_checked_as_it_is(url):
    with pytest.raises(InputError, match="E-WORKDIR-PATH"):
        check_place(url, writes=True)
    check_place("gs://bucket/run", writes=True)


def test_other_paths_are_written_and_read(tmp_path):
    """One checkpoint, in a path with every other sign that has a meaning somewhere."""
    workdir = tmp_path / "{a,b} %j ~$HOME 'c' \"d\" #1;é&|<>!:=@^+" / "run"
    check_place(workdir, writes=True)
    saved(workdir)
    read(workdir)


def test_a_checkpoint_that_was_moved_to_such_a_path_can_be_read(tmp_path):
    saved(tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "a[b]*?")
    read(tmp_path / "a[b]*?")
    shutil.copytree(tmp_path / "run", tmp_path / "a\\b")
    with pytest.raises(InputError, match="E-WORKDIR-PATH"):
        read(tmp_path / "a\\b")


def test_dots_behind_a_link(tmp_path):
    """The system goes up from where the link leads, and not from where the link is."""
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "deep")
    workdir = tmp_path / "link" / ".." / "run"
    saved(workdir)
    read(tmp_path / "far" / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["far", "link"]


def test_what_cannot_be_read_back_does_not_count(tmp_path, monkeypatch):
    """Two ways: Orbax itself, which finds none of its files, and a file that is missing."""
    workdir = tmp_path / "a[b]"
    with pytest.raises(Stopped, match="E-CHECKPOINT-UNREADABLE"):
        saved(workdir)
    assert steps.committed_steps(workdir) == []
    real = checkpoint._read_back

    def loses_a_file(directory, shapes):
        (Path(directory) / "params" / "manifest.ocdbt").unlink()
        real(directory, shapes)

    monkeypatch.setattr(checkpoint, "_read_back", loses_a_file)
    with pytest.raises(Stopped, match="E-CHECKPOINT-UNREADABLE"):
        saved(tmp_path / "run")
    assert steps.committed_steps(tmp_path / "run") == []


@pytest.mark.parametrize(
    ("cause", "expected", "code"),
    [
        (Interrupted("a", where="b", fix="c", code="E-STORE-NETWORK"), Interrupted, "E-STORE-NETWORK"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
        (OSError(5, "Input/output error", "x"), Interrupted, "E-DISK-READ"),
    ],
    ids=["network", "ctrl-c", "disk"],
)
def test_an_interruption_is_not_taken_for_another_model(tmp_path, monkeypatch, cause, expected, code):
    """Orbax wraps whatever ends its reading in an error that says that no handler fits."""
    saved(tmp_path)

    def interrupted(*_):
        try:
            try:
                raise cause
            except BaseException as error:
                raise ValueError("while reading") from error
        except ValueError:
            raise KeyError("incompatible handler")  # noqa: B904

    monkeypatch.setattr(checkpoint.ocp, "load_checkpointables", interrupted)
    with pytest.raises(expected, match=code):
        read(tmp_path)


def test_arrays_that_cannot_be_opened_do_not_tell_of_another_model(tmp_path):
    directory = saved(tmp_path)
    (directory / "params" / "manifest.ocdbt").unlink()
    with pytest.raises(Exception) as caught:
        read(tmp_path)
    assert not isinstance(caught.value, InputError)


def test_pruning_finishes_a_removal_that_was_cut_and_leaves_a_step_that_is_being_written(tmp_path):
    """The manifest goes first, so that a step without one was cut if it is older than a good one."""
    newest = saved(tmp_path)
    for name in ("3", "9", "03", "8.orbax-checkpoint-tmp"):
        (tmp_path / "checkpoints" / name).mkdir()
    assert steps.prune(tmp_path, keep=1, keep_best=False) == []
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["03", "7", "8.orbax-checkpoint-tmp", "9"]
    # Where the newest one is damaged, a run may be writing an older one.
    (tmp_path / "checkpoints" / "3").mkdir()
    next(path for path in newest.rglob("*") if path.is_file() and path.name != steps.MANIFEST).write_bytes(b"damaged")
    assert steps.prune(tmp_path, keep=1, keep_best=False) == []
    assert "3" in os.listdir(tmp_path / "checkpoints")
