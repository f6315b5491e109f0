"""The contract of a rows policy: it takes boundaries of sentences and documents, and returns spans of tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxbert.data.draws import Draws

# The arrangement of the segments of a row:
#   pair      [CLS] A [SEP] B [SEP], token types 0 and 1, one attention group;
#   joined    [CLS] s1 [SEP] s2 [SEP] ..., token type 0 everywhere, one attention group;
#   isolated  [CLS] s1 [SEP] [CLS] s2 [SEP] ..., token type 0 everywhere, an attention group each.
Arrangement = Literal["pair", "joined", "isolated"]
# The meaning of a row's label:
#   none          rows have no label (-1);
#   continuation  0: B follows A in its document; 1: B comes from elsewhere;
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
      names: int64 [D], the running number of each document within its split.
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
      lengths: int64 [n, K], tokens in each segment. The first is never empty; after an empty one all are empty.
      documents: int64 [n, K], the index in the shard of the document of each segment.
      labels: int64 [n], the label of the pair. 0: the second segment follows the first; 1: it is from elsewhere; -1:
        there is no pair.
      truncated: the number of tokens that this pass puts into no row, except as the random segment of another document.
      oversized: the number of sentences that do not fit into a row.
      cut: the number of cuts inside a sentence, which put its tokens into different rows.
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
    """A rows policy: it cuts rows from documents.

    Attributes:
      cut: (shard, L, probability of a short row, draws) -> Segments; pure. Only pairs have short rows.
      arrangement: arrangement of the segments of a row.
      segments: L -> K, the most segments that a row can have.
      sentences: whether it needs documents that are split into sentences.
      drawn: whether it makes random choices. Without them, a second pass would give the rows of the first again.
      label: the meaning of a row's label (`Label`), by which objectives choose their rows.
      shortest: the smallest L that it can work with.
    """

    cut: Callable[[TokenShard, int, float, Draws], Segments]
    arrangement: Arrangement
    segments: Callable[[int], int]
    sentences: bool
    drawn: bool
    label: Label = "none"
    shortest: int = 8

    @property
    def pairs(self) -> bool:
        """Returns whether a row is a pair of segments, [CLS] A [SEP] B [SEP], instead of one or several texts."""
        return self.arrangement == "pair"


def most_segments(length: int) -> int:
    """Returns K for policies that put several documents into a row: one per 16 tokens of `length`, from 2 to 32.

    An origin takes 10 bytes on the disk, so that origins take at most a sixth of a row with 4 bytes a token. Documents
    of fewer than 16 tokens on average do not fill such a row, but would teach little.
    """
    return max(2, min(32, length // 16))


def unpaired(
    pieces: np.ndarray, rows: np.ndarray, width: int, *, truncated: int = 0, oversized: int = 0, cut: int = 0
) -> Segments:
    """Returns rows without pairs, from pieces of text and the number of each piece's row.

    Args:
      pieces: int64 [P, 3]: first token, number of tokens (at least 1), document.
      rows: int64 [P], the numbers of the rows, from 0 without a gap, each at most `width` times. A row has its pieces
        in the order of the text.
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
