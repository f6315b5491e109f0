"""The wheel in an environment that has nothing else: it goes from a folder of text to a filled mask and a page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

from tests.documents.conftest import documentation

ROOT = Path(__file__).parents[2]
# What an environment of jaxbert alone does not have.
ABSENT = ("torch", "transformers", "tensorflow", "datasets", "pytest")


def run(*words: str | Path, cwd: Path, environment: dict[str, str] | None = None) -> str:
    """Runs a command and returns what it prints."""
    # Python must find the wheel and not the checkout.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env={**clean, **(environment or {})}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def install(python: Path, *what: str | Path, cwd: Path) -> None:
    """Installs with uv where the Makefile has found it, as for the other environments."""
    if uv := os.environ.get("UV"):
        run(uv, "pip", "install", "-q", "-p", python, *what, cwd=cwd)
    else:
        run(python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *what, cwd=cwd)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment into which only the wheel was installed."""
    place = tmp_path_factory.mktemp("wheel")
    # The files of the repository and nothing that is beside them: a build must not find old ones.
    for name in run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).splitlines():
        if (ROOT / name).is_file():
            (place / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / "source" / name)
    venv.create(place / "builder", with_pip=True)
    builder = place / "builder" / "bin" / "python"
    run(builder, "-m", "pip", "wheel", "-qq", "--no-deps", "-w", place / "dist", place / "source", cwd=place)
    (wheel,) = (place / "dist").iterdir()
    venv.create(place / "environment", with_pip=True)
    install(place / "environment" / "bin" / "python", wheel, cwd=place)
    return place / "environment" / "bin"


def test_it_holds_the_licences_and_needs_no_other_framework(programs: Path, tmp_path: Path):
    code = f"""
from importlib import metadata, util
print(metadata.metadata("jaxbert")["License-Expression"])
print(sorted(path.parts[-2:] for path in metadata.files("jaxbert") if path.name == "LICENSE"))
print([name for name in {ABSENT!r} if util.find_spec(name)])
"""
    expression, licences, found = run(programs / "python", "-c", code, cwd=tmp_path).splitlines()
    assert expression == "Apache-2.0 AND MIT"
    assert "'licenses', 'LICENSE'" in licences and "'vendor', 'LICENSE'" in licences
    assert found == "[]"


def test_a_folder_of_text_becomes_a_filled_mask_and_a_page(programs: Path, tmp_path: Path):
    (tmp_path / "folder").mkdir()
    for name, text in documentation(300_000):
        (tmp_path / "folder" / f"{name}.txt").write_text(text, encoding="utf-8")
    jaxbert = programs / "jaxbert"
    output = run(jaxbert, "pretrain", "auto", "--text", "folder/**/*.txt", "--minutes", "0.2", cwd=tmp_path)
    workdir = tmp_path / "runs" / "auto"
    assert f"Everything is in {Path('runs/auto')}" in output
    assert "pip install torch transformers" in output.partition("Next:")[2]
    assert (workdir / "hf" / "model.safetensors").is_file()
    assert 'id="try-data"' in (workdir / "report.html").read_text(encoding="utf-8")
    filled = run(jaxbert, "fill-mask", "runs/auto", "The [MASK] of the file.", cwd=tmp_path)
    assert re.search(r"^ +\d+\.\d% ", filled, re.MULTILINE)
    (workdir / "report.html").unlink()
    run(jaxbert, "report", "runs/auto", cwd=tmp_path)
    assert (workdir / "report.html").is_file()
    place = run(programs / "python", "-c", "import jaxbert; print(jaxbert.__file__)", cwd=tmp_path)
    assert Path(place.strip()).resolve().is_relative_to(programs.parent.resolve())
