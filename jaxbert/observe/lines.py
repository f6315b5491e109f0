"""Files of one JSON object a line."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxbert.stores.files import replacing


class JsonLines:
    """A file of one JSON object a line, appended to and flushed line by line.

    Numbers that JSON has no word for (nan, inf) are written as null.
    """

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def write(self, values: Mapping[str, Any]) -> None:
        """Appends one line. Values: JSON types and 0-d arrays."""
        self._file.write(json.dumps({key: plain(value) for key, value in values.items()}, allow_nan=False) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Puts on disk what was written: before a checkpoint, so that its lines outlive the machine as it does."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Syncs to disk and closes; a second call does nothing."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    @staticmethod
    def read(path: Path) -> Iterator[dict[str, Any]]:
        """The lines of `path` in order; nothing if there is no such file; a torn line is left out."""
        if not path.is_file():
            return
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                values = _parse(line)
                if values is not None:
                    yield values

    @staticmethod
    def cut_back(path: Path, step: int) -> None:
        """Drops every line whose "step" is greater than `step`, and torn lines; the others stay byte for byte.

        Atomic: a kill leaves the old file or the new one.
        """
        if not path.is_file():
            return
        with path.open(encoding="utf-8", errors="replace") as old, replacing(path, "w", suffix=".cut") as new:
            for line in old:
                values = _parse(line)
                if values is not None and values.get("step", step) <= step:
                    new.write(line)


def _parse(line: str) -> dict[str, Any] | None:
    """The object of one whole line; None for a torn one (a kill can leave half a line, at the end only)."""
    if not line.endswith("\n"):
        return None
    try:
        values = json.loads(line)
    except json.JSONDecodeError:
        return None
    return values if isinstance(values, dict) else None


def plain(value: Any) -> Any:
    """`value` in JSON's types; arrays of no dimensions become numbers, nan and inf None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
