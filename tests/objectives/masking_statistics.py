"""Masked rows against the closed form: deviations in standard errors, whoever masked them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Masked(NamedTuple):
    """[n, L] each: tokens before and after, where there is text, and which tokens are to be predicted."""

    clean: np.ndarray
    seen: np.ndarray
    real: np.ndarray
    chosen: np.ndarray


def deviations(
    rows: Masked,
    special: np.ndarray,
    mask: int,
    most: int,
    rate: float = 0.15,
    shares: tuple[float, float] = (0.8, 0.1),
) -> dict[str, float]:
    """Observed less expected, in standard errors, of everything that has a closed form.

    Given a row's m maskable tokens and its budget k, the chosen are one of the C(m, k) sets, each as likely: every
    token with probability k/m, two with k(k-1) / m(m-1), every place in the order of the maskable alike. A chosen token
    becomes [MASK], a uniform one of V (the old one and [MASK] among them), or stays; each by itself.

    Args:
      rows: of the budget exactly (asserted here: it has no spread).
      special: bool [V], never chosen.
      mask: id of [MASK].
      most: M.
      shares: of [MASK] and of a uniform token.
    """
    clean, seen, real, chosen = rows
    maskable = real & ~special[clean]
    budget = np.array([min(most, max(1, round(rate * int(n)))) for n in real.sum(1)])
    m = maskable.sum(1)
    k = np.minimum(budget, m)
    assert (chosen.sum(1) == k).all(), "the budget is exact"
    assert not (chosen & ~maskable).any(), "neither a special token nor padding is chosen"
    assert not ((clean != seen) & ~chosen).any(), "what is not chosen stays"
    found = _choice(chosen, maskable, k, m)
    found |= _replacement(clean, seen, chosen, special, mask, *shares)
    return found


def _choice(chosen: np.ndarray, maskable: np.ndarray, k: np.ndarray, m: np.ndarray) -> dict[str, float]:
    found: dict[str, float] = {}
    p = (k / np.maximum(m, 1))[:, None] * maskable
    excess = chosen - p
    spread = (p * (1 - p)).sum(0)
    for column in np.flatnonzero(spread > 5):
        found[f"chosen at {column}"] = excess[:, column].sum() / spread[column] ** 0.5
    # In the order of the maskable tokens: the first, the second, ... and in tenths from the first to the last.
    order = np.cumsum(maskable, 1) - 1
    for place in range(5):
        for name, at in (("first", order == place), ("last", order == m[:, None] - 1 - place)):
            at = at & maskable
            found[f"chosen, {place + 1}. {name}"] = excess[at].sum() / (p * (1 - p))[at].sum() ** 0.5
    tenth = order * 10 // np.maximum(m, 1)[:, None]
    for number in range(10):
        found[f"chosen in tenth {number}"] = _z((excess * (maskable & (tenth == number))).sum(1))
    # Pairs of one row, neighbours and others, against k(k-1) / m(m-1); the rows are independent.
    pair = k * (k - 1) / np.maximum(m * (m - 1), 1)
    for gap in (1, 2, 3, 8):
        both = (chosen[:, gap:] & chosen[:, :-gap]).sum(1)
        found[f"both of two, {gap} apart"] = _z(both - pair * (maskable[:, gap:] & maskable[:, :-gap]).sum(1))
    # Pairs of two rows: one after the other, and half of the rows apart.
    half = len(chosen) // 2
    found["the same column in neighbouring rows"] = _z((excess[: 2 * half : 2] * excess[1 : 2 * half : 2]).sum(1))
    found["the same column in distant rows"] = _z((excess[:half] * excess[half : 2 * half]).sum(1))
    return found


def _replacement(
    clean: np.ndarray,
    seen: np.ndarray,
    chosen: np.ndarray,
    special: np.ndarray,
    mask: int,
    to_mask: float,
    to_random: float,
) -> dict[str, float]:
    size = len(special)
    old, new = clean[chosen].astype(np.int64), seen[chosen].astype(np.int64)
    n = len(old)
    masked, kept = new == mask, new == old
    shares = {
        "became [MASK]": (masked, to_mask + to_random / size),
        "stayed": (kept, 1 - to_mask - to_random + to_random / size),
        "became another": (~masked & ~kept, to_random * (1 - 2 / size)),
    }
    found = {name: (is_so.sum() - n * p) / (n * p * (1 - p)) ** 0.5 for name, (is_so, p) in shares.items()}
    # What became another token, over the vocabulary: id j where the old one was neither j nor [MASK].
    counts = np.bincount(new[~masked & ~kept], minlength=size)
    expected = to_random / size * (n - np.bincount(old, minlength=size))
    cells = np.arange(size) != mask
    chi_square = ((counts - expected)[cells] ** 2 / expected[cells]).sum()
    found["random ids over the vocabulary (chi-square)"] = (chi_square - (size - 1)) / (2 * (size - 1)) ** 0.5
    for name, those in (("special", special & cells), ("other", ~special)):
        found[f"random ids that are {name} tokens"] = (counts - expected)[those].sum() / expected[those].sum() ** 0.5
    # By the old token: none is treated otherwise.
    for name, is_so in (("rare", old >= np.quantile(old, 0.9)), ("frequent", old <= np.quantile(old, 0.1))):
        share = to_mask + to_random / size
        found[f"{name} ones became [MASK]"] = (masked[is_so].sum() - is_so.sum() * share) / (
            is_so.sum() * share * (1 - share)
        ) ** 0.5
    # Within a row: slot by slot, and one slot beside the next.
    row = np.nonzero(chosen)[0]
    slot = np.arange(n) - np.searchsorted(row, row)
    deviation = masked - (to_mask + to_random / size)
    for number in range(slot.max() + 1):
        found[f"became [MASK], slot {number}"] = _z(deviation[slot == number])
    beside = row[1:] == row[:-1]
    found["two slots side by side became [MASK]"] = _z((deviation[1:] * deviation[:-1])[beside])
    found["became [MASK] in neighbouring rows"] = _z(
        (deviation[1:] * deviation[:-1])[(row[1:] == row[:-1] + 1)]  # The last slot of one, the first of the next.
    )
    return found


def _z(x: np.ndarray) -> float:
    """Of independent or uncorrelated values whose expectation is zero."""
    return float(x.sum() / ((x.astype(np.float64) ** 2).sum()) ** 0.5) if x.any() else 0.0
