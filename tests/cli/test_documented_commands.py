"""Every command that the documents and the Makefile show is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from jaxbert.commands import main as cli

ROOT = Path(__file__).parents[2]
FILES = ["README.md", "Makefile", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md")))]
# A line of an example, or of a recipe; a comment may follow, or prose after a wide space.
EXAMPLE = re.compile(
    r"^(?: {2,}(?:\$ )?|\t@)(?:\.venv/bin/|\$\(BIN\)/)?jaxbert (?P<command>[a-z-]+ .*?)(?: {3,}.*| # .*| 2>.*)?$", re.M
)


def commands():
    for name in FILES:
        text = re.sub(r"\\\n\s*", "", (ROOT / name).read_text(encoding="utf-8"))
        for found in EXAMPLE.finditer(text):
            yield pytest.param(
                found["command"].strip().replace("$(RUN)", "runs/quickstart"), id=f"{name}: {found['command'][:60]}"
            )


@pytest.mark.parametrize("command", commands())
def test_it_is_understood(command):
    arguments = shlex.split(command)
    assert cli.parser()[0].parse_args(arguments).command == arguments[0]


def test_none_is_overlooked():
    """Lest the pattern should find nothing: each command is shown somewhere, and the quickstart's are all there."""
    shown = [parameter.values[0] for parameter in commands()]
    assert {command.split()[0] for command in shown} == set(cli.parser()[1])
    assert any(command.startswith("fill-mask runs/quickstart --top 5") for command in shown)
