"""Hugging Face directories, written: config.json, model.safetensors, the tokenizer's files, a card and a receipt.

A directory is written beside its place, read back and compared to the last bit, judged by what it computes
(`jaxbert.convert.gate`), and only then moved there: a file that is not right never stands under its name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from jaxbert.config import EncoderBase
from jaxbert.convert import safetensors_files
from jaxbert.convert.gate import Verdict, judge
from jaxbert.convert.names import check_heads, export_tensors, task_of
from jaxbert.convert.read import CONFIG, NAMED, Labels, describe
from jaxbert.convert.tensors import np_dtype
from jaxbert.core.parameters import Params
from jaxbert.errors import InputError, Interrupted
from jaxbert.models.families import FAMILIES, check_padding
from jaxbert.text.tokenizers import Tokenizer

RECEIPT = "receipt.json"
# Types in which a model can be written.
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Written:
    """What `write_hf` did.

    Attributes:
      directory: where the model is.
      verdict: of the gate.
    """

    directory: Path
    verdict: Verdict


def write_hf(
    directory: str | Path,
    config: EncoderBase,
    params: Params,
    tokenizer: Tokenizer | None = None,
    overwrite: bool = False,
    *,
    labels: Labels | None = None,
    dtype: str = "float32",
    finish: Callable[[Path, Verdict, str], None] | None = None,
) -> Written:
    """Writes a directory that transformers opens.

    Args:
      directory: its place: nothing there, an empty directory, or with `overwrite` a model.
      config: the encoder.
      params: of the encoder and its heads; memory beside them is that of one layer's tensor while the file is written,
        and that of the model again while the gate judges it.
      tokenizer: the model's, where it has one.
      overwrite: replace a model that is there.
      labels: of a classifier.
      dtype: of `DTYPES`.
      finish: (the directory before it is moved, the gate's verdict, sha256 of model.safetensors): adds the files that
        say where the model comes from.

    Raises:
      InputError: `directory` exists and `overwrite` is off, or it holds something that is no model; the tokenizer is
        not the model's; the weights do not fit `dtype`; the family's classes have no place for a head; no permission.
      Interrupted: the disk is full; nothing is left behind.
      Stopped: the written model computes something else than ours; nothing is left behind.
    """
    directory = Path(directory)
    check_target(directory, overwrite)
    _check(directory, config, params, tokenizer, dtype)
    partial = directory.parent / f".{directory.name}.{os.getpid()}.partial"
    made = [path for path in directory.absolute().parents if not path.exists()]
    try:
        partial.mkdir(parents=True)
        _write(partial, config, params, tokenizer, labels, dtype)
        digest = _check_written(partial, config, params, tokenizer, labels, dtype)
        verdict = judge(partial, config, params, tokenizer, dtype)
        if finish is not None:
            finish(partial, verdict, digest)
        _settle(partial)
        _move(partial, directory)
        made = []
    except (OSError, SafetensorError) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            raise Interrupted("disk full", where=str(directory), fix="Free space and repeat the command.") from None
        if isinstance(error, PermissionError):
            raise InputError("no permission to write", where=str(directory), fix="Choose another place.") from None
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
    return Written(directory, verdict)


def check_target(directory: Path, overwrite: bool) -> None:
    """Raises InputError where a model must not be written."""
    if not directory.exists() and not directory.is_symlink():
        return
    if not directory.is_dir() or directory.is_symlink():
        raise InputError("is not a directory", where=str(directory), fix="Choose another place.")
    # It is put there in one move, which these do not allow.
    if os.path.ismount(directory) or directory.samefile(Path.cwd()):
        what = "is the current directory" if directory.samefile(Path.cwd()) else "is a mount point"
        raise InputError(what, where=str(directory), fix=f"Give a directory in it: {directory / 'model'}.")
    if not any(directory.iterdir()):
        return
    if not overwrite:
        raise InputError("exists already", where=str(directory), fix="Choose another place, or pass --overwrite.")
    if not (directory / CONFIG).is_file() or not safetensors_files.found(directory):
        raise InputError("holds no exported model", where=str(directory), fix="Only a model is overwritten: move it.")


def _check(directory: Path, config: EncoderBase, params: Params, tokenizer: Tokenizer | None, dtype: str) -> None:
    where = str(directory)
    if dtype not in DTYPES:
        raise InputError(f"{dtype!r} is no type to write", where=where, fix=f"Known: {', '.join(DTYPES)}.")
    task_of(FAMILIES[config.family], params)
    check_heads(config, (part for part in params if part != "encoder"), where)
    if tokenizer is not None and tokenizer.vocab_size > config.vocab_size:
        raise InputError(
            f"the tokenizer has {tokenizer.vocab_size} pieces, the model {config.vocab_size}",
            where=where,
            fix="Give the tokenizer that the model was trained with.",
        )
    if tokenizer is not None:
        check_padding(config, tokenizer.pad_id, where)


def published_config(
    config: EncoderBase, params: Params, tokenizer: Tokenizer | None, labels: Labels | None, dtype: str
) -> dict[str, Any]:
    """config.json of the smallest class of transformers that has all the heads that it knows."""
    family = FAMILIES[config.family]
    heads = tuple(part for part in params if part != "encoder")
    published = family.to_published(config, heads)
    task = task_of(family, heads)
    if task is not None:
        published["architectures"] = [family.tasks[task].architecture]
    if task is not None and task in NAMED:
        count = params[task]["dense"]["kernel"].shape[-1]
        names = labels.names if labels is not None else tuple(f"LABEL_{index}" for index in range(count))
        published["id2label"] = {str(index): name for index, name in enumerate(names)}
        published["label2id"] = {name: index for index, name in enumerate(names)}
        if labels is not None and labels.problem_type:
            published["problem_type"] = labels.problem_type
    if tokenizer is not None:
        published["pad_token_id"] = tokenizer.pad_id
    return {**published, "torch_dtype": dtype}


def _write(
    directory: Path,
    config: EncoderBase,
    params: Params,
    tokenizer: Tokenizer | None,
    labels: Labels | None,
    dtype: str,
) -> None:
    if tokenizer is not None:
        tokenizer.save(directory)
    published = published_config(config, params, tokenizer, labels, dtype)
    (directory / CONFIG).write_text(json.dumps(published, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    safetensors_files.write_tensors(directory / safetensors_files.WEIGHTS, export_tensors(params, config, dtype))


def _check_written(
    directory: Path,
    config: EncoderBase,
    params: Params,
    tokenizer: Tokenizer | None,
    labels: Labels | None,
    dtype: str,
) -> str:
    """The sha256 of the weights; raises RuntimeError (a bug of ours) unless all reads back as what was given.

    InputError where the type cannot hold a weight.
    """
    family, about = FAMILIES[config.family], describe(directory)
    heads = tuple(part for part in params if part != "encoder")
    wrong = [] if family.to_published(about.config, heads) == family.to_published(config, heads) else [CONFIG]
    if labels is not None and about.labels != labels:
        wrong.append("id2label")
    with ExitStack() as stack:
        written = safetensors_files.open_tensors(directory, stack)
        given = export_tensors(params, config, dtype)
        if given.keys() != written.keys():
            wrong += sorted(given.keys() ^ written.keys())
        else:
            for name, tensor in given.items():
                ours, theirs = tensor.read(), np.asarray(written[name].read())
                if ours.dtype != np_dtype(dtype) or not _same_bits(ours, theirs):
                    wrong.append(name)
                if not np.isfinite(ours).all():
                    raise InputError(
                        f"tensor {name!r} has values that are not finite in {dtype}",
                        where=str(directory),
                        fix="Write it as float32 or bfloat16, if the model itself is sound.",
                    )
    if tokenizer is not None and Tokenizer.load(directory).hash != tokenizer.hash:
        wrong.append("tokenizer")
    if wrong:
        raise RuntimeError(f"the export does not read back as the model: {wrong}; nothing was written")
    with (directory / safetensors_files.WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are one; without a copy of either."""
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    bits = np.dtype(f"u{a.dtype.itemsize}")
    return np.array_equal(a.view(bits), b.view(bits))


def _settle(directory: Path) -> None:
    """Everything on disk, and as open to others as the directory's description."""
    mode = (directory / CONFIG).stat().st_mode
    for path in directory.rglob("*"):
        if path.is_file():
            path.chmod(mode)
            with path.open("rb") as handle:
                os.fsync(handle.fileno())


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
