"""Makes the tables of the vocabulary that a step reads: special tokens, tokens that begin a word, counts of tokens."""

from __future__ import annotations

import numpy as np

from jaxbert.config import MaskedLMConfig
from jaxbert.objectives import masking


def frozen_tables(
    special: np.ndarray,
    mask_id: int,
    word_start: np.ndarray | None = None,
    *,
    masked: MaskedLMConfig | None = None,
    longest: int = 512,
    counts: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Returns the vocabulary tables of `frozen`.

    Args:
      special: bool (V,), tokens that are never masked.
      mask_id: id of [MASK].
      word_start: bool (V,), tokens that begin a word; by default all.
      masked: settings of the masking, which may ask for more tables.
      longest: L of the longest rows of the run.
      counts: (V,), how often each token occurs in the train rows; needed where `needs_counts(masked)`.

    Returns:
      special, word_start bool (V,); mask_id int32; the tables of the masking scheme; and random_ids uint32 (V,)
      (`masking.cumulative`) where random tokens are not drawn from the whole vocabulary.
    """
    special = np.asarray(special, bool)
    tables = {
        "special": special,
        "mask_id": np.asarray(mask_id, np.int32),
        "word_start": np.ones_like(special) if word_start is None else np.asarray(word_start, bool),
    }
    if masked is None:
        return tables
    assert counts is not None or not needs_counts(masked)
    counts = np.zeros(len(special)) if counts is None else np.asarray(counts)
    tables |= masking.SCHEMES[masked.scheme].tables(masked, counts, longest)
    if masked.random_ids == "ordinary":
        tables["random_ids"] = masking.cumulative(~special)
    elif masked.random_ids == "corpus":
        tables["random_ids"] = masking.cumulative(np.where(special, 0, np.asarray(counts, np.float64)))
    return tables


def needs_counts(masked: MaskedLMConfig | None) -> bool:
    """Returns whether the masking depends on how often tokens occur in the train rows."""
    return masked is not None and (masking.SCHEMES[masked.scheme].counts or masked.random_ids == "corpus")
