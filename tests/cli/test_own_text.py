"""The commands that a user types for own text: what they print leads to commands that work."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from pathlib import Path

import pytest

from jaxbert.commands import main as cli
from jaxbert.commands.parsing import Parser
from jaxbert.commands.pretrain import add_run_arguments
from jaxbert.config import find_config, settings_for_rows
from jaxbert.data.pipeline import Rows
from jaxbert.errors import InputError
from jaxbert.run.inputs import open_rows
from jaxbert.run.wanted import wanted


def test_the_last_line_of_prepare_is_a_command_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my text").mkdir()
    for name in "abcd":
        text = "".join(f"The {name} mill number {number} is old. The river is cold.\n" for number in range(30))
        Path("my text", f"{name}.md").write_text(f"# Mill {name}\n\n{text}")
    Path("my text", "picture.png").write_bytes(b"x")
    assert cli.main(["tokenizer", "my text", "--vocab-size", "120", "--out", "tok"]) == 0
    assert "1 .png (pictures): picture.png" in capsys.readouterr().out
    prepare = ["prepare", "my text", "--tokenizer", "tok", "--out", "my records", "--length", "24", "--workers", "1"]
    for _ in range(2):  # What was left out is in the manifest, and is said again.
        assert cli.main(prepare) == 0
        printed = capsys.readouterr().out
        assert "1 .png (pictures): picture.png" in printed
    command = shlex.split(printed.splitlines()[-1].removeprefix("Train on them: "))
    assert command[:3] == ["jaxbert", "pretrain", "bert_tiny"]
    rows, settings = command[command.index("--data") + 1], command[command.index("--set") + 1 :]
    assert settings == ["phases.0.length=24", "encoder.vocab_size=120"]
    config = wanted(find_config("bert_tiny"), data=[rows], settings=settings).config
    assert len(open_rows(config, config.phases[0], tmp_path).train[0][0]) > 0
    # Without the settings, the first error names all of them.
    other = wanted(find_config("quickstart"), data=[rows]).config
    with pytest.raises(InputError, match=r"length 24, but 32 is needed.*E-ROWS-LENGTH") as caught:
        open_rows(other, other.phases[0], tmp_path)
    words = caught.value.fix.partition("--set ")[2].rstrip(".").split()
    assert words == ["phases.0.length=24", "phases.1.length=24", "encoder.vocab_size=120"]
    # Where no setting fits, the advice is a command with the paths of this user.
    with pytest.raises(InputError, match="E-ROWS-LENGTH") as caught:
        Rows(rows, "train").require(length=32)
    advised = shlex.split(caught.value.fix.partition(" make them: jaxbert ")[2].rstrip("."))
    assert advised[1] == "my records" and cli.main(advised) == 0
    Rows(advised[3], "train").require(length=32)
    config = wanted(find_config("quickstart"), data=[rows], settings=words).config
    for phase in config.phases:
        open_rows(config, phase, tmp_path)


def test_settings_that_fit_longer_rows() -> None:
    config = find_config("roberta_tiny")
    assert settings_for_rows(config, [64], 8192) == []
    words = settings_for_rows(config, [512], 8192)
    assert words == ["phases.0.length=512", "encoder.max_positions=514"]
    assert wanted(config, settings=words).config.encoder.longest_row == 512


def test_a_word_that_is_nearly_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("A stone.\n")
    for arguments, hint in (
        (
            ["rows", str(tmp_path), "--out", str(tmp_path / "out"), "--policy", "segmnt_pair"],
            "Did you mean segment_pair?",
        ),
        (["tokenizer", "sample:aws", "--vocab-size", "99", "--out", str(tmp_path / "out")], "Did you mean aws-docs?"),
        (
            ["tokenizer", "a.txt", str(tmp_path / "a.txt"), "--vocab-size", "99", "--out", "o"],
            "put a pattern in quotes",
        ),
        (["finetune", "classify", "--epochs", "5"], "Did you mean --set epochs=VALUE?"),
        (["embed", *[str(tmp_path / "a.txt")] * 2, "--out", "o.npy"], "This is a file. Give the workdir of a run"),
    ):
        assert cli.main(arguments) == 2
        assert hint in capsys.readouterr().err


def test_the_language_of_a_run(tmp_path: Path) -> None:
    import argparse

    from jaxbert.commands.own_text import settings_of
    from jaxbert.commands.pretrain import add_run_arguments, words_of

    parser = argparse.ArgumentParser()
    add_run_arguments(parser)
    args = parser.parse_args(["bert_tiny", "--workdir", "w", "--language", "th", "--set", "seed=5"])
    assert settings_of(args) == ["data.language=th", "seed=5"]
    assert wanted(find_config("bert_tiny"), settings=settings_of(args)).config.data.language == "th"
    assert words_of(args) == ["bert_tiny", "--workdir", "w", "--set", "seed=5", "--language", "th"]
    args.language = "thai language"
    with pytest.raises(InputError, match="E-RECORDS-LANGUAGE"):
        settings_of(args)


def test_an_option_that_takes_the_place_of_an_argument(capsys: pytest.CaptureFixture[str]) -> None:
    """An option of several values before CONFIG takes CONFIG too. The error has the command in the right order."""
    for words, right in (
        (["pretrain", "--text", "my folder", "auto"], "jaxbert pretrain auto --text 'my folder'"),
        (
            ["pretrain", "--set", "seed=1", "--data", "rows", "a.py", "--workdir", "w"],
            "jaxbert pretrain a.py --set seed=1 --data rows --workdir w",
        ),
        (["plan", "--topology", "v5e:1", "--set", "seed=1", "bert_tiny"], None),
        (["launch", "local", "--processes", "2", "--text", "f", "bert_tiny", "--workdir", "w"], None),
        (["convert", "run", "--to", "hf", "--drop", "head", "out"], "jaxbert convert run out --to hf --drop head"),
        (["convert", "--to", "hf", "--drop", "head", "run", "out"], "jaxbert convert run out --to hf --drop head"),
    ):
        assert cli.main(words) == 2
        error = capsys.readouterr().err
        assert "E-ARGUMENT-ORDER" in error and len(error.splitlines()) == 1, error
        (command,) = re.findall("`(.*)`", error)
        assert right in (None, command)
        assert sorted(shlex.split(command)) == sorted(["jaxbert", *words])
        cli.parser()[0].parse_args(shlex.split(command)[1:])  # It is a whole command.
    for words in (["pretrain"], ["pretrain", "--text", "auto"], ["pretrain", "--text", "a.txt", "b.txt"]):
        assert cli.main(words) == 2
        error = capsys.readouterr().err
        assert "E-ARGUMENT-USAGE" in error and "required: CONFIG" in error
        assert "For example: `jaxbert pretrain auto --text folder --minutes 10`." in error


def test_help_names_auto_and_all_configs(capsys: pytest.CaptureFixture[str]) -> None:
    example = "\n  jaxbert pretrain auto --text folder --minutes 10\n"
    for words in (["--help"], ["pretrain", "--help"], ["plan", "--help"], ["launch", "local", "--help"]):
        with pytest.raises(SystemExit):
            cli.main(words)
        shown = capsys.readouterr().out
        flat = " ".join(shown.split())
        names = [flat.find(word) for word in ("auto, which", "bert_base,", "quickstart,", "a Python file")]
        if words == ["--help"]:
            assert example in shown
        elif words == ["pretrain", "--help"]:
            assert example in shown and -1 not in names and names == sorted(names)
        else:
            assert names[0] == -1 and -1 not in names[1:], "this command does not take auto"


def text_of(words: list[str]) -> str:
    """Returns the SOURCE of --text of these words."""
    from jaxbert.commands.own_text import source_of

    parser = Parser(prog="jaxbert pretrain")
    add_run_arguments(parser, workdir="w")
    return str(source_of(parser.parse_args(["auto", "--text", *words])))


def test_several_paths_of_text_are_told_what_means_exactly_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jaxbert.data.sources import open_source

    monkeypatch.chdir(tmp_path)
    for name in ("one/a.txt", "two/b.txt", "three/c.txt", "one/d.md", "two/inner/e.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(f"The text of {name}.\n")
    Path(".hidden").mkdir()

    def advised(*paths: str) -> str:
        with pytest.raises(InputError, match=rf"one path, but it got {len(paths)}.*E-ARGUMENT-TEXT") as caught:
            text_of(list(paths))
        return caught.value.fix

    def names(source: str) -> set[str]:
        return {os.path.realpath(path) for _, path in open_source(source).files}

    for paths, word in (
        (["one/a.txt", "two/b.txt", "three/c.txt"], "'*/*.txt'"),  # What a shell makes of */*.txt.
        (["one/a.txt", "one/d.md"], "one"),
        (["one", "three", "two"], "."),
    ):
        fix = advised(*paths)
        assert fix.endswith(f"--text {word}")
        (given,) = shlex.split(word)
        assert names(text_of([given])) == set().union(*(names(path) for path in paths))
    # What is given twice, or lies below another one, counts once.
    assert advised("one/a.txt", "one/a.txt") == "Give one path: --text one/a.txt"
    assert advised("one", "one/a.txt") == "Give one path: --text one"
    # No folder and no pattern is these two: the common parent has a third one.
    fix = advised("one", "two")
    assert "--text" not in fix and "mkdir texts && ln -s " in fix
    assert os.system(fix.partition("folder: ")[2]) == 0
    assert names(text_of(["texts"])) == names("one") | names("two")
    assert "mkdir texts1 && " in advised("one", "three")
    assert "copy them into one folder" in advised("one/a.txt", "texts/one/a.txt").lower()
    assert "There is no atuo." in advised("one", "atuo")


def test_what_only_pretrain_has_is_told_by_launch(capsys: pytest.CaptureFixture[str]) -> None:
    for target in (["local", "--processes", "2"], ["gke", "--topology", "v5e:4x4", "--image", "i", "--queue", "q"]):
        launch = ["launch", *target, "--workdir", "w", "--text", "my texts"]
        assert cli.main([*launch[:2], "auto", *launch[2:], "--minutes", "10"]) == 2
        error = capsys.readouterr().err
        assert "E-LAUNCH-AUTO" in error
        assert "`jaxbert pretrain auto --text 'my texts' --minutes 10 --workdir runs/auto`" in error
        assert f"`jaxbert launch {target[0]} runs/auto/auto.py --text 'my texts' --workdir ...`" in error
        for words in (["--minutes", "5"], ["--hours=1"], ["--finish"], ["--no-finish"], ["--profile", "1:2"]):
            for order in (["bert_tiny", *launch[2:], *words], [*launch[2:], *words, "bert_tiny"]):
                assert cli.main([*launch[:2], *order]) == 2
                error = capsys.readouterr().err
                assert "E-LAUNCH-OPTION" in error and words[0].partition("=")[0] in error


def test_what_launch_advises_for_auto_has_all_that_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["--language", "tr", "--set", "name=a b", "phases.*.batch_size=8", "--anyway", "--hours", "2"]
    assert (
        cli.main(["launch", "local", "auto", "--processes", "2", "--workdir", "w", "--text", "-a *.txt", *typed]) == 2
    )
    error = capsys.readouterr().err
    choose, launch = (shlex.split(command)[1:] for command in re.findall("`(jaxbert .*?)`", error)[:2])
    args = cli.parser()[0].parse_args(choose)
    assert (args.config, args.text, args.workdir, args.anyway) == ("auto", ["./-a *.txt"], "runs/auto", True)
    assert (args.language, args.set, args.hours) == ("tr", ["name=a b", "phases.*.batch_size=8"], 2.0)
    assert launch[:3] == ["launch", "local", "runs/auto/auto.py"] and launch[3:6] == [
        "--text",
        "./-a *.txt",
        "--anyway",
    ]


def test_the_name_decides_where_auto_looks_for_its_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jaxbert.fit import chosen
    from jaxbert.run import pretrain

    monkeypatch.chdir(tmp_path)
    looked, trained = [], []

    def recipe(source: str, workdir: str, **_: object) -> chosen.Chosen:
        looked.append(workdir)
        return chosen.Chosen(dataclasses.replace(find_config("bert_tiny"), name="other"), {})

    def train(asked: object, workdir: str, **_: object) -> dict[str, object]:
        trained.append(workdir)
        return {}

    monkeypatch.setattr(chosen, "chosen", recipe)
    monkeypatch.setattr(pretrain, "train", train)
    for words in ([], ["--set", "seed=1", "name=a", "name=foo"], ["--workdir", "w", "--set", "name=foo"]):
        assert cli.main(["pretrain", "auto", "--text", "x.txt", *words]) == 0
    assert looked == trained == ["runs/auto", "runs/foo", "w"]
