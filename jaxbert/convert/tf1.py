"""TensorFlow's checkpoints of version 2 ("tensor bundles"), read without TensorFlow; docs/decisions/0012.

PREFIX.index is a sorted string table (tensorflow/core/lib/io/table, LevelDB's format): blocks of prefix-compressed keys
with a checksum each, found by a footer. Its values are protocol buffers (tensorflow/core/protobuf/tensor_bundle.proto):
the key "" has the number of data files, every other key is a variable with its type, shape, file, offset, size and
checksum. PREFIX.data-00000-of-00001 has the numbers, little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import IO

import google_crc32c
import numpy as np

from jaxbert.convert.names import np_dtype
from jaxbert.convert.tensors import Array, Tensor
from jaxbert.errors import InputError

_MAGIC, _FOOTER, _TRAILER = 0xDB4775248B80FB57, 48, 5
_LONGEST_INDEX = 256 * 2**20
# tensorflow/core/framework/types.proto
_TYPES = {1: "float32", 2: "float64", 3: "int32", 9: "int64", 14: "bfloat16", 19: "float16"}
_STRING = 7


class _Damaged(ValueError):
    """What is wrong, without the place."""


def open_bundle(prefix: Path, stack: ExitStack) -> dict[str, Tensor]:
    """The variables of a checkpoint by name, each read from disk when it is asked for, its checksum compared.

    Raises:
      InputError: a file is missing or damaged, or the checkpoint is of another format.
    """
    index = prefix.with_name(prefix.name + ".index")
    try:
        if index.stat().st_size > _LONGEST_INDEX:
            raise _Damaged("it is too long for an index")
        entries = dict(_table(index.read_bytes()))
        return _tensors(prefix, entries, stack)
    except FileNotFoundError as error:
        missing = Path(str(error.filename))
        raise InputError(
            "is missing", where=str(missing), fix="Copy the checkpoint again, with all its files."
        ) from None
    except (OSError, ValueError, struct.error, IndexError) as error:
        reason = error.args[0] if isinstance(error, _Damaged) else f"it is damaged ({error})"
        raise InputError(f"unusable checkpoint: {reason}", where=str(index), fix="Copy it again.") from None


def _tensors(prefix: Path, entries: dict[str, bytes], stack: ExitStack) -> dict[str, Tensor]:
    header = _fields(entries.pop("", b""))
    shards = _number(header, 1, 0)
    if not 1 <= shards <= 10_000 or _number(header, 2, 0) != 0:
        raise _Damaged("its header is none that can be read")
    if "_CHECKPOINTABLE_OBJECT_GRAPH" in entries:
        raise InputError(
            "is a checkpoint of TensorFlow 2's objects, whose names are its program's",
            where=str(prefix),
            fix="Load it in its own program and save it with tf.compat.v1.train.Saver, or as safetensors.",
        )
    files: dict[int, tuple[Path, IO[bytes], int]] = {}
    tensors: dict[str, Tensor] = {}
    for name, value in entries.items():
        entry = _fields(value)
        kind, shard = _number(entry, 1, 0), _number(entry, 3, 0)
        if 7 in entry:
            raise _Damaged(f"variable {name!r} is in slices; save it in one piece")
        if kind not in _TYPES:
            if kind == _STRING:
                continue  # the program's own notes
            raise _Damaged(f"variable {name!r} is of type number {kind}")
        if shard >= shards:
            raise _Damaged(f"variable {name!r} is in file {shard} of {shards}")
        if shard not in files:
            path = prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}")
            file = stack.enter_context(path.open("rb"))
            files[shard] = (path, file, path.stat().st_size)
        dims = _fields(_message(entry, 2)).get(2, [])
        shape = tuple(_number(_fields(dim), 1, 0) for dim in dims if isinstance(dim, bytes))
        offset, size = _number(entry, 4, 0), _number(entry, 5, 0)
        dtype = _TYPES[kind]
        if size != prod(shape) * np_dtype(dtype).itemsize or offset + size > files[shard][2]:
            raise _Damaged(f"variable {name!r} of shape {list(shape)} does not fit its {size} bytes or its file")
        tensors[name] = _tensor(files[shard], name, shape, dtype, offset, size, _number(entry, 6, 0))
    return tensors


def _tensor(
    home: tuple[Path, IO[bytes], int], name: str, shape: tuple[int, ...], dtype: str, offset: int, size: int, crc: int
) -> Tensor:
    path, file, _ = home

    def read() -> Array:
        file.seek(offset)
        raw = file.read(size)
        if len(raw) != size or _masked(raw) != crc:
            raise InputError(
                f"variable {name!r} is not what was written (its checksum differs)",
                where=str(path),
                fix="Copy the checkpoint again.",
            )
        return np.frombuffer(raw, np_dtype(dtype)).reshape(shape)

    return Tensor(shape, dtype, read)


def _masked(data: bytes) -> int:
    """The checksum as TensorFlow keeps it (tensorflow/core/lib/hash/crc32c.h)."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


# ----------------------------------------------------------------------------------------------------------------------
# The sorted string table


def _table(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Keys and values of a table, in order."""
    if len(data) < _FOOTER or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise _Damaged("it is no index of a TensorFlow checkpoint, or is cut short")
    footer = data[-_FOOTER:]
    _, at = _varint(footer, 0)  # of a block that TensorFlow does not use
    _, at = _varint(footer, at)
    offset, at = _varint(footer, at)
    size, _ = _varint(footer, at)
    before = b""
    for _, handle in _block(data, offset, size):
        start, at = _varint(handle, 0)
        length, _ = _varint(handle, at)
        for key, value in _block(data, start, length):
            if key <= before and before:
                raise _Damaged("its keys are out of order")
            before = key
            yield key.decode("utf-8"), value


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    end = offset + size
    if end + _TRAILER > len(data) - _FOOTER or size < 4:
        raise _Damaged("a block reaches beyond it")
    kind, crc = data[end], struct.unpack("<I", data[end + 1 : end + _TRAILER])[0]
    if _masked(data[offset : end + 1]) != crc:
        raise _Damaged("a block is not what was written (its checksum differs)")
    if kind != 0:
        raise _Damaged("its blocks are compressed")
    block = data[offset:end]
    limit = size - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    if limit < 0:
        raise _Damaged("a block has more restarts than bytes")
    at, key = 0, b""
    while at < limit:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or at + fresh + length > limit:
            raise _Damaged("an entry reaches beyond its block")
        key = key[:shared] + block[at : at + fresh]
        at += fresh
        yield key, block[at : at + length]
        at += length


# ----------------------------------------------------------------------------------------------------------------------
# Protocol buffers: numbers of any wire type by field; groups there are none


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise _Damaged("a number in it has no end")


def _fields(data: bytes) -> dict[int, list[int | bytes]]:
    found: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == 0:
            value, at = _varint(data, at)
        elif wire in (1, 5):
            width = 8 if wire == 1 else 4
            value, at = int.from_bytes(data[at : at + width], "little"), at + width
        elif wire == 2:
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
        else:
            raise _Damaged("an entry is no protocol buffer")
        if at > len(data):
            raise _Damaged("an entry is cut short")
        found.setdefault(number, []).append(value)
    return found


def _number(fields: dict[int, list[int | bytes]], field: int, default: int) -> int:
    value = fields.get(field, [default])[-1]
    if not isinstance(value, int):
        raise _Damaged("an entry has bytes where a number is due")
    return value


def _message(fields: dict[int, list[int | bytes]], field: int) -> bytes:
    value = fields.get(field, [b""])[-1]
    if not isinstance(value, bytes):
        raise _Damaged("an entry has a number where a message is due")
    return value
