"""One command from a file of text to a model in use: what follows the training, and a command that is repeated."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import jaxbert
from jaxbert.commands import main as cli
from jaxbert.run import finish
from jaxbert.use.embed import embed

FILES = ("evaluation.json", "report.html", "loss.png", "hf/model.safetensors", "hf/receipt.json")


@pytest.fixture(scope="module")
def trained(tiny_config, tiny, tmp_path_factory):
    """(arguments, workdir, output) of a run on a file of text."""
    place = tmp_path_factory.mktemp("text")
    workdir, folder = place / "my run", place / "texts"
    folder.mkdir()
    for number, text in enumerate((tiny / "corpus.txt").read_text().split("\n\n")):
        (folder / f"{number}.txt").write_text(text)
    settings = ["--set", "data.validation_fraction=0.1", "phases.0.steps=4", "phases.1.steps=2"]
    settings += ["logging.predictions=2"]
    arguments = ["pretrain", str(tiny_config), "--text", str(folder), *settings]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert cli.main([*arguments, "--workdir", str(workdir)]) == 0
    return arguments, workdir, said.getvalue()


def again(arguments, workdir, *more):
    return cli.main([*arguments, "--workdir", str(workdir), *more])


def test_text_becomes_a_model_in_use(trained):
    _, workdir, output = trained
    assert [name for name in FILES if not (workdir / name).is_file()] == [], output
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    assert evaluation["step"] == 6 and evaluation["baselines"].keys() >= {"constant guess"}
    assert f"this model{'':38}{evaluation['masked_lm_accuracy']:6.1%}" in output
    assert "fewer masked tokens than counting" in output
    run, exported = jaxbert.load(workdir), jaxbert.load(workdir / "hf")
    texts = ["The cat sees a red house."]
    np.testing.assert_array_equal(embed(run, texts), embed(exported, texts))


def test_what_it_says_to_type_next_can_be_typed(trained, capsys):
    _, workdir, output = trained
    following = [line.strip() for line in output.partition("\nNext:\n")[2].splitlines()]
    commands = [shlex.split(line) for line in following]
    assert [words[:2] for words in commands if words[0] == "jaxbert"] == [
        ["jaxbert", "fill-mask"],
        ["jaxbert", "report"],
        ["jaxbert", "convert"],
        ["jaxbert", "pretrain"],
    ]
    for program, *words in commands:
        if program == "jaxbert":
            cli.parser()[0].parse_args(words)
    assert cli.main(commands[0][1:]) == 0 and "%" in capsys.readouterr().out
    convert = next(words for words in commands if words[1] == "convert")
    assert cli.main(convert[1:]) == 0 and Path(f"{workdir}-vectors", "modules.json").is_file()
    (program,) = [words[2] for words in commands if words[0] == "python"]
    needed = ["pip", "install", "torch", "transformers"]
    assert (needed in commands) == (not all(map(importlib.util.find_spec, ("torch", "transformers"))))
    assert str(workdir / "hf") in program and compile(program, "the line", "exec")
    # The example is a sentence of the validation text, and it was shown with the word that the text has.
    assert f"\n{commands[0][3]}\n" in output and "(the text has: " in output


def test_the_command_again_makes_only_what_is_missing(trained, tmp_path, capsys):
    arguments, finished, _ = trained
    workdir = shutil.copytree(finished, tmp_path / "run")
    before = {name: os.stat(workdir / name).st_ino for name in FILES}
    shutil.rmtree(workdir / "hf")
    assert again(arguments, workdir) == 0
    after = {name: os.stat(workdir / name).st_ino for name in FILES}
    assert after["evaluation.json"] == before["evaluation.json"]
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (workdir / "hf" / name).read_bytes() == (finished / "hf" / name).read_bytes()
    # An evaluation of another step is made again, and so are damaged files.
    good = json.loads((workdir / "corpus.json").read_text())
    (workdir / "evaluation.json").write_text('{"step": 5, "baselines": {}}')
    (workdir / "corpus.json").write_text('{"lines": ["cor')
    capsys.readouterr()
    assert again(arguments, workdir) == 0
    assert "corpus.json is damaged; it is written again" in capsys.readouterr().err
    assert json.loads((workdir / "corpus.json").read_text()) == good
    assert json.loads((workdir / "evaluation.json").read_text())["step"] == 6
    assert os.stat(workdir / "hf/model.safetensors").st_ino == after["hf/model.safetensors"]


def test_an_evaluation_that_was_edited_is_not_believed():
    from jaxbert.run.finish import _told

    for damaged in ({"evaluated": 3}, {"evaluated": {"metrics": []}}, {"baselines": [1]}, {"masked_lm_accuracy": "x"}):
        assert _told({"step": 6, "baselines": {"two-sided": 0.5}, **damaged}) is None


def test_another_run_waits_for_the_end(trained, tmp_path, monkeypatch, capsys):
    arguments, finished, _ = trained
    workdir = shutil.copytree(finished, tmp_path / "run")
    codes = []
    for more in ((), ("--set", "seed=5", "--overwrite")):
        (workdir / "evaluation.json").unlink()

        def evaluates(*given, more=more, **named):
            codes.append(again(arguments, workdir, *more))
            return json.loads((finished / "evaluation.json").read_text())

        monkeypatch.setattr(finish, "evaluate", evaluates)
        assert again(arguments, workdir) == 0
    assert codes == [2, 2] and capsys.readouterr().err.count("E-LEASE-TAKEN") == 2


def test_a_file_of_somebody_in_the_export_stays(trained, tmp_path, capsys):
    arguments, finished, _ = trained
    workdir = shutil.copytree(finished, tmp_path / "run")
    (workdir / "hf" / "notes.txt").write_text("mine")
    assert again(arguments, workdir, "--set", "seed=5", "--overwrite") == 2
    assert "hf/notes.txt" in capsys.readouterr().err
    # The export is of another step, and cannot be replaced. The rest is made, and the end is good.
    (workdir / "hf" / "receipt.json").write_text("{}")
    (workdir / "evaluation.json").unlink()
    assert again(arguments, workdir) == 0
    shown = capsys.readouterr()
    assert "it was not written for transformers: " in shown.err and "hf/ " not in shown.out
    assert (workdir / "hf" / "notes.txt").read_text() == "mine" and (workdir / "evaluation.json").is_file()


def test_no_finish_leaves_it_out(trained, tmp_path):
    arguments, finished, _ = trained
    workdir = shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("hf", "evaluation.json"))
    assert again(arguments, workdir, "--no-finish") == 0
    assert not (workdir / "hf").exists() and not (workdir / "evaluation.json").exists()


def test_text_that_is_given_as_rows(tiny, tiny_config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my texts" / "deep"
    folder.mkdir(parents=True)
    shutil.copy(tiny / "corpus.txt", folder / "a.txt")
    for given in ("my texts", "my texts/deep/a.txt", "my texts/**/*.txt", "a:my texts=0.5"):
        assert cli.main(["pretrain", str(tiny_config), "--data", given]) == 2
        message = capsys.readouterr().err
        path = given.removeprefix("a:").removesuffix("=0.5")
        assert f"--text {shlex.quote(path)}" in message and "E-RUN-DATA-IS-TEXT" in message
    # A model's vocab.txt is no text, so the advice is about rows.
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        (model / name).write_text("{}")
    assert cli.main(["pretrain", str(tiny_config), "--data", "model"]) == 2
    assert "E-SHARD-MANIFEST" in capsys.readouterr().err
    assert cli.main(["pretrain", str(tiny_config), "--data", "x", "--text", "my texts"]) == 2
    assert "E-RUN-TEXT-AND-ROWS" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_pattern_without_quotes(tiny_config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "books").mkdir()
    given = [f"books/{name}.txt" for name in "ab"]
    for path in map(Path, given):
        path.write_text("text")
    assert cli.main(["pretrain", str(tiny_config), "--text", *given]) == 2
    message = capsys.readouterr().err
    assert cli.main(["pretrain", str(tiny_config), "--text=-books"]) == 2
    assert "no such file or folder" in capsys.readouterr().err
    assert cli.main(["pretrain", str(tiny_config), "--text", "-books"]) == 2
    assert "--option=-value" in capsys.readouterr().err
    # A SOURCE that an error advises is typed where the text was.
    assert cli.main(["pretrain", str(tiny_config), "--text", "text:nothing/**/*"]) == 2
    assert "no file matches (text:nothing/**/*)" in capsys.readouterr().err
    assert "it got 2" in message and "--text books" in message and "E-ARGUMENT-TEXT" in message
