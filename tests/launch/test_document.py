"""The page about launching shows what dry runs print, for every target."""

from __future__ import annotations

import pytest
from jaxbert.launch import TARGETS

from tests.launch.document import COMMANDS, PAGE, block


def test_every_target_is_on_the_page():
    assert set(COMMANDS) == {"local", *TARGETS}


@pytest.mark.parametrize("target", COMMANDS)
def test_the_page_shows_what_is_printed(target: str):
    assert block(target) in PAGE.read_text(encoding="utf-8"), "python -m tests.launch.document"
