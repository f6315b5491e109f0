"""The safetensors format: `model.safetensors`, or shards under `model.safetensors.index.json`.

Reading and writing handle one tensor at a time, so that memory stays small.
"""

from __future__ import annotations

import json
import os
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxbert.convert import flax_msgpack
from jaxbert.convert.tensors import Array, Tensor, Tensors, np_dtype, of_shards, read_index
from jaxbert.errors import InputError
from jaxbert.inputs.files import reading

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

# safetensors' names of types -> numpy's names. A type that weights never have keeps its own name, and is refused later.
_TYPES = {
    **{"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "BOOL": "bool"},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}
_NAMES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"}


def found(directory: Path) -> bool:
    """Says whether `directory` holds safetensors files."""
    return any((directory / name).exists() for name in (WEIGHTS, INDEX))


def open_tensors(directory: Path, stack: ExitStack) -> dict[str, Tensor]:
    """Opens the tensors of a directory by name. Each is read from disk when its `read` is called.

    Args:
      directory: the model's directory.
      stack: keeps the files open until it closes.

    Raises:
      InputError: a file is missing or damaged, or the index names a file outside the directory.
    """
    forms: set[str | None] = set()

    def opened(path: Path) -> dict[str, Tensor]:
        handle = _open(path, stack)
        forms.add((handle.metadata() or {}).get("format"))
        return {name: _tensor(handle, name, path) for name in handle.keys()}  # noqa: SIM118 (no mapping)

    if (directory / WEIGHTS).exists():
        where, tensors = directory / WEIGHTS, opened(directory / WEIGHTS)
    else:
        where = directory / INDEX
        tensors = of_shards(directory, INDEX, read_index(where), opened)
    # Files that transformers' Flax classes wrote say so in their metadata. Their names and matrices are Flax's.
    return flax_msgpack.published(tensors, str(where)) if forms == {"flax"} else tensors


def _open(path: Path, stack: ExitStack) -> Any:
    try:
        if not path.is_file():  # safetensors reports a directory as "no such device"
            raise FileNotFoundError
        with reading(path):
            return stack.enter_context(safe_open(path, framework="np"))
    except FileNotFoundError:
        raise InputError(
            "the file is missing",
            where=str(path),
            fix="Copy the model again with all its files.",
            code="E-CONVERT-MISSING",
        ) from None
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"the weights are unreadable: {error}",
            where=str(path),
            fix="Copy the model again.",
            code="E-CONVERT-DAMAGED",
        ) from None


def _tensor(handle: Any, name: str, path: Path) -> Tensor:
    header = handle.get_slice(name)

    def read() -> Array:
        try:
            with reading(path):
                return np.asarray(handle.get_tensor(name))
        except (SafetensorError, TypeError) as error:
            raise InputError(
                f"the tensor {name!r} is unreadable: {error}",
                where=str(path),
                fix="Copy the model again.",
                code="E-CONVERT-DAMAGED",
            ) from None

    kind = str(header.get_dtype())
    return Tensor(tuple(header.get_shape()), _TYPES.get(kind, kind), read)


def write_tensors(path: Path, tensors: Tensors) -> None:
    """Writes one file, one tensor at a time, so that memory holds only the largest tensor.

    The safetensors library can write only tensors that are all in memory at once. This function writes the same bytes
    as the library: 8 bytes with the length of the header, the header in JSON, then the arrays, ordered by the width of
    their types (widest first) and then by name. A published file that is read and written again is the same file.
    """
    order = sorted(tensors, key=lambda name: (-np_dtype(tensors[name].dtype).itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        tensor = tensors[name]
        begin, end = end, end + int(np.prod(tensor.shape, dtype=np.int64)) * np_dtype(tensor.dtype).itemsize
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            array = tensors[name].read()
            little = array.astype(array.dtype.newbyteorder("<"), copy=False) if array.dtype.byteorder == ">" else array
            file.write(np.ascontiguousarray(little).reshape(-1).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())
