"""The one reader of JSON: from bytes to a value that the rest of the program can use without fear. Imports no jax.

`parse` refuses what Python's json accepts or fails on with a foreign exception: deep nesting, numbers beyond float64,
NaN and Infinity, a key that occurs twice. `check` compares a value with a shape, so that a missing or mistyped key is
found where the file is read, and not where its value is first used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxbert.errors import InputError
from jaxbert.inputs.files import MOST_BYTES, decoded, read_bytes

# Python's own limit is near 1,000 and depends on the caller, and code that walks a value recurses too. Our files have
# at most ten levels.
MOST_LEVELS = 100
# 10^308 is the largest power of ten in float64.
_MOST_DIGITS = 308
_ODD_TEXT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def parse(text: str | bytes, *, strict: bool = True, nan: bool = False) -> Any:
    """Returns the value of a JSON text.

    Args:
      text: the text, or its bytes in UTF-8 with or without a byte order mark.
      strict: also refuse NaN and Infinity, numbers beyond float64, a key that occurs twice in an object, NUL and lone
        surrogates in strings. Otherwise they are read as Python's json reads them: of equal keys the last counts.
        A whole number of more digits than Python reads becomes a float, which may be infinite.
      nan: accept NaN and Infinity although `strict`.

    Raises:
      ValueError: it is not JSON, or it is refused. The message says why, for people.
    """
    if isinstance(text, bytes):
        text = decoded(text)
    try:
        if strict:
            value = json.loads(
                text,
                object_pairs_hook=_unique,
                parse_constant=float if nan else _constant,
                parse_int=_whole,
                parse_float=_finite,
            )
        else:
            value = json.loads(text, parse_int=_any_whole)
    except RecursionError:
        raise _too_deep() from None
    if text.count("[") + text.count("{") > MOST_LEVELS:
        _check_levels(value)
    if strict and _ODD_TEXT.search(text):
        _check_texts(value)
    return value


def parse_next(text: str, start: int, *, unique: bool = False) -> tuple[Any, int]:
    """Returns the JSON value that begins at a place of a text, and the place behind it.

    It is read as by `parse` without `strict`.

    Args:
      text: the text.
      start: the place.
      unique: refuse a key that occurs twice in an object.

    Raises:
      ValueError: no whole JSON value begins there; json.JSONDecodeError unless it is refused for another reason.
    """
    try:
        return (_UNIQUE if unique else _LENIENT).raw_decode(text, start)
    except RecursionError:
        raise _too_deep() from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Builds a JSON object, and raises ValueError where a key occurs twice: readers disagree about which one counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        double = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {double[:60]!r} occurs twice")
    return found


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number has {len(text):,} digits")
    return int(text)


def _any_whole(text: str) -> int | float:
    # Python reads at most 4,300 digits, or fewer if it is told so.
    return int(text) if len(text) <= _MOST_DIGITS else float(text)


_LENIENT = json.JSONDecoder(parse_int=_any_whole)
_UNIQUE = json.JSONDecoder(parse_int=_any_whole, object_pairs_hook=_unique)


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {short(text)} is too large")
    return value


def _check_levels(value: Any) -> None:
    level, levels = [value], 0
    while level:
        levels += 1
        if levels > MOST_LEVELS:
            raise _too_deep()
        inside = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [child for items in inside for child in items if isinstance(child, dict | list)]


def _too_deep() -> ValueError:
    return ValueError(f"it is nested too deeply: more than {MOST_LEVELS} levels")


def _check_texts(value: Any) -> None:
    """Refuses what no file system and no encoder takes. Escapes may also be of pairs, which make one character."""
    text = json.dumps(value, ensure_ascii=False)
    if "\\u0000" in text.replace("\\\\", ""):
        raise ValueError("a string has a NUL character")
    if re.search("[\ud800-\udfff]", text):
        raise ValueError("a string has half of a character: a lone surrogate")


def whole_number(text: str) -> int | None:
    """Returns the number that up to 18 ASCII digits write; None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def is_number(value: Any) -> bool:
    """Returns whether a JSON value is a number that can be drawn. Edited or damaged files may hold any value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e300


def short(value: Any) -> str:
    """Returns a value for a message: as JSON, cut to 60 characters."""
    try:
        text = json.dumps(value, ensure_ascii=True, default=repr)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:60]}..."


def flat(value: Mapping[str, Any] | list[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the values inside objects and lists by their keys, joined by dots. Empty ones are values themselves."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, (Mapping, list)) and inner:
            yield from flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


# ----------------------------------------------------------------------------------------------------------------------
# Shapes


@dataclass(frozen=True)
class Whole:
    """The shape of a whole number from `least` to `most`."""

    least: int = 0
    most: int = (1 << 53) - 1


@dataclass(frozen=True)
class Each:
    """The shape of an object with any keys, whose values all have the shape `shape`."""

    shape: Any


@dataclass(frozen=True)
class Maybe:
    """The shape of a value that may also be null, and of a key that may also be missing."""

    shape: Any


@dataclass(frozen=True)
class OneOf:
    """The shape of one of a few strings or numbers."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Matching:
    """The shape of a string that a pattern matches as a whole; `name` is its description for the message."""

    pattern: str
    name: str


_NAMES = {
    str: "a string",
    bool: "true or false",
    float: "a number",
    dict: "an object",
    list: "a list",
}


def check(value: Any, shape: Any, place: str = "") -> None:
    """Checks that a JSON value has a shape. Objects may have more keys than the shape.

    Args:
      value: of `parse`.
      shape: str, bool, float (any number), dict, list, object (anything), `Whole`, `Each`, `Maybe`, `OneOf`,
        `Matching`; {key: shape} for an object; [shape] for a list of any length; (shape, ...) for a list of exactly
        these.
      place: the keys above the value, joined by dots, for the message.

    Raises:
      ValueError: a key is missing or has another type. The message names it.
    """
    match shape:
        case Maybe():
            if value is not None:
                check(value, shape.shape, place)
        case Whole():
            if not isinstance(value, int) or isinstance(value, bool) or not shape.least <= value <= shape.most:
                raise _other(value, f"a whole number from {shape.least:,} to {shape.most:,}", place)
        case OneOf():
            if not any(value == one and type(value) is type(one) for one in shape.values):
                raise _other(value, f"one of {', '.join(map(str, shape.values))}", place)
        case Matching():
            if not isinstance(value, str) or re.fullmatch(shape.pattern, value) is None:
                raise _other(value, shape.name, place)
        case Each():
            check(value, dict, place)
            for key, item in value.items():
                check(item, shape.shape, _below(place, key))
        case dict():
            check(value, dict, place)
            for key, inner in shape.items():
                if key in value:
                    check(value[key], inner, _below(place, key))
                elif not isinstance(inner, Maybe):
                    raise ValueError(f"the key {_below(place, key)!r} is missing")
        case list():
            check(value, list, place)
            for index, item in enumerate(value):
                check(item, shape[0], _below(place, str(index)))
        case tuple():
            check(value, list, place)
            if len(value) != len(shape):
                raise _other(value, f"a list of {len(shape)} values", place)
            for index, (item, inner) in enumerate(zip(value, shape, strict=True)):
                check(item, inner, _below(place, str(index)))
        case _:
            right = isinstance(value, (int, float) if shape is float else shape)
            if not right or (isinstance(value, bool) and shape not in (bool, object)):
                raise _other(value, _NAMES[shape], place)


def _below(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _other(value: Any, needed: str, place: str) -> ValueError:
    return ValueError(f"{place or 'the value'} is {short(value)}, but {needed} is needed")


# ----------------------------------------------------------------------------------------------------------------------
# Files


def read_json(
    path: Path, what: str, *, fix: str, code: str, shape: Any = object, most: int = MOST_BYTES, strict: bool = True
) -> Any:
    """Returns the value of a JSON file.

    Args:
      path: the file.
      what: the beginning of the error if it is damaged, for example "the manifest cannot be used".
      fix: advice to the user if it is damaged.
      code: the code of the error if it is damaged.
      shape: the shape that its value must have, see `check`.
      most: the most bytes that the file may have.
      strict: see `parse`.

    Raises:
      InputError: the file is not JSON, or its value has another shape; also see `read_bytes`.
      Interrupted: the disk or the mount fails.
      OSError: the file is missing, or it is a directory.
    """
    text = read_bytes(path, most=most)
    return parse_json(text, what, where=str(path), fix=fix, code=code, shape=shape, strict=strict)


def parse_json(
    text: str | bytes, what: str, *, where: str, fix: str, code: str, shape: Any = object, strict: bool = True
) -> Any:
    """Does what `read_json` does, for a text from elsewhere. `where` names its place for the error."""
    try:
        return checked(text, shape, strict=strict)
    except ValueError as error:
        raise InputError(f"{what}: {error}", where=where, fix=fix, code=code) from None


def checked(text: str | bytes, shape: Any, *, strict: bool = True, nan: bool = False) -> Any:
    """Returns the value of a JSON text that has a shape. Raises ValueError as `parse` and `check` do."""
    value = parse(text, strict=strict, nan=nan)
    check(value, shape)
    return value
