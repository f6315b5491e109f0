"""`jaxbert launch local`: several processes on this machine, as a small run of several hosts, or one process a GPU."""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence

from jaxbert.errors import InputError, Interrupted, counted
from jaxbert.observe.accelerators import Accelerators, accelerators
from jaxbert.run.devices import JAX_PLATFORMS, asked, warn_of_cpu
from jaxbert.run.processes import COORDINATOR, DEVICES, PROCESS_ID, PROCESSES, SUPERVISED
from jaxbert.stores.workdir import check_place

from .devices import variables
from .job import Command, Job
from .launcher import Book, Launcher, check_alone, log
from .running import check_logs, run

# More processes, or devices of a process, than any machine can run.
_MOST = 4096

_log = logging.getLogger(__name__)


def launch_locally(args: Namespace, arguments: Sequence[str]) -> int:
    """Runs processes on this machine to their end, and restarts them after exit 3 as often as --restarts says.

    Args:
      args: the parsed arguments of `jaxbert launch local`.
      arguments: the arguments of `jaxbert pretrain`.

    Returns:
      The exit code of the run.

    Raises:
      InputError: an argument is wrong. Nothing has been started.
    """
    _check(args)
    check_place(args.workdir, writes=True)
    if (
        not os.environ.get(JAX_PLATFORMS)
        and _found(args.processes, args.devices, os.environ, accelerators())[0] == "cpu"
    ):
        warn_of_cpu(accelerators())
    if args.dry_run:
        print("\n".join(local(args.processes, arguments, args.workdir, devices=args.devices).lines()))
        return 0
    check_alone(args.workdir)
    book = Book(args.workdir, Launcher.here(args.processes, args.restarts))
    again = 0
    while True:
        # Each start takes a new port, because the old one may not be free yet.
        job = local(args.processes, arguments, args.workdir, devices=args.devices)
        check_logs(job)
        with book.kept(again=again):
            code, signalled = run(job, grace_s=args.grace)
        # A signal to this process was meant for the whole run, so the run is not restarted.
        if code != Interrupted.exit_code or signalled or again == args.restarts:
            book.end(code)
            return code
        again += 1
        _log.info("jaxbert: the run was interrupted; restarting it (%d of %d)", again, args.restarts)


def devices_of(args: Namespace, environment: Mapping[str, str] = os.environ) -> int | None:
    """Returns the number of devices of all processes; None if only the processes can find out.

    Args:
      args: the parsed arguments of `jaxbert launch local`.
      environment: the environment that the processes inherit.

    Raises:
      InputError: an argument is wrong.
    """
    _check(args)
    _, devices = _found(args.processes, args.devices, environment, accelerators(environment))
    return None if devices is None else int(args.processes * devices)


def _check(args: Namespace) -> None:
    if args.topology is not None:
        raise InputError(
            "local runs on this machine's own devices and takes no topology",
            where=f"--topology {args.topology}",
            fix="Remove it, or choose another TARGET.",
            code="E-LAUNCH-TOPOLOGY",
        )
    if not 0 <= args.grace < math.inf:
        raise InputError(
            f"the value is {args.grace}", where="--grace", fix="Give 0 seconds or more.", code="E-LAUNCH-NUMBER"
        )
    if args.restarts < 0:
        raise InputError(
            f"the value is {args.restarts}", where="--restarts", fix="Give 0 or more.", code="E-LAUNCH-NUMBER"
        )
    _check_numbers(args.processes, args.devices)


def _check_numbers(processes: int, devices: int | None) -> None:
    for name, value in (("--processes", processes), ("--devices", 1 if devices is None else devices)):
        if not 1 <= value <= _MOST:
            raise InputError(f"the value is {value}", where=name, fix=f"Give 1 to {_MOST:,}.", code="E-LAUNCH-NUMBER")


def _found(
    processes: int, devices: int | None, environment: Mapping[str, str], here: Accelerators
) -> tuple[str | None, int | None]:
    """Returns the platform of this machine's devices, and the number of devices of each process.

    Args:
      processes: the number of processes.
      devices: the number that the user asks for; None for an equal share of the machine's devices.
      environment: the environment that the processes inherit.
      here: the accelerators of this machine.

    Returns:
      The platform; None where only jax can find out. The number of devices; None where only the processes can find
      out.

    Raises:
      InputError: the machine has fewer GPUs than the processes need.
    """
    platform = asked(environment, here)
    if platform is None and not environment.get(JAX_PLATFORMS):
        libtpu = "libtpu" in here.plugins
        # With one of these, jax itself must look: it may find a device that this command does not know.
        unknown = libtpu or (here.cuda_plugins and here.sought and not here.hidden)
        platform = "tpu" if here.tpu and libtpu else "gpu" if here.rocm else None if unknown else "cpu"
    if platform == "cpu" and devices is None:
        # jax makes one device of a CPU, unless one of these settings says otherwise.
        more = environment.get("JAX_NUM_CPU_DEVICES") or "device_count" in environment.get("XLA_FLAGS", "")
        return platform, None if more else 1
    if platform == "gpu" and here.visible:
        share, left = divmod(here.visible, processes)
        if (devices or 1) * processes > here.visible or (devices is None and left):
            raise InputError(
                f"this machine has {counted(here.visible, 'GPU')} for {counted(processes, 'process', 'processes')}"
                + (f" of {counted(devices, 'GPU')}" if devices is not None else ""),
                where=f"--processes {processes}" + (f" --devices {devices}" if devices is not None else ""),
                fix="Give numbers that the GPUs are enough for, with the same number of GPUs for each process.",
                code="E-LAUNCH-DEVICES",
            )
        return platform, devices or share
    return platform, devices


def local(
    processes: int, arguments: Sequence[str], workdir: str, *, devices: int | None = None, port: int | None = None
) -> Job:
    """Returns the commands of a run of several processes.

    Args:
      processes: the number of processes.
      arguments: the arguments of `jaxbert pretrain`.
      workdir: workdir of the run. Logs go to `logs/process-I.log` in it. If it is in a bucket, they go to the directory
        that this machine keeps for it.
      devices: the number of devices of each process; None for all of the machine's (one, on a CPU).
      port: the port of process 0's coordinator; None for one that is free.

    Raises:
      InputError: a number is less than 1, or larger than this machine's number of GPUs.
    """
    _check_numbers(processes, devices)
    port = free_port() if port is None else port
    common = {COORDINATOR: f"localhost:{port}", PROCESSES: str(processes), SUPERVISED: "1"}
    platform, each = _found(processes, devices, os.environ, accelerators())
    if platform is not None:
        common |= variables(platform, each)
    elif each is not None:
        common[DEVICES] = str(each)
    return Job(
        tuple(
            Command(
                (sys.executable, "-m", "jaxbert", "pretrain", *arguments),
                {**common, PROCESS_ID: str(number)},
                log(workdir, number),
            )
            for number in range(processes)
        )
    )


def free_port() -> int:
    """Returns a port that no process listens on now."""
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return int(one.getsockname()[1])
