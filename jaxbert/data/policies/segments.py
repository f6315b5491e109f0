"""What a rows policy takes and gives: sentence and document boundaries in, spans of tokens out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxbert.data.draws import Draws

# How a row's segments are laid out:
#   pair      [CLS] A [SEP] B [SEP], token types 0 and 1, one attention group;
#   joined    [CLS] s1 [SEP] s2 [SEP] ..., token type 0 everywhere, one attention group;
#   isolated  [CLS] s1 [SEP] [CLS] s2 [SEP] ..., token type 0 everywhere, an attention group each.
Layout = Literal["pair", "joined", "isolated"]
# What the label of a row means:
#   none          rows have no label (-1);
#   continuation  0: B follows A in its document; 1: B is from elsewhere;
#   order         0: B follows A, so that training may swap them; 1: the pair counts as one that is out of order.
Label = Literal["none", "continuation", "order"]

NO_PAIR = -1


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
      lengths: int64 [n, K]; the first is never empty, and behind an empty one all are.
      documents: int64 [n, K], the index in the shard of the document that each segment comes from.
      labels: int64 [n], pair label: 0 the second segment follows the first, 1 it is from elsewhere, -1 no pair.
      truncated: tokens of this pass that are in no row as text of their own document.
      oversized: sentences that are longer than a row has room for.
      cut: cuts inside a sentence: its tokens on either side are in different rows.
    """

    starts: np.ndarray
    lengths: np.ndarray
    documents: np.ndarray
    labels: np.ndarray
    truncated: int
    oversized: int
    cut: int = 0


@dataclass(frozen=True)
class Policy:
    """How rows are cut from documents.

    Attributes:
      cut: (shard, L, probability of a short row, draws) -> Segments; pure. Only pairs have short rows.
      layout: of a row's segments.
      segments: L -> K, the most segments a row can have.
      sentences: whether it needs documents with sentence structure.
      drawn: whether there are random choices in it. Where there are none, a second pass would be the first again.
      shortest: the smallest L that it can work with.
      label: meaning of a row's label. Objectives that learn from labels go by it.
    """

    cut: Callable[[TokenShard, int, float, Draws], Segments]
    layout: Layout
    segments: Callable[[int], int]
    sentences: bool
    drawn: bool
    shortest: int = 8
    label: Label = "none"


def most_segments(length: int) -> int:
    """K of policies that put several documents into a row of `length` tokens: one per 16 tokens, from 2 to 32.

    Origins of 10 bytes each on disk are then at most a sixth of a row of 4 bytes a token. Documents of fewer than 16
    tokens on the average do not fill such a row; rows of them would teach little.
    """
    return max(2, min(32, length // 16))


def unpaired(
    pieces: np.ndarray, rows: np.ndarray, width: int, *, truncated: int = 0, oversized: int = 0, cut: int = 0
) -> Segments:
    """Rows without pairs, from pieces of text and the numbers of the rows that they are in.

    Args:
      pieces: int64 [P, 3]: first token, tokens (at least 1), document.
      rows: int64 [P], from 0 without a gap, `width` of each at the most. A row has its pieces in the order of the text.
      width: K.
      truncated, oversized, cut: as in `Segments`.
    """
    order = np.lexsort((pieces[:, 0], rows))
    pieces, rows = pieces[order], rows[order]
    count = int(rows[-1]) + 1 if len(rows) else 0
    within = np.arange(len(rows)) - np.searchsorted(rows, rows)
    table = np.zeros((count, width, 3), np.int64)
    table[rows, within] = pieces
    return Segments(
        starts=table[:, :, 0],
        lengths=table[:, :, 1],
        documents=table[:, :, 2],
        labels=np.full(count, NO_PAIR, np.int64),
        truncated=truncated,
        oversized=oversized,
        cut=cut,
    )
