"""Runs the smoke form of `benchmarks/gpu.py`, so that the program works when there is a GPU: `make test-peers`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def test_every_check_and_both_sides_of_a_step(tmp_path: Path) -> None:
    command = [sys.executable, PROGRAM, "correctness", "steps", "--smoke", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert found["complete"] and found["skipped"] == []
    assert {name: check["passed"] for name, check in found["correctness"].items()} == {
        "imports": True,
        "masks": True,
        "isolation": True,
        "gradients": True,
        "losses": True,
        "determinism": True,
    }
    assert [step["side"] for step in found["steps"]] == ["ours", "torch"]
    assert all(step["tokens_per_s"] > 0 and 0 < step["loss"] < 20 for step in found["steps"])
