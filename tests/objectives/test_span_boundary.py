"""The span-boundary objective's pairs against the plain reference, on rows with spans in every place."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.config import EncoderConfig, MaskedLMConfig, SpanBoundaryConfig
from jaxbert.objectives import MaskedLM, SpanBoundary, prepare

sys.path.append(str(Path(__file__).parent))

import reference_masking as reference
from scheme_rows import LENGTH, SPECIAL, SPECIAL_SET, VOCAB, Setting, make_rows

ROWS, SLOTS, MOST = 20_000, 20, 4
FIELDS = ("span_left", "span_right", "span_place")


@pytest.fixture(scope="module")
def clean() -> dict[str, np.ndarray]:
    return make_rows(ROWS, seed=31)


@pytest.fixture(scope="module")
def found(clean) -> dict[str, np.ndarray]:
    """Masked by spans up to 30%, so that many meet; random ids of the whole vocabulary, special ones among them."""
    how = Setting(MaskedLMConfig(scheme="span", rate=0.3), SLOTS, np.ones(VOCAB))
    boundary = SpanBoundary(SpanBoundaryConfig(max_targets=MOST), EncoderConfig(), length=LENGTH, slots=SLOTS)
    program = jax.jit(lambda batch, tables, key: prepare([how.objective(), boundary], {}, tables, batch, key))
    return jax.device_get(program(clean, how.tables(), jax.random.key(6)))


def test_pairs_are_the_references(clean, found):
    """Exact: which slots count, their left and right neighbours, their places; and that the neighbours are unmasked."""
    tokens, groups = clean["tokens"].tolist(), clean["group"].tolist()
    counted = beyond = unbounded = 0
    for row in range(ROWS):
        filled = found["slot_weight"][row] > 0
        masked = set(found["slots"][row][filled].tolist())
        wanted = reference.boundary_targets(tokens[row], groups[row], SPECIAL_SET, masked, MOST)
        counts = found["span_weight"][row] > 0
        at = found["slots"][row][counts].tolist()
        pairs = zip(*(found[name][row][counts].tolist() for name in FIELDS), strict=True)
        assert dict(zip(at, pairs, strict=True)) == wanted
        assert not any({left, right} & masked for left, right, _ in wanted.values())
        every = reference.boundary_targets(tokens[row], groups[row], SPECIAL_SET, masked, LENGTH)
        counted, beyond, unbounded = (
            counted + len(wanted),
            beyond + len(every) - len(wanted),
            unbounded + len(masked) - len(every),
        )
    assert counted > 50_000 and beyond > 20_000 and unbounded > 20_000


def test_every_slot_has_legal_places_and_the_tokens_are_the_masked_lms(clean, found):
    """Those that do not count too: they are gathered with weight 0. The loss divides by what counts."""
    for name, most in zip(FIELDS, (LENGTH, LENGTH, MOST), strict=True):
        assert found[name].shape == (ROWS, SLOTS) and 0 <= found[name].min() < found[name].max() < most
    assert set(np.unique(found["span_weight"])) == {0, 1}
    alone = MaskedLM(
        MaskedLMConfig(scheme="span", rate=0.3), EncoderConfig(vocab_size=VOCAB), length=LENGTH, slots=SLOTS
    )
    tables = Setting(alone.config, SLOTS, np.ones(VOCAB)).tables()
    without = jax.jit(lambda batch, tables, key: prepare([alone], {}, tables, batch, key))(
        clean, tables, jax.random.key(6)
    )
    for name, value in without.items():
        np.testing.assert_array_equal(found[name], value)


def by_hand(text: str, masked: str) -> list[tuple[int, int, int, int]]:
    """(slot, left, right, place) of the slots that count. `text`: a digit its group, # a special token, . padding."""
    group = np.array([[0 if letter == "." else int(letter) if letter.isdigit() else 1 for letter in text]])
    tokens = np.array([[2 if letter == "#" else 9 for letter in text]])
    slots = [at for at, letter in enumerate(masked) if letter == "x"]
    padded = np.array([slots + [0] * (len(text) - len(slots))])
    weight = (np.arange(len(text)) < len(slots)).astype(np.float32)[None]
    objective = SpanBoundary(SpanBoundaryConfig(max_targets=3), EncoderConfig(), length=len(text), slots=len(text))
    batch = {"tokens": tokens, "group": group, "slots": padded, "slot_weight": weight}
    batch = jax.tree.map(jnp.asarray, batch)
    tables = {"special": jnp.asarray(SPECIAL)}
    found = jax.device_get(objective.prepare({}, tables, batch, jax.random.key(0)))
    counts = found["span_weight"][0] > 0
    return list(zip(*(found[name][0][counts].tolist() for name in ("slots", *FIELDS)), strict=True))


@pytest.mark.parametrize(
    ("text", "masked", "wanted"),
    [
        ("#1111#..", "..xx....", [(2, 1, 4, 0), (3, 1, 4, 1)]),
        ("#1111#..", ".xx.....", []),
        ("#1111#..", "...xx...", []),
        ("11111111", "xx....xx", []),
        ("11111111", ".x.xx...", [(1, 0, 2, 0), (3, 2, 5, 0), (4, 2, 5, 1)]),
        ("11111111", ".xxxxx..", [(1, 0, 6, 0), (2, 0, 6, 1), (3, 0, 6, 2)]),
        ("11112222", "..xx....", []),
        ("11112222", "....xx..", []),
        ("11112222", "..xxxx..", []),
        ("11112222", ".x....x.", [(1, 0, 2, 0), (6, 5, 7, 0)]),
        ("111111..", "....xx..", []),
    ],
)
def test_pairs_by_hand(text, masked, wanted):
    """Inside; beside special tokens, the row's edges, a group's edge, padding; longer than what is predicted; two."""
    assert by_hand(text, masked) == wanted
