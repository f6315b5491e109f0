"""Figures of what a trained vocabulary makes of the text that it was learned from, and lines of what to look at."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

# The most different words that are looked at; of more, every n-th.
_MOST_WORDS = 100_000
# A finding is worth a line from these shares on.
_SHARE = 0.01
_MARKS_SHARE = 0.001
# The share of the characters from which on a script, or its signs, matter for a vocabulary.
_SCRIPT_SHARE, _SIGNS_SHARE = 0.1, 0.03
# Of the letters of Turkish text, 4% are a dotless i.
_DOTLESS_SHARE = 0.005


@dataclass(frozen=True)
class Learned:
    """The figures.

    Attributes:
      kind: the kind of the tokenizer.
      size: V.
      unknown: the share of the characters that become the unknown token.
      unused: the number of pieces that fill the vocabulary up.
      left_out: the share of the characters in words that are too long to be learned from.
      limit: the length of the longest word that is learned from, in characters.
      marks: the share of the characters that are vowel signs, tones and the like, and that the normalisation drops.
      unspaced: the share of the characters that are Thai, Lao, Khmer or Burmese, for a kind that cuts at spaces.
      cut_at_marks: the share of the characters that are vowel signs and the like, for a kind that cuts words there.
      dotless: the share of the characters that are a Turkish dotless i or İ, for an uncased vocabulary.
    """

    kind: str
    size: int
    unknown: float
    unused: int
    left_out: float
    limit: int
    marks: float
    unspaced: float = 0.0
    cut_at_marks: float = 0.0
    dotless: float = 0.0

    def line(self) -> str:
        """Returns one line for people."""
        return (
            f"{self.unknown:.3%} of the characters unknown, {self.unused:,} unused pieces, {self.left_out:.3%} of the "
            f"characters in words that were too long to learn from"
        )

    def findings(self) -> list[str]:
        """Returns one line for each possible problem."""
        found = []
        other = " (--kind unigram or bpe knows more)" if self.kind == "wordpiece" else ""
        if self.unknown >= _SHARE:
            found.append(f"{self.unknown:.1%} of the characters become the unknown token{other}")
        if self.unused >= _SHARE * self.size:
            found.append(
                f"{self.unused:,} of {self.size:,} pieces are never used: the text gives no more (give more text, or a "
                "smaller --vocab-size)"
            )
        if self.left_out >= _SHARE:
            found.append(
                f"{self.left_out:.1%} of the characters are in words of more than {self.limit} characters, which teach "
                f"nothing. Does the language write no spaces?{other}"
            )
        if self.marks >= _MARKS_SHARE:
            found.append(
                f"{self.marks:.1%} of the characters are marks that the uncased normalisation drops, as in the "
                "published models: signs of Hindi, tones of Thai, hamza of Arabic, dakuten of Japanese (keep them with "
                "--cased, or data.lowercase=false)"
            )
        if self.unspaced >= _SCRIPT_SHARE:
            found.append(
                f"{self.unspaced:.0%} of the characters are of a script without spaces between words (Thai, Lao, "
                f"Khmer, Burmese). {self.kind} takes all between two spaces for one word; unigram finds words in it "
                "(--kind unigram --cased, or data.tokenizer_kind=unigram data.lowercase=false)"
            )
        if self.cut_at_marks >= _SIGNS_SHARE:
            found.append(
                f"{self.cut_at_marks:.1%} of the characters are vowel signs and the like. {self.kind} cuts a word at "
                "each of them, as in the published models, so that pieces are short (unigram does not: --kind unigram "
                "--cased, or data.tokenizer_kind=unigram data.lowercase=false)"
            )
        if self.dotless >= _DOTLESS_SHARE:
            found.append(
                "the text has a dotless i, as Turkish does. The uncased normalisation makes I, İ and i one letter, and "
                "drops the marks of ç, ğ, ö, ş, ü (keep them with --cased, or data.lowercase=false)"
            )
        return found


def dotless(words: Iterable[str]) -> dict[str, int]:
    """Returns the number of dotless small i and dotted capital I of each word that has some."""
    found = {word: word.count("\u0131") + word.count("\u0130") for word in words if not word.isascii()}
    return {word: count for word, count in found.items() if count}


def sampled(words: Mapping[str, int]) -> dict[str, int]:
    """Returns the words with their counts; of many, every n-th in their order."""
    step = -(-len(words) // _MOST_WORDS) or 1
    return {word: words[word] for word in sorted(words)[::step]}


def share(words: Mapping[str, int], chars: Mapping[str, int]) -> float:
    """Returns the share of the characters of `words` that `chars` counts, by word; words that it lacks count 0."""
    whole = sum(count * len(word) for word, count in words.items())
    return sum(words[word] * count for word, count in chars.items()) / max(1, whole)


def dropped_marks(words: Iterable[str], drops: Callable[[str], object]) -> dict[str, int]:
    """Returns the number of marks that each word loses, but for the accents of Latin, Greek and Cyrillic letters.

    Args:
      words: the words as they are in the text.
      drops: says whether the normalisation drops a character of decomposed text.
    """
    found = {}
    for word in words:
        if not word.isascii():
            marks = (char for char in unicodedata.normalize("NFD", word) if not "\u0300" <= char <= "\u036f")
            count = sum(bool(drops(mark)) for mark in marks)
            if count:
                found[word] = count
    return found
