"""Keeps a chosen recipe: a record in the workdir of the run, and a config file for people."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from jaxbert.config import to_json
from jaxbert.fit.choice import Choice
from jaxbert.stores.workdir import RECIPE

RECORD, FILE = RECIPE


def files(choice: Choice, asked: Mapping[str, Any]) -> dict[str, str]:
    """Returns the files that keep a choice, by their names.

    Args:
      choice: the choice.
      asked: what the user asked for, as JSON; a repeated command is compared with it.
    """
    values = {**dataclasses.asdict(choice), "config": to_json(choice.config), "asked": dict(asked)}
    return {RECORD: json.dumps(values, indent=1) + "\n", FILE: config_file(choice)}


def config_file(choice: Choice) -> str:
    """Returns a Python file with `get_config`, which gives the chosen config. Its docstring has the reasons."""
    names = sorted(set(_classes(choice.config)))
    imports = "".join(f"    {name},\n" for name in names)
    lines = "\n".join(choice.lines)
    return (
        f'"""The recipe that `jaxbert pretrain auto` chose. Keep it, change it, and give it as CONFIG.\n\n{lines}\n'
        f'"""\n\n'
        f"from jaxbert.config import (\n{imports})\n\n\n"
        f"def get_config() -> RunConfig:\n    return {_shown(choice.config, 4)}\n"
    )


def _shown(value: Any, indent: int) -> str:
    """Returns a dataclass as the call that makes it, with the fields that are not defaults."""
    if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        inner = " " * (indent + 4)
        return "(\n" + "".join(f"{inner}{_shown(item, indent + 4)},\n" for item in value) + " " * indent + ")"
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return repr(value)
    fields = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value) if _given(value, field)]
    if not fields:
        return f"{type(value).__name__}()"
    flat = ", ".join(f"{name}={_shown(item, 0)}" for name, item in fields)
    if "\n" not in flat and len(flat) + indent + len(type(value).__name__) < 100:
        return f"{type(value).__name__}({flat})"
    inner = " " * (indent + 4)
    body = "".join(f"{inner}{name}={_shown(item, indent + 4)},\n" for name, item in fields)
    return f"{type(value).__name__}(\n{body}{' ' * indent})"


def _given(value: Any, field: dataclasses.Field[Any]) -> bool:
    default = field.default if field.default is not dataclasses.MISSING else field.default_factory
    if default is dataclasses.MISSING:
        return True
    if callable(default) and field.default is dataclasses.MISSING:
        default = default()
    return bool(getattr(value, field.name) != default)


def _classes(value: Any) -> list[str]:
    """Returns the names of the dataclasses that `_shown` names."""
    if isinstance(value, tuple):
        return [name for item in value for name in _classes(item)]
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return []
    inner = [
        name
        for field in dataclasses.fields(value)
        if _given(value, field)
        for name in _classes(getattr(value, field.name))
    ]
    return [type(value).__name__, *inner]
