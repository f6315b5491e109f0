"""Shows the log of this package on a terminal as plain lines.

Modules log to `logging.getLogger(__name__)`. The command line calls `show_log`. A program that uses the package as a
library sets up `logging` itself.
"""

from __future__ import annotations

import logging
import sys


class _Stderr(logging.Handler):
    """Prints each message as a line on the stderr of the moment, so that a replaced `sys.stderr` gets it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints the message."""
        print(self.format(record), file=sys.stderr, flush=True)


def show_log(level: int = logging.INFO) -> None:
    """Shows messages of this package from `level` on, one plain line each, on stderr. A second call sets the level."""
    logger = logging.getLogger("jaxbert")
    logger.setLevel(level)
    if not any(isinstance(handler, _Stderr) for handler in logger.handlers):
        logger.addHandler(_Stderr())
    # Some libraries give the root logger a handler, which would show every message a second time.
    logger.propagate = False
