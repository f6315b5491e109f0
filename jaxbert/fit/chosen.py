"""The run that `jaxbert pretrain auto` asks for: a recorded recipe, or one that is chosen now."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from jaxbert.config import RunConfig, from_json
from jaxbert.config.overrides import parse_settings
from jaxbert.core.progress import Progress
from jaxbert.core.shell import path_word, word
from jaxbert.data.sources import Document, open_source
from jaxbert.errors import InputError, counted
from jaxbert.fit.auto import MINUTES, check_settings, choose
from jaxbert.fit.corpus import read_corpus
from jaxbert.fit.judge import LEAST_TOKENS
from jaxbert.fit.machine import machine_here, measured
from jaxbert.fit.record import FILE, RECORD, files
from jaxbert.inputs.values import parse
from jaxbert.stores.storage import storage

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chosen:
    """A run with its recipe.

    Attributes:
      config: the run.
      files: the files that keep the recipe in a new workdir, by their names.
      settings: the texts of `--set` that are not in the recipe yet: those that a repeated command adds.
    """

    config: RunConfig
    files: Mapping[str, str]
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Record:
    """The record of a recipe, as its file has it.

    Attributes:
      source: SOURCE of the text.
      seconds: the time that the recipe was chosen for.
      settings: the texts of `--set` that it has.
      config: the run, as JSON.
      lines: its five lines.
      last: the index of the last phase.
      steps: the steps of that phase.
      step_seconds: the seconds of one of them.
    """

    source: str
    seconds: float
    settings: tuple[str, ...]
    config: Any
    lines: tuple[str, ...]
    last: int
    steps: int
    step_seconds: float

    @staticmethod
    def read(text: bytes) -> _Record:
        """Returns the record that a file has. Raises what Python raises where it is damaged."""
        record = parse(text)
        asked, phases = record["asked"], record["config"]["phases"]
        return _Record(
            source=asked["source"],
            seconds=float(asked["seconds"]),
            settings=tuple(str(text) for text in asked.get("settings", ())),
            config=record["config"],
            lines=tuple(str(line) for line in record["lines"]),
            last=len(phases) - 1,
            steps=int(phases[-1]["steps"]),
            step_seconds=float(record["step_seconds"][-1]),
        )

    def has_time(self, seconds: float | None) -> bool:
        """Returns whether this time is that of the recipe. None is every time."""
        return seconds is None or abs(seconds - self.seconds) < 1e-6

    def has(self, seconds: float | None, settings: Sequence[str]) -> bool:
        """Returns whether the recipe has this time, and all of these settings."""
        return self.has_time(seconds) and set(settings) <= set(self.settings)

    def with_new(self, settings: Sequence[str]) -> tuple[str, ...]:
        """Returns the settings of the recipe, but those whose keys are set anew, and then the new ones."""
        new = {one.key for one in parse_settings(settings)}
        return (*(text for text in self.settings if text.partition("=")[0] not in new), *settings)


def chosen(
    source: str,
    workdir: str,
    *,
    seconds: float | None,
    settings: Sequence[str] = (),
    overwrite: bool = False,
    anyway: bool = False,
) -> Chosen:
    """Returns the recipe that the workdir has, or else chooses one, and logs its five lines.

    A recipe is chosen once: it depends on a measurement, and a run that continues must be the same run. Where
    `overwrite` replaces the recipe of the same text, the new one has the recorded time if `seconds` is None, and the
    recorded settings but those whose keys `settings` sets anew.

    Args:
      source: SOURCE of the text.
      workdir: the directory or URL of the run. It is not touched.
      seconds: the time of the whole command; None: the time of the recorded recipe, or the platform's default.
      settings: the texts of `--set`, and of what stands for one. The recipe goes with them and has them.
      overwrite: choose anew where the workdir has a recipe of another text, another time or other settings, one that
        cannot be read, or a run without one.
      anyway: choose for a text that is certainly too short for a run, too.

    Raises:
      InputError: the workdir has a run of another text or another time, or one that was not chosen; or nothing can be
        chosen for this text, time and machine, the text is too short, or a setting does not fit.
    """
    began = time.monotonic()
    parsed = parse_settings(settings)
    record = _recorded(workdir, source, seconds, overwrite)
    if record is not None:
        if not overwrite or record.has(seconds, settings):
            config = from_json(RunConfig, record.config, f"{workdir}/{RECORD}")
            _say(record.lines, workdir)
            return Chosen(config, _kept(workdir), tuple(text for text in settings if text not in record.settings))
        seconds, settings = seconds or record.seconds, record.with_new(settings)
        parsed = parse_settings(settings)
        had = f", and --set {' '.join(map(word, settings))}" if settings else ""
        _log.info("--overwrite chooses anew, for %g minutes%s", seconds / 60, had)
    if jax.process_count() > 1:
        raise InputError(
            f"auto measures one process, and this run has {jax.process_count()}",
            where="CONFIG auto",
            fix=f"Choose with one process first, and give the WORKDIR/{FILE} that it writes as CONFIG.",
            code="E-FIT-PROCESSES",
        )
    machine = machine_here()
    if seconds is None:
        seconds = 60 * MINUTES[machine.platform]
        _log.info("no --minutes: the whole command gets %g minutes on this kind of machine", seconds / 60)
    check_settings(parsed, machine, seconds, source)
    _log.info("reading the text to choose a recipe")
    corpus = read_corpus(_shown(open_source(source).documents()))
    # A token has a character at least. The judgement of the run counts the tokens themselves.
    if corpus.characters < LEAST_TOKENS and not anyway:
        raise InputError(
            f"the text has {counted(corpus.characters, 'character')}, and a run needs {LEAST_TOKENS:,} tokens",
            where=source,
            fix="Give more text: a megabyte is little, ten are better. Or train all the same: repeat the command with "
            "--anyway.",
            code="E-FIT-CORPUS",
        )
    _log.info("measuring the time of a step")
    left = seconds - (time.monotonic() - began)
    choice = choose(corpus, machine, left, asked=seconds, source=source, speed=measured, settings=parsed)
    _say(choice.lines, workdir)
    return Chosen(choice.config, files(choice, {"source": source, "seconds": seconds, "settings": list(settings)}))


def _shown(documents: Iterable[Document]) -> Iterator[Document]:
    """Yields documents, and shows how many there have been."""
    with Progress(None, label="text", unit="document") as progress:
        characters = 0
        for document in documents:
            yield document
            characters += len(document.text)
            progress.advance(f"{characters / 1e6:.1f}M characters")


def _say(lines: Any, workdir: str) -> None:
    for line in lines:
        _log.info("%s", line)
    _log.info("the recipe is kept in %s/%s: give it as CONFIG to use it again", workdir, FILE)


def _kept(workdir: str) -> dict[str, str]:
    """Returns the files of the recipe as they are, for a run that is begun again."""
    place = storage(workdir)
    there = place.names()
    return {name: place.read(name).decode() for name in (RECORD, FILE) if name in there}


def _recorded(workdir: str, source: str, seconds: float | None, overwrite: bool) -> _Record | None:
    """Returns the record of the workdir; None where it has none that counts.

    Raises:
      InputError: see `chosen`.
    """
    place = storage(workdir)
    there = place.names()
    if RECORD not in there:
        if "config.json" in there and not overwrite:
            raise InputError(
                "the workdir holds a run that auto did not choose",
                where=workdir,
                fix="Give another --workdir, or replace that run with --overwrite.",
                code="E-FIT-OTHER-RUN",
            )
        return None
    try:
        record = _Record.read(place.read(RECORD))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        if overwrite:
            _log.info("the record of the recipe cannot be read, so its time and its settings do not count")
            return None
        raise InputError(
            f"the record of the recipe cannot be read: {error}",
            where=f"{workdir}/{RECORD}",
            fix=f"Restore the file, give {path_word(f'{workdir}/config.json')} as CONFIG, or begin again with "
            "--overwrite.",
            code="E-FIT-RECORD",
        ) from None
    if record.source != source:
        if overwrite:
            _log.info("the recipe of another text is replaced, and its time and its settings do not count")
            return None
        raise InputError(
            f"the recipe was chosen for another text, {record.source}",
            where=workdir,
            fix="Give another --workdir, or replace that run with --overwrite.",
            code="E-FIT-OTHER-RUN",
        )
    if not record.has_time(seconds) and not overwrite:
        assert seconds is not None
        more = round((seconds - record.seconds) / record.step_seconds) if record.step_seconds > 0 else 0
        longer = (
            f"To train about as long with the same recipe, give the last phase more steps instead: --set "
            f"phases.{record.last}.steps={record.steps + more}. The learning rate falls to 0 over all steps, so it "
            "then rises again."
        )
        raise InputError(
            f"the run was chosen for {record.seconds / 60:g} minutes, and --minutes or --hours now gives "
            f"{seconds / 60:g}",
            where=workdir,
            fix="Leave the time out to continue the run, choose anew with --overwrite, or give another --workdir."
            + (f" {longer}" if more > 0 else ""),
            code="E-FIT-OTHER-TIME",
        )
    return record
