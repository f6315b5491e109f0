"""Runs one training over several processes: they find each other, and each ends when another one is lost.

A run has several processes where `JAXBERT_COORDINATOR` (host:port of process 0), `JAXBERT_PROCESSES` and
`JAXBERT_PROCESS_ID` are set, or where `jaxbert pretrain --distributed` lets jax ask its surroundings (TPU slices,
Slurm, MPI). `JAXBERT_DEVICES` is the number of devices of this process, where it is not all of the machine's, and
`JAXBERT_PLATFORM` their platform: `jaxbert.run.devices` compares both with the devices that jax finds.

Each failure and the exit codes that it gives:
  one process's input is wrong, or it stops on purpose   every process ends with that exit code and line
  one process has a bug                                  all end with 1, and each prints the error
  one process is killed, or its machine is lost          3: the collective fails, or jax's heartbeat ends the process by
                                                         SIGABRT, which `supervise` turns into 3
  nothing moves any more                                 3, with the line of the watchdog
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from jaxbert.core.machine import THREADS, threads_of_devices
from jaxbert.core.signals import ended_by, handling
from jaxbert.errors import CommandError, InputError, Interrupted, traceback_is_wanted
from jaxbert.inputs.values import parse, whole_number
from jaxbert.observe.console import show_error

COORDINATOR, PROCESSES, PROCESS_ID = "JAXBERT_COORDINATOR", "JAXBERT_PROCESSES", "JAXBERT_PROCESS_ID"
DEVICES, HEARTBEAT, SUPERVISED = "JAXBERT_DEVICES", "JAXBERT_HEARTBEAT_S", "JAXBERT_SUPERVISED"
PLATFORM = "JAXBERT_PLATFORM"
# The number of this process among those of its machine.
LOCAL_ID = "JAXBERT_LOCAL_ID"

# Set by srun in every task.
SLURM = "SLURM_LOCALID"

_CONTINUE = "Repeat the same command to continue."
_FAILED = "jaxbert/failed"
_SEEN = "jaxbert/seen"
_POLL_S = 0.5
# Milliseconds that a process waits for the others to find their devices.
_BARRIER_MS = 600_000
# Seconds that a failed process waits for the others to read its error.
_LINGER_S = 10.0
# The first step of a phase includes its compilation, so it may take this much longer.
COMPILE_MINUTES = 30.0
# Status codes of jax's coordination service and collectives when another process has gone. The text of an error of
# jax's runtime begins with its code, one of absl's canonical codes.
_LOST_STATUS = re.compile(r"\s*(UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED)\b")
# Collectives report a broken connection with other codes too. Then they name their library and the connection.
_LOST_COLLECTIVE = re.compile(
    r"(gloo|nccl|data transfer).*"
    r"(connection (reset|closed|refused)|socket closed|broken pipe|timed out|timeout|remote error|remote process)",
    re.IGNORECASE | re.DOTALL,
)


# ----------------------------------------------------------------------------------------------------------------------
# Finding each other


def wanted(environment: Mapping[str, str], distributed: bool) -> bool:
    """Returns whether this process is one of several."""
    return distributed or COORDINATOR in environment


def first(environment: Mapping[str, str]) -> bool:
    """Returns whether this process may be the first of its run, as far as the environment says."""
    return environment.get(PROCESS_ID, "0") == "0"


def is_first() -> bool:
    """Returns whether this process is the first of its run. It asks jax, after `initialise`."""
    import jax

    return jax.process_index() == 0


def initialise(distributed: bool, environment: Mapping[str, str] | None = None) -> None:
    """Joins the other processes, before any device is touched; does nothing for a run of one.

    Args:
      distributed: let jax ask its surroundings where the environment does not say.
      environment: environment of this process.

    Raises:
      InputError: a variable of the environment is wrong.
      Interrupted: the other processes did not connect.
    """
    environment = os.environ if environment is None else environment
    devices = devices_asked(environment)
    cpu = _may_be_cpu(environment)
    if devices is not None and devices > 1 and cpu:
        os.environ.setdefault(THREADS, str(threads_of_devices(devices)))
    if not wanted(environment, distributed):
        if devices is not None and cpu:
            import jax

            jax.config.update("jax_num_cpu_devices", devices)
        return
    settings: dict[str, Any] = {}
    if COORDINATOR in environment:
        processes, own = _number(environment, PROCESSES, 1), _number(environment, PROCESS_ID, 0)
        if own >= processes:
            raise InputError(
                f"process {own} of {processes}",
                where=PROCESS_ID,
                fix=f"Number the processes from 0 to {processes - 1}.",
                code="E-PROCESS-NUMBER",
            )
        settings = dict(coordinator_address=environment[COORDINATOR], num_processes=processes, process_id=own)
    import jax

    # jax would take SIGTERM over, until the loop of the run takes it back.
    jax.config.update("jax_enable_preemption_service", False)
    if devices is not None:
        if cpu:
            jax.config.update("jax_num_cpu_devices", devices)
        if not _on_cpu(environment):
            # jax numbers the devices that all processes of this machine see. Launched here, every process is on this
            # machine. Under Slurm it has a number on its node, by which jax would give it one device. A pod has the
            # GPUs of one process.
            if LOCAL_ID in environment:
                number: int | None = _number(environment, LOCAL_ID, 0)
            elif settings:
                number = own
            else:
                number = _number(environment, SLURM, 0) if SLURM in environment else None
            if number is not None:
                settings["local_device_ids"] = range(number * devices, (number + 1) * devices)
    try:
        jax.distributed.initialize(
            **settings,
            heartbeat_timeout_seconds=_number(environment, HEARTBEAT, 1) if HEARTBEAT in environment else 60,
            shutdown_timeout_seconds=60,
        )
    except ValueError as error:
        raise InputError(
            f"jax cannot find out how many processes there are: {error}",
            where="--distributed",
            fix=f"Set {COORDINATOR}=HOST:PORT, {PROCESSES} and {PROCESS_ID}, or leave --distributed out.",
            code="E-PROCESS-UNKNOWN",
        ) from None
    except jax.errors.JaxRuntimeError as error:
        if not is_loss(error):
            raise
        raise Interrupted(
            f"the other processes did not connect: {_brief(error)}",
            where=environment.get(COORDINATOR, "jax.distributed"),
            fix=_CONTINUE,
            code="E-PROCESS-ABSENT",
        ) from None


def devices_asked(environment: Mapping[str, str]) -> int | None:
    """Returns the number of devices that this process should have; None where the environment does not say.

    Raises:
      InputError: the value is not a positive number.
    """
    return _number(environment, DEVICES, 1) if DEVICES in environment else None


def _may_be_cpu(environment: Mapping[str, str]) -> bool:
    """Returns whether jax may take the CPU for its devices, as far as the environment says."""
    asked = environment.get(PLATFORM) or environment.get("JAX_PLATFORMS", "")
    return not asked or "cpu" in asked.split(",")


def _on_cpu(environment: Mapping[str, str]) -> bool:
    return environment.get("JAX_PLATFORMS", "") == "cpu" or environment.get(PLATFORM) == "cpu"


def _number(environment: Mapping[str, str], name: str, least: int) -> int:
    text = environment.get(name, "")
    number = whole_number(text)
    if number is None or number < least:
        raise InputError(
            f"the value is {text!r}",
            where=name,
            fix=f"Set it to a whole number of {least} or more.",
            code="E-PROCESS-NUMBER",
        )
    return number


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


# ----------------------------------------------------------------------------------------------------------------------
# Going together


def wait_for_all(name: str) -> None:
    """Returns once every process has called it."""
    import jax

    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def agreed(signal_name: str | None) -> str | None:
    """Returns the signal that any process has had: all must stop after the same step."""
    import jax

    if jax.process_count() == 1:
        return signal_name
    import numpy as np
    from jax.experimental import multihost_utils

    number = np.int32(getattr(signal, signal_name).value if signal_name else 0)
    highest = int(np.max(multihost_utils.process_allgather(number)))
    return signal.Signals(highest).name if highest else None


class Watch:
    """Ends this process where another has failed, or where nothing has moved for too long.

    It runs in a thread: the main thread may hang inside a collective, and then nothing else can end it.

    Args:
      process: the number of this process.
      count: the number of processes.
      client: a client of jax's coordination service, a store that all can read; None for a run of one process.
      leave: ends the process at once; for tests.
      clock: seconds; for tests.
    """

    def __init__(
        self,
        process: int,
        count: int,
        client: Any,
        *,
        leave: Callable[[int], None] = os._exit,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._process, self._count, self._client = process, count, client
        self._leave, self._clock = leave, clock
        self._limit_s, self._doing, self._moved = 0.0, "", clock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def moving(self, doing: str, minutes: float) -> None:
        """Notes progress. The next thing, `doing`, may take `minutes`; 0 sets no limit."""
        self._limit_s, self._doing, self._moved = 60.0 * minutes, doing, self._clock()

    def look(self) -> None:
        """Ends the process, if another has failed or nothing has moved for too long."""
        if self._client is not None:
            text = self._read(f"{_FAILED}/")
            if text:
                self._follow(parse(text))
        waited = self._clock() - self._moved
        if 0 < self._limit_s < waited:
            others = " (another process may be gone)" if self._count > 1 else ""
            self._end(
                Interrupted(
                    f"nothing has moved for {waited / 60:.1f} minutes{others}",
                    where=f"{self._doing}, process {self._process} of {self._count}",
                    fix=f"{_CONTINUE} If a step takes that long, raise guard.hang_minutes.",
                    code="E-PROCESS-HANG",
                )
            )

    def end(self, error: CommandError) -> None:
        """Ends this process and the others at once; for threads that find an error."""
        self._end(error)

    def publish(self, error: BaseException) -> None:
        """Tells the other processes why this one ends, and waits until they know, or for some seconds."""
        if self._client is None:
            return
        # Any other error is a bug. A launcher must not repeat it, so all processes end with its code.
        code = error.exit_code if isinstance(error, CommandError) else 1
        text = str(error) if isinstance(error, CommandError) else f"failed: {type(error).__name__}: {_brief(error)}"
        trace = "".join(traceback.format_exception(error))
        value = json.dumps({"process": self._process, "code": code, "text": text, "traceback": trace})
        with suppress(Exception):
            self._client.key_value_set(f"{_FAILED}/{self._process}", value)
            self._wait_until_all_have_seen()
            # The last of them needs time to leave. If this process ends first, that kills them.
            time.sleep(_POLL_S / 2)

    def _wait_until_all_have_seen(self) -> None:
        end = self._clock() + _LINGER_S
        while self._clock() < end and len(self._client.key_value_dir_get(_SEEN)) < self._count - 1:
            time.sleep(_POLL_S / 5)

    def _read(self, directory: str) -> str:
        """Returns the first value that another process has put there. jax reports failures of the store itself."""
        with suppress(Exception):
            for key, value in self._client.key_value_dir_get(directory):
                if not key.endswith(f"/{self._process}"):
                    return str(value)
        return ""

    def _follow(self, failed: Mapping[str, Any]) -> None:
        with suppress(Exception):
            self._client.key_value_set(f"{_SEEN}/{self._process}", "1", allow_overwrite=True)
            if self._process == 0:
                # This process has the store. If it ends first, that kills the others, and they end with another code.
                self._wait_until_all_have_seen()
                time.sleep(2 * _POLL_S)
        if traceback_is_wanted() and failed.get("traceback"):
            print(failed["traceback"], file=sys.stderr)
        print(f"jaxbert: error: process {failed['process']}: {failed['text']}", file=sys.stderr, flush=True)
        self._leave(int(failed["code"]))

    def _end(self, error: CommandError) -> None:
        show_error(error)
        self.publish(error)
        self._leave(error.exit_code)

    def _run(self) -> None:
        while not self._stop.wait(_POLL_S):
            self.look()


@contextmanager
def together() -> Iterator[Watch]:
    """Gives the watch over a run. An error that ends the run here ends it in every process.

    Raises:
      Interrupted: jax raised an error which means that another process has gone.
    """
    import jax

    with _watched(jax.process_index(), jax.process_count()) as watch:
        yield watch


@contextmanager
def before_devices() -> Iterator[Watch]:
    """Does what `together` does, before jax knows its devices: `together` asks jax for them, and that may hang.

    All processes that joined wait for each other at the end, so that none goes on where another one has failed.
    """
    from jax._src import distributed

    joined = distributed.global_state
    client = _client()
    with _watched(joined.process_id, 1 if client is None else joined.num_processes) as watch:
        yield watch
        if client is not None:
            client.wait_at_barrier("jaxbert/devices", timeout_in_ms=_BARRIER_MS)


@contextmanager
def _watched(process: int, count: int) -> Iterator[Watch]:
    watch = Watch(process, count, _client() if count > 1 else None)
    watch.start()
    try:
        yield watch
    except CommandError as error:
        watch.publish(error)
        raise
    except Exception as error:
        if count > 1 and is_loss(error):
            gone = Interrupted(
                f"another process has gone: {_brief(error)}",
                where=f"process {process}",
                fix=_CONTINUE,
                code="E-PROCESS-LOST",
            )
            watch.publish(gone)
            raise gone from None
        watch.publish(error)
        raise
    finally:
        watch.stop()


def is_loss(error: BaseException) -> bool:
    """Returns whether an error of jax means that another process, or the connection to it, has gone.

    Only errors of jax's runtime count, and only by their status code or the words of a collective: any other error with
    similar words is a bug, and a launcher must not repeat it.
    """
    import jax

    if not isinstance(error, jax.errors.JaxRuntimeError):
        return False
    text = str(error)
    return _LOST_STATUS.match(text) is not None or _LOST_COLLECTIVE.search(text) is not None


def _client() -> Any:
    """Returns the client of jax's coordination service. jax has no public name for it."""
    from jax._src import distributed

    return distributed.global_state.client


# ----------------------------------------------------------------------------------------------------------------------
# The heartbeat of jax


def supervise(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Runs one process of several as a child, passes signals on, and returns its exit code.

    Where another process is lost, a thread of jax's coordination service ends this one by SIGABRT. Nothing inside the
    process can turn that into exit 3.
    """
    child: subprocess.Popen[bytes] | None = None
    came: list[int] = []
    sent = 0

    def send() -> None:
        nonlocal sent
        while child is not None and sent < len(came):
            sent += 1
            child.send_signal(came[sent - 1])

    def forward(number: int, frame: FrameType | None) -> None:
        came.append(number)
        send()

    with handling(forward):
        # In a new session the child does not get the terminal's Ctrl-C a second time.
        child = subprocess.Popen(command, env={**environment, SUPERVISED: "1"}, start_new_session=True)
        send()
        code = meaning(child.wait())
    if child.returncode == -signal.SIGABRT:
        show_error(lost())
    if -child.returncode in came:
        # The signal reached the child before it could answer.
        show_error(ended_by(-child.returncode))
        return Interrupted.exit_code
    return code


def as_child() -> None:
    """Prepares a process that another one supervises.

    It gets SIGTERM when its supervisor has ended, for whatever reason. Otherwise it would go on writing, and nobody
    could stop it. It leaves no core file: with SIGABRT, jax says that another process has gone.
    """
    import ctypes
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    set_death_signal = 1  # PR_SET_PDEATHSIG of Linux (man 2 prctl); elsewhere there is nothing like it.
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(set_death_signal, signal.SIGTERM, 0, 0, 0)


def lost() -> Interrupted:
    """Returns the error of a process that jax's coordination service has ended, because another one has gone."""
    return Interrupted(
        "another process has gone",
        where="jax's coordination service ended this one",
        fix=_CONTINUE,
        code="E-PROCESS-LOST",
    )


def meaning(returncode: int) -> int:
    """Returns the exit code for a child's return code.

    It is 3 for SIGABRT, by which jax ends a process that has lost another one, and 128 + N for any other signal N.
    """
    if returncode == -signal.SIGABRT:
        return Interrupted.exit_code
    return returncode if returncode >= 0 else 128 - returncode
