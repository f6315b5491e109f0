"""Folders that jaxbert, or transformers, wrote. They hold files that look like texts, and none that a user meant."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from jaxbert.data.shards import MANIFEST, PROGRESS
from jaxbert.stores.workdir import CHECKPOINTS, METRICS, PREPARED

_CONFIG = "config.json"
# What a run has beside its config from its first moment on, or after its first checkpoint.
_OF_A_RUN = (".lock", CHECKPOINTS, METRICS)
_OF_A_MODEL = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "flax_model.msgpack")
_OF_A_TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json")


def written(names: Collection[str]) -> str:
    """Returns what wrote a folder that has these names: "run", "model", "tokenizer" or "shards"; "" for no such."""
    if _CONFIG in names and any(name in names for name in _OF_A_RUN):
        return "run"
    # What a run has prepared, also where the run itself could not begin.
    if PREPARED in names:
        return "run"
    if _CONFIG in names and any(name in names for name in _OF_A_MODEL):
        return "model"
    if "tokenizer.json" in names and any(name in names for name in _OF_A_TOKENIZER):
        return "tokenizer"
    if (MANIFEST in names or PROGRESS in names) and any(".array_record-" in name for name in names):
        return "shards"
    return ""


class Written:
    """The folders that were left out because jaxbert, or transformers, wrote them."""

    def __init__(self) -> None:
        self.folders: dict[Path, str] = {}
        self._known: dict[Path, str] = {}

    def leaves_out(self, folder: Path) -> bool:
        """Returns whether a folder is such a one, and notes it."""
        if folder not in self._known:
            try:
                names = {path.name for path in folder.iterdir()}
            except OSError:
                names = set()
            self._known[folder] = written(names)
        if self._known[folder]:
            self.folders[folder] = self._known[folder]
        return bool(self._known[folder])
