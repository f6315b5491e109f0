"""`--set a.b=v`: typed, strict changes of a config. An error about an unknown key names the nearest one.

Imports no jax.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from jaxbert.config import scaling
from jaxbert.config.io import field_types, from_json, to_json, unknown_key, variant
from jaxbert.config.nearby import SHORT_KEYS, near_settings
from jaxbert.config.registry import did_you_mean
from jaxbert.config.schema import RunConfig
from jaxbert.errors import InputError
from jaxbert.inputs.values import parse, short, whole_number

_log = logging.getLogger(__name__)
# Names joined by commas. A number or a word of JSON is none, so that JSON stays what it is.
_NAMES = re.compile(r"(?!(true|false|null)\b)[a-z][a-z0-9_]*(,[a-z][a-z0-9_]*)*")
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")
# JSON writes null, and Python writes None.
_NONE = ("none", "null")


@dataclasses.dataclass(frozen=True)
class Setting:
    """One `--set KEY=VALUE`.

    Attributes:
      key: field names joined by dots, or `scale.NAME` for a helper of `jaxbert.config.scaling`.
      value: the text behind the first equals sign. The type of the field decides what it means.
    """

    key: str
    value: str

    @property
    def where(self) -> str:
        """Returns the setting as an error names it."""
        return f"--set {self.key}"


def with_long_key(setting: str) -> str:
    """Returns KEY=VALUE with the key of the config in the place of a short one; another text as it is."""
    key, equals, value = setting.partition("=")
    return f"{SHORT_KEYS.get(key, key)}{equals}{value}" if equals else setting


def parse_settings(texts: Iterable[str]) -> tuple[Setting, ...]:
    """Returns the settings that `KEY=VALUE` texts give, in their order.

    Raises:
      InputError: a text is not KEY=VALUE.
    """
    found = []
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise InputError(
                f"{text!r} is not KEY=VALUE",
                where="--set",
                fix="Write for example phases.0.steps=100.",
                code="E-SET-FORM",
            )
        found.append(Setting(key, value))
    return tuple(found)


def value_of(settings: Sequence[Setting], key: str) -> str | None:
    """Returns the text that the last setting of a key gives; None where there is none."""
    return next((one.value for one in reversed(settings) if one.key == key), None)


def apply_settings(config: RunConfig, settings: Iterable[Setting]) -> tuple[RunConfig, list[str]]:
    """Returns `config` with the settings applied in their order, and the lines of the scaling helpers.

    Keys are field names joined by dots. An element of a tuple is named by its index, by its `name` where it has one
    (`phases.main.steps`), or by `*` for all elements. The field's type says how a value is parsed; a part that may be
    None takes `none` (or `null`) or `default`; a tuple takes JSON, and a tuple of names also takes them joined by
    commas.

    Raises:
      InputError: a key is unknown, or a value has the wrong type.
    """
    lines = []
    for setting in settings:
        if setting.key.startswith(scaling.PREFIX):
            config, said = scaling.scale(config, setting.key.removeprefix(scaling.PREFIX), setting.value)
            lines += said
        else:
            try:
                config = _replace(RunConfig, config, setting.key.split("."), setting.value, setting.where)
            except InputError as error:
                # A key inside a JSON value has another place.
                unknown = error.code == "E-CONFIG-KEY" and error.where == setting.where
                found = near_settings(config, setting.key) if unknown else []
                if not found:
                    raise
                raise InputError(
                    error.what,
                    where=error.where,
                    fix=f"Did you mean {' or '.join(found)}?",
                    code="E-CONFIG-KEY",
                ) from None
    return config, lines


def apply_overrides(config: RunConfig, texts: Iterable[str]) -> RunConfig:
    """Returns `config` with each `KEY=VALUE` of `texts` applied in order, and logs what the scaling helpers did.

    Raises:
      InputError: a text is not KEY=VALUE, a key is unknown, or a value has the wrong type.
    """
    changed, lines = apply_settings(config, parse_settings(texts))
    for line in lines:
        _log.info(line)
    return changed


def _replace(kind: Any, current: Any, path: list[str], text: str, where: str) -> Any:
    """Returns `current`, a value of type `kind`, with the value at `path` replaced by `text`."""
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
        raise InputError(
            f"the key looks for {name!r} inside a plain value",
            where=where,
            fix="Shorten the key.",
            code="E-SET-KEY",
        )
    made = variant(inner, {}, where) if current is None else type(current)
    hints = field_types(made)
    if name not in hints:
        raise unknown_key(name, list(hints), where)
    part = typing.cast(Any, made)() if current is None else current
    value = _replace(hints[name], getattr(part, name), rest, text, where)
    if name == getattr(made, "VARIANT_KEY", None):
        # Another name may have another class: it takes the fields that both have.
        made = variant(inner, {name: value}, where)
        if made is not type(part):
            given = to_json(part)
            shared = {field: given[field] for field in field_types(made) if field in given}
            part = from_json(made, {**shared, name: value}, where)
    return dataclasses.replace(part, **{name: value})


def _elements(items: tuple[Any, ...], name: str, where: str) -> list[int]:
    if name == "*":
        return list(range(len(items)))
    index = whole_number(name)
    if index is not None and index < len(items):
        return [index]
    names = [str(getattr(item, "name", index)) for index, item in enumerate(items)]
    if name not in names:
        raise InputError(
            f"there is no element {name!r}",
            where=where,
            fix=f"{did_you_mean(name, names)}Known: {', '.join(names)}, *.",
            code="E-SET-KEY",
        )
    return [names.index(name)]


def _without_none(kind: Any) -> Any:
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        (kind,) = (argument for argument in typing.get_args(kind) if argument is not type(None))
    return kind


def _parse(kind: Any, text: str, where: str) -> Any:
    """Returns `text` as a value of type `kind`."""
    inner = _without_none(kind)
    words = inner is str or (
        typing.get_origin(inner) is Literal and all(isinstance(a, str) for a in typing.get_args(inner))
    )
    if text.lower() in _NONE and inner is not kind:
        return None
    if text.lower() in _NONE and not words:
        raise InputError(
            f"this setting cannot be {text}",
            where=where,
            fix="Give it a value, or leave it as it is."
            if not dataclasses.is_dataclass(inner)
            else f"Set its fields one by one: {', '.join(list(field_types(inner))[:3])}, ...",
            code="E-CONFIG-TYPE",
        )
    if dataclasses.is_dataclass(inner) and text.lower() == "default":
        return typing.cast(Any, inner)()
    if words:
        return from_json(inner, text, where)
    if inner is bool:
        if text.lower() not in _TRUE + _FALSE:
            raise InputError(
                f"{text!r} is neither true nor false", where=where, fix="Give true or false.", code="E-CONFIG-TYPE"
            )
        return text.lower() in _TRUE
    if inner is int or inner is float:
        try:
            return from_json(inner, inner(text), where)
        except ValueError:
            kind_name = "a whole number" if inner is int else "a number"
            raise InputError(
                f"{short(text)} is not {kind_name}", where=where, fix=f"Give {kind_name}.", code="E-CONFIG-TYPE"
            ) from None
    if typing.get_origin(inner) is tuple and typing.get_args(inner)[0] is str and _NAMES.fullmatch(text):
        return tuple(text.split(","))
    try:
        value = parse(text)
    except ValueError as error:
        raise InputError(
            f"{short(text)} is not JSON: {error}",
            where=where,
            fix="Set the fields one by one, or give JSON.",
            code="E-CONFIG-TYPE",
        ) from None
    return from_json(inner, value, where)
