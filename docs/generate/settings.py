"""Writes the page of settings from the dataclasses of a config: each field, its type, its default and its meaning."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from docs.generate.commands import cell, escaped
from jaxbert.config import schema
from jaxbert.config.registry import Registry

HEAD = """# Settings of a config

A config is a tree of these fields. `--set` changes any of them, by the path in the first column:

    jaxbert pretrain quickstart --workdir runs/warm --set phases.0.schedule.warmup_steps=300 seed=1

`phases.0` is the first phase, and `phases.*` means all phases. A text that is neither a number nor
a word of the type is refused before anything is compiled. `none` switches off a part whose type says
`none`. `jaxbert pretrain --help` names the form of CONFIG, and `config.json` in a run's workdir has
the value of every field.

The build of this site reads this page from the docstrings of `jaxbert/config/schema.py` and of the
tables that it names, so it has every field of this version.
"""


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a config.

    Attributes:
      path: where a config has it, for example `optimizer`.
      kind: the dataclass of its fields.
      variants: further dataclasses that may stand in its place, by the names that choose them.
      optional: whether the part may be `none`.
    """

    path: str
    kind: type
    variants: Mapping[str, type] = dataclasses.field(default_factory=dict)
    optional: bool = False


def page() -> str:
    """Returns the page in Markdown."""
    return "\n".join([HEAD, *(line for part in parts(schema.RunConfig) for line in _section(part))])


def parts(kind: type, path: str = "") -> Iterator[Part]:
    """Yields a dataclass and every dataclass below it, from the top."""
    yield Part(path, kind)
    for name, hint in hints(kind).items():
        inner, many, optional = _dataclass(hint)
        if inner is None:
            continue
        below = f"{path}.{name}" if path else name
        below = f"{below}.0" if many else below
        if (registry := getattr(inner, "VARIANTS", None)) is not None:
            # A run names its variant, for example an encoder's family.
            default = getattr(inner, "VARIANT_DEFAULT", inner)
            found = {key: _variant(entry, inner) for key, entry in registry.entries.items()}
            others = {
                key: kind for key, kind in found.items() if kind is not default and dataclasses.is_dataclass(kind)
            }
            yield Part(below, default, others, optional)
        else:
            first, *rest = parts(inner, below)
            yield dataclasses.replace(first, optional=optional)
            yield from rest


def hints(kind: type) -> dict[str, Any]:
    """Returns the type of each field of a dataclass."""
    known = typing.get_type_hints(kind, include_extras=True)
    return {field.name: known[field.name] for field in dataclasses.fields(kind)}


def meanings(kind: type) -> dict[str, str]:
    """Returns what the docstrings of a dataclass and of its bases say about each field."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        _, _, attributes = inspect.cleandoc(vars(base).get("__doc__") or "").partition("Attributes:\n")
        # An entry begins two columns in, and its further lines are deeper. One entry may describe two fields.
        for entry in re.split(r"\n(?=  \w)", f"\n{attributes}".split("\n\n")[0])[1:]:
            names, _, words = entry.strip().partition(": ")
            found |= dict.fromkeys(names.split(", "), " ".join(words.split()))
    return found


def _variant(entry: Any, base: type) -> type:
    """Returns the config's class of an entry of a table: what the entry names as its config, or else `base`."""
    found = getattr(entry, "config", base)
    return found if isinstance(found, type) and issubclass(found, base) else base


def _section(part: Part) -> Iterator[str]:
    title = f"`{part.path}`" if part.path else "The run"
    yield f"\n## {title}\n"
    paragraphs = inspect.cleandoc(part.kind.__doc__ or "").split("\n\n")
    summary = paragraphs[0]
    if not summary.startswith("Attributes:"):
        yield f"{escaped(' '.join(summary.split()))}\n"
    if part.optional:
        yield "This part may be `none`.\n"
    yield "| field | type | default | what |\n|---|---|---|---|"
    yield from _rows(part.path, part.kind)
    yield ""
    for name, kind in part.variants.items():
        own = set(hints(kind)) - set(hints(part.kind))
        if own:
            yield f"`{name}` also has:\n"
            yield "| field | type | default | what |\n|---|---|---|---|"
            yield from (row for row in _rows(part.path, kind, only=own))
            yield ""


def _rows(path: str, kind: type, only: set[str] | None = None) -> Iterator[str]:
    said = meanings(kind)
    for field in dataclasses.fields(kind):
        if only is not None and field.name not in only:
            continue
        hint = hints(kind)[field.name]
        name = f"{path}.{field.name}" if path else field.name
        what = cell(said.get(field.name, ""))
        inner, many, _ = _dataclass(hint)
        if inner is not None:
            below = f"{name}.0" if many else name
            # The id that the site gives to the heading of a part.
            what = f"{what} See [`{below}`](#{below.replace('.', '')}).".strip()
        yield f"| `{name}` | {cell(_type(hint))} | {_default(field)} | {what} |"


def _dataclass(hint: Any) -> tuple[type | None, bool, bool]:
    """Returns the dataclass of a type, and whether the type is a tuple of it, and whether it may be None."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return hint, False, False
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and inner and isinstance(inner[0], type) and dataclasses.is_dataclass(inner[0]):
        return inner[0], True, False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        found = next((part for part in inner if isinstance(part, type) and dataclasses.is_dataclass(part)), None)
        return found, False, found is not None
    return None, False, False


def _type(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        registry = next((extra for extra in inner[1:] if isinstance(extra, Registry)), None)
        return ", ".join(f"`{name}`" for name in registry.names) if registry else _type(inner[0])
    if origin is typing.Literal:
        return ", ".join(f"`{word}`" for word in inner)
    if origin in (typing.Union, types.UnionType):
        return ", or ".join(_type(part) for part in inner)
    if origin is tuple:
        return f"a list of {_type(inner[0])}" if inner[-1] is Ellipsis else "a list"
    if hint is type(None):
        return "`none`"
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return "a part"
    names = {int: "whole number", float: "number", str: "text", bool: "`true`, `false`"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "" if field.default_factory is dataclasses.MISSING else f"`{field.default_factory()}`"
    value = field.default
    if dataclasses.is_dataclass(value) or (isinstance(value, tuple) and value):
        return ""
    if value is None:
        return "`none`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f"`{value}`" if value else "empty"
    return f"`{list(value) if isinstance(value, tuple) else value}`"
