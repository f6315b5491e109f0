"""The tensors of a file, in any format: their headers, and functions that read their numbers on request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from jaxbert.errors import InputError
from jaxbert.inputs import values

Array = NDArray[Any]
Shape = tuple[int, ...]

# numpy's names of the floats that files hold.
FLOATS = ("float16", "bfloat16", "float32", "float64")


def np_dtype(name: str) -> np.dtype[Any]:
    """Returns numpy's dtype for a name. numpy itself has no bfloat16, so ml_dtypes supplies it."""
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file.

    Attributes:
      shape: the shape in the file's header.
      dtype: numpy's name of the type ("float32", "bfloat16").
      read: returns the numbers. Most formats read them from disk at each call, and keep nothing in memory.
    """

    shape: Shape
    dtype: str
    read: Callable[[], Array]

    def transposed(self) -> Tensor:
        """Returns the same matrix, transposed."""
        return Tensor(self.shape[::-1], self.dtype, lambda: self.read().T)


def of_array(array: Array) -> Tensor:
    """Wraps an array that is already in memory."""
    return Tensor(array.shape, array.dtype.name, lambda: array)


# Tensors by their published names.
Tensors = Mapping[str, Tensor]

# The most bytes that a JSON file of a model may have. Real ones have some kilobytes.
_LONGEST = 64 * 2**20


def read_json(path: Path) -> dict[str, Any]:
    """Reads a file that holds one JSON object.

    Raises:
      InputError: the file is missing, unreadable, not JSON, not an object, or nested too deeply.
    """
    if not path.parent.is_dir():
        raise InputError(
            "this directory does not exist",
            where=str(path.parent),
            fix="Check the path.",
            code="E-CONVERT-DIRECTORY",
        )
    fix = "Copy the model again."
    try:
        return values.read_json(
            path, "the file cannot be used", fix=fix, code="E-CONVERT-UNREADABLE", shape=dict, most=_LONGEST
        )
    except FileNotFoundError:
        raise InputError(
            "the file is missing",
            where=str(path),
            fix="Give a model's directory with all its files.",
            code="E-CONVERT-MISSING",
        ) from None
    except OSError as error:
        raise InputError(
            f"the file cannot be used: {error}", where=str(path), fix=fix, code="E-CONVERT-UNREADABLE"
        ) from None


def read_index(path: Path) -> dict[str, str]:
    """Reads the index of a sharded model: the name of the file for each tensor.

    Raises:
      InputError: the index has no such map, or names a file outside its directory.
    """
    home = read_json(path).get("weight_map")
    if not isinstance(home, dict) or not home or not all(isinstance(file, str) for file in home.values()):
        raise InputError(
            "the index has no weight_map that names a file for each tensor",
            where=str(path),
            fix="Copy the model again.",
            code="E-CONVERT-INDEX",
        )
    for file in home.values():
        if Path(file).name != file or file in ("", "..") or "\\" in file or "\0" in file:
            raise InputError(
                f"the index names a file outside its directory: {file!r}",
                where=str(path),
                fix="Copy the model again from its publisher.",
                code="E-CONVERT-OUTSIDE",
            )
    return home


def of_shards(
    directory: Path, index: str, home: Mapping[str, str], opened: Callable[[Path], Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Returns the tensors of all shards, and checks that index and shards agree about every one of them.

    Args:
      directory: the directory of the shards.
      index: the file name of the index, for error messages.
      home: the file name for each tensor, from `read_index`.
      opened: opens one file, and returns its tensors.

    Raises:
      InputError: a shard has a tensor that the index places elsewhere, or lacks a tensor that the index places there.
    """
    tensors: dict[str, Tensor] = {}
    for file in sorted(set(home.values())):
        for name, tensor in opened(directory / file).items():
            if home.get(name) != file:
                raise InputError(
                    f"the tensor {name!r} is in {file}, but {index} does not place it there",
                    where=str(directory),
                    fix="Copy the model again.",
                    code="E-CONVERT-INDEX",
                )
            tensors[name] = tensor
    missing = sorted(home.keys() - tensors.keys())
    if missing:
        raise InputError(
            f"the tensor {missing[0]!r} is not in {home[missing[0]]}, where {index} places it",
            where=str(directory),
            fix="Copy the model again.",
            code="E-CONVERT-INDEX",
        )
    return tensors
