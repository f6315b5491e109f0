"""torch's pickles: `pytorch_model.bin`, or its shards by `pytorch_model.bin.index.json`.

A pickle is a program. Only torch's weights-only loader reads them here, which builds tensors and refuses the rest; and
only of a torch whose loader keeps that promise. What it gives is looked at before any of it is used.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxbert.convert.tensors import Array, Tensor, np_dtype, of_shards, read_index
from jaxbert.errors import InputError

WEIGHTS, INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"

# The first torch without a known way around its weights-only loader (CVE-2025-32434, CVE-2026-24747).
_LEAST = (2, 10)
_SAFE = "Or open the model where torch is, and save it as safetensors: model.save_pretrained(DIR)."


def found(directory: Path) -> bool:
    """Whether `directory` has such files."""
    return any((directory / name).exists() for name in (WEIGHTS, INDEX))


def open_tensors(directory: Path, stack: ExitStack) -> dict[str, Tensor]:
    """The tensors of a directory by name; where torch can map a file into memory, read from disk when asked for.

    Args:
      directory: of the model.
      stack: not needed here: torch lets go of a file with its last tensor.

    Raises:
      InputError: no torch, or too old a one; a file is missing, damaged, named outside the directory, or holds anything
        but plain tensors by name (code is not run, it is refused).
    """
    torch = _torch(directory)
    if (directory / WEIGHTS).exists():
        return _open(torch, directory / WEIGHTS)
    return of_shards(directory, INDEX, read_index(directory / INDEX), partial(_open, torch))


def _torch(directory: Path) -> Any:
    fix = f"pip install 'torch>={_LEAST[0]}.{_LEAST[1]}' (a CPU wheel will do). {_SAFE}"
    try:
        import torch
    except ImportError:
        raise InputError("its weights are a pickle, which torch alone opens", where=str(directory), fix=fix) from None
    if tuple(map(int, torch.__version__.split(".")[:2])) < _LEAST:
        raise InputError(
            f"its weights are a pickle, and code in it could get past torch {torch.__version__}",
            where=str(directory),
            fix=fix,
        )
    return torch


def _open(torch: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of one file."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise FileNotFoundError
        packed = _is_packed(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=packed)
    except FileNotFoundError:
        raise InputError("is missing", where=str(path), fix="Copy the model again, whole.") from None
    except Exception as error:  # whatever a damaged or evil pickle makes the loader say
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"unreadable weights (no code in it was run): {lines[0][:200]}",
            where=str(path),
            fix="Copy the model again; a file that holds more than tensors is not opened.",
        ) from None
    if not isinstance(content, Mapping):
        raise InputError(
            f"holds a {type(content).__name__}, where tensors by name are due",
            where=str(path),
            fix="Give a model's state dict.",
        )
    return {str(name): _tensor(torch, name, value, path) for name, value in content.items()}


def _is_packed(path: Path) -> bool:
    """Whether it is a zip file as torch writes them since 1.6: nothing compressed, so that it can be mapped.

    ValueError for another zip file: a few bytes could unfold to more than fits in memory.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return False
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise ValueError(f"{entry.filename} is compressed")
    return True


def _tensor(torch: Any, name: Any, value: Any, path: Path) -> Tensor:
    def refuse(what: str) -> InputError:
        return InputError(
            f"entry {name!r} is {what}", where=str(path), fix="Give a model's state dict, of its weights."
        )

    if not isinstance(name, str):
        raise refuse("named by no text")
    if type(value) not in (torch.Tensor, torch.nn.Parameter):
        raise refuse(f"a {type(value).__name__}, not a tensor")
    if value.is_meta or value.device.type != "cpu":
        raise refuse("a tensor without its numbers")
    if value.layout != torch.strided or value.is_quantized or value.is_nested:
        raise refuse("a sparse or quantised tensor")
    # What a header says is never more than what the file has: memory is asked for by its shape.
    there = value.untyped_storage().nbytes()
    if value.numel() * value.element_size() > there or there > path.stat().st_size:
        raise refuse(f"a tensor of shape {list(value.shape)}, for which the file has too few bytes")
    kind = str(value.dtype).removeprefix("torch.")

    def read() -> Array:
        tensor = value.detach().resolve_conj().resolve_neg()
        if kind == "bfloat16":  # which numpy has not: the same bits under another name
            return np.asarray(tensor.contiguous().view(torch.int16).numpy().view(np_dtype(kind)))
        return np.asarray(tensor.numpy())

    return Tensor(tuple(value.shape), kind, read)
