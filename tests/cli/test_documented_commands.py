"""Every command that the documents and the Makefile show is understood; those that no test runs have a reason."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from jaxbert.commands import main as cli
from tests.documents.shown import LEFT, PAGES, SMALLER, Shown, left, of_text, shown

ROOT = Path(__file__).parents[2]
RECIPE = re.compile(r"^\t@\$\(BIN\)/jaxbert (?P<words>.*)$", re.M)


def of_the_makefile() -> list[Shown]:
    """The commands of the Makefile's recipes. Some of their lines go on."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Makefile").read_text(encoding="utf-8"))
    return [
        Shown("Makefile", 0, f"jaxbert {found['words']}".replace("$(RUN)", "runs/quickstart"))
        for found in RECIPE.finditer(text)
    ]


COMMANDS = [*shown(), *of_the_makefile()]
OURS = [command for command in COMMANDS if command.ours]


@pytest.mark.parametrize("command", OURS, ids=lambda command: f"{command.page}: {command.text[8:70]}")
def test_it_is_understood(command: Shown):
    arguments = [word for word in command.words[1:] if word != "2>&1"]
    if ">" in arguments:
        arguments = arguments[: arguments.index(">")]
    assert cli.parser()[0].parse_args(arguments).command == arguments[0]


def test_none_is_overlooked():
    """Lest the search should find nothing: each command is shown somewhere, and the quickstart's are all there."""
    assert {command.words[1] for command in OURS} == set(cli.parser()[1])
    assert any(command.text.startswith("jaxbert pretrain quickstart") for command in of_the_makefile())
    assert len({command.page for command in COMMANDS}) > 12 and len(PAGES) > 25


def test_the_search_finds_commands():
    page = """
Text with `jaxbert doctor` in it.

    $ jaxbert rows A \\
        --out B      with words behind it
    jaxbert: error: what it prints
    $ ls
    jaxbert doctor  # a comment

```python
make = "no command"
```

```
X=1 jaxbert plan C
```
"""
    found = [(command.line, command.text) for command in of_text("page.md", page)]
    assert found == [(4, "jaxbert rows A --out B"), (7, "ls"), (8, "jaxbert doctor"), (15, "X=1 jaxbert plan C")]


def test_lists_name_commands_that_are_shown():
    """What is left out, and what is made smaller, is on some page."""
    for one in LEFT:
        assert any(left(command) is one for command in COMMANDS), one
    run = [command for command in COMMANDS if left(command) is None]
    for one in SMALLER:
        assert any(re.search(one.pattern, command.text) for command in run), one


def test_every_target_is_there():
    """Every `make TARGET` of a page is a target of the Makefile."""
    made = sorted({command.text for command in COMMANDS if command.words[0] == "make"})
    assert "make quickstart" in made and "make docs" in made
    for text in made:
        words = [word for word in shlex.split(text) if word != "PYTHON=python3.11" and word != "PYTHON=python3.13"]
        done = subprocess.run([*words, "-n"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
