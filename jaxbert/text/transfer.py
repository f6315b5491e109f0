"""Finds the pieces of an old vocabulary from which the embedding of each new piece starts. Imports no jax.

The meaning of a piece is a text, and whether a word begins with it. Each kind of tokenizer writes it differently
("##ing", "Ġthe", "▁the"). A new piece starts from the old piece with the same meaning; else from the mean of the pieces
into which the old tokenizer splits its text (Mosin et al. 2021, "Fine-Tuning Transformers: Vocabulary Transfer"; Gee et
al. 2022, "Fast Vocabulary Transfer for Language Model Compression"); else from the mean of all pieces. Nothing is drawn
at random.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxbert.text.tokenizers.base import Meaning, Tokenizer, stands_apart

Array = NDArray[Any]


@dataclass(frozen=True)
class Transfer:
    """The old pieces from which each new piece starts.

    Attributes:
      sources: old ids by new id. The new row is the mean of their rows; an empty tuple means the mean of all rows.
      taken: the number of new pieces that equal an old piece, or have the same role.
      averaged: the number of new pieces that start from the mean of their parts.
      unknown: the number of new pieces of which the old tokenizer knows no part.
    """

    sources: Sequence[tuple[int, ...]]
    taken: int
    averaged: int
    unknown: int

    def rows(self, table: Array) -> Array:
        """Returns the rows (new V, ...) in float32 for the old `table` (V, ...), which has no padding."""
        table = np.asarray(table, np.float32)
        result = np.empty((len(self.sources), *table.shape[1:]), np.float32)
        counts = np.array([len(ids) for ids in self.sources])
        for count in np.unique(counts):
            chosen = np.flatnonzero(counts == count)
            if count == 0:
                result[chosen] = table.mean(axis=0, dtype=np.float64)
                continue
            ids = np.array([ids for ids in self.sources if len(ids) == count])
            total = table[ids[:, 0]]
            for part in range(1, count):
                total += table[ids[:, part]]
            result[chosen] = total / np.float32(count)
        return result

    def line(self) -> str:
        """Returns a line that describes the transfer."""
        return (
            f"new vocabulary: of {len(self.sources):,} pieces {self.taken:,} start from the same piece of the old one, "
            f"{self.averaged:,} from the mean of their parts, {self.unknown:,} from the mean of all"
        )


def transfer(old: Tokenizer, new: Tokenizer) -> Transfer:
    """Returns the old pieces from which each piece of `new` starts. Kind and case of the two tokenizers may differ.

    Special tokens correspond by their role. Any other piece is looked up as it is, then without case and accents, and
    then split.
    """
    roles = dict(zip(_roles(new), _roles(old), strict=True))
    ordinary = [(index, old.meaning(piece)) for index, piece in enumerate(old.vocab) if index not in roles.values()]
    exact: dict[Meaning, int] = {}
    folded: dict[Meaning, int] = {}
    for index, found in ordinary:
        exact.setdefault(found, index)
        folded.setdefault((found[0], _fold(found[1])), index)
    split = old.splitter()
    sources: list[tuple[int, ...]] = []
    taken = averaged = 0
    for index, piece in enumerate(new.vocab):
        same = roles.get(index)
        if same is None:
            starts, text = new.meaning(piece)
            # The kinds disagree on whether punctuation begins a word.
            either = (starts, not starts) if starts is not None and stands_apart(text) else (starts,)
            same = next((exact[start, text] for start in either if (start, text) in exact), None)
            if same is None and starts is not None:
                text_folded = _fold(text)
                same = next((folded[start, text_folded] for start in either if (start, text_folded) in folded), None)
        if same is not None:
            taken += 1
            sources.append((same,))
            continue
        parts = () if starts is None else tuple(part for part in split(starts, text) if part != old.unk_id)
        averaged += bool(parts)
        sources.append(parts)
    return Transfer(sources, taken, averaged, len(sources) - taken - averaged)


def _roles(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Returns the ids of the special tokens, in the order of `Specials`."""
    return tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id


def _fold(text: str) -> str:
    """Returns `text` in lower case and without accents."""
    return "".join(char for char in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(char) != "Mn")
