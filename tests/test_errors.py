"""Every error has a code, codes are well-formed, and docs/reference/errors.md lists them as the source has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jaxbert.errors import InputError
from tests.errors_page import KINDS, PAGE, VALUE, page, sites


def test_every_error_has_a_code():
    without = [f"{site.place} {site.kind}" for site in sites() if not site.code]
    assert not without, "\n".join(without)
    codes = {site.code for site in sites() if site.code != "(passed on)"}
    assert len(codes) > 100
    wrong = [code for code in codes if not re.fullmatch(r"E-[A-Z0-9]+(-[A-Z0-9]+)+", code)]
    assert not wrong, wrong


def test_the_page_of_errors_is_the_source():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.errors_page"


def test_every_code_says_something():
    said: dict[str, set[str]] = {}
    for site in sites():
        said.setdefault(site.code, set()).update(site.what)
    said.pop("(passed on)", None)
    assert not {code for code, texts in said.items() if texts == {VALUE}}


def test_a_code_has_one_exit_code():
    exits: dict[str, set[int]] = {}
    for site in sites():
        exits.setdefault(site.code, set()).add(KINDS[site.kind])
    exits.pop("(passed on)", None)
    assert not {code: found for code, found in exits.items() if len(found) > 1}


# Codes that no test provokes, in order, each with a short reason.
UNPROVOKED: tuple[tuple[str, str], ...] = ()


def test_every_code_is_in_a_test():
    """A code counts where a test expects it, not where a test raises an error of its own with `code="..."`."""
    tests = Path(__file__).parent
    itself = {Path(__file__), tests / "errors_page.py"}
    texts = [path.read_text(encoding="utf-8") for path in sorted(tests.rglob("*.py")) if path not in itself]
    expected = {code for text in texts for code in re.findall(r"(?<!code=\")\bE(?:-[A-Z0-9]+){2,}", text)}
    codes = {site.code for site in sites() if site.code.startswith("E-")}
    listed = [code for code, _ in UNPROVOKED]
    assert listed == sorted(set(listed)) and all(reason for _, reason in UNPROVOKED)
    assert sorted(codes - expected) == listed, "write a test of each new code; list no code that has a test"


def test_an_error_cannot_be_made_without_a_code():
    with pytest.raises(TypeError, match="code"):
        InputError("what", where="where", fix="fix")  # type: ignore[call-arg]
