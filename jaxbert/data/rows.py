"""Makes training rows from records: fixed-length raw records in shards with a manifest. Imports no jax.

A row has segments of documents between [CLS] and [SEP], arranged by its policy, and padding. It also holds token types,
attention groups, a label and the origins of the segments, but no masks, because the training step draws them. One shard
of records gives one shard of rows per copy. Its content is a pure function of (records, policy, length, short rows,
seed, split, shard, copy) for any number of workers, and memory is bounded by a shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxbert.config import did_you_mean
from jaxbert.data import shards
from jaxbert.data.directory import ShardDirectory, check_place, open_directory
from jaxbert.data.draws import Draws, permutation
from jaxbert.data.jobs import Runner
from jaxbert.data.policies import POLICIES
from jaxbert.data.policies.segments import Arrangement, Segments, TokenShard
from jaxbert.data.records import read_records, shard_name
from jaxbert.data.row_format import row_dtype
from jaxbert.data.workers import check_workers, parallel
from jaxbert.errors import InputError, Stopped, counted
from jaxbert.text.tokenizers import Tokenizer

# The number of rows assembled at once: enough for numpy to be fast, and few enough to stay in the cache.
_BLOCK = 2048
_COUNTS = (
    *("documents", "sentences", "tokens", "rows", "next", "random"),
    *("unpaired", "positions", "truncated", "oversized"),
)
# Further counts of policies without pairs.
_MORE_COUNTS = ("segments", "cut")
_MAX_LENGTH = 65535
# google-research/bert makes 10 or 40. Each is a pass over all documents, and a shard of rows for each shard of records.
_MOST_COPIES = 10_000


@dataclass(frozen=True)
class RowsSummary:
    """The result of `build_rows`. Counts are sums over splits and copies.

    Attributes:
      policy: the policy that was asked for.
      length: the length that was asked for.
      rows: the number of rows, by split.
      hash: the hash of the directory of rows.
      statistics: by split: documents, sentences and tokens (each the sum over the copies); rows, and among them next,
        random and unpaired; positions (without padding); truncated (tokens); oversized (sentences longer than a row);
        for policies without pairs also segments (documents in rows) and cut (cuts inside a sentence); and the rates
        filled, random_rate and truncated_rate.
    """

    policy: str
    length: int
    rows: dict[str, int]
    hash: str
    statistics: dict[str, dict[str, float]]

    def lines(self) -> list[str]:
        """Returns lines to print."""
        known = POLICIES[self.policy]
        segments = {"isolated": "groups", "joined": "documents"}.get(known.arrangement, "")
        lines = []
        for split, rows in self.rows.items():
            s = self.statistics[split]
            if not rows:
                lines.append(f"{split}: no rows")
                continue
            first = f"{split}: {counted(rows, 'row')} of {self.length} tokens ({self.policy}), {s['filled']:.1%} filled"
            second = (
                f"{split}: {counted(s['documents'], 'document')}, {counted(s['sentences'], 'sentence')}, "
                f"{counted(s['tokens'], 'token')}; truncated {counted(s['truncated'], 'token')} "
                f"({s['truncated_rate']:.1%}), {counted(s['oversized'], 'sentence')} longer than a row"
            )
            if known.pairs:
                first += f", random next {s['random_rate']:.1%}"
                second += f", {counted(s['unpaired'], 'row')} without a pair"
            else:
                if known.segments(self.length) > 1:
                    first += f", {s['segments'] / rows:.2f} {segments} a row"
                second += f", {counted(s['cut'], 'cut')} inside a sentence"
            lines += [first, second]
        return lines

    def to_json(self) -> dict[str, Any]:
        """Returns the values for `--json` and the manifest."""
        return {
            "policy": self.policy,
            "length": self.length,
            "rows": self.rows,
            "hash": self.hash,
            "statistics": self.statistics,
        }


@dataclass(frozen=True)
class _Job:
    """One shard of rows to make. It is picklable, for worker processes."""

    records: Path
    split: str
    shard: int
    copy: int
    directory: ShardDirectory
    file: str
    policy: str
    length: int
    short_rows: float
    seed: int
    vocab_size: int
    cls_id: int
    sep_id: int
    pad_id: int

    def made(self) -> tuple[str, shards.ShardInfo] | None:
        info = self.directory.finished(self.file)
        return None if info is None else (self.split, info)

    def needs(self) -> Iterable[Path]:
        return self.records / shards.MANIFEST, self.records / shard_name(self.split, self.shard)

    def moved(self, place: Callable[[Path], Path]) -> _Job:
        directory = replace(self.directory, path=place(self.directory.path))
        return replace(self, directory=directory, records=place(self.records))

    def without_content(self) -> _Job:
        return self


def build_rows(
    records: Path | str,
    out: Path | str,
    *,
    policy: str,
    length: int,
    workers: int,
    seed: int,
    short_rows: float = 0.1,
    copies: int = 1,
    overwrite: bool = False,
    runner: Runner | None = None,
) -> RowsSummary:
    """Makes a directory of rows from a directory of records: shards, manifest.json, and the tokenizer beside them.

    A repeated call continues an interrupted one: finished shards are kept. Of finished rows it compares every byte with
    the manifest. The bytes do not depend on `workers`.

    Args:
      records: a directory that `jaxbert prepare` made.
      out: the directory to make.
      policy: a key of `POLICIES`.
      length: L, the number of tokens in a row, with special tokens.
      workers: the number of processes.
      seed: the seed of every random choice here.
      short_rows: the probability, per document, that pairs get a target length drawn at random (google-research/bert:
        0.1). Policies without pairs ignore it.
      copies: the number of passes over the train split, each with other random choices (dupe_factor in
        google-research/bert); validation has one. A policy without random choices allows one only: the training step
        draws masks anew, so that every epoch is another copy.
      overwrite: whether to replace rows made with other arguments, and damaged shards of rows made with these.
      runner: the runner that makes the shards: Apache Beam, or None for `workers` local processes.

    Raises:
      InputError: there are no records, the tokenizer does not match them, an argument is out of range, or `out` holds
        rows made with other arguments and `overwrite` is off.
      Stopped: a shard of records is damaged, or the finished rows are and `overwrite` is off. The message names it.
      Interrupted: the disk is full; the same call continues.
    """
    records, out = Path(records), Path(out)
    check_arguments(policy, length, copies, short_rows, seed)
    known = POLICIES[policy]
    check_workers(workers)
    manifest = shards.read_manifest(records, "records")
    tokenizer = Tokenizer.load(records / "tokenizer")
    if tokenizer.hash != manifest["tokenizer_hash"]:
        raise InputError(
            f"the tokenizer (hash {tokenizer.hash[:12]}) differs from the one that made these records "
            f"({manifest['tokenizer_hash'][:12]})",
            where=str(records / "tokenizer"),
            fix="Put the right files back, or run `jaxbert prepare` again.",
            code="E-ROWS-TOKENIZER",
        )
    check_pairs(policy, tokenizer)
    arguments = {"records_hash": manifest["hash"], **_arguments(policy, length, seed, short_rows, copies)}
    directory = open_directory(out, "rows", arguments, overwrite=overwrite)
    jobs = []
    for split, entries in manifest["splits"].items():
        passes = copies if split == "train" else 1
        for copy in range(passes):
            for shard in range(len(entries)):
                number = copy * len(entries) + shard
                jobs.append(
                    _Job(
                        records=records,
                        split=split,
                        shard=shard,
                        copy=copy,
                        directory=directory,
                        file=f"rows-{split}.array_record-{number:05d}-of-{passes * len(entries):05d}",
                        policy=policy,
                        length=length,
                        short_rows=short_rows,
                        seed=seed,
                        vocab_size=tokenizer.vocab_size,
                        cls_id=tokenizer.cls_id,
                        sep_id=tokenizer.sep_id,
                        pad_id=tokenizer.pad_id,
                    )
                )
    if directory.done:
        made = shards.read_manifest(out, "rows")
        if overwrite:
            _repair(made, jobs, workers)
            if not directory.tokenizer_is_whole(tokenizer):
                tokenizer.save(out / "tokenizer")
        directory.check_whole(tokenizer)
        return _summary(made)
    splits: dict[str, list[shards.ShardInfo]] = {split: [] for split in manifest["splits"]}
    try:
        if runner is None:
            results = parallel(_make_shard, jobs, workers, label="rows", total=len(jobs))
        else:
            results = runner.run(_make_shard, jobs, "rows")
        for split, info in results:
            splits[split].append(info)
        tokenizer.save(out / "tokenizer")
    except InputError:
        directory.discard()
        raise
    fields = {
        "policy": policy,
        "length": length,
        "vocab_size": tokenizer.vocab_size,
        "pad_id": tokenizer.pad_id,
        "tokenizer_hash": tokenizer.hash,
        "origins": known.segments(length),
        "counts": {split: sum(info.count for info in infos) for split, infos in splits.items()},
        "statistics": {
            split: _summed([info.statistics for info in infos], length, known.arrangement)
            for split, infos in splits.items()
        },
    }
    entries = {split: [info.to_json() for info in infos] for split, infos in splits.items()}
    everything = {"kind": "rows", "arguments": directory.arguments, "splits": entries, **fields}
    fields["hash"] = shards.canonical_hash(everything)
    # The card of a model and the judgement of a corpus show it. The hash leaves it out, because it does not change the
    # rows.
    fields["provenance"] = {
        "source": manifest["arguments"]["source"]["spec"],
        "licence": manifest.get("licence", ""),
        "records": {
            "language": manifest.get("language", ""),
            "splits": {
                split: {key: value for key, value in counts.items() if isinstance(value, int)}
                for split, counts in manifest["summary"]["splits"].items()
            },
            "corpus": manifest["summary"].get("corpus", {}),
        },
    }
    return _summary(directory.commit(splits, fields))


def _arguments(policy: str, length: int, seed: int, short_rows: float, copies: int) -> dict[str, Any]:
    # Policies that ignore `short_rows` give the same rows for any value.
    short = float(short_rows) if POLICIES[policy].pairs else 0.0
    return {"policy": policy, "length": length, "seed": seed, "short_rows": short, "copies": copies}


def check_rows_place(
    records: Path, out: Path, *, policy: str, length: int, seed: int, short_rows: float, copies: int, overwrite: bool
) -> None:
    """Checks, before the records are made, that `build_rows` with the same arguments will take the place `out`.

    Raises:
      InputError: `out` is the place of the records, cannot be written, or holds something else.
    """
    if out.absolute() == records.absolute():
        raise InputError(
            "the rows and the records have the same directory",
            where=str(out),
            fix="Give another --rows.",
            code="E-SHARD-PLACE",
        )
    check_place(out, "rows", _arguments(policy, length, seed, short_rows, copies), overwrite=overwrite)


def _summary(manifest: dict[str, Any]) -> RowsSummary:
    return RowsSummary(
        policy=manifest["policy"],
        length=manifest["length"],
        rows=manifest["counts"],
        hash=manifest["hash"],
        statistics=manifest["statistics"],
    )


def _make_shard(job: _Job) -> tuple[str, shards.ShardInfo]:
    """Makes one shard of rows, in a worker, unless an earlier call finished it."""
    return job.made() or (job.split, job.directory.finish(_write(job)))


def _write(job: _Job) -> shards.ShardInfo:
    shard, segments = _cut(job)
    info = shards.write_shard(job.directory.path / job.file, _encode(job, shard, segments))
    return replace(info, statistics=_count(shard, segments, POLICIES[job.policy].arrangement))


def _repair(made: dict[str, Any], jobs: list[_Job], workers: int) -> None:
    """Makes the damaged shards of finished rows again: the same arguments give the same bytes."""
    infos = {entry["file"]: shards.ShardInfo.from_json(entry) for part in made["splits"].values() for entry in part}
    damaged = []
    for job in jobs:
        try:
            shards.verify_shard(job.directory.path, infos[job.file])
        except Stopped:
            damaged.append(job)
    for info in parallel(_write, damaged, workers, label="damaged rows" if damaged else "", total=len(damaged)):
        if info.sha256 != infos[info.file].sha256:
            raise Stopped(
                "the shard that was made again differs from the manifest",
                where=str(jobs[0].directory.path / info.file),
                fix="Remove the directory and make the rows again.",
                code="E-SHARD-DAMAGED",
            )


def _load_shard(job: _Job) -> TokenShard:
    """Returns all documents of a shard of records, end to end, without empty documents and empty sentences."""
    tokens: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    names: list[int] = []
    for record in read_records(job.records, job.split, job.shard):
        sentence_lengths = record.sentence_lengths[record.sentence_lengths > 0].astype(np.int64)
        if len(sentence_lengths):
            tokens.append(record.tokens)
            lengths.append(sentence_lengths)
            names.append(record.document)
    counts = np.array([len(part) for part in lengths], np.int64)
    dtype = "<u4" if job.vocab_size > 65536 else "<u2"
    return TokenShard(
        tokens=np.concatenate(tokens).astype(dtype, copy=False) if tokens else np.zeros(0, dtype),
        sentences=_ends(np.concatenate(lengths) if lengths else np.zeros(0, np.int64)),
        documents=_ends(counts),
        names=np.array(names, np.int64),
    )


def _ends(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def assemble(
    shard: TokenShard,
    segments: Segments,
    *,
    length: int,
    vocab_size: int,
    cls_id: int,
    sep_id: int,
    pad_id: int,
    arrangement: Arrangement = "pair",
) -> np.ndarray:
    """Returns the segments as rows [n] of `row_dtype`, arranged as `arrangement` says and padded.

    In a pair, the k-th segment and its [SEP] have type k, and [CLS] has type 0 (google-research/bert
    create_pretraining_data.py). All other types are 0.
    """
    count, width = segments.starts.shape
    rows = np.zeros(count, row_dtype(length, vocab_size, width))
    flat = np.full(count * length, pad_id, rows["tokens"].dtype)
    types = np.zeros(count * length, np.uint8)
    begins = np.zeros(count * length, np.uint8)
    row_starts = np.arange(count, dtype=np.int64) * length
    ahead = row_starts.copy()
    for k in range(width):
        sizes = segments.lengths[:, k]
        total = int(sizes.sum())
        if not total:
            break
        present = sizes > 0
        if k == 0 or arrangement == "isolated":
            flat[ahead[present]] = cls_id
            begins[ahead[present]] = 1
            ahead += present
        before = np.cumsum(sizes) - sizes
        steps = np.arange(total, dtype=np.int64)
        place = np.repeat(ahead - before, sizes) + steps
        flat[place] = shard.tokens[np.repeat(segments.starts[:, k] - before, sizes) + steps]
        separators = (ahead + sizes)[present]
        flat[separators] = sep_id
        if arrangement == "pair":
            types[place] = k
            types[separators] = k
        ahead += sizes + present
    used = np.arange(length) < (ahead - row_starts)[:, None]
    rows["tokens"] = flat.reshape(count, length)
    rows["types"] = types.reshape(count, length)
    # An attention group reaches from one [CLS] to the next.
    groups = (
        np.cumsum(begins.reshape(count, length), axis=1, dtype=np.uint8) if arrangement == "isolated" else np.uint8(1)
    )
    rows["group"] = used * groups
    rows["label"] = segments.labels
    document_starts = shard.sentences[shard.documents[:-1]]
    origins = rows["origins"]
    filled = segments.lengths > 0
    origins["document"] = np.where(filled, shard.names[segments.documents], 0)
    origins["offset"] = np.where(filled, segments.starts - document_starts[segments.documents], 0)
    origins["length"] = segments.lengths
    return rows


def _cut(job: _Job) -> tuple[TokenShard, Segments]:
    """Returns the rows of a job as spans, in their stored order: shuffled, so that any stretch of rows is a sample."""
    shard = _load_shard(job)
    key = (job.seed, job.split, job.shard, job.copy)
    segments = POLICIES[job.policy].cut(shard, job.length, job.short_rows, Draws(job.policy, *key))
    order = permutation(len(segments.labels), "rows", job.policy, *key)
    return shard, _select(segments, order)


def _select(segments: Segments, chosen: np.ndarray | slice) -> Segments:
    return replace(
        segments,
        starts=segments.starts[chosen],
        lengths=segments.lengths[chosen],
        documents=segments.documents[chosen],
        labels=segments.labels[chosen],
    )


def _encode(job: _Job, shard: TokenShard, segments: Segments) -> Iterator[bytes]:
    """Yields rows as bytes, and assembles them a block at a time."""
    for start in range(0, len(segments.labels), _BLOCK):
        rows = assemble(
            shard,
            _select(segments, slice(start, start + _BLOCK)),
            length=job.length,
            vocab_size=job.vocab_size,
            cls_id=job.cls_id,
            sep_id=job.sep_id,
            pad_id=job.pad_id,
            arrangement=POLICIES[job.policy].arrangement,
        )
        block, size = rows.tobytes(), rows.dtype.itemsize
        yield from (block[at : at + size] for at in range(0, len(block), size))


def _count(shard: TokenShard, segments: Segments, arrangement: Arrangement) -> dict[str, int]:
    """Returns the counts that one pass over one shard adds to the statistics."""
    present = int((segments.lengths > 0).sum())
    counts = {
        "documents": len(shard.names),
        "sentences": len(shard.sentences) - 1,
        "tokens": len(shard.tokens),
        "rows": len(segments.labels),
        "next": int((segments.labels == 0).sum()),
        "random": int((segments.labels == 1).sum()),
        "unpaired": int((segments.labels == -1).sum()),
        "positions": int(segments.lengths.sum())
        + present
        + (present if arrangement == "isolated" else len(segments.labels)),
        "truncated": segments.truncated,
        "oversized": segments.oversized,
    }
    return counts if arrangement == "pair" else counts | {"segments": present, "cut": segments.cut}


def _summed(counts: list[dict[str, int]], length: int, arrangement: Arrangement) -> dict[str, float]:
    names = _COUNTS if arrangement == "pair" else _COUNTS + _MORE_COUNTS
    total: dict[str, float] = {name: sum(count[name] for count in counts) for name in names}
    total["filled"] = total["positions"] / max(1, total["rows"] * length)
    total["random_rate"] = total["random"] / max(1, total["next"] + total["random"])
    total["truncated_rate"] = total["truncated"] / max(1, total["tokens"])
    return total


def check_pairs(policy: str, tokenizer: Tokenizer) -> None:
    """Raises InputError if the policy makes pairs, but the tokenizer arranges pairs as <s> A </s></s> B </s>."""
    if POLICIES[policy].pairs and (tokenizer.pair_separators, tokenizer.pair_types) != (1, True):
        raise InputError(
            f"policy {policy} makes rows [CLS] A [SEP] B [SEP] with token types, but a {tokenizer.kind} tokenizer "
            "arranges pairs differently",
            where="rows",
            fix=f"Take a policy of single texts ({', '.join(_unpaired())}), or another kind of tokenizer.",
            code="E-ROWS-PAIRS",
        )


def _unpaired() -> list[str]:
    return [name for name, policy in POLICIES.items() if not policy.pairs]


def check_arguments(policy: str, length: int, copies: int, short_rows: float, seed: int) -> None:
    """Checks arguments of `build_rows`, before records are made.

    Args:
      policy, length, copies, short_rows, seed: as in `build_rows`.

    Raises:
      InputError: the policy is unknown, a number is out of range, or all of several copies would be equal.
    """
    if policy not in POLICIES:
        raise InputError(
            f"no rows policy {policy!r}",
            where="rows",
            fix=f"{did_you_mean(policy, list(POLICIES))}Known: {', '.join(POLICIES)}.",
            code="E-CONFIG-NAME",
        )
    known = POLICIES[policy]
    if not known.shortest <= length <= _MAX_LENGTH:
        raise InputError(
            f"length is {length}",
            where="rows",
            fix=f"Take one from {known.shortest} to {_MAX_LENGTH} ({policy}).",
            code="E-ROWS-ARGUMENT",
        )
    if not 0 <= short_rows <= 1:
        raise InputError(
            f"the probability of short rows is {short_rows}",
            where="rows",
            fix="Take one from 0 to 1.",
            code="E-ROWS-ARGUMENT",
        )
    if not 1 <= copies <= _MOST_COPIES:
        raise InputError(
            f"copies is {copies}", where="rows", fix=f"Take 1 to {_MOST_COPIES:,}.", code="E-ROWS-ARGUMENT"
        )
    if abs(seed) >= 1 << 63:
        raise InputError(f"the seed is {seed}", where="rows", fix="Take a number of 64 bits.", code="E-ROWS-ARGUMENT")
    if copies > 1 and not known.drawn:
        raise InputError(
            f"policy {policy} makes no random choices, so that all {copies} copies would be equal",
            where="rows",
            fix="Take 1: training draws masks anew in every epoch.",
            code="E-ROWS-COPIES",
        )
