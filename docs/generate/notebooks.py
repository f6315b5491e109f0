"""Turns a notebook into a page: its text, its code and the outputs that it was saved with."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

# Colours of a terminal.
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def page(path: Path) -> str:
    """Returns the page of a notebook in Markdown."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = _joined(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code":
            parts.append(_fenced(source, "python"))
            parts += [text for output in cell["outputs"] if (text := _output(output))]
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return _fenced(_COLOURS.sub("", _joined(output["text"])).rstrip(), "text")
    data = output.get("data", {})
    if "image/png" in data:
        picture = _joined(data["image/png"]).replace("\n", "")
        return f'<img alt="{html.escape(_joined(data.get("text/plain", "")))}" src="data:image/png;base64,{picture}">'
    return _fenced(_joined(data["text/plain"]), "text") if "text/plain" in data else ""


def _fenced(text: str, language: str) -> str:
    # A fence is longer than any row of backticks in the text.
    longest = max((len(found) for found in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
