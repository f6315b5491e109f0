"""Files with one JSON object on each line: metrics.jsonl and telemetry.jsonl.

`JsonLines.cut_back` is only for metrics.jsonl. It removes the lines after the restored step, because the resumed run
writes them again with the same bytes. telemetry.jsonl keeps the lines of lost steps (see `jaxbert.observe.meter`).
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from jaxbert.inputs.files import open_regular, reading
from jaxbert.inputs.values import Maybe, Whole, checked
from jaxbert.stores.files import naming, no_links, replacing


class JsonLines:
    """A file with one JSON object on each line. Each line is appended and flushed at once.

    JSON has no nan and no inf, so these numbers are written as null.

    Args:
      path: the file. Its directory is made where it does not exist.
    """

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a", encoding="utf-8", opener=no_links)  # noqa: SIM115

    def write(self, values: Mapping[str, Any]) -> None:
        """Appends one line. The values may be JSON types and arrays without dimensions."""
        line = json.dumps({key: plain(value) for key, value in values.items()}, allow_nan=False) + "\n"
        with naming(self.path):
            self._file.write(line)
            self._file.flush()

    def sync(self) -> None:
        """Syncs all lines to disk. Called before each checkpoint, so that both survive a crash of the machine."""
        with naming(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Syncs the file to disk and closes it. A second call does nothing."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    @staticmethod
    def read(path: Path) -> Iterator[dict[str, Any]]:
        """Yields the lines of `path` in order, without torn lines. A file that does not exist has no lines."""
        if not path.is_file():
            return
        with reading(path), _lines(path) as file:
            for line in file:
                values = _parse(line)
                if values is not None:
                    yield values

    @staticmethod
    def read_counted(path: Path) -> tuple[list[dict[str, Any]], int]:
        """Returns the lines of `path` in order, and how many others are damaged.

        Half a line at the end does not count as damaged: a process may be writing it.
        """
        if not path.is_file():
            return [], 0
        with reading(path), _lines(path) as file:
            found = [_parse(line) for line in file if line.endswith("\n")]
        lines = [values for values in found if values is not None]
        return lines, len(found) - len(lines)

    @staticmethod
    def cut_back(path: Path, step: int) -> None:
        """Drops torn lines and all lines whose "step" is greater than `step`. The others keep their bytes.

        A kill at any moment leaves either the old file or the new one.
        """
        if not path.is_file():
            return
        with _lines(path) as old, replacing(path, "w") as new:
            for line in old:
                values = _parse(line)
                if values is not None and (values.get("step") or 0) <= step:
                    new.write(line)


# The key that every reader of these files compares.
_SHAPE = {"step": Maybe(Whole())}


def _lines(path: Path) -> IO[str]:
    return io.TextIOWrapper(open_regular(path), encoding="utf-8", errors="replace")


def _parse(line: str) -> dict[str, Any] | None:
    """Returns the object of a line; None for a damaged one. A kill can leave half a line at the end of a file."""
    if not line.endswith("\n"):
        return None
    try:
        values: dict[str, Any] = checked(line, _SHAPE, strict=False)
    except ValueError:
        return None
    return values


def plain(value: Any) -> Any:
    """Converts `value` to JSON's types. Arrays without dimensions become numbers; nan and inf become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
