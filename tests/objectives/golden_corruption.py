"""One batch, its key and the hash of its corruption by each scheme: the same on every mesh, device and Python.

Held against it: one device (test_masking.py) and each mesh of eight (multidevice/test_meshes.py). The rows are made
from raw Philox words, which numpy promises never to change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import jax
import numpy as np

from jaxbert.config import EncoderConfig, MaskedLMConfig, MaskingScheme
from jaxbert.objectives import MaskedLM, masking, prepare
from jaxbert.objectives.vocabulary import frozen_tables

GOLDEN: Mapping[MaskingScheme, str] = {
    "token": "afde4983c79c60151cb64bcda558ca3c7e8b5045db7f8abf422e8427d621a0c7",
    "whole_word": "e8b34d0078a8b488c30fcfcd4558007cb8d9676b4dadb030b86c13321d9450b2",
    "ngram": "eb47f5f779f8f06da1d23bd351bf248083b0a7941b3637b0b0db207dd5293e5b",
    "span": "99e6642e30d4947b84a5e437ce23c0688fb4b1aabb1725bde333cfc61ee34179",
    "frequency": "46a6d8efb653b21f1bd26fd51737b73fa41e4404c5b16fec5e6392bcd0541a8b",
}
# What a random id is drawn from: each way once or more.
CONFIGS: Mapping[MaskingScheme, MaskedLMConfig] = {
    "token": MaskedLMConfig(),
    "whole_word": MaskedLMConfig(scheme="whole_word"),
    "ngram": MaskedLMConfig(scheme="ngram"),
    "span": MaskedLMConfig(scheme="span", random_ids="corpus"),
    "frequency": MaskedLMConfig(scheme="frequency", random_ids="ordinary"),
}

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
    """What any of the schemes asks for. Two tokens in five go on with a word; frequencies are Zipf's."""
    special, count = np.arange(VOCAB) < FIRST, 10**6 // (1 + np.arange(VOCAB))
    return frozen_tables(special, MASK, ~np.isin(np.arange(VOCAB) % 5, (1, 2))) | {
        "smoothed": masking.smoothed_weights(count, 0.7, LENGTH),
        "ordinary": masking.cumulative(~special),
        "corpus": masking.cumulative(np.where(special, 0, count)),
    }


def corrupted(batch: Mapping[str, jax.Array], tables: Mapping[str, jax.Array], key: jax.Array) -> dict[str, dict]:
    """The batch as each scheme corrupts it; for one `jax.jit`, which compiles them all."""
    found = {}
    for scheme, config in CONFIGS.items():
        objective = MaskedLM(config, EncoderConfig(vocab_size=VOCAB), length=LENGTH, slots=SLOTS)
        ids = {} if config.random_ids == "vocabulary" else {"random_ids": tables[config.random_ids]}
        found[scheme] = prepare([objective], {}, {**tables, **ids}, dict(batch), key)
    return found


def digests(found: Mapping[str, Mapping[str, jax.Array]]) -> dict[str, str]:
    return {scheme: digest(batch) for scheme, batch in found.items()}


def digest(found: Mapping[str, jax.Array]) -> str:
    """Of what the model sees, where it predicts, and what."""
    parts = (np.asarray(found[name]).astype("<i4") for name in ("tokens", "slots", "labels", "slot_weight"))
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
