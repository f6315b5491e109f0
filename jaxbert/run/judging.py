"""Fits a run that begins to its corpus, judges the corpus, and writes the judgement."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from jaxbert.config import RunConfig
from jaxbert.config.overrides import Setting
from jaxbert.fit.judge import Judgement, judge
from jaxbert.fit.passes import limited
from jaxbert.inputs.files import read_bytes
from jaxbert.inputs.values import checked
from jaxbert.run.hold import write_config
from jaxbert.run.inputs import PhaseRows
from jaxbert.run.memory import parameters_of
from jaxbert.stores.files import write_whole
from jaxbert.stores.workdir import CORPUS

_log = logging.getLogger(__name__)


def fitted(
    config: RunConfig,
    settings: Sequence[Setting],
    rows: Sequence[PhaseRows],
    workdir: Path,
    *,
    leader: bool,
    anyway: bool,
) -> RunConfig:
    """Returns the config of a run that begins, with the steps that it allows on this corpus.

    Every process of a run computes the same from the same rows, so that all go on, or all end. Only the leader logs,
    writes WORKDIR/corpus.json, and writes config.json again if the steps change.

    Args:
      config: the complete config.
      settings: `--set`.
      rows: the rows of each phase.
      workdir: the workdir of the run.
      leader: whether this process writes.
      anyway: train although the figures of the run will mean nothing.

    Raises:
      InputError: the figures of the run would mean nothing, and `anyway` is off.
    """
    config, said = limited(config, settings, rows)
    found = judge(config, rows, parameters_of(config))
    if leader:
        if said:
            _log.info(said)
            write_config(config, workdir)
        # The error says by itself why a corpus is refused.
        for line in found.lines()[: None if anyway or not found.refusals else -len(found.refusals)]:
            _log.info(line)
        write_judgement(found, workdir)
    found.check(anyway=anyway)
    return config


def mended(config: RunConfig, rows: Sequence[PhaseRows], workdir: Path) -> None:
    """Writes WORKDIR/corpus.json of a run that continues again, if the file is damaged, and says so."""
    path = workdir / CORPUS
    if not path.is_file():
        return
    try:
        checked(read_bytes(path), dict)
    except (ValueError, OSError):
        _log.warning("%s is damaged; it is written again", path)
        write_judgement(judge(config, rows, parameters_of(config)), workdir)


def write_judgement(found: Judgement, workdir: Path) -> None:
    """Writes WORKDIR/corpus.json, from which the page about the run has the summary of its corpus."""
    write_whole(workdir / CORPUS, json.dumps(found.to_json(), indent=1, ensure_ascii=False) + "\n")
