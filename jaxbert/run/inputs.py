"""The rows and the tokenizer of a run: opened, checked, made where there are none."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from jaxbert.config import (
    PhaseConfig,
    RunConfig,
)
from jaxbert.data.pipeline import Rows
from jaxbert.data.staging import phase_rows
from jaxbert.errors import InputError
from jaxbert.tasks import make_task
from jaxbert.text.tokenizers import Tokenizer


@dataclasses.dataclass(frozen=True)
class PhaseRows:
    """Train splits with their weights, and validation splits, of a phase."""

    train: list[tuple[Rows, float]]
    validation: list[Rows]


def open_rows(config: RunConfig, phase: PhaseConfig, workdir: Path) -> PhaseRows:
    """Opens and checks the rows of a phase: length, vocabulary, policy; every shard's checksum."""
    task = make_task(config, phase)
    train, validation = [], []
    for directory, weight in phase_rows(config, phase, workdir):
        for split in ("train", "validation"):
            rows = Rows(directory, split, verify=True)
            rows.require(length=phase.length, vocab_size=config.encoder.vocab_size)
            task.check_rows(rows.manifest, str(directory))
            if split == "train":
                train.append((rows, weight))
            elif len(rows):
                validation.append(rows)
    return PhaseRows(train, validation)


def check_one_tokenizer(phases: list[PhaseRows]) -> None:
    """All rows of a run must be of one tokenizer: ids mean nothing without it."""
    every = [rows for phase in phases for rows, _ in phase.train]
    for rows in every[1:]:
        rows.require(tokenizer_hash=every[0].manifest["tokenizer_hash"])


def make_run_rows(
    config: RunConfig, lengths: list[int], workdir: Path, tokenizer: Tokenizer | None, note: Callable[[str], None]
) -> None:
    """Rows of these lengths in the workdir, with `tokenizer` where it is given, else as `DataConfig` says."""
    from jaxbert.data.corpus import make_rows
    from jaxbert.data.shards import default_workers

    if tokenizer is not None:
        save_tokenizer(tokenizer, workdir / "data" / "tokenizer")
    make_rows(
        config.data,
        vocab_size=config.encoder.vocab_size,
        lengths=lengths,
        seed=config.seed,
        out=workdir / "data",
        workers=default_workers(),
        sentence_structure=config.objectives.next_sentence is not None or config.objectives.sentence_order is not None,
        note=note,
    )


def rows_are_made(config: RunConfig, phases: list[PhaseConfig], workdir: Path) -> bool:
    """Whether the rows of these phases were finished before; the source need not be there any more."""
    return all((phase_rows(config, phase, workdir)[0][0] / "manifest.json").is_file() for phase in phases)


def tokenizer_of(rows: Rows) -> Tokenizer:
    """The tokenizer beside the rows.

    Raises:
      InputError: it is not the one that the rows were made with.
    """
    tokenizer = Tokenizer.load(rows.directory / "tokenizer")
    if tokenizer.hash != rows.manifest["tokenizer_hash"]:
        raise InputError(
            "is not the tokenizer that the rows were made with",
            where=str(rows.directory / "tokenizer"),
            fix="Restore it, or make the rows again.",
        )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Writes the run's tokenizer, unless it is there whole."""
    try:
        if Tokenizer.load(path).hash == tokenizer.hash:
            return
    except InputError:
        pass
    shutil.rmtree(path, ignore_errors=True)
    tokenizer.save(path)
