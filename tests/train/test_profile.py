"""`--profile A:B`: the trace of some steps."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from jaxbert.commands import main as cli
from jaxbert.errors import InputError
from jaxbert.run.profile import Profile, Steps, parse_steps


def test_steps_of_a_text():
    assert parse_steps("20:24") == Steps(20, 24) and parse_steps("3:3") == Steps(3, 3)
    for text in ("", "5", "0:3", "4:3", "a:b", ":", "1:2:3", "-1:4"):
        with pytest.raises(InputError, match="E-ARGUMENT-PROFILE"):
            parse_steps(text)


@pytest.mark.parametrize(
    ("steps", "done", "called"),
    [
        (Steps(2, 3), range(1, 6), ["start", 2, 3, "stop"]),
        (Steps(1, 1), range(1, 4), ["start", 1, "stop"]),
        (Steps(2, 9), range(1, 4), ["start", 2, 3, "stop"]),
        # A run that continues within the steps traces those that are left; one that continues behind them, none.
        (Steps(2, 4), range(3, 6), ["start", 3, 4, "stop"]),
        (Steps(2, 4), range(5, 7), []),
        (None, range(1, 4), []),
    ],
)
def test_only_the_steps_that_are_asked_for_are_traced(tmp_path, monkeypatch, caplog, steps, done, called):
    seen: list[object] = []
    monkeypatch.setattr("jax.profiler.start_trace", lambda place: seen.append("start"))
    monkeypatch.setattr("jax.profiler.stop_trace", lambda: seen.append("stop"))
    with Profile(steps, tmp_path) as profile:
        for step in done:
            profile.before_step(step)
            if "start" in seen and "stop" not in seen:
                seen.append(step)
            profile.after_step(step)
    assert seen == called
    complete = steps is None or (bool(called) and steps.last in done)
    assert ("WARNING" in {record.levelname for record in caplog.records}) != complete


def test_a_trace_that_is_open_when_the_run_fails_is_written(tmp_path, monkeypatch):
    seen: list[str] = []
    monkeypatch.setattr("jax.profiler.start_trace", lambda place: seen.append("start"))
    monkeypatch.setattr("jax.profiler.stop_trace", lambda: seen.append("stop"))
    with pytest.raises(KeyError), Profile(Steps(1, 5), tmp_path) as profile:
        profile.before_step(1)
        raise KeyError("a bug")
    assert seen == ["start", "stop"]


def test_a_run_leaves_a_trace_of_its_steps(tiny_config: Path, tmp_path: Path, capsys):
    workdir = tmp_path / "run"
    settings = ["phases.a.steps=3", "phases.a.schedule.warmup_steps=0", "phases.b.steps=1", "evaluation.batches=1"]
    given = [
        "pretrain",
        str(tiny_config),
        "--workdir",
        str(workdir),
        "--profile",
        "2:3",
        "--anyway",
        "--set",
        *settings,
    ]
    assert cli.main(given) == 0
    assert f"profile of steps 2 to 3: {workdir}/profile" in capsys.readouterr().err
    assert list(workdir.glob("profile/plugins/profile/*/*.xplane.pb"))
    (trace,) = workdir.glob("profile/plugins/profile/*/*.trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert len(events) > 100
