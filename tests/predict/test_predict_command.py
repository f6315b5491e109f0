"""`jaxbert predict`: files in, JSON lines out, in order, and nothing left out."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.commands.main import main
from jaxbert.config import PhaseConfig, RunConfig, ScheduleConfig, save_json
from jaxbert.convert.read import Labels
from jaxbert.convert.sentence_transformers import SentenceLayout
from jaxbert.labelled.examples import TextExample, to_json
from jaxbert.tasks.vectors import SentenceVectorsConfig
from jaxbert.use import task_files, tasks
from jaxbert.use.embed import embed
from jaxbert.use.learned import like_training
from jaxbert.use.library import Loaded
from jaxbert.use.task_files import predict_file
from tests.predict.conftest import with_head

TEXTS = ["w1 w2 w3", "", " ".join(f"w{word}" for word in range(40)), "w5 w4"]


@pytest.fixture(scope="module")
def places(
    classifier: Loaded, tagger: Loaded, reader: Loaded, chooser: Loaded, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The models as files."""
    made = tmp_path_factory.mktemp("models")
    models = {"classifier": classifier, "tagger": tagger, "reader": reader, "chooser": chooser}
    for name, model in models.items():
        model.save(made / name)
    return {name: str(made / name) for name in models}


def printed(capsys: pytest.CaptureFixture[str], *words: Any) -> list[dict[str, Any]]:
    assert main(["predict", *map(str, words)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_texts_of_every_form_get_the_same(places, classifier: Loaded, tmp_path: Path, capsys):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS) + "\n")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(("\n".join(TEXTS) + "\n").encode()))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    table = io.StringIO()
    csv.writer(table).writerows([["key", "review", "label"], *([f"k{n}", text, "?"] for n, text in enumerate(TEXTS))])
    (tmp_path / "a.csv").write_text(table.getvalue())
    found = printed(capsys, places["classifier"], tmp_path / "a.txt")
    assert [one["text"] for one in found] == TEXTS and [one["id"] for one in found] == ["0", "1", "2", "3"]
    for one, result in zip(found, classifier.classify(TEXTS), strict=True):
        assert (one["label"],) == result.labels
        assert one["probabilities"] == pytest.approx(dict(result.probabilities), abs=1e-5)
        assert one["probability"] == max(one["probabilities"].values()) == next(iter(one["probabilities"].values()))
    for name in ("a.txt.gz", "a.jsonl"):
        assert printed(capsys, places["classifier"], tmp_path / name) == found
    named = printed(capsys, places["classifier"], tmp_path / "a.csv", "--columns", "text=review", "id=key", "--top", 1)
    assert [one["id"] for one in named] == ["k0", "k1", "k2", "k3"]
    assert [(one["label"], len(one["probabilities"])) for one in named] == [(one["label"], 1) for one in found]


def test_vectors(places, classifier: Loaded, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    """Each text, and each text of a pair, has the vector of `embed`, also where a pair is in two windows."""
    monkeypatch.setattr(tasks, "WINDOW", 1)
    monkeypatch.setattr(tasks, "_CHUNK", 1)
    records = [{"id": str(n), "text": text, "pair": TEXTS[n - 1]} for n, text in enumerate(TEXTS)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    words = [tmp_path / "a.jsonl", "--task", "sentence_vectors", "--max-length", 32, "--batch-tokens", 32]
    found = printed(capsys, places["classifier"], *words)
    wanted = embed(classifier, TEXTS, normalize=True, max_length=32)
    assert [one["text"] for one in found] == TEXTS
    for number, one in enumerate(found):
        np.testing.assert_allclose(one["vector"], wanted[number], atol=1e-5)
        np.testing.assert_allclose(one["pair_vector"], wanted[number - 1], atol=1e-5)
    (tmp_path / "a.txt").write_text("\n".join(TEXTS) + "\n")
    lines = printed(capsys, places["classifier"], tmp_path / "a.txt", *words[1:])
    np.testing.assert_allclose([one["vector"] for one in lines], wanted, atol=1e-5)
    assert all("pair_vector" not in one for one in lines)


def test_a_run_of_vectors_gives_vectors(model: Loaded, tmp_path: Path):
    phases = (PhaseConfig(length=20, schedule=ScheduleConfig(warmup_steps=0)),)
    save_json(RunConfig(name="vectors", task=SentenceVectorsConfig(), phases=phases), tmp_path / "config.json")
    run = Loaded("here", model.config, model.params, model.tokenizer, path=tmp_path, step=3)
    assert tasks.kind_of_model(run) == "sentence_vectors"
    (part,) = tasks.predict_stream(run, "", [TextExample(text=" ".join(["w1"] * 50))])
    assert part.counts.tokens == 20, "the length of the run"
    assert tasks.trained_layout(run) == SentenceLayout("mean", normalize=True, max_length=20)
    assert tasks.trained_layout(model) == SentenceLayout("mean")


def test_standard_input(places, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a").write_text("w1\nw2\n")
    with open(tmp_path / "a") as file:
        before = os.dup(0)
        os.dup2(file.fileno(), 0)
        try:
            found = printed(capsys, places["classifier"], "-")
        finally:
            os.dup2(before, 0)
            os.close(before)
    assert [one["text"] for one in found] == ["w1", "w2"]


def test_entities(places, tagger: Loaded, tmp_path: Path, capsys):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"id": text[:3], "text": text}) + "\n" for text in TEXTS))
    (tmp_path / "a.conll").write_text("w1 B-LOC\nw2 I-LOC\n\nw3 O\n")
    found = printed(capsys, places["tagger"], tmp_path / "a.jsonl")
    for one, result in zip(found, tagger.tag(TEXTS), strict=True):
        assert [(e["label"], e["start"], e["end"]) for e in one["entities"]] == [
            (e.label, e.start, e.end) for e in result.entities
        ]
    assert found[0]["id"] == "w1 " and any(one["entities"] for one in found)
    assert [one["text"] for one in printed(capsys, places["tagger"], tmp_path / "a.conll")] == ["w1 w2", "w3"]


def test_labels_of_words(places, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(task_files, "labels_of", lambda model: ("NOUN",))
    (tmp_path / "a.txt").write_text("w1 w2\n")
    (one,) = printed(capsys, places["tagger"], tmp_path / "a.txt")
    assert one["words"] == ["w1", "w2"] and len(one["tags"]) == 2 and "entities" not in one


def test_answers(places, reader: Loaded, tmp_path: Path, capsys):
    questions = [("w1 w2", "w3 w4 w5 w6"), ("w9", " ")]
    asked = [{"id": f"q{n}", "question": q, "context": c} for n, (q, c) in enumerate(questions)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    found = printed(capsys, places["reader"], tmp_path / "a.jsonl", "--top", 2)
    best, _ = reader.answer(questions, candidates=2)
    assert (found[0]["answer"], found[0]["start"], found[0]["id"]) == (best.text, best.start, "q0")
    assert found[0]["score"] == pytest.approx(best.score, abs=1e-4) and len(found[0]["candidates"]) == 2
    assert (found[1]["answer"], found[1]["start"], found[1]["score"]) == ("", None, None)
    qas = [{"id": "x", "question": "w1 w2", "answers": []}]
    paragraphs = [{"context": "w3 w4 w5 w6", "qas": qas}]
    (tmp_path / "squad.json").write_text(
        json.dumps({"version": "v2.0", "data": [{"title": "", "paragraphs": paragraphs}]})
    )
    (one,) = printed(capsys, places["reader"], tmp_path / "squad.json", "--null-threshold", -1000)
    assert (one["id"], one["answer"], one["end"]) == ("x", "", None) and one["candidates"][0]["text"] == best.text


def test_choices(places, chooser: Loaded, tmp_path: Path, capsys):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "w1", "choices": ["w2", "w3", "w4"], "label": 9}) + "\n")
    (one,) = printed(capsys, places["chooser"], tmp_path / "a.jsonl")
    (expected,) = chooser.choose([("w1", ["w2", "w3", "w4"])])
    assert (one["choice"], one["answer"]) == (expected.choice, expected.text)
    assert one["probabilities"] == pytest.approx(list(expected.probabilities), abs=1e-5)


def test_results_in_a_file(places, tmp_path: Path, capsys):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS) + "\n")
    common = [places["classifier"], tmp_path / "a.txt", "--max-length", 10]
    lines = printed(capsys, *common)
    out, figures = tmp_path / "out.jsonl", tmp_path / "figures"
    assert main(["predict", *map(str, common), "--out", str(out), "--json", str(figures)]) == 0
    assert [json.loads(line) for line in out.read_text().splitlines()] == lines
    shown = capsys.readouterr().out
    assert "4 texts" in shown and "too long: 1, cut by 32 tokens" in shown and f"wrote {out}" in shown
    counts = json.loads(figures.read_text())
    assert (counts["task"], counts["examples"], counts["cut_examples"]) == ("classification", 4, 1)
    assert main(["predict", *map(str, common), "--out", str(out)]) == 2
    assert "E-PREDICT-OUT" in capsys.readouterr().err
    assert main(["predict", *map(str, common), "--out", str(out), "--overwrite"]) == 0


def test_what_is_cut_is_said_beside_the_results(places, tmp_path: Path, capsys):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS) + "\n")
    assert main(["predict", places["classifier"], str(tmp_path / "a.txt"), "--max-length", "10"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 4 and "cut by 32 tokens" in said.err


WRONG = {
    "reader": {
        "a.json": '{"data": [{"paragraphs": [{"context": "w1", "qas": [{"question": "w1", "id": 1, "answers": '
        '[{"text": "w9", "answer_start": 5}]}, {"question": "w1", "id": 2, "answers": "?", "is_impossible": 3}]}]}]}',
        "a.jsonl": '{"question": "w1", "context": "w1", "answers": ["w9"], "answer_start": [7, 8]}\n' * 2,
    },
    "tagger": {
        "a.jsonl": '{"tokens": ["w1", "w2"], "tags": ["O"]}\n{"tokens": ["w1"], "tags": 5}\n',
        "b.jsonl": '{"text": "w1", "entities": [[0, 9, "X"]]}\n{"text": "w1", "entities": "?"}\n',
        "a.conll": "w1 B-X\nw2 NOUN\nw3\n\nw1 w2 w3\n",
        "a.csv": "tokens,tags\nw1,['O' 'O']\nw2,O\n",
    },
    "chooser": {"a.csv": "text,A,B,label\nw1,w2,w3,Z\nw1,w2,w3,9\n"},
    "classifier": {"a.jsonl": '{"text": "w1", "label": true}\n{"text": "w1", "label": {}}\n'},
}


@pytest.mark.parametrize("name", WRONG)
def test_answers_are_not_looked_at(places, tmp_path: Path, capsys, name: str):
    for file, content in WRONG[name].items():
        (tmp_path / file).write_text(content)
        assert len(printed(capsys, places[name], tmp_path / file)) == 2, file
    # A column that the user names for another command is not looked at either.
    if name == "classifier":
        assert len(printed(capsys, places[name], tmp_path / "a.jsonl", "--columns", "label=label")) == 2


def test_labels_that_are_given_have_a_probability(model: Loaded, tmp_path: Path, capsys):
    names = tuple(f"label {number}" for number in range(12))
    with_head(model, "sequence_classification", 12, Labels(names, "multi_label_classification")).save(tmp_path / "m")
    (tmp_path / "a.txt").write_text("w1 w2\nw3 w9\n")
    found = printed(capsys, tmp_path / "m", tmp_path / "a.txt", "--top", 1)
    assert max(len(one["labels"]) for one in found) > 1
    assert all(set(one["labels"]) <= set(one["probabilities"]) for one in found)


@pytest.mark.parametrize("pairs", [True, False])
def test_texts_unlike_those_of_the_run(pairs: bool, classifier: Loaded, tmp_path: Path, caplog):
    (tmp_path / "data" / "rows-x").mkdir(parents=True)
    texts = [TextExample(text="w1", pair="w2"), TextExample(text="w1", pair="w2")]
    singles = [TextExample(text="w1"), TextExample(text="w2")]
    lines = [json.dumps(to_json(one)) for one in (texts if pairs else singles)]
    (tmp_path / "data" / "rows-x" / "examples-train.jsonl").write_text("\n".join(lines))
    run = Loaded("run", classifier.config, classifier.params, classifier.tokenizer, path=tmp_path, step=1)
    assert list(like_training(run.path, "run", "a.csv", iter(texts if pairs else singles))) and not caplog.text
    assert len(list(like_training(run.path, "run", "a.csv", iter(singles if pairs else texts)))) == 2
    assert caplog.text.count("a.csv: ") == 1 and "but run learned from" in caplog.text
    caplog.clear()
    # Other models say nothing of their texts.
    assert list(like_training(None, "m", "a.csv", iter(singles))) and not caplog.text


def test_a_line_comes_before_all_texts_are_read(places, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tasks, "WINDOW", 4)
    monkeypatch.setattr(tasks, "_CHUNK", 8)
    read = 0

    def texts(file: str):
        nonlocal read
        for number in range(400):
            read = number + 1
            yield f"line {number}", "w1 w2 w3"

    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(task_files, "open_texts", texts)
    predict_file(
        places["classifier"], "a.txt", write=lambda lines: seen.append((read, lines.count("\n"))), batch_tokens=64
    )
    assert seen[0][0] < 200 and sum(lines for _, lines in seen) == 400


@pytest.mark.parametrize(
    ("name", "words", "code"),
    [
        ("classifier", ["empty.jsonl"], "E-SOURCE-EMPTY"),
        ("classifier", ["no.csv"], "E-SOURCE-FILE"),
        ("classifier", ["a.txt", "--columns", "text=x"], "E-PREDICT-FORM"),
        ("classifier", ["a.txt", "--columns", "text"], "E-LABELLED-COLUMN"),
        ("classifier", ["a.jsonl", "--columns", "text=x"], "E-LABELLED-COLUMN"),
        ("classifier", ["a.jsonl", "--task", "token_labels"], "E-MODEL-HEAD"),
        ("classifier", ["a.jsonl", "--task", "x"], "E-PREDICT-TASK"),
        ("classifier", ["a.jsonl", "--top", "0"], "E-PREDICT-TOP"),
        ("classifier", ["a.jsonl", "--split", "train"], "E-PREDICT-OPTION"),
        ("classifier", ["a.jsonl", "--null-threshold", "1"], "E-PREDICT-OPTION"),
        ("classifier", ["a.jsonl", "--max-length", "1"], "E-EMBED-LENGTH"),
        ("classifier", ["a.jsonl", "--out", "no/out"], "E-PREDICT-OUT"),
        ("classifier", ["a.jsonl", "--out", "."], "E-PREDICT-OUT"),
        ("classifier", ["a.jsonl", "--out", "a.jsonl", "--overwrite"], "E-PREDICT-OUT"),
        ("reader", ["a.txt"], "E-PREDICT-FORM"),
        ("reader", ["a.jsonl"], "E-LABELLED-COLUMN"),
    ],
)
def test_what_does_not_fit_is_refused(
    places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, name: str, words: list[str], code: str
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"text": "w1"}\n')
    (tmp_path / "a.txt").write_text("w1\n")
    (tmp_path / "empty.jsonl").write_text("")
    assert main(["predict", places[name], *words]) == 2
    assert f"[{code}]" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "a.txt", "empty.jsonl"]


def test_a_file_without_texts(places, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys):
    monkeypatch.setattr(task_files, "open_texts", lambda file: iter(()))
    assert main(["predict", places["classifier"], "a.txt", "--out", str(tmp_path / "out")]) == 2
    assert "[E-PREDICT-EMPTY]" in capsys.readouterr().err and not (tmp_path / "out").exists()
