"""`jaxbert launch status`, `logs` and `stop`: find the record of a launch, and run the engine's commands."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from jaxbert.errors import InputError

from . import launcher, names, records
from .execute import execute
from .job import Target


def control(word: str, targets: Mapping[str, Target], args: Namespace) -> dict[str, Any]:
    """Runs the commands of `jaxbert launch WORD`.

    Args:
      word: status, logs or stop.
      targets: the table of targets.
      args: `workdir`, `dry_run`, and `follow` for logs.

    Returns:
      The target, the job's name and the commands; also see `launcher.answer`.

    Raises:
      InputError: there is no record of a launch, or it is damaged.
      Interrupted: a command failed.
    """
    workdir = names.workdir(args.workdir)
    record = records.read(workdir)
    if record.target == launcher.LOCAL:
        record = launcher.newest(record)
    if record.target == launcher.LOCAL:
        names.checked(record.name, "job", workdir)
        return launcher.answer(word, record, args)
    target = targets.get(record.target)
    if target is None:
        raise InputError(
            f"the record of this launch names {record.target!r}, which is not a target",
            where=workdir,
            fix="Use the engine's own commands.",
            code="E-LAUNCH-RECORD",
        )
    # Somebody else may have written the record, if it came from the workdir. Nothing in it is trusted.
    names.checked(record.name, "job", workdir)
    options = record.checked_options(target.remembered)
    target.check(options)
    commands = getattr(target.control(record.name, options, follow=getattr(args, "follow", False)), word)
    if args.dry_run:
        print("\n".join(command.line() for command in commands))
    else:
        for command in commands:
            execute(command, target.programs)
        if word == "stop":
            # Most engines say nothing here, or nothing of a job that is gone already.
            print("The job was told to stop, or had ended before.")
    return {
        "target": target.name,
        "name": record.name,
        "commands": [command.line() for command in commands],
    }
