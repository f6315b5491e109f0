"""Packing: every text once and whole, rows nearly full, few shapes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from jaxbert.errors import InputError
from jaxbert.use import batches
from jaxbert.use.batches import Packed, check_limits, choose_widths, dispatch, pack, windows
from jaxbert.use.library import Loaded

PAD = 0


def some_ids(number: int, longest: int, seed: int = 0) -> list[list[int]]:
    """Texts as long as sentences are: few of them long."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(3.0, 0.7, number).astype(int), 2, longest)
    return [rng.integers(1, 1000, length).tolist() for length in lengths]


def unpacked(packed: list[Packed], number: int) -> list[list[int]]:
    """The texts in batches, by index; fails where one stands there twice."""
    found: dict[int, list[int]] = {}
    for batch in packed:
        tokens, group = batch.arrays["tokens"], batch.arrays["group"]
        assert tokens.dtype == group.dtype == np.int32
        for row in range(len(tokens)):
            last = 0
            for place, index in enumerate(batch.texts[row].tolist()):
                columns = np.flatnonzero(group[row] == place + 1)
                assert (len(columns) > 0) == (index >= 0)
                if index >= 0:
                    np.testing.assert_array_equal(columns, last + np.arange(len(columns)))
                    last += len(columns)
                    assert index not in found
                    found[index] = tokens[row, columns].tolist()
            assert (group[row, last:] == 0).all()
            assert (tokens[row, last:] == PAD).all()
    assert sorted(found) == list(range(number))
    return [found[index] for index in range(number)]


@pytest.mark.parametrize(
    ("number", "longest", "limit", "tokens"),
    [(1, 9, 512, 512), (700, 300, 512, 512), (700, 300, 300, 100), (50, 17, 17, 64), (40, 3, 3, 2), (0, 2, 8, 8)],
)
def test_every_text_stands_once_and_whole(number: int, longest: int, limit: int, tokens: int) -> None:
    ids = some_ids(number, longest)
    packed = pack(ids, limit=limit, batch_tokens=tokens, pad_id=PAD)
    assert unpacked(packed, number) == ids
    for batch in packed:
        rows, width = batch.shape
        assert width <= limit
        assert rows == 1 or rows * width <= tokens
    again = pack(ids, limit=limit, batch_tokens=tokens, pad_id=PAD)
    assert [batch.texts.tolist() for batch in again] == [batch.texts.tolist() for batch in packed]


def test_rows_are_full_and_shapes_few() -> None:
    ids = some_ids(2000, 240)
    packed = pack(ids, limit=512, batch_tokens=512, pad_id=PAD)
    shapes = {batch.shape for batch in packed}
    assert shapes <= {(8, 64), (4, 128), (2, 256)}
    assert sum(map(len, ids)) > 0.97 * sum(batch.arrays["tokens"].size for batch in packed)


def test_few_texts_make_a_small_batch() -> None:
    assert [batch.shape for batch in pack([[1] * 20] * 7, limit=512, batch_tokens=512, pad_id=PAD)] == [(4, 64)]
    assert [batch.shape for batch in pack([[1] * 20], limit=32, batch_tokens=512, pad_id=PAD)] == [(1, 32)]


@pytest.mark.parametrize(
    ("lengths", "limit", "expected"),
    [
        ([], 512, []),
        ([5], 512, [64]),
        ([5], 17, [17]),
        ([65], 512, [128]),
        ([300], 300, [300]),
        ([300] + [30] * 5, 512, [512]),  # too few short ones for a width of their own
        ([300] + [30] * 300, 512, [64, 512]),
        ([300] + [30] * 300 + [100] * 50, 512, [64, 512]),
        ([300] + [30] * 300 + [100] * 50 + [200] * 50, 512, [64, 256, 512]),  # those of 100 go with those of 200
    ],
)
def test_a_width_is_used_where_it_is_worth_compiling(lengths: list[int], limit: int, expected: list[int]) -> None:
    assert choose_widths(lengths, limit=limit, batch_tokens=512) == expected


def test_windows_cut_count_and_keep_order(model: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "WINDOW", 2)
    monkeypatch.setattr(batches, "_CHUNK", 3)
    read = []

    def texts() -> Iterator[str]:
        for index in itertools.count():
            read.append(index)
            yield " ".join(["w1"] * (index % 7))

    stream = windows(model, texts(), limit=6, batch_tokens=8)
    first, second = next(stream), next(stream)
    assert len(read) == len(first.texts) + len(second.texts) == 12  # no more than it must, of a source without end
    assert [len(text.split()) for text in first.texts + second.texts] == [*range(7), *range(5)]
    assert (first.cut, second.cut) == (1, 1)
    assert first.tokens == 2 + 3 + 4 + 5 + 6 + 6
    rows = unpacked(first.batches, 6)
    assert rows[0] == [2, 3]
    assert rows[5] == [2, 6, 6, 6, 6, 3]


def test_dispatch_gives_results_in_order_a_thread_a_shape() -> None:
    packed = pack(some_ids(60, 300), limit=512, batch_tokens=64, pad_id=PAD)
    assert len({batch.shape for batch in packed}) > 1
    where: dict[tuple[int, int], set[int]] = {}

    def compute(batch: Packed) -> Packed:
        where.setdefault(batch.shape, set()).add(threading.get_ident())
        return batch

    assert all(found is batch for found, batch in zip(dispatch(packed, compute), packed, strict=True))
    assert {len(threads) for threads in where.values()} == {1}

    def fails(batch: Packed) -> None:
        raise KeyError("of the thread")

    with pytest.raises(KeyError, match="of the thread"):
        dispatch(packed, fails)


@pytest.mark.parametrize(
    ("length", "tokens", "code"), [(2, 1, "E-EMBED-LENGTH"), (151, 1, "E-EMBED-LENGTH"), (3, 0, "E-EMBED-BATCH")]
)
def test_limits(model: Loaded, length: int, tokens: int, code: str) -> None:
    assert check_limits(model, None, 7) == (150, 7)
    with pytest.raises(InputError, match=code):
        check_limits(model, length, tokens)
