"""The archive of the code: equal for equal code, complete, and enough to run from."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from jaxbert.launch import archive as archives
from jaxbert.launch.archive import archive

from jaxbert.errors import InputError


def unpacked(made: archives.Archive, place: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(made.content)) as tar:
        tar.extractall(place, filter="data")
    return place


def test_the_same_code_is_the_same_file():
    first, second = archive(lock="requirements-lock-3.13-tpu.txt"), archive(lock="requirements-lock-3.13-tpu.txt")
    assert first == second and first.name == f"jaxbert-{first.sha256}.tar.gz"
    assert archive(lock="requirements-lock-3.13-cuda.txt").sha256 != first.sha256


def test_it_changes_with_every_file_and_with_the_config(tmp_path: Path, monkeypatch):
    before, hashed = archive().sha256, archives.code_hash()
    found = list(archives._package())
    monkeypatch.setattr(archives, "_package", lambda: iter([*found, ("jaxbert/more.py", b"")]))
    assert archive().sha256 != before and archives.code_hash() != hashed
    config = tmp_path / "a.py"
    config.write_text("1")
    assert archive(config=config).sha256 != archive().sha256


def test_what_is_unpacked_runs_and_nothing_else_of_ours(tmp_path: Path):
    place = unpacked(archive(lock="requirements-lock-3.13-tpu.txt"), tmp_path / "code")
    assert (place / "requirements.lock").is_file() and not list(place.rglob("*.pyc"))
    program = "import jaxbert, jaxbert.configs, jaxbert.launch; print(jaxbert.__file__, *jaxbert.configs.__path__)"
    environment = {**os.environ, "PYTHONPATH": str(place)}
    said = subprocess.run(
        [sys.executable, "-P", "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert said.split() == [str(place / "jaxbert/__init__.py"), str(place / "jaxbert/configs")]
    run = subprocess.run(
        [sys.executable, "-P", "-m", "jaxbert", "launch", "slurm", "--help"],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0 and "--partition" in run.stdout
    # The unpacked code makes the same archive again.
    again = subprocess.run(
        [sys.executable, "-P", "-c", "from jaxbert.launch.archive import archive; print(archive().sha256)"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert again == archive().sha256


def test_without_the_lock_file_it_is_not_made(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(archives, "checkout", lambda: tmp_path)
    with pytest.raises(InputError, match="E-LAUNCH-LOCK-FILE"):
        archive(lock="requirements-lock-3.13-tpu.txt")


def test_it_fits_into_a_config_map():
    """A ConfigMap takes 1,000,000 bytes (launch/jobset.py). The rest is room for the config of a user."""
    assert len(archive(lock="requirements-lock-3.13-tpu.txt").content) < 950_000


@pytest.mark.parametrize(
    ("kind", "package"), [("tpu", "libtpu"), ("cuda", "jax-cuda13-plugin"), ("cuda12", "jax-cuda12-plugin")]
)
def test_the_lock_files_of_machines_agree_with_the_tested_one(kind: str, package: str):
    root = Path(__file__).parents[2]

    def versions(name: str) -> dict[str, str]:
        lines = (root / name).read_text().splitlines()
        pairs = (line.split("==") for line in lines if "==" in line)
        return {
            name.lower().replace("_", "-").replace(".", "-"): version.split(";")[0].strip() for name, version in pairs
        }

    tested, there = versions("requirements-lock-3.13.txt"), versions(f"requirements-lock-3.13-{kind}.txt")
    assert {name: there[name] for name in there if name in tested} == {
        name: version for name, version in tested.items() if name in there
    }
    assert package in there and "gcsfs" in there and "pytest" not in there
    assert {"jax", "flax", "optax", "orbax-checkpoint", "array-record", "tokenizers"} <= there.keys()
