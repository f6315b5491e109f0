"""Checkpoints of TensorFlow: files that it wrote (tests/goldens/record_google.py), and files that it would not."""

from __future__ import annotations

import os
import random
import shutil
import struct
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import google_crc32c
import ml_dtypes
import numpy as np
import pytest

from jaxbert.convert import tf1
from jaxbert.convert.tensors import Tensor
from jaxbert.convert.tf1 import open_bundle
from jaxbert.errors import InputError

GOLDENS = Path(__file__).parent.parent / "goldens"
CORNERS = GOLDENS / "tf1"
BERT = GOLDENS / "google_bert" / "bert_model.ckpt"
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def opened(prefix: Path) -> dict[str, Tensor]:
    with ExitStack() as stack:
        return open_bundle(prefix, stack)


def read_all(prefix: Path) -> dict[str, tuple[tuple[int, ...], str, bytes]]:
    return {name: (t.shape, t.dtype, t.read().tobytes()) for name, t in opened(prefix).items()}


# ----------------------------------------------------------------------------------------------------------------------
# What TensorFlow wrote


def test_every_type_of_numbers() -> None:
    tensors = opened(CORNERS / "types")
    assert tensors.keys() == {"scalar", "empty", *(f"of/{t.dtype}" for t in tensors.values() if t.shape == (2, 3))}
    for dtype in (*INTEGERS, "float16", "bfloat16", "float32", "float64", "bool"):
        tensor = tensors[f"of/{dtype}"]
        array = tensor.read()
        expected = np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
        assert (tensor.shape, tensor.dtype, array.dtype) == ((2, 3), dtype, expected.dtype)
        np.testing.assert_array_equal(array, expected)
    assert tensors["scalar"].read().shape == () and tensors["scalar"].read() == 7
    assert tensors["empty"].read().shape == (0, 3)


def test_several_data_files() -> None:
    tensors = opened(CORNERS / "shards")
    for part in (0, 1):
        np.testing.assert_array_equal(tensors[f"part_{part}"].read(), np.arange(5) + np.float32(part))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("slices", r"variable 'table' is partitioned .*slices\).*E-CONVERT-TF-FORMAT"),
        ("strings", r"variable 'text' has TensorFlow's type 7,.*E-CONVERT-TF-FORMAT"),
        ("objects", r"TensorFlow 2's objects.*E-CONVERT-TF-FORMAT"),
        ("old.ckpt", r"TensorFlow's version 1.*E-CONVERT-TF-FORMAT"),
        ("nothing", r"nothing\.index.*E-CONVERT-MISSING"),
    ],
)
def test_other_formats_are_told_apart(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        opened(CORNERS / name)


def test_nothing_is_read_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    read = tf1._read
    monkeypatch.setattr(tf1, "_read", lambda path, name, *rest: (asked.append(name), read(path, name, *rest))[1])
    tensors = opened(BERT)
    assert not asked and len(tensors) > 40
    tensors["cls/predictions/output_bias"].read()
    assert asked == ["cls/predictions/output_bias"]


def test_a_checkpoint_is_read_in_chunks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_all(BERT)
    monkeypatch.setattr(tf1, "_CHUNK", 13)
    assert read_all(BERT) == whole


# ----------------------------------------------------------------------------------------------------------------------
# Damage


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The prefix of a copy that a test may spoil."""
    for file in BERT.parent.glob(f"{BERT.name}.*"):
        shutil.copy(file, tmp_path)
    return tmp_path / BERT.name


def data_of(prefix: Path) -> Path:
    return prefix.with_name(f"{prefix.name}.data-00000-of-00001")


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001"])
def test_a_changed_byte_is_never_read_as_something_else(place: Path, ending: str) -> None:
    """Every byte's change, or every cut, is an InputError; or what is read is the same (the footer's padding)."""
    good, path = read_all(place), place.with_name(place.name + ending)
    whole, draws = path.read_bytes(), random.Random(7)
    places = range(len(whole)) if len(whole) <= 400 else sorted(draws.sample(range(len(whole)), 400))
    if ending == ".index":  # all of the footer, which has no checksum
        places = [*places, *range(len(whole) - 48, len(whole))]
    same = 0
    for at in places:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << draws.randrange(8))]) + whole[at + 1 :])
        try:
            found = read_all(place)
        except InputError as error:
            assert str(place) in str(error)
        else:
            same += 1
            assert found == good, at
    assert same <= (48 if ending == ".index" else 0)


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001"])
def test_a_cut_file_is_refused_when_it_is_opened(place: Path, ending: str) -> None:
    path = place.with_name(place.name + ending)
    whole = path.read_bytes()
    for length in sorted({0, 1, 47, 48, len(whole) - 1, *range(0, len(whole), len(whole) // 100)}):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut short.*E-CONVERT-DAMAGED"):
            opened(place)


def test_random_bytes_with_the_right_ending(place: Path) -> None:
    draws = random.Random(3)
    index = place.with_name(f"{place.name}.index")
    footer = index.read_bytes()[-48:]
    for length in range(0, 400):
        index.write_bytes(draws.randbytes(length) + (footer if length % 2 else draws.randbytes(40) + footer[-8:]))
        with pytest.raises(InputError, match="E-CONVERT-DAMAGED"):
            opened(place)


def test_damage_names_the_file_and_the_variable(place: Path) -> None:
    tensors = opened(place)
    data_of(place).write_bytes(bytes(data_of(place).stat().st_size))
    with pytest.raises(InputError) as error:
        tensors["bert/pooler/dense/kernel"].read()
    assert "'bert/pooler/dense/kernel'" in error.value.what and "checksum" in error.value.what
    assert error.value.code == "E-CONVERT-DAMAGED"
    assert str(data_of(place)) in str(error.value)
    data_of(place).write_bytes(b"")
    with pytest.raises(InputError, match=r"'bert/pooler/dense/kernel' is damaged.*E-CONVERT-DAMAGED"):
        tensors["bert/pooler/dense/kernel"].read()
    data_of(place).unlink()
    with pytest.raises(InputError, match=r"'bert/pooler/dense/kernel' is unreadable.*E-CONVERT-DAMAGED"):
        tensors["bert/pooler/dense/kernel"].read()
    with pytest.raises(InputError, match=r"variable '.*\.data-00000-of-00001\).*E-CONVERT-MISSING"):
        opened(place)


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001"])
def test_a_pipe_is_not_waited_for(place: Path, ending: str) -> None:
    path = place.with_name(place.name + ending)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="E-CONVERT-MISSING"):
        opened(place)


# ----------------------------------------------------------------------------------------------------------------------
# Files with right checksums that lie


def varint(number: int) -> bytes:
    out = b""
    number %= 2**64
    while number >= 0x80:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def masked(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def entry(
    shape: Iterable[int] = (2, 3),
    *,
    kind: int = 1,
    shard: int = 0,
    offset: int = 0,
    size: int = 24,
    crc: int | None = None,
    more: bytes = b"",
) -> bytes:
    """A BundleEntryProto; by default of the 24 bytes of `DATA`."""
    axes = b"".join(field(2, field(1, length)) for length in shape)
    start = field(1, kind) + field(2, axes) + field(3, shard) + field(4, offset) + field(5, size)
    return start + b"\x35" + struct.pack("<I", masked(DATA) if crc is None else crc) + more


DATA = np.arange(6, dtype=np.float32).tobytes()
HEADER = field(1, 1) + field(3, field(1, 1))
Items = Sequence[tuple[bytes, bytes]]


def block(items: Items, *, kind: int = 0, restarts: int = 1) -> bytes:
    """A block with its trailer; keys share what they can."""
    body, before = b"", b""
    for key, value in items:
        shared = next((at for at, (a, b) in enumerate(zip(before, key, strict=False)) if a != b), len(before))
        body += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    body += bytes(4) + struct.pack("<I", restarts) + bytes([kind])
    return body + struct.pack("<I", masked(body))


def table(*blocks: bytes, handles: Items | None = None) -> bytes:
    """An index; `handles` in place of those that are right."""
    data, places = b"", []
    for number, one in enumerate([*blocks, block([])]):
        places.append((b"%03d" % number, varint(len(data)) + varint(len(one) - 5)))
        data += one
    *of_blocks, (_, meta) = places
    root = block(of_blocks if handles is None else handles)
    footer = (meta + varint(len(data)) + varint(len(root) - 5)).ljust(40, b"\0")
    return data + root + footer + struct.pack("<Q", 0xDB4775248B80FB57)


def lay(place: Path, index: bytes, data: bytes = DATA) -> Path:
    prefix = place / "model.ckpt"
    (place / "model.ckpt.index").write_bytes(index)
    (place / "model.ckpt.data-00000-of-00001").write_bytes(data)
    return prefix


def with_entry(value: bytes, key: bytes = b"w") -> bytes:
    return table(block([(b"", HEADER), (key, value)]))


def test_what_is_laid_by_hand_is_read(tmp_path: Path) -> None:
    """Several blocks, shared keys, unknown fields: so that the refusals below are for what they say."""
    blocks = block([(b"", HEADER), (b"layer/a", entry())]), block([(b"layer/b", entry(more=field(99, b"new")))])
    assert table(*blocks).endswith((CORNERS / "types.index").read_bytes()[-8:])
    tensors = opened(lay(tmp_path, table(*blocks)))
    assert list(tensors) == ["layer/a", "layer/b"]
    for tensor in tensors.values():
        np.testing.assert_array_equal(tensor.read(), np.arange(6, dtype=np.float32).reshape(2, 3))


LIES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a shape too large": (
        lambda: with_entry(entry((2**20, 2**20))),
        r"variable 'w' has 24 bytes, which do not fit float32 and shape",
    ),
    "a shape beyond numbers": (lambda: with_entry(entry((2**62, 2**62), size=2**62)), r"variable 'w' has shape"),
    "a shape hidden by 0": (lambda: with_entry(entry((0, 2**62), size=0)), r"variable 'w' has shape"),
    "a negative axis": (lambda: with_entry(entry((-2, -3))), r"variable 'w' has shape"),
    "many axes": (lambda: with_entry(entry((1,) * 60)), r"variable 'w' has no shape"),
    "an unknown rank": (
        lambda: with_entry(field(1, 1) + field(2, field(3, 1)) + field(5, 4)),
        r"variable 'w' has no shape",
    ),
    "a wrong size": (lambda: with_entry(entry(size=20)), r"variable 'w' has 20 bytes, .* float32 and shape \[2, 3\]"),
    "behind the end": (lambda: with_entry(entry(offset=1)), r"cut short: it ends before the variable 'w' does"),
    "far behind the end": (lambda: with_entry(entry(offset=2**63)), r"cut short: it ends before the variable 'w' does"),
    "before the beginning": (lambda: with_entry(entry(offset=-4)), r"cut short: it ends before the variable 'w' does"),
    "a terabyte": (lambda: with_entry(entry((2**38,), size=2**40)), r"cut short: it ends before the variable 'w' does"),
    "no such file": (lambda: with_entry(entry(shard=1)), r"variable 'w' is in data file 1, but there are only 1"),
    "a negative file": (lambda: with_entry(entry(shard=-1)), r"variable 'w' is in data file \d+, but there are only 1"),
    "a file that is missing": (
        lambda: table(block([(b"", field(1, 2)), (b"w", entry(shard=1))])),
        r"variable 'w' \(.*data-00001-of-00002\).*E-CONVERT-MISSING",
    ),
    "no type": (lambda: with_entry(entry(kind=0)), r"variable 'w' has TensorFlow's type 0"),
    "a type to come": (lambda: with_entry(entry(kind=4242)), r"variable 'w' has TensorFlow's type 4242"),
    "slices": (lambda: with_entry(entry(more=field(7, b""))), r"variable 'w' is partitioned"),
    "text for a number": (lambda: with_entry(field(1, b"x")), r"variable 'w' has text"),
    "a number for a message": (lambda: with_entry(field(1, 1) + field(2, 3)), r"variable 'w' has a number"),
    "a message cut short": (lambda: with_entry(entry()[:-2]), r"variable 'w' an entry is cut short"),
    "a number without end": (lambda: with_entry(b"\xff" * 12), r"variable 'w' a number has no end"),
    "a group": (lambda: with_entry(b"\x0b\x0c"), r"variable 'w' an entry is not a protocol buffer"),
    "a length beyond all": (lambda: with_entry(b"\x0a" + varint(2**63)), r"variable 'w' an entry is cut short"),
    "no header": (lambda: table(block([(b"w", entry())])), "the index has no header"),
    "no files": (lambda: table(block([(b"", b""), (b"w", entry())])), "there are 0 data files"),
    "files without number": (lambda: table(block([(b"", field(1, -1)), (b"w", entry())])), r"there are \d+ data files"),
    "big-endian": (lambda: table(block([(b"", HEADER + field(2, 1)), (b"w", entry())])), "a big-endian machine"),
    "no variables": (lambda: table(block([(b"", HEADER)])), "the index has no variables"),
    "a name that is no text": (lambda: with_entry(entry(), b"\xff\xfe"), "name is not text"),
    "compressed blocks": (lambda: table(block([(b"", HEADER), (b"w", entry())], kind=1)), "its blocks are compressed"),
    "the same key again": (lambda: table(block([(b"", HEADER), (b"w", entry()), (b"w", entry())])), "out of order"),
    "the same block again": (
        lambda: table(block([(b"", HEADER)]), handles=[(b"a", varint(0) + varint(len(HEADER) + 11))] * 2),
        "its blocks overlap",
    ),
    "a block beyond the end": (lambda: table(handles=[(b"a", varint(0) + varint(2**40))]), "reaches beyond its end"),
    "a block before the beginning": (lambda: table(handles=[(b"a", varint(-8) + varint(16))]), "reaches beyond"),
    "a handle cut short": (lambda: table(handles=[(b"a", b"\x80")]), "a number has no end"),
    "restarts without number": (lambda: table(block([(b"", HEADER)], restarts=2**31)), "more restarts than bytes"),
    "a long name": (lambda: with_entry(entry(), b"w" * 2000), "more or longer entries"),
    "a long entry": (lambda: with_entry(entry(more=field(99, bytes(2**17)))), "more or longer entries"),
    "names without number": (
        lambda: table(block([(b"", HEADER), *((b"%06d" % k, b"") for k in range(20_001))])),
        "more or longer entries",
    ),
}


@pytest.mark.parametrize("case", LIES)
def test_a_file_that_lies_is_refused(tmp_path: Path, case: str) -> None:
    make, message = LIES[case]
    prefix = lay(tmp_path, make())
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message) as error:
            opened(prefix)
        assert tracemalloc.get_traced_memory()[1] < 64e6
    finally:
        tracemalloc.stop()
    assert str(prefix) in str(error.value)
    assert error.value.code in ("E-CONVERT-DAMAGED", "E-CONVERT-MISSING", "E-CONVERT-TF-FORMAT")


def test_changes_under_right_checksums(tmp_path: Path) -> None:
    """Whatever stands in an index, the outcome is an InputError or variables whose bytes are in the data file."""
    draws = random.Random(11)
    outcomes = [0, 0]
    sound = block([(b"", HEADER), (b"layer/a", entry()), (b"layer/b", entry((6,), kind=3))])[:-5]
    for _ in range(500):
        body = bytearray(sound)
        for _ in range(draws.choice((1, 1, 2, 5))):
            body[draws.randrange(len(body))] = draws.choice((draws.randrange(256), 0, 0x7F, 0x80, 0xFF))
        raw = bytes(body) + b"\0"
        prefix = lay(tmp_path, table(raw + struct.pack("<I", masked(raw))))
        try:
            for _, _, content in read_all(prefix).values():
                assert content in (DATA, b"")
            outcomes[0] += 1
        except InputError as error:
            assert str(prefix) in str(error)
            outcomes[1] += 1
    assert min(outcomes) > 20


def test_a_name_cannot_lead_elsewhere(tmp_path: Path) -> None:
    """A name is a name: files are found by the prefix and by numbers alone."""
    tensors = opened(lay(tmp_path, with_entry(entry(), b"../../etc/passwd")))
    np.testing.assert_array_equal(tensors["../../etc/passwd"].read(), np.arange(6).reshape(2, 3))


def test_an_index_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    prefix = lay(tmp_path, b"")
    with (tmp_path / "model.ckpt.index").open("wb") as file:
        file.truncate(2**34)
    with pytest.raises(InputError, match=r"the index is too long.*E-CONVERT-DAMAGED"):
        opened(prefix)
