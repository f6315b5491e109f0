"""Tiny models of every kind of family, with random weights that are large enough to tell texts apart."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import jax

from jaxbert.config import EncoderConfig
from jaxbert.models.families import FAMILIES
from jaxbert.models.model import Model
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer
from jaxbert.use.library import Loaded

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{index}" for index in range(40)), *"ab", "##a", "##b")
# Whole words, words of several pieces, punctuation, an unknown word (of BERT), a mask that is part of the text.
TEXTS = (
    "w1 w2 w3",
    "abba w7, abab. w8",
    "",
    "w9 unknown w9",
    "w3 " * 20,
    "ab",
    "w1 {mask} aab!",
    "w1 w2 w3",
)
FAMILY_NAMES = ("bert", "roberta", "albert", "distilbert")


def texts_of(model: Loaded) -> list[str]:
    """Returns `TEXTS`, with the model's mask."""
    tokenizer = model.require_tokenizer()
    return [text.replace("{mask}", tokenizer.token(tokenizer.mask_id)) for text in TEXTS]


def _tokenizer(family: str, place: Path) -> Tokenizer:
    place.mkdir(exist_ok=True)
    if family in ("bert", "distilbert"):
        (place / "vocab.txt").write_text("\n".join(WORDS) + "\n")
        return Tokenizer.load(place)
    lines = ["w1 w2 w3 abba abab aab, w8. w9 unknown!", "the w3 of the w7 and w9"] * 30
    kind, size = ("bpe", 280) if family == "roberta" else ("unigram", 40)
    return train_tokenizer(kind, lines, vocab_size=size, lowercase=False)


@functools.cache
def model(family: str, place: Path) -> Loaded:
    """Returns the model of a family, whose rows have at most 60 tokens. Its files are in `place`."""
    tokenizer = _tokenizer(family, place)
    tiny = FAMILIES[family].presets["tiny"]
    assert isinstance(tiny, EncoderConfig)
    config = dataclasses.replace(
        tiny,
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        embedding_size=8 if tiny.embedding_size else 0,
        num_layers=2,
        num_heads=2,
        intermediate_size=24,
        max_positions=60 + tiny.position_offset,
        initializer_range=0.3,
    )
    params = jax.jit(Model(config, ("masked_lm",)).init)(jax.random.key(7))
    return Loaded(family, config, params, tokenizer)
