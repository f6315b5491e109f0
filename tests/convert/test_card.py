"""What a model card quotes: names of runs, phases, sources and folders, which may hold markup of three languages."""

from __future__ import annotations

import ast
import dataclasses
import re
import shlex
from typing import Any

import pytest

from jaxbert.convert.card import render
from jaxbert.convert.gate import Verdict
from jaxbert.observe.provenance import Provenance, markdown
from tests.models.odd import ODD

NAME = 'a "b" $(touch c) `d` \\ e'
HOSTILE = "x | y\n# z <script>alert(1)</script> [a](http://b) `c` *d* __e__ $f$"


def card(**changes: Any) -> str:
    origin = Provenance(made="Made.", title="title", data=("data",), receipt={})
    origin = dataclasses.replace(origin, **changes)
    verdict = Verdict("our own reader", "real sentences", 7, {"jaxbert": {"hidden": 0.0}}, 1e-4, 0.0)
    return render(NAME, ODD["bert"], {"encoder": {}}, None, origin, verdict, {"seed": 0})


def test_code_of_a_card_has_the_name_as_it_is() -> None:
    blocks = re.findall(r"```python\n(.*?)```", card(), re.DOTALL)
    strings = [
        node.value
        for block in blocks
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert strings.count(NAME) == 3
    (command,) = re.findall(r"^    (jaxbert .*)$", card(), re.MULTILINE)
    assert shlex.split(command)[:3] == ["jaxbert", "embed", NAME]


def test_a_card_shows_what_it_quotes_as_it_is() -> None:
    recipe: dict[str, Any] = dict(phases=(HOSTILE,), recipe=(("steps", HOSTILE),), objectives=(HOSTILE,))
    text = card(title=HOSTILE, made=HOSTILE, data=(HOSTILE,), results=(HOSTILE,), cost=(HOSTILE,), **recipe)
    plain = [line for line in text.splitlines() if "script" in line]
    assert len(plain) == 8
    for line in plain:
        shown = re.sub(r"\\.", "", line)
        assert not re.search(r"[<>`*\[\]$]|(?<!^)#|_", shown), line
    (row,) = (line for line in plain if line.startswith("| steps"))
    assert len(re.split(r"(?<!\\)\|", row)) == 4
    assert sum(line.startswith("# ") for line in text.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("masked_lm, 3,000 (segment_pair)", "masked_lm, 3,000 (segment_pair)"),
        ("_a_ b__c", r"\_a\_ b\_\_c"),
        ("- a", r"\- a"),
        ("12. a", r"12\. a"),
        ("1.5 a", "1.5 a"),
        ("a\n\n> b", r"a \> b"),
    ],
)
def test_markdown(text: str, shown: str) -> None:
    assert markdown(text) == shown
