"""From rows on disk to batches: random access by index, no iterator and no state. Imports no jax.

Row r of global batch b is a pure function of (rows, seed, b, r). Its bytes do not depend on the slices in which it is
read, or on the number of processes. A process of a multi-host run reads the slices that its devices hold
(`jax.make_array_from_callback`), and a resumed run reads the next batch.

The order has two levels, so that a host reads from `window` shards at a time. Each epoch permutes the shards.
Consecutive shards of that permutation form windows, and the rows of a window are permuted together.

Rows are read from array_record directly: one call per shard for all rows asked of it. Grain's `__getitems__` does the
same behind a new thread pool per call, at two thirds of the speed, and its errors do not name the shard.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from math import lcm
from pathlib import Path
from typing import Any

import numpy as np

from jaxbert.core.shell import path_word
from jaxbert.data import shards
from jaxbert.data.draws import permutation
from jaxbert.data.lengths import Block, cropped, length_for, measured
from jaxbert.data.row_format import row_dtype
from jaxbert.errors import CommandError, InputError, Stopped
from jaxbert.inputs.files import disk_failed, disk_fails

# Shards kept open at once: more than a window of the default order, less than any limit on open files.
_OPEN_SHARDS = 128
_KEPT_WINDOWS = 3
# Weights of a mixture are whole numbers of parts; finer ones are rounded to this many in all.
_PARTS = 1_000_000


class Rows:
    """One split of a directory of rows. Safe to read from several threads.

    It has `len` and integer indexing, so that the data loaders of other libraries can read it.

    Attributes:
      directory, split: the directory and the split that were opened.
      manifest: content of manifest.json, which `jaxbert rows` wrote.
      hash: hash of the whole directory's content, from the manifest.
      dtype: dtype of one row (`jaxbert.data.row_format.row_dtype`).
      sizes: int64 [shards], rows in each shard.
      length: L.
      pad_id: the token that fills up rows.
    """

    def __init__(self, directory: Path | str, split: str, *, verify: bool = False):
        """Opens the rows. Compares the sizes of shards with the manifest, and their sha256 too if `verify`.

        Raises:
          InputError: the directory has no rows, or no such split.
          Stopped: a shard is missing or damaged; the message names it.
        """
        self.directory, self.split = Path(directory), split
        self.manifest: dict[str, Any] = shards.read_manifest(self.directory, "rows")
        if split not in self.manifest["splits"]:
            raise InputError(
                f"the rows have no split {split!r}",
                where=str(directory),
                fix=f"It has: {', '.join(self.manifest['splits'])}.",
                code="E-ROWS-SPLIT",
            )
        self.hash: str = self.manifest["hash"]
        self.length: int = self.manifest["length"]
        self.pad_id: int = self.manifest["pad_id"]
        self.dtype = self.dtype_of(self.length)
        self._infos = [shards.ShardInfo.from_json(entry) for entry in self.manifest["splits"][split]]
        self.sizes = np.array([info.count for info in self._infos], np.int64)
        self._ends = np.cumsum(self.sizes)
        self._readers: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._measured: np.ndarray | None = None
        for info in self._infos:
            shards.verify_shard(self.directory, info, full=verify)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> np.void:
        """Returns row `index` as one structured value."""
        return self.read([index])[0]

    def dtype_of(self, length: int) -> np.dtype[Any]:
        """Returns the format of rows that are like these, but have another length."""
        return row_dtype(
            length,
            self.manifest["vocab_size"],
            self.manifest["origins"],
            texts=self.manifest.get("texts", 1),
            answers=self.manifest.get("answers", ()),
        )

    @property
    def lengths(self) -> np.ndarray:
        """Returns the tokens of each row without padding, int32 [n]. The first call reads all rows."""
        if self._measured is None:
            self._measured = measured(self)
        return self._measured

    def require(
        self,
        *,
        length: int | None = None,
        vocab_size: int | None = None,
        tokenizer_hash: str | None = None,
        policy: str | None = None,
        fix: str = "",
    ) -> None:
        """Raises InputError where the rows have another length, vocabulary, tokenizer or policy than a run needs.

        Args:
          length, vocab_size, tokenizer_hash, policy: what is needed; None takes any.
          fix: what the user can type where length or vocabulary differ, if the caller knows it.
        """
        has = self.manifest
        if length is not None and has["length"] != length:
            raise InputError(
                f"the rows have length {has['length']}, but {length} is needed",
                where=str(self.directory),
                fix=fix or f"Name other rows, or make them{self._making(length)}",
                code="E-ROWS-LENGTH",
            )
        if vocab_size is not None and has["vocab_size"] != vocab_size:
            raise InputError(
                f"the rows have the vocabulary {has['vocab_size']}, but {vocab_size} is needed",
                where=str(self.directory),
                fix=fix or f"Name other rows, or add --set encoder.vocab_size={has['vocab_size']}.",
                code="E-ROWS-VOCABULARY",
            )
        if tokenizer_hash is not None and has["tokenizer_hash"] != tokenizer_hash:
            raise InputError(
                f"the rows have the tokenizer {_brief(has['tokenizer_hash'])}, but {_brief(tokenizer_hash)} is needed",
                where=str(self.directory),
                fix="Name other rows, or make them: `jaxbert prepare` and then `jaxbert rows`.",
                code="E-ROWS-TOKENIZER",
            )
        if policy is not None and has["policy"] != policy:
            raise InputError(
                f"the rows have the policy {has['policy']}, but {policy} is needed",
                where=str(self.directory),
                fix="Name other rows, or make them: `jaxbert rows --policy`.",
                code="E-ROWS-POLICY",
            )

    def _making(self, length: int) -> str:
        """Returns the end of an advice: how to make such rows with another length, with the command where it can."""
        wanted = self.manifest["arguments"].get("records_hash")
        place = self.directory.absolute().parent
        for path in map(place.joinpath, sorted(os.listdir(place)) if wanted and os.access(place, os.R_OK) else ()):
            if _are_records(path, wanted):
                short = Path(os.path.relpath(path)) if not self.directory.is_absolute() else path
                out = path_word(f"{self.directory}-{length}")
                return f": jaxbert rows {path_word(short)} --out {out} --length {length}{self._options()}."
        return f" of the same records, with `jaxbert rows --length {length}`."

    def _options(self) -> str:
        """Returns the options of `jaxbert rows` with which these rows were made, but for their length."""
        made = self.manifest["arguments"]
        names = {"policy": "--policy", "short_rows": "--short-rows", "copies": "--copies", "seed": "--seed"}
        return "".join(f" {option} {made[name]}" for name, option in names.items() if made.get(name))

    def read(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """Returns rows `indices` (any order, repeats allowed) as a structured array [n] of `dtype`.

        Raises:
          IndexError: an index is outside [0, len).
          Stopped: a shard is damaged; the message names it.
          Interrupted: the disk cannot be read.
        """
        wanted = np.asarray(indices, np.int64)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"row {wanted.min()} or {wanted.max()} of {len(self)}")
        shard_of = np.searchsorted(self._ends, wanted, side="right")
        within = wanted - (self._ends - self.sizes)[shard_of]
        records: list[bytes] = [b""] * len(wanted)
        by_shard = np.argsort(shard_of, kind="stable")
        for group in np.split(by_shard, np.flatnonzero(np.diff(shard_of[by_shard])) + 1):
            if group.size:
                for place, record in zip(group.tolist(), self._fetch(shard_of[group[0]], within[group]), strict=True):
                    records[place] = record
        return np.frombuffer(b"".join(records), self.dtype)

    def _fetch(self, shard: int, positions: np.ndarray) -> list[bytes]:
        shard = int(shard)
        try:
            records: list[bytes] = self._reader(shard).read(positions.tolist())
        except (RuntimeError, ValueError, IndexError, OSError) as error:
            # The reader reports damage, a failing disk and a wrong call in the same classes. The checksum tells damage.
            shards.verify_shard(self.directory, self._infos[shard])
            if isinstance(error, OSError) or disk_fails(error):
                raise disk_failed(error, self.directory / self._infos[shard].file) from error
            raise
        if len(records) != len(positions) or any(len(record) != self.dtype.itemsize for record in records):
            raise self._damaged(shard, "records of another size or number")
        return records

    def _reader(self, shard: int) -> Any:
        from array_record.python.array_record_module import ArrayRecordReader

        with self._lock:
            reader = self._readers.pop(shard, None)
            if reader is None:
                # Grain's reader has these options for random access: no read-ahead, small buffer.
                reader = ArrayRecordReader(
                    str(self.directory / self._infos[shard].file),
                    options="readahead_buffer_size:0",
                    file_reader_buffer_size=32768,
                )
                if reader.num_records() != self.sizes[shard]:
                    raise self._damaged(
                        shard, f"{reader.num_records()} rows, but the manifest says {self.sizes[shard]}"
                    )
            self._readers[shard] = reader
            # The reader is dropped and not closed, because another thread may be reading from it.
            while len(self._readers) > _OPEN_SHARDS:
                self._readers.popitem(last=False)
            return reader

    def _damaged(self, shard: int, detail: str) -> Stopped:
        return Stopped(
            f"a shard of rows is damaged: {' '.join(detail.split())[:200]}",
            where=str(self.directory / self._infos[shard].file),
            fix="Copy this shard again from a good copy, or make the rows again with `jaxbert rows --overwrite`.",
            code="E-SHARD-DAMAGED",
        )


# Tokens are counted in this many rows, so that the shares of even rare tokens are known to a few per cent.
_COUNTED_ROWS = 1 << 17


def _are_records(path: Path, wanted: str) -> bool:
    """Returns whether a path is a finished directory of records that has the hash `wanted`."""
    try:
        return path.is_dir() and bool(shards.read_manifest(path, "records").get("hash") == wanted)
    except (CommandError, OSError):
        return False


def count_tokens(sources: Sequence[Rows], vocab_size: int, *, limit: int = _COUNTED_ROWS) -> np.ndarray:
    """Returns how often each token occurs, int64 (V,), in all rows or in `limit` evenly spread ones.

    The result is a pure function of the rows.
    """
    counts = np.zeros(vocab_size, np.int64)
    for rows in sources:
        taken = min(len(rows), max(1, limit // len(sources)))
        chosen = np.arange(taken) * len(rows) // max(1, taken)
        for start in range(0, taken, 4096):
            read = rows.read(chosen[start : start + 4096])
            counts += np.bincount(read["tokens"][read["group"] > 0], minlength=vocab_size)
    return counts


class Order:
    """The endless order of rows: each epoch is another permutation of all rows.

    It is a pure function of (sizes, seed, window, position). Like a Grain MapDataset, `order[j]` is defined for every
    j >= 0, and `len` is the length of one epoch. It needs the memory of a window: 8 bytes per row.
    """

    def __init__(self, sizes: Sequence[int] | np.ndarray, *, seed: int | str, window: int):
        """Makes the order of rows in shards of these sizes.

        Args:
          sizes: rows in each shard.
          seed: any integer or string.
          window: shards whose rows are shuffled together, at least 1.
        """
        self._sizes = np.asarray(sizes, np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._rows = int(self._sizes.sum())
        self._seed, self._window = seed, window
        self._kept: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        if window < 1 or self._rows < 1:
            raise InputError(
                f"no order over {self._rows} rows with a window of {window} shards",
                where="rows",
                fix="Give rows that are not empty and a window of at least 1.",
                code="E-ROWS-ORDER",
            )

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, position: int) -> int:
        return int(self.take(np.array([position]))[0])

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Returns the row indices int64 [n] at `positions` int64 [n], each at least 0."""
        positions = np.asarray(positions, np.int64)
        if positions.size and positions.min() < 0:
            raise IndexError(f"position {positions.min()}")
        epochs, within = np.divmod(positions, self._rows)
        rows = np.empty_like(within)
        for epoch in np.unique(epochs).tolist():
            shard_order = permutation(len(self._sizes), "shards", self._seed, epoch)
            firsts = np.arange(0, len(shard_order), self._window)
            window_ends = np.cumsum(np.add.reduceat(self._sizes[shard_order], firsts))
            chosen = np.flatnonzero(epochs == epoch)
            windows = np.searchsorted(window_ends, within[chosen], side="right")
            for window in np.unique(windows).tolist():
                members = shard_order[window * self._window : (window + 1) * self._window]
                order = self._window_rows(epoch, window, members)
                inside = chosen[windows == window]
                rows[inside] = order[within[inside] - (window_ends[window] - len(order))]
        return rows

    def _window_rows(self, epoch: int, window: int, members: np.ndarray) -> np.ndarray:
        with self._lock:
            order = self._kept.pop((epoch, window), None)
            if order is None:
                parts = [np.arange(self._starts[shard], self._starts[shard] + self._sizes[shard]) for shard in members]
                rows = np.concatenate(parts)
                order = rows[permutation(len(rows), "window", self._seed, epoch, window)]
            self._kept[epoch, window] = order
            while len(self._kept) > _KEPT_WINDOWS:
                self._kept.popitem(last=False)
            return order


class Mixture:
    """Assigns each row of the stream to a source and to a row of that source. Pure, and evenly spread.

    Every source has exactly its share of each whole block of `sum(parts)` rows. In between it differs from its share
    by at most one row per source.
    """

    def __init__(self, weights: Sequence[float]):
        """Raises InputError for weights that are not positive, or under a millionth of the sum."""
        self.parts = _whole_parts(weights)
        self._totals = np.cumsum(self.parts).tolist()

    def assign(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns (source, position in that source's stream), both int64 [n], for stream positions int64 [n]."""
        positions = np.asarray(positions, np.int64)
        source = np.zeros_like(positions)
        within = positions.copy()
        open_ = np.ones(positions.shape, bool)
        # The last source takes its share evenly from the stream. The one before takes its share of the rest; and so on.
        for last in range(len(self.parts) - 1, 0, -1):
            others, both = self._totals[last - 1], self._totals[last]
            before = _share(within, others, both)
            taken = open_ & (_share(within + 1, others, both) == before)
            source[taken] = last
            within = np.where(taken, within - before, np.where(open_, before, within))
            open_ &= ~taken
        return source, within

    def counts(self, rows: int) -> list[int]:
        """Returns how many of the first `rows` rows of the stream come from each source."""
        counts = [0] * len(self.parts)
        for last in range(len(self.parts) - 1, 0, -1):
            before = int(_share(np.array(rows), self._totals[last - 1], self._totals[last]))
            counts[last], rows = rows - before, before
        counts[0] = rows
        return counts


def _share(count: np.ndarray, part: int, whole: int) -> np.ndarray:
    """Returns floor(count * part / whole), without overflow."""
    blocks, rest = np.divmod(count, whole)
    share: np.ndarray = blocks * part + rest * part // whole
    return share


def _whole_parts(weights: Sequence[float]) -> list[int]:
    if not weights or not all(0 < weight < float("inf") for weight in weights):
        raise InputError(
            f"the weights are {list(weights)}",
            where="rows",
            fix="Give every source a positive weight.",
            code="E-ROWS-WEIGHT",
        )
    exact = [Fraction(str(weight)) for weight in weights]
    scale = lcm(*(fraction.denominator for fraction in exact))
    parts = [int(fraction * scale) for fraction in exact]
    common = int(np.gcd.reduce(np.array(parts, object)))
    parts = [part // common for part in parts]
    total = sum(parts)
    if total > _PARTS:
        ends = [0]
        for part in parts:
            ends.append(ends[-1] + part)
        cuts = [end * _PARTS // total for end in ends]
        parts = [high - low for low, high in pairwise(cuts)]
    if min(parts) < 1:
        raise InputError(
            f"the weights are {list(weights)}",
            where="rows",
            fix="Give each source at least a millionth of the sum.",
            code="E-ROWS-WEIGHT",
        )
    return parts


class Batches:
    """The endless stream of training batches over one or several sources of rows."""

    def __init__(
        self,
        sources: Sequence[tuple[Rows, float]],
        *,
        batch_size: int,
        seed: int,
        window: int,
        collate: Collate | None = None,
        lengths: Sequence[int] = (),
        grouped: int = 1,
        steps: int = 0,
    ):
        """Makes the stream over `sources`.

        Args:
          sources: (rows, weight). Each gives its exact share of the stream and passes through its own epochs.
          batch_size: B, rows of a global batch.
          seed: seed of the order.
          window: number of shards that are shuffled together.
          collate: makes the fields of a batch of rows, `as_batch` by default.
          lengths: shorter lengths to which batches are cut; see `jaxbert.data.lengths`.
          grouped: batches of a block, whose rows are sorted by length; 1: none are sorted.
          steps: batches that will be read. The last block ends with them, so that no row is sorted out of the run; 0:
            the stream has no end.

        Raises:
          InputError: sources of different lengths or tokenizers, without rows, or with weights that are not positive.
        """
        self.sources = [rows for rows, _ in sources]
        self.batch_size = batch_size
        self._collate = collate or as_batch
        self._mixture = Mixture([weight for _, weight in sources])
        first = self.sources[0]
        for rows in self.sources:
            rows.require(length=first.length, tokenizer_hash=first.manifest["tokenizer_hash"])
            _not_empty(rows)
        self._orders = [
            Order(rows.sizes, seed=f"{seed}/{number}", window=window) for number, rows in enumerate(self.sources)
        ]
        self._lengths = (*(length for length in sorted(lengths) if length < first.length), first.length)
        self._seed, self._grouped, self._steps = seed, grouped, steps
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self._lock = threading.Lock()

    def length(self, step: int) -> int:
        """Returns the length of global batch `step`."""
        if len(self._lengths) == 1:
            return self._lengths[0]
        if self._grouped > 1:
            longest = self._block(step).longest(step % self._grouped)
        else:
            longest = int(self._row_lengths(*self.rows(step)).max())
        return length_for(longest, self._lengths)

    def _block(self, step: int) -> Block:
        number = step // self._grouped
        with self._lock:
            block = self._blocks.pop(number, None)
            if block is None:
                first = number * self._grouped
                last = first + self._grouped
                if self._steps > step:
                    last = min(last, self._steps)
                source, index = self._rows(np.arange(first * self.batch_size, last * self.batch_size))
                block = Block(self._row_lengths(source, index), self.batch_size, self._seed, number)
            self._blocks[number] = block
            while len(self._blocks) > _KEPT_WINDOWS:
                self._blocks.popitem(last=False)
            return block

    def _row_lengths(self, source: np.ndarray, index: np.ndarray) -> np.ndarray:
        found = np.zeros(len(index), np.int32)
        for number, rows in enumerate(self.sources):
            mine = source == number
            found[mine] = rows.lengths[index[mine]]
        return found

    def rows(self, step: int, lo: int = 0, hi: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Returns (source, index in it), both int64 [hi - lo], of rows lo:hi of global batch `step`."""
        lo, hi = _span(step, lo, hi, self.batch_size)
        if self._grouped > 1:
            block, start = self._block(step), step // self._grouped * self._grouped * self.batch_size
            return self._rows(start + block.batch(step % self._grouped)[lo:hi])
        return self._rows(np.arange(step * self.batch_size + lo, step * self.batch_size + hi))

    def _rows(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns (source, index in it) of rows of the stream."""
        source, within = self._mixture.assign(positions)
        index = np.empty_like(within)
        for number, order in enumerate(self._orders):
            mine = source == number
            index[mine] = order.take(within[mine])
        return source, index

    def read(self, step: int, lo: int = 0, hi: int | None = None) -> dict[str, np.ndarray]:
        """Returns rows lo:hi of global batch `step`, any integer from 0 on.

        Returns:
          The fields that `collate` makes, each [n, ...]; by default those of `as_batch`.

        Raises:
          Stopped: a shard is damaged; the message names it.
        """
        source, index = self.rows(step, lo, hi)
        length = self.length(step)

        def read(rows: Rows, index: np.ndarray) -> dict[str, np.ndarray]:
            found = rows.read(index)
            return self._collate(found if length == rows.length else cropped(found, rows.dtype_of(length)))

        if len(self.sources) == 1:
            return read(self.sources[0], index)
        batch: dict[str, np.ndarray] = {}
        for number, rows in enumerate(self.sources):
            mine = np.flatnonzero(source == number)
            for name, values in read(rows, index[mine]).items():
                if name not in batch:
                    batch[name] = np.empty((len(index), *values.shape[1:]), values.dtype)
                batch[name][mine] = values
        return batch

    def origins(self, step: int, lo: int = 0, hi: int | None = None) -> dict[str, np.ndarray]:
        """Returns the origins of rows lo:hi of batch `step`.

        Returns:
          int64 arrays source [n] (number of the source), row [n] (index in it), and per segment document, offset (first
          token in the document) and length, each [n, K]. A segment that is not there has length 0.
        """
        source, index = self.rows(step, lo, hi)
        segments = max(rows.manifest["origins"] for rows in self.sources)
        found = {name: np.zeros((len(index), segments), np.int64) for name in ("document", "offset", "length")}
        for number, rows in enumerate(self.sources):
            mine = np.flatnonzero(source == number)
            origins = rows.read(index[mine])["origins"]
            for name, values in found.items():
                values[mine, : origins.shape[1]] = origins[name]
        return {"source": source, "row": index} | found

    def epochs(self, step: int) -> list[float]:
        """Returns how many epochs each source has passed through before batch `step`."""
        counts = self._mixture.counts(step * self.batch_size)
        return [count / len(order) for count, order in zip(counts, self._orders, strict=True)]


class FixedBatches:
    """Batches of a validation split: every row once, and always the same rows in the same places.

    Rows keep the order in which they are stored, which is shuffled within a shard; with shorter lengths they are sorted
    by their length. The last batch is filled up with rows of padding (group 0, label -1) before they are collated, and
    a task gives them no weight.
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        *,
        limit: int = 0,
        collate: Collate | None = None,
        lengths: Sequence[int] = (),
    ):
        """Chooses the rows of each batch.

        Args:
          rows: a validation split.
          batch_size: B.
          limit: at most so many batches, spread over the whole split; 0 takes all.
          collate: makes the fields of a batch of rows, `as_batch` by default.
          lengths: shorter lengths to which batches are cut.

        Raises:
          InputError: a split without rows.
        """
        _not_empty(rows)
        self._rows, self.batch_size, self._collate = rows, batch_size, collate or as_batch
        batches = -(-len(rows) // batch_size)
        self._chosen = np.arange(batches)
        if 0 < limit < batches:
            self._chosen = np.arange(limit) * batches // limit
        self._lengths = (*(length for length in sorted(lengths) if length < rows.length), rows.length)
        self._order = np.arange(len(rows))
        if len(self._lengths) > 1:
            self._order = np.argsort(rows.lengths, kind="stable")

    def __len__(self) -> int:
        return len(self._chosen)

    def read(self, step: int, lo: int = 0, hi: int | None = None) -> dict[str, np.ndarray]:
        """Returns rows lo:hi of batch `step` < len, in the form of `Batches.read`."""
        lo, hi = _span(step, lo, hi, self.batch_size)
        first = int(self._chosen[step]) * self.batch_size
        read = self._rows.read(self._order[first + lo : first + hi])
        if len(read) < hi - lo:
            padding = np.zeros(hi - lo - len(read), read.dtype)
            padding["tokens"], padding["label"] = self._rows.pad_id, -1
            read = np.concatenate([read, padding])
        length = self.length(step)
        return self._collate(read if length == self._rows.length else cropped(read, self._rows.dtype_of(length)))

    def index(self, step: int) -> np.ndarray:
        """Returns the numbers of the rows of batch `step`, int64 [n], without those that fill it up."""
        first = int(self._chosen[step]) * self.batch_size
        return self._order[first : first + self.batch_size]

    def length(self, step: int) -> int:
        """Returns the length of batch `step`."""
        if len(self._lengths) == 1:
            return self._lengths[0]
        return length_for(int(self._rows.lengths[self.index(step)].max()), self._lengths)


# Makes the fields of a batch, each [n, ...], from n rows as they are stored (a structured array); pure.
Collate = Callable[[np.ndarray], dict[str, np.ndarray]]


def as_batch(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Returns a structured array of rows [n] as int32 arrays: tokens, types, group [n, L] and label [n].

    Group 0 is padding; label -1 means that there is no label.
    """
    return {name: np.ascontiguousarray(rows[name], np.int32) for name in ("tokens", "types", "group", "label")}


def _span(step: int, lo: int, hi: int | None, batch_size: int) -> tuple[int, int]:
    hi = batch_size if hi is None else hi
    if step < 0 or not 0 <= lo <= hi <= batch_size:
        raise IndexError(f"rows {lo}:{hi} of batch {step} of {batch_size} rows")
    return lo, hi


def _not_empty(rows: Rows) -> None:
    if not len(rows):
        raise InputError(
            f"the split {rows.split!r} has no rows",
            where=str(rows.directory),
            fix="Prepare a source with more documents, or raise data.validation_fraction.",
            code="E-ROWS-EMPTY",
        )


def _brief(value: Any) -> Any:
    return value[:12] if isinstance(value, str) and len(value) == 64 else value
