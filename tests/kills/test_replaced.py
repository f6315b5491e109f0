"""A run that another one replaces: where both are after a kill, and that one of them is always whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jaxbert.stores import replaced


class Killed(BaseException):
    """Stands for SIGKILL: nothing that is tested here catches it."""


def run(workdir: Path, name: str) -> None:
    """Writes the outputs of a run: a directory, a file and the config."""
    (workdir / "checkpoints" / name).mkdir(parents=True)
    (workdir / "metrics.jsonl").write_text(name)
    (workdir / "config.json").write_text(name)


def tree(workdir: Path) -> dict[str, str]:
    return {
        path.relative_to(workdir).as_posix(): path.read_text() if path.is_file() else ""
        for path in sorted(workdir.rglob("*"))
    }


def killed_before(monkeypatch: pytest.MonkeyPatch, number: int, function, *arguments) -> bool:
    """Calls a function that is killed before its operation `number` on files; returns whether it got that far."""
    left = number

    def counted(real):
        def operation(*args, **named):
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return real(*args, **named)

        return operation

    with monkeypatch.context() as patch:
        patch.setattr(replaced.os, "replace", counted(replaced.os.replace))
        patch.setattr(shutil, "rmtree", counted(shutil.rmtree))
        for name in ("mkdir", "rmdir", "unlink"):
            patch.setattr(Path, name, counted(getattr(Path, name)))
        try:
            function(*arguments)
        except Killed:
            return True
    return False


def test_a_run_is_set_aside_and_brought_back(tmp_path):
    run(tmp_path, "old")
    (tmp_path / "mine.txt").write_text("mine")
    before = tree(tmp_path)
    replaced.set_aside(tmp_path)
    assert replaced.config_of_replaced(tmp_path) and not (tmp_path / "config.json").exists()
    run(tmp_path, "new")
    replaced.bring_back(tmp_path)
    assert tree(tmp_path) == before
    replaced.set_aside(tmp_path)
    run(tmp_path, "new")
    replaced.discard(tmp_path)
    assert tree(tmp_path) == {**{"mine.txt": "mine", "checkpoints": "", "checkpoints/new": ""}, **{
        name: "new" for name in ("metrics.jsonl", "config.json")
    }}  # fmt: skip


@pytest.mark.parametrize("function", [replaced.set_aside, replaced.bring_back], ids=["out", "back"])
def test_a_kill_while_a_run_moves_is_undone(tmp_path, monkeypatch, function):
    """The same state of affairs for `pretrain`: the workdir is the old run's, and `bring_back` completes it."""
    number = 0
    while True:
        number += 1
        workdir = tmp_path / str(number)
        run(workdir, "old")
        before = tree(workdir)
        if function is replaced.bring_back:
            replaced.set_aside(workdir)
            run(workdir, "new")
        if not killed_before(monkeypatch, number, function, workdir):
            break
        if replaced.moving_was_cut(workdir):
            replaced.bring_back(workdir)
        elif replaced.config_of_replaced(workdir):
            # The new run's config was still there: the kill came before anything was undone.
            assert (workdir / "config.json").read_text() == "new"
            replaced.bring_back(workdir)
        assert tree(workdir) == before
        assert not replaced.moving_was_cut(workdir)
    assert number > 3


def test_a_kill_while_a_replaced_run_is_removed(tmp_path, monkeypatch):
    number = 0
    while True:
        number += 1
        workdir = tmp_path / str(number)
        run(workdir, "old")
        replaced.set_aside(workdir)
        run(workdir, "new")
        if not killed_before(monkeypatch, number, replaced.discard, workdir):
            break
        assert not replaced.moving_was_cut(workdir)
        replaced.discard(workdir)
        assert tree(workdir) == {
            "checkpoints": "",
            "checkpoints/new": "",
            "metrics.jsonl": "new",
            "config.json": "new",
        }
    assert number > 2
