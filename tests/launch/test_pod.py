"""Runs the script of a pod here: its paths are moved into a directory, and its Python records how it was called."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from jaxbert.launch.archive import archive

POD = Path(__file__).parents[2] / "launch" / "pod.sh"
PYTHON = """#!/bin/bash
trap 'echo told >>"$SAID"; exit 3' TERM
printf '%s\\0' "$PWD" "$PYTHONPATH" "${JAXBERT_PROCESS_ID-none}" "$$" "$@" >"$SAID.part"
mv "$SAID.part" "$SAID"
[ -z "$WAIT" ] || while :; do sleep 0.1; done
"""


@pytest.fixture
def pod(tmp_path: Path):
    """Starts the script. Returns the process, and the file where Python records its call."""
    made = archive(lock="requirements-lock-3.13-tpu.txt")
    (tmp_path / "jaxbert").mkdir()
    (tmp_path / "jaxbert/code.tar.gz").write_bytes(made.content)
    (tmp_path / "opt").mkdir()
    lock = Path(__file__).parents[2] / "requirements-lock-3.13-tpu.txt"
    (tmp_path / "opt/requirements.lock").write_bytes(lock.read_bytes())
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").write_text(PYTHON)
    (tmp_path / "bin/python3").chmod(0o755)
    text = POD.read_text()
    for place, here in (("/tmp/jaxbert", "code"), ("/jaxbert/code", "jaxbert/code"), ("/opt/jaxbert", "opt")):
        assert place in text
        text = text.replace(place, str(tmp_path / here) if place != "/jaxbert/code" else str(tmp_path / "jaxbert/code"))

    def start(*arguments: str, **environment: str) -> tuple[subprocess.Popen[bytes], Path]:
        said = tmp_path / "said"
        said.unlink(missing_ok=True)
        process = subprocess.Popen(
            ["/bin/sh", "-c", text, "jaxbert", *arguments],
            env={
                "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
                "JAXBERT_CODE_SHA256": hashlib.sha256(made.content).hexdigest(),
                "SAID": str(said),
                "WAIT": "",
                **environment,
            },
            stderr=subprocess.PIPE,
        )
        return process, said

    return start


def words(said: Path) -> list[str]:
    return said.read_bytes().decode().split("\0")[:-1]


def test_arguments_arrive_and_the_code_is_the_one_that_came(pod, tmp_path: Path):
    evil = ["bert_base", "--set", "name=a b'c\"d\n$(touch x) `y`", "--workdir=gs://b/c"]
    process, said = pod(*evil)
    assert process.wait(60) == 0, process.stderr.read()
    place, path, number, _, *rest = words(said)
    assert (place, path, number) == ("/tmp", str(tmp_path / "code"), "none")
    assert rest == ["-P", "-m", "jaxbert", "pretrain", *evil]
    assert (tmp_path / "code/jaxbert/run/pretrain.py").is_file()


def test_of_gpus_each_process_knows_its_number(pod):
    process, said = pod(
        "bert_base",
        JAXBERT_COORDINATOR="a:1",
        JAXBERT_JOB_INDEX="3",
        JAXBERT_PODS="2",
        JOB_COMPLETION_INDEX="1",
    )
    assert process.wait(60) == 0 and words(said)[2] == "7"


def test_sigterm_reaches_python(pod):
    process, said = pod("bert_base", WAIT="1")
    end = time.monotonic() + 60
    while not said.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    # The process that the kubelet knows is Python itself, with no shell between.
    assert words(said)[3] == str(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 3 and said.read_text().endswith("told\n")


def test_other_code_or_another_image_does_not_run(pod, tmp_path: Path):
    process, said = pod("bert_base", JAXBERT_CODE_SHA256="0" * 64)
    assert process.wait(60) == 4 and b"sha256" in process.stderr.read() and not said.exists()
    (tmp_path / "opt/requirements.lock").write_text("jax==0.1\n")
    process, said = pod("bert_base")
    assert process.wait(60) == 2 and b"Build it again" in process.stderr.read() and not said.exists()


def test_the_image_may_have_the_environment_of_older_drivers(pod, tmp_path: Path):
    root = Path(__file__).parents[2]
    locks = [f"requirements-lock-3.13-{cuda}.txt" for cuda in ("cuda", "cuda12")]
    made = archive(lock=locks[0], older=locks[1])
    (tmp_path / "jaxbert/code.tar.gz").write_bytes(made.content)
    for lock, code in ((locks[0], 0), (locks[1], 0), ("requirements-lock-3.13-tpu.txt", 2)):
        (tmp_path / "opt/requirements.lock").write_bytes((root / lock).read_bytes())
        process, _ = pod("bert_base", JAXBERT_CODE_SHA256=made.sha256)
        assert process.wait(60) == code, lock


def test_a_profile_of_the_node_sets_variables_and_python_is_the_process_that_the_kubelet_knows(pod, tmp_path: Path):
    """The profile is bash, and its last command may fail."""
    profile = tmp_path / "profile.sh"
    profile.write_text("array=(a b)\nexport NCCL_NET=${array[1]} PYTHONPATH=$PYTHONPATH:$UNKNOWN\nfalse\n")
    (tmp_path / "bin/python3").write_text(PYTHON.replace('"$PWD"', '"$NCCL_NET"'))
    process, said = pod("bert_base", "--set", "name=a b'c", JAXBERT_PROFILE=str(profile))
    assert process.wait(60) == 0, process.stderr.read()
    network, _, _, number, *rest = words(said)
    assert (network, number) == ("b", str(process.pid)) and rest[-1] == "name=a b'c"
    process, said = pod("bert_base", JAXBERT_PROFILE=str(tmp_path / "none.sh"))
    assert process.wait(60) == 2 and b"none.sh does not exist" in process.stderr.read() and not said.exists()
