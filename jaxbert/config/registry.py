"""Looks up names of a config in the tables of other rooms: rows policies, optimizers, families, tasks. Imports no jax.

The config room is below the rooms whose tables it names. So a table is imported only when a name is looked up in it. A
new entry needs its file and its line in that table, and no change here.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxbert.errors import InputError


@dataclass(frozen=True)
class Registry:
    """A mapping from names to entries in a module of this package.

    Attributes:
      what: name of an entry in a message, for example "rows policy".
      module: the module that holds the mapping.
      attribute: the mapping's name in it.
      also: names without an entry. The run decides what they mean when it begins.
    """

    what: str
    module: str
    attribute: str
    also: tuple[str, ...] = ()

    @property
    def entries(self) -> Mapping[str, Any]:
        """Returns the mapping. The first call imports its module."""
        found: Mapping[str, Any] = getattr(importlib.import_module(self.module), self.attribute)
        return found

    @property
    def names(self) -> list[str]:
        """Returns the names that a config may give, in the mapping's order."""
        return [*self.entries, *self.also]

    def unknown(self, name: object, where: str) -> InputError:
        """Returns the error for a name that is not in the mapping. It names the nearest."""
        return InputError(
            f"no {self.what} is called {name!r}",
            where=where,
            fix=f"{did_you_mean(str(name), self.names)}Known: {', '.join(self.names)}.",
            code="E-CONFIG-NAME",
        )


def did_you_mean(word: str, known: list[str]) -> str:
    """Returns 'Did you mean X? ', or an empty text where no known word is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}? " if near else ""
