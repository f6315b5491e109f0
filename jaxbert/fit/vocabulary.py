"""The vocabulary of a chosen recipe: its size, kind and case, each with its reason."""

from __future__ import annotations

import dataclasses
import math

from jaxbert.config import DataConfig, RunConfig
from jaxbert.fit.corpus import Corpus
from jaxbert.fit.settings import Given
from jaxbert.text.languages import suited
from jaxbert.text.tokenizers.wordpiece import ALPHABET

# The most pieces: those of the original BERT.
_MOST = 30522
# Pieces for each column of the table. With more, the products with the table would take most of the time.
_COLUMN = 64
# Text in which fewer letters are A to Z keeps its accents and its case.
_PLAIN = 0.99
# With more letters of scripts whose words nothing separates (Chinese characters are words by themselves), wordpieces
# would take whole sentences for words.
_UNSPLIT = 0.2


@dataclasses.dataclass(frozen=True)
class Size:
    """The size of a vocabulary.

    Attributes:
      pieces: V.
      why: what decides it, in words.
    """

    pieces: int
    why: str


def vocabulary(corpus: Corpus, hidden: int) -> Size:
    """Returns V: by the length of the text, at least what its alphabet needs, at most what the model's width carries.

    A piece must occur often enough to be learned: a doubling of the pieces for each four times the text, from 8,192
    pieces for 6 million characters.
    """
    doublings = round(math.log2(max(1, corpus.characters) / 6e6) / 2)
    pieces, why = min(
        (8192 * 2.0**doublings, "by the length of the text"),
        (float(_COLUMN * hidden), f"{_COLUMN} for each of the model's {hidden:,} columns"),
        (float(_MOST), "as many as the original BERT has"),
        key=lambda one: one[0],
    )
    # Each character of the alphabet is a piece, and in wordpieces two: at the beginning of a word, and inside. They
    # always get the commonest characters, even those that hardly occur.
    usual, all_kept = 2 * corpus.alphabet + 512, 2 * min(corpus.different, ALPHABET) + 64
    least = 1024 * math.ceil(max(usual, all_kept) / 1024)
    if least > max(pieces, 1024):
        number = corpus.alphabet if usual >= all_kept else corpus.different
        return Size(least, f"as many as its {number:,} {'usual' if usual >= all_kept else 'different'} characters need")
    return Size(int(max(pieces, 1024)), why)


def with_vocabulary(config: RunConfig, corpus: Corpus, language: str) -> RunConfig:
    """Returns a run with the vocabulary that suits a text, and its language where the user names it."""
    data = config.data
    kind = "unigram" if _unspaced(corpus) > _UNSPLIT else "wordpiece"
    lowercase = corpus.plain >= _PLAIN
    if language:
        kind, lowercase = suited(language, kind, lowercase=lowercase)
        data = dataclasses.replace(data, language=language)
    pieces = vocabulary(corpus, config.encoder.hidden_size).pieces
    return dataclasses.replace(
        config,
        encoder=dataclasses.replace(config.encoder, vocab_size=pieces),
        data=dataclasses.replace(data, tokenizer_kind=kind, lowercase=lowercase),
    )


def why_kind(given: Given, data: DataConfig) -> str:
    """Returns why a vocabulary is not of wordpieces, as the end of a bracket; "" for the usual kind."""
    if given.sets("data.tokenizer_kind"):
        return ", as --set says"
    if data.tokenizer_kind == "wordpiece":
        return ""
    if _unspaced(given.corpus) > _UNSPLIT:
        return f", because {_unspaced(given.corpus):.0%} of the letters are of scripts without spaces between words"
    return f", which suits the language {data.language!r}"


def why_cased(given: Given, data: DataConfig) -> str:
    """Returns why a vocabulary is cased or uncased."""
    if given.sets("data.lowercase"):
        return "as --set says"
    if not data.lowercase and given.corpus.plain >= _PLAIN:
        return f"because uncased pieces suit the language {data.language!r} badly"
    return f"because {given.corpus.plain:.1%} of the letters are A to Z"


def _unspaced(corpus: Corpus) -> float:
    """Returns the share of the letters in words that nothing separates."""
    return corpus.spaceless - corpus.single
