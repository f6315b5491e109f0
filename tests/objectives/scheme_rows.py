"""Rows on which the masking schemes are compared, and the schemes as they are compared."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import reference_masking as reference

from jaxbert.config import (
    EncoderConfig,
    MaskedLMConfig,
    MaskingScheme,
    RandomIds,
)
from jaxbert.objectives import MaskedLM, prepare
from jaxbert.objectives.vocabulary import frozen_tables

LENGTH, VOCAB = 64, 600
PAD, UNK, CLS, SEP, MASK, FIRST = 0, 1, 2, 3, 4, 5
SPECIAL = np.isin(np.arange(VOCAB), (PAD, CLS, SEP, MASK))
# Three in five tokens begin a word, frequent ones and rare ones.
WORD_START = ~np.isin(np.arange(VOCAB) % 5, (1, 2))
SPECIAL_SET, START_SET = set(np.flatnonzero(SPECIAL).tolist()), set(np.flatnonzero(WORD_START).tolist())
# Each way to draw random ids once or twice.
RANDOM_IDS: dict[MaskingScheme, RandomIds] = {
    "whole_word": "vocabulary",
    "ngram": "ordinary",
    "span": "corpus",
    "frequency": "ordinary",
}


def make_rows(count: int, seed: int = 12) -> dict[str, np.ndarray]:
    """Pairs, single texts and several groups to a row; tokens of Zipf's law.

    Half of the rows are full and the others of every length, none included. In one of ten a word hardly ever begins; in
    one of fifty most tokens are special ones, so that some rows have fewer maskable tokens than their budget. Groups
    meet with and without special tokens between them; a fifth of the rows has text up to both edges.
    """
    rng = np.random.default_rng(seed)
    column = np.arange(LENGTH)
    real = np.where(rng.random(count) < 0.5, LENGTH, rng.integers(0, LENGTH + 1, count))
    tokens = (FIRST + (VOCAB - FIRST) ** rng.random((count, LENGTH)) - 1).astype(np.int32)
    tokens[rng.random((count, LENGTH)) < 0.01] = UNK
    unspaced = (rng.random(count) < 0.1)[:, None] & (rng.random((count, LENGTH)) < 0.97)
    tokens = np.where(unspaced, np.maximum(tokens - tokens % 5, FIRST) + 1, tokens)
    share = np.where(rng.random(count) < 0.02, 0.9, 0.01)[:, None]
    draw = rng.random((count, LENGTH))
    tokens = np.where(draw < share, np.where(draw < share / 2, SEP, MASK), tokens)
    kind = rng.integers(0, 3, count)[:, None]
    begins = (kind == 2) & (rng.random((count, LENGTH)) < 0.06) & (column > 0)
    framed = (rng.random(count) < 0.8)[:, None]
    between = begins & (rng.random((count, LENGTH)) < 0.7)
    tokens = np.where(between, CLS, tokens)
    tokens = np.where(np.roll(between, -1, 1), SEP, tokens)
    middle = 1 + (rng.random(count) * np.maximum(real - 2, 1)).astype(int)[:, None]
    tokens = np.where((kind == 0) & (column == middle), SEP, tokens)
    tokens = np.where(framed & (column == 0), CLS, tokens)
    tokens = np.where(framed & (column == real[:, None] - 1), SEP, tokens)
    group = np.where(column < real[:, None], 1 + np.cumsum(begins, 1), 0).astype(np.int32)
    types = ((group > 0) & (kind == 0) & (column > middle)).astype(np.int32)
    tokens = np.where(group > 0, tokens, PAD).astype(np.int32)
    return {"tokens": tokens, "types": types, "group": group, "label": np.zeros(count, np.int32)}


class Setting(NamedTuple):
    """How rows are masked: config, M, and how often each token stands in the corpus."""

    config: MaskedLMConfig
    slots: int
    count_V: np.ndarray

    def objective(self) -> MaskedLM:
        return MaskedLM(self.config, EncoderConfig(vocab_size=VOCAB), length=LENGTH, slots=self.slots)

    def tables(self) -> dict[str, np.ndarray]:
        return frozen_tables(SPECIAL, MASK, WORD_START, masked=self.config, longest=LENGTH, counts=self.count_V)

    def id_shares(self) -> np.ndarray:
        """float64 [V]: what a random id is drawn from."""
        ways = {"vocabulary": np.ones(VOCAB), "ordinary": 1 - SPECIAL, "corpus": self.count_V * ~SPECIAL}
        return ways[self.config.random_ids] / ways[self.config.random_ids].sum()


class Masked(NamedTuple):
    """[n, L] each: tokens after, and which are to be predicted."""

    seen: np.ndarray
    chosen: np.ndarray


def mask_rows(rows: dict[str, np.ndarray], setting: Setting, seed: int, part: int) -> Masked:
    """As the training step corrupts them, `part` rows at a time under keys of their own."""
    objective, tables = setting.objective(), setting.tables()
    program = jax.jit(lambda batch, tables, key: prepare([objective], {}, tables, batch, key))
    seen, chosen = rows["tokens"].copy(), np.zeros(rows["tokens"].shape, bool)
    for number, start in enumerate(range(0, len(seen), part)):
        batch = {name: value[start : start + part] for name, value in rows.items()}
        found = jax.device_get(program(batch, tables, part_key(seed, number)))
        assert found["slots"].shape == (len(batch["tokens"]), setting.slots), "the same number of slots in every row"
        filled = found["slot_weight"] > 0
        row = np.nonzero(filled)[0]
        position = found["slots"][filled]
        assert (np.diff(row * LENGTH + position) > 0).all(), "slots ascend"
        np.testing.assert_array_equal(found["labels"][filled], batch["tokens"][row, position])
        chosen[start + row, position] = True
        seen[start : start + part] = found["tokens"]
    return Masked(seen, chosen)


def part_key(seed: int, number: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), number)


def choose_key(key: jax.Array) -> jax.Array:
    """What a batch's key becomes on the way to the scheme of its first objective."""
    return jax.random.split(jax.random.fold_in(key, 0))[0]


def bits(key: jax.Array, rows: int, columns: int) -> list[list[int]]:
    return np.asarray(jax.random.bits(key, (rows, columns), jnp.uint32)).tolist()


class Layout(NamedTuple):
    """Words and texts of rows, [n, L] each: number in the row from 0 on, -1 outside; `texts` as the reference has them.

    `pieces`: tokens of the word that this token is in; `there`: words from this one to the end of its text.
    """

    texts: list[list[reference.Text]]
    word: np.ndarray
    text: np.ndarray
    pieces: np.ndarray
    there: np.ndarray


def lay_out(rows: dict[str, np.ndarray], cap: int) -> Layout:
    tokens, groups = rows["tokens"].tolist(), rows["group"].tolist()
    texts = [
        reference.texts_of(row, group, SPECIAL_SET, START_SET, cap) for row, group in zip(tokens, groups, strict=True)
    ]
    word, text, pieces, there = (np.full(rows["tokens"].shape, empty, np.int32) for empty in (-1, -1, 0, 0))
    for row, its in enumerate(texts):
        number = 0
        for place, words in enumerate(its):
            for index, positions in enumerate(words):
                at = slice(positions[0], positions[-1] + 1)
                word[row, at], text[row, at] = number, place
                pieces[row, at], there[row, at] = len(positions), len(words) - index
                number += 1
    return Layout(texts, word, text, pieces, there)
