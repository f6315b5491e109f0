"""A run whose workdir is gs://: killed, continued and read; a bucket that an emulator keeps (`make test-cloud`)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jaxbert.commands.main import main
from jaxbert.stores.lease import Lease
from jaxbert.stores.storage import Bucket
from jaxbert.use.model_place import local_copy
from tests.multiprocess.conftest import write_python_config

SMALL = (
    *("encoder.vocab_size=120", "phases.0.length=32", "phases.0.steps=12", "phases.0.schedule.warmup_steps=0"),
    *("checkpoint.every_steps=3", "logging.every_steps=1", "logging.tensorboard=false"),
)


def arguments(workdir: str, rows: Path | str, *settings: str) -> list[str]:
    return ["pretrain", "smoke", "--workdir", workdir, "--data", str(rows), "--set", *SMALL, *settings]


def start(workdir: str, rows: Path | str, *settings: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "jaxbert", *arguments(workdir, rows, *settings)],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "JAXBERT_LEASE_S": "3", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def eventually(what: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def uninterrupted(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """metrics.jsonl of the run on a disk."""
    workdir = tmp_path_factory.mktemp("disk") / "run"
    assert main(arguments(str(workdir), rows)) == 0
    return (workdir / "metrics.jsonl").read_bytes()


def test_a_run_that_is_killed_there_goes_on_to_the_same_bits(bucket: str, rows: Path, uninterrupted: bytes):
    url = f"{bucket}/runs/killed"
    kept = Bucket(url)
    running = start(url, rows)
    eventually(lambda: "checkpoints/3/manifest.json" in kept.files())
    assert kept.names(".lease")
    running.send_signal(signal.SIGKILL)
    running.communicate()
    found = kept.files()
    assert "checkpoints/12/manifest.json" not in found, "it was too fast to be killed"
    # Another machine: nothing of the first one's is there.
    running = start(url, rows, JAXBERT_CACHE=os.environ["JAXBERT_CACHE"] + "-other")
    said, _ = running.communicate(timeout=120)
    assert running.returncode == 0, said
    assert "held" in said and "continuing after step" in said
    assert kept.read("metrics.jsonl") == uninterrupted
    assert {"config.json", "parameters.txt", "telemetry.jsonl", "tokenizer/tokenizer.json"} <= kept.files().keys()
    assert not kept.names(".lease")
    steps = [name for name in kept.names("checkpoints") if name.isdigit()]
    assert "12" in steps and len(steps) <= 4


@pytest.fixture(scope="module")
def done(bucket: str, rows: Path) -> str:
    """The URL of a run of six steps. While its owner lived, nobody else wrote."""
    url = f"{bucket}/runs/done"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXBERT_LEASE_S", "3")
        lease = Lease(Bucket(url))
        lease.take()
        try:
            assert main(arguments(url, rows, "phases.0.steps=6")) == 2
            assert list(Bucket(url).files()) == [".lease/000001"]
        finally:
            lease.release()
        assert not Bucket(url).files()
    # A run whose lease is as short as this could lose it on a busy machine, and would end the process.
    assert main(arguments(url, rows, "phases.0.steps=6")) == 0
    return url


def test_while_its_owner_lives_nobody_else_writes(done: str):
    """The fixture tries it. Then the run is the next owner's."""
    assert not Bucket(done).names(".lease") and "checkpoints/6/manifest.json" in Bucket(done).files()


def test_one_of_two_takes_it(bucket: str):
    first, second = (Bucket(f"{bucket}/lease") for _ in range(2))
    assert first.create(".lease/000001", b"mine")
    assert not second.create(".lease/000001", b"mine, too")
    assert second.read(".lease/000001") == b"mine"


def test_an_input_that_is_wrong_leaves_nothing(bucket: str, rows: Path):
    url = f"{bucket}/runs/wrong"
    assert main(arguments(url, rows, "encoder.vocab_size=200")) == 2
    assert not Bucket(url).files()


def test_another_run_is_not_replaced(done: str, rows: Path, capsys: pytest.CaptureFixture[str]):
    before = Bucket(done).files()
    assert main(arguments(done, rows, "phases.0.steps=6", "seed=9")) == 2
    assert done in capsys.readouterr().err
    assert main([*arguments(done, rows, "phases.0.steps=6", "seed=9"), "--overwrite"]) == 2
    assert "E-WORKDIR-OTHER-RUN" in capsys.readouterr().err
    assert Bucket(done).files() == before


def test_a_damaged_checkpoint_is_passed_over(bucket: str, done: str, rows: Path, capsys: pytest.CaptureFixture[str]):
    url = f"{bucket}/runs/damaged"
    kept = Bucket(url)
    for name in Bucket(done).files():
        kept.write(name, Bucket(done).read(name))
    name = next(name for name in kept.files() if name.startswith("checkpoints/6/params") and "/d/" in name)
    content = bytearray(kept.read(name))
    content[len(content) // 2] ^= 1
    kept.write(name, bytes(content))
    assert main(arguments(url, rows, "phases.0.steps=7")) == 0
    said = capsys.readouterr().err
    assert "checkpoint 6 is damaged" in said and "continuing after step 3" in said


def test_commands_read_a_run_there(
    bucket: str, done: str, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["evaluate", done, "--data", str(rows), "--json", str(tmp_path / "there.json")]) == 0
    assert main(["checkpoint", "verify", done]) == 0
    assert "step         6  good" in capsys.readouterr().out
    assert main(["report", done, "--out", str(tmp_path / "page")]) == 0
    assert main(["convert", f"{done}/checkpoints/3", str(tmp_path / "model"), "--to", "hf"]) == 0
    copy = str(local_copy(done))
    assert main(["evaluate", copy, "--data", str(rows), "--json", str(tmp_path / "here.json")]) == 0
    here, there = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("here", "there"))
    assert here["loss"] == there["loss"]
    assert main(["evaluate", f"{bucket}/runs/nothing", "--data", str(rows)]) == 2


def test_rows_made_in_the_workdir_are_there_for_all_processes(bucket: str, tmp_path: Path):
    text = tmp_path / "text.txt"
    words = ["alpha", "beta", "gamma", "delta", "omega", "sigma"]
    sentences = [" ".join(words[(n * k) % 6] for k in range(1, 9)) + "." for n in range(400)]
    text.write_text("\n\n".join(" ".join(sentences[i : i + 5]) for i in range(0, 400, 5)), encoding="utf-8")
    url = f"{bucket}/runs/made"
    settings = ["phases.0.steps=4", "phases.0.length=32", "phases.0.schedule.warmup_steps=0", "encoder.vocab_size=100"]
    settings += ["logging.tensorboard=false"]
    smoke = str(write_python_config(tmp_path / "smoke.py", "smoke"))
    command = [sys.executable, "-m", "jaxbert", "launch", "local", smoke, "--workdir", url, "--processes", "2"]
    made = subprocess.run(
        [*command, "--devices", "1", "--anyway", "--set", f"data.source=text:{text}", *settings],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    found = Bucket(url).files()
    assert any(name.startswith("data/rows-") for name in found) and "checkpoints/4/manifest.json" in found
    # Another machine, or another user, learns from the bucket who ran it, how it ended, and its last step.
    status = subprocess.run(
        [*command[:4], "status", "--workdir", url],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "another"), "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert status.returncode == 0 and "with exit code 0" in status.stdout and "4 is the last one" in status.stdout, (
        status.stdout + status.stderr
    )
