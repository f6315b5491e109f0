"""Tokenizers, one file a kind: WordPiece and byte-level BPE over the Rust `tokenizers` library, unigram over
`sentencepiece`. To add one: a file with `train` and `load`, and a line in `REGISTRY`.
"""

from __future__ import annotations

from collections.abc import Iterable

from jaxbert.errors import InputError
from jaxbert.text.tokenizers import bpe, unigram, wordpiece
from jaxbert.text.tokenizers.base import Kind, Specials, Tokenizer
from jaxbert.text.tokenizers.wordpiece import SPECIALS, Normalisation

__all__ = ["KINDS", "REGISTRY", "SPECIALS", "Kind", "Normalisation", "Specials", "Tokenizer", "train_tokenizer"]

# By kind. A directory without a tokenizer.json is of the first kind whose files are there.
REGISTRY: dict[str, Kind] = {
    "wordpiece": Kind(wordpiece.train, wordpiece.load, model="WordPiece", files=(("vocab.txt",),)),
    "bpe": Kind(bpe.train, bpe.load, model="BPE", files=(("vocab.json", "merges.txt"),), keeps_case=True),
    "unigram": Kind(unigram.train, unigram.load, model="Unigram", files=tuple((name,) for name in unigram.FILES)),
}

# Keys of `--kind`.
KINDS = tuple(REGISTRY)


def train_tokenizer(kind: str, texts: Iterable[str], *, vocab_size: int, lowercase: bool) -> Tokenizer:
    """Learns a vocabulary; the same texts in the same order give the same one on any machine.

    Args:
      kind: a key of `KINDS`.
      texts: read once; a text is only ever a bag of words here, so memory is that of the distinct words.
      vocab_size: V, exactly: where the text does not give enough pieces, the vocabulary is filled with unused ones.
      lowercase: the kind's uncased normalisation, accents removed; byte-level BPE has none.

    Raises:
      InputError: an unknown kind, no text, a vocabulary too small for the characters of the text, or `lowercase` where
        the kind keeps case.
    """
    if kind not in REGISTRY:
        raise InputError(f"unknown kind {kind!r}", where="--kind", fix=f"Known: {', '.join(KINDS)}.")
    return REGISTRY[kind].train(texts, vocab_size=vocab_size, lowercase=lowercase)
