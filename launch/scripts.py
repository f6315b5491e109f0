"""Shell scripts: a head of quoted values, then a body from a file that holds no user's word.

The bodies (*.sh here) are plain files, so that they can be read and checked as they are.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

_HERE = Path(__file__).parent
Value = str | int | Sequence[str]


def script(body: str, values: Mapping[str, Value], *, shell: str = "/bin/bash") -> str:
    """The script `body` (a file name here) with its variables set.

    Args:
      body: of a file of this directory.
      values: shell variables; a sequence becomes an array.
      shell: of the first line.
    """
    # Values stay in single quotes, and the body may use some of them only.
    head = [f"#!{shell}", "# Written by `jaxbert launch`.", "# shellcheck disable=SC2016,SC2034"]
    text = (_HERE / body).read_text(encoding="utf-8")
    return "\n".join([*head, *map(_set, values.items()), text.removeprefix("# shellcheck shell=bash\n")])


def _set(item: tuple[str, Value]) -> str:
    name, value = item
    if isinstance(value, (str, int)):
        return f"{name}={shlex.quote(str(value))}"
    return f"{name}=({' '.join(map(shlex.quote, value))})"
