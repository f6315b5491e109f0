"""`jaxbert launch local` before anything starts: dry runs and refusals. tests/multiprocess has real runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from jaxbert.commands.main import main


def test_a_dry_run_prints_and_starts_nothing(tmp_path: Path, capsys):
    arguments = ["launch", "local", "smoke", "--workdir", str(tmp_path / "run"), "--processes", "3", "--dry-run"]
    assert main([*arguments, "--set", "seed=5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and not (tmp_path / "run").exists()
    for number, line in enumerate(lines):
        assert f"JAXBERT_PROCESS_ID={number} " in line and "JAXBERT_PROCESSES=3 " in line
        assert "-m jaxbert pretrain" in line and "--set seed=5" in line and f"process-{number}.log" in line
    assert len({line.partition("JAXBERT_PROCESSES")[0] for line in lines}) == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--processes", "0"], "E-LAUNCH-NUMBER"),
        (["--processes", "2", "--devices", "0"], "E-LAUNCH-NUMBER"),
        (["--processes", "2", "--grace", "-1"], "E-LAUNCH-NUMBER"),
        (["--processes", "2", "--restarts", "-1"], "E-LAUNCH-NUMBER"),
        (["--processes", "2", "--set", "phases.0.steps=0"], "steps"),
    ],
)
def test_bad_input_is_found_before_anything_starts(tmp_path: Path, capsys, more: list[str], said: str):
    assert main(["launch", "local", "smoke", "--workdir", str(tmp_path / "run"), *more]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "run").exists()
