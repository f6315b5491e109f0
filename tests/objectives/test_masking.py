"""Masks row by row: budgets exact, specials never chosen, nothing else changed, the same bits for ever.

Rates and independence over many rows: test_masking_rates.py.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxbert.objectives import masking

sys.path.append(str(Path(__file__).parent))

import golden_corruption as golden

SPECIAL = golden.frozen()["special"]


@cache
def all_corrupted() -> dict[str, dict[str, np.ndarray]]:
    return jax.device_get(jax.jit(golden.corrupted)(golden.rows(), golden.frozen(), jax.random.key(golden.KEY)))


@pytest.fixture(scope="module")
def corrupted() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return golden.rows(), all_corrupted()["token"]


def test_budget_is_exact(corrupted):
    clean, found = corrupted
    real = clean["group"].sum(1)
    maskable = ((clean["group"] > 0) & ~SPECIAL[clean["tokens"]]).sum(1)
    wanted = [min(golden.SLOTS, max(1, round(0.15 * int(n))), int(m)) for n, m in zip(real, maskable, strict=True)]
    np.testing.assert_array_equal(found["slot_weight"].sum(1), wanted)


def test_slots_are_distinct_ascending_and_never_special(corrupted):
    clean, found = corrupted
    for row in range(golden.ROWS):
        at = found["slots"][row][found["slot_weight"][row] > 0]
        assert (np.diff(at) > 0).all()
        tokens = clean["tokens"][row, at]
        assert not SPECIAL[tokens].any()
        np.testing.assert_array_equal(found["labels"][row][: len(at)], tokens)


def test_only_slots_change(corrupted):
    clean, found = corrupted
    changed = clean["tokens"] != found["tokens"]
    inside = np.zeros_like(changed)
    row = np.repeat(np.arange(golden.ROWS), golden.SLOTS)
    weight = found["slot_weight"].reshape(-1) > 0
    inside[row[weight], found["slots"].reshape(-1)[weight]] = True
    assert changed.any() and not (changed & ~inside).any()
    for name in ("types", "group", "label"):
        np.testing.assert_array_equal(found[name], clean[name])


def test_budgets_round_as_python_does():
    table = masking.budgets(128, 0.15, 20)
    assert table[0] == 0 and table[1] == 1 and table[30] == round(4.5) and table[128] == 19
    assert masking.budgets(128, 0.15, 5).max() == 5


@pytest.mark.parametrize("scheme", masking.SCHEMES)
def test_corruption_is_the_golden_one(scheme):
    assert golden.digest(all_corrupted()[scheme]) == golden.GOLDEN[scheme]
