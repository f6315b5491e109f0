"""What the command line itself decides: words it does not know, exit codes, and what it imports."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from jaxbert import cli
from jaxbert.config import PhaseConfig, RunConfig, ScheduleConfig
from jaxbert.errors import InputError, Interrupted, Stopped

COMMANDS = sorted(cli.parser()[1])

# (arguments, words that the one line on stderr must have)
BAD = {
    "unknown command": (["pretian", "x"], ["no command 'pretian'", "Did you mean pretrain?"]),
    "far from any command": (["xyzzy"], ["Known: pretrain"]),
    "unknown option": (["rows", "x", "--out", "y", "--lenght", "3"], ["--lenght", "Did you mean --length?"]),
    "abbreviated option": (["rows", "x", "--out", "y", "--len", "3"], ["unrecognized arguments: --len"]),
    "missing option": (["pretrain", "bert_base"], ["--workdir", "jaxbert pretrain --help"]),
    "missing argument": (["report"], ["WORKDIR"]),
    "no number": (["tokenizer", "text:a", "--vocab-size", "many", "--out", "x"], ["many"]),
    "unknown config": (["pretrain", "bert_bas", "--workdir", "new"], ["'bert_bas'", "Did you mean bert_base?"]),
    "no such config file": (["pretrain", "no.json", "--workdir", "new"], ["no such config file (no.json)"]),
    "mistyped --set": (["pretrain", "bert_base", "--workdir", "new", "--set", "sed=1"], ["Did you mean seed?"]),
    "--set without a value": (["pretrain", "bert_base", "--workdir", "new", "--set", "seed"], ["KEY=VALUE"]),
    "--set breaks a rule": (
        ["pretrain", "run.json", "--workdir", "new", "--set", "encoder.num_heads=7"],
        ["num_heads"],
    ),
    "a weight that is none": (["pretrain", "run.json", "--workdir", "new", "--data", "rows=heavy"], ["'heavy'"]),
    "a weight of nothing": (["pretrain", "run.json", "--workdir", "new", "--data", "rows=0"], ["positive"]),
    "report of nothing": (["report", "new"], ["no such workdir (new)", "jaxbert pretrain"]),
    "report of a file": (["report", "run.json"], ["a file where a workdir is due (run.json)"]),
    "report of another directory": (["report", "empty"], ["config.json"]),
    "report before the first line": (["report", "begun"], ["logged no step yet (begun)"]),
    "report to a file": (["report", "begun", "--out", "run.json"], ["a file where a directory is due"]),
    "checkpoints of nothing": (["checkpoint", "list", "new"], ["no such workdir (new)"]),
    "checkpoints of a young run": (["checkpoint", "verify", "begun"], ["no checkpoints (begun)"]),
    "unknown action": (["checkpoint", "lst", "begun"], ["lst"]),
    "figures to nowhere": (["doctor", "--json", "no/such/file.json"], ["--json no/such/file.json"]),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A current directory with run.json, an empty directory, and a run that has logged nothing."""
    monkeypatch.chdir(tmp_path)
    from jaxbert.config import save_json

    schedule = ScheduleConfig(warmup_steps=10)
    save_json(RunConfig(name="run", phases=(PhaseConfig(schedule=schedule),)), tmp_path / "run.json")
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    save_json(RunConfig(name="run"), tmp_path / "begun" / "config.json")
    return tmp_path


def snapshot(path):
    return {file: file.read_bytes() if file.is_file() else None for file in sorted(path.rglob("*"))}


@pytest.mark.parametrize("arguments, words", BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_exit_2_and_touches_nothing(place, capsys, arguments, words):
    before = snapshot(place)
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith("jaxbert: error: ") and "Traceback" not in err
    for word in words:
        assert word in err
    assert snapshot(place) == before


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (InputError("a", where="b", fix="c."), 2, "a (b). c."),
        (Interrupted("a", where="b", fix="c."), 3, "a (b). c."),
        (Stopped("a", where="b", fix="c."), 4, "a (b). c."),
        (KeyboardInterrupt(), 3, "The same command continues."),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 3, "the disk is full (/x/y)"),
        (OSError(errno.EDQUOT, "Quota exceeded", "/x/y"), 3, "the disk is full (/x/y)"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 2, "no permission (/x/y)"),
        (OSError(errno.EROFS, "Read-only", "/x/y"), 2, "no permission (/x/y)"),
        (InputError("a\n  b", where="c", fix="d."), 2, "a b (c). d."),
    ],
)
def test_each_end_has_its_exit_code(monkeypatch, capsys, raised, code, words):
    import jaxbert.doctor

    def fail():
        raise raised

    monkeypatch.setattr(jaxbert.doctor, "examine", fail)
    assert cli.main(["doctor"]) == code
    err = capsys.readouterr().err
    assert err.startswith("jaxbert: error: ") and err.count("\n") == 1 and words in err


def test_a_bug_keeps_its_traceback(monkeypatch):
    import jaxbert.doctor

    def fail():
        raise FileNotFoundError("some file of ours")

    monkeypatch.setattr(jaxbert.doctor, "examine", fail)
    with pytest.raises(FileNotFoundError):
        cli.main(["doctor"])


def test_help_and_mistakes_import_nothing_heavy():
    program = """
import sys
from jaxbert import cli
try:
    cli.main(["--help"])
except SystemExit:
    pass
for command in cli.parser()[1]:
    try:
        cli.main([command, "--help"])
    except SystemExit:
        pass
assert cli.main(["pretrain", "no.json", "--workdir", "x"]) == 2
heavy = {"jax", "numpy", "matplotlib", "pyarrow", "tokenizers", "tensorflow_datasets", "orbax"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert f"jaxbert {command}" in done.stdout


def test_the_module_runs_and_its_exit_code_is_the_process_s():
    done = subprocess.run([sys.executable, "-m", "jaxbert", "pretian"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "") and "Did you mean pretrain?" in done.stderr


def test_without_a_command_it_shows_help(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([])
    assert left.value.code == 0 and "COMMAND" in capsys.readouterr().out


@pytest.fixture
def phases():
    return RunConfig(name="run", phases=(PhaseConfig(name="short"), PhaseConfig(name="long")))


def rows_of(config):
    return [[(source.path, source.weight) for source in phase.rows] for phase in config.phases]


def test_data_for_every_phase_for_one_and_with_weights(phases):
    assert rows_of(cli.with_rows(phases, ["a", "b=0.25"])) == [[("a", 1.0), ("b", 0.25)]] * 2
    assert rows_of(cli.with_rows(phases, ["short:a", "long:b=3"])) == [[("a", 1.0)], [("b", 3.0)]]
    assert rows_of(cli.with_rows(phases, ["long:b"])) == [[], [("b", 1.0)]]
    # What is no phase is part of the path; so is an equals sign where such a path exists.
    assert rows_of(cli.with_rows(phases, ["gs://bucket/rows"])) == [[("gs://bucket/rows", 1.0)]] * 2
    assert cli.with_rows(phases, []) == phases


def test_data_with_an_equals_sign_in_its_path(phases, tmp_path):
    path = tmp_path / "length=128"
    path.mkdir()
    assert rows_of(cli.with_rows(phases, [str(path)])) == [[(str(path), 1.0)]] * 2


def test_pretrain_hands_over_the_changed_config(place, monkeypatch, capsys):
    import types

    seen = {}

    def pretrain(config, workdir, **options):
        seen.update(config=config, workdir=workdir, **options)
        return {"step": 3}

    monkeypatch.setitem(sys.modules, "jaxbert.train", types.SimpleNamespace(pretrain=pretrain))
    arguments = ["pretrain", "run.json", "--workdir", "new", "--data", "a", "--set", "seed=5", "--set", "name=x"]
    assert cli.main([*arguments, "--json", "figures.json"]) == 0
    assert (seen["config"].seed, seen["config"].name, rows_of(seen["config"])) == (5, "x", [[("a", 1.0)]])
    assert str(seen["workdir"]) == "new" and seen["init"] is None and seen["overwrite"] is False
    assert json.loads((place / "figures.json").read_text()) == {"step": 3}


def test_report_writes_its_page_and_its_figures(place, capsys):
    lines = [{"step": step, "loss": 9.0 - step} for step in (1, 2, 3)]
    (place / "begun" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert cli.main(["report", "begun", "--json", "files.json"]) == 0
    assert "wrote begun/report.html" in capsys.readouterr().out
    files = json.loads((place / "files.json").read_text())["files"]
    assert files == ["begun/report.html", "begun/loss.png"] and all(os.path.exists(file) for file in files)
