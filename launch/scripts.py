"""Makes shell scripts: a head that sets variables to quoted values, then a body from a file of this directory.

The bodies (*.sh) contain no text from the user. So they are plain files, which shellcheck reads as they are.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

_HERE = Path(__file__).parent
Value = str | int | Sequence[str]


def script(body: str, values: Mapping[str, Value], *, shell: str = "/bin/bash") -> str:
    """Returns the script `body` with its variables set.

    Args:
      body: the name of a file of this directory.
      values: shell variables. A sequence becomes an array.
      shell: the interpreter in the first line.
    """
    # shellcheck: values are in single quotes, and a body may use only some of the variables.
    head = [f"#!{shell}", "# Written by `jaxbert launch`.", "# shellcheck disable=SC2016,SC2034"]
    text = (_HERE / body).read_text(encoding="utf-8")
    return "\n".join([*head, *map(_set, values.items()), text.removeprefix("# shellcheck shell=bash\n")])


def _set(item: tuple[str, Value]) -> str:
    name, value = item
    if isinstance(value, (str, int)):
        return f"{name}={shlex.quote(str(value))}"
    return f"{name}=({' '.join(map(shlex.quote, value))})"
