"""The place that an export is written to, and the names of the files that it may replace.

`--overwrite` moves a new directory into the place of an old one. So the old one may hold only what exports write: a
clone's .git, data beside a model and a README that somebody wrote would be lost.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from jaxbert.convert import safetensors_files
from jaxbert.convert.read import CONFIG
from jaxbert.convert.sentence_transformers import FOLDERS as LAYOUT_FOLDERS
from jaxbert.convert.sentence_transformers import MODULES, SETTINGS, TRANSFORMER
from jaxbert.errors import InputError
from jaxbert.inputs.files import read_bytes
from jaxbert.inputs.values import parse
from jaxbert.stores.files import settle_directory

RECEIPT, CARD, RUN = "receipt.json", "README.md", "run.json"
# All that an export may write. Those of tokenizers are also the names of files that transformers saves.
NAMES = frozenset(
    (
        *(CONFIG, safetensors_files.WEIGHTS, safetensors_files.INDEX, RECEIPT, CARD, RUN),
        *(MODULES, SETTINGS, TRANSFORMER),
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        *("vocab.txt", "vocab.json", "merges.txt", "spiece.model"),
    )
)


def check_target(directory: Path, overwrite: bool) -> None:
    """Raises InputError where a model must not be written, because files would be lost or cannot be moved there.

    A model that a killed `--overwrite` had moved out of the way is moved back first.
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
    lost = _lost(directory)
    if lost:
        more = f" and {len(lost) - 8} more" if len(lost) > 8 else ""
        raise InputError(
            f"--overwrite would delete what no export writes: {', '.join(lost[:8])}{more}",
            where=str(directory),
            fix="Move them away, or choose another place.",
            code="E-EXPORT-OTHERS",
        )


def _lost(directory: Path) -> list[str]:
    """Returns what an export to `directory` would delete and not write again: paths below it, sorted."""
    lost = [
        str(path.relative_to(directory)) + ("/" if path.is_dir() else "")
        for top in sorted(directory.iterdir())
        for path in ([top] if top.name not in LAYOUT_FOLDERS or not top.is_dir() else sorted(top.iterdir()))
        if not _written(path.relative_to(directory)) or path.is_dir() or path.is_symlink()
    ]
    card = directory / CARD
    if card.is_file() and CARD not in lost and not _wrote(directory, card):
        lost.append(CARD)
    return lost


def _written(path: Path) -> bool:
    """Says whether an export writes a file of this name."""
    if len(path.parts) > 1:
        return path.parts[0] in LAYOUT_FOLDERS and path.name == CONFIG
    return path.name in NAMES or re.fullmatch(r"model-\d+-of-\d+\.safetensors", path.name) is not None


def _wrote(directory: Path, card: Path) -> bool:
    """Says whether the card is one that jaxbert wrote, and that nobody has changed since."""
    try:
        receipt = parse(read_bytes(directory / RECEIPT))
        digest = hashlib.sha256(read_bytes(card)).hexdigest()
    except (OSError, ValueError, InputError):
        return False
    return isinstance(receipt, dict) and receipt.get("card_sha256") == digest
