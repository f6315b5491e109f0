"""Files that are written whole or not at all, and the test for a full disk."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from jaxbert.commands.figures import write_figures
from jaxbert.stores import files
from jaxbert.stores.files import (
    arriving,
    disk_is_full,
    is_partial,
    partial_name,
    replace_directory,
    replacing,
    settle_directory,
    write_whole,
)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_whole(path, "olé")
    assert path.read_bytes() == "olé".encode()
    with replacing(path, "w") as file:
        file.write("new")
        assert names(tmp_path) == [partial_name(path).name, "a"] and path.read_text(encoding="utf-8") == "olé"
    assert names(tmp_path) == ["a"] and path.read_bytes() == b"new"
    with arriving(path, tmp_path / ".b") as temporary:
        temporary.write_bytes(b"of a library")
    assert names(tmp_path) == ["a"] and path.read_bytes() == b"of a library"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_block_that_raises_changes_nothing(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a"
    write_whole(path, b"old")
    with pytest.raises(type(error)), replacing(path, temporary=tmp_path / ".a.1") as file:
        file.write(b"new")
        assert names(tmp_path) == [".a.1", "a"]
        raise error
    assert names(tmp_path) == ["a"] and path.read_bytes() == b"old"


def test_a_full_disk_is_known_by_its_number_or_its_words() -> None:
    for code in (errno.ENOSPC, errno.EDQUOT):
        assert disk_is_full(OSError(code, os.strerror(code)))
        assert disk_is_full(RuntimeError(f"INTERNAL: {os.strerror(code)}; writing to x"))
        assert disk_is_full(OSError(f"write failed: {os.strerror(code)}"))
    # A path may hold the words.
    assert not disk_is_full(FileNotFoundError(errno.ENOENT, "No such file", "/no space left/x"))
    assert not disk_is_full(RuntimeError("something else"))


def test_leftovers_of_dead_processes_are_removed(tmp_path: Path) -> None:
    """Of this file only, and not those of a process that lives, here or on another machine."""
    path = tmp_path / "a[1]"
    own = partial_name(path).name
    dead = subprocess.Popen(["true"])
    dead.wait()
    names_of = {
        "own, of a process before": own,
        "dead": own.replace(f".{os.getpid()}-", f".{dead.pid}-"),
        "beyond all numbers": own.replace(f".{os.getpid()}-", f".{10**30}-"),
        "parent": own.replace(f".{os.getpid()}-", f".{os.getppid()}-"),
        "elsewhere": own.replace(f"{os.getpid()}-", f"{dead.pid}-0"),
        "elsewhere, old": own.replace(f"{os.getpid()}-", f"{dead.pid}-1"),
        "another file's": partial_name(tmp_path / "b").name,
    }
    for name in names_of.values():
        (tmp_path / name).write_bytes(b"half")
    os.utime(tmp_path / names_of["elsewhere, old"], (0, 0))
    (tmp_path / names_of["dead"]).unlink()
    (tmp_path / names_of["dead"] / "of a directory").mkdir(parents=True)
    assert all(is_partial(name) for name in names_of.values())
    write_whole(path, b"whole")
    left = {names_of[key] for key in ("parent", "elsewhere", "another file's", "beyond all numbers")}
    assert set(names(tmp_path)) == {"a[1]"} | left
    assert path.read_bytes() == b"whole"


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    path = tmp_path / "a"
    for planted in (path, partial_name(path)):
        planted.symlink_to(tmp_path / "mine")
        write_whole(path, b"new")
        assert path.read_bytes() == b"new" and not path.is_symlink()
        assert (tmp_path / "mine").read_bytes() == b"mine"
        path.unlink()


def directory_of(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "file").write_text(content)
    return path


@pytest.mark.parametrize("renamings", [0, 1, 2, 3])
def test_a_directory_that_is_replaced_is_never_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamings: int
) -> None:
    """A kill before each of the renamings of `replace_directory`, which leave no trace once it is settled."""
    path = directory_of(tmp_path / "model", "old")
    new, done = directory_of(partial_name(path), "new"), []
    rename = os.replace

    def killed(source: Path, target: Path) -> None:
        # Every renaming after the kill is none: neither that of the block nor that of its repair happens.
        if len(done) < renamings:
            rename(source, target)
            done.append(target)

    monkeypatch.setattr(os, "replace", killed)
    monkeypatch.setattr(files, "remove", lambda path: None)
    replace_directory(new, path)
    monkeypatch.undo()
    assert len(done) == renamings
    settle_directory(path)
    assert names(tmp_path) == ["model"]
    assert (path / "file").read_text() == ("old" if renamings < 2 else "new")


def test_a_directory_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    path = directory_of(tmp_path / "model", "old")
    with pytest.raises(FileNotFoundError):
        replace_directory(tmp_path / "none", path)
    assert names(tmp_path) == ["model"] and (path / "file").read_text() == "old"


def test_an_error_names_the_path_and_not_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a"
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(path, b"new")
    assert caught.value.filename == str(path)


def test_figures_replace_a_regular_file_and_are_written_into_any_other(tmp_path: Path) -> None:
    target, link, pipe = tmp_path / "target", tmp_path / "link", tmp_path / "pipe"
    target.write_text("old")
    os.link(target, tmp_path / "kept")
    link.symlink_to(target)
    write_figures(str(link), {"a": 1})
    # A new file has the name: the old one was not emptied first.
    assert link.is_symlink() and target.read_text() == '{\n "a": 1\n}\n' and (tmp_path / "kept").read_text() == "old"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_figures(str(pipe), {"a": 1})
    assert os.read(reader, 100) == target.read_bytes()
    os.close(reader)
    assert names(tmp_path) == ["kept", "link", "pipe", "target"]
