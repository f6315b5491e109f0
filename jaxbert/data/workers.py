"""Runs a function over jobs in worker processes. Imports no jax.

Workers are fresh Python processes that talk over pipes. They are not `multiprocessing` children, because those run the
caller's main module again: a plain script without a `__main__` guard would start itself over, and a script that imports
jax would make every worker import it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, TypeVar

from jaxbert.core.progress import Progress
from jaxbert.core.signals import ends_with_us
from jaxbert.data.jobs import pack_error, unpack_error
from jaxbert.errors import CommandError, InputError, Interrupted

# More processes than cores only cost memory. No machine has so many.
_MOST_WORKERS = 4096

J = TypeVar("J")
R = TypeVar("R")


def parallel(
    function: Callable[[J], R],
    jobs: Iterable[J],
    workers: int,
    *,
    label: str = "",
    total: int | None = None,
    unit: str = "shard",
    describe: Callable[[R], str] | None = None,
) -> Iterator[R]:
    """Yields function(job) for each job, in the order of the jobs, computed in `workers` processes.

    `jobs` is read only as fast as the workers take them: at most `workers` + 1 jobs are in the memory of this process.
    With one worker, everything runs in this process.

    Args:
      function: a function of a module that can be imported (not `__main__`), or a `functools.partial` of one.
      jobs: picklable values. The results must be picklable too.
      workers: the number of processes, at least 1.
      label: the label of the progress bar; an empty one shows no bar.
      total: the number of jobs, if it is known.
      unit: the name of one job in the progress bar.
      describe: returns the text that the progress bar shows for a result.

    Raises:
      Interrupted: a worker process died, for example because it was killed or had no memory.
      CommandError: `function` raised it.
      RuntimeError: any other exception of `function` in a worker, with its traceback.
    """
    progress = Progress(total, label=label, unit=unit, enabled=bool(label))
    results = _here(function, jobs) if workers <= 1 else _there(function, jobs, workers, label)
    try:
        for result in results:
            progress.advance(describe(result) if describe else "")
            yield result
    finally:
        results.close()
        progress.close()


def check_workers(workers: int) -> None:
    """Raises InputError for a number of processes that no machine can run."""
    if not 1 <= workers <= _MOST_WORKERS:
        raise InputError(
            f"the number of workers is {workers}",
            where="--workers",
            fix=f"Take 1 to {_MOST_WORKERS:,}.",
            code="E-WORKERS-NUMBER",
        )


def _here(function: Callable[[J], R], jobs: Iterable[J]) -> Generator[R, None, None]:
    for job in jobs:
        yield function(job)


def _there(function: Callable[[J], R], jobs: Iterable[J], workers: int, label: str) -> Generator[R, None, None]:
    inner = function.func if isinstance(function, functools.partial) else function
    if getattr(inner, "__module__", None) == "__main__":
        raise TypeError(f"{inner.__qualname__} is in the main module, which workers do not import: move it to a module")
    children: list[_Child] = []
    idle: deque[_Child] = deque()
    # Jobs that are read and not finished: one for each worker, and one more, so that no worker waits for the reader.
    room = threading.Semaphore(workers + 1)

    def run(job: J) -> R:
        try:
            child = idle.popleft()
        except IndexError:
            child = _Child(function, label)
            children.append(child)
        result: R = child.call(job)
        idle.append(child)
        return result

    def give_room(_: Future[R]) -> None:
        room.release()

    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="jaxbert-worker")
    failed = threading.Event()

    def note_failure(future: Future[R]) -> None:
        if not future.cancelled() and future.exception() is not None:
            failed.set()

    try:
        source = iter(jobs)
        while True:
            room.acquire()
            if failed.is_set():
                break
            try:
                job = next(source)
            except StopIteration:
                break
            future = pool.submit(run, job)
            del job
            pending.append(future)
            future.add_done_callback(note_failure)
            future.add_done_callback(give_room)
            while pending and pending[0].done():
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
        for child in children:
            child.stop()
        pool.shutdown()


class _Child:
    """One worker process. It reads jobs from stdin and writes results to stdout, as pickles after their lengths."""

    def __init__(self, function: Callable[..., Any], label: str):
        # One thread each, because the processes already use all cores.
        environment = os.environ | {
            "TOKENIZERS_PARALLELISM": "false",
            "RAYON_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._label = label
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, *[os.path.abspath(entry) for entry in sys.path]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        ends_with_us(self._process)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._function: Callable[..., Any] | None = function

    def call(self, job: Any) -> Any:
        try:
            if self._function is not None:
                _send(self._stdin, pickle.dumps(self._function))
                self._function = None
            _send(self._stdin, pickle.dumps(job, protocol=pickle.HIGHEST_PROTOCOL))
            answer = _receive(self._stdout)
        except (BrokenPipeError, ValueError):
            answer = None
        if answer is None:
            raise Interrupted(
                f"a worker process died ({_cause(self._process.wait())})",
                where=self._label or "workers",
                fix="Run the same command again; fewer --workers need less memory.",
                code="E-PROCESS-WORKER",
            )
        kind, value = pickle.loads(answer)
        if kind == "result":
            return value
        if kind == "command_error":
            raise unpack_error(value)
        raise RuntimeError(f"in a worker process:\n{value}")

    def stop(self) -> None:
        """Ends the process at once. A file that it was writing has only a temporary name."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


_BOOT = "import sys; sys.path[:] = sys.argv[1:]; from jaxbert.data.workers import _serve; _serve()"


def _serve() -> None:
    """Runs the main loop of a worker process, which ends when its stdin ends."""
    # Ctrl-C reaches the whole process group. Only the parent decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # A stray print must not go between the pickles.
    jobs = sys.stdin.buffer
    function: Callable[[Any], Any] | None = None
    try:
        while (message := _receive(jobs)) is not None:
            if function is None:
                function = functools.partial(_answer, message)
                continue
            answer = pickle.dumps(function(message), protocol=pickle.HIGHEST_PROTOCOL)
            del message
            _send(answers, answer)
    except BrokenPipeError:
        pass
    os._exit(0)  # Nothing is left to flush, and the parent waits.


def _answer(function: bytes, job: bytes) -> tuple[str, Any]:
    try:
        return "result", _function(function)(pickle.loads(job))
    except CommandError as error:
        return "command_error", pack_error(error)
    except BaseException:
        return "error", traceback.format_exc()


@functools.cache
def _function(message: bytes) -> Callable[[Any], Any]:
    function: Callable[[Any], Any] = pickle.loads(message)
    return function


def _send(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(struct.pack("<Q", len(message)))
    pipe.write(message)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes | None:
    header = pipe.read(8)
    if len(header) < 8:
        return None
    (size,) = struct.unpack("<Q", header)
    message = pipe.read(size)
    return message if len(message) == size else None


def _cause(code: int) -> str:
    if code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
