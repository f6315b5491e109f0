"""The commands that a user types for own text: what they print leads to commands that work."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from jaxbert.commands import main as cli
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
    ):
        assert cli.main(arguments) == 2
        assert hint in capsys.readouterr().err


def test_the_language_of_a_run(tmp_path: Path) -> None:
    import argparse

    from jaxbert.commands.own_text import language_of, settings_of
    from jaxbert.commands.pretrain import add_run_arguments, words_of

    parser = argparse.ArgumentParser()
    add_run_arguments(parser)
    args = parser.parse_args(["bert_tiny", "--workdir", "w", "--language", "th", "--set", "seed=5"])
    assert settings_of(args) == ["data.language=th", "seed=5"] and language_of(args) == "th"
    assert wanted(find_config("bert_tiny"), settings=settings_of(args)).config.data.language == "th"
    assert words_of(args) == ["bert_tiny", "--workdir", "w", "--set", "seed=5", "--language", "th"]
    args.language = "thai language"
    with pytest.raises(InputError, match="E-RECORDS-LANGUAGE"):
        settings_of(args)
