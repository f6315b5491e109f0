"""Unigram: ALBERT's normalisation, its rule for numbers and commas, its words, and files that are not its."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers as rust
from sentencepiece import sentencepiece_model_pb2

from jaxbert.errors import InputError
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer
from jaxbert.text.tokenizers.unigram import Normalisation, Unigram

_proto: Any = sentencepiece_model_pb2
TEXTS = [
    "The naïve café's “menu” has 3,000 entries (of 1,000,000) since 2010, they say; £5 or €6 - no more.",
    "Rivers run to the sea, the sea is wide. हिन्दी ไทย 한국어 ガ 日本 ΣΊΣΥΦΟΣ Å",
] * 30


def model(pieces: dict[str, float], *, charsmap: bytes = b"", kind: int = 1) -> bytes:
    """A model of hand-made pieces."""
    made = _proto.ModelProto()
    types = {"<pad>": 3, "<unk>": 2, "[CLS]": 3, "[SEP]": 3, "[MASK]": 3}
    for piece, score in pieces.items():
        made.pieces.add(piece=piece, score=score, type=types.get(piece, 1))
    made.trainer_spec.model_type = kind
    made.trainer_spec.unk_id = 1
    made.normalizer_spec.precompiled_charsmap = charsmap
    return bytes(made.SerializeToString())


SPECIALS = dict.fromkeys(("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"), 0.0)


def pieces_of(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.token(index) for index in tokenizer.encode(text)]


def original(text: str, *, lower: bool) -> str:
    """google-research/albert's preprocessing, in its own terms."""
    text = unicodedata.normalize("NFKD", " ".join(text.split()))
    text = "".join(char for char in text if not unicodedata.combining(char))
    return text.lower() if lower else text


def test_the_layout_is_albert_s() -> None:
    tokenizer = train_tokenizer("unigram", TEXTS, vocab_size=200, lowercase=True)
    assert tokenizer.vocab[:5] == ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    assert tokenizer.vocab[5:13] == list('()"-.\u2013£€')
    assert (tokenizer.joint, tokenizer.pair_separators, tokenizer.pair_types) == ("", 1, True)
    assert pieces_of(tokenizer, "the the")[0] == "▁the"


def test_normalisation_is_the_original_s() -> None:
    """Against the original's own terms followed by SentencePiece's nmt_nfkc, character by character."""
    nfkc = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc", add_dummy_prefix=False, escape_whitespaces=False)
    normalizer = Normalisation(lowercase=False).build(nfkc=True)
    cased = Normalisation(lowercase=False, keep_accents=True).build(nfkc=True)
    different = 0
    for code in [*range(0x21, 0x3100), *range(0xAC00, 0xAD00), *range(0xF900, 0xFFF0)]:
        char = f"a{chr(code)}b"
        # The zero width joiner and the full-width tilde are exceptions of SentencePiece's table; U+061C and U+32FF are
        # younger than the Rust library's.
        if code in (0x61C, 0x200D, 0x32FF, 0x344, 0xFF5E):
            continue
        assert normalizer.normalize_str(char).split() == nfkc.normalize(original(char, lower=False)).split(), hex(code)
        assert cased.normalize_str(char).split() == nfkc.normalize(char).split(), hex(code)
        different += normalizer.normalize_str(char) != char
    assert different > 1000
    for text in TEXTS[:2]:
        expected = nfkc.normalize(original(text.replace("Σ", ""), lower=True))
        assert Normalisation().build(nfkc=True).normalize_str(text.replace("Σ", "")) == expected


def test_vowel_signs_stay_and_accents_go() -> None:
    tokenizer = train_tokenizer("unigram", TEXTS, vocab_size=200, lowercase=True)
    assert tokenizer.encode("Naïve  CAFÉ") == tokenizer.encode("naive cafe")
    assert tokenizer.decode(tokenizer.encode("ไทย 한국어 हिन")) == "ไทย 한국어 हिन"
    cased = train_tokenizer("unigram", TEXTS, vocab_size=200, lowercase=False)
    assert cased.encode("naïve") != cased.encode("naive") and cased.encode("The") != cased.encode("the")
    assert cased.decode(cased.encode("naïve café's")) == "naïve café's"


def test_numbers_are_parted_from_their_commas() -> None:
    """`encode_pieces` of the original: the number anew, without the space mark where there was none, then the comma."""
    pieces = SPECIALS | {"▁": -9.0, "▁2010,": -1.0, "2010,": -1.0, "▁20": -2.0, "10": -2.0, "▁2010": -3.0, ",": -9.0}
    pieces |= {"x": -5.0, "7,": -1.0, "▁7": -2.0, "7": -3.0}
    tokenizer = Unigram(model(pieces), Normalisation())
    assert pieces_of(tokenizer, "2010,") == ["▁2010", ","]
    assert pieces_of(tokenizer, "x2010,") == ["▁", "x", "<unk>", ","], "the mark is cut off; 2010 alone is no piece"
    assert pieces_of(tokenizer, "x7,x") == ["▁", "x", "7", ",", "x"]
    assert pieces_of(tokenizer, "2010") == ["▁2010"]
    assert tokenizer.hash != Unigram(model(pieces | {"x": -4.0}), Normalisation()).hash
    assert tokenizer.hash != Unigram(model(pieces), Normalisation(lowercase=False)).hash


def test_training_makes_no_piece_of_a_number_and_its_comma() -> None:
    draw = random.Random(1)
    texts = [f"in {draw.choice([2009, 2010, 2011])}, of 1,000 or 12,345,678" for _ in range(300)]
    tokenizer = train_tokenizer("unigram", texts, vocab_size=80, lowercase=True)
    assert any(len(piece) > 2 and piece.strip("▁").isdigit() for piece in tokenizer.vocab)
    assert not any(len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit() for piece in tokenizer.vocab)


def test_words_start_by_the_original_s_rule() -> None:
    pieces = {"▁": True, "▁the": True, "the": False, "ing": False, ",": True, "€": True, "can't": True, "'": True}
    pieces |= {"7": True, "a7": True, "é": True, "日本": True, "<x": True, "e-": False, "].": False, "\u2013": True}
    # The original's rule is made for English, so that it holds in a vocabulary whose pieces are English.
    english = [f"{first}{second}" for first in "abcdef" for second in "ghijkl"]
    tokenizer = Unigram(model(SPECIALS | dict.fromkeys([*pieces, *english], -1.0)), Normalisation())
    assert {piece: bool(tokenizer.word_start[tokenizer.id(piece)]) for piece in pieces} == pieces
    # In another one, a letter that English lacks begins no word.
    other = [f"{first}é{second}" for first in "abcdef" for second in "ghijkl"]
    tokenizer = Unigram(model(SPECIALS | dict.fromkeys([*pieces, *other], -1.0)), Normalisation())
    pieces |= {"é": False, "a7": False, "can't": False}
    assert {piece: bool(tokenizer.word_start[tokenizer.id(piece)]) for piece in pieces} == pieces


def test_the_commonest_word_is_one_piece() -> None:
    frequent = ["supercalifragilis other words"] * 50
    tokenizer = train_tokenizer("unigram", frequent, vocab_size=60, lowercase=True)
    assert pieces_of(tokenizer, "other words") == ["▁other", "▁words"]


def test_counts_are_scaled_to_what_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces are sought in fewer copies; the counts that weigh them stay."""
    import jaxbert.text.tokenizers.unigram as ours

    words = {"once": 1, "twice": 2, "some": 9, "many": 100_000, "most": 123_457}
    for room in (10, 1000, 10**9):
        monkeypatch.setattr(ours, "_SEED_WORDS", room)
        counts: dict[str, int] = {}
        copies: dict[str, int] = {}
        for line in ours._lines(words):
            text, _, weight = line.partition("\t")
            word = text.split(" ")[0]
            copies[word] = copies.get(word, 0) + len(text.split(" "))
            counts[word] = counts.get(word, 0) + len(text.split(" ")) * int(weight)
        assert min(copies[word] for word in words if word != "once") >= 2
        assert sum(copies.values()) <= max(room, 2 * len(words)) + 2 * len(words)
        assert all(abs(counts[word] - words[word]) <= max(1, 0.02 * words[word]) for word in words)


def test_tokenizer_json_gives_the_same_ids(tmp_path: Path) -> None:
    draw = random.Random(5)
    blocks = [(0, 128), (32, 127), (128, 0x250), (0x300, 0x370), (0x370, 0x530), (0x900, 0xE80), (0x1100, 0x1200)]
    blocks += [(0x2000, 0x2070), (0x3000, 0x3100), (0x4E00, 0x4E80), (0xAC00, 0xAC40), (0xFF00, 0xFFFF)]
    texts = ["".join(chr(draw.randrange(*draw.choice(blocks))) for _ in range(60)) for _ in range(800)]
    # The name of a special token, once normalised: text, which no piece of the Rust model may take for the token.
    wide = "\uff3bMASK\uff3d \uff3bCLS\uff3d " * 30
    for lowercase in (True, False):
        tokenizer = train_tokenizer("unigram", [*TEXTS, *texts[:300], wide], vocab_size=4000, lowercase=lowercase)
        tokenizer.save(tmp_path / str(lowercase))
        peer = rust.Tokenizer.from_file(str(tmp_path / str(lowercase) / "tokenizer.json"))
        assert not tokenizer.special[tokenizer.encode(wide, special_tokens=True)].any()
        for text in [*texts, *TEXTS[:2], wide, "a [MASK] of[SEP] <unk> <unused 0> [unk]"]:
            expected = [tokenizer.cls_id, *tokenizer.encode(text, special_tokens=True), tokenizer.sep_id]
            assert peer.encode(text).ids == expected, text
        assert peer.encode("a", "b").type_ids.count(1) >= 2


def test_a_model_with_a_table_of_its_own_is_normalised_by_it() -> None:
    table = sentencepiece.SentencePieceNormalizer(norm_map=[("q", "x")])
    spec = _proto.NormalizerSpec.FromString(table.serialized_normalizer_spec())
    assert spec.precompiled_charsmap
    pieces = SPECIALS | {"▁x": -1.0, "q": -1.0, "▁": -2.0}
    assert pieces_of(Unigram(model(pieces, charsmap=spec.precompiled_charsmap), Normalisation()), "q") == ["▁x"]
    assert pieces_of(Unigram(model(pieces), Normalisation()), "q") == ["▁", "q"]


def test_files_that_are_not_albert_s(tmp_path: Path) -> None:
    tokenizer = train_tokenizer("unigram", TEXTS, vocab_size=200, lowercase=True)
    tokenizer.save(tmp_path)
    table = [
        (b"\xff\xff not a model", "E-TOKENIZER-FILE"),
        (b"", "lacks.*E-TOKENIZER-VOCABULARY"),
        (model({"<unk>": 0.0, "a": -1.0}), "lacks.*E-TOKENIZER-VOCABULARY"),
        (model(SPECIALS | {"a": -1.0}, kind=2), "E-TOKENIZER-KIND"),
    ]
    for content, what in table:
        (tmp_path / "spiece.model").write_bytes(content)
        with pytest.raises(InputError, match=what) as caught:
            Tokenizer.load(tmp_path)
        assert "spiece.model" in str(caught.value)
    (tmp_path / "spiece.model").unlink()
    (tmp_path / "spm.model").write_bytes(tokenizer.model)  # type: ignore[attr-defined]
    assert Tokenizer.load(tmp_path).hash == tokenizer.hash


def differing(tmp_path: Path) -> int:
    """The number of texts full of repetitions that tokenizer.json cuts in another way."""
    draw = random.Random(1)
    parts = ["ing", "ana", "na", "(", "]", "<", "x1", "aba", "b"]
    texts = ["".join(draw.choice(parts) * draw.randrange(1, 5) for _ in range(6)) for _ in range(1500)]
    tokenizer = train_tokenizer("unigram", texts, vocab_size=300, lowercase=True)
    tokenizer.save(tmp_path)
    peer = rust.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    theirs = [encoding.ids for encoding in peer.encode_batch(texts, add_special_tokens=False)]
    return sum(a != b for a, b in zip(tokenizer.encode_batch(texts), theirs, strict=True))


def test_equally_probable_cuts_are_the_same_in_tokenizer_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SentencePiece adds scores in float32, the Rust library in float64."""
    import jaxbert.text.tokenizers.unigram as ours

    assert differing(tmp_path / "exact") == 0
    monkeypatch.setattr(ours, "_SCORE_STEPS", 2**40)
    assert differing(tmp_path / "rounded") > 0
    text = "<UNK> [mask]"  # The name of a special token, once lower-cased, is text.
    tokenizer = train_tokenizer("unigram", [*TEXTS, "< u n k > [ m a s k ] " * 900], vocab_size=200, lowercase=True)
    tokenizer.save(tmp_path / "names")
    peer = rust.Tokenizer.from_file(str(tmp_path / "names" / "tokenizer.json"))
    assert peer.encode(text, add_special_tokens=False).ids == tokenizer.encode(text, special_tokens=True)
