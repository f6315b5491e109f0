"""A run from rows to checkpoint, killed in every way and continued to the same bits."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxbert.commands import main as cli
from jaxbert.config import find_config
from jaxbert.config.overrides import apply_overrides
from jaxbert.errors import InputError, Interrupted, Stopped
from jaxbert.run import pretrain as pretrain_module
from jaxbert.run.loop import Loop
from jaxbert.run.pretrain import pretrain
from jaxbert.stores import checkpoint, replaced, steps


def params_of(workdir: Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint's state, by path."""
    from jaxbert.core.sharding import single_device_mesh
    from jaxbert.training.step import build

    config = find_config(str(workdir / "config.json"))
    mesh = single_device_mesh()
    step = steps.committed_steps(workdir)[-1]
    with jax.set_mesh(mesh):
        state = checkpoint.restore(workdir, step, build(config, mesh, len(config.phases) - 1).state)
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_flatten_with_path(state)[0]}


def assert_same_arrays(workdir: Path, reference: Path) -> None:
    """The same arrays bit for bit. Each checkpoint is restored once, not once for each array."""
    found, wanted = params_of(workdir), params_of(reference)
    assert found.keys() == wanted.keys()
    for path in wanted:
        np.testing.assert_array_equal(found[path], wanted[path], err_msg=path)


def assert_same(workdir: Path, reference: Path) -> None:
    """The same arrays bit for bit, the same metrics and predictions byte for byte."""
    assert_same_arrays(workdir, reference)
    for name in ("metrics.jsonl", "predictions.jsonl"):
        assert (workdir / name).read_bytes() == (reference / name).read_bytes()


def start(config: Path, workdir: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "jaxbert", "pretrain", str(config), "--workdir", str(workdir)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})


def wait_for_step(process: subprocess.Popen, workdir: Path, step: int) -> None:
    """Returns once metrics.jsonl has a line of `step`."""
    metrics = workdir / "metrics.jsonl"
    until = time.monotonic() + 240
    while time.monotonic() < until:
        if metrics.is_file() and f'"step": {step},' in metrics.read_text():
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)
    raise AssertionError(f"step {step} never came")


def copy_of(finished: Path, tmp_path: Path) -> Path:
    """A finished run as a test's own, to be damaged: its program is compiled already."""
    workdir: Path = shutil.copytree(finished, tmp_path / "run")
    return workdir


@pytest.fixture(scope="module")
def reference(tiny_config, tmp_path_factory):
    """(config file, workdir) of an uninterrupted run."""
    workdir = tmp_path_factory.mktemp("reference") / "run"
    assert pretrain(find_config(str(tiny_config)), workdir)["step"] == 24
    return tiny_config, workdir


def test_run_leaves_what_it_promises(reference):
    _, workdir = reference
    assert {path.name for path in workdir.iterdir()} >= {
        "config.json",
        "checkpoints",
        "tokenizer",
        "metrics.jsonl",
        "telemetry.jsonl",
    }
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 25))
    assert [line["step"] for line in lines if "validation_loss" in line] == [8, 16, 24]
    # Three newest, and the best.
    kept = steps.committed_steps(workdir)
    assert kept[-1] == 24 and len(kept) in (3, 4)
    assert all(steps.damage(workdir, step) is None for step in kept)


def test_finished_run_repeated_does_nothing(reference, caplog):
    config, workdir = reference
    before = (workdir / "metrics.jsonl").read_bytes()
    figures = pretrain(find_config(str(config)), workdir)
    assert "nothing is left to train" in caplog.text and "continuing" not in caplog.text
    assert figures["step"] == 24 and figures["validation_loss"] > 0
    assert (workdir / "metrics.jsonl").read_bytes() == before


def test_the_quickstart_again_trains_nothing_anew(reference, tmp_path, capsys):
    """`make quickstart`, typed again: its commands on a finished run leave the run as it is and print the same."""
    config, finished = reference
    workdir = copy_of(finished, tmp_path)
    recipe = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8").replace("\\\n", "")
    (lines,) = re.findall(r"^quickstart:.*\n((?:\t.*\n)+)", recipe, re.M)
    commands = [
        shlex.split(line.replace("$(RUN)", str(workdir)))[1:]
        for line in lines.splitlines()
        if "@$(BIN)/jaxbert" in line
    ]
    assert [command[0] for command in commands] == ["pretrain"]
    commands[0] = [str(config) if word == "quickstart" else word for word in commands[0]]

    def run() -> tuple[list[str], dict[Path, bytes]]:
        printed = []
        for command in commands:
            assert cli.main(command) == 0, command
            printed.append(capsys.readouterr().out)
        kept = [workdir / "metrics.jsonl", *(path for path in (workdir / "checkpoints").rglob("*") if path.is_file())]
        return printed, {path: path.read_bytes() for path in kept}

    before = (workdir / "metrics.jsonl").read_bytes()
    first, again = run(), run()
    assert again == first and before == first[1][workdir / "metrics.jsonl"]


def trained(workdir: Path) -> list[int]:
    """The steps of metrics.jsonl."""
    metrics = workdir / "metrics.jsonl"
    text = metrics.read_text() if metrics.is_file() else ""
    # A killed run may leave half a line.
    return [json.loads(line)["step"] for line in text.splitlines(keepends=True) if line.endswith("\n")]


def assert_stopped(said: str, workdir: Path, name: str) -> None:
    """The last line of the output names the signal and the step that was saved, and that step is the last one."""
    last = said.strip().splitlines()[-1]
    assert name in last and "Repeat the same command" in last and "Traceback" not in said
    newest = trained(workdir)[-1]
    assert newest == steps.committed_steps(workdir)[-1] and f"after step {newest}" in last


@pytest.mark.parametrize(
    "ends",
    [((3, "SIGKILL"), (6, "SIGTERM")), ((16, "SIGKILL"),)],
    ids=["before a checkpoint and in phase a", "in phase b"],
)
def test_a_killed_run_continues_to_the_same_bits(reference, tmp_path, ends):
    """SIGKILL leaves what was saved before; SIGTERM saves and exits 3."""
    config, wanted = reference
    workdir = tmp_path / "run"
    for step, name in ends:
        before = trained(workdir)
        process = start(config, workdir)
        # The lines of a killed run stay until the next one has begun, so the wait is for a later line.
        wait_for_step(process, workdir, max(step, before[-1] + 1) if before else step)
        process.send_signal(getattr(signal, name))
        _, errors = process.communicate(timeout=120)
        if name == "SIGKILL":
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 3, errors
            assert_stopped(errors, workdir, name)
    pretrain(find_config(str(config)), workdir)
    assert_same(workdir, wanted)


def test_an_interrupt_saves_and_is_exit_3(reference, tmp_path, monkeypatch, capsys):
    """By SIGINT in this process; the test before sends its signals to processes."""
    config, wanted = reference
    workdir = tmp_path / "run"
    after_step = Loop._after_step

    def and_then_a_signal(self, *args, **named):
        after_step(self, *args, **named)
        if self.step == 6:
            os.kill(os.getpid(), signal.SIGINT)

    command = ["pretrain", str(config), "--workdir", str(workdir)]
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_after_step", and_then_a_signal)
        assert cli.main(command) == 3
    assert_stopped(capsys.readouterr().err, workdir, "SIGINT")
    assert cli.main(command) == 0
    assert_same(workdir, wanted)


def test_damaged_checkpoint_is_named_and_the_one_before_used(reference, tmp_path, capsys):
    config, wanted = reference
    workdir = copy_of(wanted, tmp_path)
    newest = steps.committed_steps(workdir)[-1]
    largest = max((workdir / "checkpoints" / str(newest)).rglob("*"), key=lambda p: p.stat().st_size * p.is_file())
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    pretrain(find_config(str(config)), workdir)
    errors = capsys.readouterr().err
    assert f"checkpoint {newest} is damaged" in errors and largest.name in errors
    assert_same(workdir, wanted)


def test_all_checkpoints_damaged_is_exit_4(reference, tmp_path):
    config, finished = reference
    workdir = copy_of(finished, tmp_path)
    for manifest in (workdir / "checkpoints").glob("*/manifest.json"):
        file = next(path for path in manifest.parent.rglob("d/*"))
        file.write_bytes(b"x" + file.read_bytes()[1:] + b"y")
    with pytest.raises(Stopped, match="E-CHECKPOINT-DAMAGED"):
        pretrain(find_config(str(config)), workdir)


def test_a_bug_of_a_restore_is_not_called_another_model(reference, monkeypatch):
    _, workdir = reference
    kept = checkpoint.checkpoints_of(workdir) / "24"
    arrays = {"a": jax.ShapeDtypeStruct((3,), np.float32)}
    with pytest.raises(InputError, match=r"params/.* but .*E-CHECKPOINT-MODEL"):
        checkpoint._restore(workdir, 24, {"params": arrays})

    def breaks(*_):
        raise ValueError("a bug")

    found = checkpoint.ocp.checkpointables_metadata(kept).metadata["params"]
    monkeypatch.setattr(checkpoint.ocp, "load_checkpointables", breaks)
    with pytest.raises(ValueError, match=r"^a bug$"):
        checkpoint._restore(workdir, 24, {"params": found})


def test_uncommitted_checkpoint_does_not_count(reference, tmp_path):
    config, wanted = reference
    workdir = copy_of(wanted, tmp_path)
    half = workdir / "checkpoints" / "20"
    for step in steps.committed_steps(workdir)[1:]:
        (workdir / "checkpoints" / str(step) / "manifest.json").unlink()
    assert half.is_dir()
    pretrain(find_config(str(config)), workdir)
    assert_same(workdir, wanted)


def test_full_disk_is_exit_3_and_loses_nothing(reference, tmp_path, monkeypatch):
    config, wanted = reference
    workdir = tmp_path / "run"
    real, calls = checkpoint.ocp.save_checkpointables_async, []

    def save(path, *args, **kwargs):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(checkpoint.ocp, "save_checkpointables_async", save)
    with pytest.raises(Interrupted, match="E-DISK-FULL"):
        pretrain(find_config(str(config)), workdir)
    assert steps.latest_good(workdir) is not None
    pretrain(find_config(str(config)), workdir)
    assert_same(workdir, wanted)


def test_overwrite_of_the_same_run_continues_it_and_of_another_replaces_it(reference, tmp_path):
    config, workdir = find_config(str(reference[0])), copy_of(reference[1], tmp_path)
    metrics = (workdir / "metrics.jsonl").read_bytes()
    (workdir / "mine.txt").write_text("mine")
    pretrain(config, workdir, overwrite=True)
    assert (workdir / "metrics.jsonl").read_bytes() == metrics
    another = ["seed=1", "phases.a.steps=5", "phases.b.steps=1"]
    pretrain(apply_overrides(config, another), workdir, overwrite=True)
    assert (workdir / "metrics.jsonl").read_bytes() != metrics
    assert (workdir / "mine.txt").read_text() == "mine" and not (workdir / ".replaced").exists()


def test_overwrite_deletes_nothing_that_no_run_writes(reference, tmp_path):
    """All of it is said before anything is touched: the run that is there stays whole."""
    config, workdir = find_config(str(reference[0])), copy_of(reference[1], tmp_path)
    (workdir / "mine.txt").write_text("outside of the folders of the run")
    kept = [  # what a run writes
        *("tensorboard/events.out.tfevents.1.host.2", "profile/plugins/profile/2026_01_01/host.xplane.pb"),
        *("profile/process-1/plugins/profile/2026_01_01/host.xplane.pb", "data/tokenizer/vocab.txt"),
        *("data/records/manifest.json", "data/records/records-train.array_record-00000", "checkpoints/99/params/d/a"),
        *("data/records/tokenizer/merges.txt", "data/rows-pairs-32/rows-train.array_record-00000-of-00001"),
        *("checkpoints/30.orbax-checkpoint-tmp/a", "tokenizer/.vocab.txt.1-abc.partial"),
    ]
    mine = [
        *("data/notes.txt", "data/tokenizer/notes.txt", "data/records/notes.txt", "data/rows-pairs-32/tokenizer/a"),
        *("tokenizer/notes.txt", "profile/notes.txt", "tensorboard/notes.txt"),
        *("checkpoints/best/params", "checkpoints/24/notes.txt"),
    ]
    for name in (*kept, *mine):
        (workdir / name).parent.mkdir(parents=True, exist_ok=True)
        (workdir / name).write_text(name)
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    new = apply_overrides(config, ["seed=1", "phases.a.steps=1", "phases.b.steps=1"])
    for name in sorted(mine):
        shown = [one for one in sorted(mine) if (workdir / one).exists()]
        named = re.escape(", ".join(shown[:8]) + (" and 1 more" if len(shown) > 8 else ""))
        with pytest.raises(InputError, match=rf"files that no run writes: {named} .*E-WORKDIR-OTHERS"):
            pretrain(new, workdir, overwrite=True)
        assert before == {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file() and path in before}
        (workdir / name).unlink()
        del before[workdir / name]
    assert pretrain(new, workdir, overwrite=True)["step"] == 2
    assert (workdir / "mine.txt").exists() and not (workdir / "profile").exists()


def test_two_processes_do_not_share_a_workdir(reference, tmp_path):
    config, wanted = reference
    workdir = tmp_path / "run"
    process = start(config, workdir)
    wait_for_step(process, workdir, 2)
    try:
        with pytest.raises(InputError, match=f"another process .process {process.pid} on .*is training.*E-LEASE-TAKEN"):
            pretrain(find_config(str(config)), workdir)
    finally:
        process.kill()
        process.communicate()
    pretrain(find_config(str(config)), workdir)
    assert_same(workdir, wanted)


def test_a_run_that_finishes_while_another_one_loads_is_not_replaced(reference, tmp_path, monkeypatch):
    """The other run has left the workdir when this one takes it, and nothing but the files shows that it was there."""
    config, finished = reference
    workdir = tmp_path / "run"
    real = pretrain_module.resolve

    def loads(*args, **named):
        shutil.copytree(finished, workdir)
        return real(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain_module, "resolve", loads)
        for overwrite in (False, True):
            with pytest.raises(Interrupted, match="E-LEASE-USED"):
                pretrain(find_config(str(config)), workdir, overwrite=overwrite)
            assert_same(workdir, finished)
            assert steps.committed_steps(workdir) == steps.committed_steps(finished)
            shutil.rmtree(workdir)


@pytest.mark.parametrize("killed", ["out", "loading", "loading, then the old command"])
def test_a_killed_overwrite_is_repeated_or_given_up(reference, tmp_path, monkeypatch, killed):
    """Either command continues: the new run begins, or the old one is whole again."""
    old, workdir = find_config(str(reference[0])), copy_of(reference[1], tmp_path)
    new = apply_overrides(old, ["seed=1", "phases.a.steps=1", "phases.b.steps=1"])

    class Killed(BaseException):
        pass

    def dies(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(pretrain_module, "make_mesh", dies)
        if killed == "out":
            real, moved = os.replace, []

            def moves_two(source, target):
                if ".replaced" in str(target):
                    moved.append(source)
                    if len(moved) > 2:
                        raise Killed
                real(source, target)

            patch.setattr(replaced.os, "replace", moves_two)
        with pytest.raises(Killed):
            pretrain(new, workdir, overwrite=True)
    assert (workdir / ".replaced").is_dir()
    if killed == "loading":
        assert pretrain(new, workdir)["step"] == 2
    else:
        assert pretrain(old, workdir)["step"] == 24
        assert_same(workdir, reference[1])
    assert not (workdir / ".replaced").exists()


def test_a_tokenizer_that_was_half_written_is_mended(reference, tmp_path):
    """vocab.txt is enough to load it, and not enough for a run that is whole."""
    config, finished = reference
    workdir = copy_of(finished, tmp_path)
    (workdir / "tokenizer" / "tokenizer.json").unlink()
    (workdir / "tokenizer" / "tokenizer_config.json").write_text("{}")
    pretrain(find_config(str(config)), workdir)
    assert {path.name: path.read_bytes() for path in (workdir / "tokenizer").iterdir()} == {
        path.name: path.read_bytes() for path in (finished / "tokenizer").iterdir()
    }


def test_steps_that_are_done_may_not_change(reference, tmp_path):
    config, workdir = find_config(str(reference[0])), copy_of(reference[1], tmp_path)
    with pytest.raises(InputError, match=r"phase a .*E-RUN-STEPS"):
        pretrain(apply_overrides(config, ["phases.a.steps=12"]), workdir)
    with pytest.raises(InputError, match=r"10 steps.*E-RUN-STEPS"):
        pretrain(apply_overrides(config, ["phases.b.steps=3"]), workdir)


def test_failing_prune_keeps_what_was_saved(reference, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("busy")

    monkeypatch.setattr(checkpoint, "prune", fail)
    pretrain(find_config(str(reference[0])), tmp_path / "run")
    assert steps.latest_good(tmp_path / "run") == 24
    assert {5, 10, 15, 20, 24} <= set(steps.committed_steps(tmp_path / "run"))


def test_damaged_rows_are_exit_4_and_named(tiny_config, tiny_rows, tmp_path, capsys):
    rows = tmp_path / "rows"
    shutil.copytree(tiny_rows, rows)
    shard = next(path for path in sorted(rows.iterdir()) if "train" in path.name and path.suffix != ".json")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    arguments = ["pretrain", str(tiny_config), "--workdir", str(tmp_path / "run"), "--data", str(rows)]
    assert cli.main(arguments) == 4
    errors = capsys.readouterr().err
    assert shard.name in errors and errors.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_damaged_rows_that_the_run_made_can_be_made_again(reference, tiny, tmp_path):
    """The advice is followed: the run goes on to the same metrics."""
    settings = [f"data.source=text:{tiny}/corpus.txt", "data.validation_fraction=0.1", "phases.*.rows=[]"]
    config = apply_overrides(find_config(str(reference[0])), [*settings, "phases.a.steps=2", "phases.b.steps=1"])
    workdir = tmp_path / "run"
    pretrain(config, workdir)
    metrics = (workdir / "metrics.jsonl").read_bytes()
    shard = next((workdir / "data").glob("rows-*/rows-train*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    manifest = next((workdir / "data").glob("rows-*/manifest.json"))
    for damaged in (shard, manifest):
        damaged.write_bytes(damaged.read_bytes()[:-9])
        with pytest.raises(Stopped, match=rf"{damaged.name}.*Remove {workdir}/data and repeat.*E-RUN-DATA-DAMAGED"):
            pretrain(config, workdir)
    shutil.rmtree(workdir / "data")
    pretrain(config, workdir)
    assert (workdir / "metrics.jsonl").read_bytes() == metrics


def quick(tiny_config, *changes):
    """The small run, which adamw makes diverge at high rates."""
    return apply_overrides(
        find_config(str(tiny_config)), ["optimizer.name=adamw", "phases.a.schedule.warmup_steps=0", *changes]
    )


def test_loss_guard_is_exit_4_and_calls_no_diverged_checkpoint_good(tiny_config, tmp_path, capsys):
    """With a checkpoint a step: neither those of the streak count as good, nor the one before it."""
    config = quick(tiny_config, "phases.a.schedule.peak=1e38", "guard.max_skipped=4", "checkpoint.every_steps=1")
    with pytest.raises(Stopped, match=r"No checkpoint that is left has a sane loss.*E-RUN-NOT-FINITE"):
        pretrain(config, tmp_path / "run")
    assert steps.committed_steps(tmp_path / "run") and not steps.sane_steps(tmp_path / "run")
    assert cli.main(["fill-mask", str(tmp_path / "run"), "a [MASK]."]) == 2
    assert "E-CHECKPOINT-DIVERGED" in capsys.readouterr().err


def test_good_checkpoints_stay_when_a_run_diverges(tiny_config, tmp_path, monkeypatch, capsys):
    """Phase b diverges. The advice names a checkpoint of phase a, it is still there, and its loss is what it says."""
    seen = {}
    after_step = Loop._after_step

    def noted(self, program, phase, state, metrics, **named):
        seen[self.step] = float(metrics["loss"])
        after_step(self, program, phase, state, metrics, **named)

    monkeypatch.setattr(Loop, "_after_step", noted)
    config = quick(
        tiny_config,
        "checkpoint.every_steps=1",
        "checkpoint.keep_best=false",
        "guard.max_diverged=6",
        "phases.a.steps=4",
        "phases.b.schedule=default",
        "phases.b.schedule.kind=constant",
        "phases.b.schedule.warmup_steps=0",
        "phases.b.schedule.peak=30",
    )
    with pytest.raises(Stopped, match=r"diverged.*E-RUN-DIVERGED") as caught:
        pretrain(config, tmp_path / "run")
    good = steps.sane_steps(tmp_path / "run")
    assert len(good) == 3 and f"Checkpoint {good[-1]} is the newest with a sane loss" in caught.value.fix
    assert f"--init {tmp_path / 'run'}/checkpoints/{good[-1]}" in caught.value.fix
    # The loss of a step is that of the checkpoint before it.
    assert all(seen[step + 1] < 2 * seen[1] for step in good) and seen[max(seen)] > 2 * seen[1]
    newest = steps.committed_steps(tmp_path / "run")[-1]
    assert newest not in good and steps.latest_good(tmp_path / "run") == newest
    # Commands use the newest good one, and say so.
    assert steps.default_step(tmp_path / "run") == good[-1]
    capsys.readouterr()
    assert cli.main(["fill-mask", str(tmp_path / "run"), "a [MASK]."]) == 0
    assert f"checkpoint {newest} has a loss that is not sane; using checkpoint {good[-1]}" in capsys.readouterr().err


def test_a_run_that_diverges_and_stays_finite_is_exit_4_at_its_end_too(tiny_config, tmp_path):
    config = quick(
        tiny_config, "phases.a.schedule.peak=10", "phases.a.schedule.kind=constant", "evaluation.every_steps=4"
    )
    for _ in range(2):  # The same command again must not say that all is well.
        with pytest.raises(Stopped, match=r"at its end, after step 24.*E-RUN-DIVERGED"):
            pretrain(config, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert min(line["validation_loss"] for line in lines if "validation_loss" in line) > 11
    assert steps.best_step(tmp_path / "run") is None
    assert pretrain(apply_overrides(config, ["guard.max_diverged=0"]), tmp_path / "run")["best"] is None


def test_early_stopping_ends_the_run_at_the_best(tiny_config, tmp_path):
    config = quick(tiny_config, "evaluation.every_steps=1", "evaluation.patience=2", "phases.a.schedule.peak=0.05")
    figures = pretrain(config, tmp_path / "run")
    assert figures["stopped_early"] and figures["step"] < 24
    assert figures["best"]["step"] in steps.committed_steps(tmp_path / "run")
    again = pretrain(config, tmp_path / "run")
    assert again["step"] == figures["step"]


def test_workdir_of_another_run_is_refused_untouched(reference, tmp_path):
    config, workdir = reference
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    other = apply_overrides(find_config(str(config)), ["seed=5"])
    with pytest.raises(InputError, match=r"seed: 0 -> 5.*E-WORKDIR-OTHER-RUN"):
        pretrain(other, workdir)
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == before
