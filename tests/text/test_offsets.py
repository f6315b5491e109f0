"""The characters of each token: of the text as it is given, whatever the normaliser does to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jaxbert.text.tokenizers import Tokenizer, train_tokenizer
from tests.text.tokenizer_files import CASES, TEXTS, write

ODD = [
    *TEXTS,
    "\u00b4acute a\x0bb \x1c c\x1cd \x85",
    "e\u0301te\u0301 naïve\u0301 x\u200by ½ ﬁne ｶﾞ 한국어 İstanbul ÅNGSTRÖM क्षि",
    "1,000 12, \uff1d\uff12, (x) don't ``a''",
    "\u0301 \u200b",
]


def letters(text: str) -> str:
    return "".join(filter(str.isalpha, text))


def made(case: str, place: Path) -> Tokenizer:
    if case in CASES:
        kind, change, files = CASES[case]
        return Tokenizer.load(write(place, kind, change, **files))
    kind, _, rest = case.partition(" ")
    tokenizer = train_tokenizer(kind, ODD * 9, vocab_size=420, lowercase=rest != "cased" and kind != "bpe")
    if rest != "without model":
        return tokenizer
    tokenizer.save(place)
    (place / "spiece.model").unlink()
    return Tokenizer.load(place)


@pytest.mark.parametrize(
    "case", [*CASES, "wordpiece", "wordpiece cased", "bpe", "unigram", "unigram cased", "unigram without model"]
)
def test_every_token_has_its_characters(case: str, tmp_path: Path):
    tokenizer = made(case, tmp_path / "there")
    for special_tokens in (False, True):
        found = tokenizer.encode_offsets(ODD, special_tokens=special_tokens)
        assert [ids for ids, _ in found] == tokenizer.encode_batch(ODD, special_tokens=special_tokens)
        for text, (ids, offsets) in zip(ODD, found, strict=True):
            assert len(ids) == len(offsets)
            assert all(0 <= start <= end <= len(text) for start, end in offsets)
            assert offsets == sorted(offsets)
            for start, end in offsets:
                assert text[start:end] == text[start:end].strip()
            # Every letter and digit belongs to a token.
            covered = {place for span in offsets for place in range(*span)}
            assert all(place in covered for place, char in enumerate(text) if char.isalnum())
            for index, (start, end) in zip(ids, offsets, strict=True):
                piece, part = tokenizer.meaning(tokenizer.token(index))[1], letters(text[start:end])
                # A piece of plain letters stands for these letters.
                if piece.isascii() and piece.isalpha() and part.isascii() and index != tokenizer.unk_id:
                    assert part.lower() == piece.lower()


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("wordpiece", "e\u0301te\u0301"),
        ("unigram", "e\u0301te\u0301"),
        ("unigram", "½"),
        ("unigram", "ｶﾞ"),
        ("unigram without model", "ｶﾞ"),
        ("bpe", "é"),
    ],
)
def test_characters_that_the_normaliser_joins_or_drops_belong_to_tokens(case: str, text: str, tmp_path: Path):
    ((_, offsets),) = made(case, tmp_path / "there").encode_offsets([f"x {text} x"])
    covered = sorted({place for span in offsets[1:-1] for place in range(*span)})
    assert covered == list(range(2, 2 + len(text)))
