"""Finds, reads, writes and compares configs."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import math
import traceback
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from jaxbert.config.registry import did_you_mean
from jaxbert.config.schema import LabelledTaskConfig, RunConfig
from jaxbert.errors import CommandError, InputError
from jaxbert.inputs.files import check_regular
from jaxbert.inputs.values import parse, read_json, short

# Larger numbers do not fit into the integers of numpy and jax.
_LARGEST = (1 << 63) - 1

# The smallest and the largest positive number of float32 with full precision (IEEE 754).
_SMALLEST_FLOAT, _LARGEST_FLOAT = 2.0**-126, (2 - 2.0**-23) * 2.0**127
# The keys that a resumed run may change. Any other difference is an InputError that shows it.
RESUME_MAY_CHANGE = ("mesh", "checkpoint", "logging", "guard.hang_minutes", "guard.max_diverged", "phases.*.steps")


def find_config(name: str, *, labelled: bool = False) -> RunConfig:
    """Returns CONFIG of the command line: a bare name from `jaxbert.configs`, a Python file with `get_config`, or JSON.

    With `labelled`, the error for an unknown name offers only the configs of tasks that learn from labels.

    Raises:
      InputError: there is no such config (the error names the nearest), or it does not give a RunConfig.
    """
    path = Path(name)
    if path.suffix == ".json":
        return load_json(path)
    if path.suffix == ".py":
        if not path.is_file():
            raise InputError("no such config file", where=name, fix="Check the path.", code="E-CONFIG-MISSING")
        config = _from_file(path)
    else:
        known = config_names()
        if name == "auto":
            raise InputError(
                "auto is a recipe that `jaxbert pretrain` chooses for a text, and not a config",
                where="CONFIG",
                fix="Run `jaxbert pretrain auto --text PATH` once, and give the auto.py in its workdir as CONFIG.",
                code="E-CONFIG-AUTO",
            )
        if name not in known:
            if labelled:
                known = [one for one in known if isinstance(find_config(one).task, LabelledTaskConfig)]
            raise InputError(
                f"no config named {name!r}",
                where="CONFIG",
                fix=f"{did_you_mean(name, known)}Known: {', '.join(known)}.",
                code="E-CONFIG-MISSING",
            )
        config = importlib.import_module(f"jaxbert.configs.{name}").get_config()
    if not isinstance(config, RunConfig):
        raise InputError(
            f"get_config() returned a {type(config).__name__}",
            where=name,
            fix="Return a RunConfig.",
            code="E-CONFIG-FILE",
        )
    return config


def _from_file(path: Path) -> Any:
    """Returns what get_config() of a Python file returns. The user wrote the file: an error in it is wrong input."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        check_regular(path)
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise InputError(
                "the file has no function get_config",
                where=str(path),
                fix="Add one that returns a RunConfig.",
                code="E-CONFIG-FILE",
            )
        return module.get_config()
    except CommandError:
        raise
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == spec.origin]
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        raise InputError(
            f"{type(error).__name__}: {error}", where=where, fix="Mend the config file.", code="E-CONFIG-FILE"
        ) from error


def config_names() -> list[str]:
    """Returns the names of the configs that are installed."""
    import pkgutil

    package = importlib.import_module("jaxbert.configs")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def to_json(config: Any) -> Any:
    """Returns a dataclass as plain JSON values."""
    return parse(json.dumps(dataclasses.asdict(config)), strict=False)


def save_json(config: RunConfig, path: Path) -> None:
    """Writes `config` for `load_json`."""
    path.write_text(json.dumps(to_json(config), indent=2) + "\n", encoding="utf-8")


def load_json(path: Path) -> RunConfig:
    """Reads what `save_json` wrote. An unknown key or a value of another type is an InputError."""
    fix = "Give a saved config.json."
    try:
        values = read_json(path, "the config cannot be read", fix=fix, code="E-CONFIG-FILE")
    except FileNotFoundError:
        raise InputError(
            "no such config file", where=str(path), fix="Check the path.", code="E-CONFIG-MISSING"
        ) from None
    except (IsADirectoryError, NotADirectoryError) as error:
        raise InputError(
            f"the config cannot be read: {error.strerror}", where=str(path), fix=fix, code="E-CONFIG-FILE"
        ) from None
    return typing.cast(RunConfig, from_json(RunConfig, values, str(path)))


def from_json(kind: Any, value: Any, where: str) -> Any:
    """Returns plain JSON as a `kind`: a dataclass, a Literal, int, float, str, bool, `X | None` or `tuple[X, ...]`."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise _mistyped(value, "an object", where)
        kind = variant(kind, value, where)
        if hasattr(kind, "upgraded"):
            value = kind.upgraded(value)
        hints = field_types(kind)
        for key in value:
            if key not in hints:
                raise unknown_key(key, list(hints), where)
        for field in dataclasses.fields(kind):
            needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if needed and field.name not in value:
                raise InputError(
                    f"no {field.name!r}",
                    where=where,
                    fix=f"Add {field.name!r}: it has no default.",
                    code="E-CONFIG-KEY",
                )
        return typing.cast(Any, kind)(
            **{key: from_json(hints[key], item, f"{where}.{key}") for key, item in value.items()}
        )
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else from_json(inner, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise _mistyped(value, "a list", where)
        return tuple(from_json(arguments[0], item, f"{where}.{index}") for index, item in enumerate(value))
    if origin is Literal:
        if value not in arguments:
            raise _mistyped(value, "one of " + ", ".join(map(str, arguments)), where)
        return value
    if kind is float and type(value) in (int, float):
        return check_number(value, where)
    if type(value) is not kind:
        raise _mistyped(value, f"of type {kind.__name__}", where)
    if kind is int and abs(value) > _LARGEST:
        raise _mistyped(value, f"a whole number of at most {_LARGEST:,}", where)
    return value


def check_number(value: float, where: str) -> float:
    """Returns a number of a config as a float.

    Raises:
      InputError: it is NaN, or in float32, in which training computes, it would be infinite or 0 without being 0.
    """
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (number == 0 or _SMALLEST_FLOAT <= abs(number) <= _LARGEST_FLOAT):
        shown = str(value) if isinstance(value, float) else "a whole number that no float holds"
        raise InputError(
            f"{where.rpartition('.')[2]} is {shown}",
            where=where,
            fix=f"Set it to 0, or to a finite number of a size from {_SMALLEST_FLOAT:.2g} to {_LARGEST_FLOAT:.2g}.",
            code="E-CONFIG-NUMBER",
        )
    return number


def variant(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    """Returns the dataclass to make from `values`: `kind`, or the entry of its `VARIANTS` that `values` names.

    Raises:
      InputError: the registry has no such name.
    """
    registry = getattr(kind, "VARIANTS", None)
    if registry is None:
        return kind
    key = kind.VARIANT_KEY
    default = next(field.default for field in dataclasses.fields(kind) if field.name == key)
    name = values.get(key, default)
    if name == default:
        found = getattr(kind, "VARIANT_DEFAULT", kind)
        return found if issubclass(found, kind) else kind
    if not isinstance(name, str) or name not in registry.names:
        raise registry.unknown(name, f"{where}.{key}")
    found = registry.entries[name].config
    return found if issubclass(found, kind) else kind


def field_types(kind: Any) -> dict[str, Any]:
    """Returns the types of the fields of a dataclass, by name."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def unknown_key(key: str, known: list[str], where: str) -> InputError:
    """Returns the error for a key that does not exist. It names the nearest key."""
    return InputError(
        f"unknown key {key!r}",
        where=where,
        fix=f"{did_you_mean(key, known)}Known: {', '.join(sorted(known))}.",
        code="E-CONFIG-KEY",
    )


def _mistyped(value: Any, expected: str, where: str) -> InputError:
    return InputError(
        f"{short(value)} is not {expected}", where=where, fix=f"Give a value that is {expected}.", code="E-CONFIG-TYPE"
    )


def resume_differences(saved: RunConfig, new: RunConfig) -> list[str]:
    """Returns the differences that a resume does not allow, as lines 'key: saved -> new'."""
    lines = []
    before, after = dict(_leaves(to_json(saved))), dict(_leaves(to_json(new)))
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key) and not any(_covers(pattern, key) for pattern in RESUME_MAY_CHANGE):
            lines.append(f"{key}: {before.get(key)} -> {after.get(key)}")
    return lines


def _covers(pattern: str, key: str) -> bool:
    parts, keys = pattern.split("."), key.split(".")
    return len(parts) <= len(keys) and all(p in ("*", k) for p, k in zip(parts, keys, strict=False))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path, value
        return
    for key, item in items:
        yield from _leaves(item, f"{path}.{key}" if path else str(key))
