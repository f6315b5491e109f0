"""Real tools, and the targets' files and commands for them. What is missing here fails with what installs it."""

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
from tests.multiprocess.conftest import config, rows

__all__ = ["config", "rows"]
INSTALL = {
    "gcloud": "install the Google Cloud CLI (cloud.google.com/sdk/docs/install)",
    "kubectl": "install kubectl (kubernetes.io/docs/tasks/tools)",
    "shellcheck": "apt-get install shellcheck",
}


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Where a program is."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            pytest.fail(f"there is no {name} here: {INSTALL[name]}", pytrace=False)
        return found

    return find


@pytest.fixture(scope="session")
def engines() -> Path:
    """The Python of the environment that SkyPilot lives in: `make test-launch` makes it."""
    path = Path(__file__).parents[2] / ".venv-engines" / "bin" / "python"
    if not path.is_file():
        pytest.fail(f"there is no {path}: make test-launch", pytrace=False)
    return path


@pytest.fixture
def rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """What `jaxbert launch` would send for bert_base: its JSON, with its files written where it says."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("JAXBERT_CACHE", str(tmp_path / "cache"))
    # Programs that do nothing: the files are written, and nothing goes anywhere.
    place = tmp_path / "nothing"
    place.mkdir()
    for name in ("gcloud", "kubectl", "sky", "sbatch"):
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
    """The environment of a Slurm of two nodes on this machine."""
    with cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment
