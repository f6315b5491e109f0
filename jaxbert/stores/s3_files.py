"""The filesystem of s3:// for fsspec, by boto3. Imports no jax.

s3fs needs an older botocore than requirements.txt has, whose documents are the corpus `sample:aws-docs`. boto3 finds
credentials, region and address as every tool of AWS does: environment, profile, the role of the machine.
This module only gives boto3's calls the names and the errors of fsspec.

Facts: docs.aws.amazon.com/AmazonS3/latest/API (ListObjectsV2, PutObject with If-None-Match, error codes);
fsspec's AbstractFileSystem.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import s3transfer.exceptions as transfers
from botocore import exceptions as answers
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from jaxbert.errors import InputError
from jaxbert.inputs.files import open_regular
from jaxbert.stores.schemes import SCHEMES

# An attempt waits for so many seconds, and there are three. Together they are less than the period of a lease (60 s),
# so that a store that hangs once does not cost a run its lease.
_CLIENT = Config(connect_timeout=5, read_timeout=15, retries={"mode": "standard", "max_attempts": 3})

_NO_OBJECT = ("NoSuchKey", "404", "NotFound")
_EXISTS = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_FORBIDDEN = (
    *("AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"),
    *("InvalidToken", "TokenRefreshRequired", "RequestTimeTooSkewed"),
)
# Answers that another attempt may not get.
_BUSY = ("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "ThrottlingException")
# Answers of a store that does not have conditional writes.
_UNKNOWN = ("NotImplemented", "InvalidArgument", "InvalidRequest")
_NETWORK = (
    *(answers.HTTPClientError, answers.ConnectionError, answers.ChecksumError, answers.IncompleteReadError),
    *(transfers.RetriesExceededError, transfers.S3DownloadFailedError, transfers.S3UploadFailedError),
)
_CREDENTIALS = (
    *(answers.NoCredentialsError, answers.PartialCredentialsError, answers.CredentialRetrievalError),
    *(answers.TokenRetrievalError, answers.NoAuthTokenError, answers.UnauthorizedSSOTokenError),
    *(answers.SSOError, answers.ProfileNotFound),
)


class S3Files(AbstractFileSystem):  # type: ignore[misc]
    """Buckets of S3. A path is BUCKET/KEY, with or without s3:// before it.

    Raises:
      FileNotFoundError: there is no such object, or no such bucket. It says which.
      PermissionError: the credentials may not do this.
      ConnectionError: the store does not answer, or it is too busy. The same call may succeed later.
      InputError: there are no credentials, or the store refuses what is asked.
    """

    protocol = ("s3", "s3a")

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        try:
            with _translated(""):
                self.client = boto3.client("s3", config=_CLIENT)
        except ValueError as error:
            raise InputError(
                f"the address of the store cannot be used: {error}",
                where="AWS_ENDPOINT_URL, or endpoint_url of the profile",
                fix="Write it with its scheme, for example https://s3.example.com.",
                code="E-STORE-ENDPOINT",
            ) from None

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
        """Writes an object. With the mode "create" the store refuses, if the object exists (FileExistsError).

        Raises:
          NotImplementedError: the mode is "create", and the store has no such condition.
        """
        bucket, key = self._parts(path)
        condition = {"IfNoneMatch": "*"} if mode == "create" else {}
        with _translated(f"{bucket}/{key}"):
            try:
                self.client.put_object(Bucket=bucket, Key=key, Body=bytes(value), **condition)
            except ClientError as error:
                if condition and _code(error) in _UNKNOWN:
                    raise NotImplementedError(_said(error)) from None
                raise

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
                    # Some programs write an empty object for a directory, whose name ends with a slash.
                    if not one["Key"].endswith("/"):
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
            raise PermissionError(_said(error)) from None
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in _BUSY or status in (429, 500, 502, 503, 504):
            raise ConnectionError(_said(error)) from None
        raise _refused(name, _said(error)) from None
    except _NETWORK as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from None
    except _CREDENTIALS as error:
        raise InputError(
            f"no credentials: {error}",
            where=f"s3://{name}",
            fix=f"Log in: {SCHEMES['s3'].log_in}.",
            code="E-STORE-CREDENTIALS",
        ) from None
    except BotoCoreError as error:
        raise _refused(name, f"{type(error).__name__}: {error}") from None


def _refused(name: str, why: str) -> InputError:
    return InputError(
        f"the request to the store cannot succeed: {' '.join(why.split())[:200]}",
        where=f"s3://{name}",
        fix="Correct what the message names: the URL, the region, or the profile.",
        code="E-STORE-REFUSED",
    )


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _said(error: ClientError) -> str:
    return f"{_code(error)}: {error.response.get('Error', {}).get('Message', '')}"


def _entry(name: str, about: dict[str, Any], size: str) -> dict[str, Any]:
    time = about["LastModified"]
    return {
        **{"name": name, "size": int(about[size]), "type": "file", "ETag": about["ETag"]},
        **{"LastModified": time, "mtime": time.timestamp()},
    }
