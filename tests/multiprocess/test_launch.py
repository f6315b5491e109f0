"""`jaxbert launch local`: one process against two and four; what comes of one that is lost, hangs or fails."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests import processes


def finished(started: subprocess.Popen[str], timeout: float = 500) -> tuple[int, str]:
    out, err = started.communicate(timeout=timeout)
    return started.returncode, out + err


def metrics(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def whole(launch, tmp_path_factory) -> Path:
    """A run of one process with four devices."""
    workdir = tmp_path_factory.mktemp("launched") / "one"
    code, said = finished(launch(workdir, 1, devices=4))
    assert code == 0, said
    return workdir


def steps(workdir: Path) -> int:
    return metrics(workdir)[-1]["step"]


def same(workdir: Path, whole: Path) -> None:
    """Every figure of the run, to a millionth; what is counted of the masks, exactly: they are the same bits."""
    one, many = metrics(whole), metrics(workdir)
    assert [line["step"] for line in many] == [line["step"] for line in one]
    for ours, theirs in zip(many, one, strict=True):
        assert ours.keys() == theirs.keys()
        assert ours.get("real_tokens") == theirs.get("real_tokens")
        for name, value in theirs.items():
            if isinstance(value, float):
                np.testing.assert_allclose(ours[name], value, rtol=1e-6, atol=1e-9, err_msg=f"{name} {ours['step']}")


def test_four_processes_are_one(launch, whole: Path, tmp_path: Path):
    code, said = finished(launch(tmp_path / "run", 4, devices=1, plain=True))
    assert code == 0, said
    same(tmp_path / "run", whole)
    # Process 0 alone writes, and its output is what the terminal shows.
    logs = sorted((tmp_path / "run" / "logs").iterdir())
    assert [log.name for log in logs] == [f"process-{number}.log" for number in range(4)]
    assert f"done after step {steps(whole)}" in logs[0].read_text() and f"done after step {steps(whole)}" in said
    for log in logs[1:]:
        assert "step" not in log.read_text()
    assert (tmp_path / "run" / "telemetry.jsonl").read_text().count("mfu_formula") == 1


def process_of(started: subprocess.Popen[str], number: int) -> psutil.Process:
    """The run's process `number`, once there is a checkpoint to continue from."""
    for child in psutil.Process(started.pid).children():
        if processes.environment(child).get("JAXBERT_PROCESS_ID") == str(number):
            return child
    raise AssertionError("no such process")


def due(step: int) -> int:
    """The next checkpoint after `step` that a run writes by its own rule."""
    return 4 * (step // 4 + 1)


def wait_for(started: subprocess.Popen[str], path: Path) -> None:
    end = time.monotonic() + 400
    while not path.exists():
        assert started.poll() is None and time.monotonic() < end, started.communicate()
        time.sleep(0.05)


def test_two_processes_are_one_through_a_signal_and_two_kills(launch, whole: Path, tmp_path: Path):
    """The same command, until the run is done: a signal, the launcher's kill, and a process's kill."""
    workdir = tmp_path / "run"
    started = launch(workdir, 2, devices=2)
    wait_for(started, workdir / "checkpoints" / "4" / "manifest.json")
    started.terminate()
    code, said = finished(started)
    assert code == 3 and "stopped by SIGTERM after step" in said, said
    last = steps(workdir)
    assert last < steps(whole) and (workdir / "checkpoints" / str(last) / "manifest.json").is_file()

    # Without the launcher nothing is left writing. It would restart the run five times, but not after its own end.
    started = launch(workdir, 2, "--restarts", "5", devices=2, JAXBERT_HEARTBEAT_S="5")
    wait_for(started, workdir / "checkpoints" / str(due(last)) / "manifest.json")
    left = processes.below(started.pid)
    started.kill()
    _, said = started.communicate()
    assert f"continuing after step {last}" in said
    end = time.monotonic() + 60
    while not all(map(processes.ended, left)) and time.monotonic() < end:
        time.sleep(0.1)
    assert all(map(processes.ended, left)) and not (workdir / ".lease").exists()
    last = steps(workdir)
    assert last < steps(whole)

    # Exit 3 is repeated, as often as was said.
    started = launch(workdir, 2, "--restarts", "1", devices=2, JAXBERT_HEARTBEAT_S="5")
    wait_for(started, workdir / "checkpoints" / str(due(last)) / "manifest.json")
    process_of(started, 1).kill()
    code, said = finished(started)
    assert code == 0 and "restarting it (1 of 1)" in said and said.count("continuing after step") == 2, said
    assert "another process has gone" in said and "2 processes ended with" in said
    same(workdir, whole)


def test_without_the_first_process_all_end_with_3(launch, whole: Path, tmp_path: Path):
    """It holds the coordination service: the others have nobody left to ask."""
    workdir = tmp_path / "run"
    started = launch(workdir, 2, devices=2, JAXBERT_HEARTBEAT_S="5")
    wait_for(started, workdir / "checkpoints" / "4" / "manifest.json")
    process_of(started, 0).kill()
    code, said = finished(started)
    assert code == 3 and "another process has gone" in said and "2 processes ended with" in said, said
    assert steps(workdir) < steps(whole)


def test_a_process_that_hangs_is_noticed(launch, tmp_path: Path):
    """Stopped, not dead: its connections stay open, and the others' collective waits."""
    workdir = tmp_path / "run"
    more = ("--grace", "1", "--set", "guard.hang_minutes=0.5")
    started = launch(workdir, 2, *more, devices=2, JAXBERT_HEARTBEAT_S="600")
    wait_for(started, workdir / "checkpoints" / "4" / "manifest.json")
    process_of(started, 1).send_signal(signal.SIGSTOP)
    code, said = finished(started)
    assert code == 3, said
    assert "nothing has moved for" in said and "process 0 of 2" in said
    assert "Repeat the same command to continue" in said


def test_what_the_leader_finds_wrong_ends_all_with_2(launch, tmp_path: Path):
    """Rows are made by process 0, while the others wait: its error is theirs."""
    workdir = tmp_path / "run"
    # The launcher sees that the file is there. That it has no text is seen when it is read.
    (tmp_path / "blank.txt").write_text(" \n" * 100)
    where = ("--set", "phases.0.rows=[]", f"data.source=text:{tmp_path}/blank.txt")
    code, said = finished(launch(workdir, 2, *where))
    assert code == 2, said
    assert said.count("jaxbert: error:") == 1 and "blank.txt" in said
    assert "process 0:" in (workdir / "logs" / "process-1.log").read_text()
    # The launcher's record, and the logs.
    assert sorted(path.name for path in workdir.iterdir()) == ["launch", "logs"]
