"""Tables of entries that have a file each: rows policies, tokenizers. Imports no jax."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TypeVar

T = TypeVar("T")


class Table(MutableMapping[str, T]):
    """A mapping from names to entries. It imports the file of an entry when the entry is first looked up.

    So a program can list the names, in the order of the table, without importing what the entries need.

    Args:
      attribute: the name of the entry in each of the modules, for example "POLICY".
      modules: the module of each entry, by the entry's name.
    """

    def __init__(self, attribute: str, modules: Mapping[str, str]):
        self._attribute = attribute
        self._entries: dict[str, T | str] = dict(modules)

    def __getitem__(self, name: str) -> T:
        entry = self._entries[name]
        if isinstance(entry, str):
            entry = self._entries[name] = getattr(importlib.import_module(entry), self._attribute)
        return entry  # type: ignore[return-value]

    def __setitem__(self, name: str, entry: T) -> None:
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
