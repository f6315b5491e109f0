"""Writes the figures of a command to the file of --json."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxbert.stores.files import write_whole


def write_figures(file: str | None, figures: Mapping[str, Any]) -> None:
    """Writes `figures` as JSON, where --json names a file: a regular file whole or not at all."""
    if not file:
        return
    text = json.dumps(figures, indent=1, default=_plain) + "\n"
    if file.startswith(("/dev/", "/proc/")) or (os.path.exists(file) and not os.path.isfile(file)):
        Path(file).write_text(text, encoding="utf-8")
    else:
        # The file that a link leads to is replaced, and the link stays.
        write_whole(Path(os.path.realpath(file)), text)


def _plain(value: Any) -> Any:
    """Returns arrays and their numbers as lists and numbers, and paths as strings, for JSON."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
