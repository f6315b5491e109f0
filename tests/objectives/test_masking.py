"""Masks against the closed form: budgets exact, specials never chosen, 80/10/10, the same bits for ever."""

from __future__ import annotations

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.config import EncoderConfig, MaskedLMConfig
from jaxbert.objectives import MaskedLM, masking

ROWS, LENGTH, VOCAB = 2000, 64, 1000
SPECIAL = np.arange(VOCAB) < 5
MASK = 4


def _batch(seed: int = 0) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    real = rng.integers(1, LENGTH + 1, (ROWS, 1))
    group = (np.arange(LENGTH) < real).astype(np.int32)
    tokens = rng.integers(5, VOCAB, (ROWS, LENGTH)).astype(np.int32)
    tokens[:, 0] = 2
    tokens[rng.random((ROWS, LENGTH)) < 0.05] = 3
    tokens = tokens * group
    return {"tokens": jnp.asarray(tokens), "group": jnp.asarray(group)}


@pytest.fixture(scope="module")
def corrupted() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    clean = _batch()
    objective = MaskedLM(MaskedLMConfig(), EncoderConfig(vocab_size=VOCAB), length=LENGTH, slots=10)
    frozen = {"special": jnp.asarray(SPECIAL), "mask_id": jnp.asarray(MASK, jnp.int32)}
    found = jax.jit(objective.corrupt)(clean, frozen, jax.random.key(7))
    return jax.device_get(clean), jax.device_get(found)


def test_budget_is_exact(corrupted):
    clean, found = corrupted
    real = clean["group"].sum(1)
    maskable = ((clean["group"] > 0) & ~SPECIAL[clean["tokens"]]).sum(1)
    wanted = [min(10, max(1, round(0.15 * int(n))), int(m)) for n, m in zip(real, maskable, strict=True)]
    np.testing.assert_array_equal(found["slot_weight"].sum(1), wanted)


def test_slots_are_distinct_ascending_and_never_special(corrupted):
    clean, found = corrupted
    for row in range(ROWS):
        at = found["slots"][row][found["slot_weight"][row] > 0]
        assert (np.diff(at) > 0).all()
        tokens = clean["tokens"][row, at]
        assert not SPECIAL[tokens].any()
        np.testing.assert_array_equal(found["labels"][row][: len(at)], tokens)


def test_only_slots_change(corrupted):
    clean, found = corrupted
    changed = clean["tokens"] != found["tokens"]
    inside = np.zeros_like(changed)
    row = np.repeat(np.arange(ROWS), found["slots"].shape[1])
    weight = found["slot_weight"].reshape(-1) > 0
    inside[row[weight], found["slots"].reshape(-1)[weight]] = True
    assert not (changed & ~inside).any()


def test_shares_of_mask_random_and_kept(corrupted):
    _, found = corrupted
    filled = found["slot_weight"] > 0
    new = np.take_along_axis(found["tokens"], found["slots"], 1)[filled]
    old = found["labels"][filled]
    n = len(new)
    for share, wanted in (((new == MASK).mean(), 0.8 + 0.1 / VOCAB), ((new == old).mean(), 0.1 + 0.1 / VOCAB)):
        assert abs(share - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / n)
    drawn = new[(new != MASK) & (new != old)]
    # Uniform over the whole vocabulary: mean and spread of the ids.
    assert abs(drawn.mean() - (VOCAB - 1) / 2) < 4 * VOCAB / np.sqrt(12 * len(drawn))
    assert abs(drawn.std() - VOCAB / np.sqrt(12)) < 0.05 * VOCAB


def test_every_position_is_equally_likely():
    objective_budget = jnp.full((4000, 1), 8)
    chosen = masking.choose_tokens(jnp.ones((4000, 32), bool), objective_budget, jax.random.key(0))
    rate = np.asarray(chosen.mean(0))
    assert np.abs(rate - 0.25).max() < 4.5 * np.sqrt(0.25 * 0.75 / 4000)


def test_budgets_round_as_python_does():
    table = masking.budgets(128, 0.15, 20)
    assert table[0] == 0 and table[1] == 1 and table[30] == round(4.5) and table[128] == 19
    assert masking.budgets(128, 0.15, 5).max() == 5


def test_golden_hash(corrupted):
    _, found = corrupted
    digest = hashlib.sha256()
    for name in ("tokens", "slots", "labels"):
        digest.update(np.ascontiguousarray(found[name], np.int32).tobytes())
    assert digest.hexdigest() == GOLDEN


GOLDEN = "e2677320110b7cfc684402c92b507d0dfd7f5264a86ba383584b22060c9a1bbc"
