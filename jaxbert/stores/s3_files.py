"""The filesystem of s3:// for fsspec, by boto3. Imports no jax.

s3fs cannot be installed here: it needs an older botocore than the one whose documents are the corpus `sample:aws-docs`.
boto3 finds credentials, region and address as every tool of AWS does: environment, profile, the role of the machine.
This module only gives boto3's calls the names and the errors of fsspec.

Facts: docs.aws.amazon.com/AmazonS3/latest/API (ListObjectsV2, PutObject with If-None-Match, error codes), read in
November 2026; fsspec's AbstractFileSystem.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from jaxbert.inputs.files import open_regular

_NO_OBJECT = ("NoSuchKey", "404", "NotFound")
_EXISTS = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_FORBIDDEN = ("AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")


class S3Files(AbstractFileSystem):  # type: ignore[misc]
    """Buckets of S3. A path is BUCKET/KEY, with or without s3:// before it.

    Raises:
      FileNotFoundError: there is no such object, or no such bucket. It says which.
      PermissionError: the credentials may not do this.
      botocore.exceptions.BotoCoreError: there are no credentials, or the store does not answer.
    """

    protocol = ("s3", "s3a")

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        # As many attempts as the client makes by itself (5 in all), with its waiting times.
        self.client = boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 5}))

    @property
    def place(self) -> tuple[str, str]:
        """Returns (address of the store, region)."""
        return str(self.client.meta.endpoint_url), str(self.client.meta.region_name or "us-east-1")

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Returns the objects and directories directly below a path; the object itself if the path is one."""
        bucket, key = self._parts(path)
        found = list(self._listed(bucket, f"{key}/" if key else "", delimiter="/"))
        if not found and key:
            found = [self.info(path)]
        return found if detail else sorted(entry["name"] for entry in found)

    def find(
        self, path: str, maxdepth: Any = None, withdirs: bool = False, detail: bool = False, **options: Any
    ) -> Any:
        """Returns all objects below a path, in one listing; the object itself if the path is one."""
        if maxdepth is not None or withdirs:
            return super().find(path, maxdepth=maxdepth, withdirs=withdirs, detail=detail, **options)
        bucket, key = self._parts(path)
        found = {entry["name"]: entry for entry in self._listed(bucket, f"{key}/" if key else "")}
        if not found and key and self.isfile(path):
            found = {f"{bucket}/{key}": self.info(path)}
        return found if detail else sorted(found)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Returns name, size, type, ETag and time of an object; name and type of a directory."""
        bucket, key = self._parts(path)
        name = f"{bucket}/{key}".rstrip("/")
        if key:
            with _translated(name):
                try:
                    return _entry(name, self.client.head_object(Bucket=bucket, Key=key), "ContentLength")
                except ClientError as error:
                    if _code(error) not in _NO_OBJECT:
                        raise
        with _translated(name):
            below = self.client.list_objects_v2(Bucket=bucket, Prefix=f"{key}/" if key else "", MaxKeys=1)
        if key and not below.get("KeyCount"):
            raise FileNotFoundError(name)
        return {"name": name, "size": 0, "type": "directory"}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Returns the bytes of an object, or those from `start` to before `end`."""
        bucket, key = self._parts(path)
        first, last = start, end
        if (start or 0) < 0 or (end or 0) < 0:
            size = self.info(path)["size"]
            first, last = (None if at is None else max(0, size + at) if at < 0 else at for at in (start, end))
        if last is not None and last <= (first or 0):
            return b""
        given = (
            {}
            if first is None and last is None
            else {"Range": f"bytes={first or 0}-{'' if last is None else last - 1}"}
        )
        with _translated(f"{bucket}/{key}"):
            return bytes(self.client.get_object(Bucket=bucket, Key=key, **given)["Body"].read())

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Writes an object. With the mode "create" the store refuses, if the object exists (FileExistsError)."""
        bucket, key = self._parts(path)
        condition = {"IfNoneMatch": "*"} if mode == "create" else {}
        with _translated(f"{bucket}/{key}"):
            self.client.put_object(Bucket=bucket, Key=key, Body=bytes(value), **condition)

    def put_file(self, lpath: str, rpath: str, *_: Any, **__: Any) -> None:
        """Copies a file to an object, a large one in parts."""
        bucket, key = self._parts(rpath)
        with _translated(f"{bucket}/{key}"), open_regular(lpath) as file:
            self.client.upload_fileobj(file, bucket, key)

    def get_file(self, rpath: str, lpath: str, *_: Any, **__: Any) -> None:
        """Copies an object to a file."""
        bucket, key = self._parts(rpath)
        with open(lpath, "wb") as file, _translated(f"{bucket}/{key}"):
            self.client.download_fileobj(bucket, key, file)

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copies an object within the store."""
        (bucket, key), (to, name) = self._parts(path1), self._parts(path2)
        with _translated(f"{bucket}/{key}"):
            self.client.copy({"Bucket": bucket, "Key": key}, to, name)

    def rm_file(self, path: str) -> None:
        """Removes an object; does nothing if there is none."""
        bucket, key = self._parts(path)
        with _translated(f"{bucket}/{key}"):
            self.client.delete_object(Bucket=bucket, Key=key)

    def mkdir(self, path: str, *_: Any, **__: Any) -> None:
        """Does nothing: a directory is there when an object is below it."""

    def makedirs(self, path: str, *_: Any, **__: Any) -> None:
        """Does nothing: a directory is there when an object is below it."""

    def rmdir(self, path: str) -> None:
        """Does nothing: a directory is gone when no object is below it."""

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> _S3File:
        return _S3File(self, path, mode, block_size or "default", **options)

    def _parts(self, path: str) -> tuple[str, str]:
        bucket, _, key = self._strip_protocol(path).partition("/")
        return bucket, key

    def _listed(self, bucket: str, prefix: str, delimiter: str = "") -> Iterator[dict[str, Any]]:
        given = {"Bucket": bucket, "Prefix": prefix, **({"Delimiter": delimiter} if delimiter else {})}
        with _translated(bucket):
            for page in self.client.get_paginator("list_objects_v2").paginate(**given):
                for one in page.get("CommonPrefixes", []):
                    yield {"name": f"{bucket}/{one['Prefix'].rstrip('/')}", "size": 0, "type": "directory"}
                for one in page.get("Contents", []):
                    if one["Key"] != prefix:
                        yield _entry(f"{bucket}/{one['Key']}", one, "Size")


class _S3File(AbstractBufferedFile):  # type: ignore[misc]
    """An object as a file. Its content is sent when the file is closed."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        return bytes(self.fs.cat_file(self.path, start, end))

    def _initiate_upload(self) -> None:
        self._whole = io.BytesIO()

    def _upload_chunk(self, final: bool = False) -> bool:
        self._whole.write(self.buffer.getvalue())
        if final:
            self.fs.pipe_file(self.path, self._whole.getvalue())
        return True


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Turns the answers of the store into the errors of files."""
    try:
        yield
    except ClientError as error:
        code = _code(error)
        if code == "NoSuchBucket":
            raise FileNotFoundError(f"the bucket does not exist: {name.partition('/')[0]}") from None
        if code in _NO_OBJECT:
            raise FileNotFoundError(name) from None
        if code in _EXISTS:
            raise FileExistsError(name) from None
        if code in _FORBIDDEN:
            raise PermissionError(f"{code}: {error.response['Error'].get('Message', '')}") from None
        raise


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _entry(name: str, about: dict[str, Any], size: str) -> dict[str, Any]:
    time = about["LastModified"]
    return {
        **{"name": name, "size": int(about[size]), "type": "file", "ETag": about["ETag"]},
        **{"LastModified": time, "mtime": time.timestamp()},
    }
