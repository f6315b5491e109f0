"""Two processes on this machine hold, together, bit for bit the batches of one; each reads only its share."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from jaxbert.config import DataConfig
from jaxbert.data.corpus import make_rows

HERE = Path(__file__).parent


def _rows(out: Path) -> Path:
    sentences = [f"sentence number {n} of the text says {n * 7 % 13} words ." for n in range(900)]
    paragraphs = [" ".join(sentences[i : i + 9]) for i in range(0, 900, 9)]
    (out / "corpus.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    config = DataConfig(source=f"text:{out}/corpus.txt", validation_fraction=0.1)
    made = make_rows(
        config, vocab_size=120, lengths=[32], seed=0, out=out, workers=1, sentence_structure=True, note=lambda _: None
    )
    return made[32]


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


def test_two_processes_hold_the_batches_of_one(tmp_path):
    rows = _rows(tmp_path)
    (whole,) = _run(rows, 1)
    halves = _run(rows, 2)
    together = halves[0]["held"] | halves[1]["held"]
    assert together == whole["held"]
    assert len(whole["held"]) == 5 * 4 * 4
    assert not halves[0]["held"].keys() & halves[1]["held"].keys()
    assert [half["rows_read"] for half in halves] == [whole["rows_read"] // 2] * 2
