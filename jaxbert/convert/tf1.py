"""TensorFlow's checkpoints of version 2 ("tensor bundles"), read without TensorFlow; docs/decisions/0012.

PREFIX.index is a sorted string table (tensorflow/core/lib/io/format.cc, LevelDB's): a footer finds a block of handles,
these find blocks of prefix-compressed keys, and each block has a checksum. Its values are protocol buffers
(tensorflow/core/protobuf/tensor_bundle.proto): at key "" the number of data files, at every other key a variable's
type, shape, file, offset, size and checksum. PREFIX.data-00000-of-00001 has the numbers.

A file is believed in nothing that its checksums and sizes do not bear out, and what is asked of memory and time grows
with the length of the files alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack
from math import prod
from pathlib import Path

import google_crc32c
import numpy as np

from jaxbert.convert.tensors import Array, Shape, Tensor, np_dtype
from jaxbert.errors import InputError

INDEX = ".index"
# Bytes: of the footer, of a block's type and checksum behind it; the number at the end of every table.
_FOOTER, _TRAILER, _MAGIC = 48, 5, 0xDB4775248B80FB57
# Of BERT-large with its optimizer: 1,200 variables, 100 kB. What is so much longer is no such file.
_LONGEST_INDEX, _LONGEST_KEY, _LONGEST_VALUE, _MOST = 2**24, 1024, 2**16, 20_000
_MOST_AXES, _MOST_NUMBERS = 8, 2**48
# What is read at once.
_CHUNK = 2**26

# tensorflow/core/framework/types.proto; the rest are of no numbers, or of no model's.
_TYPES = {
    **{1: "float32", 2: "float64", 14: "bfloat16", 19: "float16", 10: "bool"},
    **{6: "int8", 5: "int16", 3: "int32", 9: "int64", 4: "uint8", 17: "uint16", 22: "uint32", 23: "uint64"},
}
# Names of fields of BundleHeaderProto and BundleEntryProto.
_SHARDS, _ENDIAN = 1, 2
_TYPE, _SHAPE, _SHARD, _OFFSET, _SIZE, _CRC, _SLICES = range(1, 8)
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"

_AGAIN = "Copy the checkpoint again, with all its files."

Fields = dict[int, list[int | bytes]]


class _Damaged(ValueError):
    """What is wrong; where is known elsewhere."""


def is_table(path: Path) -> bool:
    """Whether a file ends as a sorted string table does: an index, or a whole checkpoint of version 1."""
    try:
        if not path.is_file() or path.stat().st_size < _FOOTER:
            return False
        with path.open("rb") as file:
            file.seek(-8, 2)
            return file.read() == struct.pack("<Q", _MAGIC)
    except OSError:
        return False


def open_bundle(prefix: Path, stack: ExitStack) -> dict[str, Tensor]:
    """The variables of a checkpoint by name, each read from disk when it is asked for, and its checksum compared.

    Args:
      prefix: what the names of its files begin with, as in `model.ckpt-1000`.
      stack: not needed here: no file is kept open.

    Raises:
      InputError: a file is missing, damaged or of another format. From a tensor's `read`: its numbers are damaged.
    """
    index = prefix.with_name(prefix.name + INDEX)
    if not index.exists() and is_table(prefix):
        raise InputError(
            "is a checkpoint of TensorFlow's version 1, of one file",
            where=str(prefix),
            fix="Open it where TensorFlow is, and save it again: tf.compat.v1.train.Saver writes version 2.",
        )
    try:
        if not index.is_file():  # opening a pipe would wait for ever
            raise FileNotFoundError
        if index.stat().st_size > _LONGEST_INDEX:
            raise _Damaged("too long for an index")
        return _tensors(prefix, dict(_table(index.read_bytes())))
    except FileNotFoundError:
        raise InputError("is missing", where=str(index), fix=_AGAIN) from None
    except (OSError, _Damaged) as error:
        raise InputError(f"unusable checkpoint: {error}", where=str(index), fix=_AGAIN) from None


def _tensors(prefix: Path, entries: dict[bytes, bytes]) -> dict[str, Tensor]:
    """The variables of an index whose blocks are sound."""
    if b"" not in entries:
        raise _Damaged("it has no header")
    header = _fields(entries.pop(b""))
    shards = _number(header, _SHARDS)
    if shards < 1 or shards > 99_999:
        raise _Damaged(f"its header says that there are {shards} data files")
    if _number(header, _ENDIAN):
        raise InputError(
            "its numbers are of a big-endian machine",
            where=str(prefix.with_name(prefix.name + INDEX)),
            fix="Save it again on another.",
        )
    tensors, sizes = {}, dict[Path, int]()
    # Keys that begin with 0 are of slices, whose whole has a key of its own.
    names = {_text(key): entry for key, entry in entries.items() if not key.startswith(b"\0")}
    if _OBJECTS in names:
        raise InputError(
            "is a checkpoint of TensorFlow 2's objects, whose names are those of its program's attributes",
            where=str(prefix),
            fix="Give the model's TF1 checkpoint, or have transformers 4 make a Hugging Face directory of it "
            "(convert_bert_original_tf2_checkpoint_to_pytorch.py).",
        )
    for name, entry in names.items():
        try:
            tensors[name] = _tensor(prefix, name, _fields(entry), shards, sizes)
        except _Damaged as error:
            raise _Damaged(f"variable {name!r} {error}") from None
    if not tensors:
        raise _Damaged("it has no variables")
    return tensors


def _tensor(prefix: Path, name: str, entry: Fields, shards: int, sizes: dict[Path, int]) -> Tensor:
    """One variable; its file is there and long enough. `sizes` are those of the files seen so far."""
    if _SLICES in entry:
        raise InputError(
            f"variable {name!r} is in slices (partitioned)",
            where=str(prefix),
            fix="Open it where TensorFlow is, and save it again without partitions.",
        )
    kind, shape = _number(entry, _TYPE), _shape(entry)
    if kind not in _TYPES:
        raise InputError(
            f"variable {name!r} is of TensorFlow's type {kind}, which is none of numbers",
            where=str(prefix),
            fix="Save the checkpoint again with the model's variables alone.",
        )
    shard, offset, size = (_number(entry, field) for field in (_SHARD, _OFFSET, _SIZE))
    dtype = np_dtype(_TYPES[kind])
    if size != prod(shape) * dtype.itemsize:
        raise _Damaged(f"of {_TYPES[kind]} and shape {list(shape)} has {size} bytes")
    if shard >= shards:
        raise _Damaged(f"is in data file {shard} of {shards}")
    path = prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}")
    if path not in sizes:
        if not path.is_file():
            raise InputError(f"is missing, and has variable {name!r}", where=str(path), fix=_AGAIN)
        sizes[path] = path.stat().st_size
    if offset + size > sizes[path]:
        raise InputError(f"is cut short: it ends before variable {name!r} does", where=str(path), fix=_AGAIN)
    crc = _number(entry, _CRC)
    return Tensor(shape, _TYPES[kind], lambda: _read(path, name, offset, size, crc).view(dtype).reshape(shape))


def _read(path: Path, name: str, offset: int, size: int, crc: int) -> Array:
    """A variable's bytes, which are what was written."""
    whole, found = np.empty(size, np.uint8), 0
    try:
        if not path.is_file():
            raise FileNotFoundError(2, "is no longer there")
        with path.open("rb") as file:
            file.seek(offset)
            for start in range(0, size, _CHUNK):
                part = file.read(min(_CHUNK, size - start))
                found = google_crc32c.extend(found, part)
                whole[start : start + len(part)] = np.frombuffer(part, np.uint8)
    except OSError as error:
        raise InputError(f"variable {name!r} is unreadable: {error.strerror}", where=str(path), fix=_AGAIN) from None
    if _masked(found) != crc:
        raise InputError(f"variable {name!r} is damaged: its checksum differs", where=str(path), fix=_AGAIN)
    return whole


def _shape(entry: Fields) -> Shape:
    """TensorShapeProto: field 2 an axis, whose field 1 is its length; field 3 says that nothing is known."""
    shape = _fields(_message(entry, _SHAPE))
    axes = shape.get(2, [])
    if 3 in shape or len(axes) > _MOST_AXES:
        raise _Damaged("is of no shape that a weight has")
    lengths = tuple(_number(_fields(_bytes(axis)), 1) for axis in axes)
    # A negative length is one near 2^64 here; and an axis of 0 hides no others from numpy.
    if prod(max(length, 1) for length in lengths) > _MOST_NUMBERS:
        raise _Damaged(f"has shape {list(lengths)}")
    return lengths


def _text(key: bytes) -> str:
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError:
        raise _Damaged(f"a variable's name is no text ({key[:40]!r})") from None


def _masked(crc: int) -> int:
    """A checksum as it is kept (tensorflow/core/lib/hash/crc32c.h)."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


# ----------------------------------------------------------------------------------------------------------------------
# The sorted string table


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values, in order."""
    if len(data) < _FOOTER or data[-8:] != struct.pack("<Q", _MAGIC):
        raise _Damaged("it is no index of TensorFlow's, or cut short")
    body, footer = data[:-_FOOTER], data[-_FOOTER:]
    meta, at = _handle(footer, 0)
    handles, _ = _handle(footer, at)
    list(_block(body, *meta))  # TensorFlow puts nothing there; looked at for its checksum
    count, last, end = 0, None, 0
    for _, value in _block(body, *handles):
        (start, size), _ = _handle(value, 0)
        if start < end:
            raise _Damaged("its blocks overlap")
        end = start + size
        for key, entry in _block(body, start, size):
            count += 1
            if count > _MOST or len(key) > _LONGEST_KEY or len(entry) > _LONGEST_VALUE:
                raise _Damaged("it has more than a model's variables")
            if last is not None and key <= last:
                raise _Damaged("its keys are out of order")
            yield key, entry
            last = key


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """(offset and size of a block, where the handle ends)."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _block(body: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block: entries, then where keys stand whole (for a search, not needed here)."""
    end = offset + size
    if size < 4 or end + _TRAILER > len(body):
        raise _Damaged("a block reaches beyond its end")
    (crc,) = struct.unpack_from("<I", body, end + 1)
    if _masked(google_crc32c.value(body[offset : end + 1])) != crc:
        raise _Damaged("a block is damaged: its checksum differs")
    if body[end] != 0:
        raise _Damaged("its blocks are compressed, which TensorFlow's own never are")
    block = body[offset:end]
    (restarts,) = struct.unpack_from("<I", block, size - 4)
    limit = size - 4 - 4 * restarts
    if limit < 0:
        raise _Damaged("a block has more restarts than bytes")
    at, key = 0, b""
    while at < limit:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or shared > _LONGEST_KEY or at + fresh + length > limit:
            raise _Damaged("an entry reaches beyond its block")
        key = key[:shared] + block[at : at + fresh]
        at += fresh + length
        yield key, block[at - length : at]


# ----------------------------------------------------------------------------------------------------------------------
# Protocol buffers (protobuf.dev/programming-guides/encoding)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(number below 2^64, where it ends)."""
    value = 0
    for byte in range(10):
        if at + byte >= len(data):
            break
        value |= (data[at + byte] & 0x7F) << 7 * byte
        if data[at + byte] < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at + byte + 1
    raise _Damaged("a number has no end")


def _fields(data: bytes) -> Fields:
    """The values of a message by field, in order: numbers, and bytes of whatever they hold."""
    fields: Fields = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            fields.setdefault(tag >> 3, []).append(value)
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise _Damaged("an entry is no protocol buffer")
        if at + size > len(data):
            raise _Damaged("an entry is cut short")
        part, at = data[at : at + size], at + size
        fields.setdefault(tag >> 3, []).append(part if wire == 2 else int.from_bytes(part, "little"))
    return fields


def _number(fields: Fields, field: int) -> int:
    """The last of a field; 0 where there is none, as the format has it."""
    value = fields.get(field, [0])[-1]
    if not isinstance(value, int):
        raise _Damaged("has text where a number is due")
    return value


def _message(fields: Fields, field: int) -> bytes:
    return _bytes(fields.get(field, [b""])[-1])


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise _Damaged("has a number where a message is due")
    return value
