"""Pairs swapped inside the step: exactly the two segments, the right share of them, only those in their order."""

from __future__ import annotations

from random import Random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.config import EncoderConfig, SentenceOrderConfig
from jaxbert.objectives import SentenceOrder, prepare
from jaxbert.objectives.pairs import swap_segments

LENGTH, CLS, SEP = 24, 2, 3


def laid_out(a: list[int], b: list[int], label: int) -> dict[str, np.ndarray]:
    """One row. Without B: [CLS] A [SEP]."""
    tokens = [CLS, *a, SEP, *([*b, SEP] if b else [])]
    types = [0] * (len(a) + 2) + [1] * (len(b) + 1 if b else 0)
    padding = [0] * (LENGTH - len(tokens))
    group = [1] * len(tokens) + padding
    return {"tokens": tokens + padding, "types": types + padding, "group": group, "label": label}


def stacked(rows: list[dict]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows], np.int32) for name in rows[0]}


def test_a_pair_is_swapped_by_hand():
    """Each takes the [SEP] behind it along, also one that stands in the text; padding stays where it is."""
    batch = {
        "tokens": [[2, 11, 12, 13, 3, 21, 22, 3, 0, 0], [2, 11, 3, 12, 3, 21, 22, 3, 23, 3]],
        "types": [[0, 0, 0, 0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]],
        "group": [[1, 1, 1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]],
    }
    found = swap_segments({name: jnp.array(value) for name, value in batch.items()})
    assert found["tokens"].tolist() == [[2, 21, 22, 3, 11, 12, 13, 3, 0, 0], [2, 21, 22, 3, 23, 3, 11, 3, 12, 3]]
    assert found["types"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]]


@pytest.fixture(scope="module")
def pairs() -> list[tuple[list[int], list[int], int]]:
    """(A, B, label) of every size that fits; in one of five no B, in one of five B from elsewhere (label 1)."""
    rng, found = Random(3), []
    for number in range(20_000):
        sizes = rng.randint(1, LENGTH - 4), rng.randint(1, LENGTH - 4)
        a, b = ([rng.randrange(5, 1000) for _ in range(size)] for size in sizes)
        label = (0, 0, 0, 1, -1)[number % 5]
        b = b[: LENGTH - 3 - len(a)] if label >= 0 else []
        found.append((a, b, label))
    return found


@pytest.fixture(scope="module")
def swapped(pairs) -> dict[str, np.ndarray]:
    objective = SentenceOrder(SentenceOrderConfig(swap=0.4), EncoderConfig(), length=LENGTH, slots=4)
    program = jax.jit(lambda batch, key: prepare([objective], {}, {}, batch, key))
    return jax.device_get(program(stacked([laid_out(*pair) for pair in pairs]), jax.random.key(1)))


def test_every_row_is_its_pair_in_one_order_or_the_other(pairs, swapped):
    """Exact: tokens, types, group; label 1 where they are swapped; those without B or with a foreign one untouched."""
    label = swapped["label"]
    was_swapped = [new == 1 and pair[2] == 0 for pair, new in zip(pairs, label, strict=True)]
    wanted = [
        laid_out(b, a, 1) if so else laid_out(a, b, old) for (a, b, old), so in zip(pairs, was_swapped, strict=True)
    ]
    for name, value in stacked(wanted).items():
        np.testing.assert_array_equal(swapped[name], value)


def test_the_share_of_swapped_pairs(pairs, swapped):
    """To five standard errors: of all pairs in their order, of short and long ones, and of neighbours both."""
    ours = np.array([label == 0 for *_, label in pairs])
    excess = (swapped["label"][ours] == 1) - 0.4
    sizes = np.array([len(a) for (a, *_) in pairs])[ours]
    spread = (0.4 * 0.6) ** 0.5
    assert len(excess) == 12_000
    for part in (excess, excess[sizes < 8], excess[sizes > 14]):
        assert abs(part.sum()) < 5 * spread * len(part) ** 0.5
    assert abs((excess[1:] * excess[:-1]).sum()) < 5 * spread**2 * len(excess) ** 0.5


def test_twice_swapped_is_as_before(pairs):
    batch = stacked([laid_out(*pair) for pair in pairs if pair[1]])
    once = {**batch, **swap_segments(batch)}
    again = swap_segments(once)
    assert (np.asarray(once["tokens"]) != batch["tokens"]).any(1).mean() > 0.99
    for name in ("tokens", "types"):
        np.testing.assert_array_equal(again[name], batch[name])
