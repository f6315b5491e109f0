"""Runs the commands of an engine, one after the other."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from jaxbert.errors import InputError, Interrupted

from .job import Command, Question

_log = logging.getLogger(__name__)
# Seconds that an engine may take to answer a question.
_PATIENCE_S = 30


def need(programs: Sequence[str], known: Mapping[str, str]) -> None:
    """Checks that the programs are on PATH.

    Args:
      programs: the names.
      known: program -> how to install it.

    Raises:
      InputError: a program is missing.
    """
    for program in programs:
        if shutil.which(program) is None:
            raise InputError(
                f"{program} is not on PATH",
                where="jaxbert launch",
                fix=known.get(program, "Run this command on a machine that has it."),
                code="E-LAUNCH-PROGRAM",
            )


def execute(command: Command, known: Mapping[str, str], done: Sequence[str] = ()) -> None:
    """Runs a command and waits for its end.

    Args:
      command: the command to run.
      known: program -> how to install it.
      done: results of earlier commands of the submission, for the message of a failure.

    Raises:
      InputError: the program is missing.
      Interrupted: the command failed, and it is not optional.
    """
    need([command.arguments[0]], known)
    if command.unless:
        asked = subprocess.run(command.unless, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if asked.returncode == 0:
            return
    _log.info("+ %s", command.line())
    quiet = subprocess.DEVNULL if command.optional else None
    try:
        code = subprocess.run(command.arguments, stdin=subprocess.DEVNULL, stderr=quiet, check=False).returncode
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted",
            where=command.line(),
            fix="`jaxbert launch status` shows what exists.",
            code="E-LAUNCH-INTERRUPTED",
        ) from None
    if code and not command.optional:
        before = f" These steps are done: {', '.join(done)}." if done else ""
        raise Interrupted(
            f"{command.arguments[0]} failed with exit code {code}",
            where=command.line(),
            fix=f"Correct what it reports, and repeat the same command.{before}",
            code="E-LAUNCH-COMMAND",
        )


def ask(question: Question) -> None:
    """Asks an engine whether it can run a job. It warns where nobody answers, or where the answer says nothing.

    Raises:
      InputError: the engine cannot run the job.
    """
    program = question.command.arguments[0]
    why = f"{program} is not on PATH"
    if shutil.which(program) is not None:
        try:
            done = subprocess.run(
                question.command.arguments,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=_PATIENCE_S,
            )
        except subprocess.TimeoutExpired:
            why = f"{program} did not answer in {_PATIENCE_S} s"
        else:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            why = f"{program} failed with exit code {done.returncode}{f' ({lines[-1]})' if lines else ''}"
            if not done.returncode:
                why = question.check(done.stdout.decode(errors="replace"))
    if why:
        _log.warning("%s: %s.", why, question.about)
