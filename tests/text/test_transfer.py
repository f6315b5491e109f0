"""New vocabularies from old ones: which rows each piece takes, between all kinds of tokenizer, cased and uncased."""

from __future__ import annotations

import numpy as np
import pytest
import tokenizers as rust

from jaxbert.text.tokenizers import Tokenizer, train_tokenizer
from jaxbert.text.tokenizers.base import stands_apart
from jaxbert.text.tokenizers.bpe import SPECIALS as BPE_SPECIALS
from jaxbert.text.tokenizers.bpe import ByteLevelBPE
from jaxbert.text.tokenizers.wordpiece import SPECIALS, Normalisation, WordPiece
from jaxbert.text.transfer import transfer

TEXT = ["the cat walks over the river and the dog sees the cats walking; 3 dogs, (the) river-side. " * 40]


def wordpiece(pieces: str, *, lowercase: bool = True, specials: tuple[str, ...] = SPECIALS) -> WordPiece:
    return WordPiece([*specials, *pieces.split()], Normalisation(lowercase=lowercase))


def bpe(merges: str) -> ByteLevelBPE:
    """Byte-level BPE of merges such as "t+h th+e"."""
    pairs = [tuple(merge.split("+")) for merge in merges.split()]
    letters = sorted(rust.pre_tokenizers.ByteLevel.alphabet())
    return ByteLevelBPE([*BPE_SPECIALS[:4], *letters, *("".join(pair) for pair in pairs), BPE_SPECIALS.mask], pairs)


@pytest.fixture(scope="module")
def unigram() -> Tokenizer:
    return train_tokenizer("unigram", TEXT, vocab_size=60, lowercase=True)


def found(old: Tokenizer, new: Tokenizer) -> dict[str, list[str]]:
    """By piece of `new`, the pieces of `old` it starts from."""
    sources = transfer(old, new).sources
    return {piece: [old.token(index) for index in ids] for piece, ids in zip(new.vocab, sources, strict=True)}


def test_pieces_keep_their_rows_and_unknown_ones_are_split():
    old = wordpiece("the cat ##s walk ##ing w a b ##a ##b .")
    new = wordpiece("cat the . walking ##ings walks xyz ##ab ab", specials=tuple(reversed(SPECIALS)))
    sources = found(old, new)
    assert [sources[name] for name in SPECIALS] == [[name] for name in SPECIALS]
    assert sources["cat"] == ["cat"] and sources["the"] == ["the"] and sources["."] == ["."]
    assert sources["walking"] == ["walk", "##ing"] and sources["walks"] == ["walk", "##s"]
    # In the middle of a word it is split as what goes on, not as what begins.
    assert sources["##ings"] == ["##ing", "##s"] and sources["##ab"] == ["##a", "##b"] and sources["ab"] == ["a", "##b"]
    assert sources["xyz"] == []
    whole = transfer(old, new)
    assert (whole.taken, whole.averaged, whole.unknown) == (8, 5, 1)
    assert "8 start" in whole.line() and "5 from the mean of their parts" in whole.line()


def test_case_and_accents_count_only_where_both_have_them():
    uncased, cased = wordpiece("the uber paris ##ing"), wordpiece("The the Über Paris paris ##ING", lowercase=False)
    assert found(uncased, cased) == {
        **{name: [name] for name in SPECIALS},
        **{"The": ["the"], "the": ["the"], "Über": ["uber"], "Paris": ["paris"], "paris": ["paris"]},
        "##ING": ["##ing"],
    }
    # The same letters are preferred; else the first that differs in case only.
    back = found(cased, wordpiece("the uber paris ##ing"))
    assert (back["the"], back["uber"], back["paris"], back["##ing"]) == (["the"], ["Über"], ["paris"], ["##ING"])


def test_marks_of_other_kinds_mean_the_same(unigram):
    words = wordpiece("the cat ##s ##h . ( c ##t")
    bytes_ = bpe("t+h th+e Ġ+the Ġ+c a+t Ġc+at s+s")
    sources = found(words, bytes_)
    assert sources["<s>"] == ["[CLS]"] and sources["</s>"] == ["[SEP]"] and sources["<mask>"] == ["[MASK]"]
    assert sources["<pad>"] == ["[PAD]"] and sources["<unk>"] == ["[UNK]"]
    assert sources["Ġthe"] == ["the"] and sources["Ġcat"] == ["cat"]
    # Without the space it is what goes on; of punctuation the kinds do not say alike what begins.
    assert (
        sources["s"] == ["##s"] and sources["th"] == ["##t", "##h"] and sources["."] == ["."] and sources["("] == ["("]
    )
    assert sources["ss"] == ["##s", "##s"] and sources["Ġ"] == []
    back = found(bytes_, words)
    assert back["the"] == ["Ġthe"] and back["cat"] == ["Ġcat"] and back["##s"] == ["s"] and back["."] == ["."]
    pieces = found(bytes_, unigram)
    assert pieces["▁the"] == ["Ġthe"] and pieces["[MASK]"] == ["<mask>"] and pieces["s"] == ["s"]
    whole = found(unigram, bytes_)
    assert whole["Ġthe"] == ["▁the"] and whole["<s>"] == ["[CLS]"]
    # Half a character has no text that another kind could know; the same kind knows the byte.
    half = rust.pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str("ü")[0][0][0]
    assert bytes_.meaning(half) == (None, half) and whole[half] == [] and found(bytes_, bytes_)[half] == [half]


def test_a_unigram_model_splits_inside_words_without_its_mark(unigram):
    split = unigram.splitter()
    begins, goes_on = ([unigram.token(index) for index in split(starts, "walks")] for starts in (True, False))
    assert begins[0].startswith("▁") and not any(piece.startswith("▁") for piece in goes_on)
    assert "".join(goes_on) == "walks" == "".join(begins).removeprefix("▁")


def test_every_vocabulary_starts_from_itself(unigram):
    for tokenizer in (wordpiece("a ##a . ab"), bpe("t+h Ġ+th"), unigram):
        whole = transfer(tokenizer, tokenizer)
        assert list(whole.sources) == [(index,) for index in range(tokenizer.vocab_size)]
        assert whole.taken == tokenizer.vocab_size


def test_rows_are_plain_means():
    old, new = wordpiece("a b ##a ##b c"), wordpiece("ab abb b zz ##aab")
    whole = transfer(old, new)
    for shape in ((old.vocab_size, 7), (old.vocab_size,)):
        table = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        rows = whole.rows(table)
        assert rows.dtype == np.float32 and rows.shape == (new.vocab_size, *shape[1:])
        parts = {"ab": "a ##b", "abb": "a ##b ##b", "b": "b", "##aab": "##a ##a ##b"}
        for piece, split in parts.items():
            ids = [old.id(part) for part in split.split()]
            np.testing.assert_allclose(rows[new.id(piece)], sum(table[index] for index in ids) / len(ids), rtol=1e-6)
        np.testing.assert_array_equal(rows[new.id("b")], table[old.id("b")])
        np.testing.assert_array_equal(rows[: len(SPECIALS)], table[: len(SPECIALS)])
        np.testing.assert_allclose(rows[new.id("zz")], table.mean(0), rtol=1e-5, atol=1e-7)


def test_signs_on_letters_do_not_stand_apart():
    """WordPiece cuts a word at punctuation, and not at a vowel sign or a tone."""
    assert all(map(stands_apart, (".", "।", "?!", "字")))
    assert not any(map(stands_apart, ("ि", "ा", "्", "ு", "้", "e\u0301", "a", "7", "")))
