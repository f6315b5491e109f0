"""Which errors of a bucket's client interrupt, and which are bugs."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import fsspec
import pytest

from jaxbert.config import RunConfig
from jaxbert.errors import InputError, Interrupted
from jaxbert.run.hold import check_workdir
from jaxbert.stores.mirror import Mirror
from jaxbert.stores.storage import Bucket, open_url, translated
from jaxbert.stores.workdir import REMOTE

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


def test_a_copy_that_has_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXBERT_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="E-WORKDIR-CACHE"):
        Mirror(f"{URL}/run").fetch()


def test_checkpoints_without_their_config(tmp_path: Path):
    """A bucket that lost config.json is not taken for an empty one."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / REMOTE).write_text(f"{URL}/lost")
    files = fsspec.filesystem("memory")
    files.pipe_file("/bucket/lost/checkpoints/5/array", b"dear")
    try:
        with pytest.raises(InputError, match=f"{URL}/lost.*E-WORKDIR-DAMAGED"):
            check_workdir(RunConfig(name="run"), tmp_path / "run", False)
    finally:
        files.rm("/bucket/lost", recursive=True)
