"""A tiny encoder with a masked-LM head and random weights, whose rows are long enough for several widths."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import pytest

from jaxbert.config import EncoderConfig
from jaxbert.models.model import Model
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.library import Loaded

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{index}" for index in range(60))]
SIZES = EncoderConfig(
    vocab_size=len(WORDS), hidden_size=16, num_layers=2, num_heads=2, intermediate_size=24, max_positions=150
)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    directory = tmp_path_factory.mktemp("vocabulary")
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    config = dataclasses.replace(SIZES, initializer_range=0.2)
    params = jax.jit(Model(config, ("masked_lm",)).init)(jax.random.key(0))
    return Loaded("here", config, params, Tokenizer.load(directory))


@pytest.fixture(scope="session")
def directory(model: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as files."""
    written = tmp_path_factory.mktemp("models") / "tiny"
    model.save(written)
    return written
