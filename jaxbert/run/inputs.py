"""Opens and checks the rows and the tokenizer of a run, and makes them where there are none."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from jaxbert.config import (
    PhaseConfig,
    RunConfig,
    phase_rows,
    settings_for_rows,
)
from jaxbert.core.machine import cores
from jaxbert.data.directory import is_made
from jaxbert.data.pipeline import Rows
from jaxbert.data.shards import read_manifest
from jaxbert.data.sources import open_source, reached_anywhere
from jaxbert.data.staging import local
from jaxbert.errors import InputError, Stopped
from jaxbert.run.prepared import forget_other_settings
from jaxbert.stores.storage import is_remote
from jaxbert.stores.workdir import name_of
from jaxbert.tasks import Task, kind_of_task, make_task
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.text.tokenizers.base import all_file_names
from jaxbert.use.model_place import HUB, find_model

_log = logging.getLogger(__name__)

# The errors of damaged rows.
_DAMAGED = ("E-SHARD-DAMAGED", "E-SHARD-MANIFEST")


@dataclasses.dataclass(frozen=True)
class PhaseRows:
    """The train splits of a phase with their weights, and its validation splits."""

    train: list[tuple[Rows, float]]
    validation: list[Rows]


def open_rows(config: RunConfig, phase: PhaseConfig, workdir: Path) -> PhaseRows:
    """Opens the rows of a phase, after a copy from a bucket, and checks length, vocabulary, policy and checksums."""
    task = make_task(config, phase)
    train, validation = [], []
    for place, weight in phase_rows(config, phase, workdir):
        directory = local(place)
        for split in ("train", "validation"):
            if split == "validation" and task.judges and not has_split(directory, split):
                continue  # Labelled files may have no examples for it.
            with nullcontext() if phase.rows else _made_by_the_run(workdir):
                rows = Rows(directory, split, verify=True)
            _check_suits(config, phase, task, rows)
            if split == "train":
                train.append((rows, weight))
            elif len(rows):
                validation.append(rows)
    return PhaseRows(train, validation)


def has_split(directory: Path, split: str) -> bool:
    """Returns whether rows have a split."""
    return split in read_manifest(directory, "rows")["splits"]


def _check_suits(config: RunConfig, phase: PhaseConfig, task: Task, rows: Rows) -> None:
    fix = _settings_for(config) if phase.rows else ""
    rows.require(length=phase.length, vocab_size=config.encoder.vocab_size, fix=fix)
    task.check_rows(rows.manifest, str(rows.directory))


def _settings_for(config: RunConfig) -> str:
    """Returns the --set with which a run can train on the rows that it names, all settings at once."""
    manifests = []
    for phase in config.phases:
        manifests.append(Rows(local(phase.rows[0].path), "train").manifest if phase.rows else {})
    sizes = [manifest["vocab_size"] for manifest in manifests if manifest]
    lengths = [manifest.get("length") for manifest in manifests]
    words = settings_for_rows(config, lengths, sizes[0])
    return f"To train on these rows, add --set {' '.join(words)}." if words else ""


def check_named_inputs(config: RunConfig, *, complete: bool, begun: bool) -> None:
    """Checks that the inputs that a config names on this machine are there, and opens no model.

    Args:
      config: the run.
      complete: whether the config has all its sizes. Then the rows must suit it, as in `open_rows`.
      begun: whether the run has begun. Then it needs no text, no tokenizer and no initial model.

    Raises:
      InputError: they are not there, or hold something else.
      Stopped: a shard is missing or has another size than the manifest says.
    """
    here = all(not is_remote(source.path) for phase in config.phases for source in phase.rows)
    for phase in config.phases:
        for source in phase.rows:
            if not is_remote(source.path):
                rows = Rows(source.path, "train")
                if complete and here:
                    _check_suits(config, phase, make_task(config, phase), rows)
    if begun:
        return
    if config.init and not is_remote(config.init) and not config.init.startswith(HUB):
        find_model(config.init)
    if config.data.tokenizer:
        Tokenizer.load(config.data.tokenizer)
    text = config.data.source
    if kind_of_task(config).make_rows is not None:
        return
    if text and not all(phase.rows for phase in config.phases) and not reached_anywhere(text):
        open_source(text)


@contextmanager
def _made_by_the_run(workdir: Path) -> Iterator[None]:
    """Gives advice for damaged records and rows in the workdir: no other command makes them again."""
    try:
        yield
    except (InputError, Stopped) as error:
        if error.code not in _DAMAGED:
            raise
        raise Stopped(
            f"the rows that this run made are damaged: {error.what}",
            where=error.where,
            fix=f"Remove {workdir / 'data'} and repeat the same command: it makes the same rows again, and continues.",
            code="E-RUN-DATA-DAMAGED",
        ) from None


def check_one_tokenizer(phases: list[PhaseRows]) -> None:
    """Raises InputError unless one tokenizer made all rows of a run: ids mean nothing without it."""
    every = [rows for phase in phases for rows, _ in phase.train]
    for rows in every[1:]:
        rows.require(tokenizer_hash=every[0].manifest["tokenizer_hash"])


def make_missing_rows(
    config: RunConfig, phases: Sequence[PhaseConfig], workdir: Path, tokenizer: Tokenizer | None, *, begun: bool = False
) -> None:
    """Makes the rows of phases that name none, in the workdir: from labelled files, or from the source of the text.

    Args:
      config: the run.
      phases: those that name no rows.
      workdir: of the run.
      tokenizer: for the rows; for None the tokenizer of `DataConfig`.
      begun: whether the run has trained on rows.

    Raises:
      InputError: as `make_run_rows`, or there is no tokenizer for labelled files.
    """
    make_rows = kind_of_task(config).make_rows
    if make_rows is None:
        make_run_rows(config, [phase.length for phase in phases], workdir, tokenizer, begun=begun)
        return
    with _made_by_the_run(workdir):
        for phase in phases:
            ((place, _),) = phase_rows(config, phase, workdir)
            make_rows(config, tokenizer or task_tokenizer(config), phase, Path(place))


def task_tokenizer(config: RunConfig) -> Tokenizer:
    """Returns the tokenizer that `DataConfig` names, for a task that cannot train one.

    Raises:
      InputError: it names none.
    """
    if not config.data.tokenizer:
        raise InputError(
            f"the task {config.task.name} needs a tokenizer, and neither a model nor the config brings one",
            where="data.tokenizer",
            fix="Start from a model, --init MODEL, or name a tokenizer: --tokenizer DIR.",
            code="E-RUN-TOKENIZER",
        )
    return Tokenizer.load(config.data.tokenizer)


def make_run_rows(
    config: RunConfig, lengths: list[int], workdir: Path, tokenizer: Tokenizer | None, *, begun: bool = False
) -> None:
    """Makes rows of these lengths in the workdir.

    Args:
      config: the run.
      lengths: of the rows.
      workdir: of the run. What an earlier call made of another text, or with other settings, is made again, unless the
        run has begun to train.
      tokenizer: for the rows; for None the tokenizer of `DataConfig`.
      begun: whether the run has trained on rows of this text.

    Raises:
      InputError: as `make_rows`, or rows are missing that cannot be made as before: the text has changed.
    """
    from jaxbert.data.from_source import make_rows
    from jaxbert.data.same_text import forget_other_text, other_text

    out, source = workdir / "data", None
    if out.is_dir():
        source = open_source(config.data.source)
        if not begun:
            forget_other_text(source, out)
        elif changes := other_text(source, out):
            raise InputError(
                f"some rows of this run are missing, and its text has changed since it began: {changes}",
                where=config.data.source,
                fix="Restore the files and their names, or give another --workdir.",
                code="E-RUN-DATA-TEXT",
            )
    if not begun:
        forget_other_settings(config, tokenizer, out)
    if tokenizer is not None:
        save_tokenizer(tokenizer, out / "tokenizer")
    try:
        with _made_by_the_run(workdir):
            make_rows(
                config.data,
                vocab_size=config.encoder.vocab_size,
                lengths=lengths,
                seed=config.seed,
                out=out,
                workers=cores(),
                sentence_structure=make_task(config, config.phases[0]).pairs,
                source=source,
            )
    except InputError as error:
        if error.code != "E-SHARD-ARGUMENTS":
            raise
        raise InputError(
            f"some rows of this run are missing, and they cannot be made as before: {error.what}",
            where=config.data.source,
            fix="Restore the text, or give another --workdir.",
            code="E-RUN-DATA-TEXT",
        ) from None


def rows_are_made(config: RunConfig, phases: list[PhaseConfig], workdir: Path, *, begun: bool) -> bool:
    """Returns whether the rows of these phases are complete. Then their source is not needed any more.

    If the text has changed since then, a run that has trained goes on with the rows that it has, and a warning says so.
    For any other run the rows do not count as complete.

    Args:
      config: the run.
      phases: those that name no rows.
      workdir: of the run.
      begun: whether the run has trained on the rows.
    """
    places = [local(phase_rows(config, phase, workdir)[0][0]) for phase in phases]
    if kind_of_task(config).make_rows is not None:
        return all(is_made(place) for place in places)
    if not all((place / "manifest.json").is_file() for place in places):
        return False
    from jaxbert.data.same_text import changes_of_text

    changes = changes_of_text(config.data.source, workdir / "data")
    if not changes or not begun:
        return not changes
    place = name_of(workdir)
    _log.warning(
        f"the text has changed since this run began: {changes}. The run goes on with the text as it was; for a run on "
        f"the new text, repeat the command with another --workdir, for example --workdir {place.rstrip('/')}-new"
    )
    return True


def tokenizer_of(rows: Rows) -> Tokenizer:
    """Returns the tokenizer beside the rows.

    Raises:
      InputError: another tokenizer made the rows.
    """
    tokenizer = Tokenizer.load(rows.directory / "tokenizer")
    if tokenizer.hash != rows.manifest["tokenizer_hash"]:
        raise InputError(
            "this is not the tokenizer that made the rows",
            where=str(rows.directory / "tokenizer"),
            fix="Restore the tokenizer, or make the rows again.",
            code="E-ROWS-TOKENIZER",
        )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Writes the run's tokenizer, unless all its files are there."""
    if tokenizer.is_saved(path):
        return
    for name in all_file_names():
        (path / name).unlink(missing_ok=True)
    tokenizer.save(path)
