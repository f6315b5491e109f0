"""Writes the pages of sources, of rows policies and of masking schemes from the docstrings of their modules."""

from __future__ import annotations

import importlib
import inspect

from docs.generate.commands import escaped
from jaxbert.data.policies import POLICIES
from jaxbert.data.sources import SOURCES
from jaxbert.data.sources.formats import ENDINGS
from jaxbert.objectives.masking import SCHEMES

SOURCE = """# Sources of text

A SOURCE says where text comes from: `jaxbert pretrain --text PATH` or `--source SOURCE`, the argument of
`tokenizer` and `prepare`, or `data.source` of a config. The build of this site reads this page from
`jaxbert/data/sources/`.

A folder, a file or a glob pattern is a SOURCE too. Each file is then read by its ending:
"""
FILES = """
Each of them may be compressed: .gz, .xz, .zst, .bz2. [Text of many formats](../how-to/formats.md) says which
files are left out, and which end the command.
"""
ROWS = """# Rows policies

A rows policy decides which text goes into one row: `jaxbert rows --policy NAME`, or `data.policy` of a
config. [How text becomes rows](../explanations/rows.md) explains them. The build of this site reads
this page from `jaxbert/data/policies/`.
"""
MASKING = """# Masking schemes

A masking scheme chooses the tokens that the model predicts: `objectives.masked_lm.scheme` of a config.
[How tokens are masked](../explanations/masks.md) explains them. The build of this site reads this page
from `jaxbert/objectives/masking/`.
"""


def sources() -> str:
    """Returns the page of sources in Markdown."""
    kinds: dict[str, list[str]] = {}
    for ending, kind in ENDINGS.items():
        kinds.setdefault(kind, []).append(f"`{ending}`")
    rows = [f"| {', '.join(endings)} | `{kind}` |" for kind, endings in kinds.items()]
    table = "\n".join(["| endings | read as |", "|---|---|", *rows])
    modules = {f"{name}:{kind.form}": kind.open.__module__ for name, kind in SOURCES.items()}
    return _page(f"{SOURCE}\n{table}\n{FILES}", modules)


def rows() -> str:
    """Returns the page of rows policies in Markdown."""
    modules = {name: f"jaxbert.data.policies.{name}" for name in POLICIES}
    return _page(ROWS, modules)


def masking() -> str:
    """Returns the page of masking schemes in Markdown. Two schemes may share a module."""
    modules = {name: scheme.choose.__module__ for name, scheme in SCHEMES.items()}
    return _page(MASKING, modules)


def _page(head: str, modules: dict[str, str]) -> str:
    by_module: dict[str, list[str]] = {}
    for name, module in modules.items():
        by_module.setdefault(module, []).append(name)
    parts = [head]
    for module, names in by_module.items():
        text = inspect.getdoc(importlib.import_module(module)) or ""
        parts.append(f"\n## {', '.join(f'`{name}`' for name in names)}\n\n{text_of(text)}\n")
    return "\n".join(parts)


def text_of(docstring: str) -> str:
    """Returns a docstring as Markdown: paragraphs, and lists with an empty line before them."""
    found: list[str] = []
    for line in docstring.splitlines():
        item = line.lstrip().startswith("- ")
        if item and found and found[-1].strip() and not found[-1].startswith(("- ", "  ")):
            found.append("")
        # A list that is indented by two would be a part of the paragraph.
        found.append(line.removeprefix("  ") if line.startswith("  ") and not line.startswith("    -") else line)
    return escaped_lines(found)


def escaped_lines(lines: list[str]) -> str:
    """Returns lines that Markdown shows as they are, but for lists, `code` and indented code."""
    return "\n".join(line if line.startswith("    ") or line.startswith("- ") else escaped(line) for line in lines)
