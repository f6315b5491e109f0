"""Rows that lie in a bucket: copied to this machine before a run reads them, each file held against its sha256.

Rows are read one by one in an order of their own, which a bucket is slow at; so each machine gets a copy, once. It lies
below `JAXBERT_CACHE` (else `XDG_CACHE_HOME`/jaxbert, ~/.cache/jaxbert) under the rows' own hash: the same rows are
found again wherever they came from. Several processes on one machine take turns; a killed copy goes on where it was.

URLs are fsspec's: gs:// with the extra `gcs`, and whatever else is installed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxbert.data import shards
from jaxbert.data.rows import canonical_hash
from jaxbert.errors import InputError, Stopped
from jaxbert.stores.storage import Bucket, cache_directory, is_remote

# Copies made or found by this process: a run opens its rows more than once.
_local: dict[str, Path] = {}


def local(path: str | Path) -> Path:
    """The directory of rows itself, or of its copy on this machine, which is made here.

    Raises:
      InputError: no rows there, or no way to get at them.
      Interrupted: the network or the disk failed; the same call continues.
      Stopped: a file is not what the manifest says of it.
    """
    url = str(path).rstrip("/")
    if not is_remote(url):
        return Path(path)
    if url not in _local:
        _local[url] = _staged(url)
    return _local[url]


def _staged(url: str) -> Path:
    bucket = Bucket(url)
    with _reading(url):
        manifest = _manifest(bucket)
    out = cache_directory() / "rows" / manifest["hash"]
    made = [shards.ShardInfo.from_json(entry) for split in manifest["splits"].values() for entry in split]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"no place for a copy: {error.strerror}", where=str(out), fix="Set JAXBERT_CACHE to a directory."
        ) from None
    with _alone(out.with_name(f"{out.name}.lock")):
        if (out / shards.MANIFEST).is_file():
            return out
        progress = shards.Progress(f"copying {url}", len(made), "shards")
        try:
            for info in made:
                if not _there(out, info):
                    with _reading(url):
                        bucket.fetch(info.file, out / info.file)
                    _verify(out, info, url)
                progress.advance()
            with _reading(url):
                for name in bucket.files("tokenizer"):
                    bucket.fetch(f"tokenizer/{name}", out / "tokenizer" / name)
        finally:
            progress.close()
        # Last: where it is, all is.
        shards.write_json(out / shards.MANIFEST, manifest)
    return out


def _manifest(bucket: Bucket) -> dict[str, Any]:
    url = bucket.place
    try:
        manifest = json.loads(bucket.read(shards.MANIFEST))
        right = manifest["kind"] == "rows" and manifest["hash"] == canonical_hash(manifest)
    except FileNotFoundError:
        raise InputError(
            f"not a directory of rows: no {shards.MANIFEST}", where=url, fix="Copy the --out of `jaxbert rows` there."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"unusable manifest ({error})", where=url, fix="Copy the rows there again.") from None
    if not right:
        raise InputError("not a manifest of rows, or a damaged one", where=url, fix="Copy the rows there again.")
    return dict(manifest)


def _there(out: Path, info: shards.ShardInfo) -> bool:
    try:
        shards.verify_shard(out, info)
    except Stopped:
        return False
    return True


def _verify(out: Path, info: shards.ShardInfo, url: str) -> None:
    try:
        shards.verify_shard(out, info)
    except Stopped as error:
        (out / info.file).unlink(missing_ok=True)
        raise Stopped(error.what, where=f"{url}/{info.file}", fix="Copy the rows there again.") from None


@contextmanager
def _reading(url: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"not all of the rows are there: {error}", where=url, fix="Copy them there again.") from None
    except OSError as error:
        raise shards.disk_error(error, cache_directory()) from None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Only one process of this machine at a time."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
