"""The facts of a corpus from which a recipe is chosen: one pass over the text. Imports no jax."""

from __future__ import annotations

import collections
import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from jaxbert.data.sources.base import Document
from jaxbert.text.scripts import unspaced_letters
from jaxbert.text.tokenizers.wordpiece import COVERAGE

# Words and letters are counted in the first text of so many characters. The rest of the text is only measured.
_SAMPLE_CHARS = 8 << 20
# Chinese characters, as Unicode's names of them begin; and what stands for the script of a text without letters.
CHINESE, NO_LETTERS = "CJK", "UNKNOWN"


@dataclass(frozen=True)
class Corpus:
    """The facts of a corpus.

    Attributes:
      documents: number of documents. The parts of a very long one count as one document.
      characters: number of characters.
      words: number of words between white space, estimated from a sample where the corpus is large.
      alphabet: number of different characters that cover as much of the sample as those of wordpieces do. Emoji and
        foreign letters that hardly occur are not among them.
      different: number of all different characters in the sample.
      script: the script of most letters, as Unicode's names of letters begin: "LATIN", "CYRILLIC", "CJK", "THAI".
      script_share: share of the letters that have this script.
      spaceless: share of the letters in scripts without spaces between words.
      single: share of the letters that BERT's tokenizers take as one word each: Chinese characters.
      plain: share of the letters that are A to Z. Uncased tokenizers remove accents, which changes other letters.
    """

    documents: int = 0
    characters: int = 0
    words: int = 0
    alphabet: int = 0
    different: int = 0
    script: str = NO_LETTERS
    script_share: float = 0.0
    spaceless: float = 0.0
    single: float = 0.0
    plain: float = 0.0

    def tokens(self, vocab_size: int) -> int:
        """Returns about how many tokens a vocabulary of this size makes of the text.

        English prose has 3.5 characters a token with 2,048 pieces, and 0.45 more with each doubling
        (docs/how-to/auto.md has the measurements). A character that is a word is one token.
        """
        doublings = max(-2.0, min(4.0, math.log2(vocab_size / 2048)))
        pieces = self.characters * (1 - self.single) / (3.5 + 0.45 * doublings)
        return max(1, round(pieces + self.characters * self.single))


def read_corpus(documents: Iterable[Document]) -> Corpus:
    """Reads all documents once and returns their facts. Memory does not grow with the text."""
    count = characters = seen = words = 0
    letters: collections.Counter[str] = collections.Counter()
    for document in documents:
        count += document.part <= 1
        characters += len(document.text)
        if seen < _SAMPLE_CHARS:
            sample = document.text[: _SAMPLE_CHARS - seen]
            seen += len(sample)
            words += len(sample.split())
            letters.update(sample)
    scripts: collections.Counter[str] = collections.Counter()
    plain = spaceless = 0
    for letter, times in letters.items():
        if letter.isalpha() or unicodedata.category(letter)[0] == "M":
            scripts[unicodedata.name(letter, NO_LETTERS).split()[0]] += times
            spaceless += times * unspaced_letters(letter)
            plain += times * letter.isascii()
    total = max(1, scripts.total())
    script, most = scripts.most_common(1)[0] if scripts else (NO_LETTERS, 0)
    return Corpus(
        documents=count,
        characters=characters,
        words=round(words * characters / seen) if seen else 0,
        alphabet=_usual(letters),
        different=len(letters),
        script=script,
        script_share=most / total,
        spaceless=spaceless / total,
        single=scripts[CHINESE] / total,
        plain=plain / total,
    )


def _usual(letters: collections.Counter[str]) -> int:
    """Returns how many characters, commonest first, cover nearly all of a text."""
    left = COVERAGE * letters.total()
    for number, (_, times) in enumerate(letters.most_common(), 1):
        left -= times
        if left <= 0:
            return number
    return len(letters)
