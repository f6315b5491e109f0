"""The package lists what is there, and requires what it imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# Module name by distribution, where they differ.
MODULES = {
    "orbax-checkpoint": "orbax",
    "tensorflow-datasets": "tensorflow_datasets",
    "huggingface-hub": "huggingface_hub",
    "pyyaml": "yaml",
    "markdown-it-py": "markdown_it",
    "mlflow-skinny": "mlflow",
    "scikit-learn": "sklearn",
}


def requirements(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    names = [re.match(r"[A-Za-z0-9._-]+", line)[0].lower() for line in lines if line.strip() and line[0] != "#"]
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]


def test_every_package_directory_is_listed():
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "jaxbert").rglob("*.py")
        if not any(part.startswith((".", "__")) for part in path.relative_to(ROOT).parts[:-1])
    }
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert sorted(found | {"jaxbert.configs", "jaxbert.launch"}) == sorted(listed)


def test_no_module_of_ours_is_installed_at_the_top():
    assert {package.partition(".")[0] for package in PROJECT["tool"]["setuptools"]["packages"]} == {"jaxbert"}


def test_what_is_imported_is_required():
    names = ("hf", "gcs", "s3", "beam", "wandb", "mlflow", "trackio")
    extras = set().union(*(requirements(f"requirements-{extra}.txt") for extra in names))
    extras |= {"apache_beam"}  # of the distribution apache-beam
    known = {name.lower() for name in sys.stdlib_module_names} | {"jaxbert", "__future__"}
    known |= requirements("requirements.txt") | extras
    known |= {"torch", "transformers"}  # used where they are installed: pickles, and the gate of what is written
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for folder in ("jaxbert", "configs", "launch")
        for path in (ROOT / folder).rglob("*.py")
        for name in imports(path)
        if name.lower() not in known
    }
    assert missing == set()


def test_what_the_doctor_looks_for_is_what_is_required():
    from jaxbert.observe.doctor import NEEDED

    wanted = requirements("requirements.txt")
    assert {module.partition(".")[0].lower() for module in NEEDED} >= {name.lower() for name in wanted}


def test_lock_files_hold_versions_only():
    locks = sorted(ROOT.glob("requirements-lock-*.txt"))
    assert {"requirements-lock-3.11.txt", "requirements-lock-3.13.txt"} <= {lock.name for lock in locks}
    for lock in locks:
        lines = lock.read_text(encoding="utf-8").splitlines()
        assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines), lock.name
        locked = {MODULES.get(name, name.replace("-", "_")) for name in (line.split("==")[0].lower() for line in lines)}
        # Machines elsewhere run, and test nothing.
        elsewhere = lock.stem.endswith(("-tpu", "-cuda", "-cuda12"))
        assert requirements("requirements.txt") <= locked
        assert (requirements("requirements-test.txt") <= locked) != elsewhere


def test_licence_is_whole():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text
    vendored = (ROOT / "jaxbert" / "report" / "vendor" / "LICENSE").read_text(encoding="utf-8")
    assert "The MIT License" in vendored and "Leon Sorokin" in vendored
    assert PROJECT["project"]["license"] == "Apache-2.0 AND MIT"
    assert PROJECT["project"]["license-files"] == ["LICENSE", "jaxbert/report/vendor/LICENSE"]


def data_files():
    """(package, path below it) of each file of a package that is no module."""
    folders = {"jaxbert.configs": "configs", "jaxbert.launch": "launch"}
    packages = {folders.get(name, name.replace(".", "/")): name for name in PROJECT["tool"]["setuptools"]["packages"]}
    for top in ("jaxbert", *folders.values()):
        for path in (ROOT / top).rglob("*"):
            path = path.relative_to(ROOT)
            hidden = any(part.startswith((".", "__pycache__")) for part in path.parts)
            if (ROOT / path).is_file() and path.suffix != ".py" and not hidden:
                folder = next(parent for parent in path.parents if parent.as_posix() in packages)
                yield packages[folder.as_posix()], path.relative_to(folder)


def test_every_file_of_data_goes_into_the_wheel():
    """The page's style, scripts and library, the templates and the Containerfile are what a module alone lacks."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    found = list(data_files())
    assert {"page.css", "uPlot.iife.min.js"} <= {path.name for _, path in found}
    missing = [
        f"{package}: {path}"
        for package, path in found
        if not any(
            len(Path(one).parts) == len(path.parts) and path.match(one)
            for one in [*patterns["*"], *patterns.get(package, [])]
        )
    ]
    assert missing == []
