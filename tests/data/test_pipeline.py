"""Batches as pure functions of (rows, seed, batch, row): order, mixtures, slices, epochs, damage."""

from __future__ import annotations

import errno
import hashlib
import threading
import types
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from jaxbert.data import shards
from jaxbert.data.directory import open_directory
from jaxbert.data.pipeline import Batches, FixedBatches, Mixture, Order, Rows
from jaxbert.data.row_format import row_dtype
from jaxbert.errors import InputError, Interrupted, Stopped

LENGTH = 16


def make_rows(
    path: Path, sizes: list[int], *, first_token: int = 100, length: int = LENGTH, tokenizer_hash: str = "a" * 64
) -> Path:
    """A directory of rows in which row i of split train starts with token first_token + i; validation has 7 rows."""
    directory = open_directory(path, "rows", {"sizes": sizes, "first_token": first_token, "length": length})
    splits: dict[str, list[shards.ShardInfo]] = {"train": [], "validation": []}
    for split, counts in (("train", sizes), ("validation", [4, 3])):
        begin = 0
        for number, count in enumerate(counts):
            rows = np.zeros(count, row_dtype(length, 30000, 2))
            rows["tokens"][:, 0] = first_token + begin + np.arange(count)
            rows["group"][:, :5] = 1
            rows["types"][:, 3:5] = 1
            rows["label"] = np.arange(count) % 2
            rows["origins"]["document"][:, 0] = begin + np.arange(count)
            rows["origins"]["length"] = (2, 1)
            records = [row.tobytes() for row in rows]
            splits[split].append(
                shards.write_shard(path / f"rows-{split}.array_record-{number:05d}-of-{len(counts):05d}", records)
            )
            begin += count
    fields = {
        "policy": "segment_pair",
        "length": length,
        "vocab_size": 30000,
        "pad_id": 9,
        "tokenizer_hash": tokenizer_hash,
        "origins": 2,
    }
    counts = {split: sum(info.count for info in infos) for split, infos in splits.items()}
    made_up = {"hash": shards.canonical_hash(fields | {"sizes": sizes}), "counts": counts, "statistics": {}}
    directory.commit(splits, {**fields, **made_up})
    return path


@pytest.fixture(scope="module")
def rows_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rows(tmp_path_factory.mktemp("rows") / "r", [13, 1, 20, 8, 5])


@pytest.fixture(scope="module")
def other_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rows(tmp_path_factory.mktemp("rows") / "other", [6, 5], first_token=10_000)


# ----------------------------------------------------------------------------------------------------------------------
# Order


@pytest.mark.parametrize("window", [1, 2, 3, 5, 16])
def test_each_epoch_is_a_permutation_and_another_one(window: int) -> None:
    sizes = [7, 1, 30, 12, 9]
    order = Order(sizes, seed=3, window=window)
    epochs = order.take(np.arange(4 * 59)).reshape(4, 59)
    for epoch in epochs:
        assert sorted(epoch) == list(range(59))
    assert all((one != two).any() for one, two in pairwise(epochs))
    assert (Order(sizes, seed=4, window=window).take(np.arange(59)) != epochs[0]).any()


def test_order_is_the_same_whichever_way_it_is_asked() -> None:
    sizes = [7, 1, 30, 12, 9]
    straight = Order(sizes, seed="x", window=2).take(np.arange(300))
    asked = np.random.Generator(np.random.PCG64(0)).permutation(300)
    assert (Order(sizes, seed="x", window=2).take(asked) == straight[asked]).all()
    order = Order(sizes, seed="x", window=2)
    assert [order[j] for j in range(250, 0, -50)] == straight[250:0:-50].tolist()
    assert len(order) == 59


def test_a_window_touches_no_more_shards_than_it_may() -> None:
    sizes = [10] * 12
    taken = Order(sizes, seed=0, window=3).take(np.arange(240)).reshape(8, 30) // 10
    assert [len(np.unique(window)) for window in taken] == [3] * 8
    assert taken[0].tolist() != sorted(taken[0]), "the shards of a window are mixed"
    windows = [frozenset(window) for window in taken.tolist()]
    assert set(windows[:4]) != set(windows[4:]), "another epoch puts other shards together"


def test_every_place_gets_every_row_alike() -> None:
    order = Order([4, 4], seed=1, window=2)
    first = order.take(np.arange(4000) * 8)
    assert (abs(np.bincount(first, minlength=8) - 500) < 4 * (4000 / 8 * 7 / 8) ** 0.5).all()


def test_golden_order() -> None:
    """Pins the order: a change here gives everybody's runs other batches."""
    order = Order([5, 3, 9, 2], seed="0/0", window=2)
    assert order.take(np.arange(19)).tolist() == GOLDEN_ORDER


GOLDEN_ORDER = [7, 9, 11, 12, 15, 14, 8, 6, 16, 13, 5, 10, 4, 3, 17, 0, 2, 18, 1]


def test_far_positions_need_no_walk() -> None:
    assert 0 <= Order([1000] * 50, seed=0, window=16)[10**15] < 50_000


def test_an_order_over_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="E-ROWS-ORDER"):
        Order([], seed=0, window=1)
    with pytest.raises(InputError, match="E-ROWS-ORDER"):
        Order([3], seed=0, window=0)


# ----------------------------------------------------------------------------------------------------------------------
# Mixtures


@pytest.mark.parametrize("weights", [[1.0], [1.0, 1.0], [0.3, 0.7], [0.1, 0.2, 0.7], [5, 3, 2, 1], [1 / 3, 2 / 3]])
def test_shares_are_exact_and_evenly_spread(weights: list[float]) -> None:
    mixture = Mixture(weights)
    count = 20_000
    source, within = mixture.assign(np.arange(count))
    shares = [Fraction(part, sum(mixture.parts)) for part in mixture.parts]
    for number, share in enumerate(shares):
        assert abs(float(share) - weights[number] / sum(weights)) <= 1e-6
        mine = source == number
        assert within[mine].tolist() == list(range(mine.sum())), "each source is taken in its own order, none skipped"
        running = np.cumsum(mine) - np.arange(1, count + 1) * float(share)
        assert abs(running).max() < len(weights)
        block = sum(mixture.parts)
        if block <= count:
            assert mine[:block].sum() == mixture.parts[number]
    assert mixture.counts(777) == np.bincount(source[:777], minlength=len(weights)).tolist()


def test_mixtures_are_pure_in_the_position() -> None:
    mixture = Mixture([0.2, 0.5, 0.3])
    source, within = mixture.assign(np.arange(500))
    assert (np.array(mixture.assign(np.arange(300, 310))) == np.array([source[300:310], within[300:310]])).all()
    far, _ = mixture.assign(np.arange(10) + 10**15)
    assert sorted(far.tolist()) == [0, 0, 1, 1, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("weights", [[], [0.0, 1.0], [-1.0], [float("inf")], [float("nan")], [1e-9, 1.0]])
def test_bad_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(InputError, match="E-ROWS-WEIGHT"):
        Mixture(weights)


# ----------------------------------------------------------------------------------------------------------------------
# Rows


def test_rows_are_read_in_the_order_asked(rows_path: Path) -> None:
    rows = Rows(rows_path, "train", verify=True)
    asked = [46, 0, 13, 14, 13, 33, 12]
    assert rows.read(asked)["tokens"][:, 0].tolist() == [100 + index for index in asked]
    assert rows.read([]).shape == (0,)
    assert (len(rows), rows.sizes.tolist(), rows.length, rows.pad_id) == (47, [13, 1, 20, 8, 5], LENGTH, 9)
    for outside in ([47], [-1]):
        with pytest.raises(IndexError):
            rows.read(outside)


def test_rows_can_be_read_by_many_threads(rows_path: Path) -> None:
    rows = Rows(rows_path, "train")
    wrong: list[int] = []

    def read(first: int) -> None:
        for start in range(20):
            asked = (np.arange(30) * 7 + first + start) % 47
            if (rows.read(asked)["tokens"][:, 0] != 100 + asked).any():
                wrong.append(first)

    threads = [threading.Thread(target=read, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_does_not_fit_is_refused(rows_path: Path, tmp_path: Path) -> None:
    rows = Rows(rows_path, "train")
    rows.require(length=LENGTH, vocab_size=30000, tokenizer_hash="a" * 64, policy="segment_pair")
    with pytest.raises(InputError, match=r"length 16, but 128 is needed.*E-ROWS-LENGTH"):
        rows.require(length=128)
    with pytest.raises(InputError, match=r"make them of the same records, with `jaxbert rows --length 128`"):
        rows.require(length=128)
    with pytest.raises(InputError, match=r"the tokenizer .*E-ROWS-TOKENIZER"):
        rows.require(tokenizer_hash="b" * 64)
    with pytest.raises(InputError, match=r"the vocabulary .*E-ROWS-VOCABULARY"):
        rows.require(vocab_size=30522)
    with pytest.raises(InputError, match=r"It has: train, validation.*E-ROWS-SPLIT"):
        Rows(rows_path, "test")
    with pytest.raises(InputError, match=r"policy segment_pair.* packed .*E-ROWS-POLICY"):
        rows.require(policy="packed")
    with pytest.raises(InputError, match=r"or what is there: .*E-SHARD-MISSING"):
        Rows(rows_path.parent / "nowhere", "train")
    longer = Rows(make_rows(tmp_path / "longer", [3], length=32), "train")
    with pytest.raises(InputError, match=r"length .*E-ROWS-LENGTH"):
        Batches([(rows, 1), (longer, 1)], batch_size=4, seed=0, window=2)
    foreign = Rows(make_rows(tmp_path / "foreign", [3], tokenizer_hash="b" * 64), "train")
    with pytest.raises(InputError, match=r"tokenizer .*E-ROWS-TOKENIZER"):
        Batches([(rows, 1), (foreign, 1)], batch_size=4, seed=0, window=2)
    empty = Rows(make_rows(tmp_path / "empty", []), "train")
    with pytest.raises(InputError, match="E-ROWS-EMPTY"):
        Batches([(empty, 1)], batch_size=4, seed=0, window=2)


def test_damage_stops_and_names_the_shard(tmp_path: Path) -> None:
    path = make_rows(tmp_path / "r", [50, 60])
    shard = path / "rows-train.array_record-00001-of-00002"
    whole = shard.read_bytes()

    def stopped_by(content: bytes, *, verify: bool) -> str:
        shard.write_bytes(content)
        with pytest.raises(Stopped, match="E-SHARD-DAMAGED") as caught:
            Rows(path, "train", verify=verify).read(np.arange(110))
        return str(caught.value)

    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for message in (
        stopped_by(whole[:-1], verify=False),
        stopped_by(flipped, verify=True),
        stopped_by(flipped, verify=False),
        stopped_by(bytes(len(whole)), verify=False),
    ):
        assert shard.name in message
    shard.write_bytes(whole)
    manifest = shards.read_manifest(path, "rows")
    manifest["splits"]["train"][1]["count"] = 61
    shards.write_json(path / "manifest.json", manifest | {"sha256": shards.signature(manifest)})
    with pytest.raises(Stopped, match=f"{shard.name}.*E-SHARD-DAMAGED"):
        Rows(path, "train").read([100])
    shard.unlink()
    with pytest.raises(Stopped, match=f"{shard.name}.*E-SHARD-DAMAGED"):
        Rows(path, "train")


@pytest.mark.parametrize(
    ("raised", "seen", "code"),
    [
        (RuntimeError("Input/output error [EIO]; at byte 65560"), Interrupted, "E-DISK-READ"),
        (OSError(errno.EIO, "Input/output error"), Interrupted, "E-DISK-READ"),
        (ValueError("a bug of ours"), ValueError, "a bug of ours"),
    ],
)
def test_what_is_no_damage_is_not_called_damage(
    rows_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, seen: type[Exception], code: str
) -> None:
    def fails(_: list[int]) -> None:
        raise raised

    rows = Rows(rows_path, "train")
    monkeypatch.setattr(rows, "_reader", lambda _: types.SimpleNamespace(read=fails))
    with pytest.raises(seen, match=code):
        rows.read([0])


def test_a_disk_that_fails_does_not_damage_a_shard(rows_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path) -> str:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(shards, "sha256_file", fails)
    with pytest.raises(Interrupted, match=r"rows-train.*E-DISK-READ"):
        Rows(rows_path, "train", verify=True)


# ----------------------------------------------------------------------------------------------------------------------
# Batches


@pytest.mark.parametrize("mixed", [False, True])
def test_slices_are_the_batch_whoever_asks(rows_path: Path, other_path: Path, mixed: bool) -> None:
    def open_batches() -> Batches:
        sources = [(Rows(rows_path, "train"), 0.75)] + ([(Rows(other_path, "train"), 0.25)] if mixed else [])
        return Batches(sources, batch_size=24, seed=5, window=2)

    whole = open_batches()
    for step in (0, 1, 2, 40):
        batch = whole.read(step)
        assert {name: (values.shape, str(values.dtype)) for name, values in batch.items()} == {
            "tokens": ((24, LENGTH), "int32"),
            "types": ((24, LENGTH), "int32"),
            "group": ((24, LENGTH), "int32"),
            "label": ((24,), "int32"),
        }
        for processes in (2, 3, 8):
            share = 24 // processes
            parts = [open_batches().read(step, r * share, (r + 1) * share) for r in reversed(range(processes))]
            for name, values in batch.items():
                assert (np.concatenate([part[name] for part in reversed(parts)]) == values).all()


def test_batches_pass_through_epochs_without_loss(rows_path: Path) -> None:
    batches = Batches([(Rows(rows_path, "train"), 1)], batch_size=10, seed=1, window=2)
    seen = np.concatenate([batches.read(step)["tokens"][:, 0] for step in range(47)]) - 100
    for epoch in seen.reshape(10, 47):
        assert sorted(epoch) == list(range(47))
    straddling = batches.read(4)["tokens"][:, 0] - 100
    assert straddling.tolist() == [*seen[40:47], *seen[47:50]]
    other_seed = Batches([(Rows(rows_path, "train"), 1)], batch_size=10, seed=2, window=2)
    assert (other_seed.read(0)["tokens"] != batches.read(0)["tokens"]).any()
    assert batches.epochs(0) == [0.0]
    assert batches.epochs(47) == [10.0]


def test_a_mixture_passes_through_each_source_at_its_own_pace(rows_path: Path, other_path: Path) -> None:
    batches = Batches([(Rows(rows_path, "train"), 3), (Rows(other_path, "train"), 1)], batch_size=8, seed=1, window=2)
    tokens = np.concatenate([batches.read(step)["tokens"][:, 0] for step in range(47)])
    other = tokens[tokens >= 10_000] - 10_000
    mine = tokens[tokens < 10_000] - 100
    assert (len(mine), len(other)) == (282, 94)
    for epoch in mine.reshape(6, 47):
        assert sorted(epoch) == list(range(47))
    for epoch in other[:88].reshape(8, 11):
        assert sorted(epoch) == list(range(11))
    assert batches.epochs(47) == [6.0, 94 / 11]


def test_origins_are_those_of_the_rows(rows_path: Path, other_path: Path) -> None:
    batches = Batches([(Rows(rows_path, "train"), 1), (Rows(other_path, "train"), 1)], batch_size=8, seed=1, window=2)
    origins, batch = batches.origins(3, 2, 8), batches.read(3, 2, 8)
    first = np.where(origins["source"] == 0, 100, 10_000)
    assert (batch["tokens"][:, 0] == first + origins["row"]).all()
    assert (origins["document"][:, 0] == origins["row"]).all()
    assert (origins["length"] == [2, 1]).all()


def test_slices_outside_the_batch_are_refused(rows_path: Path) -> None:
    batches = Batches([(Rows(rows_path, "train"), 1)], batch_size=8, seed=1, window=2)
    for step, lo, hi in ((-1, 0, 8), (0, 0, 9), (0, 5, 4), (0, -1, 4)):
        with pytest.raises(IndexError):
            batches.read(step, lo, hi)
    assert batches.read(0, 3, 3)["tokens"].shape == (0, LENGTH)


def test_golden_batches(rows_path: Path, other_path: Path) -> None:
    """Pins which rows a run sees."""
    batches = Batches([(Rows(rows_path, "train"), 3), (Rows(other_path, "train"), 1)], batch_size=8, seed=7, window=2)
    tokens = b"".join(batches.read(step)["tokens"].astype("<i4").tobytes() for step in range(30))
    assert hashlib.sha256(tokens).hexdigest()[:16] == GOLDEN_BATCHES


GOLDEN_BATCHES = "8f2ca986a7f8fa8e"


# ----------------------------------------------------------------------------------------------------------------------
# Validation


def test_validation_is_every_row_once_and_weightless_padding(rows_path: Path) -> None:
    batches = FixedBatches(Rows(rows_path, "validation"), 4)
    assert len(batches) == 2
    first, last = batches.read(0), batches.read(1)
    assert first["tokens"][:, 0].tolist() == [100, 101, 102, 103]
    assert last["tokens"][:3, 0].tolist() == [104, 105, 106]
    assert (last["tokens"][3] == 9).all()
    assert (last["group"][3].max(), last["types"][3].max(), last["label"][3]) == (0, 0, -1)
    for name, values in last.items():
        assert (np.concatenate([batches.read(1, 0, 1)[name], batches.read(1, 1, 4)[name]]) == values).all()
        assert batches.read(1, 3, 4)[name].dtype == np.int32


def test_a_limit_spreads_over_the_split(rows_path: Path) -> None:
    rows = Rows(rows_path, "validation")
    batches = FixedBatches(rows, 1, limit=3)
    assert [int(batches.read(step)["tokens"][0, 0]) for step in range(len(batches))] == [100, 102, 104]
    assert len(FixedBatches(rows, 2, limit=9)) == 4


def test_rows_have_a_length_and_are_read_by_an_integer(rows_path):
    """So the data loader of any library can read them."""
    rows = Rows(rows_path, "train")
    np.testing.assert_array_equal(np.stack([rows[index] for index in range(len(rows))]), rows.read(np.arange(47)))
