"""Files about the corpus of a run, as a run writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxbert.config import RunConfig
from jaxbert.fit.judge import Judgement, judge
from jaxbert.run.judging import write_judgement
from tests.fit.manifests import phase_rows


def write_corpus(workdir: Path, config: RunConfig, **rows: Any) -> Judgement:
    """Writes WORKDIR/corpus.json about rows that are only a manifest (`tests.fit.manifests.phase_rows`)."""
    found = judge(config, [phase_rows(**rows) for _ in config.phases], 50_000)
    write_judgement(found, workdir)
    return found
