"""The lock file of a job: by its chip, by --cuda, and by the driver of the node."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from jaxbert.launch.archive import archive
from jaxbert.launch.environments import locks
from jaxbert.launch.scripts import script

from jaxbert.core.chips import CHIPS
from jaxbert.errors import InputError
from jaxbert.observe import accelerators

CUDA13, CUDA12 = "requirements-lock-3.13-cuda.txt", "requirements-lock-3.13-cuda12.txt"
V100, MI300X = CHIPS["v100-16gb"], CHIPS["mi300x"]


def test_the_lock_files_of_a_chip():
    assert locks(CHIPS["v5e"], None) == ("requirements-lock-3.13-tpu.txt", "")
    assert locks(CHIPS["h100"], None) == (CUDA13, CUDA12)
    assert locks(CHIPS["h100"], 13) == (CUDA13, "")
    assert locks(CHIPS["h100"], 12) == (CUDA12, "")
    # CUDA 13 has no code for Volta.
    assert locks(V100, None) == locks(V100, 12) == (CUDA12, "")
    for chip in CHIPS.values():
        if chip.kind == "gpu" and chip not in (V100, CHIPS["v100-32gb"], MI300X):
            assert locks(chip, None) == (CUDA13, CUDA12), chip.name


@pytest.mark.parametrize(
    ("chip", "cuda", "code"),
    [(CHIPS["v5e"], 12, "E-LAUNCH-CUDA"), (V100, 13, "E-LAUNCH-CUDA"), (MI300X, None, "E-LAUNCH-ENVIRONMENT")],
)
def test_what_no_lock_file_fits(chip, cuda: int | None, code: str):
    with pytest.raises(InputError, match=code):
        locks(chip, cuda)


def test_the_name_of_the_users_own_chip_says_nothing():
    for name in ("mini", "v1000"):
        assert locks(replace(CHIPS["h100"], name=name, own=True), None) == (CUDA13, CUDA12)
    own = replace(MI300X, name="accelerator", own=True)
    with pytest.raises(InputError, match=r"--gpu-resource amd.com/gpu.*E-LAUNCH-ENVIRONMENT"):
        locks(own, None, "amd.com/gpu")
    assert locks(CHIPS["h100"], None, "nvidia.com/gpu.shared") == (CUDA13, CUDA12)


def test_the_archive_has_both():
    content = archive(lock=CUDA13, older=CUDA12).content
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        names = tar.getnames()
    assert "requirements.lock" in names and "requirements-older-driver.lock" in names


@pytest.mark.parametrize(
    ("driver", "older", "lock"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22",
            True,
            "requirements-older-driver.lock",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Rel", True, "requirements.lock"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  595.10  Rel", True, "requirements.lock"),
        # A driver that is not there, and a lock file that the user asked for.
        (None, True, "requirements.lock"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22", False, "requirements.lock"),
    ],
)
def test_a_node_of_skypilot_takes_the_lock_file_for_its_driver(
    driver: str | None, older: bool, lock: str, tmp_path: Path
):
    code = tmp_path / ".jaxbert" / "code-abc"
    code.mkdir(parents=True)
    for name in ("requirements.lock", *(["requirements-older-driver.lock"] if older else [])):
        (code / name).write_text(name)
    uv = tmp_path / ".jaxbert" / "uv" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    # As far as the script uses it: it makes an environment, and says what it installs.
    uv.write_text(
        '#!/bin/sh\n[ "$1" = venv ] && mkdir -p "$6"\n[ "$1" = pip ] && echo "$@" >"$HOME/installed"\nexit 0\n'
    )
    uv.chmod(0o755)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("python3", "sha256sum"):
        (programs / name).write_text('#!/bin/sh\nif [ $# = 1 ]; then cksum <"$1"; else cat >/dev/null; fi\nexit 0\n')
        (programs / name).chmod(0o755)
    (tmp_path / "jaxbert-code.tar.gz").touch()
    if driver is not None:
        (tmp_path / "driver").write_text(f"{driver}\nGCC version:  gcc version 12.3.0\n")
    text = script("sky_setup.sh", {"sha256": "abc", "python_version": "3.13", "uv_version": "1", "newest_driver": 580})
    done = subprocess.run(
        ["bash", "-c", text],
        env=os.environ
        | {
            "HOME": str(tmp_path),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "JAXBERT_DRIVER": str(tmp_path / "driver"),
        },
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "installed").read_text().split()[-1] == str(code / lock)
    assert ("NVIDIA driver" in done.stdout) == older


def test_the_image_finds_the_driver_that_gke_mounts():
    """Reads the recipe of the image as a builder does. `pretrain` looks for the library in the same directory."""
    recipe = (Path(__file__).parents[2] / "launch" / "Containerfile").read_text(encoding="utf-8")
    settings: dict[str, str] = {}
    for line in recipe.splitlines():
        if line.startswith("ENV "):
            settings |= dict(word.split("=", 1) for word in line.split()[1:])
    assert str(accelerators._MOUNTED) in settings["LD_LIBRARY_PATH"].split(":")
    assert {f"LOCK={lock}" for lock in (CUDA13, CUDA12)} <= set(recipe.split())
