"""The training contract holds more than masked LM: three toy tasks, one new file and one line of `TASKS` each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import fake_devices

METRICS = {
    "token_targets": ("correlation", "correlation with the targets"),
    "replaced_tokens": ("replaced_accuracy", "replaced-token accuracy"),
    "two_encoders": ("together_accuracy", "share of pairs judged right"),
}
TERMS = {
    "token_targets": {"targets": 0.5},
    "replaced_tokens": {"generator": 1.0, "replaced": 50.0},
    "two_encoders": {"together": 1.0},
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


@pytest.fixture(scope="module")
def runs(small_rows: Path, out: Path) -> dict[str, dict[str, Any]]:
    """What run_tasks.py prints, by task."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("run_tasks.py"), small_rows, out],
        env=os.environ | fake_devices.environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def lines(workdir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("task", METRICS)
def test_it_trains_on_eight_devices(runs: dict[str, Any], out: Path, task: str) -> None:
    assert runs[task]["devices"] == 8
    trained = [line for line in lines(out / task / "whole") if "loss" in line]
    assert len(trained) == 6 and trained[-1]["loss"] < trained[0]["loss"] and trained[-1]["skipped"] == 0
    for line in trained:
        parts = sum(weight * line[f"{term}_loss"] for term, weight in TERMS[task].items())
        np.testing.assert_allclose(line["loss"], parts, rtol=1e-5)
        assert METRICS[task][0] in line


@pytest.mark.parametrize("task", METRICS)
def test_it_continues_to_the_same_bits(runs: dict[str, Any], out: Path, task: str) -> None:
    assert runs[task]["exit code"] == 3 and runs[task]["lines when stopped"] == 4
    whole, resumed = (out / task / name / "metrics.jsonl" for name in ("whole", "resumed"))
    assert resumed.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("task", METRICS)
def test_it_is_evaluated_and_reported(runs: dict[str, Any], out: Path, task: str) -> None:
    name, title = METRICS[task]
    found = runs[task]
    last = [line for line in lines(out / task / "whole") if "validation_loss" in line][-1]
    assert found["summary"][f"validation_{name}"] == last[f"validation_{name}"]
    # On one device, from the best checkpoint, which need not be the last.
    best = min((line for line in lines(out / task / "whole") if "validation_loss" in line), key=_loss)
    np.testing.assert_allclose(found["evaluated"]["loss"], best["validation_loss"], rtol=1e-5)
    np.testing.assert_allclose(found["evaluated"][name], best[f"validation_{name}"], rtol=1e-4, atol=1e-6)
    assert any(title in line or "accuracy" in line for line in found["said"])
    page = Path(found["page"]).read_text(encoding="utf-8")
    assert title[0].upper() + title[1:] in page and title in page


def _loss(line: dict[str, Any]) -> float:
    value: float = line["validation_loss"]
    return value


def test_a_correlation_is_over_the_whole_split(runs: dict[str, Any], out: Path) -> None:
    """It is computed from sums over all batches; a mean of the batches' correlations would be another number."""
    assert -1 <= runs["token_targets"]["evaluated"]["correlation"] <= 1
    assert runs["token_targets"]["saved task"] == {"name": "token_targets", "period": 5}
