"""Rows that are only a manifest, as far as a judgement reads them."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

# Records of 100,000 tokens with 1,000 held out, as `prepare_records` describes them.
RECORDS: dict[str, Any] = {
    "language": "en",
    "splits": {
        "train": {"documents": 99, "sentences": 9_000, "words": 80_000, "chars": 400_000, "tokens": 100_000}
        | {"unknown": 0},
        "validation": {"documents": 11, "sentences": 900, "words": 8_000, "chars": 40_000, "tokens": 10_000}
        | {"unknown": 0},
    },
    "corpus": {
        "documents": 110,
        "vocabulary": {"pieces": 1000, "unused": 10, "rare": 50, "given": 200, "most_frequent": 200},
        "languages": {"en": 0.98, "others": 0.02},
        "validation_near_train": 0,
        "validation_compared": 11,
        "validation_lines_in_train": 0.01,
        "validation_blocks": 0,
    },
}


class OneSplit:
    """One split of rows, as far as a judgement reads it."""

    directory = "rows"

    def __init__(self, manifest: dict[str, Any], split: str):
        self.manifest, self.split, self.length = manifest, split, manifest["length"]

    def __len__(self) -> int:
        return int(self.manifest["counts"][self.split])


@dataclasses.dataclass(frozen=True)
class Phase:
    """As `jaxbert.run.inputs.PhaseRows`."""

    train: list[tuple[Any, float]]
    validation: list[Any]


def phase_rows(*, rows: int = 1000, held: int = 100, copies: int = 1, records: Any = RECORDS, hash: str = "a") -> Phase:
    """Returns rows of 100 tokens. `records` are those of the manifest; None for rows of an earlier version."""
    manifest = {
        "arguments": {"copies": copies, "records_hash": hash},
        "length": 100,
        "counts": {"train": rows, "validation": held},
        "statistics": {
            "train": {"documents": 99 * copies, "sentences": 9_000 * copies, "tokens": 100_000 * copies}
            | {"truncated": 20_000 * copies, "filled": 0.9},
            "validation": {"documents": 11, "sentences": 900, "tokens": 10_000, "truncated": 0, "filled": 0.8},
        },
        "provenance": {"source": "text:mine.txt", "licence": ""} | ({} if records is None else {"records": records}),
    }
    return Phase([(OneSplit(manifest, "train"), 1.0)], [OneSplit(manifest, "validation")] if held else [])


def records(**corpus: Any) -> dict[str, Any]:
    """Returns RECORDS with other figures of the corpus."""
    changed = copy.deepcopy(RECORDS)
    changed["corpus"].update(corpus)
    return changed
