"""Every line of table.txt ends with the code that it says: one or few lines, no traceback, and nothing touched.

The commands run in this process, in one place that is made once. None of them compiles anything.
"""

from __future__ import annotations

import functools
import re
import shlex
import sys
from pathlib import Path

import pytest
from jaxbert.launch import TARGETS, submit
from jaxbert.launch.archive import archive

from jaxbert.commands.main import COMMANDS, main
from tests.bad_input.place import LONG, make, snapshot
from tests.errors_page import KINDS, sites

EXIT = {site.code: KINDS[site.kind] for site in sites()}
CASES = [
    (code, words)
    for code, words in (
        line.split(maxsplit=1)
        for line in (Path(__file__).parent / "table.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bad") / "place"
    made.mkdir()
    make(made)
    return made


@pytest.fixture(autouse=True)
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_STATE_HOME", str(place / "state"))
    monkeypatch.setenv("JAXBERT_CACHE", str(place / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(submit, "archive", functools.cache(archive))
    # Python keeps the bytecode of a config beside it.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def test_the_table_is_large_and_has_every_command():
    assert len({words for _, words in CASES}) == len(CASES) >= 500
    commands = {tuple(words.split()[:2]) for _, words in CASES}
    assert set(COMMANDS) <= {command[0] for command in commands}
    assert {("launch", name) for name in (*TARGETS, "status", "logs", "stop")} <= commands
    assert {("checkpoint", name) for name in ("list", "verify", "prune")} <= commands


WORK = ("learning pieces", "vocabulary: ", "there is no validation file: ", "rows have ", "2 labels: ", "the rate is ")
# A log says which columns of a table are read: "labels.csv: text from 'text', label from 'label'".
READ = re.compile(r"\S+: \w+ from '")


@pytest.mark.parametrize(("code", "words"), CASES, ids=[words[:100] for _, words in CASES])
def test_bad_input(code: str, words: str, place: Path, capsys: pytest.CaptureFixture[str]):
    before = snapshot(place)
    arguments = [word.replace("{long}", LONG).replace("{deep}", "[" * 100_000) for word in shlex.split(words)]
    ended = main(arguments)
    # A log names the work on a vocabulary, which may take minutes, and what is made of labelled files.
    said = capsys.readouterr().err.splitlines()
    lines = [line for line in said if not line.startswith(WORK) and not READ.match(line)]
    assert lines and lines[-1].startswith("jaxbert: error: ") and lines[-1].endswith(f"[{code}]"), lines
    assert ended == EXIT[code] and len(lines) <= 2 and "Traceback" not in "".join(lines), (ended, lines)
    after = snapshot(place)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    assert not changed, changed
