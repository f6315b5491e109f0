"""The run that `jaxbert pretrain auto` asks for: a recorded recipe, or one that is chosen now."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from jaxbert.config import RunConfig, from_json
from jaxbert.data.sources import open_source
from jaxbert.errors import InputError, counted
from jaxbert.fit.auto import MINUTES, choose
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
    """

    config: RunConfig
    files: Mapping[str, str]


def chosen(
    source: str,
    workdir: str,
    *,
    seconds: float | None,
    language: str = "",
    overwrite: bool = False,
    anyway: bool = False,
) -> Chosen:
    """Returns the recipe that the workdir has, or else chooses one, and logs its five lines.

    A recipe is chosen once: it depends on a measurement, and a run that continues must be the same run.

    Args:
      source: SOURCE of the text.
      workdir: the directory or URL of the run. It is not touched.
      seconds: the time of the whole command; None: the time of the recorded recipe, or the platform's default.
      language: ISO 639 code of the text, if the user gave one.
      overwrite: choose anew where the workdir has another recipe, or a run without one.
      anyway: choose for a text that is certainly too short for a run, too.

    Raises:
      InputError: the workdir has a run of another text or another time, or one that was not chosen; or nothing can be
        chosen for this text, time and machine, or the text is too short.
    """
    began = time.monotonic()
    record = _recorded(workdir, source, seconds, overwrite)
    if record is not None:
        config = from_json(RunConfig, record["config"], f"{workdir}/{RECORD}")
        _say(record["lines"], workdir)
        return Chosen(config, _kept(workdir))
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
    _log.info("reading the text to choose a recipe")
    corpus = read_corpus(open_source(source).documents())
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
    choice = choose(corpus, machine, left, asked=seconds, source=source, speed=measured, language=language)
    _say(choice.lines, workdir)
    return Chosen(choice.config, files(choice, {"source": source, "seconds": seconds}))


def _say(lines: Any, workdir: str) -> None:
    for line in lines:
        _log.info("%s", line)
    _log.info("the recipe is kept in %s/%s: give it as CONFIG to use it again", workdir, FILE)


def _kept(workdir: str) -> dict[str, str]:
    """Returns the files of the recipe as they are, for a run that is begun again."""
    place = storage(workdir)
    there = place.names()
    return {name: place.read(name).decode() for name in (RECORD, FILE) if name in there}


def _recorded(workdir: str, source: str, seconds: float | None, overwrite: bool) -> dict[str, Any] | None:
    """Returns the record of the workdir; None where a recipe has to be chosen.

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
        record = parse(place.read(RECORD))
        asked = record["asked"]
        before, minutes = asked["source"], asked["seconds"] / 60
        found: dict[str, Any] = {"config": record["config"], "lines": [str(line) for line in record["lines"]]}
    except (ValueError, KeyError, TypeError) as error:
        if overwrite:
            return None
        raise InputError(
            f"the record of the recipe cannot be read: {error}",
            where=f"{workdir}/{RECORD}",
            fix=f"Restore the file, give {shlex.quote(f'{workdir}/config.json')} as CONFIG, or begin again with "
            "--overwrite.",
            code="E-FIT-RECORD",
        ) from None
    if before != source:
        if overwrite:
            return None
        raise InputError(
            f"the recipe was chosen for another text, {before}",
            where=workdir,
            fix="Give another --workdir, or replace that run with --overwrite.",
            code="E-FIT-OTHER-RUN",
        )
    if seconds is not None and abs(seconds / 60 - minutes) > 1e-9:
        if overwrite:
            return None
        raise InputError(
            f"the run was chosen for {minutes:g} minutes, and --minutes or --hours now gives {seconds / 60:g}",
            where=workdir,
            fix="Leave the time out to continue the run, choose anew with --overwrite, or give another --workdir. To "
            "train longer with the same recipe, change the steps: --set phases.1.steps=N.",
            code="E-FIT-OTHER-TIME",
        )
    return found
