"""The properties of a parameter that its name decides: path, kind, whether it is stacked over layers. Imports no jax.

Weight decay, trust ratio and the dtype in use differ by kind of parameter. They look at these names and never at the
number of dimensions, because stacked layers have one more.
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

# The path of every parameter must match exactly one of these, or `build` raises. A new module whose parameters have
# other names adds them here.
RULES: Mapping[ParameterKind, str] = {
    "weight": r"(.+/)?(kernel|table)",
    "bias": r"(?!.*norm/bias$)(.+/)?bias",
    "norm": r"(.+/)?[a-z_]*norm/(scale|bias)",
}


def path_of(keys: Iterable[Any]) -> str:
    """Returns a path like `encoder/layers/query/kernel` from the keys of a tree path, or from names."""
    return "/".join(str(getattr(key, "key", key)) for key in keys)


def kind_of(path: str) -> ParameterKind:
    """Returns the kind of the parameter at `path`.

    Raises:
      ValueError: no rule of `RULES` matches it, or more than one.
    """
    kinds = [kind for kind, rule in RULES.items() if re.fullmatch(rule, path)]
    if len(kinds) != 1:
        found = f"{len(kinds)} rules ({', '.join(kinds)})" if kinds else "no rule"
        raise ValueError(
            f"parameter {path!r} matches {found} of jaxbert.core.parameters.RULES: it must match exactly one"
        )
    return kinds[0]


def check_names(paths: Iterable[str]) -> None:
    """Raises ValueError if a path does not match exactly one rule. The error names all such paths."""
    problems = []
    for path in paths:
        try:
            kind_of(path)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))


def is_stacked(path: str) -> bool:
    """Returns whether the parameter holds all layers, N first. Those under `layers` do."""
    return "layers" in path.split("/")


def with_rows(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """Returns a table with `rows` rows. It cuts the padding of the vocabulary, or adds rows of 0."""
    more = max(0, rows - len(array))
    return np.pad(array[:rows], [(0, more), *[(0, 0)] * (array.ndim - 1)]) if more else array[:rows]
