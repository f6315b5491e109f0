"""Which errors of a bucket's client interrupt, and which are bugs."""

from __future__ import annotations

import errno
import io
import sys
import types
from pathlib import Path

import fsspec
import pytest

from jaxbert.config import RunConfig
from jaxbert.errors import InputError, Interrupted
from jaxbert.run.hold import check_workdir
from jaxbert.stores import mirror as mirrors
from jaxbert.stores import steps
from jaxbert.stores import workdir as workdirs
from jaxbert.stores.files import cannot_write
from jaxbert.stores.mirror import Mirror
from jaxbert.stores.storage import Bucket, open_url, translated
from jaxbert.stores.workdir import REMOTE, check_place

URL = "memory://bucket"


class HttpError(Exception):
    """The class of gcsfs, which is no OSError."""


@pytest.mark.parametrize("error", [ConnectionError("reset"), TimeoutError("slow"), OSError("502")])
def test_a_network_that_fails_interrupts(error: Exception):
    with pytest.raises(Interrupted, match="E-STORE-NETWORK"), translated(URL):
        raise error


def test_an_error_of_the_client_interrupts_once_the_client_is_loaded(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(HttpError), translated(URL):
        raise HttpError("503")
    monkeypatch.setitem(sys.modules, "gcsfs.retry", types.SimpleNamespace(HttpError=HttpError))
    with pytest.raises(Interrupted, match=r"503.*E-STORE-NETWORK"), translated(URL):
        raise HttpError("503")
    with pytest.raises(InputError, match="E-STORE-PERMISSION"), translated(URL):
        raise OSError("Forbidden: bucket/rows")
    with pytest.raises(InputError, match="E-STORE-CREDENTIALS"), translated(URL):
        raise HttpError("Invalid Credentials, 401")


@pytest.mark.parametrize("bug", [TypeError("an argument too many"), KeyError("credentials"), AttributeError("x")])
def test_a_bug_stays_a_bug(bug: Exception, monkeypatch: pytest.MonkeyPatch):
    def breaks(*_, **__):
        raise bug

    bucket = Bucket(URL)
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", breaks)
    with pytest.raises(type(bug)):
        bucket.read("name")
    monkeypatch.setattr(fsspec.core, "url_to_fs", breaks)
    with pytest.raises(type(bug)):
        open_url(URL)


@pytest.mark.parametrize("bug", [PermissionError(errno.EACCES, "denied", "/cache/x"), io.UnsupportedOperation("seek")])
def test_an_error_of_this_machines_disk_is_not_the_buckets(bug: Exception):
    with pytest.raises(type(bug)), translated(URL):
        raise bug


def test_a_disk_that_fails_is_no_damaged_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run must not fall back to an older checkpoint because its disk did not answer once."""
    with pytest.raises(ValueError, match="unreadable manifest"):
        steps.read_manifest(tmp_path, 4)

    def fails(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error", str(tmp_path))

    monkeypatch.setattr(steps.storage_of(tmp_path).__class__, "read", fails)
    with pytest.raises(OSError, match="Input/output error"):
        steps.damage(tmp_path, 4)


@pytest.mark.parametrize(
    ("number", "seen", "match"),
    [
        (errno.ENOSPC, Interrupted, "E-DISK-FULL"),
        (errno.EACCES, InputError, "E-WORKDIR-CACHE"),
        (errno.EROFS, InputError, "E-WORKDIR-CACHE"),
        (errno.EIO, OSError, "failed"),
    ],
)
def test_a_copy_that_cannot_be_made(number: int, seen: type[Exception], match: str, monkeypatch: pytest.MonkeyPatch):
    def fails(*_: object, **__: object) -> None:
        raise OSError(number, "failed")

    monkeypatch.setattr(mirrors.Path, "mkdir", fails)
    with pytest.raises(seen, match=match):
        mirrors.Mirror(URL).fetch()
    assert cannot_write(OSError(errno.EROFS, "")) and not cannot_write(OSError(errno.EIO, ""))


def test_a_minute_without_the_bucket_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    mirror = mirrors.Mirror(URL)

    def fails() -> None:
        mirror._stop.set()
        raise Interrupted("no answer", where=URL, fix="Wait.", code="E-STORE-NETWORK")

    monkeypatch.setattr(mirrors, "_EVERY_S", 0.01)
    monkeypatch.setattr(mirror, "publish", fails)
    mirror.start()
    assert mirror._thread is not None
    mirror._thread.join(timeout=60)
    assert "the next minute tries again" in caplog.text


def test_a_copy_that_has_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXBERT_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="E-WORKDIR-CACHE"):
        Mirror(f"{URL}/run").fetch()


def test_a_bucket_that_cannot_be_read_leaves_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(*_: object) -> None:
        raise Interrupted("no answer", where=URL, fix="Wait.", code="E-STORE-NETWORK")

    monkeypatch.setenv("JAXBERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mirrors.Bucket, "files", fails)
    with pytest.raises(Interrupted, match="E-STORE-NETWORK"):
        Mirror(f"{URL}/run").fetch()
    assert not (tmp_path / "cache").exists()


def test_a_workdir_is_only_where_one_run_can_hold_it(tmp_path: Path):
    for url in (f"{URL}/run", "az://bucket/run", "http://host/run"):
        with pytest.raises(InputError, match="E-WORKDIR-SCHEME"):
            check_place(url, writes=True)
        check_place(url, writes=False)
    for place in ("gs://bucket/run", "s3://bucket/run", tmp_path / "run"):
        check_place(place, writes=True)


def test_only_the_bucket_can_be_missing_where_an_object_is_written():
    with pytest.raises(InputError, match="E-STORE-BUCKET"), translated(URL, writes=True):
        raise FileNotFoundError("bucket/name")
    with pytest.raises(FileNotFoundError), translated(URL):
        raise FileNotFoundError("bucket/name")
    with pytest.raises(FileNotFoundError), translated(URL, writes=True):
        raise FileNotFoundError(errno.ENOENT, "no such file", "/here/file")


def test_checkpoints_without_their_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A bucket that lost config.json is not taken for an empty one."""
    monkeypatch.setattr(workdirs, "WRITABLE", ("memory",))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / REMOTE).write_text(f"{URL}/lost")
    files = fsspec.filesystem("memory")
    files.pipe_file("/bucket/lost/checkpoints/5/array", b"dear")
    try:
        with pytest.raises(InputError, match=f"{URL}/lost.*E-WORKDIR-DAMAGED"):
            check_workdir(RunConfig(name="run"), tmp_path / "run", False)
    finally:
        files.rm("/bucket/lost", recursive=True)
