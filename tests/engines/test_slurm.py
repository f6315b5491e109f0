"""Slurm for real: two nodes on this machine, a run of two tasks by `jaxbert launch slurm`, through its whole life."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import psutil
import pytest

from jaxbert.commands.main import main
from tests import processes
from tests.engines.conftest import STEPS

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


class Runs:
    """`jaxbert launch` with this Slurm's environment."""

    def __init__(self, slurm: dict[str, str], config: Path, state: Path):
        self.slurm, self.config = slurm, config
        self.environment = {**slurm, "JAX_PLATFORMS": "cpu", "XDG_STATE_HOME": str(state), "JAXBERT_HEARTBEAT_S": "10"}

    def launch(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "jaxbert", "launch", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def submit(self, workdir: Path, *more: str) -> str:
        """The number of the job, the newest in the queue. This process has imported all that the command needs."""
        with mock.patch.dict(os.environ, self.environment, clear=True):
            words = ["slurm", str(self.config), "--workdir", str(workdir), "--nodes", "2", "--yes", *more]
            assert main(["launch", *words]) == 0
        return max(self.ask("squeue", "--noheader", "--format=%i").split(), key=int)

    def stop(self, workdir: Path) -> None:
        """Stops the run, from this process. It has imported all that the command needs, so the run does not get far."""
        with mock.patch.dict(os.environ, self.environment, clear=True):
            assert main(["launch", "stop", "--workdir", str(workdir)]) == 0

    def ask(self, *command: str) -> str:
        return subprocess.run(command, env=self.slurm, capture_output=True, text=True, check=False).stdout

    def job(self, number: str) -> dict[str, str]:
        words = self.ask("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def again(self, number: str, restarts: int, seconds: float = 120) -> None:
        """Returns once a job has been requeued and has begun again, which Slurm lets it after some seconds."""
        end = time.monotonic() + seconds
        while (found := self.job(number))["Restarts"] != str(restarts) or found["JobState"] != "RUNNING":
            assert time.monotonic() < end and found["JobState"] not in ENDED, found
            time.sleep(0.3)

    def end(self, number: str, seconds: float = 180) -> dict[str, str]:
        """The job once it has ended."""
        end = time.monotonic() + seconds
        while (found := self.job(number))["JobState"] not in ENDED:
            assert time.monotonic() < end, found
            time.sleep(0.3)
        return found


def steps(workdir: Path) -> int:
    path = workdir / "metrics.jsonl"
    return (
        max([json.loads(line)["step"] for line in path.read_text().splitlines()[:-1]], default=0)
        if path.exists()
        else 0
    )


def logs(workdir: Path) -> str:
    return "\n".join(path.read_text() for path in sorted((workdir / "logs").glob("*")))


def eventually(what: Callable[[], bool], workdir: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, logs(workdir)
        time.sleep(0.1)


@pytest.fixture(scope="module")
def runs(slurm: dict[str, str], config: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(slurm, config, tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def whole(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happens to."""
    workdir = tmp_path_factory.mktemp("slurm-runs") / "whole run's"
    found = runs.end(runs.submit(workdir))
    assert (found["JobState"], found["Restarts"]) == ("COMPLETED", "0"), logs(workdir)
    return workdir


def test_two_tasks_are_one_run(runs: Runs, whole: Path):
    assert steps(whole) >= STEPS - 1 and "2 x cpu" in logs(whole)
    assert f"done after step {STEPS}" in runs.launch("logs", "--workdir", str(whole))
    # What ran is what was submitted.
    (archive,) = (whole / "launch").glob("jaxbert-*.tar.gz")
    code = whole / "launch" / f"code-{archive.name.removeprefix('jaxbert-').removesuffix('.tar.gz')}"
    assert (code / "jaxbert/run/pretrain.py").is_file()


def test_stopped_signalled_killed_it_ends_with_the_same_bits(runs: Runs, whole: Path, tmp_path: Path):
    workdir = tmp_path / "run"
    number = runs.submit(workdir)
    eventually(lambda: runs.job(number)["JobState"] == "RUNNING", workdir)
    # A second submission of the same run waits for the first.
    second = runs.submit(workdir)
    found = runs.job(second)
    assert second != number and found["JobState"] == "PENDING" and "singleton" in found["Dependency"]
    runs.ask("scancel", second)
    # The fields of launch/slurm.py's squeue: number, name, state, reason, time, limit, nodes, names of nodes.
    lines = [line.split() for line in runs.launch("status", "--workdir", str(workdir)).splitlines()]
    (shown,) = (fields for fields in lines if fields[:1] == [number])
    assert (shown[2], *shown[6:]) == ("RUNNING", "2", "127.0.0.[1-2]"), shown

    # Stopped, it is not started again, and nothing is left in the queue. The same command continues it.
    eventually(lambda: steps(workdir) >= 3, workdir)
    runs.stop(workdir)
    assert runs.end(number)["JobState"] == "CANCELLED"
    time.sleep(1)
    assert not runs.ask("squeue", "--noheader").split() and steps(workdir) < STEPS
    before = steps(workdir)
    number = runs.submit(workdir)
    eventually(lambda: steps(workdir) >= before + 2, workdir)

    # As Slurm does before the time is up, and before a preemption.
    signals, restarts = logs(workdir).count("stopped by SIGTERM"), logs(workdir).count("restarting it")
    runs.ask("scancel", "--signal=TERM", number)
    eventually(lambda: logs(workdir).count("restarting it") > restarts, workdir)
    assert logs(workdir).count("stopped by SIGTERM") > signals and steps(workdir) < STEPS
    runs.again(number, 1)
    before = steps(workdir)
    eventually(lambda: steps(workdir) >= before + 3, workdir)
    for process in psutil.process_iter():
        words = processes.words(process)
        if str(workdir) in words and "pretrain" in words:
            processes.kill(process)
            break
    found = runs.end(number)
    assert (found["JobState"], found["Restarts"]) == ("COMPLETED", "2"), logs(workdir)
    assert (workdir / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert not (workdir / ".lease").exists()


def test_what_repeating_does_not_help_is_not_repeated(runs: Runs, whole: Path):
    """The workdir holds another run: exit 2 of both tasks, of which Slurm is told, and no requeue."""
    number = runs.submit(whole, "--set", "seed=5")
    found = runs.end(number)
    assert (found["JobState"], found["Restarts"], found["ExitCode"]) == ("FAILED", "0", "2:0"), logs(whole)
    assert "holds another run" in logs(whole)
