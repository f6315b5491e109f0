"""A mistake of the user gets its own message; a bug, or an error of the system, is not taken for one."""

from __future__ import annotations

import errno
import json
import logging
import subprocess
from pathlib import Path

import pytest
from jaxbert.launch import execute, planning, records, running
from jaxbert.launch.job import Command, Job

from jaxbert.config import find_config
from jaxbert.errors import InputError, Interrupted
from jaxbert.plan.topologies import topology
from tests.launch.conftest import BUCKET

PLACE = topology("v5e:4x4", 1)
FIGURES = {
    **{"chips": 16, "devices": 16, "hbm_bytes": 1.0, "judged_by": "model", "phases": [{"memory_bytes": {"params": 1}}]},
    "bill": {"hours": 1.0, "chip_hours": 16, "money": 5, "currency": "USD"},
    "price": {"per_hour": 1, "currency": "USD", "source": "a list"},
}


def plan() -> tuple:
    return planning.plan(find_config("smoke"), ["smoke"], PLACE, analytic=True)


def answering(monkeypatch: pytest.MonkeyPatch, code: int, said: str) -> None:
    """Replaces the process of `jaxbert plan`."""

    def run(command: list[str], **more: object) -> subprocess.CompletedProcess[str]:
        if not code:
            file = next(word.partition("=")[2] for word in command if word.startswith("--json="))
            Path(file).write_text(json.dumps(FIGURES))
        return subprocess.CompletedProcess(command, code, "", said)

    monkeypatch.setattr(planning.subprocess, "run", run)


@pytest.mark.parametrize(
    ("code", "kind", "name"), [(2, InputError, "E-LAUNCH-PLAN"), (3, Interrupted, "E-LAUNCH-PLAN-INTERRUPTED")]
)
def test_the_message_of_the_plan_is_ours(code: int, kind: type[Exception], name: str, monkeypatch):
    answering(monkeypatch, code, "a warning\njaxbert: error: it is too large (v5e). Take more. [E-PLAN-MEMORY]\n")
    with pytest.raises(kind, match=rf"nothing was sent: it is too large .*E-PLAN-MEMORY.*\[{name}\]"):
        plan()


@pytest.mark.parametrize(("code", "said"), [(1, "Traceback\nKeyError: 5"), (2, "usage: no such option"), (-9, "")])
def test_a_bug_in_the_plan_is_a_bug(code: int, said: str, monkeypatch):
    answering(monkeypatch, code, said)
    with pytest.raises(RuntimeError, match=rf"exit code {code}:\n{said}"):
        plan()


def test_a_damaged_plan_is_made_again(monkeypatch, caplog):
    answering(monkeypatch, 0, "")
    assert plan() == (FIGURES, False) and plan() == (FIGURES, True)
    kept = planning._kept(find_config("smoke"), PLACE, True, None)
    for damaged in ("{", "[]", "[" * 100_000, json.dumps({**FIGURES, "chips": "16"}), json.dumps({"chips": 16})):
        kept.write_text(damaged)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "jaxbert"):
            assert plan() == (FIGURES, False)
        assert str(kept) in caplog.text and plan() == (FIGURES, True)


def test_the_plan_gets_the_provider_or_the_price_and_the_chip_of_the_user(monkeypatch):
    commands: list[list[str]] = []
    answering(monkeypatch, 0, "")
    run = planning.subprocess.run
    monkeypatch.setattr(planning.subprocess, "run", lambda command, **more: commands.append(command) or run(command))
    google, own = {"provider": "google"}, {"provider": "aws", "chip": "my chip.json"}
    for more in (google, {}, {**google, "price": 2.0}, own):
        planning.plan(find_config("smoke"), ["smoke"], PLACE, analytic=True, **more)
    assert [command[-1] for command in commands] == [
        *("--provider=google", "--provider=none", "--price=2.0", "--chip=my chip.json")
    ]


def job(log: Path) -> Job:
    return Job((Command(("true",), log=log),))


def test_a_log_in_a_wrong_place_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    (tmp_path / "logs" / "process-0.log").mkdir(parents=True)
    for log in (tmp_path / "file" / "process-0.log", tmp_path / "logs" / "process-0.log"):
        with pytest.raises(InputError, match="E-LAUNCH-LOG"):
            running.run(job(log))


def test_a_full_disk_is_not_a_wrong_place(tmp_path: Path, monkeypatch):
    def full(*arguments: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(OSError, match="No space left") as end:
        running.run(job(tmp_path / "logs" / "process-0.log"))
    assert not isinstance(end.value, InputError)


def test_without_gcloud_the_record_in_a_bucket_cannot_be_read(launch, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, said = launch("", base=["launch", "status", "--workdir", BUCKET])
    assert code == 2 and "E-LAUNCH-PROGRAM" in said and "gcloud" in said


def test_the_words_of_gcloud_are_shown(launch, programs, tmp_path: Path):
    program = tmp_path / "programs" / "gcloud"
    words = ("WARNING: old", "ERROR: you are not logged in", "To log in, run:", "  gcloud auth login")
    program.write_text("#!/bin/bash\n" + "".join(f"echo '{line}' >&2\n" for line in words) + "exit 1\n")
    code, said = launch("", base=["launch", "status", "--workdir", BUCKET])
    assert code == 2 and "E-LAUNCH-UNKNOWN" in said and "(ERROR: you are not logged in)" in said


def test_a_record_that_does_not_reach_the_bucket_is_a_warning(launch, programs, answer):
    answer("job.json", 1)
    code, said = launch("queued-resource", "--yes")
    assert code == 0 and "sent." in said and "not copied" in said, said
    with pytest.raises(Interrupted, match="E-LAUNCH-RECORD-COPY"):
        records.send(BUCKET)
    assert records.read(BUCKET).target == "queued-resource"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_record_that_may_not_be_read_is_not_a_missing_one(number: int, launch, programs, monkeypatch):
    assert launch("queued-resource", "--yes")[0] == 0

    def denied(path: Path) -> bytes:
        raise OSError(number, "no", str(path))

    monkeypatch.setattr(records, "open_regular", denied)
    with pytest.raises(InputError, match="E-LAUNCH-PERMISSION"):
        records.read(BUCKET)


def test_a_record_on_a_broken_disk_is_not_a_mistake_of_the_user(launch, programs, monkeypatch):
    assert launch("queued-resource", "--yes")[0] == 0

    def broken(path: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(records, "open_regular", broken)
    with pytest.raises(OSError, match="Input/output error"):
        records.read(BUCKET)


def test_files_that_may_not_be_written_are_named_and_nothing_is_sent(launch, programs, monkeypatch, tmp_path: Path):
    state = tmp_path / "state"

    def denied(path: Path, *arguments: object, **more: object) -> None:
        if path.is_relative_to(state):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", denied)
    code, said = launch("queued-resource", "--yes")
    assert code == 2 and "E-LAUNCH-PERMISSION" in said and str(state) in said and programs() == []


def test_a_command_that_is_interrupted_is_named(monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(execute.subprocess, "run", interrupted)
    with pytest.raises(Interrupted, match=r"sh -c true.*E-LAUNCH-INTERRUPTED"):
        execute.execute(Command(("sh", "-c", "true")), {"sh": "a shell"})
