"""Buckets that emulators keep on this machine, for the filesystems of fsspec and for TensorStore."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest


def _with_preconditions() -> pytest.MonkeyPatch:
    """Teaches the emulator `ifGenerationMatch=0` (make it, if it is not there), on which leases rest.

    cloud.google.com/storage/docs/request-preconditions: 412 where the object exists.
    """
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import objects

    patch = pytest.MonkeyPatch()
    create = objects._multipart_upload

    def checked(request: Any, response: Any, storage: Any) -> Any:
        if request.query.get("ifGenerationMatch") == ["0"]:
            try:
                storage.get_file_obj(request.params["bucket_name"], request.data["meta"]["name"])
            except NotFound:
                pass
            else:
                response.status = HTTPStatus.PRECONDITION_FAILED
                return response.json({"error": {"code": 412, "message": "conditionNotMet"}})
        return create(request, response, storage)

    patch.setattr(objects, "_multipart_upload", checked)
    return patch


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an empty bucket."""
    from gcp_storage_emulator.server import create_server

    patch = _with_preconditions()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    server = create_server("localhost", port, in_memory=True, default_bucket="bucket")
    server.start()
    address = f"http://localhost:{port}"
    settings = {
        "STORAGE_EMULATOR_HOST": address,
        # TensorStore's own names for its own tests: where the bucket is, and a token in the place of credentials.
        "TENSORSTORE_GCS_HTTP_URL": address,
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
        # gcsfs asks Google what kind of bucket it is, unless it is told not to.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        "JAXBERT_CACHE": str(tmp_path_factory.mktemp("cache")),
    }
    for name, value in settings.items():
        patch.setenv(name, value)
    assert os.environ["STORAGE_EMULATOR_HOST"] == address
    yield "gs://bucket"
    patch.undo()
    server.stop()


@pytest.fixture(scope="session")
def rows(small_rows: Path) -> Path:
    return small_rows


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an empty bucket of S3, for boto3 and for TensorStore."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "JAXBERT_CACHE": str(tmp_path_factory.mktemp("cache")),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield "s3://bucket"
    server.stop()
