"""N processes on this machine: a run of several hosts in small, or one process a GPU."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxbert.launch.job import Command, Job

from jaxbert.errors import InputError
from jaxbert.run.processes import COORDINATOR, DEVICES, PROCESS_ID, PROCESSES, SUPERVISED
from jaxbert.stores.mirror import Mirror
from jaxbert.stores.storage import is_remote


def local(
    processes: int, arguments: Sequence[str], workdir: str, *, devices: int | None = None, port: int | None = None
) -> Job:
    """The commands of a run of so many processes.

    Args:
      processes: N.
      arguments: of `jaxbert pretrain`.
      workdir: logs go to `logs/process-I.log` in it; of one in a bucket, to the directory of this machine for it.
      devices: of each process; all of the machine's where it is not given (one, on a CPU).
      port: of process 0's coordinator; a free one by default.

    Raises:
      InputError: fewer than one process or device.
    """
    for name, value in (("--processes", processes), ("--devices", 1 if devices is None else devices)):
        if value < 1:
            raise InputError(f"it is {value}", where=name, fix="Take 1 or more.")
    port = free_port() if port is None else port
    logs = (Mirror(workdir).path.parent if is_remote(workdir) else Path(workdir)) / "logs"
    common = {COORDINATOR: f"localhost:{port}", PROCESSES: str(processes), SUPERVISED: "1"}
    if devices is not None:
        common[DEVICES] = str(devices)
    return Job(
        tuple(
            Command(
                (sys.executable, "-m", "jaxbert", "pretrain", *arguments),
                {**common, PROCESS_ID: str(number)},
                logs / f"process-{number}.log",
            )
            for number in range(processes)
        )
    )


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return int(one.getsockname()[1])
