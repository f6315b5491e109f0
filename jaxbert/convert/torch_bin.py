"""torch's pickles: `pytorch_model.bin`, or shards under `pytorch_model.bin.index.json`.

A pickle is a program. Only torch's weights-only loader opens pickles here: it builds tensors and refuses everything
else. Versions of torch whose loader has a known hole are refused. Everything that the loader returns is checked before
it is used.
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
from jaxbert.errors import CommandError, InputError
from jaxbert.inputs.files import open_regular, reading

WEIGHTS, INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"

# The first version of torch whose weights-only loader has no known hole (CVE-2025-32434, CVE-2026-24747).
_LEAST = (2, 10)
_SAFE = "Or open the model on a machine with torch, and save it as safetensors: model.save_pretrained(DIR)."


def found(directory: Path) -> bool:
    """Says whether `directory` holds pickles of torch."""
    return any((directory / name).exists() for name in (WEIGHTS, INDEX))


def open_tensors(directory: Path, stack: ExitStack) -> dict[str, Tensor]:
    """Opens the tensors of a directory by name. Where torch can map a file into memory, numbers are read on request.

    Args:
      directory: the model's directory.
      stack: not used. torch closes a file with its last tensor.

    Raises:
      InputError: torch is missing or too old; a file is missing or damaged; the index names a file outside the
        directory; or a file holds anything but plain tensors by name. Code in a pickle is refused, never run.
    """
    torch = _torch(directory)
    if (directory / WEIGHTS).exists():
        return _open(torch, directory / WEIGHTS)
    return of_shards(directory, INDEX, read_index(directory / INDEX), partial(_open, torch))


def _torch(directory: Path) -> Any:
    fix = f"pip install 'torch>={_LEAST[0]}.{_LEAST[1]}' (a CPU build is enough). {_SAFE}"
    try:
        import torch
    except ImportError:
        raise InputError(
            "the weights are a pickle, which only torch can open",
            where=str(directory),
            fix=fix,
            code="E-CONVERT-TORCH",
        ) from None
    if tuple(map(int, torch.__version__.split(".")[:2])) < _LEAST:
        raise InputError(
            f"the weights are a pickle, and torch {torch.__version__} could run code that is hidden in it",
            where=str(directory),
            fix=fix,
            code="E-CONVERT-TORCH",
        )
    return torch


def _open(torch: Any, path: Path) -> dict[str, Tensor]:
    """Opens the tensors of one file."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise FileNotFoundError
        with reading(path):
            packed = _is_packed(path)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=packed)
    except FileNotFoundError:
        raise InputError(
            "the file is missing",
            where=str(path),
            fix="Copy the model again with all its files.",
            code="E-CONVERT-MISSING",
        ) from None
    except CommandError:
        raise
    except Exception as error:  # a damaged or hostile pickle can make the loader raise anything
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"torch refuses the file, and ran no code from it: {lines[0][:200]}",
            where=str(path),
            fix="Copy the model again. A file that holds more than tensors is never opened.",
            code="E-CONVERT-PICKLE",
        ) from None
    if not isinstance(content, Mapping):
        raise InputError(
            f"the file holds a {type(content).__name__}, but tensors by name are needed",
            where=str(path),
            fix="Give a model's state dict.",
            code="E-CONVERT-PICKLE",
        )
    return {str(name): _tensor(torch, name, value, path) for name, value in content.items()}


def _is_packed(path: Path) -> bool:
    """Says whether `path` is a zip file as torch writes them since version 1.6: uncompressed, so that it can be mapped.

    Raises:
      ValueError: it is a compressed zip file, in which a few bytes could expand to more than memory holds.
    """
    with open_regular(path) as file:
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
            f"the entry {name!r} is {what}",
            where=str(path),
            fix="Give a state dict that holds only a model's weights.",
            code="E-CONVERT-PICKLE",
        )

    if not isinstance(name, str):
        raise refuse("under a key that is not text")
    if type(value) not in (torch.Tensor, torch.nn.Parameter):
        raise refuse(f"a {type(value).__name__}, not a tensor")
    if value.is_meta or value.device.type != "cpu":
        raise refuse("a tensor without its numbers")
    if value.layout != torch.strided or value.is_quantized or value.is_nested:
        raise refuse("a sparse or quantised tensor")
    # A header must not promise more numbers than the file has, because memory is allocated by its shape.
    there = value.untyped_storage().nbytes()
    if value.numel() * value.element_size() > there or there > path.stat().st_size:
        raise refuse(f"a tensor of shape {list(value.shape)}, for which the file has too few bytes")
    kind = str(value.dtype).removeprefix("torch.")

    def read() -> Array:
        tensor = value.detach().resolve_conj().resolve_neg()
        if kind == "bfloat16":  # numpy has no bfloat16: take the same bits as int16
            return np.asarray(tensor.contiguous().view(torch.int16).numpy().view(np_dtype(kind)))
        return np.asarray(tensor.numpy())

    return Tensor(tuple(value.shape), kind, read)
