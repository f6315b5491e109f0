"""The sentences that a run predicts at each evaluation, and the page that it writes as it goes."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging

import numpy as np
import pytest

from jaxbert.config import find_config
from jaxbert.data.pipeline import Rows
from jaxbert.errors import InputError
from jaxbert.report import live
from jaxbert.report import page as page_module
from jaxbert.report.read import read_run
from jaxbert.run.pretrain import pretrain
from jaxbert.run.samples import chosen, named
from jaxbert.stores.workdir import PREDICTIONS
from jaxbert.text.scripts import letters_of_word, marks
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.text.tokenizers.wordpiece import SPECIALS, Normalisation, WordPiece
from jaxbert.use.library import load
from jaxbert.use.predict import fill_mask


@pytest.fixture(scope="module")
def rows(tiny):
    return Rows(tiny / "rows-segment_pair-32", "validation")


@pytest.fixture(scope="module")
def tokenizer(rows):
    return Tokenizer.load(rows.directory / "tokenizer")


@pytest.fixture(scope="module")
def run(tiny_config, tmp_path_factory):
    """(config, workdir) of a run that has ended."""
    workdir = tmp_path_factory.mktemp("samples") / "run"
    config = find_config(str(tiny_config))
    pretrain(config, workdir)
    return config, workdir


def lines_of(workdir):
    return [json.loads(line) for line in (workdir / PREDICTIONS).read_text().splitlines()]


def test_sentences_of_the_rows_have_one_whole_word_masked(rows, tokenizer):
    found = chosen(rows, tokenizer, 4, 30)
    assert len(found) == 4 == len({one.text for one in found}) and found == chosen(rows, tokenizer, 4, 30)
    for one in found:
        assert one.ids[one.at] == tokenizer.mask_id and list(one.ids).count(tokenizer.mask_id) == 1
        assert one.text.split().count("[MASK]") == 1 and 3 <= len(one.ids) <= 30
        # The true word begins a word and is all of it, and it is in the rows at this place.
        assert tokenizer.word_start[one.truth] and tokenizer.decode([one.truth]).isalpha()
        assert one.at + 1 == len(one.ids) or tokenizer.word_start[one.ids[one.at + 1]]
        whole = [*one.ids[: one.at], one.truth, *one.ids[one.at + 1 :]]
        text = " ".join(map(str, whole))
        assert any(text in " ".join(map(str, tokens.tolist())) for tokens in rows.read(range(len(rows)))["tokens"])


def test_no_sentence_begins_inside_a_word(rows, tokenizer):
    """A row may begin there, where the row before it was full; the sentences behind such a beginning are taken."""
    inside = int(np.flatnonzero(~tokenizer.word_start & ~tokenizer.special)[0])
    pieces = tokenizer.encode("the dog sees the house.", special_tokens=False)

    def of(row):
        class Rows:
            def __len__(self):
                return 1

            def read(self, indices):
                kind = [("tokens", np.int32, len(row)), ("group", np.int32, len(row))]
                return np.array([(row, [1] * len(row))], kind)

        return chosen(Rows(), tokenizer, 5, 30)

    assert of([inside, *pieces]) == [] == of([tokenizer.cls_id])
    # The first sentence of a row may have begun before it, so the whole one behind it is better.
    for row in ([inside, *pieces, *pieces], [*pieces[1:], *pieces]):
        found = of(row)
        assert found and all(len(one.ids) == len(pieces) for one in found)
        assert all(one.at == 0 or one.ids[0] == pieces[0] for one in found)
    assert of(pieces)


WORDS = {
    "hi": ("नदी किताब पानी लड़की दुनिया हिन्दी कहानी बिल्ली सितारे मिट्टी", "।"),
    "ta": ("மரங்கள் வீடுகள் நதிகள் குழந்தை புத்தகம் பறவைகள் கதைகள் மொழிகள் விளக்கு கோயில்", "."),
    "th": ("น้ำ บ้าน ต้นไม้ หนังสือ ผู้หญิง เรื่อง เมืองนี้ พี่น้อง ที่ดิน ชื่อนี้", "."),
}


@pytest.mark.parametrize("language", WORDS)
def test_words_with_vowel_signs_are_words(language):
    """Signs and tones are marks and no letters, and most words of these languages have them."""
    short, end = WORDS[language][0].split(), WORDS[language][1]
    words = [one + other for one, other in zip(short, [*short[1:], short[0]], strict=True)]
    tokenizer = WordPiece([*SPECIALS, *words, "का", end], Normalisation(lowercase=False, strip_accents=False))
    ids = {word: tokenizer.id(word) for word in (*words, end)}
    # Ten rows, of which each has another word in the middle of its sentences.
    turned = [[*words[at:], *words[:at], end] for at in range(10)]
    made = np.zeros(10, [("tokens", np.int32, 22), ("group", np.int32, 22)])
    made["tokens"], made["group"] = [[ids[word] for word in 2 * row] for row in turned], 1

    class Rows:
        def __len__(self):
            return len(made)

        def read(self, indices):
            return made[indices]

    found = chosen(Rows(), tokenizer, 5, 30)
    assert len({one.truth for one in found}) == 5
    assert all(marks(tokenizer.decode([one.truth])) for one in found)
    # The length counts letters, as in other languages.
    assert [letters_of_word(word) for word in ("บ้าน", "नदी", "house", "x1", "")] == [3, 2, 5, 0, 0]


def test_there_are_no_more_sentences_than_the_rows_have(rows, tokenizer):
    class Few:
        def __len__(self):
            return 1

        def read(self, indices):
            return rows.read(np.zeros(len(indices), int))

    found = chosen(Few(), tokenizer, 40, 30)
    assert 0 < len(found) < 40 and len({one.text for one in found}) == len(found)
    assert chosen(rows, tokenizer, 0, 30) == []


def test_a_sentence_of_the_user(tokenizer, caplog):
    one = named("The [MASK] sees the house.", tokenizer, 30)
    assert one.truth is None and one.ids[one.at] == tokenizer.mask_id and one.text == "The [MASK] sees the house."
    long = named("the dog " * 40 + "[MASK]" + " the cat" * 40, tokenizer, 20)
    assert len(long.ids) == 20 and long.ids[long.at] == tokenizer.mask_id
    assert named("[MASK] and [MASK]", tokenizer, 30) is None and "2 masks" in caplog.text


def test_a_config_needs_a_mask_in_each_sentence(run, tmp_path):
    config, _ = run
    wrong = dataclasses.replace(config, logging=dataclasses.replace(config.logging, sentences=("no mask",)))
    with pytest.raises(InputError, match="E-CONFIG-SENTENCE"):
        pretrain(wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_each_evaluation_predicts_the_same_sentences(run):
    _, workdir = run
    lines = lines_of(workdir)
    assert [line["step"] for line in lines] == [step for step in (8, 16, 24) for _ in range(5)]
    assert len({line["sentence"] for line in lines}) == 5
    for line in lines:
        shares = [share for _, share in line["words"]]
        assert len(shares) == 5 and shares == sorted(shares, reverse=True) and 0 < line["probability"] <= shares[0]
        known = dict(line["words"])
        assert known.get(line["truth"], line["probability"]) == line["probability"]


def test_predictions_are_those_of_fill_mask(run):
    """The last line of each sentence, and `jaxbert fill-mask` on its text with the checkpoint of the same step."""
    _, workdir = run
    model = load(workdir)
    compared = 0
    for line in lines_of(workdir)[-5:]:
        if model.ids(line["sentence"]).count(model.tokenizer.mask_id) == 1:
            (filled,) = fill_mask(model, [line["sentence"]])
            found = [(one.token, one.probability) for one in filled.candidates]
            assert [word for word, _ in line["words"]] == [word for word, _ in found]
            np.testing.assert_allclose([share for _, share in line["words"]], [share for _, share in found], atol=2e-5)
            compared += 1
    assert compared


def test_the_page_is_written_as_the_run_goes(run):
    _, workdir = run
    page = (workdir / "report.html").read_text(encoding="utf-8")
    found = read_run(workdir, "run")
    assert "finished, 24 steps" in page and "Probability of the true word" in page
    assert len(found.predictions) == 15 and found.processes[0].facts["started"].endswith("UTC")
    assert found.parameters == sum(np.size(x) for x in _leaves(load(workdir).params))


def _leaves(tree):
    return [leaf for value in tree.values() for leaf in (_leaves(value) if hasattr(value, "values") else [value])]


def test_a_page_that_cannot_be_written_is_said_once(tmp_path, monkeypatch, caplog):
    def fails(*arguments, **options):
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as full:
        full.setattr(live, "write_report", fails)
        page = live.LivePage(tmp_path)
        with caplog.at_level(logging.WARNING):
            page.write()
            page.write()
        assert caplog.text.count("no room") == 1 and "the run goes on without it" in caplog.text
        live.LivePage(tmp_path, enabled=False).write()
    # The disk has room again.
    written = []
    monkeypatch.setattr(live, "write_report", lambda workdirs, **options: written.extend(workdirs))
    page.write()
    assert written == [tmp_path]


def test_a_run_whose_page_cannot_be_written_goes_on_to_the_same_bits(run, tmp_path, monkeypatch, caplog):
    """The disk is full for the page only: every other file is as that of the run whose disk has room."""
    config, whole = run

    def fails(path, content, **options):
        raise OSError(errno.ENOSPC, "no room for the page", str(path))

    monkeypatch.setattr(page_module, "write_whole", fails)
    with caplog.at_level(logging.WARNING):
        pretrain(config, tmp_path / "run")
    assert caplog.text.count("no room for the page") == 1 == caplog.text.count("the run goes on without it")
    assert not (tmp_path / "run" / "report.html").exists()
    for name in ("metrics.jsonl", PREDICTIONS):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes()
