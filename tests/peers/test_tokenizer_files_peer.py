"""Compares tokenizers in oddly shaped files, and our exports of them, with transformers' AutoTokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import transformers

from jaxbert.convert.gate_tokens import judge_tokens, texts
from jaxbert.errors import InputError, Stopped
from jaxbert.text.tokenizers import Tokenizer
from tests.text.tokenizer_files import CASES, TEXTS, cased, trained, vocabulary, write


def auto(directory: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(str(directory))


def compare(directory: Path) -> Tokenizer:
    """Compares the ids of both, and of what both read in our export."""
    ours = Tokenizer.load(directory)
    out = directory.with_name("out")
    ours.save(out)
    shutil.copy(directory / "config.json", out)
    again = Tokenizer.load(out)
    assert again.hash == ours.hash and again.vocab == ours.vocab
    given = [*TEXTS, *texts(ours)]
    expected = auto(directory)(given)["input_ids"]
    for tokenizer in (ours, again):
        ids = tokenizer.encode_batch(given, special_tokens=True)
        for text, found, theirs in zip(given, ids, expected, strict=True):
            assert [tokenizer.cls_id, *found, tokenizer.sep_id] == theirs, text
    assert auto(out)(given)["input_ids"] == expected
    assert "50 texts have the same token ids by transformers" in judge_tokens(out, ours)
    return ours


@pytest.mark.parametrize("case", CASES)
def test_odd_files(case: str, tmp_path: Path) -> None:
    kind, change, files = CASES[case]
    compare(write(tmp_path / "there", kind, change, **files))


@pytest.mark.parametrize("settings", [{}, {"do_lower_case": False}, {"keep_accents": True}])
def test_albert_without_its_sentencepiece_model(settings: dict[str, Any], tmp_path: Path) -> None:
    trained("unigram").save(tmp_path / "ours")
    whole = json.loads((tmp_path / "ours" / "tokenizer.json").read_text(encoding="utf-8"))
    there = tmp_path / "there"
    peer = transformers.AlbertTokenizer(vocab=[tuple(piece) for piece in whole["model"]["vocab"]], **settings)
    peer.add_tokens(["supercalifragilistic"])
    peer.save_pretrained(there)
    (there / "config.json").write_text(json.dumps({"model_type": "albert"}))
    assert not list(there.glob("*.model"))
    assert compare(there).vocab_size == 181
    # tokenizer_config.json wins here too.
    config = json.loads((there / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["do_lower_case"] = not config["do_lower_case"]
    (there / "tokenizer_config.json").write_text(json.dumps(config))
    shutil.rmtree(tmp_path / "out")
    assert compare(there).lowercase == config["do_lower_case"]


def test_the_gate_stops_where_nothing_says_the_case(tmp_path: Path) -> None:
    """transformers lower-cases without do_lower_case, and the files of a cased tokenizer mean the other."""
    there = write(tmp_path / "there", "bert", cased)
    ours = Tokenizer.load(there)
    ours.save(tmp_path / "out")
    with pytest.raises(Stopped, match=r"there.*do_lower_case.*E-GATE-TOKENS"):
        judge_tokens(tmp_path / "out", ours)


def test_the_gate_tells_transformers_what_the_files_leave_open(tmp_path: Path) -> None:
    """The mask of a vocab.json without a config, and the case of a vocab.txt with capitals."""
    bare = dict.fromkeys(("tokenizer__json", "tokenizer_config__json", "special_tokens_map__json"))
    cased = {"vocab__txt": vocabulary(also="Hello")}
    for kind, files, said in (("bpe", bare, "the mask takes the space"), ("vocab", cased, "capitals are kept")):
        ours = Tokenizer.load(write(tmp_path / kind, kind, **files))
        ours.save(tmp_path / f"{kind}-out")
        shutil.copy(tmp_path / kind / "config.json", tmp_path / f"{kind}-out")
        line = judge_tokens(tmp_path / f"{kind}-out", ours)
        assert "by transformers" in line and f"do not say: {said}" in line


@pytest.mark.parametrize("name", ["MPNet", "Splinter"])
def test_classes_that_we_refuse_put_other_special_tokens_there(name: str, tmp_path: Path) -> None:
    config = {"tokenizer_class": f"{name}Tokenizer"}
    there = write(tmp_path / "there", "bert", tokenizer_config__json=config)
    assert auto(there)("a", "b")["input_ids"] != [101, 1037, 102, 1038, 102]
    with pytest.raises(InputError, match="E-TOKENIZER-CLASS"):
        Tokenizer.load(there)


def test_a_tokenizer_that_needs_mecab(tmp_path: Path) -> None:
    for name in ("tokenizer_config__json", "config__json"):
        there = write(
            tmp_path / name, "vocab", **{name: {"model_type": "bert", "tokenizer_class": "BertJapaneseTokenizer"}}
        )
        with pytest.raises(InputError, match=r"fugashi.*E-TOKENIZER-CLASS"):
            Tokenizer.load(there)
