"""What a parameter is, by its name: path, kind, whether it is a stack over layers. Imports no jax.

Whatever treats parameters differently (weight decay, trust ratio, the dtype in use) goes by these names, never by
number of dimensions: stacked layers have one more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# Nested dicts of arrays.
Params = dict[str, Any]
ParameterKind = Literal["weight", "bias", "norm"]

# Every parameter's path matches exactly one of these, or the program is not built. A new module that names its
# parameters otherwise adds its names here.
RULES: Mapping[ParameterKind, str] = {
    "weight": r"(.+/)?(kernel|table)",
    "bias": r"(?!.*norm/bias$)(.+/)?bias",
    "norm": r"(.+/)?[a-z_]*norm/(scale|bias)",
}


def path_of(keys: Iterable[Any]) -> str:
    """`encoder/layers/query/kernel`, from a tree path's keys or from names."""
    return "/".join(str(getattr(key, "key", key)) for key in keys)


def kind_of(path: str) -> ParameterKind:
    """The kind of the parameter at `path`.

    Raises:
      ValueError: no rule of `RULES`, or more than one, matches it.
    """
    kinds = [kind for kind, rule in RULES.items() if re.fullmatch(rule, path)]
    if len(kinds) != 1:
        found = f"{len(kinds)} rules ({', '.join(kinds)})" if kinds else "no rule"
        raise ValueError(
            f"parameter {path!r} matches {found} of jaxbert.core.parameters.RULES: it must match exactly one"
        )
    return kinds[0]


def check_names(paths: Iterable[str]) -> None:
    """Raises ValueError naming every path that not exactly one rule matches."""
    problems = []
    for path in paths:
        try:
            kind_of(path)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))


def is_stacked(path: str) -> bool:
    """Whether the parameter holds all layers, N first: those under `layers`."""
    return "layers" in path.split("/")


def with_rows(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """A table with `rows` rows: the vocabulary's padding is cut, or rows of 0 are added."""
    more = max(0, rows - len(array))
    return np.pad(array[:rows], [(0, more), *[(0, 0)] * (array.ndim - 1)]) if more else array[:rows]
