"""Benchmarks run by hand, so a test holds that every name they import from this package still exists."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

BENCHMARKS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


def imported(path: Path) -> list[tuple[str, str]]:
    """(module, name) of every import of ours, also inside functions; the name is "" for a whole module."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxbert":
            found += [(str(node.module), alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names if alias.name.split(".")[0] == "jaxbert"]
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


def test_imports_inside_functions_are_seen() -> None:
    assert len([pair for path in BENCHMARKS for pair in imported(path)]) > 60
    assert missing("jaxbert.convert.read", "read_models") and not missing("jaxbert.convert", "read")
