"""One batch, its key and the hash of its corruption: the same for ever, on every mesh, device and Python.

Held against it: one device (test_masking.py) and each mesh of eight (multidevice/test_meshes.py). The rows are made
from raw Philox words, which numpy promises never to change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import jax
import numpy as np

from jaxbert.config import EncoderConfig, MaskedLMConfig
from jaxbert.objectives import MaskedLM
from jaxbert.step import frozen_tables

GOLDEN = "afde4983c79c60151cb64bcda558ca3c7e8b5045db7f8abf422e8427d621a0c7"

ROWS, LENGTH, VOCAB, SLOTS = 512, 64, 1000, 8
CLS, SEP, MASK, FIRST = 2, 3, 4, 5
KEY = 2018


def rows() -> dict[str, np.ndarray]:
    """Pairs of every length from 5 tokens to a full row; a twentieth of the text is special tokens."""
    words = np.random.Philox(key=2018).random_raw((ROWS, LENGTH + 3))
    column, real = np.arange(LENGTH), 5 + words[:, 0] % (LENGTH - 4)
    first = 2 + words[:, 1] % (real - 4)
    group = column < real[:, None]
    tokens = FIRST + words[:, 3:] % (VOCAB - FIRST)
    tokens[(words[:, 3:] >> 32) % 20 == 0] = SEP
    tokens[:, 0] = CLS
    tokens[(column == first[:, None]) | (column == real[:, None] - 1)] = SEP
    return {
        "tokens": np.where(group, tokens, 0).astype(np.int32),
        "types": (group & (column > first[:, None])).astype(np.int32),
        "group": group.astype(np.int32),
        "label": (words[:, 2] % 2).astype(np.int32),
    }


def frozen() -> dict[str, np.ndarray]:
    return frozen_tables(np.arange(VOCAB) < FIRST, MASK)


def objectives() -> list[MaskedLM]:
    return [MaskedLM(MaskedLMConfig(), EncoderConfig(vocab_size=VOCAB), length=LENGTH, slots=SLOTS)]


def digest(found: Mapping[str, jax.Array]) -> str:
    """Of what the model sees, where it predicts, and what."""
    parts = (np.asarray(found[name]).astype("<i4") for name in ("tokens", "slots", "labels", "slot_weight"))
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
