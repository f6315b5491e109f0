"""YAML that says what was meant: a library writes it, text of several lines as a block, for people to read."""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """With our way of writing text, and everything written out where it belongs."""

    def ignore_aliases(self, data: Any) -> bool:
        """See yaml.Dumper."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    lines = text.split("\n")
    # What YAML's blocks would lose or change stays in quotes: signs that do not print, spaces at the end of a line.
    block = len(lines) > 1 and all(line.isascii() and f"{line}x".isprintable() for line in lines)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if block else None)


_Dumper.add_representer(str, _text)


def documents(*found: dict[str, Any]) -> bytes:
    """One file of these documents."""
    return yaml.dump_all(found, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=False).encode()
