"""Figures of masked rows, and their deviations in standard errors, from a closed form or from other masks of the rows.

Each figure has one value a row: rows are independent, whatever binds the tokens within one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from scheme_rows import LENGTH, MASK, SPECIAL, VOCAB, Layout, Masked

LIMIT = 5.0


def z(excess: np.ndarray, row: np.ndarray | None = None, fewest: int = 100) -> float:
    """Of values whose expectation is zero; with `row`, those of one row add up first. 0 where too few are not zero."""
    by_row = excess if row is None else np.bincount(row, weights=excess)
    if np.count_nonzero(by_row) < fewest:
        return 0.0
    return float(by_row.sum() / (by_row.astype(np.float64) ** 2).sum() ** 0.5)


def beyond(found: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 1) for name, value in found.items() if not abs(value) < LIMIT}


def frequency_bins(tokens: np.ndarray) -> np.ndarray:
    """0 for the special tokens, 1 .. 10 for the others from the frequent to the rare (the ids are in that order)."""
    edges = np.unique(np.geomspace(5, VOCAB, 11).round())
    return np.searchsorted(edges, tokens, side="right")


def figures(tokens: np.ndarray, layout: Layout, chosen: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """What a scheme decides: how many, in which places, in which words, side by side or not."""
    count = len(chosen)
    budget = chosen.sum(1)
    most = int(budget.max())
    for number in range(most + 1):
        yield f"{number} tokens", budget == number
    for column in range(LENGTH):
        yield f"chosen at {column}", chosen[:, column]
    for number, its in enumerate(np.moveaxis(one_of(frequency_bins(tokens), 11), 2, 0)):
        yield f"chosen of frequency {number}", (chosen & its).sum(1)
    for pieces in range(1, layout.pieces.max() + 1):
        yield f"chosen in words of {pieces} pieces", (chosen & (layout.pieces == pieces)).sum(1)
    for there in range(1, 12):
        yield f"chosen, {there} words to the end", (chosen & (layout.there == there)).sum(1)
    first = layout.text != np.roll(layout.text, 1, 1)
    yield "chosen at the begin of a text", (chosen & first).sum(1)
    for gap in (1, 2, 3, 5, 8, 20):
        yield f"both of two, {gap} apart", (chosen[:, gap:] & chosen[:, :-gap]).sum(1)
    begins = chosen & ~np.pad(chosen, ((0, 0), (1, 0)))[:, :-1]
    ends = chosen & ~np.pad(chosen, ((0, 0), (0, 1)))[:, 1:]
    row, begin = np.nonzero(begins)
    size = np.nonzero(ends)[1] - begin + 1
    yield "runs", begins.sum(1)
    for number in range(1, most + 1):
        yield f"runs of {number} tokens", np.bincount(row[size == number], minlength=count)
    taken, whole = words_taken(layout, chosen)
    yield "whole words", whole.sum(1)
    yield "words cut", ((taken > 0) & ~whole).sum(1)
    for gap in (1, 2, 3):
        yield f"both of two words, {gap} apart", (whole[:, gap:] & whole[:, :-gap]).sum(1)


def one_of(value: np.ndarray, size: int) -> np.ndarray:
    return value[..., None] == np.arange(size)


def words_taken(layout: Layout, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By number of the word in its row, [n, L] each: how many of its tokens are chosen, and whether all are."""
    inside = layout.word >= 0
    place = (np.arange(len(chosen))[:, None] * LENGTH + layout.word)[inside]
    sizes = np.bincount(place, minlength=chosen.size).reshape(chosen.shape)
    taken = np.bincount(place, weights=chosen[inside], minlength=chosen.size).reshape(chosen.shape).astype(int)
    return taken, (taken == sizes) & (sizes > 0)


def two_samples(tokens: np.ndarray, layout: Layout, chosen: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Masks of these rows, once or several times over, less other masks of the same rows."""
    copies = chosen.reshape(-1, *other.shape)
    mean: dict[str, np.ndarray] = {}
    for copy in copies:
        for name, value in figures(tokens, layout, copy):
            mean[name] = mean.get(name, 0) + value / len(copies)
    theirs = dict(figures(tokens, layout, other))
    nothing = np.zeros(len(other))
    return {name: z(mean.get(name, nothing) - theirs.get(name, nothing)) for name in mean | theirs}


def replacement(
    tokens: np.ndarray, masked: Masked, id_shares: np.ndarray, *, by_span: bool, mask: float = 0.8, random: float = 0.1
) -> dict[str, float]:
    """What stands in the place of the chosen, against the closed form.

    Args:
      tokens: clean.
      id_shares: [V], what a random id is drawn from.
      by_span: whether tokens side by side share one decision; each has a random id of its own.
    """
    row, column = np.nonzero(masked.chosen)
    old, new = tokens[row, column], masked.seen[row, column]
    is_mask, stayed = new == MASK, new == old
    p_mask, p_stay = mask + random * id_shares[MASK], 1 - mask - random + random * id_shares[old]
    found = {
        "became [MASK]": z(is_mask - p_mask, row),
        "stayed": z(stayed - p_stay, row),
        "became another": z((~is_mask & ~stayed) - (1 - p_mask - p_stay), row),
    }
    ordinary = np.searchsorted(np.cumsum(id_shares * ~SPECIAL), np.linspace(0, id_shares[~SPECIAL].sum(), 31)[1:-1])
    bins = np.where(SPECIAL, np.arange(VOCAB), 10 + np.searchsorted(ordinary, np.arange(VOCAB)))
    for number in np.unique(bins):
        here = np.where((bins == number) & (np.arange(VOCAB) != MASK), id_shares, 0)
        became = (bins[new] == number) & ~is_mask & ~stayed
        found[f"random ids in bin {number}"] = z(became - random * (here.sum() - here[old]), row)
    slot = np.arange(len(row)) - np.searchsorted(row, row)
    for number in range(slot.max() + 1):
        here = slot == number
        found[f"became [MASK], slot {number}"] = z((is_mask - p_mask)[here], row[here])
        found[f"stayed, slot {number}"] = z((stayed - p_stay)[here], row[here])
    frequency = frequency_bins(old)
    for number in range(1, 11):
        here = frequency == number
        found[f"became [MASK], frequency {number}"] = z((is_mask - p_mask)[here], row[here])
    one_row = row[1:] == row[:-1]
    beside = one_row & (column[1:] == column[:-1] + 1)
    both_mask, both_stayed = is_mask[1:] & is_mask[:-1], stayed[1:] & stayed[:-1]
    keep, drawn = 1 - mask - random, id_shares[old]
    for name, here, shared in (("side by side", beside, by_span), ("apart", one_row & ~beside, False)):
        two_mask = mask + random * id_shares[MASK] ** 2 if shared else p_mask**2
        two_stay = keep + random * drawn[1:] * drawn[:-1] if shared else p_stay[1:] * p_stay[:-1]
        found[f"two {name} became [MASK]"] = z((both_mask - two_mask)[here], row[1:][here])
        found[f"two {name} stayed"] = z((both_stayed - two_stay)[here], row[1:][here])
    return found
