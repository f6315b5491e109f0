"""Writes a directory of rows of texts with labels, which `jaxbert.data.pipeline.Rows` opens, and reads its examples.

Beside the rows it holds the tokenizer, and the examples of each split as JSON lines: so a run continues when the user's
files are gone, and pages show texts. The manifest has the size and the sha256 of each file. The same examples give the
same bytes. A killed call leaves a directory without a manifest, and the same call continues with the finished shards.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxbert.data import shards
from jaxbert.data.directory import open_directory
from jaxbert.errors import InputError, Stopped
from jaxbert.inputs.files import open_regular
from jaxbert.inputs.values import parse
from jaxbert.labelled.encode import Counts, Encoding, encode
from jaxbert.labelled.examples import Example, from_json, to_json, without_folder
from jaxbert.labelled.labels import empty
from jaxbert.stores.files import full_disk, partial_name, replacing

_log = logging.getLogger(__name__)

POLICY = "labelled"
# The examples of a shard of rows, and of one call of `encode`.
_SHARD, _BLOCK = 1 << 15, 1024
# Changes whenever the same arguments give other bytes.
_FORMAT = 1
_JSON = json.JSONEncoder(ensure_ascii=False)


@dataclass(frozen=True)
class Summary:
    """The result of `write_rows`.

    Attributes:
      hash: the hash of the directory.
      counts: see `Counts`, by split.
    """

    hash: str
    counts: dict[str, Counts]


def examples_file(split: str) -> str:
    """Returns the name of the file of a split's examples."""
    return f"examples-{split}.jsonl"


def write_rows(
    out: Path | str,
    encoding: Encoding,
    splits: Mapping[str, Sequence[Example]],
    *,
    overwrite: bool = False,
) -> Summary:
    """Writes the rows of some splits, or finds them finished.

    Args:
      out: the directory.
      encoding: see the class.
      splits: the examples by the name of their split.
      overwrite: whether to replace a directory that other arguments made.

    Raises:
      InputError: a split has no examples, an example cannot be encoded, or `out` holds something else.
      Interrupted: the disk is full; the same call continues.
      Stopped: the finished rows are damaged.
    """
    out = Path(out)
    for split, examples in splits.items():
        if not examples:
            raise empty(split)
    digests = {split: _digest(examples) for split, examples in splits.items()}
    arguments = {
        "format": _FORMAT,
        "policy": POLICY,
        "kind": encoding.kind,
        "problem": encoding.problem,
        "labels": list(encoding.labels),
        "length": encoding.length,
        "stride": encoding.stride,
        "texts": encoding.texts,
        "tokenizer_hash": encoding.tokenizer.hash,
        "examples": digests,
    }
    directory = open_directory(out, "rows", arguments, overwrite=overwrite)
    if directory.done:
        directory.check_whole(encoding.tokenizer)
        manifest = shards.read_manifest(out, "rows")
        for split in splits:
            _check_examples(out, manifest, split)
        return _summary(manifest)
    made: dict[str, list[shards.ShardInfo]] = {split: [] for split in splits}
    files = {}
    try:
        for split, examples in splits.items():
            starts = range(0, len(examples), _SHARD)
            for number, start in enumerate(starts):
                file = f"rows-{split}.array_record-{number:05d}-of-{len(starts):05d}"
                info = directory.finished(file)
                if info is None:
                    counts: list[Counts] = []
                    part = range(start, min(start + _SHARD, len(examples)))
                    info = shards.write_shard(out / file, _records(encoding, examples, part, counts))
                    statistics = {**sum(counts, Counts()).to_json(), "named": sum(counts, Counts()).named}
                    info = directory.finish(
                        shards.ShardInfo(info.file, info.count, info.bytes, info.sha256, statistics)
                    )
                made[split].append(info)
            files[split] = _write_examples(out / examples_file(split), examples)
        encoding.tokenizer.save(out / "tokenizer")
    except InputError:
        directory.discard()
        raise
    counts_of = {split: sum((Counts(**info.statistics) for info in infos), Counts()) for split, infos in made.items()}
    fields: dict[str, Any] = {
        "policy": POLICY,
        "length": encoding.length,
        "vocab_size": encoding.tokenizer.vocab_size,
        "pad_id": encoding.tokenizer.pad_id,
        "tokenizer_hash": encoding.tokenizer.hash,
        "origins": 1,
        "texts": encoding.texts,
        "answers": encoding.answers,
        "labelled": {
            "kind": encoding.kind,
            "problem": encoding.problem,
            "labels": list(encoding.labels),
            "stride": encoding.stride,
            "examples": files,
            "named": {split: counts.named for split, counts in counts_of.items()},
        },
        "counts": {split: sum(info.count for info in infos) for split, infos in made.items()},
        "statistics": {split: counts.to_json() for split, counts in counts_of.items()},
    }
    entries = {split: [info.to_json() for info in infos] for split, infos in made.items()}
    everything = {"kind": "rows", "arguments": directory.arguments, "splits": entries, **fields}
    fields["hash"] = shards.canonical_hash(everything)
    return _summary(directory.commit(made, fields))


def _records(encoding: Encoding, examples: Sequence[Example], part: range, counts: list[Counts]) -> Iterator[bytes]:
    """Yields the bytes of the rows of some examples, and adds their counts."""
    for start in range(part.start, part.stop, _BLOCK):
        encoded = encode(encoding, examples[start : min(start + _BLOCK, part.stop)], first=start)
        counts.append(encoded.counts)
        for row in encoded.rows:
            yield row.tobytes()


def _lines(examples: Sequence[Example]) -> Iterator[bytes]:
    """Yields the examples as lines of JSON. The rows do not depend on the folder of the user's files."""
    for example in examples:
        value = to_json(example)
        value["place"] = without_folder(value["place"])
        yield _JSON.encode(value).encode() + b"\n"


def _digest(examples: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for line in _lines(examples):
        digest.update(line)
    return digest.hexdigest()


def _write_examples(path: Path, examples: Sequence[Example]) -> dict[str, Any]:
    """Writes the examples of a split, and returns their entry in the manifest."""
    digest, size = hashlib.sha256(), 0
    full = full_disk(path, "Free some space and run the same command again: it keeps the finished shards.")
    with full, replacing(path, temporary=partial_name(path)) as file:
        for line in _lines(examples):
            file.write(line)
            digest.update(line)
            size += len(line)
    return {"file": path.name, "bytes": size, "sha256": digest.hexdigest()}


def _summary(manifest: Mapping[str, Any]) -> Summary:
    named = manifest["labelled"]["named"]
    counts = {
        split: Counts(**{name: int(value) for name, value in statistics.items()}, named=named[split])
        for split, statistics in manifest["statistics"].items()
    }
    return Summary(manifest["hash"], counts)


def _check_examples(directory: Path, manifest: Mapping[str, Any], split: str) -> Path:
    """Returns the file of a split's examples after comparing its bytes with the manifest.

    Raises:
      Stopped: it is missing or damaged.
    """
    entry = manifest["labelled"]["examples"][split]
    info = shards.ShardInfo(entry["file"], 0, entry["bytes"], entry["sha256"])
    shards.verify_shard(directory, info)
    return directory / info.file


def read_examples(directory: Path | str, split: str) -> Iterator[Example]:
    """Yields the examples of a split of rows that `write_rows` wrote, in their order. Their places have no folders.

    Raises:
      InputError: the directory has no such rows, or no such split.
      Stopped: the file is damaged.
    """
    directory = Path(directory)
    manifest = shards.read_manifest(directory, "rows")
    known = manifest.get("labelled")
    if known is None or split not in known["examples"]:
        raise InputError(
            f"the rows have no examples of a split {split!r}",
            where=str(directory),
            fix=f"Splits there: {', '.join(known['examples'])}." if known else "Give rows of texts with labels.",
            code="E-ROWS-SPLIT",
        )
    path = _check_examples(directory, manifest, split)
    with open_regular(path) as file:
        for line in file:
            try:
                yield from_json(known["kind"], parse(line))
            except (ValueError, TypeError) as error:
                raise Stopped(
                    f"damaged examples: {error}",
                    where=str(path),
                    fix="Make the rows again.",
                    code="E-SHARD-DAMAGED",
                ) from None
