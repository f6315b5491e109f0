"""Shards of records and of rows, and the manifest of a directory of them. Imports no jax.

A finished directory holds ArrayRecord files and `manifest.json` with the size and sha256 of each, and the sha256 of all
that it says. Neither holds clocks or machine names: the same arguments give the same bytes. `jaxbert.data.directory`
makes such directories.

Manifests of earlier versions have no sha256 of themselves. They are read, and verified as far as their `hash` reaches:
that of rows covers everything but the provenance, that of records the shards and the tokenizer.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxbert.core.shell import path_word
from jaxbert.errors import CommandError, InputError, Stopped
from jaxbert.inputs.files import disk_failed, open_regular, read_bytes
from jaxbert.inputs.values import Each, Matching, Maybe, OneOf, Whole, check, checked, read_json, short
from jaxbert.stores.files import arriving, disk_full, disk_is_full, partial_name, sync, write_whole

MANIFEST = "manifest.json"
# Directories inside one that is not finished: notes of the finished shards, and what the new directory replaces.
PROGRESS = ".progress"
PREVIOUS = ".previous"
# The number of other directories that a message names.
_SHOWN = 3
# The keys of a manifest of records without a sha256 of itself.
_RECORDS_BEFORE = frozenset(
    {"kind", "arguments", "splits", "source_hash", "tokenizer_hash", "vocab_size", "language", "licence", "counts"}
    | {"summary", "hash"}
)


# The shapes of the entry of a shard, and of the manifests of both kinds, as far as anything reads them.
_SHARD = {"file": Matching(r"[\w.-]+", "the name of a file"), "count": Whole(), "bytes": Whole(), "sha256": str}
_SHAPES = {
    "records": {
        "arguments": {"source": {"spec": str}},
        "splits": Each([_SHARD]),
        "tokenizer_hash": str,
        "vocab_size": Whole(1, 1 << 31),
        "licence": Maybe(str),
        "counts": Each(Whole()),
        "summary": {"splits": Each(dict), "findings": [str]},
        "hash": str,
    },
    "rows": {
        "arguments": dict,
        "splits": Each([_SHARD]),
        "policy": str,
        "length": Whole(1, 1 << 16),
        "vocab_size": Whole(1, 1 << 31),
        "pad_id": Whole(0, 1 << 31),
        "tokenizer_hash": str,
        "origins": Whole(1, 1 << 16),
        "counts": Each(Whole()),
        "statistics": Each(Each(float)),
        "hash": str,
        "provenance": Maybe({"source": Maybe(str), "licence": Maybe(str), "records": Maybe(dict)}),
    },
}


@dataclass(frozen=True)
class ShardInfo:
    """A finished shard.

    Attributes:
      file: the name of the file in its directory.
      count: the number of records in it.
      bytes: the size of the file.
      sha256: the sha256 of the file's bytes.
      statistics: counts of its maker (JSON values). They are kept while the directory is unfinished; the manifest does
        not hold them.
    """

    file: str
    count: int
    bytes: int
    sha256: str
    statistics: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns the entry of the manifest."""
        return {"file": self.file, "count": self.count, "bytes": self.bytes, "sha256": self.sha256}

    @staticmethod
    def from_json(entry: dict[str, Any]) -> ShardInfo:
        """Returns the ShardInfo of an entry of a manifest, or of a progress file.

        Raises:
          ValueError: a key is missing or mistyped.
        """
        check(entry, {**_SHARD, "statistics": Maybe(dict)})
        return ShardInfo(
            entry["file"], entry["count"], entry["bytes"], entry["sha256"], dict(entry.get("statistics") or {})
        )


def sha256_file(path: Path) -> str:
    """Returns the sha256 of a file's bytes, in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_shard(path: Path, records: Iterable[bytes]) -> ShardInfo:
    """Writes records as an ArrayRecord file, whole or not at all. With `group_size:1` one record is one read.

    Until all bytes are on the disk, the file has a temporary name that contains the number of this process.

    Raises:
      Interrupted: the disk is full; the unfinished file is removed.
    """
    from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

    count = 0
    try:
        with arriving(path, partial_name(path)) as partial:
            writer = ArrayRecordWriter(str(partial), "group_size:1")
            try:
                for record in records:
                    writer.write(record)
                    count += 1
            finally:
                writer.close()
            sync(partial)
            reader = ArrayRecordReader(str(partial))
            if reader.num_records() != count:
                raise OSError(errno.EIO, f"{reader.num_records()} of {count} records arrived")
            return ShardInfo(path.name, count, partial.stat().st_size, sha256_file(partial))
    except (OSError, RuntimeError) as error:
        raise disk_error(error, path) from error


def disk_error(error: Exception, path: Path) -> Exception:
    """Returns Interrupted for an `error` that says that the disk is full, and any other `error` as it is.

    ArrayRecord reports a full disk as a RuntimeError with the message of the system.
    """
    if disk_is_full(error):
        return disk_full(path, "Free some space and run the same command again: it keeps the finished shards.")
    return error


def verify_shard(directory: Path, info: ShardInfo, *, full: bool = True) -> None:
    """Compares a shard with its entry in the manifest: the size, and the sha256 if `full`.

    Raises:
      InputError: the shard may not be read.
      Stopped: the shard is missing or damaged. The message names it.
      Interrupted: the disk cannot be read.
    """
    path = directory / info.file
    try:
        size = path.stat().st_size
        damage = f"it has {size} bytes, but the manifest says {info.bytes}" if size != info.bytes else ""
        if not damage and full and sha256_file(path) != info.sha256:
            damage = "its sha256 differs from the manifest"
    except FileNotFoundError:
        damage = "it is missing"
    except PermissionError:
        raise InputError(
            "no permission to read", where=str(path), fix="Change its mode or owner.", code="E-SHARD-PERMISSION"
        ) from None
    except OSError as error:
        raise disk_failed(error, path) from error
    if damage:
        raise Stopped(
            f"damaged shard: {damage}",
            where=str(path),
            fix="Copy the shard again from its source, or make the directory again with --overwrite.",
            code="E-SHARD-DAMAGED",
        )


def _beside(directory: Path, kind: str) -> list[str]:
    """Returns the finished directories of a kind, three at most, in the folder where one of them is missing."""
    found: list[str] = []
    for path in sorted(directory.parent.glob("*/" + MANIFEST)):
        with contextlib.suppress(CommandError, OSError, ValueError):
            if len(found) < _SHOWN and checked(read_bytes(path), {"kind": str})["kind"] == kind:
                found.append(path_word(path.parent))
    return found


def read_manifest(directory: Path, kind: str) -> dict[str, Any]:
    """Returns manifest.json of a finished directory of `kind` ("records" or "rows").

    Raises:
      InputError: the directory does not exist, is unfinished, or holds another kind.
    """
    made_by = {"records": "jaxbert prepare", "rows": "jaxbert rows"}.get(kind, "jaxbert")
    path = directory / MANIFEST
    if not directory.is_dir():
        what = "this is a file, but a directory is needed" if directory.exists() else f"no such directory of {kind}"
        there = _beside(directory, kind)
        fix = f"Give the --out of `{made_by}`" + (f", or what is there: {', '.join(there)}." if there else ".")
        raise InputError(what, where=str(directory), fix=fix, code="E-SHARD-MISSING")
    if (directory / PROGRESS).is_dir() or (directory / PREVIOUS).is_dir():
        raise InputError(
            f"the {kind} are unfinished",
            where=str(directory),
            fix=f"Run the same `{made_by}` again to finish them.",
            code="E-SHARD-UNFINISHED",
        )
    fix = f"Copy it again from its source, or run the same `{made_by}` with --overwrite: it makes all again."
    try:
        manifest = read_json(path, "the manifest cannot be used", fix=fix, code="E-SHARD-MANIFEST", shape={"kind": str})
    except FileNotFoundError:
        raise InputError(
            f"not a directory of {kind}: it has no {MANIFEST}",
            where=str(directory),
            fix=f"Give the --out of `{made_by}`.",
            code="E-SHARD-MANIFEST",
        ) from None
    except (IsADirectoryError, NotADirectoryError) as error:
        raise InputError(
            f"the manifest cannot be used: {error.strerror}", where=str(path), fix=fix, code="E-SHARD-MANIFEST"
        ) from None
    if manifest["kind"] != kind:
        raise InputError(
            f"this directory holds {short(manifest['kind'])}, but {kind} are needed",
            where=str(directory),
            fix=f"`{made_by}` makes {kind}.",
            code="E-SHARD-KIND",
        )
    return check_manifest(manifest, kind, where=str(path), fix=fix)


def check_manifest(manifest: Any, kind: str, *, where: str, fix: str) -> dict[str, Any]:
    """Returns the manifest of a directory of `kind`, after `verify_manifest`.

    Args:
      manifest: a JSON value.
      kind: "records" or "rows".
      where: the path or the URL, for the error.
      fix: advice to the user if it is damaged.

    Raises:
      InputError: a key is missing or mistyped, or a hash differs.
    """
    try:
        verify_manifest(manifest, kind)
    except ValueError as error:
        raise InputError(
            f"the manifest cannot be used: {error}", where=where, fix=fix, code="E-SHARD-MANIFEST"
        ) from None
    return dict(manifest)


def verify_manifest(manifest: Any, kind: str) -> None:
    """Checks that a manifest has all keys with values of their types, and compares it with its hash.

    Args:
      manifest: a JSON value.
      kind: "records" or "rows".

    Raises:
      ValueError: a key is missing or mistyped, or the hash differs.
    """
    check(manifest, {"kind": OneOf(tuple(_SHAPES))})
    check(manifest, {"kind": OneOf((kind,)), "sha256": Maybe(str), **_SHAPES[kind]})
    if kind == "rows" and manifest["pad_id"] >= manifest["vocab_size"]:
        raise ValueError(f"pad_id is {manifest['pad_id']}, but there are {manifest['vocab_size']} pieces")
    if "sha256" in manifest:
        right = manifest["sha256"] == signature(manifest)
    elif kind == "rows":
        right = manifest["hash"] == canonical_hash(manifest)
    else:
        shards = {split: [entry["sha256"] for entry in entries] for split, entries in manifest["splits"].items()}
        known = manifest.keys() <= _RECORDS_BEFORE
        right = known and manifest["hash"] == records_hash(manifest["tokenizer_hash"], shards)
    if not right:
        raise ValueError("it is damaged: its sha256 differs from what it says")


def signature(manifest: dict[str, Any]) -> str:
    """Returns the sha256 of everything that a manifest says, which its key `sha256` holds."""
    return _json_sha256({key: value for key, value in manifest.items() if key != "sha256"})


def canonical_hash(manifest: dict[str, Any]) -> str:
    """Returns the `hash` of rows: the sha256 of what decides their bytes. It covers every shard."""
    return _json_sha256({key: value for key, value in manifest.items() if key not in ("hash", "provenance", "sha256")})


def records_hash(tokenizer_hash: str, shards: dict[str, list[str]]) -> str:
    """Returns the `hash` of records. Equal bytes of different sources have the same hash.

    Args:
      tokenizer_hash: the hash of the tokenizer.
      shards: the sha256 of each shard, by split.
    """
    return _json_sha256({"tokenizer_hash": tokenizer_hash, "splits": shards})


def _json_sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Writes JSON with sorted keys, whole or not at all.

    Raises:
      Interrupted: the disk is full.
    """
    content = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    try:
        write_whole(path, content, temporary=partial_name(path))
    except OSError as error:
        raise disk_error(error, path) from error
