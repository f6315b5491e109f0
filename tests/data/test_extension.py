"""A source of text, a tokenizer and a rows policy by their recipes: one file and one line of a table for each."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxbert.commands.main import main
from jaxbert.config import DataConfig
from jaxbert.data.from_source import make_rows
from jaxbert.data.pipeline import Rows
from jaxbert.data.policies import POLICIES
from jaxbert.data.shards import read_manifest
from jaxbert.data.sources import SOURCES, SourceKind
from jaxbert.text.tokenizers import REGISTRY, Tokenizer, train_tokenizer

SOURCE = '''
"""`counting:N`: documents that count to 1, 2, ... N."""

from jaxbert.data.sources.base import Document, Source


class Counting(Source):
    def __init__(self, rest):
        self.spec, self.last, self.licence = f"counting:{rest}", int(rest), "CC0-1.0"

    def documents(self):
        for end in range(1, self.last + 1):
            yield Document(f"to {end}", "".join(f"The number is {number}.\\n" for number in range(1, end + 1)))

    def describe(self):
        return {"spec": self.spec}
'''

POLICY = '''
"""`reversed`: one document a row, cut at its end, its pieces of four tokens in the opposite order."""

import numpy as np

from jaxbert.data.policies.segments import NO_PAIR, Policy, Segments


def cut(shard, length, short_rows, draws):
    bounds = shard.sentences[shard.documents]
    width = (length - 2) // 5
    count = len(bounds) - 1
    starts, lengths = np.zeros((2, count, width), np.int64)
    for row, (begin, end) in enumerate(zip(bounds[:-1], bounds[1:])):
        pieces = [(at, min(4, end - at)) for at in range(begin, end, 4)][:width][::-1]
        for place, (start, size) in enumerate(pieces):
            starts[row, place], lengths[row, place] = start, size
    documents = np.repeat(np.arange(count)[:, None], width, axis=1)
    labels = np.full(count, NO_PAIR)
    return Segments(starts, lengths, documents, labels, truncated=len(shard.tokens) - int(lengths.sum()), oversized=0)


POLICY = Policy(
    cut, arrangement="joined", segments=lambda length: (length - 2) // 5, sentences=False, drawn=False, shortest=12
)
'''

TOKENIZER = '''
"""`characters`: each character is a piece."""

import json

from jaxbert.text.tokenizers.base import Kind, Specials, Tokenizer

SPECIALS = Specials("<p>", "<u>", "<c>", "<s>", "<m>")


class Characters(Tokenizer):
    kind = "characters"
    specials = SPECIALS
    joint = " "

    def __init__(self, vocab):
        super().__init__(vocab, lowercase=False, starts_word=lambda piece: piece == " ", where="", fix="")

    def _decides(self):
        return {"kind": self.kind, "vocab": self.vocab}

    def _files(self):
        vocab = json.dumps(self.vocab)
        return {"characters.json": vocab, "tokenizer.json": json.dumps({"model": {"type": "Characters"}})}

    def encode_batch(self, texts, *, special_tokens=False):
        return [[self.id(char) for char in text] for text in texts]

    def encode_offsets(self, texts, *, special_tokens=False):
        return [(self.encode(text), [(at, at + 1) for at in range(len(text))]) for text in texts]

    def decode(self, ids):
        return "".join(self.vocab[index] for index in ids)


def train(texts, *, vocab_size, lowercase, where):
    found = sorted(set("".join(texts)))
    return Characters([*SPECIALS, *found, *(f"<{number}>" for number in range(vocab_size - len(found) - 5))])


def load(directory):
    return Characters(json.loads((directory / "characters.json").read_text()))


KIND = Kind(train, load, model="Characters", files=(("characters.json",),), keeps_case=True)
'''


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three files, and three lines."""
    (tmp_path / "lib").mkdir()
    for name, text in {"toy_source": SOURCE, "toy_policy": POLICY, "toy_tokenizer": TOKENIZER}.items():
        (tmp_path / "lib" / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    import toy_policy
    import toy_source
    import toy_tokenizer

    monkeypatch.setitem(SOURCES, "counting", SourceKind(toy_source.Counting, "NUMBER"))
    monkeypatch.setitem(POLICIES, "reversed", toy_policy.POLICY)
    monkeypatch.setitem(REGISTRY, "characters", toy_tokenizer.KIND)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("added")
def test_the_commands_take_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tokenizer", "counting:30", "--kind", "characters", "--vocab-size", "40", "--out", "tok"]) == 0
    assert "cased characters" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    assert "counting:NUMBER" in capsys.readouterr().out
    prepare = ["prepare", "counting:30", "--tokenizer", "tok", "--workers", "1", "--out", "records"]
    assert main([*prepare, "--validation-fraction", "0.2"]) == 0
    rows = ["rows", "records", "--policy", "reversed", "--length", "32", "--workers", "1", "--out", "rows"]
    assert main(rows) == 0
    assert "(reversed)" in capsys.readouterr().out
    manifest = read_manifest(Path("rows"), "rows")
    assert manifest["policy"] == "reversed" and manifest["provenance"]["licence"] == "CC0-1.0"
    made, tokenizer = Rows("rows", "train"), Tokenizer.load("rows/tokenizer")
    assert len(made) == manifest["counts"]["train"] > 10
    # The pieces of a row are in the opposite order: the beginning of the document, "The number", ends the row.
    texts = [tokenizer.decode(row[row > 0]) for row in made.read(np.arange(len(made)))["tokens"]]
    assert all(text.startswith("<c>") and text.endswith("<s>numb<s>The <s>") for text in texts)
    # jaxbert knows the files of the new tokenizer as its files, so that --overwrite replaces them.
    assert main([*prepare, "--validation-fraction", "0.3", "--overwrite"]) == 0


@pytest.mark.usefixtures("added")
def test_a_config_names_them(tmp_path: Path) -> None:
    config = DataConfig(
        source="counting:30", tokenizer_kind="characters", policy="reversed", lowercase=False, validation_fraction=0.2
    )
    options = {"vocab_size": 40, "lengths": [16, 32], "seed": 0, "workers": 1, "sentence_structure": False}
    made = make_rows(config, out=tmp_path / "out", **options)
    assert {length: len(Rows(path, "train").read(np.arange(2))["tokens"][0]) for length, path in made.items()} == {
        16: 16,
        32: 32,
    }


@pytest.mark.usefixtures("added")
def test_the_tokenizer_is_found_by_its_files(tmp_path: Path) -> None:
    made = train_tokenizer("characters", ["some text"], vocab_size=20, lowercase=False)
    made.save(tmp_path / "made")
    assert Tokenizer.load(tmp_path / "made").hash == made.hash
    (tmp_path / "made" / "tokenizer.json").unlink()
    assert Tokenizer.present(tmp_path / "made") and Tokenizer.load(tmp_path / "made").kind == "characters"
    (tmp_path / "made" / "tokenizer.json").write_text(json.dumps({"model": {"type": "Characters"}}))
    assert Tokenizer.load(tmp_path / "made").vocab_size == 20
