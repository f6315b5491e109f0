"""Rows, workdirs and leases at s3://, in a bucket that an emulator keeps (`make test-cloud`)."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from botocore import exceptions as answers
from botocore.exceptions import ClientError
from s3transfer.exceptions import RetriesExceededError

from jaxbert.commands.main import main
from jaxbert.data import staging
from jaxbert.errors import InputError, Interrupted, Stopped
from jaxbert.stores import s3 as adapter
from jaxbert.stores.lease import Lease
from jaxbert.stores.storage import Bucket
from jaxbert.use.model_place import local_copy
from tests.cloud.test_workdir import arguments, eventually, start, uninterrupted
from tests.multiprocess.conftest import write_python_config

__all__ = ["uninterrupted"]
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def url(s3: str, rows: Path) -> str:
    """The URL of rows."""
    bucket = Bucket(f"{s3}/corpora/rows")
    for path in rows.rglob("*"):
        if path.is_file():
            bucket.send(str(path.relative_to(rows)), path)
    return bucket.place


@pytest.fixture(scope="module")
def done(s3: str, url: str, rows: Path, uninterrupted: bytes) -> str:
    """The URL of a run that was killed on one machine and continued on another, with rows from the bucket."""
    workdir = f"{s3}/runs/killed"
    kept = Bucket(workdir)
    running = start(workdir, url)
    eventually(lambda: "checkpoints/3/manifest.json" in kept.files())
    assert kept.names(".lease")
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert "checkpoints/12/manifest.json" not in kept.files(), "it was too fast to be killed"
    running = start(workdir, url, JAXBERT_CACHE=os.environ["JAXBERT_CACHE"] + "-other-s3")
    said, _ = running.communicate(timeout=120)
    assert running.returncode == 0, said
    assert "held" in said and "continuing after step" in said
    assert kept.read("metrics.jsonl") == uninterrupted
    return workdir


def test_a_run_that_is_killed_there_goes_on_to_the_same_bits(done: str):
    """The fixture does it."""
    kept = Bucket(done)
    assert {"config.json", "parameters.txt", "telemetry.jsonl", "tokenizer/tokenizer.json"} <= kept.files().keys()
    steps = [name for name in kept.names("checkpoints") if name.isdigit()]
    assert "12" in steps and len(steps) <= 4 and not kept.names(".lease")


def test_commands_read_a_run_there(done: str, url: str, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", done, "--data", url, "--json", str(tmp_path / "there.json")]) == 0
    assert main(["checkpoint", "verify", done]) == 0
    assert "step        12  good" in capsys.readouterr().out
    assert main(["report", done, "--out", str(tmp_path / "page")]) == 0
    assert main(["convert", f"{done}/checkpoints/9", str(tmp_path / "model"), "--to", "hf"]) == 0
    copy = str(local_copy(done))
    assert main(["evaluate", copy, "--data", str(rows), "--json", str(tmp_path / "here.json")]) == 0
    here, there = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("here", "there"))
    assert here["loss"] == there["loss"]


def test_two_processes_write_one_checkpoint(s3: str, rows: Path, tmp_path: Path):
    smoke = str(write_python_config(tmp_path / "smoke.py", "smoke"))
    workdir = f"{s3}/runs/two"
    command = [sys.executable, "-m", "jaxbert", "launch", "local", smoke, "--workdir", workdir, "--processes", "2"]
    settings = ["encoder.vocab_size=120", "phases.0.length=32", "phases.0.steps=4", "logging.tensorboard=false"]
    made = subprocess.run(
        [*command, "--devices", "1", "--data", str(rows), "--set", *settings, "phases.0.schedule.warmup_steps=0"],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert any("ocdbt.process_1" in name for name in Bucket(workdir).files("checkpoints/4"))
    assert main(["checkpoint", "verify", workdir]) == 0


def test_damage_on_the_way_stops(s3: str, rows: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("JAXBERT_CACHE", str(tmp_path))
    bucket = Bucket(f"{s3}/damaged")
    for path in rows.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            damaged = content[:-1] + bytes([content[-1] ^ 1]) if "train" in path.name else content
            bucket.write(str(path.relative_to(rows)), damaged)
    with pytest.raises(Stopped, match=r"sha256.*E-SHARD-DAMAGED"):
        staging.local(bucket.place)


def test_while_its_owner_lives_nobody_else_writes(s3: str, rows: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAXBERT_LEASE_S", "3")
    workdir = f"{s3}/runs/held"
    lease = Lease(Bucket(workdir))
    lease.take()
    try:
        assert main(arguments(workdir, rows)) == 2
        assert list(Bucket(workdir).files()) == [".lease/000001"]
    finally:
        lease.release()
    assert not Bucket(workdir).files()


def test_one_of_two_takes_it(s3: str):
    first, second = (Bucket(f"{s3}/lease") for _ in range(2))
    assert first.create(".lease/000001", b"mine")
    assert not second.create(".lease/000001", b"mine, too")
    assert second.read(".lease/000001") == b"mine"


def test_a_store_that_ignores_conditions_holds_no_workdir(s3: str, monkeypatch: pytest.MonkeyPatch):
    bucket = Bucket(f"{s3}/unsafe")
    write = bucket._files.pipe_file
    monkeypatch.setattr(bucket._files, "pipe_file", lambda path, content, **_: write(path, content))
    with pytest.raises(InputError, match=r"If-None-Match.*E-STORE-CONDITION"):
        bucket.create(".lease/000001", b"mine")
    assert not bucket.files()


def test_a_bucket_that_is_not_there_is_said(s3: str, rows: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(InputError, match="E-STORE-BUCKET"):
        staging.local("s3://no-such-bucket/rows")
    assert main(arguments("s3://no-such-bucket/run", rows)) == 2
    assert "there is no such bucket" in capsys.readouterr().err


def test_no_credentials_and_no_answer_are_said(s3: str):
    """In processes of their own, because botocore keeps what it found."""
    code = "from jaxbert.stores.storage import Bucket; Bucket('s3://bucket/run').files()"
    nothing = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    nothing |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/none", "AWS_SHARED_CREDENTIALS_FILE": "/none"}
    for environment, error in (
        (nothing, "E-STORE-CREDENTIALS"),
        ({**os.environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "E-STORE-NETWORK"),
    ):
        ended = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100, check=False
        )
        assert error in ended.stderr, ended.stderr


def test_another_orbax_is_said(monkeypatch: pytest.MonkeyPatch):
    from orbax.checkpoint._src.path import gcs_utils

    monkeypatch.setattr(adapter, "_taught", False)
    monkeypatch.delattr(gcs_utils, "get_kvstore_for_gcs")
    with pytest.raises(InputError, match=r"get_kvstore_for_gcs.*E-STORE-ORBAX"):
        adapter.teach_orbax()


def answer(code: str, status: int = 400) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "why"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "X")


@pytest.mark.parametrize(
    ("error", "seen", "code"),
    [
        (answer("SlowDown", 503), Interrupted, "E-STORE-NETWORK"),
        (answer("RequestTimeout"), Interrupted, "E-STORE-NETWORK"),
        (answer("Odd", 502), Interrupted, "E-STORE-NETWORK"),
        (RetriesExceededError(OSError("cut")), Interrupted, "E-STORE-NETWORK"),
        (answers.ReadTimeoutError(endpoint_url="http://x"), Interrupted, "E-STORE-NETWORK"),
        (answers.EndpointConnectionError(endpoint_url="http://x"), Interrupted, "E-STORE-NETWORK"),
        (answer("AccessDenied", 403), InputError, "E-STORE-PERMISSION"),
        (answer("ExpiredToken"), InputError, "E-STORE-PERMISSION"),
        (answers.NoCredentialsError(), InputError, "E-STORE-CREDENTIALS"),
        (answers.ProfileNotFound(profile="x"), InputError, "E-STORE-CREDENTIALS"),
        (answers.UnauthorizedSSOTokenError(), InputError, "E-STORE-CREDENTIALS"),
        (answer("InvalidBucketName"), InputError, "E-STORE-REFUSED"),
        (answers.ParamValidationError(report="x"), InputError, "E-STORE-REFUSED"),
        (answer("NoSuchBucket", 404), InputError, "E-STORE-BUCKET"),
        (answer("NoSuchKey", 404), FileNotFoundError, "file"),
    ],
)
def test_what_a_later_attempt_may_change_interrupts_and_nothing_else(
    error: Exception, seen: type[Exception], code: str, s3: str, monkeypatch: pytest.MonkeyPatch
):
    """An engine repeats what is interrupted, on rented machines."""
    bucket = Bucket(f"{s3}/answers")

    def fails(**_: object) -> None:
        raise error

    monkeypatch.setattr(bucket._files.client, "get_object", fails)
    with pytest.raises(seen, match=code):
        bucket.read("file")


@pytest.mark.parametrize("code", ["NotImplemented", "InvalidArgument"])
def test_a_store_that_refuses_conditions_holds_no_workdir(code: str, s3: str, monkeypatch: pytest.MonkeyPatch):
    bucket = Bucket(f"{s3}/refuses")

    def fails(**given: object) -> None:
        assert given["IfNoneMatch"] == "*"
        raise answer(code, 501)

    monkeypatch.setattr(bucket._files.client, "put_object", fails)
    with pytest.raises(InputError, match="E-STORE-CONDITION"):
        bucket.create(".lease/000001", b"mine")


def test_a_download_that_is_cut_interrupts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A server that ends the connection in the middle of each object."""

    class Cuts(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.send_header("ETag", '"x"')
            self.send_header("Last-Modified", "Sun, 29 Nov 2026 12:00:00 GMT")
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(b"cut")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cuts)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code = f"""
from pathlib import Path
from jaxbert.stores.storage import Bucket
Bucket("s3://bucket").fetch("file", Path({str(tmp_path)!r}, "file"))
"""
    environment = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    server.shutdown()
    assert "E-STORE-NETWORK" in ended.stderr, ended.stderr
    assert not list(tmp_path.iterdir())


def test_an_address_without_its_scheme_is_said():
    code = "from jaxbert.stores.storage import Bucket; Bucket('s3://bucket/run')"
    environment = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": "my-store:9000"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert "E-STORE-ENDPOINT" in ended.stderr, ended.stderr


def test_the_marks_of_directories_are_no_files(s3: str):
    bucket = Bucket(f"{s3}/marks")
    bucket.write("below/file", b"1")
    bucket._files.client.put_object(Bucket="bucket", Key="marks/below/", Body=b"")
    assert bucket.files() == {"below/file": 1} and bucket.names() == ["below"]
