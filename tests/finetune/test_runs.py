"""Fine-tunes a tiny model on every kind of task, with seeds and a sweep, and continues what was cut off."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxbert
from jaxbert.config import EncoderConfig, OptimizerConfig, find_config, load_json
from jaxbert.data.pipeline import Rows
from jaxbert.errors import InputError, Interrupted, Stopped
from jaxbert.evaluate.labelled import score_part
from jaxbert.evaluate.labelled_file import judge_file, judged_lines
from jaxbert.finetune import runs as finetune_runs
from jaxbert.finetune.runs import finetune
from jaxbert.finetune.settings import Files, Run, runs_of
from jaxbert.labelled.examples import TextExample
from jaxbert.report.page import write_report
from jaxbert.report.read import read_run
from jaxbert.run.loop import Loop
from jaxbert.run.resolve import resolve
from jaxbert.tasks import labelled_runs, make_task
from jaxbert.tasks.labelled_runs import fitted_rate
from jaxbert.tasks.splits import held_out
from jaxbert.training.optim import shares_of_rate
from jaxbert.use import tasks as predict_tasks
from jaxbert.use.embed import embed_file
from jaxbert.use.task_files import predict_file
from tests.finetune.data import BAD, CASES, GOOD, SETTINGS, SIZES, write_examples, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


def runs(model: Path, folder: Path, case: str, *settings: str, **more: Any) -> list[Run]:
    config, own, _ = CASES[case]
    train = folder / f"{case}.jsonl"
    if not train.exists():
        write_examples(train, case, 128, 0)
        write_examples(folder / f"{case}-validation.jsonl", case, 48, 1)
        write_examples(folder / f"{case}-test.jsonl", case, 32, 2)
    files = Files(str(train), str(folder / f"{case}-validation.jsonl"), more.pop("test", ""))
    return runs_of(find_config(config), files, init=str(model), settings=[*SETTINGS, *own, *settings], **more)


# The least that a model which has learned reaches, and the metric that chooses the checkpoint.
REACHED = {
    "one_label": ("accuracy", 0.9),
    "several_labels": ("micro_f1", 0.8),
    "number": ("pearson", 0.8),
    "token_labels": ("entity_f1", 0.9),
    "question_answering": ("f1", 0.8),
    "multiple_choice": ("accuracy", 0.9),
    "cosine": ("spearman", 0.7),
    "negatives": ("reciprocal_rank", 0.8),
}


def judge_odd_files(case: str, run: Path, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Judges a run on files that differ from those it learned from."""
    records = [json.loads(line) for line in file.read_text().splitlines()]
    odd = file.with_name("odd.jsonl")

    def judged(records: list[dict[str, Any]]) -> dict[str, Any]:
        odd.write_text("".join(json.dumps(record) + "\n" for record in records))
        caplog.clear()
        return judge_file(str(run), str(odd))

    if case == "one_label":
        judged([{**record, "pair": "w1"} for record in records])
        assert "pairs of texts, but" in caplog.text and "learned from single texts" in caplog.text
        assert judged(records[:1])["values"]["accuracy"] in (0.0, 1.0)
        with pytest.raises(InputError, match=r"no splits.*--split.*E-EVALUATE-TEST"):
            judge_file(str(run), str(odd), split="validation")
    if case == "question_answering":
        asked = [{**record, "answers": [], "answer_start": []} for record in records[::2]]
        assert (
            "16 of 32 questions have no answer; this run learned from none"
            in judged([*asked, *records[1::2]])["notes"][0]
        )
    if case == "cosine":
        with pytest.raises(InputError, match=r"no answer .*odd\.jsonl, line 1"):
            judged([{**records[0], "score": None}, *records[1:]])
        # Both commands give the vectors whose cosine was learned.
        texts = file.with_name("texts.txt")
        texts.write_text("".join(record["text"] + "\n" for record in records))
        figures = embed_file(str(run), str(texts), file.with_name("vectors.npy"))
        assert (figures["normalize"], figures["max_length"]) == (True, 24)
        predicted: list[str] = []
        predict_file(str(run), str(texts), write=predicted.append)
        vectors = [json.loads(line)["vector"] for line in "".join(predicted).splitlines()]
        np.testing.assert_allclose(np.load(file.with_name("vectors.npy")), vectors, atol=1e-5)
    if case == "negatives":
        assert judged([{**records[0], "pair": "w1"}, *records[1:]])["examples"] == len(records)


@pytest.mark.parametrize("case", CASES)
def test_every_kind_learns(model: Path, tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture) -> None:
    page = "logging.page=yes" if case == "one_label" else "logging.page=no"
    asked = runs(model, tmp_path, case, "task.epochs=12", page, test=str(tmp_path / f"{case}-test.jsonl"))
    said: list[str] = []
    found = finetune(asked, tmp_path / "run", say=said.append)
    metric, least = REACHED[case]
    assert found["metric"]["name"] == metric
    assert found["learned"]
    for split, count in (("validation", 48), ("test", 32)):
        judged = found["splits"][split]
        assert judged["examples"] == count
        assert judged["values"][metric] >= least, (split, judged["values"])
    assert found["value"] == found["splits"]["validation"]["values"][metric]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    best = max(line[f"validation_{metric}"] for line in lines if f"validation_{metric}" in line)
    np.testing.assert_allclose(found["value"], best, atol=1e-6)
    assert found["step"] == next(line["step"] for line in lines if line.get(f"validation_{metric}") == best)
    assert any("test (32 examples)" in line for line in said)
    assert (f"page: {tmp_path / 'run' / 'report.html'}" in said) == (case == "one_label")
    read = read_run(tmp_path / "run", "run")
    assert read.damaged == [] and read.judgement is not None and list(read.judgement.splits) == list(found["splits"])
    html = write_report([tmp_path / "run"], png=False)[0].read_text(encoding="utf-8")
    wrong = any(split["errors"] for split in found["splits"].values())
    assert 'id="answers"' in html and ('id="errors"' in html) == wrong
    opened = jaxbert.load(tmp_path / "run")
    config = load_json(tmp_path / "run" / "config.json")
    # The same file, judged later, has the same figures.
    later = judge_file(str(tmp_path / "run"), str(tmp_path / f"{case}-test.jsonl"))
    assert {name: later[name] for name in found["splits"]["test"]} == found["splits"]["test"]
    assert (later["step"], later["chosen_by"]) == (found["step"], metric)
    assert judged_lines(later)[-1].endswith(next(line for line in said if "test (32" in line).split("test ", 1)[1])
    judge_odd_files(case, tmp_path / "run", tmp_path / f"{case}-test.jsonl", caplog)
    if case == "one_label":
        assert opened.labels is not None and opened.labels.names == ("no", "yes") == config.task.labels
        opened.save(tmp_path / "written")
        published = json.loads((tmp_path / "written" / "config.json").read_text())
        assert published["architectures"] == ["BertForSequenceClassification"]
        assert published["problem_type"] == "single_label_classification"
        assert published["id2label"] == {"0": "no", "1": "yes"}
        card = (tmp_path / "written" / "README.md").read_text()
        assert "Fine-tuned from model by jaxbert" in card and "128 train examples, 48 validation examples" in card
        assert "On the test split, 32 examples: accuracy" in card and 'pipeline("text-classification"' in card


@pytest.mark.parametrize("case", ["number", "token_labels", "question_answering", "cosine"])
def test_a_part_of_the_examples_has_its_own_score(model: Path, tmp_path: Path, case: str) -> None:
    """The same as if a file had only these examples."""
    # Long texts are several rows; and no score is 0 or 1.
    more = {
        "token_labels": ["phases.0.length=8", "task.epochs=2"],
        "question_answering": ["phases.0.length=12", "task.stride=2", "task.epochs=1", "phases.0.schedule.peak=2e-3"],
    }
    settings = more.get(case, ["task.epochs=1"])
    kept = [1, 2, 5, *range(9, 30, 2), 47]
    (asked,) = runs(model, tmp_path, case, *settings, test=str(tmp_path / "part.jsonl"))
    lines = (tmp_path / f"{case}-validation.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "part.jsonl").write_text("".join(lines[number] for number in kept))
    found = finetune([asked], tmp_path / "run", keep_outputs=True, say=lambda line: None)
    whole, part = (found["splits"][split]["values"] for split in ("validation", "test"))
    if case in more:
        assert len(Rows(next((tmp_path / "run" / "data").glob("rows*")), "validation")) > 48
    for numbers, expected in ((range(48), whole), (kept, part)):
        scores = score_part(tmp_path / "run", "validation", list(numbers))
        assert scores is not None and scores == pytest.approx({name: expected[name] for name in scores}, abs=1e-5)
    assert whole != pytest.approx(part, abs=1e-3)
    if case == "question_answering":
        # Predictions are those that were judged: the windows of a text are the same.
        assert predict_tasks._settings_of(jaxbert.load(tmp_path / "run")).stride == 2
    (tmp_path / "run" / "outputs-validation.npz").unlink()
    assert score_part(tmp_path / "run", "validation", kept) is None


def test_labels_that_mark_no_spans_are_scored_word_by_word(model: Path, tmp_path: Path) -> None:
    """Parts of speech, for example: every word has one, and there is no tag O."""
    rng = random.Random(0)
    for name, number in (("train", 96), ("validation", 24)):
        lines = []
        for _ in range(number):
            words = rng.choices([*GOOD, *BAD], k=rng.randint(2, 6))
            lines.append(json.dumps({"tokens": words, "tags": ["ADJ" if word in GOOD else "NOUN" for word in words]}))
        if name == "validation":
            # The tokenizer has no token for these. They have no prediction, and count as wrong.
            lines[0] = json.dumps({"tokens": [GOOD[0], *["\u200b"] * 4], "tags": ["ADJ"] * 5})
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    files = Files(str(tmp_path / "train.jsonl"), str(tmp_path / "validation.jsonl"))
    settings = [*SETTINGS, "task.epochs=6"]
    asked = runs_of(find_config("label_words"), files, init=str(model), settings=settings)
    found = finetune(asked, tmp_path / "run", say=lambda line: None)
    judged = found["splits"]["validation"]
    words = sum(len(json.loads(line)["tokens"]) for line in (tmp_path / "validation.jsonl").read_text().splitlines())
    assert found["metric"]["name"] == "accuracy" and found["learned"]
    assert 0.9 * (1 - 4 / words) < found["value"] <= 1 - 4 / words
    assert judged["examples"] == 24 and 0.4 < judged["constant"]["accuracy"] < 0.8
    assert list(judged["details"]["by_label"]) == ["ADJ", "NOUN"]
    assert all(len(one["right"]) == len(one["predicted"]) == one["score"] for one in judged["errors"])
    assert 'id="answers"' in write_report([tmp_path / "run"], png=False)[0].read_text(encoding="utf-8")
    tags = jaxbert.load(tmp_path / "run").tag([[GOOD[0], "\u200b", BAD[0]]])[0]
    assert tags.tags == ("ADJ", "", "NOUN") and tags.entities == ()


def test_predictions_read_the_columns_of_the_run(model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file with the same columns has a text under a usual name, too, from which the model has not learned."""
    for name, number in (("train", 64), ("validation", 16)):
        records = map(json.loads, write_examples(tmp_path / "a.jsonl", "one_label", number, 0).read_text().splitlines())
        lines = [f"w1 w2,{one['text']},{one['label']}\n" for one in records]
        (tmp_path / f"{name}.csv").write_text("text,review,label\n" + "".join(lines))
    files = Files(str(tmp_path / "train.csv"), str(tmp_path / "validation.csv"), columns=("text=review",))
    asked = runs_of(find_config("classify"), files, init=str(model), settings=[*SETTINGS, "task.epochs=1"])
    learned = finetune(asked, tmp_path / "run", say=lambda line: None)
    later = judge_file(str(tmp_path / "run"), str(tmp_path / "validation.csv"))
    assert later["values"] == learned["splits"]["validation"]["values"]
    (tmp_path / "unknown.csv").write_text("text,review,label\nw1,w2,yes\nw1,w3,perhaps\n")
    with pytest.raises(InputError, match=r"'perhaps' is not in the train split .*unknown\.csv, line 3"):
        judge_file(str(tmp_path / "run"), str(tmp_path / "unknown.csv"))
    # Another column of labels leaves the column of texts as it was.
    lines = (tmp_path / "validation.csv").read_text().replace("label", "stars", 1)
    (tmp_path / "stars.csv").write_text(lines)
    stars = judge_file(str(tmp_path / "run"), str(tmp_path / "stars.csv"), columns={"label": "stars"})
    assert stars["values"] == later["values"]
    shutil.rmtree(tmp_path / "run" / "data")
    shutil.copytree(tmp_path / "run", tmp_path / "removed", ignore=shutil.ignore_patterns("checkpoints"))
    with pytest.raises(InputError, match=r"were removed.*workdir of all runs.*E-EVALUATE-TEST"):
        judge_file(str(tmp_path / "removed"), str(tmp_path / "stars.csv"))

    def texts(file: Path, **more: Any) -> set[str]:
        found: list[str] = []
        predict_file(str(tmp_path / "run"), str(file), write=found.append, **more)
        return {json.loads(line)["text"] for line in "".join(found).splitlines()}

    reviews = {line.split(",")[1] for line in (tmp_path / "validation.csv").read_text().splitlines()[1:]}
    assert texts(tmp_path / "validation.csv") == reviews
    assert texts(tmp_path / "validation.csv", columns={"text": "text"}) == {"w1 w2"}
    (tmp_path / "other.csv").write_text("text,more\nw3,w4\n")
    caplog.clear()
    assert texts(tmp_path / "other.csv") == {"w3"}
    assert "lacks columns that" in caplog.text and "text from 'review'" in caplog.text


@pytest.mark.parametrize("case", ["one_label", "token_labels", "question_answering"])
def test_a_test_split_without_answers_is_not_scored(
    model: Path, tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    (asked,) = runs(model, tmp_path, case, "task.epochs=1", test=str(tmp_path / "bare.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / f"{case}-test.jsonl").read_text().splitlines()]
    answers = ("label", "tags", "answers", "answer_start")
    bare = [{key: value for key, value in line.items() if key not in answers} for line in lines]
    (tmp_path / "bare.jsonl").write_text("".join(json.dumps(line) + "\n" for line in bare))
    found = finetune([asked], tmp_path / "run", say=lambda line: None)
    assert list(found["splits"]) == ["validation"]
    assert "the test split has no answers, so nothing is measured on it" in caplog.text
    with pytest.raises(InputError, match=r"no right answers.*--columns \w+=COLUMN.*jaxbert predict.*E-EVALUATE-TEST"):
        judge_file(str(tmp_path / "run"), str(tmp_path / "bare.jsonl"))
    if case == "one_label":
        (tmp_path / "CoLA").mkdir()
        (tmp_path / "CoLA" / "test.tsv").write_text("index\tsentence\n0\tw1 w2\n")
        with pytest.raises(InputError, match=r"the split test has no right answers.*--split validation"):
            judge_file(str(tmp_path / "run"), f"glue:cola:{tmp_path}/CoLA")


def test_a_head_for_other_labels_is_left_out(model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (first,) = runs(model, tmp_path, "one_label", "task.epochs=1")
    finetune([first], tmp_path / "run", say=lambda line: None)
    (tmp_path / "three.jsonl").write_text(
        "".join(json.dumps({"text": f"w{n} good", "label": "abc"[n % 3]}) + "\n" for n in range(30))
    )
    renamed = (tmp_path / "one_label.jsonl").read_text().replace('"yes"', '"positive"')
    (tmp_path / "renamed.jsonl").write_text(renamed)
    for name, left_out in (("three", True), ("renamed", True), ("one_label", False)):
        caplog.clear()
        files = Files(str(tmp_path / f"{name}.jsonl"))
        settings = [*SETTINGS, "task.epochs=1", "phases.0.schedule.peak=1e-9"]
        (asked,) = runs_of(find_config("classify"), files, init=str(tmp_path / "run"), settings=settings)
        finetune([asked], tmp_path / f"from-{name}", say=lambda line: None)
        said = 'sequence_classification for other labels ("no", "yes"), which this run leaves out' in caplog.text
        assert said == left_out == ("--init has no sequence_classification: it starts at random" in caplog.text)
        heads = [jaxbert.load(tmp_path / at).params["sequence_classification"] for at in ("run", f"from-{name}")]
        same = jax.tree.map(lambda a, b: a.shape == b.shape and np.allclose(a, b, atol=1e-5), *heads)
        assert all(jax.tree.leaves(same)) != left_out


def test_seeds_and_a_sweep(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = runs(model, tmp_path, "one_label", "task.epochs=3", "logging.page=yes", seeds=2, sweep=["rate=1e-2,1e-9"])
    assert [run.name for run in asked] == [f"rate={rate}/seed-{seed}" for rate in ("1e-2", "1e-9") for seed in (0, 1)]
    said: list[str] = []
    workdir = tmp_path / "runs"
    found = finetune(asked, workdir, say=said.append)
    first, second = found["settings"]
    assert (first["setting"], second["setting"]) == ("rate=1e-2", "rate=1e-9")
    values = [run["value"] for run in first["runs"]]
    np.testing.assert_allclose(first["mean"], np.mean(values))
    np.testing.assert_allclose(first["deviation"], np.std(values, ddof=1), atol=1e-12)
    assert first["failed"] == [], "a rate of 1e-2 learns"
    assert found["best"].startswith("rate=1e-2/seed-")
    kept = [run.name for run in asked if (workdir / run.name / "checkpoints").exists()]
    assert kept == [found["best"]], "only the best run keeps its checkpoints"
    assert jaxbert.load(workdir).path == workdir / found["best"]
    table = said[said.index("") + 1 :]
    assert "accuracy on the validation split, over 2 seeds" in table[0]
    assert any(line.startswith("rate=1e-9") for line in table)
    assert f"page: {workdir / 'report.html'}" in said
    assert "2 settings, 4 runs" in (workdir / "report.html").read_text(encoding="utf-8")
    # The page of a run has its judgement too.
    assert all('id="answers"' in (workdir / run.name / "report.html").read_text(encoding="utf-8") for run in asked)
    seeds = [json.loads((workdir / run.name / "config.json").read_text())["seed"] for run in asked]
    assert seeds == [0, 1, 0, 1]

    def no_step(*_: Any, **__: Any) -> None:
        raise AssertionError("a run that was judged is trained again")

    monkeypatch.setattr(Loop, "run_phase", no_step)
    # A kill before the page was written leaves that to the next call.
    (workdir / asked[0].name / "report.html").unlink()
    again = finetune(asked, workdir, say=lambda line: None)
    assert again == found and (workdir / asked[0].name / "report.html").exists()
    # Another setting is another run, which is never answered with the figures of this one.
    other = runs(model, tmp_path, "one_label", "task.epochs=3", "task.smoothing=0.1", seeds=2, sweep=["rate=1e-2,1e-9"])
    with pytest.raises(InputError, match=r"task.smoothing.*E-WORKDIR-OTHER-RUN"):
        finetune(other, workdir, say=lambda line: None)


def test_a_run_that_diverges_does_not_stop_the_others(model: Path, tmp_path: Path) -> None:
    settings = ["task.epochs=2", "phases.0.schedule.warmup_steps=0", "optimizer.clip_norm=0", "guard.max_skipped=2"]
    asked = runs(model, tmp_path, "one_label", *settings, sweep=["rate=1e30,1e-2"])
    said: list[str] = []
    found = finetune(asked, tmp_path / "runs", say=said.append)
    assert found["best"] == "rate=1e-2/seed-0" and found["settings"][1]["failed"] == [0]
    assert any(line.startswith("rate=1e30/seed-0: this run has diverged") for line in said)
    assert "diverged, and left out of the mean: rate=1e30/seed-0" in said
    assert jaxbert.load(tmp_path / "runs").path == tmp_path / "runs" / "rate=1e-2/seed-0"
    assert finetune(asked, tmp_path / "runs", say=said.append) == found, "a diverged run is not tried again"
    # Its table would leave the better run out.
    with pytest.raises(
        InputError, match=r"1 run that this command does not ask for \(rate=1e-2/seed-0\).*FINETUNE-PLACE"
    ):
        finetune(asked[:1], tmp_path / "runs", say=said.append)
    shutil.rmtree(tmp_path / "runs" / "rate=1e-2")
    with pytest.raises(Stopped, match=r"all 1 runs have diverged.*E-FINETUNE-DIVERGED"):
        finetune(asked[:1], tmp_path / "runs", say=said.append)


def test_the_best_run_keeps_its_checkpoints(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of a setting says nothing before its last seed has ended."""
    values = {("1e-5", 0): 0.9, ("1e-5", 1): 0.9, ("1e-2", 0): 0.95, ("1e-2", 1): 0.5, ("1e-2", 2): 1.0}
    metric = {"name": "accuracy", "title": "accuracy", "short": "acc", "form": "share", "note": "", "higher": True}
    trained: list[str] = []

    def train(run: Run, name: str, where: Path, overwrite: bool, **_: Any) -> dict[str, Any]:
        trained.append(run.name)
        step = where / "checkpoints" / "1"
        step.mkdir(parents=True, exist_ok=True)
        (step / "manifest.json").write_text("{}")
        value = values.get((run.setting.partition("=")[2], run.seed), 0.1)
        content = {"step": 1, "seed": run.seed, "setting": run.setting, "stopped_early": False, "metric": metric,
                   "value": value, "learned": True, "splits": {}}  # fmt: skip
        (where / "judgement.json").write_text(json.dumps(content))
        return content

    def before(where: Path, run: Run) -> dict[str, Any] | None:
        return json.loads((where / "judgement.json").read_text()) if (where / "judgement.json").exists() else None

    monkeypatch.setattr(finetune_runs, "_train", train)
    monkeypatch.setattr(finetune_runs, "_judged_before", before)

    def answer(seeds: int) -> tuple[str, list[str]]:
        asked = runs(model, tmp_path, "one_label", seeds=seeds, sweep=["rate=1e-5,1e-2"])
        best = finetune(asked, tmp_path / "runs", say=lambda line: None)["best"]
        return best, [run.name for run in asked if (tmp_path / "runs" / run.name / "checkpoints").exists()]

    assert answer(2) == ("rate=1e-5/seed-0", ["rate=1e-5/seed-0"])
    values |= {("1e-5", 2): 0.0}
    trained.clear()
    # A third seed makes the other setting the best one, and its best seed is the new one.
    assert answer(3) == ("rate=1e-2/seed-2", ["rate=1e-2/seed-2"])
    assert trained == ["rate=1e-5/seed-2", "rate=1e-2/seed-2"]
    # Were it an older seed, whose checkpoints are gone, it would be trained again.
    values |= {("1e-5", 3): 0.0, ("1e-2", 3): 0.9}
    shutil.rmtree(tmp_path / "runs" / "rate=1e-2/seed-2/checkpoints")
    trained.clear()
    assert answer(4) == ("rate=1e-2/seed-2", ["rate=1e-2/seed-2"])
    assert trained == ["rate=1e-5/seed-3", "rate=1e-2/seed-3", "rate=1e-2/seed-2"]
    # A kill while it is trained again leaves earlier checkpoints, which are not the judged model.
    (tmp_path / "runs" / "rate=1e-2/seed-2/checkpoints/1").rename(tmp_path / "runs" / "rate=1e-2/seed-2/checkpoints/0")
    trained.clear()
    assert answer(4) == ("rate=1e-2/seed-2", ["rate=1e-2/seed-2"]) and trained == ["rate=1e-2/seed-2"]


def test_changed_inputs_are_named(model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Other content under the same name: a run keeps what it began with, and no table compares two contents."""
    start = tmp_path / "start"
    shutil.copytree(model, start)
    config, _, _ = CASES["one_label"]
    train = write_examples(tmp_path / "train.jsonl", "one_label", 32, 0)

    def asked(seeds: int) -> list[Run]:
        settings = [*SETTINGS, "task.epochs=1"]
        return runs_of(find_config(config), Files(str(train)), init=str(start), settings=settings, seeds=seeds)

    def answer(seeds: int) -> dict[str, Any]:
        caplog.clear()
        return finetune(asked(seeds), tmp_path / "runs", say=lambda line: None)

    first = answer(2)
    assert answer(2) == first and "changed since" not in caplog.text
    before = train.read_bytes()
    write_examples(train, "one_label", 40, 1)
    assert answer(2) == first and "1 file changed since this run began: train.jsonl. The run keeps" in caplog.text
    with pytest.raises(InputError, match=r"1 file \(train.jsonl\) changed since seed-0 began, and 1 of 3"):
        answer(3)
    train.write_bytes(before)
    assert answer(2) == first and "changed since" not in caplog.text
    shutil.rmtree(start)
    shutil.copytree(write_model(tmp_path / "another", seed=4), start)
    assert answer(2) == first and f"the model of --init, {start}, changed since this run began" in caplog.text
    with pytest.raises(InputError, match=r"the model .* changed .* 1 of 3 runs have not begun.*E-LABELLED-CHANGED"):
        answer(3)


def test_rows_that_are_not_made_yet_are_not_made_of_other_files(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (asked,) = runs(model, tmp_path, "one_label", "task.epochs=1")

    def interrupted(*_: Any, **__: Any) -> None:
        raise Interrupted("cut off", where="here", fix="Go on.", code="E-SIGNAL-INTERRUPT")

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(labelled_runs, "write_rows", interrupted)
        finetune([asked], tmp_path / "run", say=lambda line: None)
    write_examples(tmp_path / "one_label.jsonl", "one_label", 40, 7)
    with pytest.raises(InputError, match=r"1 file changed since it began: one_label.jsonl.*E-LABELLED-CHANGED"):
        finetune([asked], tmp_path / "run", say=lambda line: None)
    (tmp_path / "run" / "suite.json").write_text("{}")  # figures of the run that is replaced
    found = finetune([asked], tmp_path / "run", overwrite=True, say=lambda line: None)
    assert not (tmp_path / "run" / "suite.json").exists()
    (manifest,) = (tmp_path / "run" / "data").glob("*/manifest.json")
    assert json.loads(manifest.read_text())["counts"]["train"] == 40
    assert found["splits"]["validation"]["examples"] == 48


def test_seeds_without_a_split_to_judge_them_keep_their_checkpoints(model: Path, tmp_path: Path) -> None:
    config, _, _ = CASES["one_label"]
    train = write_examples(tmp_path / "train.jsonl", "one_label", 32, 0)
    settings = [*SETTINGS, "task.epochs=1", "task.data.validation_fraction=0", "logging.page=yes"]
    asked = runs_of(find_config(config), Files(str(train)), init=str(model), settings=settings, seeds=2)
    said: list[str] = []
    found = finetune(asked, tmp_path / "runs", say=said.append)
    assert [run["value"] for run in found["settings"][0]["runs"]] == [None, None]
    assert all((tmp_path / "runs" / run.name / "checkpoints").exists() for run in asked)
    assert "no run is the best, because there is no validation split" in said
    page = (tmp_path / "runs" / "report.html").read_text(encoding="utf-8")
    assert "1 setting, 2 runs" in page and 'id="answers"' not in page


def test_a_run_that_was_cut_off_ends_with_the_same_bits(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files with labels are gone when it continues: the run has what it needs."""
    settings = ["task.epochs=2", "phases.0.lengths=[12,16]", "phases.0.grouped=3", "task.dropout=0.2"]
    asked = runs(model, tmp_path, "one_label", *settings)
    whole = finetune(asked, tmp_path / "whole", say=lambda line: None)
    after_step = Loop._after_step

    def interrupted(self: Loop, *args: Any, **kwargs: Any) -> None:
        after_step(self, *args, **kwargs)
        if self.step == 7:
            raise Interrupted("cut off", where="here", fix="Go on.", code="E-SIGNAL-INTERRUPT")

    monkeypatch.setattr(Loop, "_after_step", interrupted)
    asked = runs(model, tmp_path, "one_label", *settings, "checkpoint.every_steps=5")
    with pytest.raises(Interrupted):
        finetune(asked, tmp_path / "cut", say=lambda line: None)
    monkeypatch.setattr(Loop, "_after_step", after_step)
    for file in tmp_path.glob("*.jsonl"):
        file.unlink()
    resumed = finetune(asked, tmp_path / "cut", say=lambda line: None)
    assert {**whole, "workdir": ""} == {**resumed, "workdir": ""}
    assert (tmp_path / "whole/metrics.jsonl").read_bytes() == (tmp_path / "cut/metrics.jsonl").read_bytes()


def test_a_run_chooses_the_lengths_of_its_batches(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = [text for text in SETTINGS if "lengths" not in text]
    train = str(write_examples(tmp_path / "train.jsonl", "one_label", 64, 0))

    def lengths(*more: str) -> tuple[int, ...]:
        (asked,) = runs_of(find_config("classify"), Files(train), init=str(model), settings=[*settings, *more])
        return resolve(asked.asked, tmp_path / "run").config.phases[0].lengths

    chosen = lengths()
    assert chosen and max(chosen) < 16
    assert f"batches of short texts are cut to {', '.join(map(str, chosen))} tokens" in caplog.text
    assert lengths("task.shapes=0") == () == lengths("phases.0.lengths=[]") and lengths("phases.0.lengths=[9]") == (9,)
    (asked,) = runs_of(find_config("classify"), Files(train), init=str(model), settings=[*settings, "epochs=1"])
    finetune([asked], tmp_path / "run", say=lambda line: None)
    write_examples(tmp_path / "train.jsonl", "one_label", 64, 1)
    assert load_json(tmp_path / "run" / "config.json").phases[0].lengths == chosen == lengths("epochs=1")


def test_set_takes_the_short_names(model: Path, tmp_path: Path) -> None:
    (run,) = runs(model, tmp_path, "one_label", "rate=2e-3", "batch=8", "epochs=7", "seed=3")
    config = run.asked.config
    assert config.phases[0].schedule is not None and config.phases[0].schedule.peak == 2e-3
    assert config.phases[0].batch_size == 8 and config.task.epochs == 7 and config.seed == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("width", "weights", "factor"),
    [(768, 0.02, 1), (128, 0.02, 6), (128, 0.1, 30), (768, 0.04, 2), (1024, 0.02, 1), (1024, 0.01, 1)],
)
def test_the_rate_follows_the_size_of_the_model(width: int, weights: float, factor: float) -> None:
    config = find_config("classify")
    config = dataclasses.replace(config, encoder=EncoderConfig(hidden_size=width, initializer_range=weights))
    schedule = config.phases[0].schedule
    assert schedule is not None
    found, said = fitted_rate(config, ())
    assert found.phases[0].schedule == dataclasses.replace(schedule, peak=pytest.approx(schedule.peak * factor))
    assert bool(said) == (factor != 1)
    assert fitted_rate(config, ["phases.0.schedule.peak"]) == (config, "")
    kept = dataclasses.replace(config, task=dataclasses.replace(config.task, fit_rate=False))
    assert fitted_rate(kept, ()) == (kept, "")


def test_a_run_whose_rate_was_raised_is_not_trained_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    settings = [text for text in SETTINGS if "peak" not in text]
    train = str(write_examples(tmp_path / "train.jsonl", "one_label", 40, 0))

    def asked() -> list[Run]:
        return runs_of(find_config("classify"), Files(train), init=str(model), settings=[*settings, "epochs=1"])

    with caplog.at_level("INFO"):
        found = finetune(asked(), tmp_path / "run", say=said.append)
    # The tiny model has a width of 32, and initial weights of 0.3.
    assert "the rate is 0.0108, which is 360 times the config's 3e-05, because the model's width is 32" in caplog.text
    assert "2 labels: " in caplog.text and "train: 36 examples in 36 rows" in caplog.text
    schedule = load_json(tmp_path / "run" / "config.json").phases[0].schedule
    assert schedule is not None and schedule.peak == pytest.approx(3e-5 * 24 * 15)
    assert any("(95% interval: " in line and "; a constant answer: " in line for line in said)
    assert said[-3:-1] == ["Next:", f"  jaxbert predict {tmp_path}/run FILE.txt"]

    def no_step(*_: Any, **__: Any) -> None:
        raise AssertionError("a run that was judged is trained again")

    monkeypatch.setattr(Loop, "run_phase", no_step)
    assert finetune(asked(), tmp_path / "run", say=said.append) == found


def test_settings_that_cannot_be_run(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="E-FINETUNE-SWEEP"):
        runs(model, tmp_path, "one_label", sweep=["rate"])
    with pytest.raises(InputError, match="stands twice"):
        runs(model, tmp_path, "one_label", sweep=["rate=1e-3", "rate=1e-4"])
    with pytest.raises(InputError, match="are the same"):
        runs(model, tmp_path, "one_label", sweep=["rate=1e-3,1e-3"])
    with pytest.raises(InputError, match=r"--sweep epoch\)\. Did you mean.*epochs"):
        runs(model, tmp_path, "one_label", sweep=["epoch=3,6"])
    # The mistake is in --set, which comes first.
    with pytest.raises(InputError, match=r"--set phases.0.schedule.peak"):
        runs(model, tmp_path, "one_label", "phases.0.schedule.peak=x", sweep=["rate=1e-3,1e-4"])
    for epochs, code in (("0", "E-TASK-SETTING"), ("-1", "E-CONFIG-RANGE")):
        with pytest.raises(InputError, match=rf"epochs={epochs}/seed-0: task.epochs.*{code}"):
            finetune(runs(model, tmp_path, "one_label", sweep=[f"epochs=1,{epochs}"]), tmp_path / "run")
    with pytest.raises(InputError, match="'epochs' is not KEY=VALUE"):
        runs_of(find_config("classify"), Files("train.csv"), init=str(model), settings=["epochs"])
    with pytest.raises(InputError, match=r"with 0 epochs.*phases.0.steps=N.*E-TASK-SETTING"):
        finetune(runs(model, tmp_path, "one_label", "task.epochs=0"), tmp_path / "run")
    with pytest.raises(InputError, match="E-FINETUNE-SEEDS"):
        runs(model, tmp_path, "one_label", seeds=0)
    with pytest.raises(InputError, match="E-FINETUNE-CONFIG"):
        runs_of(find_config("bert_tiny"), Files("train.csv"), init=str(model))
    with pytest.raises(InputError, match="E-FINETUNE-INIT"):
        runs_of(find_config("classify"), Files("train.csv"), init=None)
    with pytest.raises(InputError, match="E-TASK-METRIC"):
        finetune(runs(model, tmp_path, "one_label", "task.metric=bleu"), tmp_path / "run")
    with pytest.raises(InputError, match="E-LABELLED-TRAIN"):
        finetune(runs_of(find_config("classify"), Files(), init=str(model), settings=SETTINGS), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rows_of_other_labels_are_refused(model: Path, tmp_path: Path) -> None:
    """A run that is told to take other labels than its rows have."""
    (run,) = runs(model, tmp_path, "one_label", "task.epochs=1")
    config = run.asked.config
    made = make_task(
        dataclasses.replace(config, encoder=SIZES, task=dataclasses.replace(config.task, labels=("a", "b"))),
        config.phases[0],
    )
    manifest = {"policy": "labelled", "arguments": {"kind": "classification", "labels": ["no", "yes"]}}
    with pytest.raises(InputError, match=r"the rows have the labels no, yes, but the run has a, b.*E-TASK-ROWS"):
        made.check_rows(manifest, "rows")
    with pytest.raises(InputError, match=r"cannot learn from these rows.*E-TASK-ROWS"):
        made.check_rows({"policy": "ordered_pair"}, "rows")


def test_a_workdir_of_other_runs_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"holds a single run.*E-FINETUNE-PLACE"):
        finetune(runs(model, tmp_path, "one_label", seeds=2), tmp_path / "run")
    with pytest.raises(InputError, match=r"it is a URL.*E-FINETUNE-PLACE"):
        finetune(runs(model, tmp_path, "one_label", seeds=2), "gs://bucket/run")
    with pytest.raises(InputError, match=r"is not judged.*--test.*jaxbert evaluate COPY.*E-FINETUNE-PLACE"):
        finetune(runs(model, tmp_path, "one_label", test=str(tmp_path / "one_label-test.jsonl")), "gs://bucket/run")
    results = tmp_path / "gone"
    results.mkdir()
    (results / "finetune.json").write_text('{"best": "seed-1"}', encoding="utf-8")
    with pytest.raises(InputError, match=r"holds several runs.*--seeds and --sweep.*E-FINETUNE-PLACE"):
        finetune(runs(model, tmp_path, "one_label"), results)
    with pytest.raises(InputError, match=r"the best run, seed-1, is gone.*E-MODEL-FINETUNE"):
        jaxbert.load(results)
    (results / "finetune.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="E-MODEL-FINETUNE"):
        jaxbert.load(results)


def test_more_layers_are_frozen_than_there_are() -> None:
    shapes = {"encoder": {"layers": {"up": {"kernel": np.zeros((2, 4, 8))}}, "word": {"table": np.zeros((5, 4))}}}
    with pytest.raises(InputError, match=r"3 layers are to be frozen, but the encoder has 2.*E-CONFIG-OPTIMIZER"):
        shares_of_rate(OptimizerConfig(frozen_layers=3), shapes)
    shares = shares_of_rate(OptimizerConfig(layer_decay=0.5, frozen_layers=1), {**shapes, "pooler": np.zeros(3)})
    assert shares["encoder"]["word"]["table"] == 0 and shares["pooler"] == 1
    assert shares["encoder"]["layers"]["up"]["kernel"].ravel().tolist() == [0.0, 0.5]


def test_a_model_without_a_tokenizer_is_not_fine_tuned(model: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(model, bare)
    for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"):
        (bare / name).unlink(missing_ok=True)
    with pytest.raises(InputError, match="E-RUN-TOKENIZER"):
        finetune(runs(bare, tmp_path, "one_label"), tmp_path / "run")


def test_a_text_is_never_on_both_sides() -> None:
    examples = [TextExample(text=f"text {number % 30}", target="x") for number in range(100)]
    out = held_out(examples, 10, 0)
    sides = [{one.text for one, is_out in zip(examples, out, strict=True) if is_out == side} for side in (True, False)]
    assert 10 <= sum(out) <= 14 and not sides[0] & sides[1] and len(sides[0] | sides[1]) == 30
    assert out == held_out(examples, 10, 0) != held_out(examples, 10, 1)
