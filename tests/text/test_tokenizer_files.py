"""What files say beside a vocabulary counts: added tokens, their flags, names of special tokens, settings, the class.

`make test-peers` compares the same files with transformers.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers as rust
from sentencepiece import sentencepiece_model_pb2

from jaxbert.errors import InputError
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.text.transfer import transfer
from tests.text.tokenizer_files import (
    CASES,
    FLAGS,
    IDS,
    TEXTS,
    Whole,
    adding,
    cased,
    entry,
    published,
    trained,
    two,
    vocabulary,
    with_hole,
    write,
)

# transformers 5.23: its ids of TEXTS[0] with [CLS] and [SEP].
EXPECTED = [101, 1996, 30522, 5776, 2003, 30523, 102]


def opened(directory: Path, case: str) -> Tokenizer:
    kind, change, files = CASES[case]
    return Tokenizer.load(write(directory, kind, change, **files))


@pytest.mark.parametrize("case", ["added, tokenizer.json", "added, vocab.txt", "added, vocab.txt, special"])
def test_added_tokens_count(case: str, tmp_path: Path) -> None:
    tokenizer = opened(tmp_path / "there", case)
    for special_tokens in (True, False):  # In running text, too: they were added to be found there.
        assert tokenizer.encode(TEXTS[0], special_tokens=special_tokens) == EXPECTED[1:-1]
    assert (tokenizer.vocab_size, tokenizer.model_size) == (30524, 30522)
    assert tokenizer.word_start[30522:].all() and not tokenizer.special[30522:].any()
    assert tokenizer.decode(EXPECTED[1:-1]) == TEXTS[0]
    assert tokenizer.hash != Tokenizer.load(published()).hash
    # The names of the other special tokens in running text stay text.
    assert 103 not in tokenizer.encode("a [MASK] b") and 103 in tokenizer.encode("a [MASK] b", special_tokens=True)


@pytest.mark.parametrize("case", CASES)
def test_an_export_says_the_same(case: str, tmp_path: Path) -> None:
    """Opened again by us, with and without tokenizer.json, and by the Rust library."""
    tokenizer = opened(tmp_path / "there", case)
    out = tmp_path / "out"
    tokenizer.save(out)
    peer = rust.Tokenizer.from_file(str(out / "tokenizer.json"))
    expected = tokenizer.encode_batch(TEXTS, special_tokens=True)
    assert [peer.encode(text, add_special_tokens=False).ids for text in TEXTS] == expected
    for _ in range(2):
        again = Tokenizer.load(out)
        assert (again.hash, again.vocab, again.specials) == (tokenizer.hash, tokenizer.vocab, tokenizer.specials)
        for special_tokens in (True, False):
            ids = tokenizer.encode_batch(TEXTS, special_tokens=special_tokens)
            assert again.encode_batch(TEXTS, special_tokens=special_tokens) == ids
        (out / "tokenizer.json").unlink(missing_ok=True)


@pytest.mark.parametrize("kind", ["bert", "bpe", "unigram"])
def test_flags_of_added_tokens_change_ids(kind: str, tmp_path: Path) -> None:
    first = {"bert": 30522, "bpe": 400, "unigram": 180}[kind]
    hashes, found = set(), []
    for flag in (*FLAGS, "special"):
        tokenizer = Tokenizer.load(write(tmp_path / flag, kind, two(first, **{flag: True})))
        hashes.add(tokenizer.hash)
        found.append(tokenizer.encode_batch(TEXTS, special_tokens=True))
    single, _, _, normalized, plain = found
    assert all(first + 1 in ids for ids in (plain[0], single[0]))
    inside = "xsupercalifragilistic"
    assert TEXTS[1].count(inside) and plain[1].count(first + 1) == 2 and single[1].count(first + 1) == 0
    if kind == "bpe":
        # Nothing is normalised. White space is tokens here, and goes into an added token that takes it.
        assert normalized == plain and len({json.dumps(ids) for ids in found}) == 4
    else:
        assert normalized[1].count(first + 1) == 3, "Supercalifragilistic too"
    assert len(hashes) == 5


def test_the_mask_has_its_own_flags(tmp_path: Path) -> None:
    usual = trained("bpe")
    for case in ("bpe, the mask of tokenizer.json", "bpe, the mask of tokenizer_config.json"):
        tokenizer = opened(tmp_path / case, case)
        pieces = [tokenizer.token(index) for index in tokenizer.encode("a <mask> b", special_tokens=True)]
        assert pieces == ["a", "Ġ", "<mask>", "Ġb"]
        assert tokenizer.hash != usual.hash
    assert [usual.token(index) for index in usual.encode("a <mask> b", special_tokens=True)] == ["a", "<mask>", "Ġb"]
    renamed = opened(tmp_path / "bert", "<mask>, tokenizer.json")
    assert (renamed.specials.mask, renamed.mask_id) == ("<mask>", 103)
    assert renamed.encode("a <mask> b", special_tokens=True) == [1037, 103, 1038]


def test_the_settings_of_tokenizer_config_json_win(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = Tokenizer.load(published())
    assert opened(tmp_path / "1", "uncased by tokenizer_config.json").hash == whole.hash
    assert "do_lower_case is True in tokenizer_config.json and False in tokenizer.json" in caplog.text
    keeping = opened(tmp_path / "2", "cased by tokenizer_config.json")
    assert not keeping.lowercase and keeping.encode("Hello hello") == [100, 7592]
    assert not opened(tmp_path / "3", "tokenizer.json as it is").lowercase
    assert not opened(tmp_path / "4", "an unknown class").lowercase
    caplog.clear()
    assert not Tokenizer.load(write(tmp_path / "5", "bert", cased)).lowercase
    assert "transformers takes True, because tokenizer_config.json does not state it" in caplog.text
    for number, case in enumerate(CASES):
        if case.startswith(("bpe, a space", "bpe, no space")):
            tokenizer = opened(tmp_path / f"space{number}", case)
            pieces = [tokenizer.token(index) for index in tokenizer.encode("a<mask>b", special_tokens=True)]
            assert pieces == (["a", "<mask>", "b"] if case.startswith("bpe, no") else ["Ġa", "<mask>", "Ġb"])
            assert tokenizer.encode(" a") == tokenizer.encode("a") or case.startswith("bpe, no")


@pytest.mark.parametrize("name", ["MPNetTokenizer", "FunnelTokenizerFast", "SplinterTokenizer", "GPT2TokenizerFast"])
def test_classes_that_put_other_special_tokens_around_texts(name: str, tmp_path: Path) -> None:
    """They are refused, also where only the model of config.json tells the class."""
    kind, there = ("bpe", {"tokenizer__json": None}) if name.startswith("GPT2") else ("vocab", {})
    usual = {"bpe": "RobertaTokenizer", "vocab": "BertTokenizer"}[kind]
    message = rf"{name.removesuffix('Fast')}, which puts special tokens.* than {usual} .*E-TOKENIZER-CLASS"
    places = [write(tmp_path / "named", kind, tokenizer_config__json={"tokenizer_class": name}, **there)]
    model = {"model_type": name.partition("Tokenizer")[0].lower()}
    places.append(write(tmp_path / "model", kind, tokenizer_config__json={}, config__json=model, **there))
    if kind == "vocab":
        places.append(write(tmp_path / "whole", "bert", tokenizer_config__json={"tokenizer_class": name}))
    for place in places:
        with pytest.raises(InputError, match=message):
            Tokenizer.load(place)
    # GPT-2's class takes what tokenizer.json puts there.
    if kind == "bpe":
        assert Tokenizer.load(write(tmp_path / "whole", kind, config__json=model)).hash == trained("bpe").hash


def test_a_mask_without_flags_is_that_of_fairseq(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bare = {"tokenizer__json": None, "special_tokens_map__json": None}
    for number, config in enumerate((None, {}, {"mask_token": "<mask>"})):
        tokenizer = Tokenizer.load(write(tmp_path / str(number), "bpe", **bare, tokenizer_config__json=config))
        assert tokenizer.hash == trained("bpe").hash
        assert "<mask> takes the space before it, as in fairseq and transformers 4" in caplog.text
        caplog.clear()
    opened(tmp_path / "stated", "bpe, the mask of tokenizer_config.json")
    assert not caplog.records


def test_a_token_of_a_list_without_flags_is_normalised_as_in_transformers(tmp_path: Path) -> None:
    """With an id of added_tokens.json: by special_tokens_map.json it is, by tokenizer_config.json it is not."""
    for case, expected in (("a list without flags", True), ("a list of tokenizer_config.json", False)):
        tokenizer = opened(tmp_path / case, f"added, vocab.txt, {case}")
        assert (30522 in tokenizer.encode("the [new] patient")) is expected
        assert [token.special for token in tokenizer.further] == [True, expected]


def test_white_space_behind_a_piece_is_no_part_of_it(tmp_path: Path) -> None:
    tokenizer = opened(tmp_path / "there", "white space behind a piece")
    assert tokenizer.encode("the") == [1996] and tokenizer.hash == Tokenizer.load(published()).hash


def test_settings_that_only_tokenizer_json_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """transformers 5 builds BertTokenizer without them, so that an export has the class that takes the file."""

    def change(whole: Whole) -> None:
        whole["model"]["max_input_chars_per_word"] = 5
        whole["normalizer"]["clean_text"] = False

    there = write(tmp_path / "there", "bert", change)
    tokenizer = Tokenizer.load(there)
    assert tokenizer.encode("nation nations the") == [100, 100, 1996]
    assert (
        "max_input_chars_per_word is 5 in tokenizer.json, which counts here; the class of transformers 5" in caplog.text
    )
    assert "clean_text is False in tokenizer.json" in caplog.text
    caplog.clear()
    tokenizer.save(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert Tokenizer.load(tmp_path / "out").hash == tokenizer.hash and not caplog.records


def test_case_that_only_the_vocabulary_tells_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cased = vocabulary(also="Hello")
    for number, (config, told) in enumerate((({}, True), ({"do_lower_case": False}, False))):
        there = write(tmp_path / str(number), "vocab", vocab__txt=cased, tokenizer_config__json=config)
        assert Tokenizer.load(there).encode("Hello") == [30521]
        assert ("has capitals, so that case is kept here; transformers lower-cases" in caplog.text) is told
        caplog.clear()
    (there / "tokenizer_config.json").unlink()
    (there / "config.json").unlink()
    assert not Tokenizer.load(there).lowercase and not caplog.records, "as in Google's archives"


@pytest.mark.parametrize("file", ["spiece__model", "tokenizer__json"])
def test_the_unknown_piece_is_that_of_the_model(file: str, tmp_path: Path) -> None:
    """No file names it, and it is not called <unk>."""

    def change(whole: Whole) -> None:
        for token in whole["added_tokens"]:
            token["content"] = token["content"].replace("<unk>", "<UNK>")
        whole["model"]["vocab"][1][0] = "<UNK>"

    config = {"tokenizer_class": "PreTrainedTokenizerFast"} if file == "spiece__model" else {}
    there = write(tmp_path / "there", "unigram", change, tokenizer_config__json=config, special_tokens_map__json=None)
    (there / file.replace("__", ".")).unlink()
    if file == "tokenizer__json":
        model = sentencepiece_model_pb2.ModelProto()
        model.ParseFromString((there / "spiece.model").read_bytes())
        model.pieces[1].piece = model.trainer_spec.unk_piece = "<UNK>"
        (there / "spiece.model").write_bytes(model.SerializeToString())
    tokenizer = Tokenizer.load(there)
    assert (tokenizer.specials.unk, tokenizer.unk_id, tokenizer.vocab_size) == ("<UNK>", 1, 180)
    assert tokenizer.encode("a \u6f22 b") == trained("unigram").encode("a \u6f22 b")
    tokenizer.save(tmp_path / "out")
    assert Tokenizer.load(tmp_path / "out").hash == tokenizer.hash


def test_a_vocabulary_with_holes_and_doubles(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, hole = Tokenizer.load(published()), opened(tmp_path / "hole", "a hole")
    assert (
        hole.vocab_size == whole.vocab_size and hole.token(2000) == "[hole0]" and hole.token(2001) == whole.token(2001)
    )
    assert hole.encode(whole.token(1999)) == [1999] and 2000 not in hole.encode(f"{whole.token(2000)} [hole0]")
    twice = opened(tmp_path / "twice", "a piece twice")
    assert twice.encode("the") == [1996], "the later of 1010 and 1996"
    assert twice.vocab.count("the") == 1 and twice.vocab_size == whole.vocab_size
    assert "'the' occurs twice" in caplog.text


def test_added_tokens_that_would_take_the_id_of_a_piece(tmp_path: Path) -> None:
    def both(whole: Whole) -> None:
        with_hole(whole)
        two(30522)(whole)

    table = [
        write(tmp_path / "1", "bert", both),
        write(tmp_path / "2", "vocab", vocab__txt=vocabulary(twice=1010), added_tokens__json=IDS),
    ]
    for directory in table:
        with pytest.raises(InputError, match=r"'\[NEW\]'.*E-TOKENIZER-ADDED"):
            Tokenizer.load(directory)
    below = write(tmp_path / "3", "bert", adding(entry(17, "[NEW]")))
    with pytest.raises(InputError, match=r"lacks \[NEW\].*E-TOKENIZER-VOCABULARY"):
        Tokenizer.load(below)


def test_an_added_token_after_a_gap_has_the_id_that_transformers_gives_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = opened(tmp_path / "there", "added, after a gap")
    assert tokenizer.encode(TEXTS[0]) == EXPECTED[1:-1]
    assert "'[NEW]' has id 30522 here, as in transformers, not 30530" in caplog.text


def test_a_token_without_an_id_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    there = write(tmp_path / "there", "vocab", special_tokens_map__json={"additional_special_tokens": ["[NEW]"]})
    assert Tokenizer.load(there).hash == Tokenizer.load(published()).hash
    assert "'[NEW]' has no id in any file, and is left out" in caplog.text


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab"}, "fugashi.*E-TOKENIZER-CLASS"),
        ({"word_tokenizer_type": "mecab"}, "fugashi.*E-TOKENIZER-CLASS"),
        ({"tokenizer_class": "BertweetTokenizer"}, "emoji.*E-TOKENIZER-CLASS"),
        ({"tokenizer_class": "XLMRobertaTokenizerFast"}, "XLMRobertaTokenizer.*BertTokenizer.*E-TOKENIZER-CLASS"),
        ({"do_lower_case": "yes"}, "do_lower_case is 'yes'.*E-TOKENIZER-FILE"),
        ({"added_tokens_decoder": {"x": {}}}, "E-TOKENIZER-FILE"),
        ({"added_tokens_decoder": [1]}, "E-TOKENIZER-FILE"),
        ({"additional_special_tokens": [5]}, "E-TOKENIZER-FILE"),
        ({"mask_token": ""}, "E-TOKENIZER-FILE"),
        ({"mask_token": {"lstrip": True}}, "E-TOKENIZER-FILE"),
    ],
)
def test_files_that_are_refused(config: Whole, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Tokenizer.load(write(tmp_path / "there", "vocab", tokenizer_config__json=config))
    assert str(tmp_path / "there") in str(caught.value)
    (tmp_path / "there" / "tokenizer_config.json").unlink()
    if "tokenizer_class" in config:  # The older place of the class.
        (tmp_path / "there" / "config.json").write_text(json.dumps({"tokenizer_class": config["tokenizer_class"]}))
        with pytest.raises(InputError, match=message):
            Tokenizer.load(tmp_path / "there")


def test_a_unigram_without_its_sentencepiece_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = trained("unigram")
    there = write(tmp_path / "there", "unigram", two(180), spiece__model=None)
    tokenizer = Tokenizer.load(there)
    peer = rust.Tokenizer.from_file(str(there / "tokenizer.json"))
    assert [peer.encode(text, add_special_tokens=False).ids for text in TEXTS] == tokenizer.encode_batch(
        TEXTS, special_tokens=True
    )
    assert tokenizer.vocab[:180] == whole.vocab and tokenizer.lowercase
    plain = Tokenizer.load(write(tmp_path / "plain", "unigram", spiece__model=None))
    assert np.array_equal(plain.word_start, whole.word_start) and plain.special.sum() == 4
    assert plain.encode("a [MASK] b") == whole.encode("a [MASK] b")
    assert plain.encode("a [MASK] b", special_tokens=True) == whole.encode("a [MASK] b", special_tokens=True)
    plain.save(tmp_path / "out")
    assert Tokenizer.load(tmp_path / "out").hash == plain.hash
    # The same pieces: each starts from itself.
    assert transfer(plain, whole).taken == transfer(whole, plain).taken == 180

    def other(value: Whole) -> None:
        value["post_processor"]["pair"].pop()

    with pytest.raises(InputError, match=r"puts special tokens around.*E-TOKENIZER-KIND"):
        Tokenizer.load(write(tmp_path / "other", "unigram", other, spiece__model=None))

    def broken(value: Whole) -> None:
        value["pre_tokenizer"] = {"type": "Nothing"}

    with pytest.raises(InputError, match="E-TOKENIZER-FILE"):
        Tokenizer.load(write(tmp_path / "broken", "unigram", broken, spiece__model=None))


def around(kind: str, pair: str = "") -> Whole:
    """TemplateProcessing of a kind, with the pair of another where `pair` names one."""
    ids = {"bert": ("[CLS]", 101, "[SEP]", 102), "bpe": ("<s>", 0, "</s>", 2), "unigram": ("[CLS]", 2, "[SEP]", 3)}
    cls, first, sep, last = ids[kind]
    pairs = {"bpe": [cls, "$A", sep, sep, "$B", sep], "none": ["$A", "$B:1"]}
    made = rust.processors.TemplateProcessing(
        single=[cls, "$A", sep],
        pair=pairs.get(pair or kind, [cls, "$A", sep, "$B:1", f"{sep}:1"]),
        special_tokens=[(cls, first), (sep, last)],
    )
    return dict(json.loads(made.__getstate__()))


def enclosing(kind: str, cls: list[Any], sep: list[Any]) -> Whole:
    more = {"trim_offsets": True, "add_prefix_space": False} if kind == "RobertaProcessing" else {}
    return {"type": kind, "cls": cls, "sep": sep, **more}


BERT, ROBERTA = (["[CLS]", 101], ["[SEP]", 102]), (["<s>", 0], ["</s>", 2])
BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
# The kind, the post-processor of tokenizer.json, and whether it is that of the kind.
PROCESSORS: dict[str, tuple[str, Any, bool]] = {
    **{f"{kind}, none": (kind, None, False) for kind in ("bert", "bpe", "unigram")},
    **{f"{kind}, a template": (kind, around(kind), True) for kind in ("bert", "bpe", "unigram")},
    **{f"{kind}, a bare pair": (kind, around(kind, "none"), False) for kind in ("bert", "bpe", "unigram")},
    "bert, RoBERTa's pair": ("bert", around("bert", "bpe"), False),
    "bpe, BERT's pair": ("bpe", around("bpe", "bert"), False),
    "bert, BertProcessing": ("bert", enclosing("BertProcessing", *BERT), True),
    "bert, RobertaProcessing": ("bert", enclosing("RobertaProcessing", *BERT), False),
    "bert, the two exchanged": ("bert", enclosing("BertProcessing", *reversed(BERT)), False),
    "bpe, RobertaProcessing": ("bpe", enclosing("RobertaProcessing", *ROBERTA), True),
    "bpe, BertProcessing": ("bpe", enclosing("BertProcessing", *ROBERTA), False),
    "bpe, ByteLevel": ("bpe", BYTES, False),
    "bpe, two in turn": ("bpe", {"type": "Sequence", "processors": [BYTES, around("bpe")]}, True),
}
FIXED = {"bert": "BertTokenizerFast", "bpe": "RobertaTokenizer", "unigram": "AlbertTokenizer"}


@pytest.mark.parametrize("case", PROCESSORS)
def test_special_tokens_around_texts(case: str, tmp_path: Path) -> None:
    """They are those of tokenizer.json, and must be those of the kind, unless the class puts its own there."""
    kind, processor, right = PROCESSORS[case]

    def change(whole: Whole) -> None:
        whole["post_processor"] = processor
        if kind == "bert":  # Fewer pieces are read sooner.
            whole["model"]["vocab"] = {piece: index for piece, index in whole["model"]["vocab"].items() if index < 200}

    there = write(tmp_path / "there", kind, change)
    config_file = there / "tokenizer_config.json"
    config = json.loads(config_file.read_text(encoding="utf-8")) if config_file.exists() else {}
    as_is = ["PreTrainedTokenizerFast", "TokenizersBackend", *(["GPT2Tokenizer"] if kind == "bpe" else [])]
    for name in (FIXED[kind], *as_is):
        config_file.write_text(json.dumps({**config, "tokenizer_class": name}), encoding="utf-8")
        if right or name == FIXED[kind]:
            Tokenizer.load(there)
        else:
            with pytest.raises(InputError, match=r"puts special tokens around.*E-TOKENIZER-KIND"):
                Tokenizer.load(there)
    # Without a class that of the model's family counts, and without a family none.
    config.pop("tokenizer_class", None)
    config_file.write_text(json.dumps(config), encoding="utf-8")
    Tokenizer.load(there)
    (there / "config.json").unlink()
    if not right:
        with pytest.raises(InputError, match="E-TOKENIZER-KIND"):
            Tokenizer.load(there)


def test_an_unusable_post_processor(tmp_path: Path) -> None:
    config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    lacking = {**around("bert"), "special_tokens": {}}
    for number, processor in enumerate((lacking, {"type": "Other"}, [1], {})):
        there = write(
            tmp_path / str(number),
            "bert",
            lambda whole, processor=processor: whole.update(post_processor=processor),
            tokenizer_config__json=config,
        )
        with pytest.raises(InputError, match=r"post_processor.*E-TOKENIZER-FILE|E-TOKENIZER-KIND"):
            Tokenizer.load(there)


def test_embeddings_of_a_tokenizer_with_added_tokens_go_on(tmp_path: Path) -> None:
    """To a vocabulary that lacks them, and from one."""
    added = opened(tmp_path / "1", "bpe, added")
    spaced = opened(tmp_path / "2", "bpe, a space by tokenizer_config.json")
    plain = trained("bpe")
    assert transfer(added, plain).sources == [(index,) for index in range(400)]
    there = transfer(plain, added)
    assert there.sources[:400] == [(index,) for index in range(400)]
    assert plain.token(there.sources[401][0]).startswith("Ġ")
    assert transfer(spaced, plain).sources == [(index,) for index in range(400)]


def test_a_length_is_kept_and_bounded(tmp_path: Path) -> None:
    for stated, limit, expected in ((128, 512, 128), (10**30, 512, 512), (None, 512, 512), (600, 512, 512)):
        there = write(tmp_path / str(stated), "vocab", tokenizer_config__json={"model_max_length": stated})
        tokenizer = Tokenizer.load(there)
        assert tokenizer.max_length == (stated if stated in (128, 600) else None)
        tokenizer.limited(limit).save(there)
        assert json.loads((there / "tokenizer_config.json").read_text())["model_max_length"] == expected
        assert Tokenizer.load(there).hash == tokenizer.hash


def test_warnings_are_few(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files that agree say nothing."""
    with caplog.at_level(logging.WARNING):
        for kind in ("bpe", "unigram"):
            Tokenizer.load(write(tmp_path / kind, kind))
        Tokenizer.load(published())
    assert not caplog.records
