"""Rows from a URL: copied once, whole, verified; killed copies go on. Against a real bucket: tests/cloud."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from jaxbert.commands.main import main
from jaxbert.data import staging
from jaxbert.data.pipeline import Rows
from jaxbert.errors import InputError, Interrupted, Stopped


@pytest.fixture
def rows(small_rows: Path) -> Path:
    return small_rows


@pytest.fixture
def url(rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The rows in a filesystem that is not this machine's, and an empty cache."""
    monkeypatch.setenv("JAXBERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(staging, "_local", {})
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    memory.put(str(rows), "/bucket/rows", recursive=True)
    return "memory://bucket/rows"


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_copy_is_the_rows(url: str, rows: Path, tmp_path: Path):
    copy = staging.local(url + "/")
    assert files(copy) == files(rows)
    assert tmp_path / "cache" in copy.parents and len(Rows(copy, "train", verify=True)) > 50
    assert staging.local(str(rows)) == rows


def test_it_is_copied_once_wherever_it_comes_from(url: str, monkeypatch: pytest.MonkeyPatch):
    copy = staging.local(url)
    fsspec.filesystem("memory").copy("/bucket/rows", "/other/place", recursive=True)
    for place in (url, "memory://other/place"):
        monkeypatch.setattr(staging, "_local", {})
        monkeypatch.setattr(staging.Bucket, "fetch", None)
        assert staging.local(place) == copy


def test_a_killed_copy_goes_on(url: str, rows: Path, monkeypatch: pytest.MonkeyPatch):
    copied: list[str] = []
    copy = staging.Bucket.fetch

    def killed(bucket, name, place):
        copied.append(place.name)
        if ("train" in place.name and len(copied) > 1) or "validation" in place.name:
            raise KeyboardInterrupt
        copy(bucket, name, place)

    monkeypatch.setattr(staging.Bucket, "fetch", killed)
    with pytest.raises(KeyboardInterrupt):
        staging.local(url)
    first = copied[0]
    copied.clear()

    def remembered(bucket, name, place):
        copied.append(place.name)
        copy(bucket, name, place)

    monkeypatch.setattr(staging.Bucket, "fetch", remembered)
    assert files(staging.local(url)) == files(rows)
    assert first not in copied and copied


def test_a_shard_that_is_not_the_manifests_stops(url: str):
    memory = fsspec.filesystem("memory")
    (shard, *_) = memory.glob("/bucket/rows/rows-train*")
    content = bytearray(memory.cat_file(shard))
    content[len(content) // 2] ^= 1
    memory.pipe_file(shard, bytes(content))
    with pytest.raises(Stopped, match=r"sha256.*E-SHARD-DAMAGED") as error:
        staging.local(url)
    assert error.value.where == f"{url}/{shard.rpartition('/')[2]}"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda memory: memory.rm("/bucket/rows/manifest.json"), r"no manifest\.json.*E-SHARD-MANIFEST"),
        (lambda memory: memory.pipe_file("/bucket/rows/manifest.json", b"{"), "cannot be used: .*E-SHARD-MANIFEST"),
        (lambda memory: memory.rm(memory.glob("/bucket/rows/rows-train*")[0]), "rows-train.*E-ROWS-MISSING"),
    ],
)
def test_what_is_missing_is_said(url: str, damage, said: str):
    damage(fsspec.filesystem("memory"))
    with pytest.raises(InputError, match=said):
        staging.local(url)


def test_a_cache_that_cannot_be_made(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXBERT_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="E-ROWS-CACHE"):
        staging.local(url)


def test_a_manifest_that_was_changed_is_refused(url: str):
    memory = fsspec.filesystem("memory")
    manifest = json.loads(memory.cat_file("/bucket/rows/manifest.json"))
    memory.pipe_file("/bucket/rows/manifest.json", json.dumps(manifest | {"length": 64}).encode())
    with pytest.raises(InputError, match=r"it is damaged.*E-SHARD-MANIFEST"):
        staging.local(url)


def test_a_network_that_fails_is_no_fault_of_the_rows(url: str, monkeypatch: pytest.MonkeyPatch):
    def fails(*_, **__):
        raise ConnectionError("reset by peer")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "get_file", fails)
    with pytest.raises(Interrupted, match=r"reset by peer.*E-STORE-NETWORK"):
        staging.local(url)


@pytest.mark.parametrize("url", ["nosuch://bucket/rows"])
def test_urls_that_nothing_here_reads(url: str):
    with pytest.raises(InputError, match=r"nosuch.*E-STORE-SCHEME"):
        staging.local(url)


def test_without_the_extra_the_line_names_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(InputError) as error:
        staging.local("gs://bucket/rows")
    assert "jaxbert[gcs]" in str(error.value) and error.value.code == "E-STORE-SCHEME"


def test_several_processes_take_turns(rows: Path, tmp_path: Path):
    """Three at once, from a URL of this machine's own disk: one copy, whole."""
    program = "import sys; from jaxbert.data import staging; print(staging.local(sys.argv[1]))"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, f"file://{rows}"],
            env={"JAXBERT_CACHE": str(tmp_path / "cache"), "PATH": "", "PYTHONPATH": ":".join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    places = {one.communicate(timeout=60)[0].strip() for one in running}
    (copy,) = places
    assert files(Path(copy)) == files(rows)


def test_a_run_reads_them(url: str, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The same figures from the URL as from the directory, and evaluate takes one too."""
    small = [
        "encoder.vocab_size=120",
        "phases.0.length=32",
        "phases.0.steps=2",
        "phases.0.schedule.warmup_steps=0",
        "logging.every_steps=1",
    ]
    for place, workdir in ((url, "far"), (str(rows), "near")):
        arguments = ["pretrain", "smoke", "--workdir", str(tmp_path / workdir), "--data", place]
        assert main([*arguments, "--set", *small]) == 0, capsys.readouterr().err
    far, near = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("far", "near"))
    assert far == near
    assert main(["evaluate", str(tmp_path / "far"), "--data", url]) == 0
