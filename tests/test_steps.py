"""The checkpoints of a workdir: their manifests, which of them are good, and which stay. No arrays are written."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from jaxbert.errors import InputError, Stopped
from jaxbert.run.guard import ENDING, WINDOW, Guard
from jaxbert.stores import steps


def save(workdir: Path, step: int, **meta: Any) -> Path:
    """A checkpoint of one file; returns the file."""
    file = workdir / "checkpoints" / str(step) / "array"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * step)
    steps.write_manifest(workdir, step, {"validation_loss": None, **meta})
    return file


def test_every_flip_of_a_manifest_is_found(tmp_path: Path) -> None:
    """New manifests, and those of earlier versions, without a sha256 of themselves, as far as their shape says it."""
    save(tmp_path, 3, phase=1, next_batch=7, best={"step": 2, "loss": 1.5}, rows=[["a"]], sane=True)
    file = tmp_path / "checkpoints/3/manifest.json"
    content = file.read_bytes()
    manifest = steps.read_manifest(tmp_path, 3)
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            assert steps.read_manifest(tmp_path, 3) == manifest, content[place - 30 : place + 30]
        except ValueError:
            continue
    old = {key: value for key, value in json.loads(content).items() if key != "sha256"}
    file.write_text(json.dumps(old))
    assert steps.read_manifest(tmp_path, 3) == manifest and steps.damage(tmp_path, 3) is None
    file.write_text(json.dumps(old | {"sha257": "0"}))
    assert "other keys" in str(steps.damage(tmp_path, 3))
    # A manifest of another step, copied here whole.
    save(tmp_path, 4)
    file.write_bytes((tmp_path / "checkpoints/4/manifest.json").read_bytes())
    assert "another step" in str(steps.damage(tmp_path, 3))


def test_a_damaged_best_checkpoint_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    best, newest = save(tmp_path, 10, validation_loss=1.0), save(tmp_path, 20, validation_loss=2.0)
    assert steps.default_step(tmp_path) == 10 and not caplog.messages
    best.write_bytes(b"y" * 10)
    with caplog.at_level(logging.WARNING):
        assert steps.default_step(tmp_path) == 20
    (line,) = caplog.messages
    assert "checkpoint 10, which has the lowest validation loss, is damaged" in line and "using checkpoint 20" in line
    newest.unlink()
    with pytest.raises(Stopped, match=r"checkpoint 10.*E-CHECKPOINT-DAMAGED"):
        steps.default_step(tmp_path)


def test_a_checkpoint_with_a_damaged_manifest_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody can say whether it is the best one, so no command passes over it without a word."""
    for step in (10, 20):
        save(tmp_path, step, validation_loss=step / 10)
    manifest = tmp_path / "checkpoints/10/manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"1.0", b"9.0"))
    with caplog.at_level(logging.WARNING):
        assert steps.default_step(tmp_path) == 20
    (line,) = caplog.messages
    assert "checkpoint 10 is damaged" in line and "sha256" in line and "using checkpoint 20" in line
    (tmp_path / "checkpoints/20/manifest.json").write_bytes(b"{}")
    with pytest.raises(Stopped, match=r"checkpoint 20.*E-CHECKPOINT-DAMAGED"):
        steps.default_step(tmp_path)


def test_what_is_not_sane_is_passed_over_and_pushes_out_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in range(1, 5):
        save(tmp_path, step, sane=True)
    for step in range(5, 10):
        # The lowest loss of all is not sane: it is of a run that has learned nothing.
        save(tmp_path, step, sane=False, validation_loss=0.5)
    assert steps.best_step(tmp_path) is None and steps.latest_good(tmp_path) == 9
    assert steps.prune(tmp_path, keep=3, keep_best=True) == [1, 5, 6]
    with caplog.at_level(logging.WARNING):
        assert steps.default_step(tmp_path) == 4
    assert [line for line in caplog.messages if "checkpoint 9 has a loss that is not sane; using checkpoint 4" in line]
    # The loss of the step after shows it.
    steps.disown(tmp_path, 4)
    assert steps.sane_steps(tmp_path) == [2, 3] and steps.damage(tmp_path, 4) is None
    steps.disown(tmp_path, 99)  # not saved
    for step in (2, 3):
        steps.disown(tmp_path, step)
    with pytest.raises(InputError, match="E-CHECKPOINT-DIVERGED"):
        steps.default_step(tmp_path)


# ----------------------------------------------------------------------------------------------------------------------
# The figures


def judged(losses: list[float], vocab_size: int = 1000) -> list[bool]:
    guard = Guard(vocab_size)
    found = []
    for loss in losses:
        found.append(guard.step(loss, finite=True))
        # A resumed run goes on as if nothing had happened.
        guard = Guard(vocab_size, json.loads(json.dumps(guard.memory)))
    return found


def test_sane_losses() -> None:
    """ln 1000 is 6.9."""
    assert judged([7.6, 12.0, 15.1, 15.3, float("nan"), float("inf"), 7.0]) == [True] * 3 + [False] * 3 + [True]
    # A first loss above ln V counts: a task may have several terms.
    assert judged([30.0, 59.0, 61.0]) == [True, True, False]
    # What was learned counts once a phase has some steps: twice the mean, and 1 nat.
    assert judged([7.0] + [3.0] * WINDOW + [5.9, 6.1]) == [True] * (WINDOW + 2) + [False]
    assert judged([0.1] * WINDOW + [1.0, 1.2]) == [True] * (WINDOW + 1) + [False]
    # A model that is learning, with noise.
    assert all(judged([7.0 / (1 + step / 50) + (step % 7) / 7 for step in range(300)]))


def test_the_end_of_a_run() -> None:
    guard = Guard(1000)
    assert not guard.knows_the_run, "a finished run of a version without this guard is not judged"
    for loss in [7.0] + [3.0] * WINDOW + [7.0] * (ENDING - 1):
        guard.step(loss, finite=True)
    assert not guard.diverged_at_the_end(), "some steps are noise"
    guard.step(7.0, finite=True)
    assert guard.diverged_at_the_end() and guard.knows_the_run
    guard.start_phase()
    assert guard.step(7.0, finite=True) and not guard.diverged_at_the_end()
    guard.step(20.0, finite=True)
    assert guard.diverged_at_the_end(), "worse than knowing nothing"
    guard.step(7.0, finite=False)
    assert not guard.sane_evaluation(None) and not guard.sane_evaluation(float("nan"))
    assert guard.sane_evaluation(13.0) and not guard.sane_evaluation(15.0)
