"""The checkpoints of a workdir: their manifests, which of them are good, and which stay. No arrays are written."""

from __future__ import annotations

import json
import logging
import math
import random
from pathlib import Path
from typing import Any

import pytest

from jaxbert.errors import InputError, Stopped
from jaxbert.run.guard import ENDING, LATEST, WINDOW, Guard, settling
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


def judged(losses: list[float], vocab_size: int = 1000, settling: int = 0) -> list[int]:
    """What the guard says of each loss, and, last, whether the run has diverged at its end."""
    guard = Guard(vocab_size)
    guard.start_phase(settling)
    found = []
    for loss in losses:
        found.append(guard.step(loss))
        # A resumed run goes on as if nothing had happened.
        guard = Guard(vocab_size, json.loads(json.dumps(guard.memory)))
    return [*found, guard.diverged_at_the_end()]


def test_losses_that_are_not_sane() -> None:
    """ln 1000 is 6.9. The parameters before the first high loss are the first that have diverged."""
    assert judged([7.6, 12.0, 13.0, 7.0, 7.0]) == [0] * 6
    assert judged([7.0] * 9 + [math.nan, math.inf, 7.0]) == [0] * 9 + [1, 1, 0, False]
    assert judged([7.0] * 9 + [375.0]) == [0] * 9 + [1, True]
    assert judged([7.0] * 9 + [41.0] * 3) == [0] * 10 + [2, 3, True]
    # A first loss above ln V counts: a task may have several terms.
    assert judged([30.0, 70.0, 90.0]) == [0, 0, 2, True]
    # What was learned counts once a phase has some steps: twice the mean, and 1 nat.
    learned = [7.0, *[3.0] * WINDOW]
    assert judged([*learned, *[5.9] * 20]) == [0] * (WINDOW + 21) + [False]
    assert judged([*learned, *[6.9] * 9])[WINDOW + 1 :] == [0, 0, 0, 4, 5, 6, 7, 7, 7, True]
    assert judged([*learned, *[6.9] * 4, *[3.0] * 5])[-6:] == [5, 6, 7, 0, 0, False]
    assert not any(judged([0.1] * WINDOW + [1.0] * 20))
    # A term with a weight has a higher loss from the start.
    assert Guard(1000, weight=10).hopeless > 130


def test_one_noisy_step_is_no_divergence() -> None:
    """Also where it is the last one, and where a batch has so few tokens that a step differs from the next by half."""
    for at in (10, 299):
        assert not any(judged([28.0 if step == at else 3.0 for step in range(300)]))
    ended, wrong = 0, 0
    for seed in range(30):
        draw = random.Random(seed)
        means = [1.5 + 5.4 * math.exp(-step / 60) for step in range(400)]
        *found, diverged = judged([sum(draw.gammavariate(0.7, mean / 0.7) for _ in range(6)) / 6 for mean in means])
        ended, wrong = ended + diverged, wrong + sum(map(bool, found))
    assert (ended, wrong) == (0, 0)


def test_a_model_whose_rate_rises_again_may_lose_some_of_what_it_knows() -> None:
    """From 1.5 to 6 and back, as a good model does whose rate is high again; what is lost later counts."""
    rewarmed = [1.5] * 60 + [min(6.0, 1.5 + step / 20) for step in range(200)] + [3.0] * 200
    assert judged(rewarmed)[-1] is False and any(judged(rewarmed)), "as in a run that has learned nothing before"
    assert not any(judged(rewarmed, settling=settling(50)))
    assert judged([*rewarmed, *[7.0] * 20], settling=settling(50))[-1] is True
    assert judged([*rewarmed[:100], *[20.0] * 20], settling=settling(50))[-1] is True


def test_the_end_of_a_run() -> None:
    guard = Guard(1000)
    assert not guard.knows_the_run, "a finished run of a version without this guard is not judged"
    for loss in [7.0] + [3.0] * WINDOW + [7.0] * (ENDING + LATEST // 2 - 1):
        guard.step(loss)
    assert not guard.diverged_at_the_end(), "some steps are noise"
    guard.step(7.0)
    assert guard.diverged_at_the_end() and guard.knows_the_run
    guard.start_phase()
    assert guard.step(7.0) == 0 and not guard.diverged_at_the_end()
    # A step that is skipped for its gradient leaves the parameters as they were.
    assert guard.step(7.0, skipped=1) == 0 and not guard.diverged_at_the_end()
    assert guard.step(7.0, skipped=ENDING) == 0 and guard.diverged_at_the_end()
    assert guard.step(7.0) == 0 and guard.step(7.0, broken=True) == 1 and guard.diverged_at_the_end()
    assert not guard.sane_evaluation(None) and not guard.sane_evaluation(float("nan"))
    assert guard.sane_evaluation(13.0) and not guard.sane_evaluation(15.0)
