"""A tiny encoder with a masked-LM head and random weights, whose rows are long enough for several widths."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import pytest

from jaxbert.config import EncoderConfig
from jaxbert.convert.read import Labels
from jaxbert.models.model import HEADS, Model
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


def with_head(model: Loaded, head: str, classes: int, labels: Labels | None = None) -> Loaded:
    """The same encoder with another head at random."""
    heads = ("pooler", head) if HEADS[head].reads == "pooled" else (head,)
    fresh = jax.jit(Model(model.config, heads, sizes={head: {"labels": classes}}).init)(jax.random.key(1))
    params = {"encoder": model.params["encoder"], **{name: fresh[name] for name in heads}}
    return Loaded("here", model.config, params, model.tokenizer, labels=labels)


@pytest.fixture(scope="session")
def classifier(model: Loaded) -> Loaded:
    return with_head(model, "sequence_classification", 3, Labels(("bad", "fair", "good")))


@pytest.fixture(scope="session")
def tagger(model: Loaded) -> Loaded:
    return with_head(model, "token_classification", 5, Labels(("O", "B-LOC", "I-LOC", "B-PER", "I-PER")))


@pytest.fixture(scope="session")
def reader(model: Loaded) -> Loaded:
    return with_head(model, "question_answering", 2)


@pytest.fixture(scope="session")
def chooser(model: Loaded) -> Loaded:
    return with_head(model, "multiple_choice", 1)
