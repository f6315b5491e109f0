"""Byte-level BPE: RoBERTa's ids, its layout of special tokens, and files that are not its."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers as rust

from jaxbert.config import EncoderConfig
from jaxbert.errors import InputError
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer
from jaxbert.text.tokenizers.bpe import ByteLevelBPE
from jaxbert.use.library import Loaded

GOLDEN = json.loads((Path(__file__).parents[1] / "goldens" / "roberta_bpe.json").read_text(encoding="utf-8"))
TEXTS = ["The naïve café\u2019s “menu” has 3,000 entries.", "Rivers run  to the sea,\nthe sea is wide."] * 20


def golden() -> tuple[ByteLevelBPE, list[int]]:
    """(RoBERTa's tokenizer cut down to what the golden texts need, the true id of each of its ids)."""
    merges = [tuple(merge.split(" ")) for merge in GOLDEN["merges"]]
    return ByteLevelBPE(list(GOLDEN["ids"]), merges), list(GOLDEN["ids"].values())


def test_ids_are_those_of_the_published_files() -> None:
    tokenizer, true = golden()
    for text, expected in GOLDEN["texts"].items():
        ids = [tokenizer.cls_id, *tokenizer.encode(text, special_tokens=True), tokenizer.sep_id]
        assert [true[index] for index in ids] == expected
    assert GOLDEN["texts"]["Hello world!"] == [0, 31414, 232, 328, 2]
    assert (
        tokenizer.decode(tokenizer.encode("naïve café — “quotes” … 東京 🙂🙂")) == "naïve café — “quotes” … 東京 🙂🙂"
    )
    assert [tokenizer.token(index) for index in tokenizer.encode(" of France is")] == ["Ġof", "ĠFrance", "Ġis"]


def test_special_tokens_stand_where_fairseq_has_them() -> None:
    tokenizer = train_tokenizer("bpe", TEXTS, vocab_size=320, lowercase=False)
    assert tokenizer.vocab[:4] == ["<s>", "<pad>", "</s>", "<unk>"]
    assert tokenizer.vocab[-1] == "<mask>" and tokenizer.mask_id == 319
    assert (tokenizer.cls_id, tokenizer.pad_id, tokenizer.sep_id, tokenizer.unk_id) == (0, 1, 2, 3)
    assert (tokenizer.joint, tokenizer.pair_separators, tokenizer.pair_types) == (" ", 2, False)


def test_every_text_comes_back() -> None:
    tokenizer = train_tokenizer("bpe", TEXTS, vocab_size=320, lowercase=False)
    text = "".join(map(chr, range(0x250))) + " e\u0301 한국어 🙂  \n\t x"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text and tokenizer.unk_id not in ids


def test_white_space_is_learned_with_its_word() -> None:
    tokenizer = train_tokenizer("bpe", ["so it is,   so it was\n\n\nso it is"] * 30, vocab_size=300, lowercase=False)
    assert {"Ġit", "Ġis", "Ġso", "ĊĊ"} <= set(tokenizer.vocab)
    assert tokenizer.word_start[[tokenizer.id(piece) for piece in ("Ġit", "Ġ", "Ċ", "ĊĊ", "ĉ")]].all()
    assert not tokenizer.word_start[[tokenizer.id(piece) for piece in ("i", ",", "Ã", "¡")]].any()


def test_uncased_is_refused_before_the_text_is_read() -> None:
    def texts() -> Any:
        raise AssertionError("read")
        yield ""

    with pytest.raises(InputError, match="E-TOKENIZER-CASE") as caught:
        train_tokenizer("bpe", texts(), vocab_size=300, lowercase=True)
    assert "data.lowercase=false" in caught.value.fix


def test_rows_have_two_separators_and_one_type() -> None:
    tokenizer, _ = golden()
    config = EncoderConfig(vocab_size=tokenizer.vocab_size, hidden_size=8, num_heads=1, max_positions=16)
    cls, sep, pad = tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id
    batch = Loaded("golden", config, {}, tokenizer).batch([("Q", "qz"), "Q"])
    one, two, three = (tokenizer.id(piece) for piece in "Qqz")
    assert batch["tokens"].tolist() == [[cls, one, sep, sep, two, three, sep], [cls, one, sep, pad, pad, pad, pad]]
    assert not batch["types"].any() and batch["group"].sum(1).tolist() == [7, 3]
    cut = Loaded("golden", config, {}, tokenizer).batch([("qqqq", "zzz"), "qqqqqqqq"], length=8)["tokens"]
    assert cut.tolist() == [[cls, two, two, sep, sep, three, three, sep], [cls, *[two] * 6, sep]]
    with pytest.raises(InputError, match=r"6 \.\. 16.*E-MODEL-LENGTH"):
        Loaded("golden", config, {}, tokenizer).batch(["a"], length=5)


def test_others_open_the_files(tmp_path: Path) -> None:
    tokenizer = train_tokenizer("bpe", TEXTS, vocab_size=320, lowercase=False)
    tokenizer.save(tmp_path)
    peer = rust.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in [*TEXTS[:2], "Rivers run to <mask> the </s>", *GOLDEN["texts"]]:
        assert peer.encode(text).ids == [0, *tokenizer.encode(text, special_tokens=True), 2]
    assert peer.encode("a", "b").ids == [0, tokenizer.id("a"), 2, 2, tokenizer.id("b"), 2]
    assert set(peer.encode("a", "b").type_ids) == {0}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "merges.txt",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
    ]


def test_fillers_that_a_vocabulary_leaves_out(tmp_path: Path) -> None:
    tokenizer = train_tokenizer("bpe", TEXTS, vocab_size=1000, lowercase=False)
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    ids = {piece: index for index, piece in enumerate(tokenizer.vocab)}
    last = max(int(piece[-4:]) for piece in ids if piece.startswith("madeupword"))
    few = {piece: index for piece, index in ids.items() if piece not in ("madeupword0000", "madeupword0001")}
    few["other"] = few.pop(f"madeupword{last:04d}")
    few = {piece: index for piece, index in few.items() if not piece.startswith("madeupword") or index > last}
    (tmp_path / "vocab.json").write_text(json.dumps(ids | {"other": 1000}), encoding="utf-8")
    assert Tokenizer.load(tmp_path).vocab == [*tokenizer.vocab, "other"]
    (tmp_path / "vocab.json").write_text(json.dumps(ids | {"other": 1003}), encoding="utf-8")
    names = [f"madeupword{last + number:04d}" for number in (1, 2, 3)]  # The others are taken.
    assert Tokenizer.load(tmp_path).vocab == [*tokenizer.vocab, *names, "other"]
    (tmp_path / "vocab.json").write_text(json.dumps(ids | {"other": 10_000}), encoding="utf-8")
    with pytest.raises(InputError, match="E-TOKENIZER-FILE"):
        Tokenizer.load(tmp_path)


def test_files_that_are_not_roberta_s(tmp_path: Path) -> None:
    tokenizer = train_tokenizer("bpe", TEXTS, vocab_size=320, lowercase=False)
    tokenizer.save(tmp_path)
    good = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    pre_tokenizer, model = good["pre_tokenizer"], good["model"]
    table: list[tuple[dict[str, Any], str]] = [
        ({"normalizer": {"type": "NFC"}}, "E-TOKENIZER-KIND"),
        ({"pre_tokenizer": {"type": "Metaspace"}}, "E-TOKENIZER-KIND"),
        ({"pre_tokenizer": pre_tokenizer | {"use_regex": False}}, "E-TOKENIZER-KIND"),
        ({"model": model | {"continuing_subword_prefix": "##"}}, "E-TOKENIZER-KIND"),
        ({"model": model | {"merges": ["a b c"]}}, "not a merge.*E-TOKENIZER-FILE"),
        ({"model": model | {"merges": ["zz qq"]}}, "lacks 3 pieces.*E-TOKENIZER-VOCABULARY"),
        ({"model": model | {"vocab": {"a": 70}}}, "0 .. V-1.*E-TOKENIZER-FILE"),
        ({"model": model | {"vocab": {"a": 0, "b": 0}}}, "0 .. V-1.*E-TOKENIZER-FILE"),
        ({"added_tokens": 5}, "E-TOKENIZER-FILE"),
        ({"added_tokens": [{"content": "new"}]}, "added or special tokens.*E-TOKENIZER-FILE"),
        ({"model": model | {"merges": ["a"]}}, "not a merge.*E-TOKENIZER-FILE"),
    ]
    for change, what in table:
        (tmp_path / "tokenizer.json").write_text(json.dumps(good | change), encoding="utf-8")
        with pytest.raises(InputError, match=what) as caught:
            Tokenizer.load(tmp_path)
        assert str(tmp_path) in str(caught.value)
    # As libraries of before 2024 wrote it: no type, merges as text.
    old = {key: value for key, value in model.items() if key != "type"}
    old["merges"] = [" ".join(merge) for merge in model["merges"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(good | {"model": old}), encoding="utf-8")
    assert Tokenizer.load(tmp_path).hash == tokenizer.hash
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text(json.dumps({"a": "b"}), encoding="utf-8")
    with pytest.raises(InputError, match="E-TOKENIZER-FILE"):
        Tokenizer.load(tmp_path)
