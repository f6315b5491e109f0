"""Benchmarks run by hand, so a test holds that every name they import from this package still exists."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

BENCHMARKS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


def imported(path: Path) -> list[tuple[str, str]]:
    """Returns (module, name) of each import of ours, in functions and in strings too; a whole module has name ""."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxbert":
            found += [(str(node.module), alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names if alias.name.split(".")[0] == "jaxbert"]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # A name of a module, or a program for another process.
            found += [(name, "") for name in re.findall(r"^jaxbert(?:\.\w+)+$", node.value)]
            for module, names in re.findall(r"^\s*from (jaxbert[\w.]*) import ([\w, ]+)$", node.value, re.M):
                found += [(module, name.split(" as ")[0].strip()) for name in names.split(",")]
            found += [(module, "") for module in re.findall(r"^\s*import (jaxbert[\w.]*)", node.value, re.M)]
    return found


def missing(module: str, name: str) -> bool:
    if name and hasattr(importlib.import_module(module), name):
        return False
    try:
        importlib.import_module(f"{module}.{name}" if name else module)
    except ModuleNotFoundError:
        return True
    return False


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.name)
def test_what_a_benchmark_imports_exists(path: Path) -> None:
    assert [".".join(pair) for pair in imported(path) if missing(*pair)] == []


def test_imports_inside_functions_and_strings_are_seen(tmp_path: Path) -> None:
    assert len([pair for path in BENCHMARKS for pair in imported(path)]) > 60
    program = tmp_path / "program.py"
    program.write_text(
        'def f():\n    import jaxbert.a\nCODE = """\nfrom jaxbert.b import c, d\n"""\nM = ["jaxbert.e"]\n'
    )
    found = sorted(imported(program))
    assert found == [("jaxbert.a", ""), ("jaxbert.b", "c"), ("jaxbert.b", "d"), ("jaxbert.e", "")]
    assert missing("jaxbert.convert.read", "read_models") and not missing("jaxbert.convert", "read")


def test_the_step_needs_no_library_of_data_or_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check that `benchmarks/gpu.py` makes on machines which have few libraries."""
    monkeypatch.syspath_prepend(str(BENCHMARKS[0].parent))
    found = importlib.import_module("gpu_child").check_imports(smoke=True)
    assert found["passed"], found["error"]
