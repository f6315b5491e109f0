"""Fixtures of the tests of `launch`: arguments, a plan that exists already, programs that only record their calls."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from jaxbert.launch import TARGETS
from jaxbert.launch.archive import archive
from jaxbert.launch.job import Target

from jaxbert.commands.main import main, parser
from jaxbert.run.pool import OLD_POOL, POOL

BUCKET = "gs://my-bucket/runs/base"
ROWS = ("--data", "seq128:gs://my-bucket/rows-128", "seq512:gs://my-bucket/rows-512")
GOOGLE = ("--project", "my-project", "--zone", "us-east5-a")
# Records the number of its arguments, its name and its arguments, each ended by NUL. Then it looks for a file of
# answers whose name is a part of the command, prints the file, and exits with the code in the file's suffix.
_RECORDER = """#!/bin/bash
printf '%s\\0' "$#" "${0##*/}" "$@" >>"$RECORDED"
words="${0##*/} $*"
for file in "$ANSWERS"/*; do
  name=${file##*/}
  if [ -f "$file" ] && [[ $words == *"${name%.*}"* ]]; then
    cat "$file"
    exit "${name##*.}"
  fi
done
"""


_archive = functools.cache(archive)


def arguments(target: str, tmp_path: Path, *more: str) -> list[str]:
    """Returns the arguments of `jaxbert launch` for bert_base, with the target's own example."""
    workdir = str(tmp_path / "run") if TARGETS[target].shares_disk else BUCKET
    return ["launch", target, "bert_base", "--workdir", workdir, *ROWS, *TARGETS[target].example.split(), *more]


def task_of(files: Mapping[str, Any]) -> Any:
    """Returns Slurm's script of a task. Its name holds its hash."""
    return next(file for name, file in files.items() if name.startswith("task-"))


@pytest.fixture(autouse=True)
def no_share_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `pretrain` that ran in this process has set its share, which `launch` would take for the user's."""
    for name in (POOL, OLD_POOL):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the tests away from the user's files."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("JAXBERT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def figures() -> dict[str, Any]:
    """Returns the figures of the ready plan, which a test may change."""
    return {
        "chips": 16,
        "devices": 16,
        "hbm_bytes": 16e9,
        "judged_by": "the analytic model, because of --analytic",
        "phases": [{"memory_bytes": {"parameters": 1e9}}],
        "bill": {"hours": 9.5, "chip_hours": 153.0, "money": 183.0, "currency": "USD"},
        "price": {"per_hour": 1.2, "currency": "USD", "source": "a list"},
    }


@pytest.fixture
def planned_for() -> list[str]:
    """Returns a list that gets the provider whose prices each plan shows."""
    return []


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, figures: dict[str, Any], planned_for: list[str]) -> list[tuple]:
    """Replaces the plan and the packing of the code by ready ones. Returns a list of what was planned."""
    from jaxbert.launch import planning, submit

    asked: list[tuple] = []
    monkeypatch.setattr(submit, "archive", _archive)

    def plan(config, arguments, place, **more):
        asked.append((config.name, place.name, place.slices))
        planned_for.append(more["provider"])
        return figures, len(asked) > 1

    monkeypatch.setattr(planning, "plan", plan)
    return asked


@pytest.fixture
def add_target(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Target], None]]:
    """Adds a target to the table, as its line would. The parser, which a process makes once, is made again."""

    def add(name: str, target: Target) -> None:
        monkeypatch.setitem(TARGETS, name, target)
        parser.cache_clear()

    yield add
    parser.cache_clear()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[str]]]:
    """Puts programs on PATH that record their calls, for all programs of all targets. Returns a reader of the calls."""
    place = tmp_path / "programs"
    place.mkdir()
    for name in {"gcloud", "sinfo"}.union(*(target.programs for target in TARGETS.values())):
        program = place / name
        program.write_text(_RECORDER)
        program.chmod(program.stat().st_mode | stat.S_IEXEC)
    recorded = tmp_path / "recorded.jsonl"
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("RECORDED", str(recorded))

    def calls() -> list[list[str]]:
        words = recorded.read_bytes().decode().split("\0")[:-1] if recorded.exists() else []
        recorded.unlink(missing_ok=True)
        found = []
        while words:
            end = int(words[0]) + 2
            found.append(words[1:end])
            words = words[end:]
        return found

    return calls


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets a program answer. The arguments are a part of its command, the exit code, and the text that it prints."""
    place = tmp_path / "answers"
    place.mkdir()
    monkeypatch.setenv("ANSWERS", str(place))

    def say(part: str, code: int = 0, said: str = "") -> None:
        (place / f"{part}.{code}").write_text(said)

    return say


@pytest.fixture
def launch(
    tmp_path: Path, planned: list[tuple], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Runs `jaxbert launch` for bert_base on a target. Returns the exit code and the output."""
    # The tests themselves run with JAX_PLATFORMS=cpu, which a job with GPUs must not inherit.
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)

    def run(target: str, *more: str, base: Sequence[str] | None = None) -> tuple[int, str]:
        capsys.readouterr()
        code = main([*(arguments(target, tmp_path) if base is None else base), *more])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run
