"""Hugging Face model directories: config.json, safetensors, tokenizer files. Pickled weights are never opened."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxbert.config import EncoderConfig
from jaxbert.convert.names import Array, export_params, import_params
from jaxbert.errors import InputError, Interrupted
from jaxbert.models.families import FAMILIES, check_padding
from jaxbert.models.layers import Params
from jaxbert.text.tokenizers import Tokenizer

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"


def read_config(directory: Path) -> EncoderConfig:
    """The encoder of a published directory.

    Raises:
      InputError: no such directory, no readable config.json, or a model that no family here can express.
    """
    where = str(directory / CONFIG)
    published = _json(directory / CONFIG)
    kind = published.get("model_type")
    if kind is None:  # files of 2019 name only the class, as "BertForMaskedLM"
        architecture = str((published.get("architectures") or [""])[0])
        kind = architecture.split("For")[0].removesuffix("Model").lower()
    for family in FAMILIES.values():
        if family.model_type == kind:
            return family.from_published(published, where)
    raise InputError(
        f"model_type {kind!r} is none that can be loaded",
        where=where,
        fix=f"Known: {', '.join(family.model_type for family in FAMILIES.values())}.",
    )


def read_hf(directory: str | Path) -> tuple[EncoderConfig, Params, tuple[str, ...]]:
    """Reads a published model: `model.safetensors`, or its shards by `model.safetensors.index.json`.

    Returns:
      (encoder config, parameters, names of the heads): float32 numpy arrays on the host. Only the heads that the files
      hold: none is made up.

    Raises:
      InputError: see `read_config` and `names.import_params`; or damaged, missing or pickled weights.
    """
    directory = Path(directory)
    config = read_config(directory)
    with ExitStack() as stack:
        return config, *import_params(_Tensors(directory, stack), config, str(directory))


def write_hf(
    directory: str | Path,
    config: EncoderConfig,
    params: Params,
    tokenizer: Tokenizer | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a directory that transformers opens: config.json, model.safetensors (float32), the tokenizer's files.

    It is written beside its place, read back with `read_hf` and compared to the last bit, and only then moved there:
    a file that is not right never stands under its name.

    Raises:
      InputError: `directory` exists and `overwrite` is off, or it holds something that is no model; the tokenizer is
        not the model's; no permission.
      Interrupted: the disk is full; nothing is left behind.
    """
    directory = Path(directory)
    _check_target(directory, overwrite)
    if tokenizer is not None and tokenizer.vocab_size > config.vocab_size:
        raise InputError(
            f"the tokenizer has {tokenizer.vocab_size} pieces, the model {config.vocab_size}",
            where=str(directory),
            fix="Give the tokenizer that the model was trained with.",
        )
    if tokenizer is not None:
        check_padding(config, tokenizer.pad_id, str(directory))
    partial = directory.parent / f".{directory.name}.{os.getpid()}.partial"
    try:
        partial.mkdir(parents=True)
        _write(partial, config, params, tokenizer)
        _check_written(partial, config, params, tokenizer)
        _move(partial, directory)
    except (OSError, SafetensorError) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            raise Interrupted("disk full", where=str(directory), fix="Free space and repeat the command.") from None
        if isinstance(error, PermissionError):
            raise InputError("no permission to write", where=str(directory), fix="Choose another place.") from None
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_target(directory: Path, overwrite: bool) -> None:
    if not directory.exists() and not directory.is_symlink():
        return
    if not directory.is_dir() or directory.is_symlink():
        raise InputError("is not a directory", where=str(directory), fix="Choose another place.")
    if not any(directory.iterdir()):
        return
    if not overwrite:
        raise InputError("exists already", where=str(directory), fix="Choose another place, or pass --overwrite.")
    if not (directory / CONFIG).is_file() or not any((directory / file).is_file() for file in (WEIGHTS, INDEX)):
        raise InputError("holds no exported model", where=str(directory), fix="Only a model is overwritten: move it.")


def _write(directory: Path, config: EncoderConfig, params: Params, tokenizer: Tokenizer | None) -> None:
    published = FAMILIES[config.family].to_published(config, _heads(params))
    if tokenizer is not None:
        published["pad_token_id"] = tokenizer.pad_id
        tokenizer.save(directory)
    (directory / CONFIG).write_text(json.dumps(published, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    save_file(export_params(params, config), directory / WEIGHTS, metadata={"format": "pt"})
    for file in directory.iterdir():
        # safetensors makes its files private; these are as open as the directory's own.
        file.chmod((directory / CONFIG).stat().st_mode)
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def _check_written(directory: Path, config: EncoderConfig, params: Params, tokenizer: Tokenizer | None) -> None:
    """Raises RuntimeError (a bug of ours) unless what was written reads back as what was given."""
    family = FAMILIES[config.family]
    read, read_params, read_heads = read_hf(directory)
    same = family.to_published(read, read_heads) == family.to_published(config, _heads(params))
    given, back = export_params(params, config), export_params(read_params, read)
    wrong = [name for name in given if name not in back or given[name].tobytes() != back[name].tobytes()]
    if tokenizer is not None and Tokenizer.load(directory).hash != tokenizer.hash:
        wrong.append("tokenizer")
    if wrong or not same or given.keys() != back.keys():
        raise RuntimeError(f"the export does not read back as the model: {wrong or 'config.json'}; nothing was written")


def _move(partial: Path, directory: Path) -> None:
    """Puts `partial` at `directory`; what stood there goes only once the new one is in place."""
    if not directory.exists():
        os.replace(partial, directory)
        return
    old = directory.parent / f".{directory.name}.{os.getpid()}.old"
    os.replace(directory, old)
    try:
        os.replace(partial, directory)
    except BaseException:
        os.replace(old, directory)
        raise
    shutil.rmtree(old)


def _heads(params: Params) -> tuple[str, ...]:
    return tuple(part for part in params if part != "encoder")


class _Tensors(Mapping[str, Array]):
    """A directory's tensors by name, each read from disk when asked for."""

    def __init__(self, directory: Path, stack: ExitStack):
        self.directory = directory
        self._files: dict[str, Any] = {}
        self._home: dict[str, str] = {}
        if (directory / WEIGHTS).is_file():
            self._home = dict.fromkeys(self._open(WEIGHTS, stack).keys(), WEIGHTS)
            return
        if not (directory / INDEX).is_file():
            raise _no_weights(directory)
        index = _json(directory / INDEX).get("weight_map")
        if not isinstance(index, dict) or not all(isinstance(file, str) for file in index.values()):
            raise InputError("has no weight_map", where=str(directory / INDEX), fix="Give an index that is whole.")
        for name, file in index.items():
            if Path(file).name != file:
                raise InputError(f"names a file elsewhere: {file!r}", where=str(directory / INDEX), fix="Check it.")
            if file not in self._files:
                self._open(file, stack)
            if name not in self._files[file].keys():  # noqa: SIM118 (a safetensors handle is no mapping)
                raise InputError(f"tensor {name!r} is not in {file}", where=str(directory), fix="Copy the model again.")
            self._home[name] = file

    def _open(self, file: str, stack: ExitStack) -> Any:
        path = self.directory / file
        try:
            self._files[file] = stack.enter_context(safe_open(path, framework="np"))
        except FileNotFoundError:
            raise InputError("is missing", where=str(path), fix="Copy the model again, whole.") from None
        except (SafetensorError, OSError) as error:
            raise InputError(f"unreadable weights: {error}", where=str(path), fix="Copy the model again.") from None
        return self._files[file]

    def __getitem__(self, name: str) -> Array:
        try:
            return np.asarray(self._files[self._home[name]].get_tensor(name))
        except (SafetensorError, TypeError) as error:
            raise InputError(
                f"tensor {name!r} is unreadable: {error}", where=str(self.directory), fix="Copy the model again."
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._home)

    def __len__(self) -> int:
        return len(self._home)


def _no_weights(directory: Path) -> InputError:
    pickled = sorted(file.name for file in directory.glob("*.bin"))
    if pickled:
        return InputError(
            f"has only pickled weights ({pickled[0]}), which are never opened",
            where=str(directory),
            fix="Save it again with transformers' save_pretrained, which writes safetensors.",
        )
    return InputError(f"has no {WEIGHTS}", where=str(directory), fix="Give a model's directory, copied whole.")


def _json(path: Path) -> dict[str, Any]:
    if not path.parent.is_dir():
        raise InputError("no such directory", where=str(path.parent), fix="Check the path.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("is missing", where=str(path), fix="Give a model's directory, copied whole.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"unreadable: {error}", where=str(path), fix="Copy the model again.") from None
    if not isinstance(value, dict):
        raise InputError("is not a JSON object", where=str(path), fix="Copy the model again.")
    return value
