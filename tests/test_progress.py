"""Progress of counted things in a log; tests of the training loop's lines are in test_telemetry.py."""

from __future__ import annotations

import io
import re

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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown_on(terminal: Terminal) -> str:
    """What was drawn, without the codes of colours and of the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())


def test_a_log_names_work_and_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now, stream = 0.0, io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with Progress(None, label="tokenizer", unit="document", stream=stream) as shown:
        shown.advance(by=1000)
        with shown.doing("learning 8,000 pieces"):
            now += 62.0
        with shown.doing("a checkpoint", log=False):
            now += 1.0
        with pytest.raises(KeyError), shown.doing("what fails"):
            raise KeyError
    assert stream.getvalue().splitlines() == [
        *("learning 8,000 pieces ...", "learning 8,000 pieces: 1 min 02 s", "what fails ..."),
        "tokenizer: 1,000 documents, 63 s",
    ]


def test_the_time_left_has_no_named_work_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now, stream = 0.0, io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with Progress(10, stream=stream) as shown:
        with shown.doing("compiling"), shown.doing("and within it"):
            now += 600.0
        now += 2.0
        shown.update(1, "loss 9.0")
        now += 2.0
        shown.update(2, "loss 8.0", left_s=40.0)
        shown.update(10, "loss 1.0", left_s=0.0)
    lines = stream.getvalue().splitlines()
    assert lines[-3:] == ["step 1/10  loss 9.0  18 s left", "step 2/10  loss 8.0  40 s left", "step 10/10  loss 1.0"]


def test_a_bar_moves_with_every_step_and_names_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()
    with Progress(10, start=3, stream=terminal) as shown:
        assert shown.is_bar
        monkeypatch.setattr(progress.time, "monotonic", lambda: now)
        with shown.doing("compiling the step of phase short"):
            now = 5.0
            shown._bar.refresh()
        assert "3/10 compiling the step of phase short, 5 s" in shown_on(terminal)
        shown.update(4, "epoch 0.40  loss 2.5", left_s=30.0)
        shown._bar.refresh()
        shown.update(5, left_s=25.0)
        shown._bar.refresh()
        shown.note("step 5: validation loss 2.4")
    drawn = shown_on(terminal)
    assert "4/10 30 s left  epoch 0.40  loss 2.5" in drawn, drawn
    assert "5/10 25 s left  epoch 0.40  loss 2.5" in drawn
    assert "compiling the step of phase short: 5 s" in drawn and "validation loss 2.4" in drawn
    assert not shown.is_bar


def test_a_narrow_terminal_cuts_the_end_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()
    with Progress(10, stream=terminal) as shown:
        shown.update(4, "epoch 0.40  loss 2.5  mlm 33.3%  rate 1.00e-04", left_s=30.0)
        shown._bar.refresh()
    assert all(len(line) <= 60 for line in re.split(r"[\r\n]", shown_on(terminal)))
    assert "30 s left" in shown_on(terminal)
