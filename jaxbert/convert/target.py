"""The place that an export is written to, and the files there that it may replace.

`--overwrite` moves a new directory into the place of an old one. So the old one may hold only files that the export
writes again, and files that an earlier export wrote: its receipt has their hashes. A clone's .git, data beside a model,
a README that somebody wrote and the pooling of a model that others made would be lost.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from jaxbert.convert import safetensors_files
from jaxbert.convert.read import CONFIG
from jaxbert.convert.sentence_transformers import LAYOUT_FILES, MODULES
from jaxbert.errors import InputError
from jaxbert.inputs.files import read_bytes
from jaxbert.inputs.values import parse
from jaxbert.stores.files import settle_directory
from jaxbert.stores.others import files_below, has_digest, listed

RECEIPT, CARD, RUN = "receipt.json", "README.md", "run.json"
# All that an export may write, but for the layout of sentence-transformers.
_NAMES = frozenset(
    (
        *(CONFIG, safetensors_files.WEIGHTS, RECEIPT, CARD, RUN),
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        *("vocab.txt", "vocab.json", "merges.txt", "spiece.model"),
    )
)


def may_write(*, layout: bool) -> frozenset[str]:
    """Returns all files that an export may write: paths below its directory.

    Args:
      layout: whether it writes the layout of sentence-transformers.
    """
    return _NAMES | LAYOUT_FILES if layout else _NAMES


def check_target(directory: Path, overwrite: bool, written: Collection[str]) -> None:
    """Raises InputError where a model must not be written, because files would be lost or cannot be moved there.

    A model that a killed `--overwrite` had moved out of the way is moved back first.

    Args:
      directory: the place.
      overwrite: whether the model that is there may be replaced.
      written: the files that the export writes: paths below `directory`.
    """
    settle_directory(directory)
    if not directory.exists() and not directory.is_symlink():
        return
    if not directory.is_dir() or directory.is_symlink():
        raise InputError(
            "the path exists and is not a directory",
            where=str(directory),
            fix="Choose another place.",
            code="E-EXPORT-PLACE",
        )
    # The new directory replaces the old one in one move, which is not possible in these two places.
    if os.path.ismount(directory) or directory.samefile(Path.cwd()):
        kind = "the current directory" if directory.samefile(Path.cwd()) else "a mount point"
        raise InputError(
            f"the place is {kind}, which cannot be replaced",
            where=str(directory),
            fix=f"Give a directory in it: {directory / 'model'}.",
            code="E-EXPORT-PLACE",
        )
    if not any(directory.iterdir()):
        return
    if not overwrite:
        raise InputError(
            "the directory exists and is not empty",
            where=str(directory),
            fix="Choose another place, or pass --overwrite.",
            code="E-EXPORT-EXISTS",
        )
    if not (directory / CONFIG).is_file() or not safetensors_files.found(directory):
        raise InputError(
            "the directory holds something that is not an exported model, so --overwrite does not replace it",
            where=str(directory),
            fix="Move it away, or choose another place.",
            code="E-EXPORT-NOT-A-MODEL",
        )
    check_lost(directory, written)


def check_lost(directory: Path, written: Collection[str]) -> None:
    """Raises InputError where an export would delete files that it does not write, and that no export has written.

    Args:
      directory: the directory that is replaced, if there is one.
      written: see `check_target`.
    """
    lost = list(_lost(directory, written)) if directory.is_dir() else []
    if not lost:
        return
    layout = "Pass --to sentence-transformers (layout=), move them away" if MODULES in lost else "Move them away"
    raise InputError(
        f"--overwrite would delete files that may be somebody's own: {listed(lost)}",
        where=str(directory),
        fix=f"{layout}, or choose another place.",
        code="E-EXPORT-OTHERS",
    )


def others_in(directory: Path) -> Iterator[str]:
    """Yields the files below a directory that no export wrote, or that somebody has changed since: names below it."""
    ours = _digests(directory)
    for name, path in files_below(directory):
        if name != RECEIPT and not has_digest(path, ours.get(name)):
            yield name


def _lost(directory: Path, written: Collection[str]) -> Iterator[str]:
    """Yields what an export to `directory` would delete and not write again; of a folder that it does not write, "x/".

    A card counts as written again only where the receipt shows that nobody has changed it. Receipts of early versions
    list no files, so a card beside one is named too.
    """
    ours = _digests(directory)
    folders = {name.partition("/")[0] for name in (*written, *ours) if "/" in name}
    for top in directory.iterdir():
        if top.is_dir() and not top.is_symlink():
            if top.name not in folders:
                yield f"{top.name}/"
                continue
            files = list(files_below(top))
        else:
            files = [("", top)]
        for below, path in files:
            name = f"{top.name}/{below}" if below else top.name
            again = name in written and name != CARD and not path.is_symlink()
            if not again and not has_digest(path, ours.get(name)):
                yield name


def _digests(directory: Path) -> dict[str, str]:
    """Returns the sha256 of each file that the export in `directory` wrote; nothing where it has no receipt of ours."""
    try:
        receipt = parse(read_bytes(directory / RECEIPT))
        files = receipt["files"]
        return {str(name): str(value) for name, value in files.items()}
    except (OSError, ValueError, InputError, KeyError, TypeError, AttributeError):
        return {}
