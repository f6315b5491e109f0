"""What a vocabulary makes of text in scripts with many characters, with marks, and without spaces."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from jaxbert.commands import main as cli
from jaxbert.errors import InputError
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer
from jaxbert.text.tokenizers.words import cut_long

HINDI = ["हिन्दी में लिखा हुआ वाक्य है और यह किताब की कहानी है"] * 40
THAI = ["ภาษาไทยเขียนโดยไม่มีช่องว่างระหว่างคำ" * 4] * 40


def chinese(count: int = 2500) -> list[str]:
    """Sentences of `count` different ideographs, the n-th as common as 1/n."""
    draw = random.Random(2)
    chars = [chr(0x4E00 + index) for index in range(count)]
    common = draw.choices(chars, [1 / (1 + index) for index in range(count)], k=30_000)
    return ["".join(common[start : start + 40]) + "。" for start in range(0, len(common), 40)] + ["".join(chars)]


def dna() -> str:
    draw = random.Random(4)
    return "".join(draw.choice(("ACGT", "AACC", "GATTACA", "TTTT")) for _ in range(4000))


def learned(kind: str, texts: list[str], size: int, *, lowercase: bool = False) -> tuple[Tokenizer, str]:
    tokenizer = train_tokenizer(kind, texts, vocab_size=size, lowercase=lowercase)
    assert tokenizer.learned is not None
    return tokenizer, " ".join(tokenizer.learned.findings())


def test_the_characters_of_wordpiece_grow_with_its_vocabulary() -> None:
    texts = chinese()
    for size, least, unknown in ((1200, 1000, 0.12), (2600, 2500, 0.001)):
        tokenizer, findings = learned("wordpiece", texts, size)
        assert tokenizer.learned is not None
        singles = sum("\u4e00" <= piece <= "\u9fff" for piece in tokenizer.vocab)
        assert singles >= least and tokenizer.vocab_size == size
        assert tokenizer.learned.unknown < unknown and tokenizer.learned.unused < 100
        assert ("become the unknown token" in findings) == (size == 1200)
        chars = sum(len(text) for text in texts)
        found = sum(tokenizer.unknown_chars(text) for text in texts) / chars
        assert abs(found - tokenizer.learned.unknown) < 1e-6
    # As many as cover the text, and not more than half, are there before words are learned.
    tokenizer, _ = learned("wordpiece", [*texts, *["banana bandana ban"] * 50], 8000)
    assert tokenizer.id("banana") > tokenizer.id(texts[0][0]) and tokenizer.learned is not None
    assert tokenizer.learned.unknown == 0.0 and tokenizer.learned.unused > 5000


def test_rare_characters_take_no_room_from_words() -> None:
    """A text in an alphabet with a few foreign characters has the 1,000 characters that it always had."""
    rare = "".join(chr(0x4E00 + index) for index in range(1500))
    texts = ["the banana and the bandana of the band and of the ban " * 40] * 60 + [rare]
    tokenizer, _ = learned("wordpiece", texts, 1030)
    before = tokenizer.vocab[: tokenizer.id("banana")]
    assert sum(len(piece) == 1 for piece in before) == 1000 and "bandana" in tokenizer.vocab


def test_words_that_are_too_long_are_said() -> None:
    tokenizer, findings = learned("wordpiece", [*THAI, "สั้น สั้น"], 200)
    assert tokenizer.learned is not None
    assert tokenizer.learned.left_out > 0.9 and tokenizer.learned.unknown > 0.9
    assert "in words of more than 100 characters" in findings and "--kind unigram or bpe" in findings
    assert tokenizer.unknown_chars(THAI[0] + " สั้น") == len(THAI[0]), "one token of 149 characters"
    for kind in ("unigram", "bpe"):
        other, findings = learned(kind, THAI, 400)
        assert other.learned is not None and other.learned.left_out == other.learned.unknown == 0.0
        assert len(other.encode(THAI[0])) < 50 and "of the characters" not in findings


def test_text_without_spaces_is_learned_from_or_refused_with_the_reason() -> None:
    for kind in ("bpe", "unigram"):
        tokenizer, findings = learned(kind, [dna()], 300)
        words = [piece for piece in tokenizer.vocab if len(piece) > 3 and set(piece) <= set("ACGT")]
        assert len(words) > 10 and "too long" not in findings
        assert len(tokenizer.encode(dna())) < 0.5 * len(dna())
    with pytest.raises(InputError, match=r"all have more than 100 characters.*unigram or bpe.*E-TOKENIZER-TEXT"):
        train_tokenizer("wordpiece", [dna()], vocab_size=300, lowercase=False)


def test_a_unigram_of_text_without_spaces_says_that_it_takes_long(caplog: pytest.LogCaptureFixture) -> None:
    for text, said in ((dna(), True), (f"{dna()[:200]} {'short words ' * 500}", False)):
        train_tokenizer("unigram", [text], vocab_size=40, lowercase=False, where="text:dna.txt")
        assert ("text:dna.txt has long stretches without white space" in caplog.text) is said
        caplog.clear()


def test_few_long_words_are_left_out() -> None:
    words = {"a" * 300: 1, "short": 100, "b" * 11: 2}
    assert cut_long(words, 256, 0.5) == ({"short": 100, "b" * 11: 2}, 300 / 822)
    cut, left = cut_long(words, 10, 0.3)
    assert (cut, left) == ({"a" * 10: 30, "short": 100, "b" * 10: 2, "b": 2}, 0.0)


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
@pytest.mark.parametrize(
    ("texts", "dropped"), [(HINDI, True), (["がぎぐげご ぱぴぷ ただし"] * 40, True), (["naïve café"] * 40, False)]
)
def test_marks_that_uncased_drops_are_said(kind: str, texts: list[str], dropped: bool) -> None:
    _, findings = learned(kind, texts, 120, lowercase=True)
    assert ("marks that the uncased normalisation drops" in findings) == dropped
    _, findings = learned(kind, texts, 120)
    assert "marks" not in findings


def test_unused_pieces_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.txt").write_text("ab ab abc\n\nab abc\n", encoding="utf-8")
    where = f"text:{tmp_path}/text.txt"
    arguments = [
        "tokenizer",
        where,
        "--vocab-size",
        "400",
        "--out",
        str(tmp_path / "made"),
        "--validation-fraction",
        "0",
    ]
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    assert "0.000% of the characters unknown, 388 unused pieces" in said
    assert "look at: 388 of 400 pieces are never used" in said


def test_prepare_counts_unknown_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_tokenizer("wordpiece", ["some words here"], vocab_size=60, lowercase=True).save(tmp_path / "made")
    long = "words" * 30
    (tmp_path / "text.txt").write_text(f"Some words here. {long} here.\n\nSome words here.\n", encoding="utf-8")
    where = f"text:{tmp_path}/text.txt"
    arguments = ["prepare", where, "--tokenizer", str(tmp_path / "made"), "--out", str(tmp_path / "out")]
    assert cli.main([*arguments, "--workers", "1", "--validation-fraction", "0"]) == 0
    said = capsys.readouterr().out
    share = (len(long) + 3) / (len(f"Some words here. {long} here.") + 16)
    assert f"{share:.3%} of the characters" in said
    assert f"look at: unknown: {share:.1%} of the characters became [UNK]" in said
