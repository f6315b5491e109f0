"""The page and the PNG of made-up workdirs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path, PurePosixPath

import pytest

from jaxbert.commands.main import main
from jaxbert.config import DataConfig, PhaseConfig, RowsSource, RunConfig, ScheduleConfig, save_json
from jaxbert.core.metrics import Metric, to_json
from jaxbert.data.shards import signature
from jaxbert.errors import InputError
from jaxbert.report.figures import beside, final_figures
from jaxbert.report.page import write_report
from jaxbert.report.read import read_run
from jaxbert.stores.steps import best_step, write_manifest
from tests.report.corpora import write_corpus
from tests.report.pages import data_of, read_page

_SCHEDULE = ScheduleConfig(peak=1e-3, warmup_steps=10)
CONFIG = RunConfig(
    name="tiny <b>run</b>",
    data=DataConfig(source="sample:aws-docs"),
    phases=(PhaseConfig(name="one", steps=60, batch_size=8, schedule=_SCHEDULE), PhaseConfig(name="two", steps=40)),
)
METRICS = (
    Metric("masked_lm_accuracy", "masked-LM accuracy", "mlm", note="Share of masked tokens."),
    Metric("closeness", "closeness of twins", "close", "number"),
)


def make_workdir(path, config=CONFIG, *, steps=100, validation=True):
    path.mkdir(parents=True)
    save_json(config, path / "config.json")
    lines = []
    for step in range(10, steps + 1, 10):
        lines.append({"step": step, "phase": "one", "loss": 9 - step / 20, "masked_lm_accuracy": step / 400,
                      "rate": 1e-3, "grad_norm": 1.0 + step, "skipped": 0})  # fmt: skip
        if validation and step % 50 == 0:
            lines.append({"step": step, "phase": "one", "validation_loss": 5.0 if step == 50 else 6.0,
                          "validation_masked_lm_accuracy": 0.2})  # fmt: skip
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 110, "lo')
    clocks = [{"step": 0, "versions": {"jax": "0.10.2"}, "devices": 1, "metrics": to_json(METRICS)}]
    # A resumed run: step 20 is there twice, and the second counts.
    clocks += [{"step": 20, "tokens_per_s": 1.0}, {"step": 20, "tokens_per_s": 500.0, "elapsed_s": 61.0}]
    (path / "telemetry.jsonl").write_text("".join(json.dumps(line) + "\n" for line in clocks))
    return path


def test_one_run(tmp_path):
    workdir = make_workdir(tmp_path / "run")
    (workdir / "evaluation.json").write_text(json.dumps({"baselines": {"left bigram": 0.194}}))
    page, png = write_report([workdir])
    assert (page, png) == (workdir / "report.html", workdir / "loss.png")
    assert png.read_bytes().startswith(b"\x89PNG")
    html = page.read_text(encoding="utf-8")
    text = " ".join(read_page(page).text)
    assert "<b>run</b>" not in html and "tiny <b>run</b>" in text
    for words in (
        "Masked-LM accuracy",
        "Gradient norm",
        "left bigram 19.4%",
        "5.0000 (step 50)",
        "0.10.2",
        "1 min 01 s",
    ):
        assert words in text
    # Self-contained: nothing is fetched (the only addresses are the names of XML's namespaces).
    assert not re.search(r"""(src|href)=["'](?!#)""", html.replace("xlink:href", "href"))
    assert "@import" not in html and "url(http" not in html
    # Colours are the page's variables, so that a dark browser can have its own.
    assert "var(--series-0)" in html and "prefers-color-scheme: dark" in html
    assert "#0072b2" not in html.split("</style>")[1]


def test_what_the_task_measures_has_its_title_on_the_page(tmp_path):
    """Titles and forms are those that the run wrote down, of a metric that no file of the report names."""
    workdir = make_workdir(tmp_path / "run")
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"step": 100, "closeness": 0.5, "validation_loss": 1.0,
                                      "validation_closeness": 0.25}) + "\n")  # fmt: skip
    html = write_report([workdir])[0].read_text(encoding="utf-8")
    assert ">Closeness of twins</h4>" in html and "<th>closeness of twins</th>" in html and "0.2500" in html
    figures = dict(final_figures(read_run(workdir, "run")))
    assert figures["Closeness of twins, last"] == "0.2500" and figures["Masked-LM accuracy, last"] == "20.00%"


def test_a_run_of_an_older_version_has_no_titles(tmp_path):
    workdir = make_workdir(tmp_path / "run")
    (workdir / "telemetry.jsonl").write_text(json.dumps({"step": 0, "versions": {"jax": "0.10.2"}}) + "\n")
    html = write_report([workdir])[0].read_text(encoding="utf-8")
    assert ">Masked lm accuracy</h4>" in html and "20.00%" in html


def test_ids_on_the_page_are_unique_and_found(tmp_path):
    page, _ = write_report([make_workdir(tmp_path / "run")])
    html = page.read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"url\(#([^)]+)\)", html)) | set(re.findall(r'href="#([^"]+)"', html))
    assert used and used <= set(ids)


def test_several_runs_beside_one_another(tmp_path):
    other = dataclasses.replace(CONFIG, name="other", seed=7)
    first, second = make_workdir(tmp_path / "a" / "run"), make_workdir(tmp_path / "b" / "run", other)
    written = write_report([first, second], tmp_path / "out")
    assert {path.name for path in written} == {"report.html", "loss-a-run.png", "loss-b-run.png"}
    assert not (first / "report.html").exists()
    text = " ".join(read_page(written[0]).text)
    assert "a/run: training" in text and "b/run: validation" in text and "seed" in text


def test_repeating_gives_the_same_page(tmp_path):
    page, png = write_report([make_workdir(tmp_path / "run")])
    before = page.read_bytes(), png.read_bytes()
    write_report([tmp_path / "run"])
    assert (page.read_bytes(), png.read_bytes()) == before


def test_names_that_matplotlib_would_read(tmp_path):
    """A formula between dollar signs, which is not one; and a label that legends leave out."""
    config = dataclasses.replace(CONFIG, name=r"a $\foo{$ b")
    names = [r"_$\x_{$", r"$\frac$"]
    workdirs = [make_workdir(tmp_path / name, config) for name in names]
    evaluation = {"baselines": {r"$\y^{$": 0.1}, "constant_answers": {"next_sentence": 0.677}}
    (workdirs[0] / "evaluation.json").write_text(json.dumps(evaluation))
    page, *_ = write_report(workdirs, tmp_path / "out")
    text = page.read_text(encoding="utf-8")
    for name in names:
        assert f"{name}: training" in text
    page, png = write_report(workdirs[:1])
    assert png.read_bytes().startswith(b"\x89PNG")
    text = " ".join(read_page(page).text)
    assert "A constant answer: next sentence" in text and "67.70%" in text


@pytest.mark.parametrize(("rows", "said"), [(0, "no validation split"), (5, "has not evaluated yet")])
def test_a_page_says_why_there_is_no_validation(tmp_path, rows, said):
    workdir = make_workdir(tmp_path / "run", validation=False)
    lines = (workdir / "telemetry.jsonl").read_text().splitlines()
    facts = {**json.loads(lines[0]), "validation_rows": rows}
    (workdir / "telemetry.jsonl").write_text("\n".join([json.dumps(facts), *lines[1:], ""]))
    page, _ = write_report([workdir])
    assert " ".join(read_page(page).text).count(said) == 2  # at the top and in the table
    assert said not in " ".join(read_page(write_report([make_workdir(tmp_path / "judged")])[0]).text)


def test_a_run_without_validation_or_clocks(tmp_path):
    workdir = make_workdir(tmp_path / "run", validation=False)
    (workdir / "telemetry.jsonl").unlink()
    page, _ = write_report([workdir])
    text = " ".join(read_page(page).text)
    assert "Throughput" not in text and "Evaluations" not in text and "Training loss" in text


def test_final_figures_count_rows_over_phases(tmp_path):
    found = dict(final_figures(read_run(make_workdir(tmp_path / "run", steps=80), "run")))
    assert found["Rows seen"] == f"{60 * 8 + 20 * 256:,}"
    assert found["Steps"] == "80 of 100"
    assert found["Throughput, median"] == "500 real tokens/s"


def test_beside_marks_what_differs_and_leaves_out_what_nobody_has():
    rows = beside([{"a": "1", "b": "2", "c": ""}, {"a": "1", "b": "3", "d": "4"}])
    assert [(row["name"], row["differs"]) for row in rows] == [("a", False), ("b", True), ("d", True)]


def test_what_is_not_ours_is_not_overwritten(tmp_path):
    workdir = make_workdir(tmp_path / "run")
    (workdir / "report.html").write_text("my own notes")
    with pytest.raises(InputError, match="E-RUN-REPORT-FOREIGN"):
        write_report([workdir])
    assert (workdir / "report.html").read_text() == "my own notes" and not (workdir / "loss.png").exists()


def test_the_same_workdir_twice(tmp_path):
    workdir = make_workdir(tmp_path / "run")
    with pytest.raises(InputError, match="E-ARGUMENT-TWICE"):
        write_report([workdir, tmp_path / "run" / ".." / "run"])


def test_files_with_odd_values_give_a_page_all_the_same(tmp_path):
    workdir = make_workdir(tmp_path / "run")
    odd = {"loss": "low", "validation_loss": "low", "validation_masked_lm_accuracy": [1], "grad_norm": math.nan,
           "rate": 10**400, "skipped": "none", "masked_lm_accuracy": True}  # fmt: skip
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"step": 100, **odd}) + "\n")
    clocks = {"elapsed_s": "long", "goodput": {}, "tokens_per_s": "many", "step_ms": {"p90": 1}, "host_rss_bytes": "b",
              "device_peak_bytes": [], "energy_joules": "x", "money": "y", "mfu": "z", "peak_source": 3}  # fmt: skip
    with (workdir / "telemetry.jsonl").open("a") as file:
        file.write(json.dumps({"step": 100, **clocks}) + "\n")
    for evaluation in ({"baselines": [1]}, {"baselines": {"left bigram": "0.2"}}, [1]):
        (workdir / "evaluation.json").write_text(json.dumps(evaluation))
        page, _ = write_report([workdir])
    text = " ".join(read_page(page).text)
    assert "5.0000 (step 50)" in text and "4.0000" in text and "1 min 01 s" in text and "low" not in text.split()


@pytest.mark.filterwarnings("error")
def test_gradient_norms_of_zero_draw_without_a_warning(tmp_path):
    workdir = make_workdir(tmp_path / "run")
    lines = [{"step": step, "loss": 1.0, "grad_norm": 0.0} for step in (1, 2, 3)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page, _ = write_report([workdir])
    assert "Gradient norm" in page.read_text(encoding="utf-8")


def test_files_that_are_no_json(tmp_path):
    make_workdir(tmp_path / "run")
    (tmp_path / "run" / "evaluation.json").write_text("{")
    command = rf"jaxbert evaluate {tmp_path}/run --baselines --json {tmp_path}/run/evaluation\.json"
    with pytest.raises(InputError, match=rf"evaluation\.json is damaged.*{command}.*E-REPORT-FILE"):
        read_run(tmp_path / "run", "run")
    (tmp_path / "run" / "evaluation.json").unlink()
    (tmp_path / "run" / "corpus.json").write_text('{"lines": ["Twelve')
    with pytest.raises(InputError, match=r"corpus\.json is damaged.*Repeat the `jaxbert pretrain`.*E-REPORT-FILE"):
        read_run(tmp_path / "run", "run")


_BAD_LINES = b'\xff\xfe\x00\n{}\n[1]\n{"step": 10, "lo\n' + b"[" * 5000 + b"\n" + b"\x00" * 4096 + b"\n"


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("metrics.jsonl", _BAD_LINES),
        ("telemetry.jsonl", _BAD_LINES),
        ("predictions.jsonl", _BAD_LINES),
        ("parameters.txt", _BAD_LINES),
        ("corpus.json", b"[1]"),
        ("evaluation.json", b"7"),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_shown(tmp_path, capsys, name, harm):
    workdir = make_workdir(tmp_path / "run")
    with (workdir / name).open("ab") as file:
        file.write(harm)
    assert main(["report", str(workdir)]) == 0
    (said,) = [line for line in capsys.readouterr().err.splitlines() if name in line]
    text = " ".join(read_page(workdir / "report.html").text)
    assert "Damaged:" in text and said.partition(f"{name}: ")[2] in text and "Gradient norm" in text
    if harm is _BAD_LINES and name != "parameters.txt":
        assert "6 of " in said


@pytest.mark.parametrize("name", ["corpus.json", "evaluation.json"])
@pytest.mark.parametrize("harm", [b"\xff\xfe", b'{"lines": [', b"[" * 5000])
def test_a_damaged_object_is_one_plain_error(tmp_path, name, harm):
    workdir = make_workdir(tmp_path / "run")
    (workdir / name).write_bytes(harm)
    with pytest.raises(InputError, match=rf"{name}.*E-REPORT-FILE"):
        read_run(workdir, "run")


def test_metrics_of_which_nothing_can_be_read(tmp_path):
    workdir = make_workdir(tmp_path / "run")
    (workdir / "metrics.jsonl").write_bytes(b"\xff\n" * 3)
    with pytest.raises(InputError, match=r"no line of the file.*metrics\.jsonl.*E-REPORT-FILE"):
        read_run(workdir, "run")


def test_what_a_script_of_the_page_finds(tmp_path):
    page, _ = write_report([make_workdir(tmp_path / "run")])
    html, data = page.read_text(encoding="utf-8"), data_of(page)
    assert re.findall(r'data-chart="(\d+)"', html) == [str(number) for number in range(len(data["charts"]))]
    loss = data["charts"][0]
    assert [one["name"] for one in loss["series"]] == ["training", "validation"]
    for chart in data["charts"]:
        for one in chart["series"]:
            assert len(data["steps"][one["steps"]]) == len(one["values"]) and one["run"] == 0
    assert data["runs"][0]["phases"] == [[60, "two"]]
    # Every element that the script or the page names is there, and no name is taken twice.
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    script = html.rpartition("<script>")[2]
    named = set(re.findall(r'getElementById\("([^"]+)"\)', script)) | set(re.findall(r'href="#([^"]+)"', html))
    for attribute in ("for", "aria-labelledby", "aria-describedby"):
        named |= set(re.findall(rf'\b{attribute}="([^"]+)"', html))
    assert len(named) > 10 and named <= set(ids)
    # The browser may fetch nothing at all.
    assert "default-src 'none'" in html


def test_texts_of_a_run_cannot_end_a_script_or_begin_markup(tmp_path):
    evil = "</script><script>alert(1)</script><!--<b>"
    workdir = make_workdir(tmp_path / "run", dataclasses.replace(CONFIG, name=evil))
    (workdir / "evaluation.json").write_text(json.dumps({"baselines": {evil: 0.2}}))
    (workdir / "corpus.json").write_text(json.dumps({"lines": [evil], evil: {"x": evil}}))
    line = {"step": 10, "sentence": f"{evil} [MASK] {evil}", "mask": "[MASK]", "truth": evil, "probability": 0.5}
    (workdir / "predictions.jsonl").write_text(json.dumps({**line, "words": [[evil, 0.5]]}) + "\n")
    with (workdir / "telemetry.jsonl").open("a") as file:
        facts = {name: evil for name in ("started", "command", "code", "machine", "device")}
        file.write(json.dumps({"step": 0, "versions": {"jax": evil}, "metrics": to_json(METRICS), **facts}) + "\n")
    page, _ = write_report([workdir])
    html = page.read_text(encoding="utf-8")
    assert "alert(1)</script>" not in html and "<!--" not in html and html.count("<script") == 2
    text = " ".join(read_page(page).text)
    assert text.count(evil) > 8 and any(one["name"].startswith(evil) for one in data_of(page)["charts"][1]["series"])


def test_a_long_run_is_thinned_and_the_page_says_so(tmp_path):
    workdir = make_workdir(tmp_path / "run")
    figures = [name for name in ("loss", "masked_lm_accuracy", "grad_norm", "rate", "update_norm")]
    lines = [
        {"step": step, "real_tokens": 10, **{name: (step * 7919 % 1000) / 1000 + 0.001 for name in figures}}
        for step in range(1, 20_001)
    ]
    lines[5000]["grad_norm"] = 77.0
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page, _ = write_report([workdir])
    assert page.stat().st_size < 400_000 and "the mean of up to 40 of them" in page.read_text(encoding="utf-8")
    charts = {chart["title"]: chart["series"][0] for chart in data_of(page)["charts"]}
    norm = charts["Gradient norm"]
    assert len(norm["values"]) == 500 == len(norm["low"]) and max(norm["high"]) == 77.0 and max(norm["values"]) < 5
    mean = sum(line["loss"] for line in lines[:40]) / 40
    assert charts["Loss"]["values"][0] == pytest.approx(mean, rel=1e-5)
    assert "the mean of up to" not in write_report([make_workdir(tmp_path / "short")])[0].read_text(encoding="utf-8")


def test_many_long_runs_stay_below_a_megabyte(tmp_path):
    workdirs = [make_workdir(tmp_path / str(number), steps=100) for number in range(6)]
    for workdir in workdirs:
        lines = [{"step": step, "loss": step / 7, "grad_norm": step / 3, "rate": 1 / step} for step in range(1, 5000)]
        (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = write_report(workdirs, tmp_path / "out", png=False)[0]
    assert page.stat().st_size < 1_000_000


def test_axes_in_tokens_epochs_and_hours(tmp_path):
    workdir = make_workdir(tmp_path / "run", steps=40)
    lines = [{"step": step, "loss": 1.0, "real_tokens": 100, "epoch": step / 80} for step in (10, 20, 30, 40)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with (workdir / "telemetry.jsonl").open("a") as file:
        file.write(json.dumps({"step": 40, "elapsed_s": 7200}) + "\n")
    axes = data_of(write_report([workdir])[0])["runs"][0]["axes"]
    assert axes["tokens"] == [[0, 10, 20, 30, 40], [0, 1000, 2000, 3000, 4000]]
    assert axes["epochs"] == [[0, 10, 20, 30, 40], [0, 0.125, 0.25, 0.375, 0.5]]
    assert axes["hours"] == [[0, 20, 40], [0, pytest.approx(61 / 3600, rel=1e-5), 2]]
    # A run that counts its tokens is believed.
    (workdir / "metrics.jsonl").write_text(
        "".join(json.dumps({**line, "tokens": 7 * line["step"]}) + "\n" for line in lines)
    )
    assert data_of(write_report([workdir])[0])["runs"][0]["axes"]["tokens"][1] == [0, 70, 140, 210, 280]


def test_epochs_are_summed_over_phases(tmp_path):
    """Runs of an earlier version counted anew in each phase."""
    workdir = make_workdir(tmp_path / "run", steps=80)

    def axis(*epochs):
        lines = [
            {"step": step, "phase": "one" if step <= 60 else "two", "loss": 1.0, "epoch": epoch}
            for step, epoch in zip((30, 60, 70, 80, 90), epochs, strict=False)
        ]
        (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return data_of(write_report([workdir], png=False)[0])["runs"][0]["axes"]["epochs"][1]

    assert axis(0.25, 0.5, 0.75, 1.0) == [0, 0.25, 0.5, 0.75, 1.0]
    assert axis(0.25, 0.5, 0.25, 0.5, 0.75) == [0, 0.25, 0.5, 0.75, 1.0, 1.25]


def test_epochs_of_a_run_without_them_come_from_the_manifests_of_its_rows(tmp_path):
    """The passes are those of which the judgement speaks: of the source that comes round most, copies counted."""
    sources = []
    for name, rows, copies in (("much", 400, 1), ("little", 100, 2)):
        manifest = {
            **{"kind": "rows", "policy": "packed", "length": 128, "vocab_size": 30, "pad_id": 0, "origins": 1},
            **{"counts": {"train": rows}, "arguments": {"copies": copies}, "splits": {}, "statistics": {}},
            **{"tokenizer_hash": "t", "hash": "h"},
        }
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(json.dumps({**manifest, "sha256": signature(manifest)}))
        sources.append(RowsSource(path=str(tmp_path / name)))
    phases = (dataclasses.replace(CONFIG.phases[0], rows=tuple(sources)), CONFIG.phases[1])
    phases = (phases[0], dataclasses.replace(phases[1], rows=(sources[0],), batch_size=8))
    workdir = make_workdir(tmp_path / "run", dataclasses.replace(CONFIG, phases=phases))
    axes = data_of(write_report([workdir], png=False)[0])["runs"][0]["axes"]
    # 60 steps of 4 rows of the little text, of which each piece is in two rows, and 40 steps of 8 of the other.
    assert axes["epochs"] == [[0, 60, 100], [0, 4.8, pytest.approx(5.6)]]
    (tmp_path / "little" / "manifest.json").unlink()
    assert "epochs" not in data_of(write_report([workdir], png=False)[0])["runs"][0]["axes"]


def test_the_best_loss_is_one_of_the_last_phase(tmp_path):
    """Rows of another length have other losses, and the workdir stands for the best step of the last phase."""
    workdir = make_workdir(tmp_path / "run", steps=90)
    evaluations = ((50, "one", 2.0), (70, "two", 4.5), (80, "two", 4.0), (90, "two", 4.0))
    for step, phase, loss in evaluations:
        at = {"phase": {"one": 0, "two": 1}[phase], "evaluated_phase": {"one": 0, "two": 1}[phase]}
        with (workdir / "metrics.jsonl").open("a" if step > 50 else "w") as file:
            file.write(json.dumps({"step": step, "phase": phase, "loss": 1.0, "validation_loss": loss}) + "\n")
        (workdir / "checkpoints" / str(step)).mkdir(parents=True)
        write_manifest(workdir, step, {**at, "validation_loss": loss})
    run = read_run(workdir, "run")
    assert dict(final_figures(run))["Validation loss, best"] == "4.0000 (step 80)"
    assert best_step(workdir) == 80
    kept = dataclasses.replace(CONFIG, checkpoint=dataclasses.replace(CONFIG.checkpoint, keep_best=False))
    figures = dict(final_figures(dataclasses.replace(run, config=kept)))
    assert figures["Validation loss, best"] == "4.0000 (step 80, whose checkpoint may not be kept)"


def test_interruptions_and_what_they_cost(tmp_path):
    workdir = make_workdir(tmp_path / "run")
    facts = {"versions": {"jax": "0.10.2"}, "metrics": to_json(METRICS)}
    lines = [
        {
            "step": 0,
            "started": "2026-01-01 10:00:00 UTC",
            "command": "jaxbert pretrain a",
            "code": "jaxbert 1",
            **facts,
        },
        {"step": 40, "elapsed_s": 10.0},
        {"step": 70, "elapsed_s": 20.0},
        {"step": 50, "started": "2026-01-02 10:00:00 UTC", **facts},
        {"step": 100, "elapsed_s": 45.0, "energy_joules": 7.2e6, "energy_source": "estimated"},
    ]
    (workdir / "telemetry.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page, _ = write_report([workdir])
    text = " ".join(" ".join(read_page(page).text).split())
    assert "interrupted and continued once; at least 20 steps were done again" in text
    assert "2026-01-02 10:00:00 UTC" in text and "jaxbert pretrain a" in text and "2 kWh (estimated)" in text
    assert "logging.carbon_per_kwh is not set" in text and "logging.price_per_hour is not set" in text
    assert data_of(page)["runs"][0]["resumes"] == [50]
    settings = dataclasses.replace(CONFIG.logging, carbon_per_kwh=300.0)
    save_json(dataclasses.replace(CONFIG, logging=settings), workdir / "config.json")
    assert "600 g CO2e, at 300 g for a kWh" in " ".join(read_page(write_report([workdir])[0]).text)


def test_predictions_and_the_corpus(tmp_path):
    workdir = make_workdir(tmp_path / "run")
    lines = [
        {"step": step, "sentence": "The [MASK] barks.", "mask": "[MASK]", "truth": "dog", "probability": step / 100,
         "words": [["cat", 0.5], ["dog", step / 100]]}
        for step in range(10, 60, 5)
    ]  # fmt: skip
    odd = [{"step": 10, "sentence": 5}, {"step": 10, "sentence": "x", "words": [["a"]]}, {"step": "x"}, {"words": 1}]
    (workdir / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*odd, *lines]))
    (workdir / "corpus.json").write_text(json.dumps({"lines": ["Twelve documents.", 5], "near_copies": {"share": 0.1},
                    "warnings": [{"what": "few words", "fix": "Give `more`."}, 7],
                    "refusals": [{"what": "no words", "fix": ""}]})
    )  # fmt: skip
    (workdir / "parameters.txt").write_text(
        "parameter  shape    spec  decay\na/b        2 x 10   -     no\nc          7  -  no\n"
    )
    page, _ = write_report([workdir])
    text = " ".join(" ".join(read_page(page).text).split())
    assert "8 of 10 evaluations" in text and "true word: dog" in text and "Twelve documents." in text
    assert "near copies: share 0.1" in text and "Parameters 27" in text
    # Sentences and findings are in the open, and the table of figures repeats none of them.
    shown = page.read_text(encoding="utf-8").partition('id="corpus"')[2].partition("<details>")
    assert "Twelve documents." in shown[0] and "<b>Look at:</b> few words. Give <code>more</code>." in shown[0]
    assert "<b>Refused:</b> no words.</li>" in shown[0] and "1 figures" in shown[2] and "warnings" not in text
    chart = data_of(page)["charts"][-1]
    assert chart["title"] == "Probability of the true word" and chart["series"][0]["values"][-1] == 0.55
    assert 'class="word right"' in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("held", [0, 1], ids=["warnings", "refusals"])
def test_the_summary_of_a_corpus_as_a_run_writes_it(tmp_path, held):
    workdir = make_workdir(tmp_path / "run")
    judged = write_corpus(workdir, CONFIG, rows=9, held=held)
    assert len(judged.lines()) > 3 and (judged.refusals if held else judged.warnings)
    shown = read_page(write_report([workdir])[0]).text
    text = " ".join(" ".join(shown).split())
    section = text.partition("Corpus ")[2]
    for line in [*judged.lines(), *(one.fix for one in (*judged.warnings, *judged.refusals))]:
        assert "".join(line.replace("`", "").split()) in "".join(section.split()), line
    for name in ("train tokens 100000", "phases: 0: rows 9", "corpus: vocabulary: unused 10"):
        assert name in section


def test_runs_beside_one_another_in_each_sentence_that_they_share(tmp_path):
    def run(name, mask, *sentences):
        workdir = make_workdir(tmp_path / name)
        lines = [
            {"step": step, "sentence": text.replace("_", mask), "mask": mask, "truth": truth,
             "probability": step / high, "words": [[truth, step / high]]}
            for step in (20, 10) for text, truth, high in sentences
        ]  # fmt: skip
        (workdir / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return workdir

    dog, cat = "The _ barks <b>.", "A _ sleeps."
    first = run("first", "[MASK]", (dog, "dog", 100), (cat, "cat", 100))
    second = run("second", "<mask>", (cat, "cat", 50), (dog, "dog", 200))
    third = run("third", "[MASK]", (cat, "cow", 100))
    page = write_report([first, second, third], tmp_path / "out", png=False)[0]
    charts = [one for one in data_of(page)["charts"] if one["title"].startswith("Probability")]
    assert [one["title"] for one in charts] == ["Probability of \u201cdog\u201d", "Probability of \u201ccat\u201d"]
    lines = [[(line["name"], line["run"], line["values"]) for line in chart["series"]] for chart in charts]
    assert lines[0] == [("first", 0, [0.1, 0.2]), ("second", 1, [0.05, 0.1])]
    assert lines[1] == [("first", 0, [0.1, 0.2]), ("second", 1, [0.2, 0.4])]
    assert "The ___ barks &lt;b&gt;." in page.read_text(encoding="utf-8")
    apart = write_report([first, third], tmp_path / "apart", png=False)[0]
    assert "No two of the runs have a sentence" in " ".join(read_page(apart).text)


def test_a_chart_in_words_in_a_table_and_without_scripts(tmp_path):
    html = write_report([make_workdir(tmp_path / "run")])[0].read_text(encoding="utf-8")
    assert "Loss: training from 8.5000 at step 10 to 4.0000 at step 100 (lowest 4.0000, highest 8.5000); valid" in html
    stills = re.findall(r"<noscript><svg.*?</noscript>", html, re.S)
    assert len(stills) == html.count("<figure") and all("<polyline" in still for still in stills)
    first = html.partition("<figure")[2].partition("</figure>")[0]
    assert "<td>50</td><td>6.5000</td><td>5.0000</td>" in first


def test_no_two_levels_of_a_chart_look_the_same(tmp_path):
    workdir = make_workdir(tmp_path / "run")
    levels = {f"counts {number}": number / 10 for number in range(8)}
    (workdir / "evaluation.json").write_text(json.dumps({"baselines": levels}))
    page, _ = write_report([workdir])
    series = data_of(page)["charts"][1]["series"]
    assert len({(one["colour"], one["dash"]) for one in series}) == len(series) == 10
    assert all((one["dash"] > 0) == (one["kind"] == "constant") for one in series)
    still = page.read_text(encoding="utf-8").split("<noscript><svg")[2].partition("</noscript>")[0]
    looks = re.findall(r"<polyline [^>]*(stroke=.*?)/>", still)
    assert len(set(looks)) == 10 and len(set(re.findall(r'<span style="(.*?)"', still))) == 10


def test_seven_runs_have_seven_looks(tmp_path):
    workdirs = [make_workdir(tmp_path / str(number), validation=False) for number in range(7)]
    series = data_of(write_report(workdirs, tmp_path / "out", png=False)[0])["charts"][0]["series"]
    assert len({(one["colour"], one["dash"]) for one in series}) == 7


def test_the_loss_of_the_only_term_is_not_drawn_twice(tmp_path):
    workdir = make_workdir(tmp_path / "run")
    lines = [{"step": step, "loss": 9 - step, "masked_lm_loss": 9 - step, "order_loss": 1.0} for step in (1, 2)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (workdir / "telemetry.jsonl").write_text(json.dumps({"step": 0, "versions": {"jax": "0"}}) + "\n")
    assert [chart["title"] for chart in data_of(write_report([workdir])[0])["charts"]] == ["Loss", "Order loss"]


def test_a_name_in_a_note_is_code(tmp_path):
    workdir = make_workdir(tmp_path / "run")
    metrics = to_json((dataclasses.replace(METRICS[0], note="What `evaluate` <prints>."),))
    (workdir / "telemetry.jsonl").write_text(json.dumps({"step": 0, "versions": {}, "metrics": metrics}) + "\n")
    html = write_report([workdir])[0].read_text(encoding="utf-8")
    assert "What <code>evaluate</code> &lt;prints&gt;." in html


def test_the_library_of_the_charts_is_the_one_that_is_noted():
    folder = files("jaxbert.report").joinpath("vendor")
    noted = re.findall(r"\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|", folder.joinpath("README.md").read_text())
    assert {name for name, _ in noted} == {"uPlot.iife.min.js", "uPlot.min.css", "LICENSE"}
    for name, digest in noted:
        assert hashlib.sha256(folder.joinpath(name).read_bytes()).hexdigest() == digest
    assert "Permission is hereby granted" in folder.joinpath("LICENSE").read_text()


def test_the_style_the_script_and_the_library_are_in_the_package():
    patterns = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["tool"]["setuptools"]
    wanted = patterns["package-data"]["jaxbert.report"] + patterns["package-data"]["*"]
    folder = Path(str(files("jaxbert.report")))
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.suffix not in (".py", ".pyc") and not name.startswith("browser/"):
            assert any(PurePosixPath(name).match(pattern) for pattern in wanted), name


def test_a_page_is_written_without_jax(tmp_path):
    workdir = make_workdir(tmp_path / "run")
    program = (
        "import sys; from pathlib import Path; from jaxbert.report.page import write_report; "
        f"write_report([Path({str(workdir)!r})]); assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
