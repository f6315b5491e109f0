"""Counts the starts of a job in its workdir, so that a bound on restarts holds while the job moves between machines.

Some engines repeat exit 3 without a limit. Their script calls this module before each start:

    python -m jaxbert.stores.starts WORKDIR JOB PROCESS RESTARTS

It prints the number of this start, from 1, and ends with 4 if the job has had all its restarts. Each start makes one
small file, WORKDIR/launch/starts/JOB/PROCESS-NUMBER, where JOB is a hash. Each process of a job has its own count. All
processes start together, so the counts are equal. Imports no jax.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Sequence

from jaxbert.errors import CommandError, InputError, Interrupted, Stopped, counted, line_of
from jaxbert.inputs.values import whole_number
from jaxbert.stores.storage import Storage, storage
from jaxbert.stores.workdir import LAUNCH

DIRECTORY = f"{LAUNCH}/starts"
# Seconds before each further try to write the count: five minutes in all.
_WAITS_S = (5.0, 15.0, 40.0, 80.0, 160.0)


def count(workdir: str, job: str, process: int, restarts: int, *, sleep: Callable[[float], object] = time.sleep) -> int:
    """Writes down that a process of a job starts. Returns the number of this start, from 1.

    Args:
      workdir: the path or the URL of the workdir.
      job: a name that the engine gives to one submission of the job, and keeps when the job moves.
      process: the number of the process in the job.
      restarts: the most restarts.
      sleep: waits for so many seconds; for tests.

    Raises:
      InputError: the workdir cannot be used.
      Stopped: the job has had all its restarts, or the count cannot be written. A start that is not counted would have
        no bound.
    """
    for wait in (*_WAITS_S, None):
        try:
            return _count(storage(workdir), job, process, restarts)
        except (Interrupted, OSError) as error:
            if wait is None:
                raise Stopped(
                    f"the start cannot be counted, so nothing would limit the restarts: {error}",
                    where=f"{workdir}/{DIRECTORY}",
                    fix="Correct that. The same launch command continues the run.",
                    code="E-STARTS-COUNT",
                ) from None
            sleep(wait)
    raise AssertionError


def _count(place: Storage, job: str, process: int, restarts: int) -> int:
    directory = f"{DIRECTORY}/{hashlib.sha256(job.encode(errors='surrogatepass')).hexdigest()[:16]}"
    # Names that are not ours are not counted.
    numbers = [whole_number(name.removeprefix(f"{process}-")) for name in place.names(directory)]
    number = max((one for one in numbers if one is not None), default=0)
    while True:
        number += 1
        if number > restarts + 1:
            raise Stopped(
                f"the job was interrupted too often: it has had {counted(restarts, 'restart')}",
                where=f"{place.place}/{directory}",
                fix="The log says what interrupted it. The same launch command continues the run, with a new count.",
                code="E-STARTS-BOUND",
            )
        if place.create(f"{directory}/{process}-{number}", b""):
            return number


def main(words: Sequence[str]) -> int:
    """Counts a start, for a script. Prints the number of the start, or the error. Returns the exit code."""
    try:
        if len(words) != 4 or (process := whole_number(words[2])) is None or (most := whole_number(words[3])) is None:
            raise InputError(
                "the arguments are not WORKDIR JOB PROCESS RESTARTS",
                where="python -m jaxbert.stores.starts",
                fix="Give the last two as numbers.",
                code="E-STARTS-ARGUMENTS",
            )
        print(count(words[0], words[1], process, most))
    except CommandError as error:
        print(line_of(error), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
