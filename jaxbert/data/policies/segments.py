"""What a rows policy takes and gives: sentence and document boundaries in, spans of tokens out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jaxbert.data.draws import Draws


@dataclass(frozen=True)
class TokenShard:
    """The documents of one records shard, end to end.

    Attributes:
      tokens: u2 or u4 [T], all tokens of all documents.
      sentences: int64 [S + 1], ascending: sentence s is tokens[sentences[s]:sentences[s + 1]], never empty.
      documents: int64 [D + 1], ascending: document d has sentences documents[d]:documents[d + 1], never none.
      names: int64 [D], each document's running number within its split.
    """

    tokens: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray
    names: np.ndarray


@dataclass(frozen=True)
class Segments:
    """The rows of one pass over a shard, as spans of its tokens; K segments a row.

    Attributes:
      starts: int64 [n, K], first token of each segment in `TokenShard.tokens`.
      lengths: int64 [n, K]; only segments after the first may be empty.
      documents: int64 [n, K], the index in the shard of the document that each segment comes from.
      labels: int64 [n], pair label: 0 the second segment follows the first, 1 it is from elsewhere, -1 no pair.
      truncated: tokens of this pass that are in no row as text of their own document.
      oversized: sentences that are longer than a row has room for.
    """

    starts: np.ndarray
    lengths: np.ndarray
    documents: np.ndarray
    labels: np.ndarray
    truncated: int
    oversized: int


@dataclass(frozen=True)
class Policy:
    """How rows are cut from documents.

    Attributes:
      segments: K, the most segments a row can have.
      sentences: whether it needs documents with sentence structure.
      cut: (shard, L, probability of a short row, draws) -> Segments; pure.
    """

    segments: int
    sentences: bool
    cut: Callable[[TokenShard, int, float, Draws], Segments]
