"""The four ways in which a command can end other than well, and the exit code of each.

Exit codes: 0 done; 1 a bug (any other exception; its traceback is printed); 2 the input is wrong; 3 interrupted, and
the same command continues; 4 stopped on purpose, and repeating the command does not help. Launchers repeat 3, never 2
or 4.

Every error carries a code such as `E-ROWS-LENGTH`. Codes are stable: tests and scripts match them, and the wording may
change. docs/reference/errors.md lists all of them.
"""

from __future__ import annotations

import os

TRACEBACK = "JAXBERT_TRACEBACK"


class CommandError(Exception):
    """An error that the user can act on. The command line prints it as one line on stderr, without a traceback.

    Attributes:
      what: the mistake, as a short sentence without its full stop.
      where: the file, the key or the argument that is wrong.
      fix: advice to the user, as a sentence.
      code: the stable name of this error.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str, fix: str, code: str):
        self.what, self.where, self.fix, self.code = what, str(where), fix, code
        super().__init__(f"{what} ({self.where}). {fix} [{code}]")


class InputError(CommandError):
    """The input is wrong. Raised before any of the user's files is touched."""

    exit_code = 2


class Interrupted(CommandError):
    """A signal, a preemption, a full disk or a lost process. The same command continues the work."""

    exit_code = 3


class Stopped(CommandError):
    """Stopped on purpose: the loss guard, damaged data, no good checkpoint. `fix` says what helps."""

    exit_code = 4


def line_of(error: CommandError) -> str:
    """Returns the line that a command prints for an error."""
    return f"jaxbert: error: {' '.join(str(error).split())}"


def counted(number: float, noun: str, plural: str = "") -> str:
    """Returns a number with its noun for a message: "1 shard", "2,000 shards".

    Args:
      number: the number.
      noun: the noun for one.
      plural: the noun for any other number, if it does not end with a further "s".
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def traceback_is_wanted() -> bool:
    """Returns whether `JAXBERT_TRACEBACK` asks for the traceback of a wrong end."""
    return os.environ.get(TRACEBACK, "") not in ("", "0")
