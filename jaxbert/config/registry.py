"""Tables of other rooms that a config names entries of: rows policies, optimizers, families, tasks. Imports no jax.

Config lies below the rooms whose tables it names. So a table is imported only when a name is looked up in it, as the
configs of `configs/` are: an entry is added by its file and its line there, and nothing here has to know of it.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Registry:
    """A mapping from names to entries, in a module of this package.

    Attributes:
      what: what an entry is called in a message, for example "rows policy".
      module: the module that holds the mapping.
      attribute: the mapping's name in it.
      also: names that stand for no entry: what they mean is decided when the run begins.
    """

    what: str
    module: str
    attribute: str
    also: tuple[str, ...] = ()

    @property
    def entries(self) -> Mapping[str, Any]:
        """The mapping itself. The first call imports its module."""
        found: Mapping[str, Any] = getattr(importlib.import_module(self.module), self.attribute)
        return found

    @property
    def names(self) -> list[str]:
        """The names that a config may give, in the mapping's order."""
        return [*self.entries, *self.also]


def did_you_mean(word: str, known: list[str]) -> str:
    """'Did you mean X? ', or nothing where no known word is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}? " if near else ""
