"""Makes token records from documents: it splits sentences, tokenises, and writes ArrayRecord shards. Imports no jax.

TFDS opens the shards without TensorFlow. This process reads the documents and cuts them into shards; workers split
sentences, tokenise and write. The content of a shard depends only on the source and the arguments, so the bytes are the
same for any number of workers. A killed run continues: the reader reads again, and finished shards stay. A worker holds
the text of one shard in memory, and the reader one more per worker.

A record is one document: `tokens` (without special tokens), `sentence_lengths` (their sum is the number of tokens),
`document` (its running number in the split; record number i of a split is document i), `name`.
"""

from __future__ import annotations

import functools
import importlib.metadata
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxbert.data import shards
from jaxbert.data.directory import ShardDirectory, open_directory
from jaxbert.data.figures import Pieces, corpus_figures, pack_pieces
from jaxbert.data.hygiene import Counts, Repeats, Summary
from jaxbert.data.jobs import Runner
from jaxbert.data.languages import Languages
from jaxbert.data.near import NO_BANDS, NearCopies, bands, pack
from jaxbert.data.shards import ShardInfo
from jaxbert.data.sources import Source
from jaxbert.data.sources.base import Document
from jaxbert.data.split import Split, hold_out_end, uneven
from jaxbert.data.workers import check_workers, parallel
from jaxbert.errors import InputError, Stopped, counted
from jaxbert.text.sentences import check_language, split_sentences
from jaxbert.text.tokenizers import Tokenizer

SPLITS = ("train", "validation")
SHARD_BYTES = 8 << 20
_FORMAT = 2
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}"
# The number of sentences tokenised in one call: the objects of the library take some hundred bytes a token.
_SENTENCES = 1024


@dataclass(frozen=True)
class Record:
    """One document as tokens.

    Attributes:
      tokens: uint16 or uint32 [T].
      sentence_lengths: uint32 [S]; their sum is T.
      document: the running number in its split.
      name: the place of the document in the source.
    """

    tokens: np.ndarray
    sentence_lengths: np.ndarray
    document: int
    name: str


@dataclass(frozen=True)
class _Job:
    """One shard to make. If `finished` is set, an earlier call made it, and `documents` is empty.

    Each document has its name, its text, and whether it is a whole document or the first part of one.
    """

    directory: ShardDirectory
    split: str
    shard: int
    first: int
    documents: list[tuple[str, str, bool]]
    finished: ShardInfo | None = None

    @property
    def file(self) -> str:
        return shard_name(self.split, self.shard)

    def made(self) -> tuple[str, ShardInfo] | None:
        return None if self.finished is None else (self.split, self.finished)

    def needs(self) -> Iterable[Path]:
        return sorted(path for path in (self.directory.path / "tokenizer").rglob("*") if path.is_file())

    def moved(self, place: Callable[[Path], Path]) -> _Job:
        return replace(self, directory=replace(self.directory, path=place(self.directory.path)))

    def without_content(self) -> _Job:
        return replace(self, documents=[])


def prepare_records(
    source: Source,
    tokenizer: Tokenizer,
    out: Path | str,
    *,
    workers: int,
    shard_bytes: int = SHARD_BYTES,
    language: str = "en",
    validation_fraction: float = 0.01,
    remove_duplicates: bool = True,
    remove_repeated_lines: bool = False,
    sentence_structure: bool = True,
    overwrite: bool = False,
    runner: Runner | None = None,
) -> Summary:
    """Makes a directory of records: shards, TFDS's metadata, manifest.json, and the tokenizer beside them.

    A repeated call continues an interrupted one. Of finished records it compares every byte with the manifest. The
    bytes do not depend on `workers`.

    Args:
      source: gives the documents.
      tokenizer: is saved as `out`/tokenizer.
      out: the directory to make.
      workers: the number of processes.
      shard_bytes: UTF-8 bytes of text in a shard. A shard has at least two documents if the source has them.
      language: ISO 639 code for the sentence splitter.
      validation_fraction: the share of documents held out, chosen by a hash of the normalised text, so that copies stay
        together; at least two documents if the source has four short ones (see `jaxbert.data.split`). Ignored for
        sources that have a validation split.
      remove_duplicates: whether to leave out documents that are equal to earlier ones but for white space, case and
        Unicode form.
      remove_repeated_lines: whether to leave out lines that occurred earlier in the corpus.
      sentence_structure: whether to report documents without sentences (for next sentence prediction).
      overwrite: whether to replace records made with other arguments, or with damaged shards.
      runner: the runner that makes the shards: Apache Beam, or None for `workers` local processes.

    Raises:
      InputError: an argument is out of range, `out` holds something else, or the source cannot be used. Then everything
        that this call began is removed, and the directory that it was to replace is restored.
      Stopped: the finished records are damaged, and `overwrite` is off.
      Interrupted: the disk is full, a worker died, or the source cannot be read now; the same call continues.
    """
    out = Path(out)
    _check_arguments(workers, shard_bytes, language, validation_fraction)
    arguments = {
        "format": _FORMAT,
        "source": source.describe(),
        "source_hash": source.hash,
        "tokenizer_hash": tokenizer.hash,
        "shard_bytes": shard_bytes,
        "language": language,
        "sentence_splitter": f"sentencex {importlib.metadata.version('sentencex')}",
        "validation_fraction": validation_fraction,
        "remove_duplicates": remove_duplicates,
        "remove_repeated_lines": remove_repeated_lines,
        "sentence_structure": sentence_structure,
    }
    directory = open_directory(out, "records", arguments, overwrite=overwrite)
    if directory.done and overwrite and (directory.damaged() or not directory.tokenizer_is_whole(tokenizer)):
        directory = directory.begin()
    if directory.done:
        directory.check_whole(tokenizer)
        return Summary.from_json(shards.read_manifest(out, "records")["summary"])
    repeats = Repeats(remove_documents=remove_duplicates, remove_lines=remove_repeated_lines)
    read = _Read()
    jobs = _jobs(
        directory,
        source.documents(),
        repeats,
        shard_bytes,
        validation_fraction=validation_fraction,
        language=language,
        read=read,
    )
    infos: dict[str, list[ShardInfo]] = {split: [] for split in SPLITS}
    totals = {split: Counts() for split in SPLITS}
    near, pieces = NearCopies(), Pieces(tokenizer.vocab_size)
    function = functools.partial(_write, language=language, sentence_structure=sentence_structure)

    def describe(result: tuple[str, ShardInfo]) -> str:
        tokens = sum(counts.tokens for counts in totals.values()) + result[1].statistics["tokens"]
        return f"{tokens / 1e6:.1f}M tokens"

    try:
        tokenizer.save(out / "tokenizer")
        if runner is None:
            results = parallel(function, jobs, workers, label="prepare", describe=describe)
        else:
            results = runner.run(function, jobs, "prepare")
        for split, info in results:
            statistics = dict(info.statistics)
            near.add(split, **statistics.pop("near"))
            counted_pieces = statistics.pop("pieces", None)
            if split == "train":
                pieces.add(counted_pieces)
            totals[split].merge(Counts(**statistics))
            infos[split].append(replace(info, statistics={}))
        if not totals["train"].tokens:
            raise InputError(
                "the source has no text" + (" for training" if totals["validation"].tokens else ""),
                where=source.spec,
                fix="Give one that has text.",
                code="E-SOURCE-EMPTY",
            )
    except InputError:
        directory.discard()
        raise
    findings = source.findings() + repeats.findings() + near.findings()
    everything = Counts()
    for counts in totals.values():
        everything.merge(counts)
    findings += everything.findings(language, source.unwrap)
    findings += read.findings
    if not totals["validation"].documents:
        why = "there are too few documents to hold any out" if validation_fraction else "as asked for"
        findings.append(f"no validation split: {why}")
    corpus = corpus_figures(
        documents=repeats.whole,
        pieces=pieces.figures(tokenizer),
        languages=read.languages.shares(),
        near=near.held_in_train(),
        repeated=repeats.held_in_train,
        blocks=read.blocks,
    )
    summary = Summary(totals, findings, corpus)
    fields: dict[str, Any] = {
        "source_hash": source.hash,
        "tokenizer_hash": tokenizer.hash,
        "vocab_size": tokenizer.vocab_size,
        "language": language,
        "licence": source.licence,
        "counts": {split: counts.documents for split, counts in totals.items()},
        "summary": summary.to_json(),
        "hash": shards.records_hash(
            tokenizer.hash, {split: [info.sha256 for info in parts] for split, parts in infos.items()}
        ),
    }
    _write_tfds_metadata(out, tokenizer.vocab_size, infos)
    directory.commit(infos, fields)
    return summary


def _check_arguments(workers: int, shard_bytes: int, language: str, validation_fraction: float) -> None:
    check_language(language)
    check_workers(workers)
    if shard_bytes < 1:
        raise InputError(
            f"the size of a shard is {shard_bytes} bytes",
            where="shard_bytes",
            fix="Take 1 or more.",
            code="E-RECORDS-ARGUMENT",
        )
    if not 0 <= validation_fraction < 1:
        raise InputError(
            f"the validation fraction is {validation_fraction}",
            where="--validation-fraction",
            fix="Take a number from 0 up to, but not including, 1.",
            code="E-RECORDS-ARGUMENT",
        )


# ----------------------------------------------------------------------------------------------------------------------
# The reader


class _Cutter:
    """Collects the documents of one split and cuts them into shards.

    A full shard waits until two more documents have come. If only one comes, it joins the shard, so that no shard has a
    single document.
    """

    def __init__(self, directory: ShardDirectory, split: str, shard_bytes: int):
        self.directory, self.split, self.shard_bytes = directory, split, shard_bytes
        self.documents: list[Document] = []
        self.bytes = self.shard = self.first = 0
        self.full: int | None = None  # The number of documents in the next shard.

    def add(self, document: Document) -> None:
        self.documents.append(document)
        self.bytes += len(document.text.encode())
        if self.full is None and self.bytes >= self.shard_bytes and len(self.documents) >= 2:
            self.full = len(self.documents)

    def ready(self) -> bool:
        return self.full is not None and len(self.documents) >= self.full + 2

    def cut(self, count: int | None) -> _Job:
        """Returns the job for the first `count` documents, or for all."""
        ours, rest = (self.documents, []) if count is None else (self.documents[:count], self.documents[count:])
        finished = self.directory.finished(shard_name(self.split, self.shard))
        documents = [] if finished else [(document.name, document.text, document.part <= 1) for document in ours]
        job = _Job(self.directory, self.split, self.shard, self.first, documents, finished)
        self.shard += 1
        self.first += len(ours)
        self.documents, self.bytes, self.full = [], 0, None
        for document in rest:
            self.add(document)
        return job


def shard_name(split: str, shard: int) -> str:
    """Returns the file name of a shard of records."""
    return f"records-{split}.array_record-{shard:05d}"


@dataclass
class _Read:
    """The findings of the reader, complete when all jobs have been taken.

    Attributes:
      findings: lines about a split that is not as asked for.
      languages: samples of the text.
      blocks: the number of blocks of one document that are held out.
    """

    findings: list[str] = field(default_factory=list)
    languages: Languages = field(default_factory=Languages)
    blocks: int = 0


def _jobs(
    directory: ShardDirectory,
    documents: Iterator[Document],
    repeats: Repeats,
    shard_bytes: int,
    *,
    validation_fraction: float,
    language: str,
    read: _Read,
) -> Iterator[_Job]:
    """Yields the shards to make, and notes in `read` what it finds out."""
    cutters = {split: _Cutter(directory, split, shard_bytes) for split in SPLITS}
    train, validation = cutters["train"], cutters["validation"]
    choose, chars, held_out = False, 0, 0

    def given() -> Iterator[Document]:
        nonlocal choose
        for document in documents:
            choose = choose or (document.split is None and validation_fraction > 0)
            yield document

    # Draw before lines are removed: the split goes by the text that the source gives.
    split = Split(validation_fraction)
    for document in repeats.filter(split.drawn(given())):
        read.languages.add(document.text)
        chars += len(document.text)
        held_out += len(document.text) * (document.split == "validation")
        cutter = cutters[document.split or "train"]
        cutter.add(document)
        if cutter.ready():
            yield cutter.cut(cutter.full)
    if split.blocks:
        read.blocks = split.blocks
        read.findings.append(split.said())
    elif choose and validation.first == 0 and (train.documents or validation.documents):
        held = hold_out_end(
            train.documents,
            train.first,
            validation.documents,
            chars=chars,
            fraction=validation_fraction,
            language=language,
        )
        read.findings += [held] if held else []
    elif choose and (held := uneven(held_out, chars, validation_fraction)):
        read.findings.append(held)
    for cutter in cutters.values():
        if cutter.documents:
            yield cutter.cut(None)


# ----------------------------------------------------------------------------------------------------------------------
# The workers


def _tokenizer(directory: Path) -> Tokenizer:
    """Returns the tokenizer of a directory, which is kept. Another one may be there later, under the same path."""
    found = directory.stat()
    return _kept(directory.absolute(), found.st_ino, found.st_mtime_ns)


@functools.lru_cache(maxsize=1)
def _kept(directory: Path, number: int, changed: int) -> Tokenizer:
    del number, changed
    return Tokenizer.load(directory)


def _write(job: _Job, *, language: str, sentence_structure: bool) -> tuple[str, ShardInfo]:
    """Makes one shard and returns (split, its info with the statistics of its documents)."""
    made = job.made()
    if made is not None:
        return made
    tokenizer = _tokenizer(job.directory.path / "tokenizer")
    counts = Counts()
    near: list[tuple[str, np.ndarray]] = []
    pieces = np.zeros(tokenizer.vocab_size, np.int64)

    def records() -> Iterator[bytes]:
        for number, (name, text, first) in enumerate(job.documents, job.first):
            tokens, lengths = tokenise(text, tokenizer, language)
            pieces[:] += np.bincount(tokens, minlength=len(pieces))
            unknown = int((tokens == tokenizer.unk_id).sum())
            counts.add(
                name,
                text,
                sentences=len(lengths),
                tokens=len(tokens),
                unknown=unknown,
                unknown_chars=tokenizer.unknown_chars(text) if unknown else 0,
                language=language,
                sentence_structure=sentence_structure,
            )
            # A long document counts once, by its beginning, however many parts it has.
            near.append((name, bands(text) if first else NO_BANDS))
            yield serialize(Record(tokens, lengths, number, name), tokenizer.vocab_size)

    info = shards.write_shard(job.directory.path / job.file, records())
    statistics = {**asdict(counts), "near": pack(near), "pieces": pack_pieces(pieces)}
    return job.split, job.directory.finish(replace(info, statistics=statistics))


def tokenise(text: str, tokenizer: Tokenizer, language: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns (tokens [T] of `token_dtype`, sentence lengths uint32 [S]) of a text, without empty sentences.

    The tokens are those of the running text with one space between sentences.
    """
    sentences = split_sentences(text, language)
    if tokenizer.joint:
        sentences[1:] = [tokenizer.joint + sentence for sentence in sentences[1:]]
    parts: list[np.ndarray] = []
    lengths: list[int] = []
    dtype = token_dtype(tokenizer.vocab_size)
    for start in range(0, len(sentences), _SENTENCES):
        ids = tokenizer.encode_batch(sentences[start : start + _SENTENCES])
        lengths.extend(len(sentence) for sentence in ids if sentence)
        parts.append(np.fromiter(itertools.chain.from_iterable(ids), dtype))
    return np.concatenate(parts) if parts else np.zeros(0, dtype), np.array(lengths, np.uint32)


# ----------------------------------------------------------------------------------------------------------------------
# The format


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Returns uint16, or uint32 for vocabularies of more than 65,536 pieces."""
    return np.dtype(np.uint32 if vocab_size > 65536 else np.uint16)


@functools.lru_cache(maxsize=4)
def features(vocab_size: int) -> Any:
    """Returns the record format as TFDS features."""
    import tensorflow_datasets as tfds

    return tfds.features.FeaturesDict(
        {
            "tokens": tfds.features.Tensor(shape=(None,), dtype=token_dtype(vocab_size), encoding="bytes"),
            "sentence_lengths": tfds.features.Tensor(shape=(None,), dtype=np.uint32, encoding="bytes"),
            "document": tfds.features.Scalar(np.int64),
            "name": tfds.features.Text(),
        }
    )


def serialize(record: Record, vocab_size: int) -> bytes:
    """Returns a record in the bytes that TFDS reads."""
    from tensorflow_datasets.proto import tf_example_pb2

    serialized = features(vocab_size).serialize_example(asdict(record))
    # The features are a protobuf map, whose order differs between processes unless it is asked to be fixed.
    example = tf_example_pb2.Example.FromString(serialized)
    return bytes(example.SerializeToString(deterministic=True))


def _write_tfds_metadata(out: Path, vocab_size: int, infos: dict[str, list[ShardInfo]]) -> None:
    import tensorflow_datasets as tfds
    from etils import epath

    splits = []
    for split, parts in infos.items():
        if not parts:
            continue
        template = tfds.core.ShardedFileTemplate(
            data_dir=epath.Path(out),
            dataset_name="records",
            split=split,
            filetype_suffix="array_record",
            template=_TEMPLATE,
        )
        splits.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[info.count for info in parts],
                num_bytes=sum(info.bytes for info in parts),
                filename_template=template,
            )
        )
    try:
        # check_data=True would need TensorFlow.
        tfds.folder_dataset.write_metadata(
            data_dir=str(out),
            features=features(vocab_size),
            split_infos=splits,
            filename_template=_TEMPLATE,
            check_data=False,
        )
    except OSError as error:
        raise shards.disk_error(error, out) from error


def read_records(directory: Path | str, split: str, shard: int) -> Iterator[Record]:
    """Yields the documents of one shard, in order.

    Args:
      directory: a directory of records.
      split: "train" or "validation".
      shard: a number from 0 to the number of shards - 1.

    Raises:
      InputError: there is no such directory, split or shard.
      Stopped: the shard is damaged. The message names it.
    """
    from array_record.python.array_record_module import ArrayRecordReader

    directory = Path(directory)
    manifest = shards.read_manifest(directory, "records")
    entries = manifest["splits"].get(split, [])
    if not 0 <= shard < len(entries):
        raise InputError(
            f"there is no shard {shard} of split {split!r}",
            where=str(directory),
            fix=f"The split has {counted(len(entries), 'shard')}, counted from 0.",
            code="E-RECORDS-SHARD",
        )
    info = ShardInfo.from_json(entries[shard])
    shards.verify_shard(directory, info)
    decode = features(manifest["vocab_size"]).deserialize_example_np
    path = directory / info.file
    reader = ArrayRecordReader(str(path))
    if reader.num_records() != info.count:
        raise Stopped(
            f"damaged shard: it has {counted(reader.num_records(), 'record')}, but the manifest says {info.count}",
            where=str(path),
            fix="Make the records again with --overwrite.",
            code="E-SHARD-DAMAGED",
        )
    for _ in range(info.count):
        value = decode(reader.read())
        yield Record(value["tokens"], value["sentence_lengths"], int(value["document"]), value["name"].decode())
