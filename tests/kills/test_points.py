"""A kill before each operation on files of each command that writes; then the same command gives the same bytes.

The work is in commands.py, a program of its own, because it watches every operation on files of its process: see
points.py. `JAXBERT_POINTS_SET=full` (`make test SET=full`) tries every state that a kill can leave;
otherwise each command has a kill at one point of each kind, see `points.kind`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

# The commands, with the fewest points that each must have: a watcher that sees nothing finds nothing wrong.
COMMANDS = {
    "tokenizer": 20,
    "tokenizer --overwrite": 20,
    "tokenizer --kind unigram --overwrite": 20,
    "pretrain --overwrite": 100,
    "pretrain": 80,
    "pretrain resumed": 40,
    "checkpoint prune": 20,
    "prepare": 70,
    "prepare --overwrite": 40,
    "rows": 35,
    "rows --overwrite": 40,
    "labelled rows": 35,
    "labelled rows --overwrite": 40,
    "finetune": 80,
    "finetune --seeds 2": 160,
    "embed": 4,
    "embed --overwrite": 4,
    "embed to .jsonl": 4,
    "report": 8,
    "convert": 30,
    "convert --overwrite": 40,
    "convert --to sentence-transformers": 30,
    "evaluate --json": 4,
    "plan --json": 4,
    "launch slurm": 20,
}


def test_a_kill_at_any_point_changes_nothing(tmp_path: Path):
    command = [sys.executable, str(Path(__file__).parent / "commands.py"), str(tmp_path)]
    done = subprocess.run(
        command,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    reports = {report["name"]: report for report in map(json.loads, done.stdout.splitlines())}
    wrong = [f"{name}: {one}" for name, report in reports.items() for one in report["wrong"]]
    assert not wrong, "\n".join(wrong)
    assert list(reports) == list(COMMANDS)
    few = {name: report for name, report in reports.items() if report["points"] < COMMANDS[name] or not report["tried"]}
    assert not few, few
