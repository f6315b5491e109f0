"""Shows the log of this package on a terminal as plain lines, and the wrong end of a command as one line.

Modules log to `logging.getLogger(__name__)`. The command line calls `show_log`. A program that uses the package as a
library sets up `logging` itself.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback

from jaxbert.errors import CommandError, line_of, traceback_is_wanted


class _Stderr(logging.Handler):
    """Prints each message as one line on the current `sys.stderr`, which may have been replaced."""

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


def show_error(error: CommandError) -> None:
    """Prints the line of an error on stderr, below its whole traceback if `JAXBERT_TRACEBACK` asks for it.

    An error that was made and not raised has no traceback. Then the stacks of all threads are printed: they show where
    a process hangs.
    """
    sys.stdout.flush()
    if traceback_is_wanted():
        if error.__traceback__ is None:
            _print_stacks()
        cause: BaseException | None = error
        while cause is not None:
            # `raise ... from None` hides the first error, which is what the reader of a traceback needs.
            cause.__suppress_context__ = False
            cause = cause.__cause__ or cause.__context__
        traceback.print_exception(error)
    print(line_of(error), file=sys.stderr, flush=True)


def _print_stacks() -> None:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for number, frame in sys._current_frames().items():
        print(f"Stack of the thread {names.get(number, number)}:", file=sys.stderr)
        traceback.print_stack(frame, file=sys.stderr)
