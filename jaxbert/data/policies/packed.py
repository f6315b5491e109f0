"""`packed`: rows of several documents that are isolated from each other: [CLS] document [SEP] [CLS] document [SEP] ...

Each document has a separate attention group, 1 to G along the row, and its positions begin at 0, because the encoder
restarts them where the group changes. Documents that fit into a row stay whole. Longer ones are cut into pieces that
fill a row: at a sentence boundary if that leaves at most 2% of the row empty, else inside a sentence (counted as cut).
A piece that fills a row is alone in it. The rest, ends of long documents and short documents, is packed by best-fit
decreasing: the longest first, each into the fullest row that has room for it. Of several such rows it takes
the one that was added to last (Johnson et al. 1974, SIAM J. Comput. 3(4)).

So two pieces of one document are never in the same row, where they would be neighbours that cannot see each other: all
pieces but the last fill a row each. A document of more than half a row can leave its row emptier than 2%, because no
other document may fit, and documents that fit are not cut.
"""

from __future__ import annotations

import numpy as np

from jaxbert.data.draws import Draws
from jaxbert.data.policies.segments import Policy, Segments, TokenShard, most_segments, unpaired

SPECIALS = 2
# The share of a row that may stay empty if a long document is cut at a sentence boundary.
_EMPTY = 0.02


def cut_packed(shard: TokenShard, length: int, short_rows: float, draws: Draws) -> Segments:
    """Cuts one pass over `shard`. Nothing is drawn, and no row is short.

    Args:
      shard: documents. Boundaries of sentences are used if there are any.
      length: L, at least 3.
      short_rows, draws: are not used.
    """
    room = length - SPECIALS
    filling, rest, cut = _pieces(shard, room, int(length * _EMPTY))
    rows = _best_fit(rest[:, 1] + SPECIALS, length, most_segments(length))
    return unpaired(
        np.concatenate([filling, rest]),
        np.concatenate([np.arange(len(filling)), rows + len(filling)]),
        most_segments(length),
        oversized=int(np.count_nonzero(np.diff(shard.sentences) > room)),
        cut=cut,
    )


def _pieces(shard: TokenShard, room: int, empty: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns (pieces that fill a row, the rest, cuts inside a sentence).

    Pieces are int64 [P, 3]: first token, number of tokens, document.

    Args:
      shard: documents.
      room: the most tokens in a piece.
      empty: number of tokens that a piece may lack and still fill a row.
    """
    bounds = shard.sentences[shard.documents]
    starts, ends = bounds[:-1].copy(), bounds[1:]
    filling = []
    cut = 0
    # Take one piece off every document that is still too long, until none is.
    long = np.flatnonzero(ends - starts > room)
    while len(long):
        at = starts[long] + room
        boundary = shard.sentences[np.searchsorted(shard.sentences, at, side="right") - 1]
        inside = at - boundary > empty
        cut += int(inside.sum())
        at = np.where(inside, at, boundary)
        filling.append(np.stack([starts[long], at - starts[long], long], axis=1))
        starts[long] = at
        long = long[ends[long] - at > room]
    rest = np.stack([starts, ends - starts, np.arange(len(starts))], axis=1)
    return np.concatenate([np.zeros((0, 3), np.int64), *filling]), rest, cut


def _best_fit(sizes: np.ndarray, length: int, most: int) -> np.ndarray:
    """Returns the number of the row of each piece, int64 [P], by best-fit decreasing. Rows are numbered as they open.

    Rows are kept in stacks by the space that is left in them, and the bits of one number say which stacks are not
    empty. So the fullest row with room for a piece is found without a search, for any number of rows.

    Args:
      sizes: int64 [P], tokens with special tokens, each at most `length`.
      length: L.
      most: the most pieces in a row.
    """
    rows = np.zeros(len(sizes), np.int64)
    order = np.argsort(-sizes, kind="stable")
    stacks: list[list[int]] = [[] for _ in range(length + 1)]
    held: list[int] = []
    open_ = 0
    for piece, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        fitting = open_ >> size
        if fitting:
            free = size + (fitting & -fitting).bit_length() - 1
            row = stacks[free].pop()
            if not stacks[free]:
                open_ ^= 1 << free
            held[row] += 1
            free -= size
        else:
            row, free = len(held), length - size
            held.append(1)
        rows[piece] = row
        # [CLS], one token and [SEP] need three places.
        if free > SPECIALS and held[row] < most:
            stacks[free].append(row)
            open_ |= 1 << free
    return rows


POLICY = Policy(cut_packed, arrangement="isolated", segments=most_segments, sentences=False, drawn=False)
