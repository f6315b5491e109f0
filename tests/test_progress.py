"""Progress of counted things in a log; tests of the training loop's lines are in test_telemetry.py."""

from __future__ import annotations

import io

import pytest

from jaxbert.core import progress
from jaxbert.core.progress import Progress


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now, stream = 0.0, io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    shown = Progress(40, label="rows", unit="shard", stream=stream)
    for number in range(40):
        now = float(number)
        shown.advance(f"{number}M tokens")
    shown.close()
    shown.close()
    assert stream.getvalue().splitlines() == [
        "rows: 16 of 40 shards, 15M tokens, 15 s",
        "rows: 31 of 40 shards, 30M tokens, 30 s",
        "rows: 40 of 40 shards, 39M tokens, 39 s",
    ]


def test_an_unknown_total_and_a_disabled_one() -> None:
    stream = io.StringIO()
    with Progress(None, label="prepare", unit="shard", stream=stream) as shown:
        shown.advance()
    assert stream.getvalue() == "prepare: 1 shard, 0 s\n"
    with Progress(2, label="rows", unit="shard", stream=stream, enabled=False) as shown:
        shown.advance("text")
    assert stream.getvalue() == "prepare: 1 shard, 0 s\n"
