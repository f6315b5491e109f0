"""The page about fine-tuned runs, one and several, and about damaged judgements."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.errors import InputError
from jaxbert.report.answers import folded
from jaxbert.report.figures import cards, final_figures
from jaxbert.report.live import LivePage
from jaxbert.report.page import write_report
from jaxbert.report.read import read_run
from jaxbert.scores import answers, classes, entities, numbers
from jaxbert.tasks.answers import QuestionAnsweringConfig
from jaxbert.tasks.choices import MultipleChoiceConfig
from jaxbert.tasks.sequences import ClassificationConfig
from jaxbert.tasks.token_labels import TokenLabelsConfig
from tests.report.finetuned import EVIL, HOSTILE, errors, judgement, split, write_run, write_runs, write_suite
from tests.report.pages import data_of, read_page


def text_of(workdir: Path) -> str:
    """All texts of the page of a workdir, with one space between words."""
    return " ".join(" ".join(read_page(write_report([workdir], png=False)[0]).text).split())


def section(workdir: Path, name: str) -> str:
    """The HTML of a section of the page of a workdir."""
    html = write_report([workdir], png=False)[0].read_text(encoding="utf-8")
    return html.partition(f'<section id="{name}">')[2].partition("</section>")[0]


def test_metrics_stand_beside_those_of_a_constant_answer(tmp_path):
    workdir = write_run(tmp_path / "run", judgement())
    shown = section(workdir, "answers")
    assert re.search(r"Accuracy <small>chooses the checkpoint</small>", shown)
    assert '75.00%<small class="note">constant 55.00%</small>' in shown
    assert '70.00%<small class="note">constant 55.00%</small>' in shown
    text = text_of(workdir)
    assert "The checkpoint of step 20, which has the best accuracy of validation, was judged on" in text
    assert "The model never predicts the label 'maybe'." in text
    assert dict(cards(read_run(workdir, "run"))) == {
        "accuracy, validation": "75.0%",
        "constant answer, validation": "55.0%",
        "accuracy, test": "70.0%",
        "constant answer, test": "55.0%",
        "time": "1 min 00 s",
    }
    # The constant answer is a level in the chart of its metric.
    (chart,) = [one for one in data_of(workdir / "report.html")["charts"] if one["title"] == "Accuracy"]
    assert [(one["name"], one["kind"]) for one in chart["series"]][1:] == [("constant answer 55.0%", "constant")]


def test_what_makes_no_sense_for_labels_is_left_out(tmp_path):
    workdir = write_run(tmp_path / "run", judgement())
    html = write_report([workdir])[0].read_text(encoding="utf-8")
    ids = set(re.findall(r'<section id="(\w+)"', html))
    assert ids == {"answers", "errors", "curves", "figures", "evaluations", "run", "config", "versions"}
    assert "fixed masks" not in html and "fill-mask" not in html


def test_a_run_that_goes_on_has_its_best_evaluation(tmp_path):
    workdir = write_run(tmp_path / "run")
    assert LivePage(workdir).write()
    run = read_run(workdir, "run")
    assert cards(run)[0] == ("accuracy, best validation so far", "75.0%")
    figures = dict(final_figures(run))
    assert figures["Best evaluation"] == "step 20" and figures["Accuracy, best evaluation"] == "75.00%"
    assert figures["Macro F1, best evaluation"] == "65.00%"
    assert 'id="answers"' not in (workdir / "report.html").read_text(encoding="utf-8")
    assert not LivePage(tmp_path / "nothing").write() and not LivePage(workdir, enabled=False).write()


def test_the_metric_of_the_config_chooses_the_best_evaluation(tmp_path):
    task = ClassificationConfig(labels=("no", "yes"), metric="macro_f1")
    assert cards(read_run(write_run(tmp_path / "run", task=task), "run"))[0][0] == "macro F1, best validation so far"


def test_a_confusion_matrix_is_shaded_by_the_share_of_its_row(tmp_path):
    shown = section(write_run(tmp_path / "run", judgement()), "answers")
    cells = re.findall(r'<td class="(hit|miss)" style="--share: ([0-9.]+)" title="([^"]*)">(\d+)</td>', shown)
    assert [(cell[0], cell[1], cell[3]) for cell in cells[:4]] == [
        ("hit", "0.968", "30"),
        ("miss", "0.032", "1"),
        ("miss", "0.189", "7"),
        ("hit", "0.811", "30"),
    ]
    assert cells[1][2] == "1 example, 3.2% of this label"


@pytest.mark.parametrize(("size", "matrix"), [(20, True), (21, False)])
def test_many_labels_have_their_worst_pairs_in_the_place_of_the_matrix(tmp_path, size, matrix):
    labels = [f"label {number}" for number in range(size)]
    splits = {"validation": split(labels=labels)}
    shown = section(write_run(tmp_path / "run", judgement(splits=splits)), "answers")
    assert ("Confusion matrix" in shown) == matrix and ("confused most often" in shown) != matrix
    if not matrix:
        rows = re.findall(r'<tr><th scope="row"><bdi>(label \d+)</bdi></th><td class="name"><bdi>(label \d+)', shown)
        assert len(rows) == 20 and rows[0] == ("label 0", "label 9")  # (0 x 7 + 9) % 10 is the first 9


def test_very_many_labels_have_the_largest_cells_only(tmp_path):
    """A matrix of two thousand labels would be 24 MB of judgement.json."""
    golds = np.arange(900) % 300
    names = [f"label {number}" for number in range(300)]
    found = classes.one_label(np.eye(300, dtype=np.float32)[(golds + (golds < 250)) % 300], golds, names)
    assert "confusion" not in found.details and len(found.details["confused"]) == classes.MOST_CELLS
    assert found.details["confusions"] == 250 and found.details["confused"][0] == [0, 1, 3]
    splits = {"validation": split(details=found.details)}
    workdir = write_run(tmp_path / "run", judgement(splits=splits))
    assert read_run(workdir, "run").damaged == []
    shown = section(workdir, "answers")
    assert "the 20 most frequent of 250 wrong pairs" in shown
    assert re.search(r"label 0</bdi></th><td class=\"name\"><bdi>label 1</bdi></td><td>3</td><td>100.0%", shown)


def test_intervals_and_nearly_right_entities_are_shown(tmp_path):
    schemes = {name: {"precision": 0.5, "recall": 0.5, "f1": f1} for name, f1 in
               (("exact", 0.61), ("partial", 0.62), ("type", 0.63))}  # fmt: skip
    details = {"entities": {"right": 1, "predicted": 2, "true": 3}, "schemes": schemes}
    splits = {"validation": split(intervals={"accuracy": [0.7, 0.8]}, details=details)}
    workdir = write_run(tmp_path / "run", judgement(splits=splits))
    assert '75.00%<small class="note">70.00% to 80.00%</small>' in section(workdir, "answers")
    assert "61.0% where only the words" in text_of(workdir) and "63.0% where only its type" in text_of(workdir)
    assert read_run(workdir, "run").damaged == []
    broken = {"validation": split(intervals={"accuracy": "wide"})}
    workdir = write_run(tmp_path / "broken", judgement(splits=broken))
    assert any("intervals" in one for one in read_run(workdir, "run").damaged)
    assert "75.00%" in section(workdir, "answers")


def test_calibration_is_a_diagram_in_words_and_in_figures(tmp_path):
    workdir = write_run(tmp_path / "run", judgement())
    shown = section(workdir, "answers")
    (first, _) = re.findall(r'<svg [^>]*aria-label="Accuracy by confidence".*?</svg>', shown)
    assert first.count("<rect") == 2 * 8 and "#" not in first
    # Eight bins with as many examples: 7.5 to 14.5 fifteenths sure, 7 to 14 right.
    assert "73.3% sure and 70.0% right: too sure" in text_of(workdir)
    assert "<td>47% to 53%</td>" in shown


KINDS: dict[str, tuple[Any, Any, dict[str, Any], tuple[str, ...]]] = {
    "words": (
        TokenLabelsConfig(labels=("O", "B-LOC")),
        entities.METRICS,
        {
            "entities": {"right": 3, "predicted": 4, "true": 6},
            "by_type": {"LOC": {"precision": 0.75, "recall": 0.5, "f1": 0.6, "support": 6}},
        },
        ("The texts have 6 entities. The model predicts 4, and 3 of these are right.", "LOC", "1 type", "no entity"),
    ),
    "questions": (
        QuestionAnsweringConfig(unanswerable=True),
        answers.metrics("2.0"),
        {"version": "2.0", "has_answer": 12, "no_answer": 8, "best_f1_threshold": 1.25},
        (
            "12 of the questions have an answer, and 8 have none.",
            "by more than 1.25",
            "F1 of questions with an answer",
            "Exact match",
            "no answer",
        ),
    ),
    "numbers": (
        ClassificationConfig(problem="number"),
        numbers.METRICS,
        {},
        ("Pearson correlation", "Mean absolute error", "Lower is better."),
    ),
    "choices": (
        MultipleChoiceConfig(choices=2),
        classes.metrics("choices", ()),
        {"right": [5, 7], "predicted": [11, 1], "calibration": []},
        ("Places of the choices", "11"),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_own_figures(tmp_path, kind):
    task, metrics, details, words = KINDS[kind]
    one = split(details=details, metrics=[vars(metric) for metric in metrics])
    one |= {"values": {metric.name: 0.5 for metric in metrics}, "errors": errors(right=[], pair="a context")}
    found = judgement(0.5, metric=vars(metrics[0]), splits={"validation": one})
    text = text_of(write_run(tmp_path / "run", found, task=task))
    for part in (*words, "a context", f"{metrics[0].title}, validation"):
        assert part in text
    assert "Confusion matrix" not in text and "Damaged" not in text


def test_errors_are_folded_and_escaped(tmp_path):
    pair, answer = HOSTILE[1], [EVIL, HOSTILE[2]]
    splits = {"validation": split(errors=errors(HOSTILE, pair=pair, right=answer, predicted=answer))}
    splits["test"] = split(labels=[EVIL, HOSTILE[1]], notes=[EVIL], errors=[])
    workdir = write_run(tmp_path / "run", judgement(splits=splits))
    write_suite(workdir, models=[EVIL, HOSTILE[1]])
    page = write_report([workdir], png=False)[0]
    html = page.read_text(encoding="utf-8")
    assert "alert(1)</script>" not in html and "<!--" not in html and html.count("<script") == 2
    text = " ".join(read_page(page).text)
    assert text.count(EVIL) > 40 and page.stat().st_size < 1_500_000
    # Marks that turn the writing around end with the element that they stand in.
    assert re.search("<bdi>left \u202e turned", html) and "\u202e" not in re.sub(
        "<bdi>.*?</bdi>",
        "",
        re.sub('(title|aria-label)="[^"]*"|<text.*?</text>', "", html.partition('id="data"')[0], flags=re.S),
        flags=re.S,
    )
    shown = section(workdir, "errors")
    assert shown.count('<div class="error">') == 20 and "14 more" in shown
    assert "and 10000 more characters" in shown and "y" * 20_000 in html and "y" * 20_001 not in html
    assert "example 0 of validation \u00b7 9.5" in shown


def test_short_texts_are_not_folded():
    assert (folded("a" * 240).whole, folded("a" * 241).whole) == ("", "a" * 241)
    assert folded("a" * 20_001).left_out == 1


def test_changed_texts_are_bars(tmp_path):
    workdir = write_run(tmp_path / "run", judgement())
    assert 'id="robustness"' not in write_report([workdir], png=False)[0].read_text(encoding="utf-8")
    write_suite(workdir)
    shown = section(workdir, "robustness")
    names = re.findall(r'<text x="0"[^>]*>([^<]+)</text>', shown)
    assert names == ["texts as they are", "typos", "upper case", "text", "changed text", "both"]
    assert "Accuracy on 200 texts" in shown and "<td>62.5% (57.5 to 67.5)</td>" in shown and "similarity" not in shown
    # 62.5% of the 360 units of the drawing.
    assert 'width="225.0"' in shown


HARMS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no object": (lambda found: [found], "an object is needed"),
    "a missing key": (lambda found: found.pop("metric") and found, "the key 'metric' is missing"),
    "a split of another shape": (lambda found: found["splits"].update(test=[1]), "the test split"),
    "a value of another type": (lambda found: found["splits"]["test"]["values"].update(f1="high"), "values.f1"),
    "a matrix that is not square": (
        lambda found: found["splits"]["test"]["details"]["confusion"].pop(),
        "the confusion matrix does not fit the labels",
    ),
    "labels that are numbers": (
        lambda found: found["splits"]["test"]["details"].update(labels=[1, 2]),
        "labels.0 is 1",
    ),
    "figures of labels": (
        lambda found: found["splits"]["test"]["details"].update(by_label={"a": {}}),
        "by_label.a.precision",
    ),
    "bins": (lambda found: found["splits"]["test"]["details"].update(calibration=[{"from": "low"}]), "calibration.0"),
    "errors": (lambda found: found["splits"]["test"]["errors"].extend([{"text": 5}, 3]), "2 errors of 22"),
    "answers": (lambda found: found["splits"]["test"]["errors"].append({"text": "a", "right": {}, "predicted": [1]}),
                "1 error of 21"),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_a_judgement_that_was_edited_is_named_and_the_rest_is_shown(tmp_path, harm):
    edit, said = HARMS[harm]
    found = judgement()
    replaced = edit(found)
    workdir = write_run(tmp_path / "run", replaced if harm == "no object" else found)
    (one,) = read_run(workdir, "run").damaged
    assert one.startswith("judgement.json: ") and said in one
    text = text_of(workdir)
    assert f"Damaged: {one}." in text and "Training loss" in text
    if harm not in ("no object", "a missing key"):
        assert "was judged on" in text and "75.00%" in text


@pytest.mark.parametrize("name", ["judgement.json", "suite.json"])
@pytest.mark.parametrize("harm", [b"", b"\xff\xfe", b'{"splits": {', b"[" * 5000, b"7", b'{"value": NaN}'])
def test_a_file_of_a_judgement_that_is_damaged(tmp_path, caplog, name, harm):
    workdir = write_run(tmp_path / "run", judgement())
    (workdir / name).write_bytes(harm)
    with caplog.at_level(logging.WARNING):
        text = text_of(workdir)
    assert f"Damaged: {name}: " in text and name in caplog.text and "Evaluations" in text


def test_figures_that_are_out_of_range(tmp_path):
    """A page is written of any numbers."""
    found = judgement(1e308)
    one = found["splits"]["test"]
    one["values"] |= {"accuracy": -1e300, "matthews": 10**300, "log_loss": None}
    one["details"]["confusion"] = [[0, 0], [0, 0]]
    one["details"]["by_label"]["no"] |= {"f1": -7.0, "precision": 1e300}
    one["details"]["calibration"] = [{"from": 3, "to": -1, "count": 9, "confidence": 5, "accuracy": None}]
    one["errors"][0] |= {"score": 1e300, "right": 1e300, "number": "x"}
    workdir = write_run(tmp_path / "run", found)
    write_suite(workdir)
    suite = json.loads((workdir / "suite.json").read_text())
    suite["results"]["runs/mine"]["films"]["details"]["by_perturbation"]["typos"]["accuracy"]["value"] = 7
    (workdir / "suite.json").write_text(json.dumps(suite))
    text = text_of(workdir)
    assert "was judged on" in text and ">typos<" not in section(workdir, "robustness") and "nan" not in text


# ----------------------------------------------------------------------------------------------------------------------
# Several runs


def test_seeds_and_settings(tmp_path):
    settings = {"rate=1e-3 epochs=3": (0.75, 0.8), "rate=1e-9 epochs=3": (0.5, 0.52)}
    failed = ["rate=1e-9,epochs=3/seed-0"]
    write_runs(tmp_path / "runs", settings, "rate=1e-3,epochs=3/seed-1", failed=failed)
    written = write_report([tmp_path / "runs"])
    assert written == [tmp_path / "runs" / "report.html", tmp_path / "runs" / "loss.png"]
    html = written[0].read_text(encoding="utf-8")
    text = " ".join(" ".join(read_page(written[0]).text).split())
    assert "2 settings, 4 runs" in text and "Accuracy on the validation split." in text
    assert "The run to use is rate=1e-3,epochs=3/seed-1" in text
    rows = re.findall(r"<tr( class=\"differs\")?><th scope=\"row\"><bdi>(.*?)</bdi>.*?</th>(.*?)</tr>", html)
    cells = {name: (bool(mark), re.findall("<td>(.*?)</td>", rest)) for mark, name, rest in rows}
    assert cells["rate=1e-3 epochs=3"] == (True, ["77.50%", "3.54", "75.00%", "80.00%", "none"])
    assert cells["rate=1e-9 epochs=3"] == (False, ["51.00%", "1.41", "50.00%", "52.00%", "1 of 2: seed 0"])
    assert cells["rate=1e-3,epochs=3/seed-1"] == (True, ["1", "20", "80.00%", "yes"])
    assert cells["rate=1e-9,epochs=3/seed-0"] == (False, ["0", "20", "50.00%", "no"])
    for card in ("77.5% \u00b1 3.5", "1 of 4", "80.0%", "4 min 00 s"):
        assert f"<b>{card}</b>" in html
    charts = data_of(written[0])["charts"]
    assert [one["title"] for one in charts] == ["Training loss", "Accuracy", "Validation loss", "Macro F1"]
    series = charts[1]["series"]
    assert [(one["name"], one["colour"], one["group"]) for one in series] == [
        ("rate=1e-3 epochs=3, seed 0", 0, "rate=1e-3 epochs=3"),
        ("rate=1e-3 epochs=3, seed 1 (chosen)", 0, "rate=1e-3 epochs=3"),
        ("rate=1e-9 epochs=3, seed 0", 1, "rate=1e-9 epochs=3"),
        ("rate=1e-9 epochs=3, seed 1", 1, "rate=1e-9 epochs=3"),
    ]
    assert [one.get("strong", False) for one in series] == [False, True, False, False]
    still = re.findall(r"<noscript><svg.*?</noscript>", html, re.S)[1]
    assert still.count("<polyline") == 4 and still.count("<li>") == 2
    # The figures below are those of the run to use.
    assert "The run to use" in text and "80.00%" in section(tmp_path / "runs", "answers")


def test_seeds_without_a_sweep_have_a_colour_each(tmp_path):
    write_runs(tmp_path / "runs", {"": (0.75, 0.8)}, "seed-1")
    page = write_report([tmp_path / "runs"], png=False)[0]
    series = data_of(page)["charts"][0]["series"]
    assert [(one["name"], one["colour"], one.get("group")) for one in series] == [
        ("seed 0", 0, None),
        ("seed 1 (chosen)", 1, None),
    ]
    assert "<bdi>all runs</bdi>" in page.read_text(encoding="utf-8")


def test_the_suite_of_several_runs_may_be_in_their_workdir(tmp_path):
    write_runs(tmp_path / "runs", {"": (0.75, 0.8)}, "seed-1")
    write_suite(tmp_path / "runs")
    assert "upper case" in section(tmp_path / "runs", "robustness")
    shutil.move(tmp_path / "runs" / "suite.json", tmp_path / "runs" / "seed-1" / "suite.json")
    assert "upper case" in section(tmp_path / "runs", "robustness")


def test_beside_other_runs_a_fine_tuning_stands_for_its_best_run(tmp_path):
    write_runs(tmp_path / "runs", {"": (0.75, 0.8)}, "seed-1")
    other = write_run(tmp_path / "other", judgement(0.6))
    page = write_report([tmp_path / "runs", other], tmp_path / "out", png=False)[0]
    html = page.read_text(encoding="utf-8")
    row = re.search(r"<th scope=\"row\">Accuracy, validation</th><td>(.*?)</td><td>(.*?)</td>", html)
    assert row is not None and row.groups() == ("80.00%", "60.00%") and 'id="answers"' not in html


def test_of_very_many_runs_some_are_drawn(tmp_path):
    write_runs(tmp_path / "runs", {"": [0.5 + number / 100 for number in range(43)]}, "seed-42")
    page = write_report([tmp_path / "runs"], png=False)[0]
    assert "The curves are those of 40 of the 43 runs." in page.read_text(encoding="utf-8")
    series = data_of(page)["charts"][0]["series"]
    assert len(series) == 40 and series[-1]["name"] == "seed 42 (chosen)"
    assert page.stat().st_size < 1_000_000


@pytest.mark.parametrize(
    "harm",
    [
        "",
        "[1]",
        '{"best": "seed-1"}',
        '{"best": "seed-1", "metric": {}, "settings": []}',
        '{"best": "../x", "metric": {"name": "a", "title": "b", "short": "c"}, "settings": [{"setting": "", "runs": '
        '[{"name": "../x", "seed": 0, "step": 1, "value": 1.0, "learned": true}]}]}',
    ],
)
def test_a_damaged_table_is_made_again_from_the_runs(tmp_path, harm):
    write_runs(tmp_path / "runs", {"a=1": (0.75, 0.8), "a=2": (0.9, 0.2)}, "a=1/seed-1")
    (tmp_path / "runs" / "finetune.json").write_text(harm)
    text = text_of(tmp_path / "runs")
    assert "Damaged: finetune.json: " in text and "The run to use is a=1/seed-1" in text
    assert "a=1 chosen 77.50%" in text and "a=2 55.00%" in text


def test_runs_that_cannot_be_read(tmp_path):
    """The run to use is gone, then no run has a judgement, then there is none."""
    write_runs(tmp_path / "runs", {"": (0.75, 0.8)}, "seed-1")
    shutil.rmtree(tmp_path / "runs" / "seed-1")
    text = text_of(tmp_path / "runs")
    assert "Damaged: seed-1: there is no such workdir, and the page leaves its curves out." in text
    assert "The run to use cannot be read. The figures below are those of seed-0." in text and "chosen" not in text
    (tmp_path / "runs" / "finetune.json").write_text("{")
    (tmp_path / "runs" / "seed-0" / "judgement.json").write_text("{")
    text = text_of(tmp_path / "runs")
    assert "The run to use cannot be read" in text and "seed-0: judgement.json: " in text
    shutil.rmtree(tmp_path / "runs" / "seed-0")
    with pytest.raises(InputError, match=r"no run of the fine-tuning.*E-REPORT-FINETUNE"):
        write_report([tmp_path / "runs"])
