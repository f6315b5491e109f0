"""The files of transformers' Flax classes: `flax_model.msgpack`, or its shards by `flax_model.msgpack.index.json`.

What they hold (flax/serialization.py): nested maps with text keys, and at their leaves extension 1, an array of
(shape, name of the type, bytes); an array of more than 1 GiB is a map of its shape and its pieces. Nothing else is
taken. The trees are torch's names, split at the dots, but for the last parts (transformers/modeling_flax_*.py): a
`kernel` is a weight transposed, a `scale` and an `embedding` are weights. That is all the renaming there is: the
classes of BERT, RoBERTa, ALBERT and DistilBERT call their layers, groups and heads as torch's do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import numpy as np

from jaxbert.convert.tensors import FLOATS, Array, Shape, Tensor, np_dtype, of_shards, read_index
from jaxbert.errors import InputError

WEIGHTS, INDEX = "flax_model.msgpack", "flax_model.msgpack.index.json"

# Last part of a Flax path -> of torch's name.
_LAST = {"kernel": "weight", "scale": "weight", "embedding": "weight"}
_TYPES = {
    name.encode(): np_dtype(name)
    for name in (*FLOATS, "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
}
_ARRAY = 1  # of flax's extensions; 2 is a complex number and 3 a scalar
_PIECES = "__msgpack_chunked_array__"
# No model's tree is deeper, no array has more axes, and no piece of an array more company: what has is no such file.
_DEEPEST, _LONGEST = 32, 64


@dataclass(frozen=True)
class _Leaf:
    """An array of a file: its header, and where its bytes end."""

    shape: Shape
    dtype: np.dtype[Any]
    end: int = 0

    @property
    def bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def found(directory: Path) -> bool:
    """Whether `directory` has such files."""
    return any((directory / name).exists() for name in (WEIGHTS, INDEX))


def open_tensors(directory: Path, stack: ExitStack) -> dict[str, Tensor]:
    """The tensors of a directory under torch's names and in torch's orientation, read from disk when asked for.

    Args:
      directory: of the model.
      stack: not needed here: no file is kept open.

    Raises:
      InputError: a file is missing, damaged, named outside the directory, or holds anything but arrays of numbers.
    """
    if (directory / WEIGHTS).exists():
        return published(_open(directory / WEIGHTS), str(directory / WEIGHTS))
    home = {name.replace("/", "."): file for name, file in read_index(directory / INDEX).items()}
    return published(of_shards(directory, INDEX, home, _open), str(directory / INDEX))


def published(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The tensors of a Flax tree, whose paths are joined by dots, under torch's names and in torch's orientation.

    Raises:
      InputError: a kernel is no matrix, or two tensors come under one name.
    """
    renamed: dict[str, Tensor] = {}
    for path, tensor in tensors.items():
        parents, dot, last = path.rpartition(".")
        name = parents + dot + _LAST.get(last, last)
        if name in renamed:
            raise InputError(f"tensor {path!r} and another are both {name!r}", where=where, fix="Remove one of them.")
        if last == "kernel" and len(tensor.shape) != 2:
            raise InputError(
                f"tensor {path!r} has shape {list(tensor.shape)}, where a matrix is due",
                where=where,
                fix="Give a file of transformers' Flax classes.",
            )
        renamed[name] = tensor.transposed() if last == "kernel" else tensor
    return renamed


# ----------------------------------------------------------------------------------------------------------------------
# One file


def _open(path: Path) -> dict[str, Tensor]:
    """The tensors of one file, by path joined by dots."""
    tensors: dict[str, Tensor] = {}
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise FileNotFoundError
        with path.open("rb") as file, path.open("rb") as beside:
            for name, tensor in _Walk(file, beside, path).tensors((), 0):
                if name in tensors:
                    raise InputError(f"tensor {name!r} is there twice", where=str(path), fix="Copy the model again.")
                tensors[name] = tensor
    except FileNotFoundError:
        raise InputError("is missing", where=str(path), fix="Copy the model again, whole.") from None
    except (OSError, ValueError, RecursionError, msgpack.UnpackException) as error:
        what = str(error) or type(error).__name__
        raise InputError(f"unreadable weights: {what}", where=str(path), fix="Copy the model again.") from None
    return tensors


class _Walk:
    """Goes through a file once, from front to back; in memory there is never more than one array.

    ValueError for what is not right.
    """

    def __init__(self, file: Any, beside: Any, path: Path):
        self.beside, self.path, self.size = beside, path, path.stat().st_size
        self.unpacker = msgpack.Unpacker(
            file,
            read_size=2**20,
            max_buffer_size=0,  # memory grows by what is read, never by what a header says
            max_array_len=_LONGEST,
            max_map_len=_LONGEST,
            strict_map_key=False,  # checked here, with a better message
            ext_hook=_header,
        )

    def tensors(self, above: tuple[str, ...], depth: int) -> Iterator[tuple[str, Tensor]]:
        """The tensors of the map that comes next, and at the top nothing behind it."""
        if depth > _DEEPEST:
            raise ValueError("nests too deep")
        if not self._at_map():
            raise ValueError("no map of tensors")
        entries = self.unpacker.read_map_header()
        for entry in range(entries):
            key = self.unpacker.unpack()
            if not isinstance(key, str):
                raise ValueError(f"a key in {'.'.join(above)!r} is no text")
            if key == _PIECES and entry == 0 and entries == 3:
                yield ".".join(above), self._pieces(".".join(above))
                return
            name = ".".join((*above, key))
            if self._at_map():
                yield from self.tensors((*above, key), depth + 1)
            else:
                yield name, self._tensor(name)
        if depth == 0 and self.unpacker.tell() != self.size:
            raise ValueError(f"{self.size - self.unpacker.tell():,} bytes behind the last tensor")

    def _at_map(self) -> bool:
        """Whether a map comes next: fixmap, map 16 or map 32 by its first byte."""
        self.beside.seek(self.unpacker.tell())
        first = self.beside.read(1)
        return bool(first) and (0x80 <= first[0] <= 0x8F or first[0] in (0xDE, 0xDF))

    def _leaf(self, name: str) -> _Leaf:
        try:
            leaf = self.unpacker.unpack()
        except (ValueError, msgpack.UnpackException) as error:
            raise ValueError(f"tensor {name!r}: {error or type(error).__name__}") from None
        if not isinstance(leaf, _Leaf):
            raise ValueError(f"tensor {name!r} is no array")
        return _Leaf(leaf.shape, leaf.dtype, self.unpacker.tell())

    def _tensor(self, name: str) -> Tensor:
        leaf = self._leaf(name)
        return Tensor(leaf.shape, leaf.dtype.name, lambda: _read(self.path, name, leaf))

    def _pieces(self, name: str) -> Tensor:
        """The array that stands in pieces: the marker's value, then its shape and its pieces, each a map by number."""
        self.unpacker.unpack()
        if self.unpacker.unpack() != "shape":
            raise ValueError(f"tensor {name!r} has no shape")
        axes = self.unpacker.unpack()
        if not isinstance(axes, dict) or list(axes) != [str(axis) for axis in range(len(axes))]:
            raise ValueError(f"tensor {name!r} has no shape")
        shape = _shape(list(axes.values()))
        if self.unpacker.unpack() != "chunks" or not self._at_map():
            raise ValueError(f"tensor {name!r} has no pieces")
        pieces = []
        for number in range(self.unpacker.read_map_header()):
            if self.unpacker.unpack() != str(number):
                raise ValueError(f"tensor {name!r} lacks its piece {number}")
            pieces.append(self._leaf(name))
        types = {piece.dtype for piece in pieces}
        if len(types) != 1 or sum(prod(piece.shape) for piece in pieces) != prod(shape):
            raise ValueError(f"tensor {name!r} is not the sum of its pieces")

        def read() -> Array:
            whole = np.empty(prod(shape), pieces[0].dtype)
            start = 0
            for piece in pieces:
                stop = start + prod(piece.shape)
                whole[start:stop] = _read(self.path, name, piece).reshape(-1)
                start = stop
            return whole.reshape(shape)

        return Tensor(shape, pieces[0].dtype.name, read)


def _header(code: int, data: bytes) -> _Leaf:
    """An extension's header; ValueError unless it is an array whose bytes are as many as it says."""
    if code != _ARRAY:
        raise ValueError(f"extension {code} is no array")
    content = msgpack.unpackb(data, raw=True, max_array_len=_LONGEST, max_map_len=0)
    if not isinstance(content, list) or len(content) != 3:
        raise ValueError("no array")
    shape, kind, buffer = content
    if not isinstance(kind, bytes) or kind not in _TYPES:
        raise ValueError(f"its type {kind!r} is none of numbers")
    leaf = _Leaf(_shape(shape), _TYPES[kind])
    if not isinstance(buffer, bytes) or leaf.bytes != len(buffer):
        raise ValueError(f"its shape {list(leaf.shape)} is not that of its bytes")
    return leaf


def _shape(axes: Any) -> Shape:
    right = isinstance(axes, list) and all(type(axis) is int and axis >= 0 for axis in axes)
    if not right:
        raise ValueError(f"its shape is {str(axes)[:80]}")
    return tuple(axes)


def _read(path: Path, name: str, leaf: _Leaf) -> Array:
    """The numbers, whose bytes are the last of their entry in the file."""
    try:
        buffer = np.fromfile(path, np.uint8, leaf.bytes, offset=leaf.end - leaf.bytes)
    except OSError as error:
        raise InputError(f"tensor {name!r} is unreadable: {error}", where=str(path), fix="Copy it again.") from None
    if buffer.size != leaf.bytes:
        raise InputError(f"tensor {name!r} is unreadable: cut off", where=str(path), fix="Copy the model again.")
    return buffer.view(leaf.dtype).reshape(leaf.shape)
