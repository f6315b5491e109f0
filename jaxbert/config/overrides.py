"""`--set a.b=v`: typed, strict changes to a config. An unknown key is an error that names the nearest. No jax."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

from jaxbert.config import RunConfig, did_you_mean, from_json, scaling, unknown_key
from jaxbert.config.io import variant
from jaxbert.errors import InputError

_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


def apply_overrides(
    config: RunConfig, settings: list[str], note: Callable[[str], None] = lambda line: None
) -> RunConfig:
    """`config` with each `key=value` of `settings` applied in order.

    Keys are field names joined by dots; an element of a tuple is named by its index, by its `name` where it has one
    (`phases.main.steps`), or `*` for all. Values are parsed by the field's type; a part that may be None takes
    `none` or `default`; a tuple takes JSON. A key `scale.X` is a helper of `jaxbert.config.scaling`, which
    tells `note` what it did.

    Raises:
      InputError: an unknown key or a value of the wrong type.
    """
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or not key:
            raise InputError(
                f"{setting!r} is not KEY=VALUE", where="--set", fix="Write for example phases.0.steps=100."
            )
        if key.startswith(scaling.PREFIX):
            config, lines = scaling.scale(config, key.removeprefix(scaling.PREFIX), value)
            for line in lines:
                note(line)
        else:
            config = _replace(RunConfig, config, key.split("."), value, f"--set {key}")
    return config


def _replace(kind: Any, current: Any, path: list[str], text: str, where: str) -> Any:
    """`current`, which is of type `kind`, with the value at `path` replaced by `text`."""
    if not path:
        return _parse(kind, text, where)
    name, rest = path[0], path[1:]
    inner = _without_none(kind)
    if typing.get_origin(inner) is tuple:
        (item_kind, *_) = typing.get_args(inner)
        chosen = _elements(current, name, where)
        return tuple(
            _replace(item_kind, item, rest, text, where) if index in chosen else item
            for index, item in enumerate(current)
        )
    if not dataclasses.is_dataclass(inner):
        raise InputError(f"{name!r} is looked for inside a plain value", where=where, fix="Shorten the key.")
    made = variant(inner, {}, where) if current is None else type(current)
    hints = typing.get_type_hints(made)
    if name not in hints:
        raise unknown_key(name, list(hints), where)
    part = typing.cast(Any, made)() if current is None else current
    value = _replace(hints[name], getattr(part, name), rest, text, where)
    if name == getattr(made, "VARIANT_KEY", None):
        # Another name may have another class: it takes the fields that both have.
        made = variant(inner, {name: value}, where)
        shared = {field.name for field in dataclasses.fields(made)} & {field.name for field in dataclasses.fields(part)}
        part = made(**{field: getattr(part, field) for field in shared})
    return dataclasses.replace(part, **{name: value})


def _elements(items: tuple[Any, ...], name: str, where: str) -> list[int]:
    if name == "*":
        return list(range(len(items)))
    if name.isdigit() and int(name) < len(items):
        return [int(name)]
    names = [str(getattr(item, "name", index)) for index, item in enumerate(items)]
    if name not in names:
        raise InputError(
            f"no element {name!r}", where=where, fix=f"{did_you_mean(name, names)}Known: {', '.join(names)}, *."
        )
    return [names.index(name)]


def _without_none(kind: Any) -> Any:
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        (kind,) = (argument for argument in typing.get_args(kind) if argument is not type(None))
    return kind


def _parse(kind: Any, text: str, where: str) -> Any:
    """`text` as a value of type `kind`."""
    inner = _without_none(kind)
    if inner is not kind and text.lower() == "none":
        return None
    if dataclasses.is_dataclass(inner) and text.lower() == "default":
        return typing.cast(Any, inner)()
    if inner is str or (
        typing.get_origin(inner) is Literal and all(isinstance(a, str) for a in typing.get_args(inner))
    ):
        return from_json(inner, text, where)
    if inner is bool:
        if text.lower() not in _TRUE + _FALSE:
            raise InputError(f"{text!r} is neither true nor false", where=where, fix="Give true or false.")
        return text.lower() in _TRUE
    if inner is int or inner is float:
        try:
            return inner(text)
        except ValueError:
            kind_name = "a whole number" if inner is int else "a number"
            raise InputError(f"{text!r} is not {kind_name}", where=where, fix=f"Give {kind_name}.") from None
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        raise InputError(f"{text!r} is not JSON", where=where, fix="Set its fields one by one, or give JSON.") from None
    return from_json(inner, value, where)
