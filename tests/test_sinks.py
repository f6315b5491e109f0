"""Sinks: TensorBoard's files, and a package that works, fails, hangs or is not there, in a separate process.

The package is a file that this test writes, under the name of the real one. tests/peers/test_sinks_peer.py has the real
ones.
"""

from __future__ import annotations

import dataclasses
import errno
import importlib.util
import json
import logging
import struct
import time
from pathlib import Path

import pytest

from jaxbert.config import LoggingConfig, RunConfig, all_sinks, check, find_config, from_json, to_json
from jaxbert.config.overrides import apply_overrides
from jaxbert.errors import InputError
from jaxbert.inputs.values import flat
from jaxbert.observe.sinks import SINKS, Sinks, apart, check_installed
from jaxbert.observe.sinks.base import RunFacts, numbers
from jaxbert.observe.sinks.tensorboard import TensorBoard
from jaxbert.run.pretrain import pretrain

# A package that writes down what it is told. The variable FAKE says what it does instead.
FAKE = """
import json, os, sys, time

def note(**what):
    with open(os.environ["FAKE_NOTES"], "a") as file:
        file.write(json.dumps(what) + "\\n")

def does(place):
    if os.environ.get("FAKE") == f"fails in {place}":
        sys.exit(f"the server said no to {place}")
    if os.environ.get("FAKE") == f"hangs in {place}":
        time.sleep(600)

class Settings:
    def __init__(self, **settings):
        pass

class Run:
    def log(self, values, step):
        does("log")
        note(step=step, values=values)

    def finish(self, exit_code):
        does("finish")
        note(exit_code=exit_code)

def init(project, name, id, resume, config, settings):
    does("init")
    print("a URL to look at")
    note(project=project, name=name, id=id, resume=resume, config=config)
    return Run()
"""


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts the false package where processes of sinks find it; the file of what it was told."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "wandb.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setenv("FAKE_NOTES", str(tmp_path / "notes.jsonl"))
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return tmp_path / "notes.jsonl"


def told(notes: Path) -> list[dict]:
    return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []


def opened(workdir: Path, step: int = 0) -> Sinks:
    workdir.mkdir(exist_ok=True)
    return Sinks(["wandb"], RunFacts("my run", {"seed": 1}, workdir, step))


def test_a_sink_gets_numbers_by_step_and_a_continued_run_goes_on(notes, tmp_path):
    sinks = opened(tmp_path / "run")
    sinks.scalars(5, {"step": 5, "phase": "a", "loss": 2.5, "bad": float("nan"), "step_ms": {"p50": 3}})
    sinks.scalars(5, {"step": 5, "validation_loss": 2.25})
    sinks.scalars(8, {"loss": 2.0})
    sinks.close(ended_well=False)
    sinks.close()
    first, *rest = told(notes)
    assert (first["project"], first["name"], first["config"]) == ("jaxbert", "my run", {"seed": 1})
    assert rest == [
        {"step": 5, "values": {"loss": 2.5, "step_ms/p50": 3.0}},
        {"step": 5, "values": {"validation_loss": 2.25}},
        {"step": 8, "values": {"loss": 2.0}},
        {"exit_code": 1},
    ]
    assert "a URL to look at" in (tmp_path / "run" / "sinks" / "wandb.log").read_text()
    # The run goes back to step 5, where its checkpoint is. What it computes again is there already.
    notes.unlink()
    sinks = opened(tmp_path / "run", step=5)
    for step in (6, 8, 9):
        sinks.scalars(step, {"loss": 1.0})
    sinks.close()
    again, *rest = told(notes)
    assert again["id"] == first["id"] and rest == [{"step": 9, "values": {"loss": 1.0}}, {"exit_code": 0}]


@pytest.mark.parametrize("place", ["init", "log", "finish"])
def test_a_sink_that_fails_is_left_out_with_one_warning(notes, tmp_path, monkeypatch, caplog, place):
    monkeypatch.setenv("FAKE", f"fails in {place}")
    caplog.set_level(logging.WARNING)
    sinks = opened(tmp_path / "run")
    for step in range(1, 100):
        sinks.scalars(step, {"loss": 1.0})
        if sinks._open and step == 1:
            sinks._open["wandb"]._child.wait(60) if place != "finish" else None
    sinks.close()
    (record,) = caplog.records
    assert "the sink wandb does not work" in record.message
    assert f"the server said no to {place}" in record.message and "wandb.log" in record.message


def test_a_sink_that_hangs_neither_slows_the_run_nor_keeps_it(notes, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("FAKE", "hangs in log")
    monkeypatch.setattr(apart, "MOST_BYTES", 1 << 20)
    caplog.set_level(logging.WARNING)
    sinks = opened(tmp_path / "run")
    child = sinks._open["wandb"]._child
    values, step = {f"figure {n}": 0.1 for n in range(1000)}, 0
    while sinks._open and step < 1000:
        step += 1
        sinks.scalars(step, values)
    # Every call returned although nobody read: the pipe takes 64 KiB, and a mebibyte waited.
    assert 20 < step < 1000 and child.wait(60) != 0
    assert len(caplog.records) == 1 and "1 MiB behind" in caplog.records[0].message


def test_a_sink_that_does_not_end_is_ended(notes, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("FAKE", "hangs in finish")
    monkeypatch.setattr(apart, "CLOSE_S", 3.0)
    caplog.set_level(logging.WARNING)
    sinks = opened(tmp_path / "run")
    child = sinks._open["wandb"]._child
    sinks.scalars(1, {"loss": 1.0})
    sinks.close()
    assert child.returncode is not None
    assert len(caplog.records) == 1 and "has not ended within 3 s" in caplog.records[0].message


def test_a_killed_run_is_closed_as_one(notes, tmp_path):
    """The pipe ends without a word, in the middle of a line."""
    sinks = opened(tmp_path / "run")
    sinks.scalars(1, {"loss": 1.0})
    sink = sinks._open["wandb"]
    sink._waiting += b'{"step": 2, "val'
    sink._write()
    sink._child.stdin.close()
    assert sink._child.wait(60) == 0
    assert told(notes)[1:] == [{"step": 1, "values": {"loss": 1.0}}, {"exit_code": 1}]


def test_a_damaged_number_of_the_run_is_one_warning(notes, tmp_path, caplog):
    sinks = opened(tmp_path / "run")
    sinks.close()
    (tmp_path / "run" / "sinks" / "wandb.json").write_text("[]")
    sinks = opened(tmp_path / "run")
    sinks.close()
    (record,) = caplog.records
    assert "wandb.json is damaged: remove it" in record.message


@pytest.mark.parametrize("found", [None, importlib.util.spec_from_loader("wandb", None)])
def test_a_missing_package_is_said_before_anything_is_touched(tiny_logging, tmp_path, monkeypatch, found):
    """Also where the current directory has a folder `wandb`, as W&B makes it: the folder is no package."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found if name == "wandb" else find(name))
    with pytest.raises(InputError, match=r"needs the package wandb.*jaxbert\[wandb\].*E-SINK-PACKAGE"):
        pretrain(tiny_logging, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def tiny_logging() -> RunConfig:
    return apply_overrides(find_config("smoke"), ["logging.sinks=tensorboard,wandb"])


def test_configs_name_sinks_and_older_ones_say_tensorboard(tiny_logging):
    assert all_sinks(LoggingConfig()) == ("tensorboard",)
    assert all_sinks(tiny_logging.logging) == ("tensorboard", "wandb")
    assert all_sinks(apply_overrides(tiny_logging, ["logging.tensorboard=false"]).logging) == ("wandb",)
    one = apply_overrides(tiny_logging, ['logging.sinks=["mlflow","mlflow"]'])
    assert all_sinks(one.logging) == ("mlflow",)
    assert all_sinks(dataclasses.replace(one.logging, tensorboard=True)) == ("tensorboard", "mlflow")
    assert all_sinks(apply_overrides(one, ["logging.sinks=[]"]).logging) == ()
    old = {**to_json(LoggingConfig()), "tensorboard": False}
    del old["sinks"]
    assert all_sinks(from_json(LoggingConfig, old, "config.json.logging")) == ()
    with pytest.raises(InputError, match=r"no sink is called 'wand'.*Did you mean wandb.*E-CONFIG-NAME"):
        check(apply_overrides(tiny_logging, ["logging.sinks=wand"]), 1)
    with pytest.raises(InputError, match="E-CONFIG-TYPE"):
        apply_overrides(tiny_logging, ["logging.sinks=true"])


def test_every_sink_is_registered_with_its_extra():
    check_installed(["tensorboard"])
    root = Path(__file__).parents[1]
    for name, kind in SINKS.items():
        assert not kind.extra or (root / f"requirements-{kind.extra}.txt").is_file(), name
        assert kind.apart == bool(kind.extra), "what needs more than jaxbert runs apart"


def test_numbers_and_flat_values():
    given = {"step": 1, "on": True, "phase": "a", "a": {"b": {"c": 1}}, "d": None, "e": 2.5}
    assert dict(numbers(given)) == {"a/b/c": 1.0, "e": 2.5}
    config = {"a": {"b": [1, {"c": "x"}], "d": []}, "e": None}
    assert dict(flat(config)) == {"a.b.0": 1, "a.b.1.c": "x", "a.d": [], "e": None}


# ----------------------------------------------------------------------------------------------------------------------
# TensorBoard


def events_of(directory):
    """Events of the files in the order of their names, with both checksums of each record verified."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    events = []
    for path in sorted(directory.glob("events.*")):
        left = path.read_bytes()
        while left:
            length, check = struct.unpack("<QI", left[:12])
            data, (end,) = left[12 : 12 + length], struct.unpack("<I", left[12 + length : 16 + length])
            assert (check, end) == (masked_crc32c(left[:8]), masked_crc32c(data))
            events.append(Event.FromString(data))
            left = left[16 + length :]
    return events


def test_tensorboard_of_a_run_and_none_where_no_sink_is_named(tmp_path):
    facts = RunFacts("run", {}, tmp_path)
    none = Sinks((), facts)
    none.scalars(1, {"loss": 1.0})
    none.close()
    assert not list(tmp_path.iterdir())
    sinks = Sinks(["tensorboard"], facts)
    sinks.scalars(1, {"step": 1, "loss": 2.5, "step_ms": {"p50": 10.0}, "phase": "main"})
    sinks.close()
    _, *found = events_of(tmp_path / "tensorboard")
    assert [(one.step, one.summary.value[0].tag) for one in found] == [(1, "loss"), (1, "step_ms/p50")]


def test_tensorboard_of_a_resumed_run_hides_later_steps(tmp_path):
    from tensorboardX.proto.event_pb2 import SessionLog

    board = TensorBoard(tmp_path, step=7)
    board.scalars(8, {"loss": 2.5})
    board.close()
    board.close()
    version, start, loss = events_of(tmp_path)
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (8, SessionLog.START)
    assert (loss.step, loss.summary.value[0].tag) == (8, "loss")
    assert loss.summary.value[0].simple_value == 2.5


@pytest.mark.parametrize("full", ["write", "flush"])
def test_tensorboard_on_a_full_disk_is_one_warning_and_the_run_goes_on(tmp_path, monkeypatch, caplog, full):
    from tensorboardX.record_writer import RecordWriter

    sinks = Sinks(["tensorboard"], RunFacts("run", {}, tmp_path))
    sinks.scalars(1, {"loss": 2.5})

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RecordWriter, full, fail)
    monkeypatch.setattr("jaxbert.observe.sinks.tensorboard.FLUSH_S", 0.0)
    sinks._open["tensorboard"]._flush_at = time.monotonic()
    for _ in range(30):  # More than tensorboardX's queue holds.
        sinks.scalars(2, {"loss": 2.5})
    sinks.close()
    (record,) = caplog.records
    assert "the sink tensorboard does not work" in record.message and "No space left" in record.message
