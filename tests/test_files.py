"""Files that are written whole or not at all, and the test for a full disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from jaxbert.stores.files import arriving, disk_is_full, replacing, write_whole


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_whole(path, "olé")
    assert path.read_bytes() == "olé".encode()
    with replacing(path, "w", suffix=".cut") as file:
        file.write("new")
        assert names(tmp_path) == ["a", "a.cut"] and path.read_text(encoding="utf-8") == "olé"
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
