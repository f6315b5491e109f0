"""`jaxbert launch local` before anything starts: dry runs and refusals. tests/multiprocess has real runs."""

from __future__ import annotations

import re
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
        (["--processes", "0"], "--processes.*E-LAUNCH-NUMBER"),
        (["--processes", "2", "--devices", "0"], "--devices.*E-LAUNCH-NUMBER"),
        (["--processes", "2", "--grace", "-1"], "--grace.*E-LAUNCH-NUMBER"),
        (["--processes", "2", "--restarts", "-1"], "--restarts.*E-LAUNCH-NUMBER"),
        (["--processes", "2", "--set", "phases.0.steps=0"], "steps"),
    ],
)
def test_bad_input_is_found_before_anything_starts(tmp_path: Path, capsys, more: list[str], said: str):
    assert main(["launch", "local", "smoke", "--workdir", str(tmp_path / "run"), *more]) == 2
    assert re.search(said, capsys.readouterr().err) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("ends", "restarts", "code", "starts"),
    [
        ([(0, False)], 5, 0, 1),
        ([(3, False), (3, False), (0, False)], 5, 0, 3),
        ([(3, False), (3, False), (3, False)], 2, 3, 3),
        ([(3, False)], 0, 3, 1),
        # A signal to the launcher is meant for the run.
        ([(3, True)], 5, 3, 1),
        ([(3, False), (4, False)], 5, 4, 2),
        ([(1, False)], 5, 1, 1),
        ([(2, False)], 5, 2, 1),
    ],
)
def test_only_exit_3_is_restarted(ends, restarts: int, code: int, starts: int, monkeypatch, tmp_path: Path, capsys):
    from jaxbert.launch import local

    jobs = []

    def run(job, *, grace_s: float) -> tuple[int, bool]:
        jobs.append(job)
        return ends[len(jobs) - 1]

    monkeypatch.setattr(local, "run", run)
    arguments = ["launch", "local", "smoke", "--workdir", str(tmp_path / "run"), "--processes", "2"]
    if code:
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--restarts", str(restarts)])
        assert end.value.code == code
    else:
        assert main([*arguments, "--restarts", str(restarts)]) == 0
    assert len(jobs) == starts
    assert capsys.readouterr().err.count("restarting it") == starts - 1
