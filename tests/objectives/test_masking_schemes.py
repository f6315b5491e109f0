"""Whole words, n-grams, spans and frequency over 100,000 masked rows: what always holds, closed forms, the reference.

25,000 rows are masked four times under different keys. Single tokens: test_masking_rates.py.
"""

from __future__ import annotations

import bisect
import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import cache
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.config import MaskedLMConfig, MaskingScheme
from jaxbert.objectives import masking

sys.path.append(str(Path(__file__).parent))

import reference_masking as reference
from scheme_rows import (
    LENGTH,
    MASK,
    RANDOM_IDS,
    SPECIAL,
    UNK,
    VOCAB,
    WORD_START,
    Layout,
    Masked,
    Setting,
    bits,
    choose_key,
    lay_out,
    make_rows,
    mask_rows,
    part_key,
)
from scheme_statistics import beyond, frequency_bins, replacement, two_samples, words_taken, z

ROWS, COPIES, PART, SLOTS, SEED = 25_000, 4, 12_500, 9, 21
SCHEMES = tuple(RANDOM_IDS)
EXACT = ("span", "frequency")


@pytest.fixture(scope="module", autouse=True)
def forget() -> Iterator[None]:
    yield
    for kept in (clean, layout, masked):
        kept.cache_clear()


@cache
def clean() -> dict[str, np.ndarray]:
    return make_rows(ROWS)


@cache
def layout() -> Layout:
    return lay_out(clean(), MaskedLMConfig().word_cap)


def copies(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([value] * COPIES) for name, value in rows.items()}


def setting(scheme: MaskingScheme, slots: int = SLOTS, **changes: float) -> Setting:
    config = dataclasses.replace(MaskedLMConfig(scheme=scheme, random_ids=RANDOM_IDS[scheme]), **changes)
    return Setting(config, slots, np.bincount(clean()["tokens"].reshape(-1), minlength=VOCAB))


@cache
def masked(scheme: MaskingScheme) -> Masked:
    return mask_rows(copies(clean()), setting(scheme), SEED, PART)


class Draws(NamedTuple):
    """The random numbers of one row, as the reference asks for them."""

    ordered: Callable[[list[int]], Iterable[int]]
    words: Callable[..., int]
    weight: Callable[[int], float]
    below: Callable[[float], float]


def drawn(how: Setting, rng: Random) -> Draws:
    config = how.config
    count = how.count_V.tolist()
    spans = config.scheme == "span"
    return Draws(
        reference.endless(rng) if spans else reference.shuffled(rng),
        reference.geometric(rng, config.span_p, config.max_span) if spans else reference.harmonic(rng),
        lambda token: max(count[token], 1) ** -config.smoothing,
        lambda total: rng.random() * total,
    )


def same_draws(how: Setting, key: jax.Array, rows: int) -> list[Draws]:
    """The numbers that jaxbert draws for the rows of a batch under the scheme's key."""
    if how.config.scheme == "frequency":
        weight = how.tables()["smoothed"].tolist()
        streams = [iter(row) for row in bits(key, rows, how.slots)]
        return [
            Draws(sorted, len, weight.__getitem__, lambda total, draws=draws: next(draws) * total >> 32)
            for draws in streams
        ]
    order_key, length_key = jax.random.split(key)
    longest = {"whole_word": 1, "ngram": 3, "span": 10}[how.config.scheme]
    ordered, lengths = bits(order_key, rows, LENGTH), bits(length_key, rows, LENGTH)
    weights = [Fraction(4, 5) ** n if how.config.scheme == "span" else Fraction(1, n + 1) for n in range(longest)]

    def one(order: list[int], draw: list[int]) -> Draws:
        def words(position: int, there: int = longest) -> int:
            bounds = list(accumulate(weights[:there]))
            return 1 + sum(draw[position] * bounds[-1] >= bound * 2**32 for bound in bounds[:-1])

        # The low bits of a number give way to the position.
        return Draws(lambda positions: sorted(positions, key=lambda at: (order[at] // LENGTH, at)), words, len, len)

    return [one(order, draw) for order, draw in zip(ordered, lengths, strict=True)]


def by_reference(how: Setting, rows: dict[str, np.ndarray], texts: list, draws: Iterable[Draws]) -> np.ndarray:
    """bool [n, L], chosen by the plain reference."""
    chosen = np.zeros((len(texts), LENGTH), bool)
    tokens, groups = rows["tokens"].tolist(), rows["group"].tolist()
    for row, (its, numbers) in enumerate(zip(texts, draws, strict=False)):
        budget = reference.budget_of(groups[row], how.config.rate, how.slots)
        if how.config.scheme == "whole_word":
            found = reference.whole_words(its, budget, numbers.ordered)
        elif how.config.scheme == "ngram":
            found = reference.ngrams(its, budget, numbers.ordered, numbers.words, how.config.max_ngram)
        elif how.config.scheme == "span":
            found = reference.spans(its, budget, numbers.ordered, numbers.words)
        else:
            positions = (position for text in its for word in text for position in word)
            weights = {position: numbers.weight(tokens[row][position]) for position in positions}
            found = reference.weighted(weights, budget, numbers.below)
        chosen[row, sorted(found)] = True
    return chosen


def budgets(how: Setting) -> np.ndarray:
    groups = clean()["group"].tolist()
    return np.array([reference.budget_of(row, how.config.rate, how.slots) for row in groups])


def test_the_rows_are_varied():
    rows, words = clean(), layout()
    maskable = (words.word >= 0).sum(1)
    assert set((rows["group"] > 0).sum(1).tolist()) == set(range(LENGTH + 1))
    assert ((rows["group"].max(1) > 3) & (words.text.max(1) > 3)).sum() > 1000, "rows of several groups"
    meet = (rows["group"][:, 1:] != rows["group"][:, :-1]) & (words.word[:, 1:] >= 0) & (words.word[:, :-1] >= 0)
    assert meet.sum() > 1000, "groups that meet in text"
    assert ((words.pieces == 10) & ~WORD_START[rows["tokens"]]).sum() > 10_000, "words that the cap divides"
    assert (maskable < budgets(setting("span"))).sum() > 100 and (maskable == 0).sum() > 100
    assert (words.word[:, 0] >= 0).sum() > 1000 < (words.word[:, -1] >= 0).sum(), "text at both edges"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_always_holds(scheme):
    """Of all 100,000 rows: budgets, no special token, nothing else changed, words whole, none left out that fits."""
    found, words = masked(scheme), layout()
    tokens, budget = copies(clean())["tokens"], np.tile(budgets(setting(scheme)), COPIES)
    words = Layout([], *(np.concatenate([part] * COPIES) for part in words[1:]))
    maskable = words.word >= 0
    size = found.chosen.sum(1)
    assert len(size) == 100_000 and size.sum() > 500_000
    assert not (found.chosen & ~maskable).any()
    np.testing.assert_array_equal(found.seen[~found.chosen], tokens[~found.chosen])
    assert (size <= budget).all()
    if scheme in EXACT:
        np.testing.assert_array_equal(size, np.minimum(budget, maskable.sum(1)))
    if scheme == "frequency":
        return
    taken, whole = words_taken(words, found.chosen)
    cut = (taken > 0) & ~whole
    row, column = np.nonzero(maskable)
    place = row, words.word[row, column]
    pieces, text = np.zeros_like(taken), np.full(taken.shape, -1)
    pieces[place], text[place] = words.pieces[maskable], words.text[maskable]
    if scheme == "span":
        # A span begins with a word; only the last to be drawn ends within one.
        assert (cut.sum(1) <= 1).all() and cut.sum() > 1000
        begins = found.chosen & ~np.pad(found.chosen, ((0, 0), (1, 0)))[:, :-1]
        first = words.word != np.pad(words.word, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
        assert not (begins & ~first).any()
        return
    assert not cut.any()
    fits = (pieces > 0) & ~whole & (pieces <= (budget - size)[:, None])
    if scheme == "ngram":
        # One that fits was left out for what follows: in its n-gram was a word chosen already.
        for gap in (1, 2):
            fits[:, :-gap] &= ~(whole[:, gap:] & (text[:, gap:] == text[:, :-gap]))
    assert not fits.any()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("rate", "slots"), [(0.15, SLOTS), (0.6, 32)])
def test_the_same_numbers_give_the_same_choice(scheme, rate, slots):
    """Bit for bit the plain reference, which is given the numbers that jaxbert draws."""
    how, number = setting(scheme, slots, rate=rate), 3000
    rows = {name: value[:number] for name, value in clean().items()}
    if rate == 0.15:
        key, ours = part_key(SEED, 0), masked(scheme).chosen[:number]
        draws = same_draws(how, choose_key(key), PART)
    else:
        key, ours = part_key(5, 0), mask_rows(rows, how, 5, number).chosen
        draws = same_draws(how, choose_key(key), number)
    theirs = by_reference(how, rows, layout().texts[:number], draws)
    assert theirs.sum() > 15_000
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_reference_chooses_alike(scheme):
    """How many, where, which words, how many side by side: to five standard errors of rows masked by both."""
    draws = [drawn(setting(scheme), Random(3))] * ROWS
    theirs = by_reference(setting(scheme), clean(), layout().texts, draws)
    found = two_samples(clean()["tokens"], layout(), masked(scheme).chosen, theirs)
    assert sum(value != 0 for value in found.values()) > 100
    assert beyond(found) == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_stands_in_their_place(scheme):
    """80/10/10 token by token, or span by span; random ids as often as they should be, special ones where they may."""
    found, tokens = masked(scheme), copies(clean())["tokens"]
    by_span = scheme == "span"
    deviations = replacement(tokens, found, setting(scheme).id_shares(), by_span=by_span)
    assert sum(value != 0 for value in deviations.values()) > 60
    assert beyond(deviations) == {}
    another = (found.seen != tokens) & (found.seen != MASK)
    assert SPECIAL[found.seen[another]].any() == (scheme == "whole_word")
    if by_span:
        beside = found.chosen[:, 1:] & found.chosen[:, :-1]
        is_mask = found.seen == MASK
        assert not (beside & (is_mask[:, 1:] != is_mask[:, :-1])).any()


def first_drawn(scheme: MaskingScheme, seed: int) -> np.ndarray:
    """bool [100,000, L]: the first n-gram or span of each row, with room for any: what a single step chooses.

    Not under jit: the compiler would take a minute to work out the single step's constants.
    """
    how, rows = setting(scheme), jax.tree.map(jnp.asarray, copies(clean()))
    tables = jax.tree.map(jnp.asarray, how.tables())
    candidates = masking.Candidates(
        rows["tokens"],
        (rows["group"] > 0) & ~tables["special"][rows["tokens"]],
        rows["group"],
        jnp.full((len(rows["tokens"]), 1), LENGTH, jnp.int32),
        slots=1,
        tables=tables,
    )
    return np.asarray(masking.SCHEMES[scheme].choose(candidates, how.config, jax.random.key(seed)))


LENGTHS = {
    "ngram": np.array([6, 3, 2]) / 11,
    "span": 0.2 * 0.8 ** np.arange(10) / (1 - 0.8**10),
}


@pytest.mark.parametrize("scheme", LENGTHS)
def test_the_first_length_is_the_closed_form(scheme):
    """1/n among the words there; geometric, renormalised, up to the text's end. A span's word goes by its tokens."""
    p, words = LENGTHS[scheme], layout()
    longest = len(p)
    chosen = first_drawn(scheme, 4).reshape(COPIES, ROWS, LENGTH)
    first = (words.word >= 0) & (words.word != np.pad(words.word, ((0, 0), (1, 0)), constant_values=-1)[:, :-1])
    weight = first * (words.pieces if scheme == "span" else 1)
    weight = weight / np.maximum(weight.sum(1, keepdims=True), 1)
    there = np.minimum(words.there, longest)
    # [words there, length]: what is longer ends at the end, or is never drawn.
    table = np.zeros((longest + 1, longest + 1))
    for most in range(1, longest + 1):
        table[most, 1 : most + 1] = p[:most] if scheme == "span" else p[:most] / p[:most].sum()
        table[most, most] += 1 - table[most].sum()
    begin = chosen.argmax(2)
    length = (chosen & first).sum(2)
    assert (chosen.any(2) == (words.word >= 0).any(1)).all()
    found = {}
    for number in range(1, longest + 1):
        expected = (weight * table[there, number]).sum(1)
        found[f"{number} words"] = z(((length == number) - expected).sum(0))
        for most in (1, 2, longest):
            here = there[np.arange(ROWS), begin] == most
            found[f"{number} words of {most}"] = z((((length == number) - table[most, number]) * here).sum(0))
    for column in range(LENGTH):
        excess = ((begin == column) & (length > 0)) - weight[:, column]
        found[f"begins at {column}"] = z(excess.sum(0))
    for pieces in range(1, 11):
        here = words.pieces[np.arange(ROWS), begin] == pieces
        expected = (weight * (words.pieces == pieces)).sum(1)
        found[f"begins with a word of {pieces} pieces"] = z(((here & (length > 0)) - expected).sum(0))
    assert sum(value != 0 for value in found.values()) > 80
    assert beyond(found) == {}
    if scheme == "span":
        free = length[there[np.arange(ROWS), begin] == longest]
        assert len(free) > 30_000
        assert abs(free.mean() - 3.797) < 0.001 + 5 * free.std() / len(free) ** 0.5
        np.testing.assert_allclose(masking.span_probabilities(0.2, 10), p)


def test_the_first_two_by_frequency_are_the_closed_form():
    """Budgets 1 and 2: p = w / sum(w); and p + the sum over the others of p' p / (1 - p')."""
    how, rows = setting("frequency", 2, rate=0.03), clean()
    chosen = mask_rows(copies(rows), how, 6, PART).chosen.reshape(COPIES, ROWS, LENGTH)
    maskable = layout().word >= 0
    weight = maskable * np.maximum(how.count_V, 1.0)[rows["tokens"]] ** -0.7
    p = weight / np.maximum(weight.sum(1, keepdims=True), 1e-9)
    odds = p / np.maximum(1 - p, 1e-9)
    two = p * (1 + odds.sum(1, keepdims=True) - odds)
    budget = np.minimum(budgets(how), maskable.sum(1))[:, None]
    assert min((budget == 1).sum(), (budget == 2).sum()) > 5000
    expected = np.where(budget >= maskable.sum(1, keepdims=True), maskable, np.where(budget == 1, p, two))
    expected = np.where(budget == 0, 0, expected)
    excess = chosen.sum(0) - COPIES * expected
    found = {f"chosen at {column}": z(excess[:, column]) for column in range(LENGTH)}
    bins = frequency_bins(rows["tokens"])
    for number in range(1, 11):
        for size in (1, 2):
            here = (bins == number) & (budget == size)
            found[f"frequency {number}, budget {size}"] = z((excess * here).sum(1))
    assert sum(value != 0 for value in found.values()) > 70
    assert beyond(found) == {}


def test_smoothed_weights_are_proportional_and_add_up_in_32_bits():
    count = np.array([0, 1, 2, 1000, 10**6, 10**15])
    weight = masking.smoothed_weights(count, 0.7, 512).astype(np.float64)
    assert weight[0] == weight[1] and weight.max() * 512 <= 2**32 - 1
    np.testing.assert_allclose(weight[1:5] / weight[1], [1, 2**-0.7, 1000**-0.7, 10**-4.2], rtol=1e-3)
    assert weight[5] == 1, "none has no weight"


def test_a_random_id_is_the_one_under_whose_share_the_draw_falls():
    """Exact, also at the ends: ids without a share stand before, among and behind the others, and are never drawn."""
    weight = np.array([0, 0, 3, 1, 0, 10, 2, 0, 0])
    table = masking.cumulative(weight)
    exact = [Fraction(int(total), 16) * (2**32 - 1) for total in np.cumsum(weight)]
    assert table.tolist() == [int(entry) for entry in exact]
    draws = sorted({0, 1, 2**32 - 1, 2**32 - 2, *(int(x) + d for x in exact for d in (-1, 0, 1) if 0 <= x + d < 2**32)})
    found = masking.slots._search(jnp.asarray(table), jnp.asarray([draws], jnp.uint32))[0].tolist()
    wanted = [min(bisect.bisect_right(table.tolist(), draw), 6) for draw in draws]
    assert found == wanted and set(found) == {2, 3, 5, 6}


def one_fewer(ordered: Callable) -> Callable:
    return lambda positions: ordered(positions[:-1])


def wrong_draws(defect: str, rng: Random) -> tuple[MaskingScheme, Draws]:
    """The reference's numbers with a small mistake."""
    if defect == "the last word is forgotten":
        right = drawn(setting("whole_word"), rng)
        return "whole_word", right._replace(ordered=one_fewer(right.ordered))
    if defect == "the order prefers the begin":
        return "whole_word", drawn(setting("whole_word"), rng)._replace(
            ordered=lambda positions: sorted(positions, key=lambda at: rng.random() + 0.001 * at)
        )
    if defect == "lengths 50/30/20":
        words = lambda first, there: rng.choices(range(1, there + 1), [0.5, 0.3, 0.2][:there])[0]  # noqa: E731
        return "ngram", drawn(setting("ngram"), rng)._replace(words=words)
    if defect == "p 0.22":
        return "span", drawn(setting("span", span_p=0.22), rng)
    if defect == "spans of 8 words":
        return "span", drawn(setting("span", max_span=8), rng)
    return "frequency", drawn(setting("frequency", smoothing=0.73), rng)


@pytest.mark.parametrize(
    "defect",
    [
        "the last word is forgotten",
        "the order prefers the begin",
        "lengths 50/30/20",
        "p 0.22",
        "spans of 8 words",
        "smoothing 0.73",
    ],
)
def test_the_comparison_sees_a_small_defect(defect):
    scheme, wrong = wrong_draws(defect, Random(8))
    theirs = by_reference(setting(scheme), clean(), layout().texts, [wrong] * ROWS)
    assert beyond(two_samples(clean()["tokens"], layout(), masked(scheme).chosen, theirs))


@pytest.mark.parametrize("defect", ["mask 0.79", "each token by itself", "[UNK] is never drawn"])
def test_the_comparison_sees_a_wrong_replacement(defect):
    """The span's, whose tokens say the least: bound together as they are."""
    tokens, how = copies(clean())["tokens"], setting("span")
    found, shares = masked("span"), how.id_shares()
    if defect == "[UNK] is never drawn":
        shares[UNK] = 0
        shares /= shares.sum()
    wrong = replacement(
        tokens, found, shares, by_span=defect != "each token by itself", mask=0.79 if defect == "mask 0.79" else 0.8
    )
    assert beyond(wrong)
