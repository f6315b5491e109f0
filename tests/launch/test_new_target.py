"""To add a target takes one file (here toy.py) and one line in `TARGETS` (here monkeypatch's)."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from jaxbert.launch import records
from jaxbert.launch.job import Control

from tests.launch.conftest import BUCKET, arguments
from tests.launch.toy import Toy


@pytest.fixture(autouse=True)
def toy(add_target) -> Toy:
    """The line in `TARGETS`."""
    target = Toy()
    add_target("toy", target)
    return target


@pytest.fixture
def calls(programs, tmp_path: Path):
    """The engine's program, which records its calls."""
    (tmp_path / "programs/toy").write_bytes((tmp_path / "programs/gcloud").read_bytes())
    (tmp_path / "programs/toy").chmod(0o755)
    return lambda: [call for call in programs() if call[0] == "toy"]


def test_it_submits_shows_and_stops(launch, calls, tmp_path: Path):
    code, said = launch("toy", "--dry-run")
    assert code == 0 and "by toy, as bert-base-" in said and "183 USD in all" in said and calls() == []
    code, said = launch("toy", "--yes", "--set", "seed=7", "--json", str(tmp_path / "sent.json"))
    assert code == 0, said
    sent = json.loads((tmp_path / "sent.json").read_text())
    (file,) = sent["files"]
    assert calls() == [["toy", "submit", sent["name"], file]]
    assert "seed=7" in Path(file).read_text() and Path(file).read_text().endswith(f"--workdir={BUCKET}")
    for word in ("status", "logs", "stop"):
        assert launch("", base=["launch", word, "--workdir", BUCKET])[0] == 0
        assert calls() == [["toy", word, sent["name"]]]


def test_the_checks_of_every_target_hold_for_it(launch, calls, capsys):
    assert launch("toy", "--data", "seq128:rows", "--yes")[0] == 2
    assert launch("toy", "--workdir", "runs/base", "--yes")[0] == 2
    assert launch("toy", "--topology", "v5e:4x4", "--yes")[0] == 2
    assert launch("toy", "--name", "--all", "--yes", base=arguments("toy", Path("/")))[0] == 2
    assert calls() == []
    with pytest.raises(SystemExit) as end:
        launch("toy", base=["launch", "toy", "--help"])
    assert end.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "A queue of this machine." in said and f"ROWS {Toy.example}" in said


@pytest.mark.parametrize("error", [AttributeError, TypeError, ValueError, KeyError])
def test_a_bug_in_a_target_is_a_bug(error: type[Exception], toy: Toy, launch, calls, monkeypatch):
    """It is not taken for a wrong record, and keeps its trace (exit 1)."""
    assert launch("toy", "--yes")[0] == 0

    def broken(name: str, options: Namespace, *, follow: bool = False) -> Control:
        raise error("a bug")

    monkeypatch.setattr(toy, "control", broken)
    with pytest.raises(error, match="a bug"):
        launch("", base=["launch", "status", "--workdir", BUCKET])


def test_a_bug_in_the_check_of_options_is_a_bug(toy: Toy, launch, calls, monkeypatch):
    assert launch("toy", "--yes")[0] == 0
    monkeypatch.setattr(toy, "check", lambda options: options.nothing)
    with pytest.raises(AttributeError, match="nothing"):
        launch("", base=["launch", "stop", "--workdir", BUCKET])


def test_a_bug_ends_with_1_and_its_trace(launch, calls):
    assert launch("toy", "--yes")[0] == 0
    program = (
        "import jaxbert.launch as launch\n"
        "from jaxbert.commands.main import entry\n"
        "from tests.launch.toy import Toy\n"
        "class Broken(Toy):\n"
        "    def control(self, name, options, *, follow=False):\n"
        "        return options.workdirs\n"
        "launch.TARGETS['toy'] = Broken()\n"
        "entry()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "launch", "status", "--workdir", BUCKET],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "Traceback" in done.stderr and "workdirs" in done.stderr, done.stderr


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "5",
        "\udcff",
        "[" * 100_000,
        json.dumps({"target": "toy"}),
        json.dumps({"target": "toy", "name": "a-job"}),
        json.dumps({"target": "toy", "name": "a-job", "options": []}),
        json.dumps({"target": "toy", "name": 5, "options": {}}),
        json.dumps({"target": ["toy"], "name": "a-job", "options": {}}),
        json.dumps({"target": "another", "name": "a-job", "options": {}}),
        json.dumps({"target": "queued-resource", "name": "a-job", "options": {}}),
        json.dumps({"target": "queued-resource", "name": "a-job", "options": {"project": 1, "zone": 2, "slices": 3}}),
        json.dumps({"target": "gke", "name": "a-job", "options": {"namespace": "a", "context": 5}}),
    ],
)
def test_a_damaged_or_foreign_record_is_refused(content: str, launch, calls):
    place = records.folder(BUCKET) / "job.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(content.encode("utf-8", "surrogateescape"))
    code, said = launch("", base=["launch", "status", "--workdir", BUCKET])
    assert code == 2 and "[E-LAUNCH-RECORD]" in said and BUCKET in said, said
    assert calls() == []


def test_what_a_record_adds_is_not_used(launch, calls):
    """Only the options that the target remembers are read."""
    place = records.folder(BUCKET) / "job.json"
    place.parent.mkdir(parents=True)
    record = {"target": "toy", "name": "a-job", "options": {"workdir": "/etc", "follow": "yes"}}
    place.write_text(json.dumps(record))
    assert records.read(BUCKET).checked_options({}) == Namespace(workdir=BUCKET)
    assert launch("", base=["launch", "status", "--workdir", BUCKET])[0] == 0
    assert calls() == [["toy", "status", "a-job"]]
