"""Slurm for real: two nodes on this machine, a run of two tasks by `jaxbert launch slurm`, through its whole life."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest

from jaxbert.commands.main import main
from jaxbert.plan.topologies import GPU_POOL_FRACTION
from tests import processes
from tests.engines.conftest import STEPS

# A config that notes what its task was given, and then ends the task with exit 2. It says nothing where it is launched.
NOTES = """
import json, os, pathlib
from jaxbert.config import find_config
from jaxbert.errors import InputError

def get_config():
    if "SLURM_PROCID" in os.environ:
        names = ("JAXBERT_PLATFORM", "JAXBERT_DEVICES", "CUDA_VISIBLE_DEVICES", "XLA_CLIENT_MEM_FRACTION", "PYTHONPATH")
        given = dict((name, os.environ.get(name)) for name in names)
        given["cores"] = sorted(os.sched_getaffinity(0))
        place = pathlib.Path({notes!r}) / (os.environ["SLURM_JOB_ID"] + "-" + os.environ["SLURM_PROCID"])
        place.write_text(json.dumps(given))
        raise InputError("noted", where="the config", fix="", code="E-CONFIG-RANGE")
    return find_config({config!r})
"""
# Apptainer as far as jaxbert uses it: its options, an image that must exist, and an image that has its own PYTHONPATH.
APPTAINER = """#!/bin/bash
[ "$1" = exec ] || exit 255
export PYTHONPATH=/image
while shift && [[ $1 == --* ]]; do
  case $1 in
    --nv | --bind=/*:/*) echo "$1" >>{said} ;;
    --env=*) export "${{1#--env=}}" ;;
    *) exit 255 ;;
  esac
done
[ -f "$1" ] || exit 255
exec "${{@:2}}"
"""
# srun with the options of pyxis, which is a plugin of srun.
PYXIS = """#!/bin/bash
[ "$1" = --help ] && {{ {srun} --help; echo "      --container-image=IMAGE  [pyxis]"; {more}; exit; }}
words=()
for word; do
  case $word in --container-*) echo "$word" >>{said} ;; *) words+=("$word") ;; esac
done
exec {srun} "${{words[@]}}"
"""
# Batches that divide over 1, 2, 3 and 16 devices.
LARGE = ("phases.0.batch_size=96", "evaluation.batch_size=96")
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


class Runs:
    """`jaxbert launch` with this Slurm's environment."""

    def __init__(self, slurm: dict[str, str], config: Path, state: Path):
        self.slurm, self.config = slurm, config
        self.environment = {**slurm, "JAX_PLATFORMS": "cpu", "XDG_STATE_HOME": str(state), "JAXBERT_HEARTBEAT_S": "10"}

    def given(self, place: Path, *jobs: tuple[str, ...]) -> list[list[dict[str, Any]]]:
        """Submits jobs with these options, whose tasks only note what they were given. Returns the notes of each."""
        notes, config = place / "notes", place / "notes.py"
        notes.mkdir(exist_ok=True)
        # The batch divides over 2 nodes of 8 GPUs.
        jobs = tuple((*more, "--set", *LARGE) for more in jobs)
        config.write_text(NOTES.format(notes=str(notes), config=str(self.config)))
        workdirs = [place / f"run-{len(list(notes.iterdir()))}-{number}" for number in range(len(jobs))]
        numbers = [self.submit(one, *more, config=config) for one, more in zip(workdirs, jobs, strict=True)]
        for number, workdir in zip(numbers, workdirs, strict=True):
            found = self.end(number)
            assert (found["JobState"], found["Restarts"], found["ExitCode"]) == ("FAILED", "0", "2:0"), logs(workdir)
        return [[json.loads(path.read_text()) for path in sorted(notes.glob(f"{one}-*"))] for one in numbers]

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

    def submit(self, workdir: Path, *more: str, config: Path | None = None) -> str:
        """The number of the job, the newest in the queue. This process has imported all that the command needs."""
        with mock.patch.dict(os.environ, self.environment, clear=True):
            words = ["slurm", str(config or self.config), "--workdir", str(workdir), "--nodes", "2", "--yes", *more]
            assert main(["launch", *words]) == 0
        return max(self.ask("squeue", "--noheader", "--format=%F").split(), key=int)

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


def test_tasks_get_the_gpus_and_cores_of_their_nodes(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each node of this cluster has 2 cores and 8 GPUs. Nobody asks for a topology."""
    monkeypatch.delitem(runs.environment, "JAX_PLATFORMS")
    one = ("--nodes", "1")
    cpu, whole, part, two = runs.given(
        tmp_path,
        (),
        ("--gpus-per-node", "8", "--exclusive"),
        (*one, "--gres", "gpu:fake:4", "--cpus-per-task", "2"),
        (*one, "--gpus-per-node", "fake:4", "--tasks-per-node", "2", "--exclusive"),
    )

    def told(found: list[dict[str, Any]]) -> list[tuple[str, ...]]:
        return [(each["JAXBERT_PLATFORM"], each["JAXBERT_DEVICES"], each["CUDA_VISIBLE_DEVICES"]) for each in found]

    # A job without GPUs takes its nodes with all of their cores. Slurm itself would give each task one core.
    assert told(cpu) == [("cpu", "1", None)] * 2
    # One task of each node has all of its GPUs. jax itself would take one for each task.
    assert told(whole) == [("gpu", "8", "0,1,2,3,4,5,6,7")] * 2
    # srun does not take over --cpus-per-task from sbatch.
    assert told(part) == [("gpu", "4", "0,1,2,3")]
    assert all(each["cores"] == [0, 1] for each in (*cpu, *whole, *part))
    # Two tasks of a node see the same GPUs, of which each takes a half, and have a core each.
    assert told(two) == [("gpu", "2", "0,1,2,3")] * 2
    assert sorted(core for each in two for core in each["cores"]) == [0, 1]
    assert all(each["XLA_CLIENT_MEM_FRACTION"] == str(GPU_POOL_FRACTION) for each in (*whole, *part, *two))


def test_a_job_that_would_wait_for_ever_is_not_submitted(runs: Runs, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """Each node has 2 cores and 8 GPUs, and each of the two partitions has both nodes and a limit of an hour."""
    words = ("launch", "slurm", str(runs.config), "--workdir", str(tmp_path / "run"), "--yes")
    for more, said in (
        (("--cpus-per-task", "3"), "it asks for 3 cores of a node, and none of the partition's 2 nodes has as many"),
        (("--nodes", "3"), "it asks for 3 nodes, and the partition has 2"),
        (("--time", "61", "--partition", "high"), "start in the partition high: its time limit is 0-01:00:00"),
        (("--gpus-per-node", "9"), "it asks for 9 GPUs of a node, and none of the partition's 2 nodes has as many"),
        (("--gres", "gpu:h100:1"), "1 GPU of the type h100 of a node, and none of the partition's 2 nodes has as many"),
        (("--memory", "2M"), "it asks for 2 MB of memory of a node, and none of the partition's 2 nodes has as much"),
        (("--partition", "no"), "sinfo shows no partition no with nodes"),
    ):
        environment = {name: value for name, value in runs.environment.items() if name != "JAX_PLATFORMS"}
        with mock.patch.dict(os.environ, environment, clear=True):
            assert main([*words, *more]) == 2
        assert said in " ".join(capfd.readouterr().err.split())
    assert not runs.ask("squeue", "--noheader").split() and not (tmp_path / "run").exists()
    # What Slurm itself does with such a job: it takes it, and never starts it.
    for number, (more, reason) in enumerate(
        (
            (("--cpus-per-task", "3"), "PartitionConfig"),
            (("--nodes", "3"), "PartitionNodeLimit"),
            (("--time", "61"), "PartitionTimeLimit"),
        )
    ):
        waits = runs.submit(tmp_path / f"waits-{number}", "--any-nodes", *more, "--set", *LARGE)
        eventually(lambda waits=waits, reason=reason: runs.job(waits)["Reason"] == reason, tmp_path)
        runs.ask("scancel", waits)


def test_an_array_trains_a_run_for_each_seed(runs: Runs, tmp_path: Path):
    """Each has its own workdir, is requeued and stopped without the others, and continues."""
    workdir, third, fifth = tmp_path / "runs", tmp_path / "runs/seed-3", tmp_path / "runs/seed-5"
    array = runs.submit(workdir, "--nodes", "1", "--seeds", "3,5")
    # The runs are short, so these commands are made before they are needed.
    status = [runs.launch("status", "--dry-run", "--workdir", str(place)) for place in (workdir, fifth)]
    eventually(lambda: steps(third) >= 3 and steps(fifth) >= 3, third)
    every, one = ([line.split()[0] for line in runs.ask("bash", "-c", said).splitlines()] for said in status)
    assert sorted(every) == [f"{array}_3", f"{array}_5", "JOBID"]
    assert one == ["JOBID", f"{array}_5"]
    # The number of one job of an array is that of the array. Only the job itself is requeued.
    runs.ask("scancel", "--signal=TERM", f"{array}_5")
    runs.stop(third)
    assert runs.end(f"{array}_3")["JobState"] == "CANCELLED"
    assert steps(third) < STEPS - 1
    # One run of the array can be continued by itself.
    again = runs.submit(third, "--nodes", "1", "--set", "seed=3")
    found = runs.end(f"{array}_5")
    assert (found["JobState"], found["Restarts"]) == ("COMPLETED", "1"), logs(fifth)
    assert runs.end(again)["JobState"] == "COMPLETED", logs(third)
    assert f"done after step {STEPS}" in logs(third) and not runs.ask("squeue", "--noheader").split()
    said = runs.launch("logs", "--workdir", str(workdir))
    assert str(third) in said and f"done after step {STEPS}" in said
    assert f"done after step {STEPS}" in runs.launch("logs", "--workdir", str(fifth))
    losses = [(each / "metrics.jsonl").read_text().splitlines()[0] for each in (third, fifth)]
    assert losses[0] != losses[1]


def test_seeds_may_be_larger_than_the_numbers_of_an_array(runs: Runs, tmp_path: Path):
    """sbatch refuses a number above 1000. The jobs have the numbers 0 and 1."""
    sbatch = ("sbatch", "--parsable", "--output=/dev/null", "--wrap=true")
    assert runs.ask(*sbatch, "--array=1000") and not runs.ask(*sbatch, "--array=1001")
    workdir, large = tmp_path / "waits", tmp_path / "waits/seed-4000000"
    array = runs.submit(workdir, "--nodes", "1", "--seeds", "7,4000000", "--any-nodes", "--time", "61")

    def shown(place: Path) -> list[tuple[str, str]]:
        lines = [line.split() for line in runs.launch("status", "--workdir", str(place)).splitlines()]
        return sorted((fields[0], fields[-1]) for fields in lines[1:] if "_" in fields[0])

    assert shown(workdir) == [(f"{array}_0", "seed-7"), (f"{array}_1", "seed-4000000")]
    assert shown(large) == [(f"{array}_1", "seed-4000000")]
    # Another array for the same directory waits, and has other numbers.
    second = runs.submit(workdir, "--nodes", "1", "--seeds", "8,4000000", "--any-nodes", "--time", "61")
    both = [(f"{array}_1", "seed-4000000"), (f"{second}_1", "seed-4000000")]
    others = [(f"{array}_0", "seed-7"), (f"{second}_0", "seed-8")]
    assert shown(workdir) == sorted(both + others) and shown(large) == both
    assert shown(tmp_path / "waits/seed-8") == others[1:]
    runs.stop(large)
    eventually(lambda: shown(workdir) == others, workdir)
    runs.stop(workdir)
    eventually(lambda: not runs.ask("squeue", "--noheader").split(), workdir)
    # Each job trains with its seed, in its workdir.
    (tmp_path / "notes").mkdir()
    config = tmp_path / "notes.py"
    config.write_text(NOTES.format(notes=str(tmp_path / "notes"), config=str(runs.config)))
    array = runs.submit(tmp_path / "runs", "--nodes", "1", "--seeds", "7,4000000", config=config)
    for number, seed in enumerate((7, 4000000)):
        place = tmp_path / f"runs/seed-{seed}"
        assert runs.end(f"{array}_{number}")["ExitCode"] == "2:0", logs(place)
        assert "noted" in logs(place)
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"launch", "seed-7", "seed-4000000"}


def test_tasks_run_in_a_container(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Neither program can run here, so programs stand for them that take the same options. Slurm is real."""
    monkeypatch.delitem(runs.environment, "JAX_PLATFORMS")
    place, said, image = tmp_path / "programs", tmp_path / "said", tmp_path / "image"
    place.mkdir()
    image.touch()
    srun = shutil.which("srun", path=runs.slurm["PATH"])
    for name, text in (("apptainer", APPTAINER), ("srun", PYXIS)):
        # Other plugins have options too: more text than the buffer of a reader that ends early.
        more = "for i in {1..100}; do printf '%80s\\n' option; done"
        (place / name).write_text(text.format(said=said, srun=srun, more=more))
        (place / name).chmod(0o755)
    words = ("--nodes", "1", "--cpus-per-task", "1", "--container-mounts", "/usr", "/tmp:/data:ro")
    words += ("--container-python", sys.executable, "--container-image")
    # A cluster without pyxis says so, once.
    runs.given(tmp_path, (*words, str(image)), (*words, str(tmp_path / "none.sqsh")))
    assert "this cluster has no pyxis" in logs(tmp_path / "run-0-0")
    assert "none.sqsh, the image of the container, is not on" in logs(tmp_path / "run-0-1")
    monkeypatch.setitem(runs.environment, "PATH", f"{place}{os.pathsep}{runs.environment['PATH']}")
    by_apptainer = ("--container-runtime", "apptainer", "--gpus-per-node", "1")
    # Apptainer that finds no image ends with 255, and would again.
    (found,), none, (other,) = runs.given(
        tmp_path,
        (*words, str(image), *by_apptainer),
        (*words, "docker://team/image:1", *by_apptainer),
        (*words, "registry#team/image:1"),
    )
    assert none == []
    # The code is the one that was submitted, and not the one of the image.
    run, another = (Path(each["PYTHONPATH"]).parent.parent for each in (found, other))
    used = set(said.read_text().split())
    assert {"--nv", f"--bind={run}:{run}", "--bind=/usr:/usr", "--bind=/tmp:/data:ro"} <= used
    assert {
        "--container-image=registry#team/image:1",
        f"--container-mounts={another}:{another},/usr:/usr,/tmp:/data:ro",
        f"--container-workdir={another}",
    } <= used


def test_a_job_that_finds_no_gpu_does_not_train_on_the_cpu(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The GPUs of this Slurm are none, so jax finds the CPU. The GPUs would be billed at each repetition."""
    monkeypatch.delitem(runs.environment, "JAX_PLATFORMS")
    workdir = tmp_path / "run"
    found = runs.end(runs.submit(workdir, "--nodes", "1", "--gpus-per-node", "2", "--exclusive"))
    assert (found["JobState"], found["Restarts"], found["ExitCode"]) == ("FAILED", "0", "2:0"), logs(workdir)
    assert "E-DEVICE-PLATFORM" in logs(workdir) and not (workdir / "metrics.jsonl").exists(), logs(workdir)
