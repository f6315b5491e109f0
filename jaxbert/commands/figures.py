"""Writes the figures of a command to the file of --json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_figures(file: str | None, figures: Mapping[str, Any]) -> None:
    """Writes `figures` as JSON, where --json names a file."""
    if file:
        Path(file).write_text(json.dumps(figures, indent=1, default=_plain) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Returns arrays and their numbers as lists and numbers, and paths as strings, for JSON."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
