"""A kill before each operation on files of `tokenizer`; then the same command gives the same bytes.

The work is in a program that forks before a thread runs: see points.py. `python without_jax.py DIRECTORY` also tries
`prepare` and `rows`, which have other tests of kills in tests/data/test_shards.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_a_kill_at_any_point_changes_nothing(tmp_path: Path):
    command = [sys.executable, str(Path(__file__).parent / "without_jax.py"), str(tmp_path), "tokenizer"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    names = ["tokenizer", "tokenizer --overwrite", "tokenizer --kind unigram --overwrite"]
    assert [report["name"] for report in reports] == names
    wrong = [f"{report['name']}: {one}" for report in reports for one in report["wrong"]]
    assert not wrong, "\n".join(wrong)
    assert all(report["points"] == report["tried"] > 15 for report in reports), reports
