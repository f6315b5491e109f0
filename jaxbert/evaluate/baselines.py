"""Scores tables of counts of neighbours on the masked tokens of an evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import PhaseConfig, RunConfig
from jaxbert.data.pipeline import FixedBatches, Rows
from jaxbert.tasks import make_task

# The end of the names of tables that see as much as the model does.
SAME_INPUT = "seeing what the model sees"


def count_baselines(config: RunConfig, directory: Path, tables: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns the accuracy of tables of counts on the masked tokens of the validation split.

    "constant guess": the most frequent token. "left bigram": the most frequent successor of the left neighbour.
    "two-sided counts": the most frequent token between both neighbours; else after the left one; else before the right.
    Each table answers twice: from the masked row that the model sees (a masked neighbour is in no table, so the next
    smaller table answers), and from the true neighbours, which the model does not see.

    Args:
      config: gives the fixed masks.
      directory: rows; tables are fitted on its train split.
      tables: `Pretraining.tables` of the model's tokenizer.
    """
    special = tables["special"]
    vocab = len(special)
    left, right, middle = _triples(Rows(directory, "train"))
    unigram = np.bincount(middle, minlength=vocab)
    unigram[special] = 0
    constant = int(unigram.argmax())
    after = _best_by_key(left, middle, vocab)
    before = _best_by_key(right, middle, vocab)
    between = _best_by_key(left.astype(np.int64) * vocab + right, middle, vocab)

    right_answers: Counter[str] = Counter()
    total = 0
    for clean, corrupted, position, label in _validation_slots(config, directory, tables):
        filled = label >= 0
        total += int(filled.sum())
        right_answers["constant guess"] += int(((label == constant) & filled).sum())
        row = np.arange(len(label))[:, None]
        for tokens, words in ((corrupted, SAME_INPUT), (clean, "seeing the true neighbours")):
            to_left, to_right = tokens[row, position - 1], tokens[row, position + 1]
            by_left = _look_up(after, to_left, -1)
            by_right = _look_up(before, to_right, -1)
            guess = np.where(by_left >= 0, by_left, constant)
            right_answers[f"left bigram, {words}"] += int(((label == guess) & filled).sum())
            both = _look_up(between, to_left.astype(np.int64) * vocab + to_right, -1)
            guess = np.where(
                both >= 0, both, np.where(by_left >= 0, by_left, np.where(by_right >= 0, by_right, constant))
            )
            right_answers[f"two-sided counts, {words}"] += int(((label == guess) & filled).sum())
    return {name: count / max(1, total) for name, count in right_answers.items()}


def _triples(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (left neighbour, right neighbour, token) of every inner real position of the rows."""
    lefts, rights, middles = [], [], []
    for start in range(0, len(rows), 8192):
        read = rows.read(np.arange(start, min(len(rows), start + 8192)))
        tokens, real = read["tokens"], read["group"] > 0
        inner = real[:, 1:-1] & real[:, 2:]
        lefts.append(tokens[:, :-2][inner])
        rights.append(tokens[:, 2:][inner])
        middles.append(tokens[:, 1:-1][inner])
    return np.concatenate(lefts), np.concatenate(rights), np.concatenate(middles)


def _best_by_key(key: np.ndarray, token: np.ndarray, vocab: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (keys, most frequent token of each key), keys ascending. If counts tie, the lower token counts."""
    pairs, counts = np.unique(key.astype(np.int64) * vocab + token, return_counts=True)
    keys, tokens = pairs // vocab, pairs % vocab
    order = np.lexsort((tokens, -counts, keys))
    first = np.unique(keys[order], return_index=True)[1]
    return keys[order][first], tokens[order][first]


def _look_up(table: tuple[np.ndarray, np.ndarray], key: np.ndarray, otherwise: int) -> np.ndarray:
    keys, tokens = table
    at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
    return np.where(keys[at] == key, tokens[at], otherwise)


def _validation_slots(
    config: RunConfig, directory: Path, tables: Mapping[str, np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yields tokens and corrupted tokens (B, L), slot positions and labels (B, M) of each fixed batch.

    The label of an empty slot is -1. No slot is at an end of its row, because the ends hold [CLS], and [SEP] or
    padding.
    """
    rows = Rows(directory, "validation")
    task = make_task(config, PhaseConfig(length=rows.length)).evaluation()
    frozen = {name: jnp.asarray(table) for name, table in tables.items()}

    @jax.jit
    def masks(batch: Mapping[str, jax.Array], number: Any) -> Mapping[str, jax.Array]:
        key = jax.random.fold_in(jax.random.key(config.evaluation.seed, impl="threefry2x32"), number)
        return task.prepare({}, frozen, dict(batch), key)

    batches = FixedBatches(rows, config.evaluation.batch_size, limit=config.evaluation.batches)
    for index in range(len(batches)):
        batch = batches.read(index)
        found = jax.device_get(masks(batch, np.int32(index)))
        label = np.where(found["slot_weight"] > 0, found["labels"], -1)
        # An empty slot points at position 0, which has no left neighbour; its label keeps it out of every count.
        yield batch["tokens"], found["tokens"], np.maximum(found["slots"], 1), label
