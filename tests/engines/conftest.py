"""Fixtures for the tests with real tools. A test fails with a way to install the tool if it is missing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jaxbert.commands.main import main
from tests.engines.slurm_cluster import cluster
from tests.launch.conftest import arguments
from tests.multiprocess.conftest import rows, write_config

__all__ = ["rows"]
# Enough to be stopped and continued three times.
STEPS = 40
INSTALL = {
    "gcloud": "install the Google Cloud CLI (cloud.google.com/sdk/docs/install)",
    "kubectl": "install kubectl (kubernetes.io/docs/tasks/tools)",
    "shellcheck": "apt-get install shellcheck",
}


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Returns a function that finds a program on PATH."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            pytest.fail(f"{name} is not on PATH: {INSTALL[name]}", pytrace=False)
        return found

    return find


@pytest.fixture(scope="session")
def engines() -> Path:
    """Returns the Python of SkyPilot's environment, which `make test-launch` makes."""
    path = Path(__file__).parents[2] / ".venv-engines" / "bin" / "python"
    if not path.is_file():
        pytest.fail(f"{path} does not exist: run make test-launch", pytrace=False)
    return path


@pytest.fixture
def rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Returns a function that launches bert_base without an engine, writes the files, and returns the figures."""
    # A job with GPUs must not inherit the setting of these tests.
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("JAXBERT_CACHE", str(tmp_path / "cache"))
    # These programs do nothing, so that the files are written and nothing is sent.
    place = tmp_path / "nothing"
    place.mkdir()
    for name in ("gcloud", "kubectl", "sky", "sbatch", "sinfo"):
        (place / name).write_text("#!/bin/sh\nexit 0\n")
        (place / name).chmod(0o755)

    def render(target: str, *more: str) -> dict[str, Any]:
        with monkeypatch.context() as patch:
            patch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
            out = tmp_path / "out.json"
            assert main(arguments(target, tmp_path, *more, "--analytic", "--yes", "--json", str(out))) == 0
        return json.loads(out.read_text())

    return render


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Runs a Slurm of two nodes on this machine. Returns the environment for its commands."""
    with cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture(scope="session")
def config(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is long enough to be stopped by Slurm's commands."""
    return write_config(tmp_path_factory.mktemp("config") / "tiny.py", rows, STEPS)
