"""The browser of the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.chromium import Browser, browser, find


@pytest.fixture(scope="session")
def running() -> Iterator[Browser]:
    """A browser. Without one on the machine, the tests fail: nothing would be known about the page."""
    program = find()
    assert program, (
        "NOT RUN: no chromium on this machine, so nothing about the page in a browser is known. Install one "
        "(apt-get install chromium), or name it: JAXBERT_CHROMIUM=/path/to/chromium make test-browser"
    )
    with browser(program) as found:
        yield found
