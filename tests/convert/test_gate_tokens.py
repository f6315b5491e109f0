"""The export gate sees tokenizers, and an export keeps what a published model says beside its encoder.

Here transformers is not installed; `make test-peers` runs the gate with it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import jaxbert
from jaxbert.commands.main import main
from jaxbert.convert.gate_tokens import judge_tokens, texts
from jaxbert.errors import InputError, Stopped
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.embed import embed
from jaxbert.use.predict import fill_mask
from tests.text.tokenizer_files import CASES, IDS, published, trained, two, vocabulary, write

GOLDEN = Path(__file__).parent.parent / "goldens" / "bert_pretraining"
# The golden model has 97 pieces; the last two are added tokens here.
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{index}" for index in range(90))]
TEXT = "the [NEW] w3 Supercalifragilistic"


def model(directory: Path, **values: Any) -> Path:
    """A published model whose vocabulary has two added tokens."""
    directory.mkdir(parents=True)
    shutil.copy(GOLDEN / "model.safetensors", directory)
    config = json.loads((GOLDEN / "config.json").read_text()) | values
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (directory / "added_tokens.json").write_text(json.dumps({"[NEW]": 95, "supercalifragilistic": 96}))
    return directory


def test_texts_go_through_the_vocabulary() -> None:
    for tokenizer in (Tokenizer.load(published()), trained("bpe"), trained("unigram")):
        given = texts(tokenizer)
        assert len(given) == len(set(given)) == 50
        assert all(any(name in text for text in given) for name in tokenizer.specials)
        joined = "".join(given)
        alphabet = {char for piece in tokenizer.vocab for char in piece if char.isprintable()}
        assert len(alphabet & set(joined)) > min(0.9 * len(alphabet), 900)


@pytest.mark.parametrize("case", [case for case in CASES if "," not in case or "normalized" in case])
def test_the_gate_lets_equal_tokenizers_pass(case: str, tmp_path: Path) -> None:
    kind, change, files = CASES[case]
    tokenizer = Tokenizer.load(write(tmp_path / "there", kind, change, **files))
    tokenizer.save(tmp_path / "out")
    assert judge_tokens(tmp_path / "out", tokenizer).startswith("50 texts have the same token ids by tokenizers ")
    assert all(any(token.content in text for text in texts(tokenizer)) for token in tokenizer.further)


@pytest.mark.parametrize("kind", ["bert", "bpe"])
def test_the_gate_stops_where_added_tokens_are_lost(kind: str, tmp_path: Path) -> None:
    """By the source's own files: what was loaded and what was written agree."""
    first = {"bert": 30522, "bpe": 400}[kind]
    without = Tokenizer.load(write(tmp_path / "without", kind))
    without.save(tmp_path / "out")
    judge_tokens(tmp_path / "out", without)
    without.source = write(tmp_path / "there", kind, two(first))
    with pytest.raises(Stopped, match=r"has lost the added token .*there.*E-GATE-TOKENS"):
        judge_tokens(tmp_path / "out", without)


def test_the_gate_stops_where_the_written_file_is_wrong(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write(tmp_path / "there", "bert"))
    tokenizer.save(tmp_path / "out")
    path = tmp_path / "out" / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"lowercase": true', '"lowercase": false'))
    with pytest.raises(Stopped, match=r"out.*E-GATE-TOKENS"):
        judge_tokens(tmp_path / "out", tokenizer)


@pytest.mark.parametrize("part", ["single", "pair"])
def test_the_gate_stops_where_the_written_file_puts_no_special_tokens(part: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write(tmp_path / "there", "bert"))
    tokenizer.save(tmp_path / "out")
    path = tmp_path / "out" / "tokenizer.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    whole["post_processor"][part] = [entry for entry in whole["post_processor"][part] if "Sequence" in entry]
    path.write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(Stopped, match=r"out.*E-GATE-TOKENS"):
        judge_tokens(tmp_path / "out", tokenizer)


@pytest.mark.parametrize("kind", ["vocab", "bpe"])
def test_the_gate_reads_a_vocabulary_without_tokenizer_json(kind: str, tmp_path: Path) -> None:
    """By the Rust library, which reads the source's own files."""
    there = write(tmp_path / "there", kind, **({} if kind == "vocab" else {"tokenizer__json": None}))
    tokenizer = Tokenizer.load(there)
    tokenizer.save(tmp_path / "out")
    assert "not compared" not in judge_tokens(tmp_path / "out", tokenizer)
    # As if `load` had exchanged two pieces, in what it read and so in what was written.
    if kind == "vocab":
        pieces = (there / "vocab.txt").read_text(encoding="utf-8").split("\n")
        first, second = (pieces.index(char) for char in "ab")
        pieces[first], pieces[second] = pieces[second], pieces[first]
        (there / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    else:
        ids = json.loads((there / "vocab.json").read_text(encoding="utf-8"))
        ids["a"], ids["b"] = ids["b"], ids["a"]
        (there / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    with pytest.raises(Stopped, match=r"gives other ids.*there.*E-GATE-TOKENS"):
        judge_tokens(tmp_path / "out", tokenizer)


def test_the_gate_says_what_it_could_not_compare(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write(tmp_path / "there", "unigram", tokenizer__json=None))
    tokenizer.save(tmp_path / "out")
    said = judge_tokens(tmp_path / "out", tokenizer)
    assert said.startswith("50 texts have the same token ids by tokenizers ")
    assert said.endswith("; the source's own files were not compared: only transformers reads them beside us")


@pytest.mark.parametrize(("kind", "said"), [("vocab", "capitals are kept"), ("bpe", "the mask takes the space before")])
def test_the_gate_says_what_the_files_do_not(kind: str, said: str, tmp_path: Path) -> None:
    """Readers disagree where files leave it open, so they are told; the export states it."""
    files: dict[str, Any] = (
        {"vocab__txt": vocabulary(also="Hello")}
        if kind == "vocab"
        else dict.fromkeys(("tokenizer__json", "tokenizer_config__json", "special_tokens_map__json"))
    )
    tokenizer = Tokenizer.load(write(tmp_path / "there", kind, **files))
    tokenizer.save(tmp_path / "out")
    assert f"; as the source's files do not say: {said}" in judge_tokens(tmp_path / "out", tokenizer)
    again = Tokenizer.load(tmp_path / "out")
    assert again.hash == tokenizer.hash
    (tmp_path / "out" / "tokenizer.json").unlink()
    assert "do not say" not in judge_tokens(tmp_path / "out", again)


def test_each_added_token_comes_in_each_form(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write(tmp_path / "there", "vocab", added_tokens__json=IDS))
    given = texts(tokenizer)
    for name in ("[NEW]", "supercalifragilistic"):
        assert all(any(form in text for text in given) for form in (f" {name} ", f"  {name}\n", name.title()))


def test_added_tokens_go_through_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = model(tmp_path / "there")
    loaded = jaxbert.load(there)
    assert loaded.batch([TEXT])["tokens"].tolist() == [[2, 1, 95, 8, 96, 3]]
    other = jaxbert.load(there)
    assert not (embed(loaded, ["w1 [NEW]"]) == embed(other, ["w1 w2"])).all()
    (predicted,) = fill_mask(loaded, ["[NEW] [MASK]"], top=97)
    assert {"[new]", "supercalifragilistic"} <= {candidate.token.lower() for candidate in predicted.candidates}
    assert main(["convert", str(there), str(tmp_path / "out"), "--to", "hf"]) == 0
    assert "50 texts have the same token ids by" in capsys.readouterr().out
    assert jaxbert.load(tmp_path / "out").batch([TEXT])["tokens"].tolist() == [[2, 1, 95, 8, 96, 3]]
    assert json.loads((tmp_path / "out" / "added_tokens.json").read_text()) == {"[NEW]": 95, "supercalifragilistic": 96}


def test_an_export_names_its_longest_row_and_keeps_what_others_use(tmp_path: Path) -> None:
    kept = {"classifier_dropout": 0.3, "bos_token_id": None, "eos_token_id": 3}
    there = model(tmp_path / "there", pad_token_id=1, **kept)
    loaded = jaxbert.load(there)
    loaded.save(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["pad_token_id"] == 0 and {key: config[key] for key in kept} == kept
    settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert settings["model_max_length"] == loaded.config.longest_row == 17
    # Without a tokenizer, the padding is that of the config.
    for path in (there / "vocab.txt", there / "added_tokens.json"):
        path.unlink()
    jaxbert.load(there).save(tmp_path / "bare")
    assert json.loads((tmp_path / "bare" / "config.json").read_text())["pad_token_id"] == 1
    assert jaxbert.load(tmp_path / "bare").kept == {"pad_token_id": 1, **kept}


@pytest.mark.parametrize("names", [{"1": "a", "2": "b"}, {"0": 0, "1": 1}, {"0": [1]}])
def test_names_of_classes_matter_only_to_a_classifier(names: Any, tmp_path: Path) -> None:
    there = model(tmp_path / "there", id2label=names, problem_type=3)
    assert jaxbert.load(there).labels is None
    (tmp_path / "there" / "config.json").write_text(
        json.dumps(
            json.loads((there / "config.json").read_text()) | {"architectures": ["BertForSequenceClassification"]}
        )
    )
    with pytest.raises(InputError, match="E-CONVERT-LABELS"):
        jaxbert.load(there)


def test_numbers_name_classes(tmp_path: Path) -> None:
    loaded = jaxbert.load(model(tmp_path / "there"), heads={"sequence_classification": 2}, drop=["cls.*"])
    loaded.save(tmp_path / "out")
    path = tmp_path / "out" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"id2label": {"0": 1, "1": 2.5}}))
    labels = jaxbert.load(tmp_path / "out").labels
    assert labels is not None and labels.names == ("1", "2.5")


def test_the_older_layout_of_sentence_transformers(tmp_path: Path) -> None:
    model(tmp_path / "st" / "0_Transformer")
    modules = [
        {"idx": 0, "name": "0", "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (tmp_path / "st" / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "st" / "1_Pooling").mkdir()
    (tmp_path / "st" / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    for place in (tmp_path / "st", tmp_path / "st" / "0_Transformer"):
        loaded = jaxbert.load(place)
        assert loaded.layout is not None and loaded.layout.pooling == "cls"
        assert loaded.tokenizer is not None and loaded.tokenizer.vocab_size == 97


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 440473133\n"


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.txt", "config.json", "added_tokens.json"])
def test_a_pointer_of_git_lfs_is_called_so(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = model(tmp_path / "there")
    (there / name).write_text(POINTER)
    assert main(["convert", str(there), str(tmp_path / "out"), "--to", "hf"]) == 2
    said = capsys.readouterr().err
    assert "Git LFS pointer" in said and name in said and "git lfs pull" in said and "E-FILE-POINTER" in said


@pytest.mark.parametrize("name", ["flax_model.msgpack", "spiece.model"])
def test_other_files_that_are_pointers(name: str, tmp_path: Path) -> None:
    there = model(tmp_path / "there")
    if name == "flax_model.msgpack":
        (there / "model.safetensors").unlink()
    else:
        (there / "vocab.txt").unlink()
        (there / "added_tokens.json").unlink()
    (there / name).write_text(POINTER)
    with pytest.raises(InputError, match=f"{name}.*E-FILE-POINTER"):
        jaxbert.load(there)
