"""A disk that fails while a run writes: an interruption that names the disk, and no lost checkpoint."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

from jaxbert.commands import main as cli
from jaxbert.errors import Interrupted
from jaxbert.observe.lines import JsonLines
from jaxbert.stores import checkpoint, steps
from jaxbert.stores.files import write_whole

STATE: dict[str, Any] = {
    "params": {"w": jnp.ones(3)},
    "opt_state": {"m": jnp.ones(3)},
    "step": jnp.zeros((), jnp.int32),
    "skipped": jnp.zeros(2, jnp.int32),
}
# As TensorStore reports it (tensorstore 0.1.84), and as the system does.
WORDS = "UNKNOWN: Error writing local file: Failed to fsync file: Input/output error [os_error_code='5']"
FAILURES = [ValueError(WORDS), OSError(errno.EIO, "Input/output error"), OSError(errno.EROFS, "Read-only file system")]


@pytest.mark.parametrize("failure", FAILURES, ids=["words", "EIO", "EROFS"])
@pytest.mark.parametrize("place", ["save", "commit", "manifest"])
def test_a_checkpoint_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, place: str
) -> None:
    kept = checkpoint.Checkpoints(tmp_path, keep=3, keep_best=False)
    kept.save(1, STATE, {})
    kept.wait()

    class Response:
        def result(self) -> None:
            raise failure

    def fails(*_: object, **__: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        if place == "manifest":
            patch.setattr(checkpoint, "write_manifest", fails)
        else:
            save = fails if place == "save" else lambda *_, **__: Response()
            patch.setattr(checkpoint.ocp, "save_checkpointables_async", save)
        with pytest.raises(Interrupted, match=r"checkpoints before this one are whole.*E-DISK-WRITE"):
            kept.save(2, STATE, {})
            kept.wait()
    assert steps.committed_steps(tmp_path) == [1] and steps.damage(tmp_path, 1) is None
    kept.save(2, STATE, {})
    kept.wait()
    assert steps.committed_steps(tmp_path) == [1, 2]


def test_a_bug_while_saving_is_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError("shapes differ")

    monkeypatch.setattr(checkpoint.ocp, "save_checkpointables_async", fails)
    with pytest.raises(ValueError, match="shapes differ"):
        checkpoint.Checkpoints(tmp_path, keep=3, keep_best=False).save(1, STATE, {})


def test_other_files_name_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The system names no file in the errors of writes and syncs. Without the name they would count as bugs."""

    def fails(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    lines = JsonLines(tmp_path / "metrics.jsonl")
    monkeypatch.setattr(os, "fsync", fails)
    for name, write in {"metrics.jsonl": lines.sync, "a": lambda: write_whole(tmp_path / "a", "x")}.items():
        with pytest.raises(OSError, match=name) as caught:
            write()

        def command(*_: object, error: OSError = caught.value) -> None:
            raise error

        monkeypatch.setattr(cli, "_run", command)
        assert cli.main(["pretrain"]) == 3
        assert name in capsys.readouterr().err


# A library's thread waits, as TensorStore's do where a disk has no room: Python would wait for it before it ends.
LINGERING = """
import errno, os, sys, threading, time
from jaxbert.commands import main

def full(*_):
    threading.Thread(target=time.sleep, args=(3600,)).start()
    raise OSError(errno.ENOSPC, "No space left on device")

os.fsync = full
main.entry()
"""


def test_a_command_that_met_a_full_disk_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cat sees a dog.\n\na dog sees the cat.\n" * 20)
    words = ["tokenizer", f"text:{tmp_path}/a.txt", "--vocab-size", "60", "--out", f"{tmp_path}/made"]
    # A process that lingers makes this raise TimeoutExpired, an hour before it would end.
    ended = subprocess.run(
        [sys.executable, "-c", LINGERING, *words], capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 3 and "E-DISK-FULL" in ended.stderr, ended.stderr
