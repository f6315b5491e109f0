"""The sinks of a run, with the real packages and without a network: what they were given can be read back."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jaxbert.observe.sinks import Sinks, check_installed
from jaxbert.observe.sinks.base import RunFacts

CONFIG = {"name": "my run", "seed": 3, "phases": [{"name": "a", "steps": 9}], "init": ""}
LINES = [(5, {"loss": 2.5, "step_ms/p50": 3.0}), (5, {"validation_loss": 2.25}), (8, {"loss": 2.0})]
LATER = (9, {"loss": 1.5})


def twice(name: str, workdir: Path) -> None:
    """A run that is interrupted after step 8, and continues from step 5 to step 9."""
    check_installed([name])
    workdir.mkdir()
    for step, given, well in ((0, LINES, False), (5, [LINES[-1], LATER], True)):
        sinks = Sinks([name], RunFacts("my run", CONFIG, workdir, step))
        for at, values in given:
            sinks.scalars(at, {**values, "phase": "a", "nothing": float("nan")})
        sinks.close(well)


def records(content: bytes) -> Iterator[bytes]:
    """Yields the records of a file of W&B: LevelDB's log format, behind seven bytes of W&B.

    Blocks have 32 KiB. In each, a record or a part of one has a checksum (4 bytes), its length (2) and its kind (1):
    1 is a whole record, 2 the first part of one, 3 a middle one, 4 the last one.
    """
    assert content[:4] == b":W&B"
    at, parts = 7, b""
    while at + 7 <= len(content):
        if -at % (1 << 15) < 7:  # what is left of the block holds no header
            at += -at % (1 << 15)
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


@pytest.fixture
def no_warning(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> Callable[[str], None]:
    """Returns a function that fails with the log of a sink that did not work."""

    def check(name: str) -> None:
        log = (tmp_path / "run" / "sinks" / f"{name}.log").read_text(errors="replace")
        assert not caplog.records, f"{caplog.records[0].message}\n{log}"

    return check


def test_wandb_offline(tmp_path, monkeypatch, no_warning):
    """Each process writes a folder; both belong to the same run, so that `wandb sync` joins them."""
    from wandb.proto import wandb_internal_pb2

    monkeypatch.chdir(tmp_path)
    for name, value in {"MODE": "offline", "DIR": str(tmp_path), "SILENT": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    twice("wandb", tmp_path / "run")
    no_warning("wandb")
    found: dict[int, dict[str, float]] = {}
    runs = []
    for path in sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb")):
        for data in records(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.HasField("run"):
                runs.append((record.run.run_id, record.run.project, record.run.display_name))
            if record.HasField("history"):
                items = {"/".join(one.nested_key) or one.key: one.value_json for one in record.history.item}
                figures = {name: float(value) for name, value in items.items() if not name.startswith("_")}
                found.setdefault(int(items["_step"]), {}).update(figures)
    assert (
        len(set(runs)) == 1
        and runs[0][1:] == ("jaxbert", "my run")
        and len(list((tmp_path / "wandb").glob("off*"))) == 2
    )
    assert found == {5: {**LINES[0][1], **LINES[1][1]}, 8: LINES[2][1], 9: LATER[1]}


def test_mlflow_in_a_file(tmp_path, monkeypatch, no_warning):
    from mlflow.tracking import MlflowClient

    store = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    twice("mlflow", tmp_path / "run")
    no_warning("mlflow")
    client = MlflowClient(store)
    (run,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert (run.info.run_name, run.info.status) == ("my run", "FINISHED")
    assert run.data.params["phases.0.steps"] == "9" and run.data.params["seed"] == "3"

    def history(name: str) -> list[tuple[int, float]]:
        return [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)]

    assert history("loss") == [(5, 2.5), (8, 2.0), (9, 1.5)]
    assert history("validation_loss") == [(5, 2.25)] and history("step_ms/p50") == [(5, 3.0)]


def test_trackio_on_this_machine(tmp_path, monkeypatch, no_warning):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for name in ("TRACKIO_PROJECT", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    twice("trackio", tmp_path / "run")
    no_warning("trackio")
    (path,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(path) as store:
        rows: list[Any] = store.execute("select run_name, step, metrics from metrics order by step, id").fetchall()
    assert len({name for name, _, _ in rows}) == 1 and rows[0][0].startswith("my run-")
    found: dict[int, dict[str, float]] = {}
    for _, step, values in rows:
        found.setdefault(step, {}).update(json.loads(values))
    assert found == {5: {**LINES[0][1], **LINES[1][1]}, 8: LINES[2][1], 9: LATER[1]}


def test_a_server_that_is_not_there_is_one_warning(tmp_path, monkeypatch, caplog):
    """MLflow asks again and again for a long time. The run ends all the same."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr("jaxbert.observe.sinks.apart.CLOSE_S", 8.0)
    (tmp_path / "run").mkdir()
    sinks = Sinks(["mlflow"], RunFacts("my run", CONFIG, tmp_path / "run"))
    child = sinks._open["mlflow"]._child  # type: ignore[attr-defined]
    sinks.scalars(1, {"loss": 1.0})
    sinks.close()
    assert child.returncode is not None and not os.path.exists(tmp_path / "run" / "sinks" / "mlflow.json")
    assert len(caplog.records) == 1 and "the sink mlflow does not work" in caplog.records[0].message
