"""Reads TensorFlow's checkpoints of version 2 ("tensor bundles") without TensorFlow; see docs/decisions/0012.

PREFIX.index is a sorted string table in LevelDB's format (tensorflow/core/lib/io/format.cc). Its footer points to a
block of handles, the handles point to blocks of prefix-compressed keys, and each block has a checksum. The values are
protocol buffers (tensorflow/core/protobuf/tensor_bundle.proto). The key "" has the number of data files; every other
key has a variable's type, shape, file, offset, size and checksum. PREFIX.data-00000-of-00001 has the numbers.

The reader trusts a file only as far as checksums and sizes confirm it. Memory and time grow with the length of the
files, never with a number that a file contains.
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
from jaxbert.inputs.files import open_regular, read_bytes, reading

INDEX = ".index"
# Bytes of the footer; bytes of the type and checksum after a block; the magic number at the end of every table.
_FOOTER, _TRAILER, _MAGIC = 48, 5, 0xDB4775248B80FB57
# Limits far above real files: BERT-large with its optimizer has 1,200 variables and an index of 100 kB.
_LONGEST_INDEX, _LONGEST_KEY, _LONGEST_VALUE, _MOST = 2**24, 1024, 2**16, 20_000
_MOST_AXES, _MOST_NUMBERS = 8, 2**48
# The number of bytes that are read at once.
_CHUNK = 2**26

# From tensorflow/core/framework/types.proto. The other types are not numbers, or no model uses them.
_TYPES = {
    **{1: "float32", 2: "float64", 14: "bfloat16", 19: "float16", 10: "bool"},
    **{6: "int8", 5: "int16", 3: "int32", 9: "int64", 4: "uint8", 17: "uint16", 22: "uint32", 23: "uint64"},
}
# The numbers of the fields of BundleHeaderProto and BundleEntryProto.
_SHARDS, _ENDIAN = 1, 2
_TYPE, _SHAPE, _SHARD, _OFFSET, _SIZE, _CRC, _SLICES = range(1, 8)
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"

_AGAIN = "Copy the checkpoint again, with all its files."

Fields = dict[int, list[int | bytes]]


class _Damaged(ValueError):
    """The file is damaged. `open_bundle` adds its name."""


def is_table(path: Path) -> bool:
    """Says whether a file ends like a sorted string table: an index, or a whole checkpoint of version 1."""
    try:
        if not path.is_file() or path.stat().st_size < _FOOTER:
            return False
        with open_regular(path) as file:
            file.seek(-8, 2)
            return file.read() == struct.pack("<Q", _MAGIC)
    except OSError:
        return False


def open_bundle(prefix: Path, stack: ExitStack) -> dict[str, Tensor]:
    """Opens the variables of a checkpoint by name. Each is read from disk, and its checksum compared, on request.

    Args:
      prefix: the beginning of the names of its files, such as `model.ckpt-1000`.
      stack: not used, because no file stays open.

    Raises:
      InputError: a file is missing, damaged or in another format. A tensor's `read` raises it where its numbers are
        damaged.
    """
    index = prefix.with_name(prefix.name + INDEX)
    if not index.exists() and is_table(prefix):
        raise InputError(
            "the file is a checkpoint in TensorFlow's version 1, which is not supported",
            where=str(prefix),
            fix="Open it with TensorFlow and save it again: tf.compat.v1.train.Saver writes version 2.",
            code="E-CONVERT-TF-FORMAT",
        )
    try:
        if not index.is_file():  # opening a pipe would wait for ever
            raise FileNotFoundError
        if index.stat().st_size > _LONGEST_INDEX:
            raise _Damaged("the index is too long")
        content = read_bytes(index)
        return _tensors(prefix, dict(_table(content)))
    except FileNotFoundError:
        raise InputError("the file is missing", where=str(index), fix=_AGAIN, code="E-CONVERT-MISSING") from None
    except (OSError, _Damaged) as error:
        raise InputError(
            f"the checkpoint is damaged: {error}", where=str(index), fix=_AGAIN, code="E-CONVERT-DAMAGED"
        ) from None


def _tensors(prefix: Path, entries: dict[bytes, bytes]) -> dict[str, Tensor]:
    """Returns the variables of an index whose blocks have the right checksums."""
    if b"" not in entries:
        raise _Damaged("the index has no header")
    header = _fields(entries.pop(b""))
    shards = _number(header, _SHARDS)
    if shards < 1 or shards > 99_999:
        raise _Damaged(f"the header says that there are {shards} data files")
    if _number(header, _ENDIAN):
        raise InputError(
            "a big-endian machine wrote the numbers, which is not supported",
            where=str(prefix.with_name(prefix.name + INDEX)),
            fix="Save the checkpoint again on a little-endian machine.",
            code="E-CONVERT-TF-FORMAT",
        )
    tensors, sizes = {}, dict[Path, int]()
    # Keys that begin with 0 belong to slices. The sliced variable has another key.
    names = {_text(key): entry for key, entry in entries.items() if not key.startswith(b"\0")}
    if _OBJECTS in names:
        raise InputError(
            "the file is a checkpoint of TensorFlow 2's objects, whose names belong to one program",
            where=str(prefix),
            fix="Give the model's TF1 checkpoint, or convert it to a Hugging Face directory with transformers 4 "
            "(convert_bert_original_tf2_checkpoint_to_pytorch.py).",
            code="E-CONVERT-TF-FORMAT",
        )
    for name, entry in names.items():
        try:
            tensors[name] = _tensor(prefix, name, _fields(entry), shards, sizes)
        except _Damaged as error:
            raise _Damaged(f"the variable {name!r} {error}") from None
    if not tensors:
        raise _Damaged("the index has no variables")
    return tensors


def _tensor(prefix: Path, name: str, entry: Fields, shards: int, sizes: dict[Path, int]) -> Tensor:
    """Returns one variable, after checking that its data file exists and is long enough.

    Args:
      prefix: prefix of the checkpoint.
      name: name of the variable.
      entry: its entry in the index.
      shards: the number of data files.
      sizes: the sizes of the data files seen so far; this function adds to them.
    """
    if _SLICES in entry:
        raise InputError(
            f"the variable {name!r} is partitioned into slices, which is not supported",
            where=str(prefix),
            fix="Open the checkpoint with TensorFlow and save it again without partitions.",
            code="E-CONVERT-TF-FORMAT",
        )
    kind, shape = _number(entry, _TYPE), _shape(entry)
    if kind not in _TYPES:
        raise InputError(
            f"the variable {name!r} has TensorFlow's type {kind}, which is not a type of numbers",
            where=str(prefix),
            fix="Save the checkpoint again with only the model's variables.",
            code="E-CONVERT-TF-FORMAT",
        )
    shard, offset, size = (_number(entry, field) for field in (_SHARD, _OFFSET, _SIZE))
    dtype = np_dtype(_TYPES[kind])
    if size != prod(shape) * dtype.itemsize:
        raise _Damaged(f"has {size} bytes, which do not fit {_TYPES[kind]} and shape {list(shape)}")
    if shard >= shards:
        raise _Damaged(f"is in data file {shard}, but there are only {shards}")
    path = prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}")
    if path not in sizes:
        if not path.is_file():
            raise InputError(
                f"the file is missing, and it holds the variable {name!r}",
                where=str(path),
                fix=_AGAIN,
                code="E-CONVERT-MISSING",
            )
        sizes[path] = path.stat().st_size
    if offset + size > sizes[path]:
        raise InputError(
            f"the file is cut short: it ends before the variable {name!r} does",
            where=str(path),
            fix=_AGAIN,
            code="E-CONVERT-DAMAGED",
        )
    crc = _number(entry, _CRC)
    return Tensor(shape, _TYPES[kind], lambda: _read(path, name, offset, size, crc).view(dtype).reshape(shape))


def _read(path: Path, name: str, offset: int, size: int, crc: int) -> Array:
    """Reads a variable's bytes, and compares their checksum."""
    whole, found = np.empty(size, np.uint8), 0
    try:
        if not path.is_file():
            raise FileNotFoundError(2, "the file no longer exists")
        with reading(path), open_regular(path) as file:
            file.seek(offset)
            for start in range(0, size, _CHUNK):
                part = file.read(min(_CHUNK, size - start))
                found = google_crc32c.extend(found, part)
                whole[start : start + len(part)] = np.frombuffer(part, np.uint8)
    except OSError as error:
        raise InputError(
            f"the variable {name!r} is unreadable: {error.strerror}",
            where=str(path),
            fix=_AGAIN,
            code="E-CONVERT-DAMAGED",
        ) from None
    if _masked(found) != crc:
        raise InputError(
            f"the variable {name!r} is damaged: its checksum differs",
            where=str(path),
            fix=_AGAIN,
            code="E-CONVERT-DAMAGED",
        )
    return whole


def _shape(entry: Fields) -> Shape:
    """Reads a TensorShapeProto. Field 2 is an axis with its length in field 1; field 3 means an unknown shape."""
    shape = _fields(_message(entry, _SHAPE))
    axes = shape.get(2, [])
    if 3 in shape or len(axes) > _MOST_AXES:
        raise _Damaged("has no shape that a weight can have")
    lengths = tuple(_number(_fields(_bytes(axis)), 1) for axis in axes)
    # A negative length appears here as a number near 2^64. numpy refuses such an axis even beside one of length 0.
    if prod(max(length, 1) for length in lengths) > _MOST_NUMBERS:
        raise _Damaged(f"has shape {list(lengths)}")
    return lengths


def _text(key: bytes) -> str:
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError:
        raise _Damaged(f"a variable's name is not text ({key[:40]!r})") from None


def _masked(crc: int) -> int:
    """Masks a checksum, as TensorFlow stores it (tensorflow/core/lib/hash/crc32c.h)."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


# ----------------------------------------------------------------------------------------------------------------------
# The sorted string table


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields keys and values in order."""
    if len(data) < _FOOTER or data[-8:] != struct.pack("<Q", _MAGIC):
        raise _Damaged("it is not an index of TensorFlow, or it is cut short")
    body, footer = data[:-_FOOTER], data[-_FOOTER:]
    meta, at = _handle(footer, 0)
    handles, _ = _handle(footer, at)
    list(_block(body, *meta))  # TensorFlow leaves this block empty; reading it compares its checksum
    count, last, end = 0, None, 0
    for _, value in _block(body, *handles):
        (start, size), _ = _handle(value, 0)
        if start < end:
            raise _Damaged("its blocks overlap")
        end = start + size
        for key, entry in _block(body, start, size):
            count += 1
            if count > _MOST or len(key) > _LONGEST_KEY or len(entry) > _LONGEST_VALUE:
                raise _Damaged("it has more or longer entries than any model")
            if last is not None and key <= last:
                raise _Damaged("its keys are out of order")
            yield key, entry
            last = key


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Returns ((offset, size) of a block, the position after the handle)."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _block(body: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a block. After its entries comes an index for searches, which is not needed."""
    end = offset + size
    if size < 4 or end + _TRAILER > len(body):
        raise _Damaged("a block reaches beyond its end")
    (crc,) = struct.unpack_from("<I", body, end + 1)
    if _masked(google_crc32c.value(body[offset : end + 1])) != crc:
        raise _Damaged("a block is damaged: its checksum differs")
    if body[end] != 0:
        raise _Damaged("its blocks are compressed, and TensorFlow never writes such blocks")
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
    """Returns (a number below 2^64, the position after it)."""
    value = 0
    for byte in range(10):
        if at + byte >= len(data):
            break
        value |= (data[at + byte] & 0x7F) << 7 * byte
        if data[at + byte] < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at + byte + 1
    raise _Damaged("a number has no end")


def _fields(data: bytes) -> Fields:
    """Returns the values of a message by field number, in order: numbers, or bytes of a nested value."""
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
            raise _Damaged("an entry is not a protocol buffer")
        if at + size > len(data):
            raise _Damaged("an entry is cut short")
        part, at = data[at : at + size], at + size
        fields.setdefault(tag >> 3, []).append(part if wire == 2 else int.from_bytes(part, "little"))
    return fields


def _number(fields: Fields, field: int) -> int:
    """Returns the last number of a field; 0 where there is none, which is the format's default."""
    value = fields.get(field, [0])[-1]
    if not isinstance(value, int):
        raise _Damaged("has text in place of a number")
    return value


def _message(fields: Fields, field: int) -> bytes:
    return _bytes(fields.get(field, [b""])[-1])


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise _Damaged("has a number in place of a message")
    return value
