"""Writes Hugging Face directories: config.json, model.safetensors, the tokenizer's files, a card and a receipt.

A directory is first written under a temporary name beside its place. It is read back and compared bit for bit, and the
gate compares its outputs (`jaxbert.convert.gate`). Only then does it get its name, so that a wrong file is never there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxbert.config import EncoderBase
from jaxbert.convert import safetensors_files
from jaxbert.convert.gate import Verdict, judge
from jaxbert.convert.names import check_fields, check_heads, export_tensors, task_of
from jaxbert.convert.read import CONFIG, NAMED, Labels, describe
from jaxbert.convert.target import check_lost, check_target
from jaxbert.convert.tensors import np_dtype
from jaxbert.core.parameters import Params
from jaxbert.errors import InputError
from jaxbert.inputs.files import open_regular
from jaxbert.models.families import FAMILIES, check_padding
from jaxbert.stores.files import full_disk, partial_name, replace_directory
from jaxbert.stores.others import digest, files_below
from jaxbert.text.tokenizers import Tokenizer

# The types in which a model can be written.
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Written:
    """A model that `write_hf` wrote.

    Attributes:
      directory: the model's directory.
      verdict: the gate's verdict.
    """

    directory: Path
    verdict: Verdict


@dataclass(frozen=True)
class Finish:
    """The files that say where a model comes from.

    Attributes:
      names: the files: paths below the model's directory.
      write: writes them. It is called with the temporary directory, the gate's verdict and the sha256 of
        model.safetensors.
    """

    names: frozenset[str]
    write: Callable[[Path, Verdict, str], None]


def write_hf(
    directory: str | Path,
    config: EncoderBase,
    params: Params,
    tokenizer: Tokenizer | None = None,
    overwrite: bool = False,
    *,
    labels: Labels | None = None,
    dtype: str = "float32",
    kept: Mapping[str, float | None] | None = None,
    finish: Finish | None = None,
) -> Written:
    """Writes a directory that transformers opens.

    Args:
      directory: the place to write to: a path that does not exist, an empty directory, or with `overwrite` a model.
      config: the encoder.
      params: the parameters of the encoder and its heads. Writing needs memory for one layer's tensor more, and the
        gate needs memory for the model once more.
      tokenizer: the model's tokenizer; None where it has none.
      overwrite: replace a model that is already there; see `jaxbert.convert.target`.
      labels: the names of a classifier's classes.
      dtype: one of `DTYPES`.
      kept: further values for config.json: see `read.Published`.
      finish: the files that say where the model comes from; None writes none.

    Raises:
      InputError: `directory` exists and `overwrite` is off; it holds something that is not a model; the tokenizer does
        not fit the model; the weights do not fit `dtype`; the family's files cannot hold a field of the encoder, or
        have no place for a head; or the process may not write there.
      Interrupted: the disk is full. Nothing is left behind.
      Stopped: the written model computes something else than `params`. Nothing is left behind.
    """
    directory = Path(directory)
    written = {CONFIG, safetensors_files.WEIGHTS, *(finish.names if finish is not None else ())}
    if tokenizer is not None:
        written |= tokenizer.file_names()
    check_target(directory, overwrite, written)
    _check(directory, config, params, tokenizer, dtype)
    partial = partial_name(directory)
    made = [path for path in directory.absolute().parents if not path.exists()]
    try:
        with full_disk(directory, "Free some space and repeat the command."):
            partial.mkdir(parents=True)
            _write(partial, config, params, tokenizer, labels, dtype, kept or {})
            weights = _check_written(partial, config, params, tokenizer, labels, dtype)
            verdict = judge(partial, config, params, tokenizer, dtype)
            if finish is not None:
                finish.write(partial, verdict, weights)
            _settle(partial)
            # Again, because files may have come meanwhile.
            check_lost(directory, {name for name, _ in files_below(partial)})
            replace_directory(partial, directory)
        made = []
    except NotADirectoryError:
        raise InputError(
            "a part of the path is a file, but a directory is needed",
            where=str(directory),
            fix="Choose another place.",
            code="E-EXPORT-PLACE",
        ) from None
    except PermissionError:
        raise InputError(
            "this process has no permission to write here",
            where=str(directory),
            fix="Choose another place.",
            code="E-EXPORT-PERMISSION",
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
    return Written(directory, verdict)


def _check(directory: Path, config: EncoderBase, params: Params, tokenizer: Tokenizer | None, dtype: str) -> None:
    where = str(directory)
    if dtype not in DTYPES:
        raise InputError(
            f"a model cannot be written as {dtype!r}",
            where=where,
            fix=f"Known: {', '.join(DTYPES)}.",
            code="E-EXPORT-DTYPE",
        )
    check_fields(config, where)
    task_of(FAMILIES[config.family], params)
    check_heads(config, (part for part in params if part != "encoder"), where)
    if tokenizer is not None and tokenizer.vocab_size > config.vocab_size:
        raise InputError(
            f"the tokenizer has {tokenizer.vocab_size} pieces, but the model only {config.vocab_size}",
            where=where,
            fix="Give the tokenizer that the model was trained with.",
            code="E-EXPORT-TOKENIZER",
        )
    if tokenizer is not None:
        check_padding(config, tokenizer.pad_id, where)


def published_config(
    config: EncoderBase,
    params: Params,
    tokenizer: Tokenizer | None,
    labels: Labels | None,
    dtype: str,
    kept: Mapping[str, float | None],
) -> dict[str, Any]:
    """Returns config.json for the smallest class of transformers that has all of these heads that it knows."""
    family = FAMILIES[config.family]
    heads = tuple(part for part in params if part != "encoder")
    published = {**kept, **family.to_published(config, heads)}
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
    kept: Mapping[str, float | None],
) -> None:
    if tokenizer is not None:
        tokenizer.limited(config.longest_row).save(directory)
    published = published_config(config, params, tokenizer, labels, dtype, kept)
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
    """Reads everything back, compares it bit for bit, and returns the sha256 of the weights.

    Raises:
      RuntimeError: something reads back differently, which is a bug in this package.
      InputError: the type cannot hold one of the weights.
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
                        f"the tensor {name!r} has values that are not finite in {dtype}",
                        where=str(directory),
                        fix="If the model itself has only finite values, write it as float32 or bfloat16.",
                        code="E-EXPORT-NOT-FINITE",
                    )
    if tokenizer is not None and Tokenizer.load(directory).hash != tokenizer.hash:
        wrong.append("tokenizer")
    if wrong:
        raise RuntimeError(f"the export does not read back as the model: {wrong}; nothing was written")
    return digest(directory / safetensors_files.WEIGHTS)


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Says whether two arrays have the same bits, without a copy of either."""
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    bits = np.dtype(f"u{a.dtype.itemsize}")
    return np.array_equal(a.view(bits), b.view(bits))


def _settle(directory: Path) -> None:
    """Syncs every file to disk, and gives all of them the permissions of config.json."""
    mode = (directory / CONFIG).stat().st_mode
    for path in directory.rglob("*"):
        if path.is_file():
            path.chmod(mode)
            with open_regular(path) as handle:
                os.fsync(handle.fileno())
