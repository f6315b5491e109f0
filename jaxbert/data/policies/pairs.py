"""Rows of two segments, [CLS] A [SEP] B [SEP]: the part that the pair policies share.

The algorithm is create_instances_from_document of google-research/bert create_pretraining_data.py, which
google-research/albert has taken over: sentences of one document are gathered up to a target length (L - 3, or for a
share of the documents a number drawn from [2, L - 3], once a pass); a random number of them becomes A; then B is the
rest, or sentences of another document, and in that case the rest is used again. Tokens beyond L - 3 are dropped one by
one from the longer segment, at its front or back by a fair coin. This module handles boundaries only.

Three departures:
  - The other document comes from the same shard, so that memory is bounded by a shard (the original holds the corpus).
  - After ten draws of the same document the original takes it, so that a true continuation can be labelled random. Here
    the next document of the shard is taken. If the shard has one document only, B is a sentence of it that neither
    overlaps nor follows A; without such a sentence, B is the true continuation; and without a continuation, the row has
    no B and label -1.
  - Dropped tokens are counted.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Literal

import numpy as np

from jaxbert.data.draws import Draws
from jaxbert.data.policies.segments import NO_PAIR, Segments, TokenShard

SPECIALS = 3
DOCUMENT_TRIES = 10
NEXT, RANDOM = 0, 1

# B comes from elsewhere half the time and whenever only A was gathered; only in the latter case; or never.
Elsewhere = Literal["half", "alone", "never"]


def cut_pairs(shard: TokenShard, length: int, short_rows: float, draws: Draws, elsewhere: Elsewhere) -> Segments:
    """Cuts one pass over `shard`; a pure function of its arguments and the state of `draws`.

    Args:
      shard: documents with sentence boundaries.
      length: L, at least 5, so that A, B and three special tokens fit.
      short_rows: the probability, per document, that its target length is drawn at random (the original: 0.1).
      draws: the random stream of this (seed, split, shard, copy).
      elsewhere: says when B comes from elsewhere.
    """
    room = length - SPECIALS
    # Python lists, because the loop below reads single boundaries, which is ten times slower in numpy.
    bounds: list[int] = shard.sentences.tolist()
    documents: list[int] = shard.documents.tolist()
    short = round(short_rows * 2**64)
    rows: list[tuple[int, int, int, int, int, int, int]] = []
    truncated = 0
    for document in range(len(documents) - 1):
        first, last = documents[document], documents[document + 1]
        target = room
        if draws.word() < short:
            target = 2 + draws.below(room - 1)
        begin = first
        while begin < last:
            end = min(bisect_left(bounds, bounds[begin] + target, begin + 1, last + 1), last)
            middle = begin + 1
            if end - begin > 2:
                middle += draws.below(end - begin - 1)
            found = None
            if elsewhere != "never" and (end == middle or (elsewhere == "half" and draws.word() >> 63)):
                wanted = target - (bounds[middle] - bounds[begin])
                found = _elsewhere(bounds, documents, document, begin, middle, wanted, draws)
            if found is not None:
                other, b_from, b_to = found
                label, used = RANDOM, middle
            else:
                other, b_from, b_to = document, middle, end
                label, used = (NEXT if end > middle else NO_PAIR), end
            a_start, a_length = bounds[begin], bounds[middle] - bounds[begin]
            b_start, b_length = bounds[b_from], bounds[b_to] - bounds[b_from]
            if a_length + b_length > room:
                a_keep, b_keep = _shares(a_length, b_length, room)
                if a_keep < a_length:
                    truncated += a_length - a_keep
                    a_start += draws.heads(a_length - a_keep)
                    a_length = a_keep
                if b_keep < b_length:
                    truncated += b_length - b_keep if label == NEXT else 0
                    b_start += draws.heads(b_length - b_keep)
                    b_length = b_keep
            rows.append((a_start, b_start, a_length, b_length, document, other, label))
            begin = used
    table = np.array(rows, np.int64).reshape(-1, 7)
    return Segments(
        starts=table[:, 0:2],
        lengths=table[:, 2:4],
        documents=table[:, 4:6],
        labels=table[:, 6],
        truncated=truncated,
        oversized=int(np.count_nonzero(np.diff(shard.sentences) > room)),
    )


def _elsewhere(
    bounds: list[int], documents: list[int], document: int, begin: int, middle: int, wanted: int, draws: Draws
) -> tuple[int, int, int] | None:
    """Returns (document, first, last + 1) of sentences that do not follow begin:middle of `document`, or None."""
    count = len(documents) - 1
    if count > 1:
        for _ in range(DOCUMENT_TRIES):
            other = draws.below(count)
            if other != document:
                break
        else:
            other = (document + 1) % count
        first, last = documents[other], documents[other + 1]
        start = first + draws.below(last - first)
    else:
        other, first, last = document, documents[0], documents[1]
        before, after = begin - first, last - middle - 1
        if before + max(after, 0) == 0:
            return None
        start = first + draws.below(before + max(after, 0))
        if start < begin:
            last = begin
        else:
            start += middle + 1 - begin
    end = min(bisect_left(bounds, bounds[start] + wanted, start + 1, last + 1), last)
    return other, start, end


def _shares(a_length: int, b_length: int, room: int) -> tuple[int, int]:
    """Returns the lengths of A and B after tokens are dropped from the longer (B if equal) until they fit `room`."""
    if a_length <= room - room // 2:
        return a_length, room - a_length
    if b_length <= room // 2:
        return room - b_length, b_length
    return room - room // 2, room // 2
