"""`jaxbert launch status`, `logs` and `stop` after `launch local`: records of processes that run, ended, or never were.

The launchers are real. Each runs a small program in place of `jaxbert pretrain`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jaxbert.launch import launcher, records
from jaxbert.launch.launcher import Book, Launcher

from jaxbert.commands.main import main
from jaxbert.core.machine import boot, started
from jaxbert.errors import InputError, Interrupted
from jaxbert.stores import mirror
from jaxbert.stores.lease import Owner

# Runs until SIGTERM, and then ends with 3, like a run that has written its checkpoint. With $ENDS it ends by itself. It
# ends when its launcher does, as a run does.
TRAINING = """#!/bin/bash
trap 'echo saved; exit 3' TERM
lines='{"step": 7, "loss": NaN}\\n{"step": 12, "lo'
if [ "$JAXBERT_PROCESS_ID" = 0 ]; then printf "$lines" >>"$WORKDIR/metrics.jsonl"; fi
echo training
[ -z "$ENDS" ] || exit "$ENDS"
while kill -0 "$PPID" 2>/dev/null; do sleep 0.05; done
echo alone
"""
LAUNCHER = """
import sys
from jaxbert.commands.main import main
sys.executable = sys.argv[1]
sys.exit(main(["launch", "local", "smoke", "--workdir", *sys.argv[2:]]))
"""
Answer = Callable[..., tuple[int, str]]


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return tmp_path / "a run's"


@pytest.fixture
def start(tmp_path: Path, workdir: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `launch local`, and returns it as soon as the run goes on, or has ended."""
    program = tmp_path / "training"
    program.write_text(TRAINING)
    program.chmod(0o755)
    begun: list[subprocess.Popen[str]] = []

    def launch(*more: str, ends: str = "", where: Path = workdir) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", LAUNCHER, str(program), str(where), "--processes", "2", *more]
        log = where / "logs/process-0.log"
        before = log.stat().st_size if log.exists() else 0
        one = subprocess.Popen(
            words, env={**os.environ, "ENDS": ends, "WORKDIR": str(where)}, stderr=subprocess.PIPE, text=True
        )
        begun.append(one)
        end = time.monotonic() + 120
        while one.poll() is None and (not log.exists() or log.stat().st_size == before):
            assert time.monotonic() < end
            time.sleep(0.05)
        return one

    yield launch
    for one in begun:
        if one.poll() is None:
            one.kill()
        one.communicate()


@pytest.fixture
def ask(workdir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Answer:
    """Runs `jaxbert launch WORD`. Returns the exit code, what it prints, and the figures."""

    def run(word: str, *more: str, where: str | Path = workdir) -> tuple[int, str, dict[str, Any]]:
        capfd.readouterr()
        figures = tmp_path / "figures.json"
        figures.unlink(missing_ok=True)
        code = main(["launch", word, "--workdir", str(where), "--json", str(figures), *more])
        said = capfd.readouterr()
        return code, said.out + said.err, json.loads(figures.read_text()) if figures.exists() else {}

    return run


def own(workdir: Path) -> Path:
    return records.folder(str(workdir)) / "job.json"


def change(workdir: Path, path: Path | None = None, **options: object) -> None:
    """Changes options of a record."""
    path = path or own(workdir)
    value = json.loads(path.read_text())
    value["options"] |= options
    path.write_text(json.dumps(value))


def test_a_run_is_shown_and_stopped(start, ask: Answer, workdir: Path):
    one = start("--restarts", "5")
    code, said, figures = ask("status")
    assert code == 0 and "running since 20" in said and f"process {one.pid} of this machine" in said
    assert "processes  2, after 0 restarts of 5" in said and "step       7 is" in said
    assert (figures["state"], figures["process"], figures["step"], figures["code"]) == ("running", one.pid, 7, None)
    assert ask("logs")[:1] == (0,) and "training" in ask("logs")[1]

    # Another launch of the same run is refused, and leaves the record as it is.
    before = own(workdir).read_bytes()
    second = start()
    assert second.wait(60) == 2 and "E-LAUNCH-RUNNING" in second.stderr.read()
    assert own(workdir).read_bytes() == before == (workdir / "launch/job.json").read_bytes()

    code, said, figures = ask("stop", "--dry-run")
    assert (code, said.strip()) == (0, f"kill -TERM {one.pid}") and one.poll() is None
    code, said, figures = ask("stop")
    assert code == 0 and "was told to end" in said and "ended with exit code 3" in said, said
    assert (figures["state"], figures["code"]) == ("ended", 3)
    # A signal to the launcher was meant for the whole run: it was not restarted.
    assert one.wait(60) == 3 and (workdir / "logs/process-1.log").read_text() == "training\nsaved\n"
    # Once more: nothing is left to stop.
    code, said, figures = ask("stop")
    assert code == 0 and "was told" not in said and figures["commands"] == []


@pytest.mark.parametrize("ends", ["0", "1", "2", "3", "4"])
def test_the_end_is_remembered(ends: str, start, ask: Answer, workdir: Path):
    assert start("--restarts", "1", ends=ends).wait(60) == int(ends)
    code, said, figures = ask("status")
    assert code == 0 and f"ended with exit code {ends} at 20" in said and launcher._MEANING[int(ends)] in said
    again = 1 if ends == "3" else 0
    assert figures["again"] == again and f"after {again} restart" in said


def test_the_second_of_two_launches_is_shown(start, ask: Answer, workdir: Path):
    assert start(ends="4").wait(60) == 4
    two = start()
    assert ask("status")[2]["process"] == two.pid and ask("status")[2]["state"] == "running"
    two.send_signal(signal.SIGTERM)
    assert two.wait(60) == 3 and ask("status")[2]["code"] == 3


def test_a_launcher_that_was_killed_is_told_from_one_that_runs(start, ask: Answer, workdir: Path):
    one = start()
    one.kill()
    one.wait()
    # A process that is asked to write its checkpoint can still write into its log.
    end = time.monotonic() + 60
    while "alone" not in (workdir / "logs/process-0.log").read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    code, said, figures = ask("status")
    assert code == 0 and figures["state"] == "lost" and "noted no exit code" in said and "continues the run" in said
    code, said, figures = ask("stop")
    assert code == 0 and figures["commands"] == [] and "was told" not in said
    # A process of the run may live longer than its launcher, until it has written its checkpoint.
    owner = Owner.here()
    (workdir / ".lease").mkdir()
    (workdir / ".lease/000001").write_text(json.dumps(vars(owner)))
    assert f"Process {owner.process} of its run still writes" in ask("stop")[1]
    (workdir / ".lease/000001").unlink()
    # The same command continues, and has a new record.
    two = start(ends="0")
    assert two.wait(60) == 0 and ask("status")[2]["code"] == 0


def test_a_launch_that_is_refused_leaves_the_record_of_the_run_that_lives(
    start, ask: Answer, workdir: Path, tmp_path: Path, monkeypatch
):
    """Two users, or one user from two homes: the launcher of the second one does not know the first one's."""
    one = start()
    (workdir / ".lease").mkdir()
    (workdir / ".lease/000001").write_text("the first run holds the workdir")
    before = (workdir / "launch/job.json").read_bytes()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "second"))
    assert start(ends="2").wait(60) == 2
    assert (workdir / "launch/job.json").read_bytes() == before
    # The second user, and anybody else, sees the run that lives.
    for home in ("second", "third"):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / home))
        assert ask("status")[2]["process"] == one.pid, home
    # A launch that ends with 2 while nobody holds the workdir is the newest one.
    (workdir / ".lease/000001").unlink()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "second"))
    assert start(ends="2").wait(60) == 2
    assert (workdir / "launch/job.json").read_bytes() != before


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with the run, and must live on."""
    one = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield one
    assert one.poll() is None, "a signal reached a process that is not the launcher"
    one.kill()
    one.wait()


def written(workdir: Path, process: int, **more: object) -> Launcher:
    """Writes the record of a launcher with this number, which started when that process did."""
    one = dataclasses.replace(Launcher.here(2, 0), process=process, start=started(process) or "ticks 1", **more)
    records.write(str(workdir), launcher.LOCAL, launcher.LOCAL, vars(one))
    return one


@pytest.mark.parametrize("other", [{"start": "ticks 1"}, {"start": ""}, {"boot": "another"}])
def test_a_number_that_another_process_has_now_gets_no_signal(other, bystander, ask: Answer, workdir: Path):
    written(workdir, bystander.pid)
    change(workdir, **other)
    change(workdir, workdir / "launch/job.json", **other)
    assert ask("status")[2]["state"] == "lost"
    assert ask("stop")[0] == 0
    one = dataclasses.replace(Launcher.here(2, 0), process=bystander.pid, **other)
    assert not one.tell(signal.SIGTERM)


def test_a_process_gets_the_signal_only_if_it_is_the_launcher():
    one = subprocess.Popen(["sleep", "600"])
    try:
        there = dataclasses.replace(Launcher.here(1, 0), process=one.pid, start=started(one.pid))
        assert there.runs and there.tell(signal.SIGTERM)
        # A zombie does not run.
        end = time.monotonic() + 60
        while there.runs:
            assert time.monotonic() < end
        assert not there.tell(signal.SIGTERM) and one.wait() == -signal.SIGTERM
        assert started(one.pid) is None
    finally:
        one.kill()


def test_a_system_without_handles_of_processes(monkeypatch):
    monkeypatch.delattr(os, "pidfd_open")
    one = subprocess.Popen(["sleep", "600"])
    there = dataclasses.replace(Launcher.here(1, 0), process=one.pid, start=started(one.pid))
    assert there.tell(signal.SIGTERM) and one.wait() == -signal.SIGTERM and not there.tell(signal.SIGTERM)


def test_a_record_in_the_workdir_never_leads_to_a_signal(bystander, ask: Answer, workdir: Path):
    """Everybody who may write to the workdir may have written it, with numbers that /proc shows to all."""
    written(workdir, bystander.pid)
    own(workdir).unlink()
    assert ask("status")[2]["state"] == "running"
    code, said, _ = ask("stop")
    assert code == 2 and "E-LAUNCH-ELSEWHERE" in said and "not yours" in said


@pytest.mark.parametrize("other", [{"host": "node7"}, {"space": "pid:[7]"}])
def test_another_machine_is_named(other, bystander, ask: Answer, workdir: Path):
    written(workdir, bystander.pid, host="node7", **{name: value for name, value in other.items() if name != "host"})
    for path in (own(workdir), None):
        if path is None:
            own(workdir).unlink()
        code, said, figures = ask("status")
        assert code == 0 and "only node7 can say" in said and figures["state"] == "elsewhere"
        code, said, _ = ask("stop")
        assert code == 2 and "Repeat the command on node7" in said and "E-LAUNCH-ELSEWHERE" in said
    # What it noted of its end is known everywhere.
    change(workdir, workdir / "launch/job.json", code=0, ended=5)
    code, said, figures = ask("status")
    assert "ended on node7 with exit code 0" in said and figures["state"] == "ended" and ask("stop")[0] == 0


def test_a_later_launch_on_another_machine_is_the_one_that_is_shown(start, ask: Answer, workdir: Path):
    assert start(ends="3").wait(60) == 3
    change(workdir, workdir / "launch/job.json", host="node7", process=99, code=None, ended=None)
    assert ask("status")[2]["host"] == "node7"
    # Not while the own one runs.
    one = start()
    change(workdir, workdir / "launch/job.json", host="node7", process=99)
    assert ask("status")[2]["process"] == one.pid
    (workdir / "launch/job.json").write_text("damaged")
    assert ask("stop")[2]["code"] == 3 and one.wait(60) == 3
    # The own record is good, so a damaged one in the workdir does not matter.
    (workdir / "launch/job.json").write_text("damaged")
    assert ask("status")[2]["code"] == 3


URL = "gs://my-bucket/runs/base"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Returns the objects of a bucket that takes the place of every bucket. This machine has no gcloud."""
    objects: dict[str, bytes] = {}

    class Kept:
        def __init__(self, url: str):
            self.url = url

        def write(self, name: str, content: bytes) -> None:
            if "away" in objects:
                raise Interrupted("the bucket does not answer", where=self.url, fix="Wait.", code="E-STORE-NETWORK")
            objects[f"{self.url}/{name}"] = content

        def read(self, name: str) -> bytes:
            if f"{self.url}/{name}" not in objects:
                raise FileNotFoundError(name)
            return objects[f"{self.url}/{name}"]

    for module in (records, launcher, mirror):
        monkeypatch.setattr(module, "Bucket", Kept)
    monkeypatch.setattr(records.shutil, "which", lambda name: None)
    return objects


def test_another_machine_reads_the_record_in_the_bucket(bucket, ask: Answer, tmp_path: Path, monkeypatch):
    """The machine that launched shows and stops the run. Another one says who runs it, and where."""

    def now_on(host: str) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / host))
        monkeypatch.setattr(launcher, "_host", lambda: host)

    monkeypatch.setenv("LOGNAME", "ada")
    now_on("node7")
    book = Book(URL, Launcher.here(2, 5))
    book.note(again=1)
    bucket[f"{URL}/metrics.jsonl"] = b'{"step": 7, "loss": 1.0}\n{"step": 9, "lo'
    assert json.loads(bucket[f"{URL}/launch/job.json"])["options"]["user"] == "ada"
    code, said, figures = ask("status", where=URL)
    assert code == 0 and figures["state"] == "running" and "process-0.log" in said

    now_on("laptop")
    code, said, figures = ask("status", where=URL)
    assert code == 0 and (figures["state"], figures["step"], figures["user"]) == ("elsewhere", 7, "ada")
    assert "started on node7 by ada at 20" in said and "only node7 can say whether it still runs" in said
    assert "7 is the last one in metrics.jsonl of the bucket" in said and "log        on node7" in said
    assert "2, after 1 restart of 5" in said
    code, said, _ = ask("stop", where=URL)
    assert code == 2 and "Repeat the command on node7, as ada. [E-LAUNCH-ELSEWHERE]" in said
    code, said, _ = ask("logs", where=URL)
    assert code == 2 and "Repeat the command on node7, as ada. [E-LAUNCH-NO-LOG]" in said

    now_on("node7")
    book.end(3)
    now_on("laptop")
    code, said, figures = ask("status", where=URL)
    assert code == 0 and "ended on node7 with exit code 3" in said and figures["state"] == "ended"

    # A later launch on the other machine is the one that is shown on the first one too.
    Book(URL, dataclasses.replace(Launcher.here(3, 0), process=99)).note()
    now_on("node7")
    assert ask("status", where=URL)[2]["host"] == "laptop"
    # Without a record in the bucket, the own one counts.
    del bucket[f"{URL}/launch/job.json"]
    assert ask("status", where=URL)[2]["host"] == "node7"


def test_a_bucket_that_takes_no_record_stops_no_run(bucket, caplog, ask: Answer):
    bucket["away"] = b""
    book = Book(URL, Launcher.here(1, 0))
    for again in range(3):
        book.note(again=again)
    assert caplog.text.count("will not know this run on other machines: the bucket does not answer") == 1
    assert ask("status", where=URL)[0] == 0


def test_a_bucket_that_nothing_reads_is_named(bucket, ask: Answer, monkeypatch):
    def none(url: str) -> None:
        raise InputError("no installed package", where=url, fix="Install one.", code="E-STORE-SCHEME")

    monkeypatch.setattr(records, "Bucket", none)
    code, said, _ = ask("status", where=URL)
    assert code == 2 and "neither gcloud nor gcsfs" in said and "E-LAUNCH-PROGRAM" in said
    assert "E-STORE-SCHEME" in ask("status", where=URL.replace("gs:", "s3:"))[1]


@pytest.mark.parametrize(
    "options",
    [
        {"process": 0},
        {"process": -1},
        {"process": True},
        {"process": "1; kill -9 -1"},
        {"process": 2**31},
        {"process": 1.5},
        {"process": None},
        {"host": "\x1b[2J"},
        {"user": "\x1b[2J"},
        {"user": 7},
        {"host": "a" * 300},
        {"start": ["ticks"]},
        {"since": 1e300},
        {"since": -1},
        {"ended": 2**60},
        {"code": 256},
        {"code": "0"},
        {"processes": 0},
        {"again": None},
    ],
)
def test_a_hostile_record_is_refused(options, bystander, ask: Answer, workdir: Path):
    written(workdir, bystander.pid)
    change(workdir, **options)
    for word in ("status", "stop"):
        code, said, _ = ask(word)
        assert code == 2 and "E-LAUNCH-RECORD" in said and "\x1b" not in said, (word, said)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"target": "local"}', '{"target": "local", "name": "--all", "options": {}}']
)
def test_a_damaged_record_is_named_and_does_not_stop_a_launch(text: str, start, ask: Answer, workdir: Path):
    own(workdir).parent.mkdir(parents=True)
    own(workdir).write_text(text)
    code, said, _ = ask("status")
    assert code == 2 and ("E-LAUNCH-RECORD" in said or "E-LAUNCH-NAME" in said)
    assert start(ends="0").wait(60) == 0 and ask("status")[2]["code"] == 0


def test_a_run_that_does_not_end_is_said_to_go_on(bystander, ask: Answer, workdir: Path, monkeypatch):
    written(workdir, bystander.pid)
    monkeypatch.setattr(Launcher, "tell", lambda self, number: True)
    monkeypatch.setattr(launcher, "PATIENCE_S", 0.2)
    code, said, _ = ask("stop")
    assert code == Interrupted.exit_code and "E-LAUNCH-STILL" in said and "told twice" in said


def test_another_users_process_is_not_ours_to_end(bystander, ask: Answer, workdir: Path, monkeypatch):
    written(workdir, bystander.pid)

    def refused(self: Launcher, number: int) -> bool:
        raise PermissionError

    monkeypatch.setattr(Launcher, "tell", refused)
    code, said, _ = ask("stop")
    assert code == 2 and "E-LAUNCH-ELSEWHERE" in said and "another user" in said


def test_without_a_log_it_says_so(ask: Answer, workdir: Path):
    written(workdir, os.getpid())
    code, said, _ = ask("logs")
    assert code == 2 and "E-LAUNCH-NO-LOG" in said
    (workdir / "logs").mkdir()
    os.mkfifo(workdir / "logs/process-0.log")
    code, said, _ = ask("logs")
    assert code == 2 and "E-FILE-KIND" in said
    code, said, _ = ask("logs", "--follow", "--dry-run")
    assert code == 2
    (workdir / "logs/process-0.log").unlink()
    (workdir / "logs/process-0.log").write_text("x\n")
    code, said, _ = ask("logs", "--follow", "--dry-run")
    assert code == 0 and said.startswith("tail -n +1 -F ")


def test_a_record_that_cannot_be_written_stops_no_run(start, workdir: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    workdir.mkdir()
    (workdir / "launch").symlink_to(outside)
    (tmp_path / "state").write_text("a file")
    one = start(ends="0")
    assert one.wait(60) == 0 and "will not know this run" in one.stderr.read()
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "step"),
    [
        (None, None),
        (b"", None),
        (b'{"step": 3', None),
        (b'{"step": 3}\n{"step": 4}\n', 4),
        (b'{"step": 3}\nnull\n{"step": "x"}\n\xff\n', 3),
        (b'{"step": 3}\n' + b"x" * (1 << 17) + b"\n", None),
    ],
)
def test_the_last_step_is_read_from_whole_lines(content: bytes | None, step: int | None, tmp_path: Path):
    if content is not None:
        (tmp_path / "metrics.jsonl").write_bytes(content)
    assert launcher.last_step(tmp_path) == step


def test_the_start_of_a_process_does_not_change():
    assert started(os.getpid()) == started(os.getpid()) != started(1)
    assert started(2**31 - 1) is None and boot() == boot()
