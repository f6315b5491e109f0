"""Tokenizers, one file a kind: WordPiece and byte-level BPE over the Rust library `tokenizers`, unigram over
`sentencepiece`. `registry.py` lists the kinds.
"""

from __future__ import annotations

from collections.abc import Iterable

from jaxbert.config import did_you_mean
from jaxbert.errors import InputError
from jaxbert.text.tokenizers.base import Kind, Specials, Tokenizer
from jaxbert.text.tokenizers.registry import REGISTRY

__all__ = ["REGISTRY", "Kind", "Specials", "Tokenizer", "train_tokenizer"]

# The trainers reserve memory for so many pieces at once. XLM-V (arXiv:2301.10472) has a million.
MOST_PIECES = 1 << 22


def train_tokenizer(
    kind: str, texts: Iterable[str], *, vocab_size: int, lowercase: bool, where: str = "texts"
) -> Tokenizer:
    """Trains a tokenizer. The same texts in the same order give the same vocabulary on any machine.

    Args:
      kind: a key of `REGISTRY`.
      texts: is read once. Only the number of times that each word occurs is kept, so that memory is bounded by the
        distinct words.
      vocab_size: V, exactly. If the text does not give enough pieces, unused pieces fill the vocabulary.
      lowercase: the uncased normalisation of the kind, which also removes accents. Byte-level BPE has none.
      where: the place of the texts, which an error names.

    Raises:
      InputError: the kind is unknown, there is no text, the vocabulary is too small for the characters of the text, or
        `lowercase` is set for a kind that keeps case.
    """
    if kind not in REGISTRY:
        raise InputError(
            f"unknown kind {kind!r}",
            where="--kind",
            fix=f"{did_you_mean(kind, list(REGISTRY))}Known: {', '.join(REGISTRY)}.",
            code="E-CONFIG-NAME",
        )
    if vocab_size > MOST_PIECES:
        raise InputError(
            f"a vocabulary of {vocab_size:,} pieces is too large",
            where="--vocab-size",
            fix=f"Take at most {MOST_PIECES:,}.",
            code="E-TOKENIZER-LARGE",
        )
    return REGISTRY[kind].train(texts, vocab_size=vocab_size, lowercase=lowercase, where=where)
