"""From a source to rows in one call: what it asks of the others, and in what order."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from jaxbert.config import DataConfig
from jaxbert.data import from_source
from jaxbert.data.sources import open_source
from jaxbert.data.split import drawn
from jaxbert.errors import InputError


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    # Each document has a letter that no other has.
    letters = "abcdefghijklmnopqrstuvwxyz"
    documents = [f"The {letter * 3} stands here. So does {letter}{letter}." for letter in letters]
    (tmp_path / "a.txt").write_text("\n\n".join(documents) + "\n")
    return DataConfig(source=f"text:{tmp_path}/a.txt", validation_fraction=0.3)


def make(config: DataConfig, out: Path, length: int = 32) -> None:
    from_source.make_rows(
        config,
        vocab_size=200,
        lengths=[length],
        seed=1,
        out=out,
        workers=1,
        sentence_structure=False,
    )


def test_held_out_text_does_not_train_the_vocabulary(config: DataConfig, tmp_path: Path) -> None:
    documents = list(drawn(open_source(config.source).documents(), 0.3))
    held_out = {document.text[4] for document in documents if document.split == "validation"} - set(
        "thestandsheresodoes"
    )
    trained = {document.text[4] for document in documents if document.split == "train"}
    make(config, tmp_path / "out")
    vocabulary = set((tmp_path / "out" / "tokenizer" / "vocab.txt").read_text().splitlines())
    assert held_out and not held_out & vocabulary and trained <= vocabulary
    assert (tmp_path / "out" / f"rows-{config.policy}-32" / "manifest.json").is_file()


def test_rows_that_cannot_be_made_are_refused_first(config: DataConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"length is 4.*E-ROWS-ARGUMENT"):
        make(config, tmp_path / "out", length=4)
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_of_another_size_is_refused(config: DataConfig, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "stands", "here"]
    (tmp_path / "own" / "vocab.txt").write_text("\n".join(pieces) + "\n")
    with pytest.raises(InputError, match=r"7 pieces, .* 200.*E-TOKENIZER-SIZE"):
        make(dataclasses.replace(config, tokenizer=str(tmp_path / "own")), tmp_path / "out")
    assert not (tmp_path / "out").exists()
