"""Rows as spans of the corpus, and the figures of one pass in which two ways of making rows are compared."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import numpy as np
from original import Document, one_pass

from jaxbert.data.draws import Draws
from jaxbert.data.policies import POLICIES
from jaxbert.data.policies.segments import TokenShard

BINS = 16
GROUPS = 32


class Spans(NamedTuple):
    """Rows of one pass: [n, 2] arrays over (A, B), [n] whether B is from elsewhere, and the tokens that none has."""

    starts: np.ndarray
    lengths: np.ndarray
    documents: np.ndarray
    random: np.ndarray
    truncated: int


def shard_of(documents: list[list[list[int]]]) -> TokenShard:
    """Documents as lists of sentences of token ids."""
    sentences = [sentence for document in documents for sentence in document]
    ends = np.cumsum([0, *(len(sentence) for sentence in sentences)])
    return TokenShard(
        tokens=np.array([token for sentence in sentences for token in sentence], "<u2"),
        sentences=ends.astype(np.int64),
        documents=np.cumsum([0, *(len(document) for document in documents)]).astype(np.int64),
        names=np.arange(len(documents), dtype=np.int64),
    )


def places(shard: TokenShard) -> list[Document]:
    """The same documents, every token replaced by its place in the corpus: none is like another."""
    bounds = shard.sentences.tolist()
    sentences = [range(bounds[s], bounds[s + 1]) for s in range(len(bounds) - 1)]
    ends = shard.documents.tolist()
    return [sentences[ends[d] : ends[d + 1]] for d in range(len(ends) - 1)]


def ours(shard: TokenShard, length: int, short_rows: float, *key: int | str, policy: str = "segment_pair") -> Spans:
    cut = POLICIES[policy].cut(shard, length, short_rows, Draws(*key))
    paired = cut.lengths[:, 1] > 0
    assert ((cut.labels >= 0) == paired).all()
    assert paired.all() or policy == "ordered_pair", "a shard of several documents has a pair for every row"
    return Spans(cut.starts, cut.lengths, cut.documents, cut.labels == 1, cut.truncated)


def originals(documents: list[Document], length: int, short_rows: float, rng: Random, elsewhere: str = "half") -> Spans:
    """`documents`: of `places`."""
    rows = one_pass(documents, length, short_rows, rng, elsewhere)
    return Spans(
        np.array([(row.a[0], row.b[0] if row.b else 0) for row in rows]),
        np.array([(len(row.a), len(row.b)) for row in rows]),
        np.array([(row.document, row.other) for row in rows]),
        np.array([row.random_next for row in rows]),
        sum(len(row.lost) for row in rows),
    )


def figures(shard: TokenShard, length: int, rows: Spans) -> dict[str, float]:
    """Of one pass. Rows of a document hang together (its target length, where one row ends), passes do not."""
    room = length - 3
    documents = len(shard.documents) - 1
    lengths, totals = rows.lengths, rows.lengths.sum(axis=1)
    paired = lengths[:, 1] > 0
    found: dict[str, float] = {
        "rows": len(rows.random),
        "random next": rows.random.mean(),
        "without a pair": (~paired).mean(),
        "truncated": rows.truncated / len(shard.tokens),
        "full": (totals == room).mean(),
    }
    # Documents most of whose rows are not full: a short target length was drawn for them. (Those with text enough.)
    number = rows.documents[:, 0]
    full = np.bincount(number[totals == room], minlength=documents) / np.bincount(number, minlength=documents)
    long = np.diff(shard.sentences[shard.documents]) > 4 * length
    if long.any():
        found["short documents"] = (full[long] < 0.5).mean()
    for name, values in (("A", lengths[:, 0]), ("B", lengths[:, 1]), ("A + B", totals)):
        found[f"mean length of {name}"] = values.mean()
        histogram = np.bincount((values[values > 0] - 1) * BINS // room, minlength=BINS)
        found |= {f"length of {name}, bin {number} of {BINS}": count for number, count in enumerate(histogram)}
    # Of single documents where they are few, of neighbouring ones together where they are many.
    groups = min(documents, GROUPS)
    for name, of in (("rows", rows.documents[:, 0]), ("random Bs", rows.documents[rows.random, 1])):
        counts = np.bincount(of * groups // documents, minlength=groups)
        found |= {f"{name} of documents {number}/{groups}": count for number, count in enumerate(counts)}
    ends = rows.starts + lengths
    first = np.searchsorted(shard.sentences, rows.starts, side="right") - 1
    last = np.searchsorted(shard.sentences, ends, side="left") - 1
    for k, name in enumerate("AB"):
        for label, of in (("next", ~rows.random), ("random", rows.random)):
            chosen = of & (lengths[:, k] > 0)
            if not chosen.any():
                continue
            where = f"{name} of {label} rows"
            front = (rows.starts[:, k] - shard.sentences[first[:, k]])[chosen]
            back = (shard.sentences[last[:, k] + 1] - ends[:, k])[chosen]
            found[f"sentences of {where}"] = (last - first + 1)[chosen, k].mean()
            found[f"cut at the front, {where}"] = (front > 0).mean()
            found[f"cut at the back, {where}"] = (back > 0).mean()
            found[f"tokens off the first sentence, {where}"] = front.mean()
            found[f"tokens off the last sentence, {where}"] = back.mean()
    # Where in its document a random B begins.
    if rows.random.any():
        source = rows.documents[rows.random, 1]
        sentence = first[rows.random, 1] - shard.documents[source]
        found["place of random B"] = (sentence / np.diff(shard.documents)[source]).mean()
    meets = (ends[:, 0] == rows.starts[:, 1])[~rows.random & paired]
    found["B begins where A ends, next rows"] = meets.mean()
    found["B longer than A"] = (lengths[:, 1] > lengths[:, 0]).mean()
    return found


def deviations(left: list[dict[str, float]], right: list[dict[str, float]]) -> dict[str, float]:
    """Difference of the means over passes in standard errors (Welch); infinite where only the spread is none."""
    found = {}
    for name in left[0]:
        x, y = (np.array([each[name] for each in passes], float) for passes in (left, right))
        error = (x.var(ddof=1) / len(x) + y.var(ddof=1) / len(y)) ** 0.5
        difference = x.mean() - y.mean()
        found[name] = difference / error if error else (0.0 if difference == 0 else float("inf"))
    return found
