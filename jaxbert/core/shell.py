"""Words of a shell for commands that a message shows. Imports no jax."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

# Error lines join white space. A shell reads these characters from an escape only.
_LOST = re.compile(r"[^\S ]| {2}|^ | $|[\x00-\x1f\x7f\ud800-\udfff]")


def word(text: str) -> str:
    r"""Returns a text as one word that can be pasted into bash or zsh, with `$'\n'` for what a line does not keep."""
    if not _LOST.search(text):
        return shlex.quote(text)
    escaped = ""
    for char in text:
        if char in "\\'":
            escaped += f"\\{char}"
        elif char == " " or (_LOST.search(char) and not char.isascii()):
            escaped += "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))
        else:
            escaped += f"\\x{ord(char):02x}" if _LOST.search(char) else char
    return f"$'{escaped}'"


def path_word(path: Path | str) -> str:
    """Returns a path as one word. A command does not take it for an option, whatever its first character is."""
    text = str(path)
    return word(f"./{text}" if text.startswith("-") else text)
