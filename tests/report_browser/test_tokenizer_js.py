"""tokenizer.js gives the ids and the words of our tokenizers, whatever is typed."""

from __future__ import annotations

import functools
import itertools
import json
import random
from pathlib import Path

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from jaxbert.report.browser import vocabulary
from jaxbert.report.browser.reasons import LeftOut
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer
from jaxbert.text.tokenizers.base import Added
from jaxbert.text.tokenizers.bpe import ByteLevelBPE
from jaxbert.text.tokenizers.unigram import Normalisation, Unigram
from jaxbert.text.tokenizers.wordpiece import WordPiece
from tests.report_browser.engine import Engine
from tests.report_browser.prompts import prompts
from tests.report_browser.unicode_tables import CODES, FORMS, each, members, tables
from tests.text import test_kinds, test_tokenizers, test_unigram, tokenizer_files

# What each is called, the kind, and whether it is uncased. "published" is that of bert-base-uncased.
CASES = {
    "published": ("", True),
    "wordpiece, uncased": ("wordpiece", True),
    "wordpiece, cased": ("wordpiece", False),
    "bpe": ("bpe", False),
    "unigram, uncased": ("unigram", True),
    "unigram, cased": ("unigram", False),
}


@functools.cache
def of_case(case: str) -> Tokenizer:
    kind, lowercase = CASES[case]
    if not kind:
        return Tokenizer.load(test_tokenizers.published())
    return train_tokenizer(kind, [*prompts("x"), *test_kinds.VARIED] * 3, vocab_size=1200, lowercase=lowercase)


def page_ids(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """The ids that the page gives."""
    with engine_of(tokenizer) as engine:
        return engine.call("(texts) => texts.map((text) => tokenizer.encode(text).ids)", texts)


def page_unknown(tokenizer: Tokenizer, text: str) -> list[str]:
    """What of a text the page takes for unknown."""
    with engine_of(tokenizer) as engine:
        return engine.call("(text) => tokenizer.encode(text).unknown", text)


def engine_of(tokenizer: Tokenizer) -> Engine:
    engine = Engine("tokenizer.js")
    engine.call("(form) => { globalThis.tokenizer = makeTokenizer(form) }", vocabulary.write(tokenizer))
    return engine


def odd_texts(tokenizer: Tokenizer) -> list[str]:
    """Texts of the other tests, and random ones: characters and pieces of the vocabulary, with masks between."""
    draw = random.Random(7)
    characters = sorted({char for piece in tokenizer.vocab for char in piece})
    drawn = ["".join(draw.choices([*characters, " ", " ", "\n"], k=draw.randrange(1, 40))) for _ in range(80)]
    pieces = [*tokenizer.vocab, tokenizer.token(tokenizer.mask_id), " ", "  "]
    joined = ["".join(draw.choices(pieces, k=draw.randrange(1, 12))) for _ in range(80)]
    others = [*test_tokenizers.TEXTS, *test_kinds.VARIED, *tokenizer_files.TEXTS, *test_unigram.TEXTS]
    return [*others, *test_tokenizers.random_texts(150), *drawn, *joined]


@pytest.mark.parametrize("case", CASES)
def test_ids_and_words_are_those_of_the_tokenizer(case: str) -> None:
    tokenizer = of_case(case)
    hundred = prompts(tokenizer.token(tokenizer.mask_id))
    assert len(hundred) == 100
    texts = [*hundred, *odd_texts(tokenizer)]
    expected = tokenizer.encode_batch(texts, special_tokens=True)
    for text, found, ids in zip(texts, page_ids(tokenizer, texts), expected, strict=True):
        assert found == ids, text
    # As `jaxbert fill-mask` prints them.
    words = [tokenizer.decode([index]).strip() or tokenizer.token(index) for index in range(tokenizer.vocab_size)]
    with engine_of(tokenizer) as engine:
        assert engine.call("(ids) => ids.map((id) => tokenizer.show(id))", list(range(len(words)))) == words


def test_what_the_vocabulary_lacks_is_named() -> None:
    tokenizer = of_case("wordpiece, uncased")
    assert page_unknown(tokenizer, "the \u16a0\u16a1 bucket \u13a0") == ["\u16a0\u16a1", "\uab70"]
    assert page_unknown(tokenizer, "the bucket") == []
    assert page_unknown(of_case("unigram, cased"), "the x\u16a0\u16a1y bucket") == ["\u16a0\u16a1"]
    assert page_unknown(of_case("bpe"), "\u16a0\u16a1") == []


def with_token(tokenizer: Tokenizer, content: str, flags: dict[str, bool]) -> Tokenizer:
    """The tokenizer with one more added token, which gets the next id."""
    added = [*tokenizer.added, Added(content, **flags)]
    size = tokenizer.vocab_size
    if isinstance(tokenizer, WordPiece):
        return WordPiece([*tokenizer.vocab, content], tokenizer.normalisation, added=added, model_size=size)
    if isinstance(tokenizer, ByteLevelBPE):
        return ByteLevelBPE([*tokenizer.vocab, content], tokenizer.merges, added=added, model_size=size)
    assert isinstance(tokenizer, Unigram)
    return Unigram(tokenizer.model, tokenizer.normalisation, beyond=[content], added=added)


# The number of different ids that the flags give: only byte-level BPE has ids for white space.
@pytest.mark.parametrize(("case", "different"), [("wordpiece, uncased", 4), ("bpe", 8), ("unigram, uncased", 2)])
def test_flags_of_added_tokens(case: str, different: int) -> None:
    texts = [
        "a Caf\u00e9 b",
        "a  Caf\u00e9\tCaf\u00e9  b",
        "xCaf\u00e9 Caf\u00e9y _Caf\u00e9, (Caf\u00e9)",
        "a cafe CAFE caf\u00e9 Cafe\u0301",
        "Caf\u00e9",
    ]
    seen = set()
    for values in itertools.product((False, True), repeat=4):
        flags = dict(zip(("single_word", "lstrip", "rstrip", "normalized"), values, strict=True))
        tokenizer = with_token(of_case(case), "Caf\u00e9", flags)
        if case.startswith("unigram") and flags["normalized"]:
            with pytest.raises(LeftOut, match="normalised"):
                vocabulary.write(tokenizer)
            continue
        expected = tokenizer.encode_batch(texts, special_tokens=True)
        assert page_ids(tokenizer, texts) == expected, flags
        seen.add(json.dumps(expected))
    assert len(seen) == different


def test_a_space_before_the_first_word_of_bpe() -> None:
    plain = of_case("bpe")
    assert isinstance(plain, ByteLevelBPE)
    tokenizer = ByteLevelBPE(plain.vocab, plain.merges, prefix_space=True)
    texts = prompts("<mask>")
    expected = tokenizer.encode_batch(texts, special_tokens=True)
    assert expected != plain.encode_batch(texts, special_tokens=True)
    assert page_ids(tokenizer, texts) == expected


def test_a_unigram_with_a_table_of_its_own() -> None:
    """Published models bring SentencePiece's nmt_nfkc as a table; it is read as SentencePiece reads it."""
    table = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc_cf")
    spec = sentencepiece_model_pb2.NormalizerSpec.FromString(table.serialized_normalizer_spec())  # type: ignore[attr-defined]
    assert len(spec.precompiled_charsmap) > 100_000
    plain = of_case("unigram, cased")
    assert isinstance(plain, Unigram)
    model = Unigram.parse(plain.model)
    model.normalizer_spec.precompiled_charsmap = spec.precompiled_charsmap
    tokenizer = Unigram(model.SerializeToString(), Normalisation(lowercase=False, keep_accents=True))
    texts = [*prompts("[MASK]"), *odd_texts(tokenizer)]
    expected = tokenizer.encode_batch(texts, special_tokens=True)
    assert expected != plain.encode_batch(texts, special_tokens=True)
    for text, found, ids in zip(texts, page_ids(tokenizer, texts), expected, strict=True):
        assert found == ids, text


def test_tokenizers_that_are_left_out(tmp_path: Path) -> None:
    place = tokenizer_files.write(tmp_path / "json", "unigram")
    (place / "spiece.model").unlink()
    with pytest.raises(LeftOut, match="UnigramOfJson"):
        vocabulary.write(Tokenizer.load(place))
    plain = of_case("unigram, cased")
    assert isinstance(plain, Unigram)
    model = Unigram.parse(plain.model)
    model.trainer_spec.byte_fallback = True
    for byte in range(256):
        model.pieces.add(piece=f"<0x{byte:02X}>", score=0.0, type=6)
    with pytest.raises(LeftOut, match="bytes"):
        vocabulary.write(Unigram(model.SerializeToString(), plain.normalisation))


def test_the_classes_of_characters_are_the_library_s() -> None:
    """`python -m tests.report_browser.unicode_tables` writes them again."""
    there = json.loads(vocabulary.UNICODE.read_text(encoding="utf-8"))
    found = tables(CODES)
    assert found.keys() == there.keys()
    for name, codes in found.items():
        assert codes == members(there[name]) & set(CODES), name
        assert vocabulary.distances(members(there[name])) == there[name]


def test_normal_forms_are_the_library_s_whatever_unicode_the_browser_has() -> None:
    late = json.loads(vocabulary.UNICODE.read_text(encoding="utf-8"))["late"]
    codes = [code for code in CODES if code not in (0x0A, 0x0D)]
    normal = "(late, form, text) => makeNormal(late)(text, form)"
    with Engine("tokenizer.js") as engine:
        for name, form in FORMS.items():
            found = engine.call(normal, late, name, "\n".join(map(chr, codes))).split("\n")
            wrong = [hex(code) for code, a, b in zip(codes, found, each(form, codes), strict=True) if a != b]
            assert not wrong, name
