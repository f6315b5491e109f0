"""Runs every command that the pages show, in the pages' order, and every block of Python.

`SMALLER` of tests/documents/shown.py says which have fewer steps here than on their page, and `LEFT` which are not run.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from jaxbert.commands.main import main
from tests.documents.shown import PAGES, ROOT, Shown, blocks_of, left, shown, smaller

# Pages whose results others use come first.
_FIRST = (
    "docs/tutorials/quickstart.md",
    "docs/tutorials/own_text.md",
    "docs/tutorials/finetune.md",
    "docs/how-to/steps.md",
)
# Pages whose blocks of Python another test runs, with the models that they name.
_ELSEWHERE = ("docs/tutorials/migration.md",)


def in_order() -> list[Shown]:
    """The commands to run, each once: many pages show the same."""
    ranked = sorted(shown(), key=lambda one: _FIRST.index(one.page) if one.page in _FIRST else len(_FIRST))
    found: dict[str, Shown] = {}
    for command in ranked:
        if left(command) is None:
            found.setdefault(smaller(command), command)
    return list(found.values())


def programs() -> list[tuple[str, str]]:
    """(page, code) of every block of Python."""
    return [
        (name, code)
        for path in PAGES
        if path.suffix == ".md" and (name := path.relative_to(ROOT).as_posix()) not in _ELSEWHERE
        for code in blocks_of(path.read_text(encoding="utf-8"), "python")
        if "transformers" not in code
    ]


@pytest.mark.parametrize("command", in_order(), ids=lambda one: f"{one.page}:{one.line} {one.text[:60]}")
def test_it_runs(command: Shown, place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(place)
    text = smaller(command)
    if found := re.fullmatch(r"printf (.*) > (\S+)", text):
        (words,) = shlex.split(found[1])
        Path(found[2]).parent.mkdir(parents=True, exist_ok=True)
        Path(found[2]).write_text(words.encode().decode("unicode_escape"), encoding="utf-8")
    elif found := re.fullmatch(r"mkdir -p (\S+)", text):
        Path(found[1]).mkdir(parents=True, exist_ok=True)
    else:
        program, *words = shlex.split(text)
        assert program == "jaxbert", "neither run nor left out, with a reason, in tests/documents/shown.py"
        assert main(words) == 0


@pytest.mark.parametrize(("page", "code"), programs(), ids=lambda value: value if value.endswith(".md") else "")
def test_a_block_of_python_runs(page: str, code: str, place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(place)
    exec(compile(code, page, "exec"), {"__name__": "__main__"})
