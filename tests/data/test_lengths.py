"""The lengths of batches that a run chooses by its rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from jaxbert.data.lengths import Block, few_lengths, length_for


def padded(lengths: np.ndarray, batch_size: int, grouped: int, longest: int, cut_to: tuple[int, ...]) -> int:
    """Returns the tokens of the batches of the rows in their order, with padding."""
    total = 0
    for start in range(0, len(lengths), batch_size * grouped):
        block = Block(lengths[start : start + batch_size * grouped], batch_size, 0)
        total += sum(length_for(block.longest(number), (*cut_to, longest)) for number in range(grouped))
    return total * batch_size


@pytest.mark.parametrize("seed", range(4))
def test_no_other_lengths_have_less_padding(seed: int) -> None:
    """All rows are one block, so the batches are those that the function sees; it has tried every other choice."""
    rng = np.random.default_rng(seed)
    lengths = np.minimum(32, 5 + rng.geometric(0.15, 96)).astype(np.int32)
    found = few_lengths(lengths, 4, 24, 32, 3)
    assert 1 <= len(found) <= 3 and list(found) == sorted(set(found)) and all(length % 4 == 0 for length in found)
    every = range(8, 32, 4)
    others = [choice for size in range(4) for choice in itertools.combinations(every, size)]
    # `longest` is one of three where a row needs it.
    fits = [choice for choice in others if len(choice) + (max(lengths) > max(choice, default=0)) <= 3]
    least = min(padded(lengths, 4, 24, 32, choice) for choice in fits)
    assert least <= padded(lengths, 4, 24, 32, found) <= 1.02 * least


def test_a_length_that_saves_nothing_is_not_chosen() -> None:
    same = np.full(1000, 21, np.int32)
    assert few_lengths(same, 8, 4, 128, 8) == (24,)
    assert few_lengths(np.full(1000, 127, np.int32), 8, 4, 128, 8) == ()
    assert few_lengths(np.array([3], np.int32), 8, 4, 128, 8) == (8,)
    # Without sorting, every batch has a long row.
    mixed = np.resize(np.array([10, 100], np.int32), 4096)
    assert few_lengths(mixed, 64, 1, 128, 8) == (100,)
    assert few_lengths(mixed, 64, 32, 128, 8) == (12, 100)
    assert few_lengths(mixed, 64, 32, 128, 1) == (100,)
    # Half of the batches are cut from 100 to 12 tokens: 2,816 tokens saved in a step.
    for price, found in ((2_500 * 50, (12, 100)), (2_900 * 50, (100,))):
        assert few_lengths(mixed, 64, 32, 128, 8, steps=50, price=price) == found
