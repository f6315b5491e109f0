"""Writes YAML with a library, so that every value is quoted right. Text of several lines becomes a readable block."""

from __future__ import annotations

from typing import Any

import yaml

# The archive of the code is a text of a million characters. PyYAML's own emitter looks at each of them for half a
# second; libyaml, where PyYAML is built with it, needs a hundredth of that.
_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_Base):  # type: ignore[misc]  # PyYAML has no types.
    """A dumper that writes no references (&a, *a) and writes text of several lines as a block."""

    def ignore_aliases(self, data: Any) -> bool:
        """See yaml.Dumper."""
        return True


def _text(dumper: Any, text: str) -> Any:
    lines = text.split("\n")
    # A YAML block would change characters that do not print and spaces at the end of a line: such text is quoted.
    block = len(lines) > 1 and all(line.isascii() and f"{line}x".isprintable() for line in lines)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if block else None)


_Dumper.add_representer(str, _text)


def documents(*found: dict[str, Any]) -> bytes:
    """Returns one YAML file with these documents."""
    text: str = yaml.dump_all(found, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=False)
    return text.encode()
