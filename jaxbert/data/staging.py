"""Copies rows from a bucket to this machine before a run reads them, and checks each file's sha256.

A run reads rows one by one in a random order, which is slow in a bucket; so each machine makes one copy. The copy is
below `JAXBERT_CACHE` (else `XDG_CACHE_HOME`/jaxbert, else ~/.cache/jaxbert) in a directory named by the hash of the
rows: the same rows are found again wherever they came from. Several processes on one machine take turns. A killed copy
continues where it was.

URLs are those of fsspec: gs:// needs the extra `gcs`, s3:// the extra `s3`; other filesystems need their packages.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxbert.core.progress import Progress
from jaxbert.data import shards
from jaxbert.errors import InputError, Stopped
from jaxbert.inputs.values import parse
from jaxbert.stores.files import cannot_write, full_disk
from jaxbert.stores.storage import Bucket, cache_directory, is_remote

# The copies that this process has made or found, because a run opens its rows more than once.
_local: dict[str, Path] = {}


def local(path: str | Path) -> Path:
    """Returns the directory of rows, or for a URL the directory of the copy on this machine, after making it.

    Raises:
      InputError: there are no rows, or they cannot be reached.
      Interrupted: the network or the disk failed; the same call continues.
      Stopped: a file differs from the manifest.
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
        with full_disk(out, "Make room. The same command continues."):
            out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if not cannot_write(error):
            raise
        raise InputError(
            f"cannot make a directory for the copy: {error.strerror}",
            where=str(out),
            fix="Set JAXBERT_CACHE to a directory that you may write.",
            code="E-ROWS-CACHE",
        ) from None
    with _alone(out.with_name(f"{out.name}.lock")):
        if (out / shards.MANIFEST).is_file():
            return out
        progress = Progress(len(made), label=f"copying {url}", unit="shard")
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
        # The manifest comes last: if it is there, everything is there.
        shards.write_json(out / shards.MANIFEST, manifest)
    return out


def _manifest(bucket: Bucket) -> dict[str, Any]:
    url = bucket.place
    fix = "Copy the rows there again."
    try:
        manifest = parse(bucket.read(shards.MANIFEST))
    except FileNotFoundError:
        raise InputError(
            f"not a directory of rows: it has no {shards.MANIFEST}",
            where=url,
            fix="Copy the --out of `jaxbert rows` there.",
            code="E-SHARD-MANIFEST",
        ) from None
    except ValueError as error:
        raise InputError(f"the manifest cannot be used: {error}", where=url, fix=fix, code="E-SHARD-MANIFEST") from None
    return shards.check_manifest(manifest, "rows", where=url, fix=fix)


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
        raise Stopped(
            error.what, where=f"{url}/{info.file}", fix="Copy the rows there again.", code="E-SHARD-DAMAGED"
        ) from None


@contextmanager
def _reading(url: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(
            f"a file of the rows is missing: {error}",
            where=url,
            fix="Copy the rows there again.",
            code="E-ROWS-MISSING",
        ) from None
    except OSError as error:
        raise shards.disk_error(error, cache_directory()) from None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Lets only one process of this machine into the block at a time."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
