"""Masking over 100,000 rows against the closed form, and BERT's masking in plain Python against the same."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from random import Random

import jax
import numpy as np
import pytest

from jaxbert.config import EncoderConfig, MaskedLMConfig
from jaxbert.objectives import MaskedLM, prepare
from jaxbert.objectives.vocabulary import frozen_tables

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "data")]

import original
from masking_statistics import Masked, deviations

ROWS, LENGTH, VOCAB, SLOTS, PART = 100_000, 96, 1000, 13, 10_000
PAD, UNK, CLS, SEP, MASK, FIRST = 0, 1, 2, 3, 4, 5
SPECIAL = np.isin(np.arange(VOCAB), (PAD, CLS, SEP, MASK))
LIMIT = 5.0


def make_rows(count: int) -> dict[str, np.ndarray]:
    """[CLS] A [SEP] B [SEP], padding: text of Zipf's law, [UNK] in it, and now and then [SEP] and [MASK] as text.

    Half of the rows are full, the others of every length; in one of fifty most of the text is special tokens, so that
    some have fewer maskable tokens than their budget.
    """
    rng = np.random.default_rng(11)
    column = np.arange(LENGTH)
    real = np.where(rng.random(count) < 0.5, LENGTH, rng.integers(5, LENGTH + 1, count))
    first = 2 + rng.integers(0, real - 4)
    tokens = (FIRST + (VOCAB - FIRST) ** rng.random((count, LENGTH), np.float32) - 1).astype(np.int32)
    tokens[rng.random((count, LENGTH), np.float32) < 0.01] = UNK
    share = np.where(rng.random(count) < 0.02, 0.9, 0.01)[:, None]
    draw = rng.random((count, LENGTH), np.float32)
    tokens = np.where(draw < share, np.where(draw < share / 2, SEP, MASK), tokens)
    tokens[:, 0] = CLS
    tokens[(column == first[:, None]) | (column == real[:, None] - 1)] = SEP
    group = (column < real[:, None]).astype(np.int32)
    types = group * (column > first[:, None])
    return {"tokens": tokens * group, "types": types, "group": group, "label": np.zeros(count, np.int32)}


@pytest.fixture(scope="module")
def clean() -> dict[str, np.ndarray]:
    return make_rows(ROWS)


def mask(clean: dict[str, np.ndarray], seed: int) -> Masked:
    """All rows as the training step corrupts them; which are chosen is read off the slots."""
    objective = MaskedLM(MaskedLMConfig(), EncoderConfig(vocab_size=VOCAB), length=LENGTH, slots=SLOTS)
    program = jax.jit(partial(prepare, [objective], {}))
    seen, chosen = clean["tokens"].copy(), np.zeros((len(clean["tokens"]), LENGTH), bool)
    for number, start in enumerate(range(0, len(seen), PART)):
        part = {name: value[start : start + PART] for name, value in clean.items()}
        key = jax.random.fold_in(jax.random.key(seed), number)
        found = jax.device_get(program(frozen_tables(SPECIAL, MASK), part, key))
        assert found["slots"].shape == (len(part["tokens"]), SLOTS), "the same number of slots in every row"
        filled = found["slot_weight"] > 0
        row, _ = np.nonzero(filled)
        chosen[start + row, found["slots"][filled]] = True
        # A slot that stood twice would be one token here: the budget would show it.
        np.testing.assert_array_equal(found["labels"][filled], part["tokens"][row, found["slots"][filled]])
        seen[start : start + PART] = found["tokens"]
    return Masked(clean["tokens"], seen, clean["group"] > 0, chosen)


@pytest.fixture(scope="module")
def masked(clean) -> Masked:
    return mask(clean, 7)


def beyond(found: dict[str, float]) -> dict[str, float]:
    return {name: round(float(z), 1) for name, z in found.items() if not abs(z) < LIMIT}


def test_the_rows_are_varied(masked):
    real, maskable = masked.real.sum(1), (masked.real & ~SPECIAL[masked.clean]).sum(1)
    assert len(real) == ROWS and set(real.tolist()) == set(range(5, LENGTH + 1))
    assert (np.round(0.15 * real) > SLOTS).sum() > 10_000, "rows that the number of slots caps"
    assert (maskable < np.maximum(1, np.round(0.15 * real))).sum() > 100, "rows with too little to mask"
    assert (maskable == 0).sum() > 10, "rows with nothing to mask"


def test_every_rate_is_the_closed_form(masked):
    """Exact: slots a row, specials never. To five standard errors: positions, pairs, 80/10/10, random ids, rows."""
    found = deviations(masked, SPECIAL, MASK, SLOTS)
    assert len(found) > 130
    assert beyond(found) == {}


def test_80_10_10(masked):
    """The same in plain figures: of 1.1 million predicted tokens."""
    old, new = masked.clean[masked.chosen], masked.seen[masked.chosen]
    assert len(old) > 800_000
    assert abs((new == MASK).mean() - (0.8 + 0.1 / VOCAB)) < 0.002
    assert abs((new == old).mean() - (0.1 + 0.1 / VOCAB)) < 0.0015
    other = new[(new != MASK) & (new != old)]
    assert SPECIAL[other].any() and (other == UNK).any(), "a random token is one of the entire vocabulary"


def test_two_steps_mask_independently(clean, masked):
    """Under another key the k of m tokens are others: the two share k^2 / m of them on average."""
    other = mask({name: value[:20_000] for name, value in clean.items()}, 8)
    mine = masked.chosen[:20_000]
    m = (other.real & ~SPECIAL[other.clean]).sum(1)
    k = mine.sum(1)
    x = (mine & other.chosen).sum(1) - k**2 / np.maximum(m, 1)
    assert abs(x.sum()) < LIMIT * (x**2).sum() ** 0.5


def test_the_original_has_the_same_rates(clean):
    """The same figures of 3,000 rows masked by the plain reference: the closed form is that of both."""
    rng = Random(5)
    # The description has no row without a candidate.
    rows = np.flatnonzero((~SPECIAL[clean["tokens"]]).any(1))[:3000]
    tokens, real = clean["tokens"][rows], clean["group"][rows] > 0
    seen, chosen = tokens.copy(), np.zeros(tokens.shape, bool)
    special = set(np.flatnonzero(SPECIAL).tolist())
    for row, size in enumerate(real.sum(1)):
        text, positions = original.masked(tokens[row, :size].tolist(), special, MASK, VOCAB, SLOTS, 0.15, rng)
        seen[row, :size] = text
        chosen[row, positions] = True
    assert beyond(deviations(Masked(tokens, seen, real, chosen), SPECIAL, MASK, SLOTS)) == {}


@pytest.mark.parametrize("defect", ["mask 0.79", "random ids spare the special ones", "the first is preferred"])
def test_the_comparison_sees_a_small_defect(masked, defect):
    part = Masked(*(values[:30_000].copy() for values in masked))
    rng = np.random.default_rng(1)
    if defect == "mask 0.79":
        back = part.chosen & (part.seen == MASK) & (rng.random(part.chosen.shape) < 0.0125)
        part.seen[back] = part.clean[back]
    elif defect == "random ids spare the special ones":
        special = part.chosen & SPECIAL[part.seen] & (part.seen != MASK)
        part.seen[special] = rng.integers(FIRST, VOCAB, special.sum())
    else:
        maskable = part.real & ~SPECIAL[part.clean]
        for row in np.flatnonzero(maskable.any(1))[:1000]:
            first, taken = maskable[row].argmax(), part.chosen[row].argmax()
            part.chosen[row, [taken, first]] = part.chosen[row, [first, taken]]
            part.seen[row, taken] = part.clean[row, taken]
    assert beyond(deviations(part, SPECIAL, MASK, SLOTS))
