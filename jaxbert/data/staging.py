"""Rows that lie in a bucket: copied to this machine before a run reads them, each file held against its sha256.

Rows are read one by one in an order of their own, which a bucket is slow at; so each machine gets a copy, once. It lies
below `JAXBERT_CACHE` (else `XDG_CACHE_HOME`/jaxbert, ~/.cache/jaxbert) under the rows' own hash: the same rows are
found again wherever they came from. Several processes on one machine take turns; a killed copy goes on where it was.

URLs are fsspec's: gs:// with the extra `gcs`, and whatever else is installed.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxbert import config as configs
from jaxbert.config import PhaseConfig, RunConfig
from jaxbert.data import shards
from jaxbert.data.rows import canonical_hash
from jaxbert.errors import InputError, Interrupted, Stopped

_REPEAT = "Run the same command again: what has been copied is kept."
# Copies made or found by this process: a run opens its rows more than once.
_local: dict[str, Path] = {}


def is_remote(path: str | Path) -> bool:
    """Whether a path is a URL."""
    return "://" in str(path)


def phase_rows(config: RunConfig, phase: PhaseConfig, workdir: Path) -> list[tuple[Path, float]]:
    """(directory on this machine, weight) of the rows of a phase: `jaxbert.config.phase_rows`, copied where need be."""
    return [(local(path), weight) for path, weight in configs.phase_rows(config, phase, workdir)]


def cache_directory() -> Path:
    """Where copies are kept."""
    if "JAXBERT_CACHE" in os.environ:
        return Path(os.environ["JAXBERT_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxbert"


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
    files, root = _open(url)
    with _reading(url):
        manifest = _manifest(files, root, url)
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
                        _copy(files, f"{root}/{info.file}", out / info.file)
                    _verify(out, info, url)
                progress.advance()
            with _reading(url):
                for place in files.find(f"{root}/tokenizer"):
                    _copy(files, place, out / "tokenizer" / posixpath.basename(place))
        finally:
            progress.close()
        # Last: where it is, all is.
        shards.write_json(out / shards.MANIFEST, manifest)
    return out


def _open(url: str) -> tuple[Any, str]:
    """(filesystem, path in it)."""
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(url)
    except ImportError:
        extra = {"gs": "gcs", "gcs": "gcs"}.get(url.partition("://")[0])
        fix = f'pip install "jaxbert[{extra}]".' if extra else "Install the fsspec filesystem of such URLs."
        raise InputError("nothing that reads such URLs is installed", where=url, fix=fix) from None
    except ValueError as error:
        raise InputError(f"no URL that is known here: {error}", where=url, fix="Give gs://BUCKET/ROWS.") from None
    except Exception as error:
        raise _failed(url, error) from error
    return files, root.rstrip("/")


def _manifest(files: Any, root: str, url: str) -> dict[str, Any]:
    try:
        manifest = json.loads(files.cat_file(f"{root}/{shards.MANIFEST}"))
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


def _copy(files: Any, source: str, place: Path) -> None:
    """Whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    arriving = shards.partial_name(place)
    try:
        files.get_file(source, str(arriving))
        os.replace(arriving, place)
    finally:
        arriving.unlink(missing_ok=True)


@contextmanager
def _reading(url: str) -> Iterator[None]:
    try:
        yield
    except (InputError, Interrupted, Stopped):
        raise
    except FileNotFoundError as error:
        raise InputError(f"not all of the rows are there: {error}", where=url, fix="Copy them there again.") from None
    except PermissionError as error:
        raise InputError(f"no permission to read: {error}", where=url, fix="Log in: gcloud auth login.") from None
    except Exception as error:
        raise _failed(url, error) from error


def _failed(url: str, error: Exception) -> Exception:
    if "credential" in str(error).lower():
        return InputError(f"no credentials: {error}", where=url, fix="Log in: gcloud auth application-default login.")
    changed = shards.disk_error(error, cache_directory())
    if changed is not error:
        return changed
    brief = " ".join(str(error).split())[:200]
    return Interrupted(f"copying failed: {type(error).__name__}: {brief}", where=url, fix=_REPEAT)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Only one process of this machine at a time."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
