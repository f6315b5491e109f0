"""Writes the page of configs: the docstring of each, which says what it is, on what hardware, and what differs."""

from __future__ import annotations

import ast
import pkgutil
from pathlib import Path

import jaxbert.configs

HEAD = """# Configs

Each of these is a complete run: `jaxbert pretrain NAME --workdir DIR`. The build of this site reads
this page from the docstrings in `configs/`.
"""


def names() -> list[str]:
    """Returns the names of the configs that are installed."""
    return sorted(module.name for module in pkgutil.iter_modules(jaxbert.configs.__path__))


def page() -> str:
    """Returns the page in Markdown."""
    parts = [HEAD]
    for name in names():
        path = Path(jaxbert.configs.__path__[0]) / f"{name}.py"
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        parts.append(f"\n## `{name}`\n\n{_listed(text)}\n")
    return "\n".join(parts)


def _listed(text: str) -> str:
    """Returns a docstring as Markdown: a list needs an empty line before it."""
    found: list[str] = []
    for line in text.replace("<", "&lt;").splitlines():
        if line.startswith("- ") and found and found[-1].strip() and not found[-1].startswith(("- ", "  ")):
            found.append("")
        found.append(line)
    return "\n".join(found)
