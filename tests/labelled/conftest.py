"""Small tokenizers of every kind."""

from __future__ import annotations

import pytest

from jaxbert.text.tokenizers import Tokenizer, train_tokenizer

TEXTS = [
    "The cat sat on the mat, and the dog ran to the house in Paris.",
    "Where is the red house? It is (still) in São Paulo, 1,000 km away.",
    "An überlong word: unbelievableness. Naïve café owners don't mind.",
    "who what when he she it they B-LOC I-PER O London New York Smith",
]


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, Tokenizer]:
    """Returns a tokenizer of each kind, in a vocabulary of letters and a few longer pieces."""
    made = {}
    for kind, size, lowercase in (("wordpiece", 160, True), ("bpe", 300, False), ("unigram", 120, True)):
        made[kind] = train_tokenizer(kind, TEXTS * 3, vocab_size=size, lowercase=lowercase)
    return made


@pytest.fixture(scope="session")
def tokenizer(tokenizers: dict[str, Tokenizer]) -> Tokenizer:
    """Returns the WordPiece one."""
    return tokenizers["wordpiece"]
