"""Tensors of files, whatever the format: what a header says of each, and the way to its numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from jaxbert.errors import InputError

Array = NDArray[Any]
Shape = tuple[int, ...]

# numpy's names of the floats that files hold.
FLOATS = ("float16", "bfloat16", "float32", "float64")


def np_dtype(name: str) -> np.dtype[Any]:
    """numpy's dtype of a name: bfloat16 is none of numpy's own."""
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file.

    Attributes:
      shape: as the file's header says.
      dtype: numpy's name of it ("float32", "bfloat16").
      read: gives the numbers, from disk where the format allows it: nothing is kept.
    """

    shape: Shape
    dtype: str
    read: Callable[[], Array]

    def transposed(self) -> Tensor:
        """The same matrix, transposed."""
        return Tensor(self.shape[::-1], self.dtype, lambda: self.read().T)


def of_array(array: Array) -> Tensor:
    """An array that is in memory, as a tensor."""
    return Tensor(array.shape, array.dtype.name, lambda: array)


# By published name.
Tensors = Mapping[str, Tensor]

# JSON of a model's directory is small: what is not is no such file.
_LONGEST = 64 * 2**20


def read_json(path: Path) -> dict[str, Any]:
    """A file's JSON object.

    Raises:
      InputError: it is missing, unreadable, no JSON, no object, or nests too deep.
    """
    if not path.parent.is_dir():
        raise InputError("no such directory", where=str(path.parent), fix="Check the path.")
    try:
        if path.exists() and not path.is_file():  # a pipe would wait for ever
            raise InputError("is no file", where=str(path), fix="Copy the model again.")
        if path.stat().st_size > _LONGEST:
            raise InputError("is too long for a description", where=str(path), fix="Copy the model again.")
        value = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_no_doubles)
    except FileNotFoundError:
        raise InputError("is missing", where=str(path), fix="Give a model's directory, copied whole.") from None
    except RecursionError:
        raise InputError("unreadable: nests too deep", where=str(path), fix="Copy the model again.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"unreadable: {error}", where=str(path), fix="Copy the model again.") from None
    if not isinstance(value, dict):
        raise InputError("is not a JSON object", where=str(path), fix="Copy the model again.")
    return value


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are all different: of two with one name, which one counts is anybody's guess."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        double = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {double!r} stands twice")
    return found


def read_index(path: Path) -> dict[str, str]:
    """File names by tensor, of an index of shards.

    Raises:
      InputError: it has no such map, or names a file outside its directory.
    """
    home = read_json(path).get("weight_map")
    if not isinstance(home, dict) or not home or not all(isinstance(file, str) for file in home.values()):
        raise InputError("has no weight_map", where=str(path), fix="Give an index that is whole.")
    for file in home.values():
        if Path(file).name != file or file in ("", "..") or "\\" in file or "\0" in file:
            raise InputError(f"names a file elsewhere: {file!r}", where=str(path), fix="Check it.")
    return home


def of_shards(
    directory: Path, index: str, home: Mapping[str, str], opened: Callable[[Path], Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """The tensors of all shards of an index, which names each of them, and each where it is.

    Args:
      directory: of the shards.
      index: the index's name, for errors.
      home: file names by tensor (`read_index`).
      opened: the tensors of one file.

    Raises:
      InputError: a shard has a tensor that the index does not name there, or lacks one that it does.
    """
    tensors: dict[str, Tensor] = {}
    for file in sorted(set(home.values())):
        for name, tensor in opened(directory / file).items():
            if home.get(name) != file:
                raise InputError(
                    f"tensor {name!r} is in {file}, which {index} does not say",
                    where=str(directory),
                    fix="Copy the model again.",
                )
            tensors[name] = tensor
    missing = sorted(home.keys() - tensors.keys())
    if missing:
        raise InputError(
            f"tensor {missing[0]!r} is not in {home[missing[0]]}", where=str(directory), fix="Copy the model again."
        )
    return tensors
