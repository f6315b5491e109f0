"""Writes the page while a run goes on."""

from __future__ import annotations

import logging
from pathlib import Path

from jaxbert.report.page import write_report

_log = logging.getLogger(__name__)


class LivePage:
    """The page of a run that goes on. A page that cannot be written never ends the run: a warning says so, once.

    Args:
      workdir: the workdir of the run, or of a fine-tuning with several runs, on this machine.
      enabled: False writes nothing (for processes other than 0).
    """

    def __init__(self, workdir: Path, *, enabled: bool = True):
        self._workdir, self._enabled, self._said = workdir, enabled, False

    def write(self) -> bool:
        """Writes WORKDIR/report.html from what the run has logged so far; returns whether it could."""
        if not self._enabled:
            return False
        try:
            write_report([self._workdir], png=False, model=False, warn=False)
        except Exception as error:
            # The next call tries again: a disk that is full now may have room then.
            if not self._said:
                _log.warning(f"the page of the run cannot be written, and the run goes on without it: {error}")
            self._said = True
            return False
        return True
