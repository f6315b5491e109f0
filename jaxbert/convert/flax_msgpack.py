"""The format of transformers' Flax classes: `flax_model.msgpack`, or shards under `flax_model.msgpack.index.json`.

A file holds nested maps with text keys (flax/serialization.py). Their leaves are msgpack's extension 1: an array as
(shape, name of the type, bytes). An array of more than 1 GiB is a map of its shape and its pieces. Every other content
is refused.

The keys are torch's names, split at the dots. Only the last parts differ (transformers/modeling_flax_*.py): a `kernel`
is a transposed weight, and a `scale` or an `embedding` is a weight. The Flax classes of BERT, RoBERTa, ALBERT and
DistilBERT use the same names as torch's for their layers, groups and heads.
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
from jaxbert.inputs.files import open_regular, reading

WEIGHTS, INDEX = "flax_model.msgpack", "flax_model.msgpack.index.json"

# The last part of a Flax path -> the last part of torch's name.
_LAST = {"kernel": "weight", "scale": "weight", "embedding": "weight"}
_TYPES = {
    name.encode(): np_dtype(name)
    for name in (*FLOATS, "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
}
_ARRAY = 1  # flax's number for an array; 2 is a complex number and 3 a scalar
_PIECES = "__msgpack_chunked_array__"
# Limits that no real file reaches: the depth of the tree, and the number of entries in a map or a list.
_DEEPEST, _LONGEST = 32, 64


@dataclass(frozen=True)
class _Leaf:
    """The header of an array in a file, and the position where its bytes end."""

    shape: Shape
    dtype: np.dtype[Any]
    end: int = 0

    @property
    def bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def found(directory: Path) -> bool:
    """Says whether `directory` holds files of transformers' Flax classes."""
    return any((directory / name).exists() for name in (WEIGHTS, INDEX))


def open_tensors(directory: Path, stack: ExitStack) -> dict[str, Tensor]:
    """Opens the tensors of a directory under torch's names and in torch's orientation. Numbers are read on request.

    Args:
      directory: the model's directory.
      stack: not used, because no file stays open.

    Raises:
      InputError: a file is missing or damaged, holds anything but arrays of numbers, or the index names a file outside
        the directory.
    """
    if (directory / WEIGHTS).exists():
        return published(_open(directory / WEIGHTS), str(directory / WEIGHTS))
    home = {name.replace("/", "."): file for name, file in read_index(directory / INDEX).items()}
    return published(of_shards(directory, INDEX, home, _open), str(directory / INDEX))


def published(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Returns the tensors of a Flax tree under torch's names and in torch's orientation.

    Args:
      tensors: by path, its parts joined by dots.
      where: the file, for error messages.

    Raises:
      InputError: a kernel is not a matrix, or two tensors get the same name.
    """
    renamed: dict[str, Tensor] = {}
    for path, tensor in tensors.items():
        parents, dot, last = path.rpartition(".")
        name = parents + dot + _LAST.get(last, last)
        if name in renamed:
            raise InputError(
                f"the tensor {path!r} and another one both have the name {name!r}",
                where=where,
                fix="Remove one of them.",
                code="E-CONVERT-DUPLICATE",
            )
        if last == "kernel" and len(tensor.shape) != 2:
            raise InputError(
                f"the tensor {path!r} has shape {list(tensor.shape)}, but a kernel must be a matrix",
                where=where,
                fix="Give a file of transformers' Flax classes.",
                code="E-CONVERT-SHAPE",
            )
        renamed[name] = tensor.transposed() if last == "kernel" else tensor
    return renamed


# ----------------------------------------------------------------------------------------------------------------------
# One file


def _open(path: Path) -> dict[str, Tensor]:
    """Opens the tensors of one file by path, its parts joined by dots."""
    tensors: dict[str, Tensor] = {}
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise FileNotFoundError
        with reading(path), open_regular(path) as file, open_regular(path) as beside:
            for name, tensor in _Walk(file, beside, path).tensors((), 0):
                if name in tensors:
                    raise InputError(
                        f"the tensor {name!r} occurs twice",
                        where=str(path),
                        fix="Copy the model again.",
                        code="E-CONVERT-DUPLICATE",
                    )
                tensors[name] = tensor
    except FileNotFoundError:
        raise InputError(
            "the file is missing",
            where=str(path),
            fix="Copy the model again with all its files.",
            code="E-CONVERT-MISSING",
        ) from None
    except (OSError, ValueError, RecursionError, msgpack.UnpackException) as error:
        what = str(error) or type(error).__name__
        raise InputError(
            f"the weights are unreadable: {what}",
            where=str(path),
            fix="Copy the model again.",
            code="E-CONVERT-DAMAGED",
        ) from None
    return tensors


class _Walk:
    """Reads a file once from front to back, with at most one array in memory.

    Its methods raise ValueError where the file is wrong.
    """

    def __init__(self, file: Any, beside: Any, path: Path):
        self.beside, self.path, self.size = beside, path, path.stat().st_size
        self.unpacker = msgpack.Unpacker(
            file,
            read_size=2**20,
            max_buffer_size=0,  # memory grows with the bytes read, never by the word of a header
            max_array_len=_LONGEST,
            max_map_len=_LONGEST,
            strict_map_key=False,  # checked here, with a better message
            ext_hook=_header,
        )

    def tensors(self, above: tuple[str, ...], depth: int) -> Iterator[tuple[str, Tensor]]:
        """Yields the tensors of the next map. The map at the top must end with the file."""
        if depth > _DEEPEST:
            raise ValueError("the maps are nested too deeply")
        if not self._at_map():
            raise ValueError("a map of tensors is expected")
        entries = self.unpacker.read_map_header()
        for entry in range(entries):
            key = self.unpacker.unpack()
            if not isinstance(key, str):
                raise ValueError(f"a key in {'.'.join(above)!r} is not text")
            if key == _PIECES and entry == 0 and entries == 3:
                yield ".".join(above), self._pieces(".".join(above))
                return
            name = ".".join((*above, key))
            if self._at_map():
                yield from self.tensors((*above, key), depth + 1)
            else:
                yield name, self._tensor(name)
        if depth == 0 and self.unpacker.tell() != self.size:
            raise ValueError(f"{self.size - self.unpacker.tell():,} bytes follow the last tensor")

    def _at_map(self) -> bool:
        """Says whether a map comes next. The first byte tells: fixmap, map 16 or map 32."""
        self.beside.seek(self.unpacker.tell())
        first = self.beside.read(1)
        return bool(first) and (0x80 <= first[0] <= 0x8F or first[0] in (0xDE, 0xDF))

    def _leaf(self, name: str) -> _Leaf:
        try:
            leaf = self.unpacker.unpack()
        except (ValueError, msgpack.UnpackException) as error:
            raise ValueError(f"the tensor {name!r}: {error or type(error).__name__}") from None
        if not isinstance(leaf, _Leaf):
            raise ValueError(f"the tensor {name!r} is not an array")
        return _Leaf(leaf.shape, leaf.dtype, self.unpacker.tell())

    def _tensor(self, name: str) -> Tensor:
        leaf = self._leaf(name)
        return Tensor(leaf.shape, leaf.dtype.name, lambda: _read(self.path, name, leaf))

    def _pieces(self, name: str) -> Tensor:
        """Reads an array in pieces: the value of the marker, then two numbered maps with its shape and its pieces."""
        self.unpacker.unpack()
        if self.unpacker.unpack() != "shape":
            raise ValueError(f"the tensor {name!r} has no shape")
        axes = self.unpacker.unpack()
        if not isinstance(axes, dict) or list(axes) != [str(axis) for axis in range(len(axes))]:
            raise ValueError(f"the tensor {name!r} has no shape")
        shape = _shape(list(axes.values()))
        if self.unpacker.unpack() != "chunks" or not self._at_map():
            raise ValueError(f"the tensor {name!r} has no pieces")
        pieces = []
        for number in range(self.unpacker.read_map_header()):
            if self.unpacker.unpack() != str(number):
                raise ValueError(f"the tensor {name!r} lacks its piece {number}")
            pieces.append(self._leaf(name))
        types = {piece.dtype for piece in pieces}
        if len(types) != 1 or sum(prod(piece.shape) for piece in pieces) != prod(shape):
            raise ValueError(f"the pieces of the tensor {name!r} do not fill its shape")

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
    """Reads the header of an extension. Raises ValueError unless it is an array with the number of bytes it says."""
    if code != _ARRAY:
        raise ValueError(f"extension {code} is not an array")
    content = msgpack.unpackb(data, raw=True, max_array_len=_LONGEST, max_map_len=0)
    if not isinstance(content, list) or len(content) != 3:
        raise ValueError("an entry is not an array")
    shape, kind, buffer = content
    if not isinstance(kind, bytes) or kind not in _TYPES:
        raise ValueError(f"the type {kind!r} is not one of numbers")
    leaf = _Leaf(_shape(shape), _TYPES[kind])
    if not isinstance(buffer, bytes) or leaf.bytes != len(buffer):
        raise ValueError(f"the shape {list(leaf.shape)} does not fit the number of bytes")
    return leaf


def _shape(axes: Any) -> Shape:
    right = isinstance(axes, list) and all(type(axis) is int and axis >= 0 for axis in axes)
    if not right:
        raise ValueError(f"the shape is {str(axes)[:80]}")
    return tuple(axes)


def _read(path: Path, name: str, leaf: _Leaf) -> Array:
    """Reads the numbers of an array. Their bytes are the last ones of its entry in the file."""
    try:
        with reading(path):
            buffer = np.fromfile(path, np.uint8, leaf.bytes, offset=leaf.end - leaf.bytes)
    except OSError as error:
        raise InputError(
            f"the tensor {name!r} is unreadable: {error}",
            where=str(path),
            fix="Copy the model again.",
            code="E-CONVERT-DAMAGED",
        ) from None
    if buffer.size != leaf.bytes:
        raise InputError(
            f"the tensor {name!r} is cut off at the end of the file",
            where=str(path),
            fix="Copy the model again.",
            code="E-CONVERT-DAMAGED",
        )
    return buffer.view(leaf.dtype).reshape(leaf.shape)
