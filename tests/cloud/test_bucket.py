"""Rows from gs://, through gcsfs, from a bucket that an emulator keeps (`make test-cloud`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from jaxbert.commands.main import main
from jaxbert.data import staging
from jaxbert.errors import InputError, Stopped


@pytest.fixture(scope="module")
def url(bucket: str, rows: Path) -> str:
    import gcsfs

    files = gcsfs.GCSFileSystem()
    for path in rows.rglob("*"):
        if path.is_file():
            files.put_file(str(path), f"bucket/corpora/rows/{path.relative_to(rows)}")
    return f"{bucket}/corpora/rows"


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_copy_is_the_rows(url: str, rows: Path):
    assert files(staging.local(url)) == files(rows)


def test_a_run_reads_them(url: str, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    small = ["encoder.vocab_size=120", "phases.0.length=32", "phases.0.steps=2", "phases.0.schedule.warmup_steps=0"]
    for place, workdir in ((url, "far"), (str(rows), "near")):
        arguments = ["pretrain", "smoke", "--workdir", str(tmp_path / workdir), "--data", place]
        assert main([*arguments, "--set", *small]) == 0, capsys.readouterr().err
    far, near = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("far", "near"))
    assert far == near


def test_what_is_not_there_is_said(bucket: str, url: str):
    with pytest.raises(InputError, match=r"no manifest\.json.*E-SHARD-MANIFEST"):
        staging.local(f"{bucket}/corpora/nothing")
    with pytest.raises(InputError, match=r"no manifest\.json.*E-SHARD-MANIFEST"):
        staging.local("gs://no-such-bucket/rows")


def test_damage_on_the_way_stops(bucket: str, url: str, rows: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import gcsfs

    monkeypatch.setenv("JAXBERT_CACHE", str(tmp_path))
    remote = gcsfs.GCSFileSystem()
    for path in rows.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            damaged = content[:-1] + bytes([content[-1] ^ 1]) if "train" in path.name else content
            remote.pipe_file(f"bucket/damaged/{path.relative_to(rows)}", damaged)
    with pytest.raises(Stopped, match=r"sha256.*E-SHARD-DAMAGED"):
        staging.local(f"{bucket}/damaged")
