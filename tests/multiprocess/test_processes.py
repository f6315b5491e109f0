"""Two and four processes on this machine hold, together, bit for bit the batches of one; each reads only its share."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def _run(rows: Path, processes: int) -> list[dict]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    running = [
        subprocess.Popen(
            [sys.executable, str(HERE / "batches.py"), str(rows), str(port), str(processes), str(process)],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(processes)
    ]
    found = []
    for process in running:
        out, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors[-3000:]
        (line,) = (line for line in out.splitlines() if line.startswith("HELD "))
        found.append(json.loads(line.removeprefix("HELD ")))
    return found


def test_two_and_four_processes_hold_the_batches_of_one(rows):
    (whole,) = _run(rows, 1)
    assert len(whole["held"]) == 5 * 4 * 4
    for processes in (2, 4):
        parts = _run(rows, processes)
        together = {}
        for part in parts:
            assert not together.keys() & part["held"].keys()
            together |= part["held"]
        assert together == whole["held"]
        assert [part["rows_read"] for part in parts] == [whole["rows_read"] // processes] * processes
