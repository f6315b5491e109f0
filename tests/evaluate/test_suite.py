"""Suites: each kind of task on a tiny model, the table, and what a suite's file may not have."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from scipy import stats

from jaxbert.commands.main import main
from jaxbert.convert.read import Labels
from jaxbert.core import metrics as naming
from jaxbert.errors import InputError
from jaxbert.evaluate.likelihood import score
from jaxbert.evaluate.suite import cloze, masked_lm, running, table
from jaxbert.evaluate.suite.base import Kind, Outcome, Setting, Task, mean_of_groups, without_interval
from jaxbert.evaluate.suite.finetuned import FineTuned, FineTuning
from jaxbert.evaluate.suite.kinds import KINDS
from jaxbert.evaluate.suite.reading import read_suite
from jaxbert.evaluate.suite.robustness import PERTURBATIONS
from jaxbert.models.model import Model
from jaxbert.report.judged import read_robustness
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.embed import embed
from jaxbert.use.library import Loaded, load
from jaxbert.use.predict import fill_mask
from jaxbert.use.texts import open_texts
from tests.evaluate import models

SENTENCES = [f"w{n} w{n * 3 % 40} ab w{n * 7 % 40}, w{n * 11 % 40} aba w{n * 13 % 40}." for n in range(24)]


def jsonl(path: Path, records: Sequence[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path.name


def suite_of(place: Path, *tasks: Mapping[str, Any]) -> str:
    (place / "suite.json").write_text(json.dumps({"name": "tiny", "tasks": tasks}))
    return str(place / "suite.json")


@pytest.fixture(scope="module")
def classifier(bert: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder of `bert` with a classifier of two labels."""
    heads = ("pooler", "masked_lm", "sequence_classification")
    fresh = jax.jit(Model(bert.config, heads, sizes={"sequence_classification": {"labels": 2}}).init)(jax.random.key(3))
    params = {**fresh, "encoder": bert.params["encoder"], "masked_lm": bert.params["masked_lm"]}
    written = tmp_path_factory.mktemp("models") / "classifier"
    Loaded("here", bert.config, params, bert.tokenizer, labels=Labels(("no", "yes"))).save(written)
    return written


@pytest.fixture
def tasks(tmp_path: Path) -> list[dict[str, Any]]:
    """A task of each kind that needs no trainer, with its files in `tmp_path`."""
    pairs = [
        {"sentence_good": one, "sentence_bad": f"{one} w9", "UID": f"u{n % 2}", "field": "syntax"}
        for n, one in enumerate(SENTENCES)
    ]
    similar = [
        {"sentence1": one, "sentence2": SENTENCES[n - 1], "score": n * 7 % 5} for n, one in enumerate(SENTENCES[:12])
    ]
    clozes = [{"text": f"w1 [MASK] w{n}", "answer": "w2"} for n in range(9)] + [{"text": "w1 [MASK]", "answer": "abba"}]
    clozes.append({"text": "w1 [MASK]", "answer": "zebra"})
    labelled = [{"text": one, "label": ("no", "yes")[n % 2]} for n, one in enumerate(SENTENCES)]
    counter = [
        {"text": f"w{n}", "label": "no", "counterfactual": f"w{n} aba", "counterfactual_label": "yes"} for n in range(4)
    ]
    templates = [{"template": "{term} w1 w2."}, {"template": "w3 {term} w4"}, {"first": "w5", "second": "w6"}]
    (tmp_path / "a.txt").write_text("\n".join(SENTENCES[:12]) + "\n")
    (tmp_path / "b.txt").write_text("\n".join(SENTENCES[12:]) + "\n")
    jsonl(tmp_path / "counter.jsonl", counter)
    return [
        {"name": "pairs", "kind": "minimal_pairs", "files": [jsonl(tmp_path / "pairs.jsonl", pairs)]},
        {"name": "alike", "kind": "similarity", "files": [jsonl(tmp_path / "alike.jsonl", similar)]},
        {"name": "cloze", "kind": "cloze", "files": [jsonl(tmp_path / "cloze.jsonl", clozes)], "metric": "accuracy_5"},
        {"name": "words", "kind": "masked_lm", "files": ["a.txt", "b.txt"], "options": {"words": 20}},
        {"name": "space", "kind": "geometry", "files": ["a.txt"], "options": {"neighbours": 2}},
        {
            "name": "robust",
            "kind": "robustness",
            "files": [jsonl(tmp_path / "labelled.jsonl", labelled)],
            "options": {"counterfactuals": ["counter.jsonl"]},
        },
        {
            "name": "bias",
            "kind": "bias",
            "files": [jsonl(tmp_path / "templates.jsonl", templates)],
            "options": {"terms": [["w7", "w8"], ["aba", "bab"]]},
        },
    ]


def test_every_kind(
    tasks: list[dict[str, Any]], classifier: Path, bert: Loaded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command for all, compared with what the functions behind the kinds give."""
    assert {task["kind"] for task in tasks} | {"finetuned"} == set(KINDS)
    (tmp_path / "corpus.txt").write_text(
        f"Something else.\n\nw0 {SENTENCES[3]} and {SENTENCES[4].upper()}\n\nw7 w1 w2\n"
    )
    out = tmp_path / "results.json"
    words = ["evaluate", str(classifier), "--suite", suite_of(tmp_path, *tasks)]
    assert main([*words, "--corpus", str(tmp_path / "corpus.txt"), "--json", str(out)]) == 0
    results = json.loads(out.read_text())
    shown = capsys.readouterr().out
    found = results["results"][str(classifier)]
    assert list(found) == [task["name"] for task in tasks] == list(results["tasks"])
    values = {name: {key: one["value"] for key, one in task["values"].items()} for name, task in found.items()}
    for name, task in found.items():
        metrics = [one.name for one in naming.from_json(results["tasks"][name]["metrics"])]
        assert sorted(values[name]) == sorted(metrics)
        for one in task["values"].values():
            assert one["low"] is None or one["low"] <= one["value"] <= one["high"]

    good = score(bert, SENTENCES) - score(bert, [f"{one} w9" for one in SENTENCES])
    assert values["pairs"]["accuracy"] == (good > 0).mean()
    assert found["pairs"]["details"]["by_uid"]["u1"]["accuracy"] == (good[1::2] > 0).mean()

    vectors = embed(bert, SENTENCES, normalize=True)[:12]
    cosines = (vectors * np.roll(vectors, 1, axis=0)).sum(axis=1)
    cosines[0] = float(vectors[0] @ embed(bert, SENTENCES, normalize=True)[-1])
    assert values["alike"]["spearman"] == pytest.approx(stats.spearmanr(cosines, [n * 7 % 5 for n in range(12)])[0])

    filled = fill_mask(bert, [f"w1 [MASK] w{n}" for n in range(9)], top=5)
    best = [[candidate.token for candidate in one.candidates] for one in filled]
    assert values["cloze"]["accuracy_1"] == sum(one[0] == "w2" for one in best) / 11
    assert values["cloze"]["accuracy_5"] == sum("w2" in one for one in best) / 11
    assert "1 of 11 answers are several pieces" in found["cloze"]["notes"][0]
    assert "1 of 11 answers are unknown words" in found["cloze"]["notes"][1]

    details = found["words"]["details"]
    assert set(details["by_file"]) == {"a.txt", "b.txt"} and details["frequencies"] == "of the training corpus"
    total = sum(one["words"] for one in details["by_frequency"].values())
    assert total == details["masked_words"] == sum(one["words"] for one in details["by_file"].values()) > 10

    assert -1 <= values["space"]["anisotropy"] <= 1 and 0 < values["space"]["first_component"] <= 1
    # Pairs that share a text are not independent: pair by pair the interval would be narrower.
    space = found["space"]["values"]["anisotropy"]
    alone = embed(bert, SENTENCES[:12], normalize=True)
    pairs = (alone @ alone.T)[np.triu_indices(12, 1)]
    assert space["high"] - space["low"] > 2 * 1.96 * pairs.std() / len(pairs) ** 0.5
    assert 1 <= values["space"]["dimensions"] <= 12 and len(found["space"]["details"]["neighbours"]) == 2

    robust = found["robust"]["details"]
    assert set(robust["by_perturbation"]) == set(PERTURBATIONS) and robust["counterfactuals"]["pairs"] == 4
    both = 100 * robust["counterfactuals"]["both"]["value"]
    assert re.search(rf"^ +counterfactual pairs +both texts right +4 +{both:.1f}%", shown, re.MULTILINE)
    assert results["tasks"]["robust"]["examples"] == 24, "pairs are no further examples"
    # The vocabulary has small letters only, so that upper case changes nothing.
    assert robust["by_perturbation"]["upper_case"]["drop"]["value"] == 0
    drop = values["robust"]["accuracy"] - values["robust"]["perturbed_accuracy"]
    assert values["robust"]["drop"] == pytest.approx(drop)

    # The page of a fine-tuned run reads the same file.
    damaged: list[str] = []
    (changed,) = read_robustness(out, damaged)
    assert damaged == [] and set(changed.changed) == set(PERTURBATIONS) and changed.pairs == 4
    assert changed.plain is not None and changed.plain.value == pytest.approx(values["robust"]["accuracy"])

    texts = ["W7 w1 w2.", "W8 w1 w2.", "Aba w1 w2.", "Bab w1 w2.", "w3 w7 w4", "w3 w8 w4", "w3 aba w4", "w3 bab w4"]
    scores = score(bert, [*texts, "w5", "w6"])
    assert values["bias"]["effect"] == pytest.approx((scores[::2] - scores[1::2]).mean(), abs=1e-4)

    # Sentences 3 and 4 are in the corpus, in other case too; a text of two words is not looked for.
    assert found["pairs"]["found"]["overlap"] == 2 and found["pairs"]["found"]["whole"] == 2
    assert found["pairs"]["found"]["places"][0].endswith("pairs.jsonl, line 4")
    left = [n for n in range(24) if n not in (3, 4)]
    assert found["pairs"]["without_found"]["examples"] == 22
    assert found["pairs"]["without_found"]["values"]["accuracy"]["value"] == pytest.approx((good[left] > 0).mean())
    assert found["alike"]["without_found"]["examples"] == 12 - 3
    assert found["cloze"]["found"]["looked_for"] == 9 and found["cloze"]["without_found"] is None
    assert "pairs: 2 of 24 examples are in it, 2 of them whole" in shown
    assert "without those in the corpus" in shown and "2 are too short to look for" in shown


def test_models_side_by_side(
    tasks: list[dict[str, Any]], classifier: Path, directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks[0]["options"] = {"limit": 6, "mask": "word"}
    words = ["evaluate", str(classifier), str(directory), "--suite", suite_of(tmp_path, tasks[0], tasks[4])]
    assert main(words) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[1].split()[-2:] == [str(classifier), str(directory)]
    # Both have the same encoder and masked-LM head.
    cells = [one.strip() for one in rows[2].split("  ") if one.strip()]
    assert cells[:3] == ["pairs", "accuracy", "6"] and cells[3] == cells[4]
    assert "6 of 24 examples" in "\n".join(rows)
    # A model without the head is refused before anything is computed.
    assert main([*words[:-1], suite_of(tmp_path, tasks[0], tasks[5])]) == 2
    assert "E-MODEL-HEAD" in capsys.readouterr().err


def test_nothing_is_left_out_in_silence(
    tasks: list[dict[str, Any]], classifier: Path, bert: Loaded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Texts that are cut, passages that are too short, sentences without a token; and two files of one name."""
    pairs, alike, _, words, space, robust, bias = tasks
    long = " ".join(["w1"] * 70)
    jsonl(tmp_path / "pairs.jsonl", [{"sentence_good": "w1", "sentence_bad": "[SEP]"}])
    jsonl(tmp_path / "alike.jsonl", [{"sentence1": f"w{n}", "sentence2": long, "score": n} for n in range(4)])
    (tmp_path / "a.txt").write_text(f"w1\nw2\n{long}\n")
    jsonl(tmp_path / "labelled.jsonl", [{"text": long, "label": "no"}, {"text": "w1", "label": "yes"}])
    jsonl(tmp_path / "templates.jsonl", [{"first": "[SEP]", "second": "w6"}])
    (tmp_path / "more").mkdir()
    for place, sentences in ((tmp_path, SENTENCES[:2]), (tmp_path / "more", SENTENCES[2:4])):
        (place / "c.txt").write_text("".join(f"{one}\n\n" for one in sentences) + "w1 w2\n")
    count = sum(len(one.split()) for one in SENTENCES[:2])
    words = {**words, "files": ["c.txt", "more/c.txt"], "options": {"words": count}}
    suite = suite_of(tmp_path, pairs, alike, words, space, robust, {**bias, "options": {}})
    found = running.evaluate_suite([str(classifier)], suite)["results"][str(classifier)]
    cut = f"texts have more than the model's {bert.config.longest_row} tokens, and are cut."
    assert found["pairs"]["notes"] == ["1 text without a token to score, with the score 0."] == found["bias"]["notes"]
    assert found["alike"]["notes"] == [f"1 of 5 {cut}"]
    assert found["space"]["notes"] == [f"1 of 3 {cut}"]
    assert found["robust"]["notes"] == [f"1 of 10 {cut}"]
    assert len(found["words"]["details"]["by_file"]) == 2
    assert caplog.text.count("1 passage of fewer than 4 words left out") == 2
    # A model of several labels answers another question.
    several = Labels(("no", "yes"), "multi_label_classification")
    Loaded("here", bert.config, load(classifier).params, bert.tokenizer, labels=several).save(tmp_path / "several")
    with pytest.raises(InputError, match=r"another problem than one label a text.*E-SUITE-ITEM"):
        running.evaluate_suite([str(tmp_path / "several")], suite_of(tmp_path, robust))
    # Its runs judge all examples.
    with pytest.raises(InputError, match=r"the kind finetuned has no option 'limit'.*E-SUITE-KEY"):
        read_suite(suite_of(tmp_path, {"name": "x", "kind": "finetuned", "files": ["a"], "options": {"limit": 5}}))


def test_a_trainer_gives_the_scores_of_seeds(directory: Path, tmp_path: Path) -> None:
    file = jsonl(tmp_path / "labelled.jsonl", [{"words": one, "label": "yes"} for one in SENTENCES])
    options = {"seeds": 2, "settings": ["task.epochs=5"], "columns": {"text": "words"}}
    task = {"name": "mine", "kind": "finetuned", "files": [file, file], "options": options}
    asked = []

    parts: list[Any] = [None, [{"accuracy": 0.25}, {"accuracy": 0.35}]]

    def train(model: str, runs: FineTuning) -> FineTuned:
        asked.append((model, runs))
        scores = [{"accuracy": 0.5, "macro_f1": 0.1}, {"accuracy": 0.7, "macro_f1": 0.3}]
        return FineTuned(
            naming.Metric("accuracy", "accuracy", "acc"),
            scores,
            [1],
            lambda kept: (numbers.append(kept), parts[len(numbers) - 1])[1],
        )

    numbers: list[Sequence[int]] = []
    (tmp_path / "corpus.txt").write_text(SENTENCES[0] + "\n")
    results = running.evaluate_suite(
        [str(directory)], suite_of(tmp_path, task), corpus=str(tmp_path / "corpus.txt"), finetune=train
    )
    (model, runs), found = asked[0], results["results"][str(directory)]["mine"]
    assert (model, runs.config.name, runs.seeds, runs.split) == (str(directory), "classify", 2, "validation")
    data = runs.config.task.data  # type: ignore[attr-defined]
    assert (data.train, data.validation, data.columns) == (*[str(tmp_path / file)] * 2, ("text=words",))
    expected = stats.ttest_1samp([0.5, 0.7], 0).confidence_interval()
    assert found["values"]["score"]["value"] == pytest.approx(0.6)
    assert found["values"]["score"]["high"] == pytest.approx(expected.high)
    # The examples that are in the corpus are named; a run that has not kept its outputs cannot leave them out.
    assert found["found"]["overlap"] == 1 and found["without_found"] is None
    shown = "\n".join(table.lines(results))
    assert "accuracy on the validation split" in shown and "1 of 2 seeds did not learn (seed 1)" in shown
    assert re.search(r"without those in the corpus +not known", shown) and found["details"]["failed"] == [1]
    results = running.evaluate_suite(
        [str(directory)], suite_of(tmp_path, task), corpus=str(tmp_path / "corpus.txt"), finetune=train
    )
    rest = results["results"][str(directory)]["mine"]["without_found"]
    assert rest["examples"] == len(SENTENCES) - 1 and rest["values"]["score"]["value"] == pytest.approx(0.3)
    assert re.search(rf"without those in the corpus +{len(SENTENCES) - 1} +30\.0%", "\n".join(table.lines(results)))
    assert numbers == [list(range(1, len(SENTENCES)))] * 2
    for change, message in (
        ({}, "E-SUITE-FINETUNE"),
        ({"files": [file] * 4}, "at most 3 files.*E-SUITE-ITEM"),
        ({"options": {"config": "smoke"}}, "without labels.*E-SUITE-OPTION"),
        ({"options": {"config": "no"}}, "E-CONFIG-MISSING"),
    ):
        with pytest.raises(InputError, match=message):
            running.evaluate_suite([str(directory)], suite_of(tmp_path, {**task, **change}))


class Lengths(Kind[str]):
    """The recipe of a new kind: the mean number of tokens of a line."""

    metrics = (naming.Metric("tokens", "tokens a line", "tokens", "number"),)

    def read(self, task: Task) -> list[str]:
        return [text for file in task.files for _, text in open_texts(file)]

    def texts(self, item: str) -> Sequence[str]:
        return (item,)

    def place(self, item: str) -> str:
        return item

    def answer(self, model: Loaded, items: Sequence[str], task: Task, setting: Setting) -> Sequence[int]:
        return [len(model.ids(item)) for item in items]

    def score(self, task: Task, items: Sequence[str], answers: Sequence[int], setting: Setting) -> Outcome:
        return Outcome({"tokens": without_interval(float(np.mean(answers)))})


def test_a_new_kind(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(KINDS, "lengths", Lengths())
    (tmp_path / "a.txt").write_text("w1 w2\nw1 w2 abb w3\n")
    (tmp_path / "corpus.txt").write_text("w1 w2 abb w3\n")
    suite = suite_of(tmp_path, {"name": "long", "kind": "lengths", "files": ["a.txt"]})
    assert main(["evaluate", str(directory), "--suite", suite, "--corpus", str(tmp_path / "corpus.txt")]) == 0
    rows = [row.split() for row in capsys.readouterr().out.splitlines()]
    assert rows[2] == ["long", "tokens", "a", "line", "2", "4.0000"] and rows[3][-2:] == ["1", "2.0000"]


def test_the_corpus_of_a_run(directory: Path, tasks: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a run.*E-SUITE-CORPUS"):
        running.evaluate_suite([str(directory)], suite_of(tmp_path, tasks[0]), corpus=running.OWN_CORPUS)
    with pytest.raises(InputError, match="E-SUITE-MODEL"):
        running.evaluate_suite([str(directory)] * 2, suite_of(tmp_path, tasks[0]))
    from jaxbert.config import DataConfig, RunConfig, save_json

    run = tmp_path / "run"
    run.mkdir()
    save_json(RunConfig(name="run", data=DataConfig(source="text:books")), run / "config.json")
    assert running._source(str(run), running.OWN_CORPUS) == "text:books"
    assert running._source(str(run), "other") == "other"
    save_json(RunConfig(name="run"), run / "config.json")
    with pytest.raises(InputError, match=r"names no source.*E-SUITE-CORPUS"):
        running._source(str(run), running.OWN_CORPUS)


GOOD = {"name": "a", "kind": "minimal_pairs", "files": ["x"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "E-SUITE-FILE"),
        ([], "E-SUITE-FILE"),
        ({"tasks": []}, "no tasks.*E-SUITE-FILE"),
        ({"task": [GOOD], "tasks": [GOOD]}, "'task'.*Did you mean.*E-SUITE-KEY"),
        ({"tasks": [{**GOOD, "files": []}]}, r"tasks\.0.*E-SUITE-FILE"),
        ({"tasks": [{**GOOD, "files": "x"}]}, r"files is.*tasks\.0.*E-SUITE-FILE"),
        ({"tasks": [{**GOOD, "name": " "}]}, "E-SUITE-FILE"),
        ({"tasks": [GOOD, GOOD]}, "two tasks are called 'a'.*E-SUITE-FILE"),
        ({"tasks": [{**GOOD, "kind": "minimal_pair"}]}, "'minimal_pair'.*Did you mean minimal_pairs.*E-SUITE-KIND"),
        ({"tasks": [{**GOOD, "metrics": "x"}]}, "'metrics'.*Did you mean metric.*E-SUITE-KEY"),
        ({"tasks": [{**GOOD, "metric": "accurracy"}]}, "Did you mean accuracy.*E-SUITE-KEY"),
        ({"tasks": [{**GOOD, "options": {"masks": "word"}}]}, "'masks'.*Did you mean mask.*E-SUITE-KEY"),
        ({"tasks": [{**GOOD, "options": {"mask": "words"}}]}, r"mask is.*tasks\.0, options.*E-SUITE-FILE"),
        ({"tasks": [{**GOOD, "options": {"limit": 0}}]}, "E-SUITE-FILE"),
    ],
)
def test_a_file_that_is_no_suite(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "suite.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_suite(str(tmp_path / "suite.json"))


@pytest.mark.parametrize(
    ("kind", "records", "options", "message"),
    [
        ("cloze", [{"text": "w1", "answer": "w2"}], {}, r"f\.jsonl, line 1.*E-SUITE-ITEM"),
        ("cloze", [{"text": "[MASK] [MASK]", "answer": "w2"}], {}, "E-SUITE-ITEM"),
        ("cloze", [{"text": "[MASK] " + "w1 " * 70, "answer": "w2"}], {}, "73 tokens.*E-SUITE-ITEM"),
        ("bias", [{"template": "{term} w1"}], {}, "option 'terms'.*E-SUITE-OPTION"),
        ("bias", [{"template": "w1"}], {"terms": [["a", "b"]]}, r"f\.jsonl, line 1.*E-SUITE-ITEM"),
        ("bias", [{"first": "w1 " * 70, "second": "w1"}], {}, "E-SCORE-LENGTH"),
        ("geometry", [{"text": "w1"}], {}, "at least 3.*E-SUITE-ITEM"),
        ("similarity", [{"text": "w1", "pair": "w2", "score": None}], {}, r"no number .*line 1.*E-SUITE-ITEM"),
        ("masked_lm", [{"text": "w1 " * 70}], {}, "72 tokens.*E-SUITE-ITEM"),
        ("robustness", [{"text": "w1", "label": "other"}], {}, "'other' is not one.*E-SUITE-ITEM"),
        (
            "robustness",
            [{"text": "w1", "label": "yes"}, {"text": "w2", "label": None}],
            {},
            r"no label .*f\.jsonl, line 2.*E-SUITE-ITEM",
        ),
        (
            "robustness",
            [{"text": "w1", "label": "yes"}],
            {"counterfactuals": ["f.jsonl"]},
            r"counterfactual_label.*f\.jsonl, line 1.*E-SUITE-ITEM",
        ),
    ],
)
def test_refuses_records(
    classifier: Path, tmp_path: Path, kind: str, records: list[Any], options: dict[str, Any], message: str
) -> None:
    file = jsonl(tmp_path / "f.jsonl", records)
    suite = suite_of(tmp_path, {"name": "a", "kind": kind, "files": [file], "options": options})
    with pytest.raises(InputError, match=message):
        running.evaluate_suite([str(classifier)], suite)


def test_options_that_do_not_belong_together(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = suite_of(tmp_path, GOOD)
    for words in (["--suite", suite, "--data", "x"], ["--suite", suite, "--baselines"], ["--corpus", "x"]):
        assert main(["evaluate", str(directory), *words]) == 2
        assert "E-EVALUATE-OPTION" in capsys.readouterr().err
    assert main(["evaluate", str(directory), "other"]) == 2 and "E-SUITE-MODEL" in capsys.readouterr().err


def test_paths_are_relative_to_the_suite(tmp_path: Path) -> None:
    task = Task("a", "cloze", (), "", {}, "", str(tmp_path))
    assert (
        task.path("x/y") == f"{tmp_path}/x/y" and task.path("/x") == "/x" and task.path("~") == os.path.expanduser("~")
    )
    assert task.path("hf:name#x") == "hf:name#x" and task.path("glue:CoLA:data") == f"glue:CoLA:{tmp_path}/data"


# ----------------------------------------------------------------------------------------------------------------------
# Parts of the kinds


def test_an_answer_is_one_piece_in_its_place(model: Loaded) -> None:
    """Byte-level pieces begin with their space; the mask of RoBERTa takes it."""
    tokenizer = model.require_tokenizer()
    item = cloze.Cloze("", "the [MASK] of", "w3" if tokenizer.kind == "wordpiece" else "the")
    right = cloze._piece(item, cloze._masked(item, tokenizer), tokenizer)
    assert right >= 0 and tokenizer.decode([right]).strip() == item.answer
    for answer in ("w3 w3", "\u4e00\u4e01"):
        other = dataclasses.replace(item, answer=answer)
        assert cloze._piece(other, cloze._masked(other, tokenizer), tokenizer) == -1


def test_the_same_words_are_masked_for_every_model(tmp_path: Path) -> None:
    text = "w1 abba, (w2) aabab w3 w4 w5 abab w6 w7 w8 w9 the aab"
    chosen = set()
    for family in models.FAMILY_NAMES:
        tokenizer = models.model(family, tmp_path / family).require_tokenizer()
        query, words = masked_lm._masked(tokenizer, text, 5)
        chosen.add(tuple(word for word, _ in words))
        ids = [tokenizer.cls_id, *tokenizer.encode(text), tokenizer.sep_id]
        assert list(query.targets) == [ids[at] for at in query.positions]
        assert [at for at, index in enumerate(query.ids) if index == tokenizer.mask_id] == sorted(query.positions)
        assert len(query.positions) == sum(pieces for _, pieces in words)
    assert len(chosen) == 1 and len(next(iter(chosen))) == 2
    tokenizer = Tokenizer.load(tmp_path / "bert")
    assert masked_lm._masked(tokenizer, text, 6)[1] != masked_lm._masked(tokenizer, text, 5)[1]


def test_losses_of_words(bert: Loaded, tmp_path: Path) -> None:
    """A word of three pieces has the sum of their losses, all masked."""
    (tmp_path / "a.txt").write_text("w1 w2 abb w3\n")
    suite = suite_of(tmp_path, {"name": "a", "kind": "masked_lm", "files": ["a.txt"]})
    bert.save(tmp_path / "model")
    tokenizer = bert.require_tokenizer()
    query, words = masked_lm._masked(tokenizer, "w1 w2 abb w3", 0)
    batch = bert.batch(["w1 w2 abb w3"])
    tokens = np.array([query.ids], np.int32)
    logits = bert.masked_lm(bert.params, bert.encode(bert.params, tokens, batch["types"], batch["group"]))
    scores = np.asarray(jax.nn.log_softmax(logits))[0, list(query.positions), list(query.targets)]
    found = running.evaluate_suite([str(tmp_path / "model")], suite)["results"][str(tmp_path / "model")]["a"]
    assert len(words) == 1 and found["values"]["word_loss"]["value"] == pytest.approx(-scores.sum(), abs=1e-4)
    assert found["details"]["frequencies"] == "of the files themselves"


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_changes_of_texts(name: str) -> None:
    text = "The quick, brown fox isn't \u00fcber-lazy: it jumps over thirteen dogs!"
    change = PERTURBATIONS[name]
    changed = change(text, np.random.default_rng(4))
    assert changed != text and changed == change(text, np.random.default_rng(4))
    expected = {
        "upper_case": text.upper(),
        "lower_case": text.lower(),
        "no_punctuation": "The quick brown fox isnt \u00fcberlazy it jumps over thirteen dogs",
    }
    if name in expected:
        assert changed == expected[name]
    elif name == "typos":
        assert len(changed.split()) == len(text.split()) and abs(len(changed) - len(text)) <= 2
        assert sum(one != other for one, other in zip(changed.split(), text.split(), strict=True)) in (1, 2)
    else:
        assert len(text.split()) - len(changed.split()) == 1
    for short in ("", "w1", "a b"):
        assert isinstance(change(short, np.random.default_rng(0)), str)


def test_shared_tokens_of_a_pair(bert: Loaded, tmp_path: Path) -> None:
    file = jsonl(tmp_path / "f.jsonl", [{"first": "w1 w2 w3", "second": "w1 abb w3"}])
    bert.save(tmp_path / "model")
    task = {"name": "a", "kind": "bias", "files": [file], "options": {"scored": "shared"}}
    found = running.evaluate_suite([str(tmp_path / "model")], suite_of(tmp_path, task))
    value = found["results"][str(tmp_path / "model")]["a"]["values"]["effect"]["value"]
    from jaxbert.evaluate.likelihood import score_stream

    one, other = score_stream(bert, [("", "w1 w2 w3"), ("", "w1 abb w3")])
    assert value == pytest.approx(one.scores[[0, 2]].sum() - other.scores[[0, 4]].sum(), abs=1e-4)


def test_the_mean_of_groups() -> None:
    values, groups = np.array([1, 0, 1, 1, 0.0]), np.array([0, 0, 1, 1, 1])
    one = mean_of_groups(values, groups)
    assert one.value == pytest.approx((1 / 2 + 2 / 3) / 2)
    error = np.sqrt(0.5 / 2 + (1 / 3) / 3) / 2
    assert one.high - one.value == pytest.approx(1.959964 * error)
