"""The four ways a command can end other than well, and the exit code of each.

Exit codes: 0 done; 1 a bug (any other exception, with its traceback); 2 the input is wrong; 3 interrupted, the same
command continues; 4 stopped on purpose, repeating does not help. Launchers repeat 3, never 2 or 4.
"""

from __future__ import annotations


class CommandError(Exception):
    """An end that the user can act on: printed as one line on stderr, without a traceback.

    Attributes:
      what: what is wrong, in a few words.
      where: the file, key or argument it was found in.
      fix: what the user can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str, fix: str):
        self.what, self.where, self.fix = what, str(where), fix
        super().__init__(f"{what} ({self.where}). {fix}")


class InputError(CommandError):
    """The input is wrong: raised before any file of the user's is touched."""

    exit_code = 2


class Interrupted(CommandError):
    """A signal, a preemption, a full disk or a lost peer: the same command continues the work."""

    exit_code = 3


class Stopped(CommandError):
    """Stopped on purpose (loss guard, damaged data, no good checkpoint): repeating is no help, `fix` says what is."""

    exit_code = 4
