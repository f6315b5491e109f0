"""docs/how-to/launch.md shows the dry run of every target as it is now."""

from __future__ import annotations

import pytest
from jaxbert.launch import TARGETS

from tests.launch.document import PAGE, block, written
from tests.launch.toy import Toy


@pytest.mark.parametrize("target", ["local", *TARGETS])
def test_the_page_shows_what_is_printed(target: str):
    assert block(target) in PAGE.read_text(encoding="utf-8"), "python -m tests.launch.document"


def test_a_new_target_gets_a_section(add_target, monkeypatch: pytest.MonkeyPatch):
    before = PAGE.read_text(encoding="utf-8")
    monkeypatch.setattr("tests.launch.document.TARGETS", {"toy": Toy()})
    add_target("toy", Toy())
    page = written(before)
    assert f"## Toy\n\nA queue of this machine.\n\n<!-- dry run: toy -->\n\n{block('toy')}\n\n" in page
    assert page.index("## Toy") < page.index("## What was tested")


@pytest.mark.parametrize("target", ["local", *TARGETS])
def test_the_page_says_of_every_target_what_was_tested(target: str):
    page = PAGE.read_text(encoding="utf-8")
    head, _, tested = page.partition("## What was tested")
    assert f"| [`{target}`](#{target}) |" in head and f"\n| `{target}` |" in tested
