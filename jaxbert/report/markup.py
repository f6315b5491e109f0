"""Texts and values of a run as parts of a page."""

from __future__ import annotations

import html
import json
import re
from typing import Any


def embedded(value: Any) -> str:
    """Returns JSON that can be inside a script element: no text in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text)


def prose(text: str) -> str:
    """Returns a sentence as HTML: what stands between backticks is code."""
    return re.sub(r"`(.+?)`", r"<code>\1</code>", html.escape(text))
