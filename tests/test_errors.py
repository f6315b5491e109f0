"""Every error has a code, codes are well-formed, and docs/errors.md lists them as the source has them."""

from __future__ import annotations

import re

from tests.errors_page import PAGE, page, sites


def test_every_error_has_a_code():
    without = [f"{site.place} {site.kind}" for site in sites() if not site.code]
    assert not without, "\n".join(without)
    codes = {site.code for site in sites() if site.code != "(passed on)"}
    assert len(codes) > 100
    wrong = [code for code in codes if not re.fullmatch(r"E-[A-Z0-9]+(-[A-Z0-9]+)+", code)]
    assert not wrong, wrong


def test_the_page_of_errors_is_the_source():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.errors_page"
