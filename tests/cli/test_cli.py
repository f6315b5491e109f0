"""What the command line itself decides: words it does not know, exit codes, and what it imports."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from jaxbert.commands import main as cli
from jaxbert.commands.pretrain import words_of
from jaxbert.config import NumericsConfig, PhaseConfig, RunConfig, ScheduleConfig, find_config
from jaxbert.errors import InputError, Interrupted, Stopped
from jaxbert.run.deterministic import ask_for_deterministic_kernels
from jaxbert.run.pool import ask_for_gpu_memory
from jaxbert.run.wanted import with_rows

COMMANDS = sorted(cli.parser()[1])

# (arguments, words that the one line on stderr must have)
BAD = {
    "unknown command": (["pretian", "x"], ["'pretian'", "Did you mean pretrain?", "E-ARGUMENT-COMMAND"]),
    "far from any command": (["xyzzy"], ["Known: pretrain", "E-ARGUMENT-COMMAND"]),
    "unknown option": (["rows", "x", "--out", "y", "--lenght", "3"], ["--lenght", "Did you mean --length?"]),
    "abbreviated option": (["rows", "x", "--out", "y", "--len", "3"], ["unrecognized arguments: --len"]),
    "missing option": (["convert", "x", "y"], ["--to", "jaxbert convert --help", "E-ARGUMENT-USAGE"]),
    "missing argument": (["report"], ["WORKDIR"]),
    "no number": (["tokenizer", "text:a", "--vocab-size", "many", "--out", "x"], ["many"]),
    "option that is a setting": (
        ["pretrain", "smoke", "--batch-size", "3"],
        ["Did you mean --set phases.0.batch_size=VALUE or --set evaluation.batch_size=VALUE?"],
    ),
    "unknown config": (["pretrain", "bert_bas", "--workdir", "new"], ["'bert_bas'", "Did you mean bert_base?"]),
    "no such config file": (["pretrain", "no.json", "--workdir", "new"], ["(no.json)", "E-CONFIG-MISSING"]),
    "mistyped --set": (["pretrain", "bert_base", "--workdir", "new", "--set", "sed=1"], ["Did you mean seed?"]),
    "--set without a value": (["pretrain", "bert_base", "--workdir", "new", "--set", "seed"], ["E-SET-FORM"]),
    "--set breaks a rule": (
        ["pretrain", "run.json", "--workdir", "new", "--set", "encoder.num_heads=7"],
        ["num_heads"],
    ),
    "a weight that is none": (
        ["pretrain", "run.json", "--workdir", "new", "--data", "rows=heavy"],
        ["'heavy'", "E-ARGUMENT-WEIGHT"],
    ),
    "a weight without end": (["pretrain", "run.json", "--workdir", "new", "--data", "rows=inf"], ["E-ARGUMENT-WEIGHT"]),
    "a weight of nothing": (["pretrain", "run.json", "--workdir", "new", "--data", "rows=0"], ["E-ARGUMENT-WEIGHT"]),
    "report of nothing": (["report", "new"], ["no such workdir (new)", "jaxbert pretrain"]),
    "report of a file": (["report", "run.json"], ["(run.json)", "E-WORKDIR-MISSING"]),
    "report of another directory": (["report", "empty"], ["config.json"]),
    "report before the first line": (["report", "begun"], ["(begun)", "E-RUN-NO-STEP"]),
    "report to a file": (["report", "begun", "--out", "run.json"], ["(run.json)", "E-ARGUMENT-OUT"]),
    "checkpoints of nothing": (["checkpoint", "list", "new"], ["(new)", "E-WORKDIR-MISSING"]),
    "checkpoints of another directory": (["checkpoint", "list", "empty"], ["no config.json", "E-WORKDIR-MISSING"]),
    "checkpoints of a young run": (["checkpoint", "verify", "begun"], ["(begun)", "E-CHECKPOINT-NONE"]),
    "unknown action": (["checkpoint", "lst", "begun"], ["lst"]),
    "a config without a name": (
        ["pretrain", "empty.json", "--workdir", "new"],
        ["'name' (empty.json)", "E-CONFIG-KEY"],
    ),
    "a config that does not work": (["pretrain", "bad.py", "--workdir", "new"], ["SyntaxError", "bad.py"]),
    "a text that is no text": (["fill-mask", "run", "a \udcff [MASK]"], ["'a \\udcff [MASK]'", "E-MASK-UTF8"]),
    "a text of nothing": (["fill-mask", "run"], ["E-MASK-EMPTY"]),
    "a tokenizer to a file": (
        ["tokenizer", "text:text.txt", "--vocab-size", "300", "--out", "run.json"],
        ["(run.json)", "E-TOKENIZER-OUT"],
    ),
    "a tokenizer over something else": (
        ["tokenizer", "text:text.txt", "--vocab-size", "300", "--out", "begun"],
        ["(begun)", "E-TOKENIZER-EXISTS"],
    ),
    "checkpoints of a bucket to prune": (["checkpoint", "prune", "gs://b/run"], ["gs://b/run", "E-CHECKPOINT-REMOTE"]),
    "workers' files without workers": (
        ["rows", "records", "--out", "new", "--length", "32", "--staging", "gs://b/s"],
        ["--staging", "E-ARGUMENT-STAGING"],
    ),
    "rows too short": (["prepare", "text:a", "--tokenizer", "t", "--out", "new", "--length", "3"], ["3"]),
    "no copies": (["prepare", "text:a", "--tokenizer", "t", "--out", "new", "--copies", "0"], ["0"]),
    "no share": (["prepare", "text:a", "--tokenizer", "t", "--out", "new", "--short-rows", "2"], ["2"]),
    "unknown policy": (["prepare", "text:a", "--tokenizer", "t", "--out", "new", "--policy", "pair"], ["pair"]),
    "all held out": (
        ["tokenizer", "text:a", "--vocab-size", "300", "--out", "new", "--validation-fraction", "1"],
        ["--validation-fraction", "E-ARGUMENT-RANGE"],
    ),
    "figures to a directory": (["doctor", "--json", "empty"], ["(--json empty)", "E-ARGUMENT-JSON"]),
    "steps that are none": (["pretrain", "run.json", "--workdir", "new", "--profile", "9:3"], ["E-ARGUMENT-PROFILE"]),
    "an unknown kind": (
        ["tokenizer", "text:a", "--kind", "wordpeace", "--vocab-size", "300", "--out", "new"],
        ["--kind", "Did you mean wordpiece?"],
    ),
    "figures to nowhere": (["doctor", "--json", "no/such/file.json"], ["--json no/such/file.json", "E-ARGUMENT-JSON"]),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A current directory with run.json, an empty directory, and a run that has logged nothing."""
    monkeypatch.chdir(tmp_path)
    from jaxbert.config import save_json

    schedule = ScheduleConfig(warmup_steps=10)
    save_json(RunConfig(name="run", phases=(PhaseConfig(schedule=schedule),)), tmp_path / "run.json")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.json").write_text("{}")
    (tmp_path / "text.txt").write_text("some words")
    (tmp_path / "bad.py").write_text("def get_config(:")
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
        (InputError("a", where="b", fix="c.", code="E-TEST"), 2, "a (b). c."),
        (Interrupted("a", where="b", fix="c.", code="E-TEST"), 3, "a (b). c."),
        (Stopped("a", where="b", fix="c.", code="E-TEST"), 4, "a (b). c."),
        (KeyboardInterrupt(), 3, "The same command continues. [E-SIGNAL-INTERRUPT]"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 3, "the disk is full (/x/y)"),
        (OSError(errno.EDQUOT, "Quota exceeded", "/x/y"), 3, "the disk is full (/x/y)"),
        (InputError("a\n  b", where="c", fix="d.", code="E-TEST"), 2, "a b (c). d."),
    ],
)
def test_each_end_has_its_exit_code(monkeypatch, capsys, raised, code, words):
    monkeypatch.setattr("jaxbert.observe.doctor.examine", failing(raised))
    assert cli.main(["doctor"]) == code
    err = capsys.readouterr().err
    assert err.startswith("jaxbert: error: ") and err.count("\n") == 1 and words in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["doctor"], 0, ""),
        (["checkpoint", "list"], 0, ""),
        (["launch", "status"], 0, ""),
        (["launch", "gke", "--dry-run"], 0, ""),
        (["pretrain"], 3, "The same command continues"),
        (["checkpoint", "prune"], 3, "The same command continues"),
        (["launch", "gke"], 3, "jaxbert launch status"),
    ],
)
def test_a_command_that_nobody_reads_is_done_only_if_printing_is_all_it_does(words: list[str], code: int, said: str):
    program = f"""
import sys
from jaxbert.commands import main
def closed(words):
    raise BrokenPipeError
main._run = closed
sys.exit(main.main({words}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr and "E-OUTPUT-CLOSED" in done.stderr if said else not done.stderr


@pytest.mark.parametrize(("words", "code"), [(["pretrain", "no_such_config"], 2), (["plan", "--help"], 0)])
def test_the_exit_code_is_the_same_where_nobody_reads_anything(words: list[str], code: int):
    """As after `jaxbert ... 2>&1 | head -1`: both streams lead into a pipe that is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run([sys.executable, "-m", "jaxbert", *words], stdout=writing, stderr=writing, check=False)
    finally:
        os.close(writing)
    assert done.returncode == code


def failing(raised):
    def fail(*arguments, **options):
        raise raised

    return fail


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "E-ARGUMENT-PERMISSION"),
        (OSError(errno.EROFS, "Read-only", "a/b/c"), "E-ARGUMENT-PERMISSION"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a"), "E-ARGUMENT-PATH"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "a/b"), "E-ARGUMENT-PATH"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a/b"), "E-ARGUMENT-PATH"),
    ],
)
def test_errors_of_a_path_that_the_user_chose_are_wrong_input(place, monkeypatch, capsys, raised, code):
    monkeypatch.setattr("jaxbert.report.page.write_report", failing(raised))
    assert cli.main(["report", "begun", "--out", "a/b"]) == 2
    err = capsys.readouterr().err
    assert f"({raised.filename})" in err and err.endswith(f"[{code}]\n") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "filename", "chosen"),
    [
        (["prepare", "text:/data/*.txt", "--out", "r"], "/data/one.txt", True),
        (["prepare", "jsonl:/data/x.jsonl#text", "--out", "r"], "/data/x.jsonl", True),
        (["pretrain", "run.json", "--workdir", "w", "--data", "main:/rows=0.5"], "/rows/shard", True),
        (["pretrain", "run.json", "--workdir", "w", "--set", "data.source=text:/data/x"], "/data/x", True),
        (["pretrain", "own.json", "--workdir", "w"], "/far/rows/manifest.json", True),
        (["pretrain", "run.json", "--workdir", "w"], "/far/rows/manifest.json", False),
        (["pretrain", "run.json", "--workdir", "w"], "/usr/lib/python3/module.py", False),
        (["report", "begun"], "/proc/stat", False),
        # Only what the user gave, its parent, and files that a command reads directly in it.
        (["report", "begun"], "begun/config.json", True),
        (["report", "begun"], "begun/checkpoints/7/params/_METADATA", False),
        (["report", "begun", "--out", "/"], "/usr/lib/bug.so", False),
        (["report", "begun", "--out", "new/deep/page"], "new", True),
        (["report", "begun", "--out", "/usr/lib/deep/page"], "/usr", False),
        (["report", "gone"], "gone/checkpoints/7/params/_METADATA", True),
    ],
)
def test_which_paths_the_user_chose(place, words, filename, chosen):
    from jaxbert.config import RowsSource, save_json

    save_json(RunConfig(name="own", phases=(PhaseConfig(rows=(RowsSource(path="/far/rows"),)),)), place / "own.json")
    error = FileNotFoundError(errno.ENOENT, "No such file or directory", filename)
    assert (cli._known(error, words) is not None) == chosen


@pytest.mark.parametrize(
    "raised",
    [
        FileNotFoundError("some file of ours"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/somewhere/else"),
        OSError(errno.EBADF, "Bad file descriptor", "begun"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    ],
)
def test_a_bug_keeps_its_traceback(place, monkeypatch, raised):
    monkeypatch.setattr("jaxbert.report.page.write_report", failing(raised))
    with pytest.raises(type(raised)):
        cli.main(["report", "begun"])


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), ("", False)])
def test_the_whole_traceback_of_any_end_is_shown_when_asked_for(place, monkeypatch, capsys, value, shown):
    monkeypatch.setenv("JAXBERT_TRACEBACK", value)
    assert cli.main(["pretrain", "no.json", "--workdir", "new"]) == 2
    err = capsys.readouterr().err
    # The first error, which `raise ... from None` hides, is in it too.
    assert ("Traceback" in err) == ("FileNotFoundError" in err) == shown
    assert err.splitlines()[-1].startswith("jaxbert: error: ")


def test_help_and_mistakes_import_nothing_heavy():
    program = """
import sys
from jaxbert.commands import main as cli
try:
    cli.main(["--help"])
except SystemExit:
    pass
for command in cli.parser()[1]:
    if command in ("tokenizer", "prepare", "rows"):
        continue
    try:
        cli.main([command, "--help"])
    except SystemExit:
        pass
assert cli.main(["pretrain", "no.json", "--workdir", "x"]) == 2
heavy = {"jax", "numpy", "matplotlib", "pyarrow", "tokenizers", "tensorflow_datasets", "orbax"} & set(sys.modules)
assert not heavy, heavy
# These list the names of registries, whose modules know numpy.
for command in ("tokenizer", "prepare", "rows"):
    try:
        cli.main([command, "--help"])
    except SystemExit:
        pass
assert "jax" not in sys.modules
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
    assert rows_of(with_rows(phases, ["a", "b=0.25"])) == [[("a", 1.0), ("b", 0.25)]] * 2
    assert rows_of(with_rows(phases, ["short:a", "long:b=3"])) == [[("a", 1.0)], [("b", 3.0)]]
    assert rows_of(with_rows(phases, ["long:b"])) == [[], [("b", 1.0)]]
    # What is no phase is part of the path; so is an equals sign where such a path exists.
    assert rows_of(with_rows(phases, ["gs://bucket/rows"])) == [[("gs://bucket/rows", 1.0)]] * 2
    assert with_rows(phases, []) == phases


def test_data_with_an_equals_sign_in_its_path(phases, tmp_path):
    path = tmp_path / "length=128"
    path.mkdir()
    assert rows_of(with_rows(phases, [str(path)])) == [[(str(path), 1.0)]] * 2


@pytest.fixture
def trained(monkeypatch):
    """What the command hands over to training, which does not happen."""
    import types

    seen = {}

    def train(asked, workdir, **options):
        flag = "--xla_gpu_deterministic_ops=true" in os.environ.get("XLA_FLAGS", "")
        seen.update(asked=asked, workdir=workdir, deterministic=flag, **options)
        return {"step": 3}

    monkeypatch.setitem(sys.modules, "jaxbert.run.pretrain", types.SimpleNamespace(train=train))
    return seen


def test_pretrain_hands_over_the_changed_config(place, trained, capsys):
    arguments = ["pretrain", "run.json", "--workdir", "new", "--data", "a", "--set", "seed=5", "--set", "name=x"]
    assert cli.main([*arguments, "--json", "figures.json"]) == 0
    config = trained["asked"].config
    assert (config.seed, config.name, rows_of(config), config.init) == (5, "x", [[("a", 1.0)]], "")
    assert str(trained["workdir"]) == "new" and trained["overwrite"] is False and trained["profiled"] is None
    assert json.loads((place / "figures.json").read_text()) == {"step": 3}
    assert cli.main([*arguments, "--profile", "20:24", "--init", "m"]) == 0
    assert (trained["profiled"].first, trained["profiled"].last) == (20, 24) and trained["asked"].config.init == "m"


def test_pretrain_without_a_workdir_names_one_for_the_config(place, trained, capsys):
    assert cli.main(["pretrain", "run.json", "--data", "a", "--set", "name=x"]) == 0
    assert trained["workdir"] == "runs/x"


@pytest.mark.parametrize(
    ("option", "value", "source"), [("text", "a b", "files:a b"), ("source", "jsonl:c", "jsonl:c")]
)
def test_the_text_of_a_run(place, trained, monkeypatch, option, value, source):
    arguments = ["run.json", "--workdir", "new", f"--{option}", value, "--no-finish"]
    assert cli.main(["pretrain", *arguments]) == 0
    config = trained["asked"].config
    assert config.data.source == source and rows_of(config) == [[]]
    words = words_of(cli.parser()[0].parse_args(["pretrain", *arguments]))
    assert words == arguments[:-1]


def test_a_launched_job_gets_the_same_words(place):
    given = ["run.json", "--workdir", "new", "--data", "a", "b=2", "--set", "seed=5", "--init", "m", "--overwrite"]
    given += ["--anyway"]
    words = words_of(cli.parser()[0].parse_args(["pretrain", *given]))
    assert words_of(cli.parser()[0].parse_args(["pretrain", *words])) == words
    assert sorted(words) == sorted(given)


def test_report_writes_its_page_and_its_figures(place, capsys):
    lines = [{"step": step, "loss": 9.0 - step} for step in (1, 2, 3)]
    (place / "begun" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert cli.main(["report", "begun", "--json", "files.json"]) == 0
    assert "wrote begun/report.html" in capsys.readouterr().out
    files = json.loads((place / "files.json").read_text())["files"]
    assert files == ["begun/report.html", "begun/loss.png"] and all(os.path.exists(file) for file in files)


CONFIG = RunConfig(name="run")


def test_deterministic_kernels_are_asked_for_once_and_never_over_the_user(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    ask_for_deterministic_kernels(CONFIG)
    ask_for_deterministic_kernels(CONFIG)
    assert os.environ["XLA_FLAGS"] == "--xla_gpu_deterministic_ops=true"
    for own in ("--xla_gpu_deterministic_ops=false", "--xla_dump_to=x"):
        monkeypatch.setenv("XLA_FLAGS", own)
        ask_for_deterministic_kernels(CONFIG)
        assert os.environ["XLA_FLAGS"].startswith(own)
        assert os.environ["XLA_FLAGS"].endswith("=false" if "ops" in own else " --xla_gpu_deterministic_ops=true")


@pytest.mark.parametrize(
    ("own", "set_to"),
    [
        ({}, "0.92"),
        ({"XLA_CLIENT_MEM_FRACTION": ""}, "0.92"),
        ({"XLA_CLIENT_MEM_FRACTION": "0.5"}, "0.5"),
        # jax refuses both names together.
        ({"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.5"}, None),
    ],
)
def test_a_run_asks_for_the_memory_that_the_plan_counts_and_never_over_the_user(monkeypatch, own, set_to):
    monkeypatch.setattr("jaxbert.run.pool.backend", lambda: None)
    environment = dict(own)
    ask_for_gpu_memory(environment)
    assert environment.get("XLA_CLIENT_MEM_FRACTION") == set_to
    monkeypatch.setattr("jaxbert.run.pool.backend", lambda: "gpu")
    environment = dict(own)
    ask_for_gpu_memory(environment)
    assert environment == own


def test_pretrain_asks_for_memory_before_jax_makes_its_backend():
    program = (
        "import os, sys; from jaxbert.run import processes\n"
        "def stop(*_): print(os.environ['XLA_CLIENT_MEM_FRACTION'], flush=True); os._exit(0)\n"
        "processes.initialise = stop\n"
        "from jaxbert.commands.main import main; main(['pretrain', 'smoke', '--workdir', 'none'])"
    )
    clean = {name: value for name, value in os.environ.items() if "MEM_FRACTION" not in name}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=clean)
    assert done.stdout == "0.92\n", done.stderr


@pytest.mark.parametrize("backend", [None, "cpu", "tpu", "gpu"])
@pytest.mark.parametrize("deterministic", [True, False])
def test_a_gpu_that_is_in_use_without_the_flag_is_refused(monkeypatch, backend, deterministic):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr("jaxbert.run.deterministic.backend", lambda: backend)
    config = RunConfig(name="run", numerics=NumericsConfig(deterministic=deterministic))
    if backend == "gpu" and deterministic:
        with pytest.raises(InputError, match="E-RUN-DETERMINISTIC"):
            ask_for_deterministic_kernels(config)
        assert os.environ["XLA_FLAGS"] == ""
        return
    ask_for_deterministic_kernels(config)
    assert ("--xla_gpu_deterministic_ops=true" in os.environ["XLA_FLAGS"]) == deterministic


@pytest.mark.parametrize("own", ["", "--xla_dump_to=x"])
def test_the_flag_of_a_run_does_not_stay_for_a_later_one_without_it(monkeypatch, own):
    other = RunConfig(name="run", numerics=NumericsConfig(deterministic=False))
    monkeypatch.setenv("XLA_FLAGS", own)
    monkeypatch.setattr("jaxbert.run.deterministic.backend", lambda: None)
    ask_for_deterministic_kernels(CONFIG)
    assert "deterministic" in os.environ["XLA_FLAGS"]
    ask_for_deterministic_kernels(other)
    assert os.environ.get("XLA_FLAGS", "") == own
    # A flag of the user stays, and so does one with which a GPU is in use.
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
    ask_for_deterministic_kernels(CONFIG)
    ask_for_deterministic_kernels(other)
    assert os.environ["XLA_FLAGS"] == "--xla_gpu_deterministic_ops=true"
    monkeypatch.setenv("XLA_FLAGS", own)
    ask_for_deterministic_kernels(CONFIG)
    monkeypatch.setattr("jaxbert.run.deterministic.backend", lambda: "gpu")
    ask_for_deterministic_kernels(other)
    assert "deterministic" in os.environ["XLA_FLAGS"]


@pytest.mark.parametrize(("flags", "warned"), [("", True), ("--xla_gpu_deterministic_ops=true", False)])
def test_a_program_built_without_a_run_warns_of_a_missing_flag(monkeypatch, caplog, flags, warned):
    from types import SimpleNamespace

    from jaxbert.training import step

    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr(step, "backend", lambda: "gpu")
    monkeypatch.setattr(step, "check", lambda *_: None)
    mesh = SimpleNamespace(size=1, devices=np.array([SimpleNamespace(platform="gpu")]))
    config = dataclasses.replace(find_config("smoke"), phases=())
    with caplog.at_level(logging.WARNING, "jaxbert"), pytest.raises(IndexError):
        step.build(config, mesh)
    assert ("numerics.deterministic" in caplog.text) == warned
    assert os.environ["XLA_FLAGS"] == flags


@pytest.mark.parametrize("deterministic", [True, False])
def test_pretrain_asks_for_deterministic_kernels_as_the_config_says(place, trained, monkeypatch, deterministic):
    monkeypatch.setenv("XLA_FLAGS", "")
    setting = f"numerics.deterministic={str(deterministic).lower()}"
    assert cli.main(["pretrain", "run.json", "--workdir", "new", "--data", "a", "--set", setting]) == 0
    assert trained["deterministic"] == deterministic


def test_the_library_asks_for_deterministic_kernels_before_jax_finds_its_devices(place):
    """In a new process, since jax has found its devices in this one. The workdir is a file, which ends the run."""
    program = """
import os
from jaxbert.config import load_json
from jaxbert.errors import InputError
from jaxbert.run import pretrain
from jaxbert.core.machine import backend
assert backend() is None
seen = []
pretrain.together = lambda: seen.append((backend(), os.environ["XLA_FLAGS"])) or exit(7)
config = load_json(__import__("pathlib").Path("run.json"))
pretrain.pretrain(config, "new", settings=["data.source=text:bad.py"])
"""
    program = program.replace("exit(7)", "exit(7 if seen == [(None, '--xla_gpu_deterministic_ops=true')] else 8)")
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr


def test_without_a_home_programs_are_not_kept(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(cli.Path, "home", home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("GLIBC_TUNABLES", "")
    cli._prepare_process("pretrain")
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_a_workdir_below_a_file(place, capsys):
    (place / "rows").mkdir()
    assert cli.main(["pretrain", "run.json", "--workdir", "bad.py/sub", "--data", "rows"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


class TestTokenizer:
    TEXT = "\n\n".join(f"The river number {index} runs to the sea and the bank is wide." for index in range(200))

    @pytest.fixture
    def trained_on(self, place, monkeypatch):
        """Texts that the tokenizer was trained on."""
        from jaxbert.data import from_source

        texts = []
        original = from_source.train_tokenizer

        def train_tokenizer(kind, given, **options):
            texts.extend(given)
            return original(kind, iter(texts), **options)

        monkeypatch.setattr(from_source, "train_tokenizer", train_tokenizer)
        lines = [json.dumps({"text": paragraph}) + "\n" for paragraph in self.TEXT.split("\n\n")]
        (place / "documents.jsonl").write_text("".join(lines))
        return texts

    ARGUMENTS = ("tokenizer", "jsonl:documents.jsonl#text", "--vocab-size", "120", "--out", "tok")

    def test_what_is_held_out_is_not_trained_on(self, trained_on):
        from jaxbert.data.sources import open_source
        from jaxbert.data.split import drawn

        assert cli.main([*self.ARGUMENTS, "--validation-fraction", "0.3"]) == 0
        documents = drawn(open_source("jsonl:documents.jsonl#text").documents(), 0.3)
        assert trained_on == [document.text for document in documents if document.split == "train"]
        assert 100 < len(trained_on) < 180

    def test_what_the_source_left_out_is_said(self, trained_on, place, capsys):
        with (place / "documents.jsonl").open("a") as file:
            file.write('{"text": null}\n')
        assert cli.main([*self.ARGUMENTS]) == 0
        assert "look at: 1 record without text (null, or only white space), left out\n" in capsys.readouterr().out

    def test_a_damaged_record_of_what_it_was_made_from(self, trained_on, place, capsys):
        assert cli.main([*self.ARGUMENTS]) == 0
        assert cli.main([*self.ARGUMENTS]) == 0
        capsys.readouterr()
        for damaged in (b"{", b"\xff\xfe"):
            (place / "tok" / "made_from.json").write_bytes(damaged)
            assert cli.main([*self.ARGUMENTS]) == 2
            assert "(tok)" in capsys.readouterr().err
        assert cli.main([*self.ARGUMENTS, "--overwrite"]) == 0
        assert json.loads((place / "tok" / "made_from.json").read_text())["vocab_size"] == 120


class TestCheckpoint:
    @pytest.fixture
    def workdir(self, place):
        """Three steps of one file each; the first has the lowest validation loss."""
        from jaxbert.stores.checkpoint import checkpoints_of
        from jaxbert.stores.steps import write_manifest

        for step, loss in ((10, 1.0), (20, 2.0), (30, None)):
            directory = checkpoints_of(place / "run") / str(step)
            directory.mkdir(parents=True)
            (directory / "array").write_bytes(b"x" * 1024 * step)
            write_manifest(place / "run", step, {"validation_loss": loss})
        return place / "run"

    def steps(self, workdir):
        return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())

    def damage(self, workdir, *steps):
        for step in steps:
            (workdir / "checkpoints" / str(step) / "array").write_bytes(b"y" * 1024 * step)

    def test_list(self, workdir, capsys):
        assert cli.main(["checkpoint", "list", "run", "--json", "out.json"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 3 and lines[0].endswith("validation loss 1.0000  best") and "best" not in lines[1]
        figures = json.loads((workdir.parent / "out.json").read_text())["checkpoints"]
        assert [(line["step"], line["bytes"], line["best"]) for line in figures] == [
            (10, 10240, True),
            (20, 20480, False),
            (30, 30720, False),
        ]

    @pytest.mark.parametrize("action", ["list", "verify", "prune"])
    def test_no_step_is_committed(self, place, capsys, action):
        # A step without a manifest is one that a kill has cut.
        (place / "begun" / "checkpoints" / "10" / "params").mkdir(parents=True)
        assert cli.main(["checkpoint", action, "begun"]) == 2
        assert "[E-CHECKPOINT-NONE]" in capsys.readouterr().err

    def test_verify(self, workdir, capsys):
        assert cli.main(["checkpoint", "verify", "run"]) == 0
        assert capsys.readouterr().out.count("good") == 3
        self.damage(workdir, 20)
        assert cli.main(["checkpoint", "verify", "run", "--json", "out.json"]) == 4
        out, err = capsys.readouterr()
        assert "sha256" in out.splitlines()[1] and "damaged: 20 (run)" in err
        found = json.loads((workdir.parent / "out.json").read_text())["damage"]
        assert [step for step, damage in found.items() if damage] == ["20"]

    def test_prune(self, workdir, capsys):
        assert cli.main(["checkpoint", "prune", "run", "--keep", "0"]) == 2
        assert cli.main(["checkpoint", "prune", "run", "--keep", "1"]) == 0
        assert "removed 20; left 10, 30" in capsys.readouterr().out and self.steps(workdir) == [10, 30]
        assert cli.main(["checkpoint", "prune", "run", "--keep", "1", "--drop-best"]) == 0
        assert self.steps(workdir) == [30]

    def test_prune_leaves_a_good_one_or_all(self, workdir, capsys):
        self.damage(workdir, 10, 30)
        assert cli.main(["checkpoint", "prune", "run", "--keep", "1"]) == 2
        assert "damaged: 10, 30 (run)" in capsys.readouterr().err and self.steps(workdir) == [10, 20, 30]
        assert cli.main(["checkpoint", "prune", "run", "--keep", "3"]) == 0
        assert cli.main(["checkpoint", "prune", "run", "--keep", "2", "--drop-best"]) == 0
        assert self.steps(workdir) == [20, 30]


def test_pruning_leaves_a_good_checkpoint(place, capsys):
    from jaxbert.stores.steps import write_manifest

    for step in (10, 20):
        (place / "begun" / "checkpoints" / str(step)).mkdir(parents=True)
        (place / "begun" / "checkpoints" / str(step) / "array").write_bytes(b"x" * step)
        write_manifest(place / "begun", step, {"validation_loss": None})
    (place / "begun" / "checkpoints" / "20" / "array").write_bytes(b"damaged")
    before = snapshot(place)
    for keep, code in (("0", "E-CHECKPOINT-KEEP"), ("1", "E-CHECKPOINT-PRUNE")):
        assert cli.main(["checkpoint", "prune", "begun", "--keep", keep]) == 2
        assert f"[{code}]" in capsys.readouterr().err
    assert snapshot(place) == before
