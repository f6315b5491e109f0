"""Says which kind of vocabulary suits a language. docs/how-to/languages.md has the figures that it rests on."""

from __future__ import annotations

_UNIGRAM_CASED = ("unigram",), True
_ANY_CASED = (), True
# Language -> (the kinds that suit it, where not all do; whether it has to keep case and marks).
_SUITS: dict[str, tuple[tuple[str, ...], bool]] = {
    # No spaces between words, and signs that the uncased normalisation drops.
    **dict.fromkeys(("th", "lo", "km", "my"), _UNIGRAM_CASED),
    # Vowel signs: uncased drops them, byte-level BPE cuts words at them.
    **dict.fromkeys(
        ("hi", "mr", "ne", "sa", "bn", "as", "ta", "te", "kn", "ml", "gu", "pa", "or", "si"),
        (("unigram", "wordpiece"), True),
    ),
    # Letters that uncased makes one: I and dotless i, alef with and without hamza, umlauts, tones.
    **dict.fromkeys(("tr", "az", "ar", "fa", "ur", "he", "vi", "de"), _ANY_CASED),
    # Uncased drops the dakuten, and takes Hangul apart.
    **dict.fromkeys(("ja", "ko"), _ANY_CASED),
}


def suited(language: str, kind: str, *, lowercase: bool) -> tuple[str, bool]:
    """Returns (kind, lowercase) of a vocabulary that suits the language: those given, where they do.

    Args:
      language: ISO 639 code.
      kind: a key of `jaxbert.text.tokenizers.REGISTRY`.
      lowercase: whether the vocabulary is uncased.
    """
    kinds, cased = _SUITS.get(language.partition("-")[0].lower(), ((), False))
    if kinds and kind not in kinds:
        return kinds[0], False
    return kind, lowercase and not cased


def advice(language: str, kind: str, *, lowercase: bool) -> list[str]:
    """Returns a line with what to type where a vocabulary does not suit the language; no line where it does.

    The arguments are those of `suited`.
    """
    better, uncased = suited(language, kind, lowercase=lowercase)
    if (better, uncased) == (kind, lowercase):
        return []
    return [
        f"{'uncased ' if lowercase else ''}{kind} suits the language {language!r} badly. Take --kind {better} --cased, "
        f"or data.tokenizer_kind={better} data.lowercase=false"
    ]
