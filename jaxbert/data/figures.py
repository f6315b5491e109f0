"""Figures of a corpus that only its whole text gives: pieces that never occur, languages, what stands on both sides.

`prepare_records` puts them into the manifest of the records, and `build_rows` copies them into that of the rows. The
judgement of a corpus (`jaxbert.fit.judge`) reads them there. Imports no jax.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np

from jaxbert.text.tokenizers import Tokenizer

# A piece that occurs less often in train hardly learns anything: its embedding gets so few gradients in a pass.
RARE = 10


class Pieces:
    """Counts of the pieces of a vocabulary in the train split."""

    def __init__(self, vocab_size: int):
        self._counts: np.ndarray | None = np.zeros(vocab_size, np.int64)

    def add(self, packed: str | None) -> None:
        """Adds what `pack_pieces` returned for one shard; None for a shard of an earlier version without counts."""
        if packed is None or self._counts is None:
            self._counts = None
        else:
            self._counts += np.frombuffer(zlib.decompress(base64.b64decode(packed)), "<i8")

    def figures(self, tokenizer: Tokenizer) -> dict[str, int] | None:
        """Returns the numbers of pieces that the vocabulary has learned; None if a shard had no counts.

        `pieces` is the number of all, `unused` of those that train never has, and `rare` of those that it has fewer
        than `RARE` times. `given` is the number of the others, which a smaller vocabulary needs too: special tokens,
        single characters and bytes. `most_frequent` says how often train has its most frequent token of all.
        """
        if self._counts is None:
            return None
        learned = np.array([len(tokenizer.meaning(piece)[1]) > 1 for piece in tokenizer.vocab], bool)
        learned[tokenizer.special] = False
        learned[tokenizer.unk_id] = False
        counts = self._counts[learned]
        unused = int((counts == 0).sum())
        return {
            "pieces": len(counts),
            "unused": unused,
            "rare": int((counts < RARE).sum()) - unused,
            "given": tokenizer.vocab_size - len(counts),
            "most_frequent": int(self._counts.max()),
        }


def pack_pieces(counts: np.ndarray) -> str:
    """Returns counts int64 [V] as text for JSON. Most counts of a shard are small, so that they pack well."""
    return base64.b64encode(zlib.compress(counts.astype("<i8").tobytes(), 1)).decode()


def corpus_figures(
    *,
    documents: int,
    pieces: dict[str, int] | None,
    languages: dict[str, float],
    near: tuple[int, int],
    repeated: float | None,
    blocks: int,
) -> dict[str, Any]:
    """Returns the figures as JSON.

    Args:
      documents: the number of documents, where all parts of a long one count as one.
      pieces: see `Pieces.figures`.
      languages: see `jaxbert.data.languages`.
      near: how many documents of validation have a near copy in train, and how many were compared.
      repeated: the share of validation's lines, in characters, that train has too; None if it is not known.
      blocks: the number of blocks of one document that are held out; 0 where documents are held out.
    """
    return {
        "documents": documents,
        **({} if pieces is None else {"vocabulary": pieces}),
        "languages": languages,
        "validation_near_train": near[0],
        "validation_compared": near[1],
        "validation_lines_in_train": repeated,
        "validation_blocks": blocks,
    }
