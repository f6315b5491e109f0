"""The script of a bare machine, run for real: environment from the lock file, code by its hash, training, the end.

gcloud and curl are small programs that speak to the bucket of the emulator; everything else is what it would be there.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxbert.commands.main import main
from jaxbert.stores.storage import Bucket
from tests import processes

GCLOUD = """#!{python}
import os, sys, urllib.parse, urllib.request
words = sys.argv[1:]
with open({record!r}, "a") as file:
    file.write(" ".join(words) + "\\n")
host = os.environ["STORAGE_EMULATOR_HOST"]
def place(url):
    bucket, _, name = url.removeprefix("gs://").partition("/")
    return bucket, urllib.parse.quote(name, safe="")
if words[:2] == ["storage", "cp"]:
    source, target = [word for word in words[2:] if not word.startswith("--")]
    if source.startswith("gs://"):
        bucket, name = place(source)
        with urllib.request.urlopen(f"{{host}}/download/storage/v1/b/{{bucket}}/o/{{name}}?alt=media") as answer:
            content = answer.read()
        open(target, "wb").write(content)
    else:
        bucket, name = place(target)
        url = f"{{host}}/upload/storage/v1/b/{{bucket}}/o?uploadType=media&name={{name}}"
        urllib.request.urlopen(urllib.request.Request(url, open(source, "rb").read(), method="POST")).read()
elif words[:3] == ["secrets", "versions", "access"]:
    print("a secret's value")
"""
CURL = '#!/bin/sh\ncase "$*" in *agent-worker-number*) echo 0;; esac\n'


class Machine:
    """A bare machine: its disk, its programs, and the script that it runs when it starts."""

    def __init__(self, root: Path, script: Path):
        self.root, self.script = root, script
        self.record = root / "gcloud.txt"

    @property
    def log(self) -> str:
        path = self.root / "log"
        return path.read_text() if path.exists() else ""

    def start(self) -> subprocess.Popen[bytes]:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        return subprocess.Popen(
            ["bash", str(self.script)],
            env={
                **os.environ,
                "PATH": f"{self.root}/programs:{_newest()}:{os.environ['PATH']}",
                "JAXBERT_HOME": str(self.root / "home"),
                "JAXBERT_LOG": str(self.root / "log"),
                **{f"JAXBERT_{name}_S": "1" for name in ("PATIENCE", "SHOW", "LINGER")},
                "JAXBERT_LEASE_S": "3",
                "JAX_PLATFORMS": "cpu",
                # The machine has another jaxlib, which does not know all flags of these tests and would end.
                "XLA_FLAGS": " ".join(f for f in os.environ["XLA_FLAGS"].split() if "fusion_emitters" not in f),
                # A slice would say who its processes are.
                **{"JAXBERT_COORDINATOR": f"localhost:{port}", "JAXBERT_PROCESSES": "1", "JAXBERT_PROCESS_ID": "0"},
            },
            start_new_session=True,
        )

    def calls(self) -> list[str]:
        return self.record.read_text().splitlines() if self.record.exists() else []


def _newest() -> str:
    """The directory of the lock file's Python, which uv would fetch where there is a network."""
    found = shutil.which("python3.13")
    places = [found] if found else []
    places += [
        str(path)
        for path in Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/3.13.*/bin/python3.13")
    ]
    for place in places:
        if subprocess.run([place, "-c", ""], check=False).returncode == 0:
            return str(Path(place).parent)
    pytest.fail("no Python 3.13 here: pyenv install 3.13", pytrace=False)


@pytest.fixture(scope="module")
def machine(bucket: str, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    root = tmp_path_factory.mktemp("machine")
    (root / "programs").mkdir()
    for name, text in (
        ("gcloud", GCLOUD.format(python=sys.executable, record=str(root / "gcloud.txt"))),
        ("curl", CURL),
    ):
        (root / "programs" / name).write_text(text)
        (root / "programs" / name).chmod(0o755)
    for path in rows.rglob("*"):
        if path.is_file():
            Bucket(f"{bucket}/rows").write(str(path.relative_to(rows)), path.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{root}/programs:{os.environ['PATH']}")
        patch.setenv("XDG_STATE_HOME", str(root / "state"))
        settings = ["encoder.vocab_size=120", "phases.0.length=32", "phases.0.steps=60", "checkpoint.every_steps=10"]
        settings += ["phases.0.schedule.warmup_steps=0", "logging.tensorboard=false", "phases.0.batch_size=32"]
        words = ["launch", "queued-resource", "smoke", "--workdir", f"{bucket}/boot", "--data", f"{bucket}/rows"]
        words += ["--topology", "v5e:2x2", "--analytic", "--project", "my-project", "--zone", "us-east5-a"]
        assert main([*words, "--yes", "--restarts", "3", "--secret", "TOKEN=hub", "--set", *settings]) == 0
    (script,) = (root / "state").rglob("startup.sh")
    # The machine of this test has one CPU in the place of four chips.
    text = script.read_text()
    stated = {"JAXBERT_PLATFORM=tpu": "JAXBERT_PLATFORM=cpu", "\ndevices=4\n": "\ndevices=1\n"}
    for tpu, cpu in stated.items():
        assert tpu in text
        text = text.replace(tpu, cpu)
    script.write_text(text)
    yield Machine(root, script)


def test_a_bare_machine_trains_is_killed_goes_on_and_ends_the_bill(machine: Machine, bucket: str):
    kept = Bucket(f"{bucket}/boot")
    assert any(name.startswith("launch/jaxbert-") for name in kept.files()) and "launch/job.json" in kept.files()
    running = machine.start()
    try:
        end = time.monotonic() + 400
        while not any(name.endswith("manifest.json") for name in kept.files("checkpoints")):
            assert time.monotonic() < end and running.poll() is None, machine.log
            time.sleep(0.2)
        for process in processes.below(running.pid):
            if "pretrain" in processes.words(process):
                processes.kill(process)
        assert running.wait(timeout=300) == 0, machine.log
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    assert "restarting it (1 of 3)" in machine.log and "continuing after step" in machine.log
    assert "checkpoints/60/manifest.json" in kept.files() and "done after step 60" in machine.log
    # What the lock file names is there, and nothing else.
    (environment,) = (machine.root / "home").glob("env-*")
    listed = subprocess.run(
        [machine.root / "home/uv/bin/uv", "pip", "freeze", "--python", environment / "bin/python"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lock = (Path(__file__).parents[2] / "requirements-lock-3.13-tpu.txt").read_text()
    assert names(listed) == names(lock)
    # The bill ends, and what was said can be read.
    assert machine.calls()[-1].startswith("compute tpus queued-resources delete smoke-")
    assert b"ended with 0" in kept.read("logs/worker-0-0.log")
    assert "a secret's value" not in machine.log


def names(lock: str) -> set[str]:
    lines = [line for line in lock.splitlines() if "==" in line and not line.startswith(" ")]
    return {re.sub(r"[-_.]+", "-", line.split(";")[0].strip().lower()) for line in lines}


def test_started_again_it_does_nothing_twice(machine: Machine):
    before = len(machine.calls())
    assert machine.start().wait(timeout=120) == 0, machine.log
    calls = machine.calls()[before:]
    # The code and the environment are there; the run is done.
    assert not any("cp gs://" in call for call in calls) and calls[-1].startswith(
        "compute tpus queued-resources delete"
    )


def test_code_that_is_not_what_was_submitted_does_not_run(machine: Machine, tmp_path: Path, bucket: str):
    text = machine.script.read_text()
    other = tmp_path / "other.sh"
    other.write_text(re.sub(r"^sha256=\w+", "sha256=" + "0" * 64, text, flags=re.M))
    spoiled = Machine(tmp_path, other)
    shutil.copytree(machine.root / "programs", tmp_path / "programs")
    assert spoiled.start().wait(timeout=120) == 4
    assert "is not what was submitted" in spoiled.log and "removing the machines" in spoiled.log
