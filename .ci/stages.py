"""Runs the stages of .ci/run: each within its time limit, two lanes side by side, a table of seconds at the end.

    python3 .ci/stages.py --python PYTHON     all stages; PYTHON is the newest Python that the machine has
    python3 .ci/stages.py --no-browser        without the page in a browser; the table says so
    python3 .ci/stages.py --list              the stages and their limits

The foreground runs the suite, many devices, and the suite under the newest Python. The background makes the other
environments, and then runs the stages that have separate rooms and environments. Some of these wait a lot: for Slurm,
for lost heartbeats, for a bucket. Side by side, the lanes leave no core idle.

Each stage runs below a process that adopts its orphans. So a stage that ends, or that exceeds its limit, leaves no
process behind, and the table has the CPU seconds of every process that the stage started. Only the standard library is
used.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
# Seconds between the request to end and the kill, and seconds in which what a stage started may end after the stage.
GRACE = 5.0
# The stage that needs a chromium.
IN_BROWSER = "make test-browser"
# The exit code of a stage that exceeds its limit, as that of timeout(1).
TOO_LONG = 124


@dataclass(frozen=True)
class Stage:
    """A command of .ci/run.

    Attributes:
      name: as the table shows it.
      command: program and arguments.
      limit: seconds after which the stage is ended and has failed: three to four times those of a quiet machine.
      after: names of stages that must have ended before this one starts, whatever came of them.
    """

    name: str
    command: tuple[str, ...]
    limit: float
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """The outcome of a stage: its exit code, its seconds, and the CPU seconds of all its processes."""

    stage: Stage
    code: int
    seconds: float
    cpu: float

    @property
    def words(self) -> str:
        """Returns "passed", or says why the stage failed."""
        if self.code == 0:
            return "passed"
        if self.code == TOO_LONG:
            return f"FAILED: it exceeded its limit of {self.stage.limit:.0f} s"
        return f"FAILED: exit code {self.code}"


def lanes(newest: str | None, *, browser: bool = True) -> dict[str, list[Stage]]:
    """Returns the stages of each lane in their order.

    Args:
      newest: interpreter for `make test-newest`; None leaves that stage out.
      browser: False leaves out the stage that needs a browser. With it, that stage fails where there is none.
    """

    def make(*words: str, limit: float, name: str = "", after: Sequence[str] = ()) -> Stage:
        return Stage(name or f"make {words[0]}", ("make", *words), limit, tuple(after))

    # Environments are made one after the other: building the package writes jaxbert.egg-info, which they share.
    foreground = [
        make(".venv/.installed-test", limit=600, name="environment"),
        make("test", limit=3600),
        make("test-scale", limit=1200),
    ]
    background = [
        make(".venv-engines/.installed", limit=600, name="environment: engines", after=["environment"]),
        make(".venv-cloud/.installed", limit=600, name="environment: cloud"),
        make(".venv-tpu/.installed", limit=600, name="environment: tpu"),
        make(".venv-peers/.installed", limit=900, name="environment: peers"),
        make(".venv-docs/.installed", limit=600, name="environment: docs"),
        make("check", limit=600),
        make("docs", limit=300),
        make("test-docs", limit=1500),
        make("test-wheel", limit=900),
        *([make("test-browser", limit=400)] if browser else []),
        make("test-launch", limit=2400),
        make("test-cloud", limit=1500),
        make("test-tpu", limit=1800),
        make("test-peers", limit=1500),
        make("quickstart", limit=2000),
    ]
    if newest:
        python = f"PYTHON={newest}"
        background.insert(
            4,
            make(
                ".venv-newest/.installed", python, limit=600, name="environment: newest Python", after=["environment"]
            ),
        )
        foreground.append(make("test-newest", python, limit=2000, after=["environment: newest Python"]))
    return {"foreground": foreground, "background": background}


class Runner:
    """Runs lanes of stages side by side, and says what came of them.

    Attributes:
      results: of the stages that have ended, in the order of their ends.
    """

    def __init__(self, stages: Mapping[str, Sequence[Stage]]):
        self.results: list[Result] = []
        self._lanes = stages
        self._ended = {stage.name: threading.Event() for lane in stages.values() for stage in lane}
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopping = False
        self._lock = threading.Lock()
        # Output of the lanes behind the first one, which is shown between two stages of the first one.
        self._kept: list[tuple[str, Path]] = []

    def run(self) -> bool:
        """Runs every stage and returns whether all of them passed."""
        with tempfile.TemporaryDirectory(prefix="jaxbert-ci-") as logs:
            first, *others = self._lanes.values()
            threads = [threading.Thread(target=self._lane, args=(lane, Path(logs)), daemon=True) for lane in others]
            for thread in threads:
                thread.start()
            self._lane(first, None)
            for thread in threads:
                while thread.is_alive():
                    thread.join(1)
                    self._show_kept()
            self._show_kept()
        return not self._stopping and all(result.code == 0 for result in self.results)

    def stop(self) -> None:
        """Ends the running stages; no other one starts."""
        self._stopping = True
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()

    def table(self) -> Iterator[str]:
        """Yields the lines of the table of seconds."""
        yield f"{'stage':28} {'lane':10} {'seconds':>8} {'CPU s':>8} {'limit':>6}  result"
        for lane, stages in self._lanes.items():
            for stage in stages:
                for result in (result for result in self.results if result.stage is stage):
                    yield (
                        f"{stage.name:28} {lane:10} {result.seconds:8.0f} {result.cpu:8.0f} {stage.limit:6.0f}  "
                        f"{result.words}"
                    )
                if not any(result.stage is stage for result in self.results):
                    yield f"{stage.name:28} {lane:10} {'':8} {'':8} {stage.limit:6.0f}  not run"

    def _lane(self, stages: Sequence[Stage], logs: Path | None) -> None:
        for number, stage in enumerate(stages):
            for name in stage.after:
                self._ended[name].wait()
            if not self._stopping:
                log = None if logs is None else logs / f"{number}.log"
                say(f"=== {stage.name}: {' '.join(stage.command)}{'' if log is None else ' (in the background)'}")
                result = self._one(stage, log)
                self.results.append(result)
                say(f"=== {stage.name} {result.words}, {result.seconds:.0f} s")
                if log is not None:
                    with self._lock:
                        self._kept.append((f"=== output of {stage.name}, which {result.words}:", log))
            self._ended[stage.name].set()
            if logs is None:
                self._show_kept()

    def _one(self, stage: Stage, log: Path | None) -> Result:
        began, answer = time.monotonic(), {"code": 1, "cpu": 0.0}
        with contextlib.ExitStack() as stack:
            read, write = os.pipe()
            answers = stack.enter_context(os.fdopen(read))
            out = None if log is None else stack.enter_context(log.open("wb"))
            holder = [
                sys.executable,
                __file__,
                "--hold",
                str(stage.limit),
                "--answer",
                str(write),
                "--",
                *stage.command,
            ]
            process = subprocess.Popen(
                holder,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT if out else None,
                pass_fds=[write],
                start_new_session=True,
            )
            os.close(write)
            self._running.add(process)
            if self._stopping:
                process.terminate()
            process.wait()
            self._running.discard(process)
            with contextlib.suppress(ValueError):
                answer = json.loads(answers.read())
        return Result(stage, int(answer["code"]), time.monotonic() - began, float(answer["cpu"]))

    def _show_kept(self) -> None:
        with self._lock:
            kept, self._kept = self._kept, []
            for title, log in kept:
                say(title)
                sys.stdout.flush()
                sys.stdout.buffer.write(log.read_bytes())
                sys.stdout.buffer.flush()


def say(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def hold(command: Sequence[str], limit: float) -> tuple[int, float]:
    """Runs a command within `limit` seconds; ends every process that it leaves behind, orphans included.

    Returns:
      The exit code (TOO_LONG where the limit was exceeded), and the CPU seconds of all those processes.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans become children of this process
        libc.prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG: the end of the runner is the end of the stage
    code = TOO_LONG
    process = None

    def stopped(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stopped)
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        code = _waited(process, limit)
        _until(lambda: not descendants(), GRACE)
    except FileNotFoundError as error:
        say(f"{command[0]}: {error}")
        code = 127
    except subprocess.TimeoutExpired:
        say(f"=== {' '.join(command)} exceeded its limit of {limit:.0f} s. It was running:")
        for pid in descendants():
            say(f"      {words(pid)}")
    except KeyboardInterrupt:
        code = 128 + signal.SIGTERM
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if process is not None and process.returncode is not None and (left := descendants()):
        say(f"=== {' '.join(command)} left {len(left)} processes behind, which are ended now:")
        for pid in left:
            say(f"      {words(pid)}")
    for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 30.0)):
        for pid in descendants():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        if process is not None and process.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=seconds)
        _until(lambda: not descendants(), seconds)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return code if code >= 0 else 128 - code, used.ru_utime + used.ru_stime


def descendants() -> list[int]:
    """Returns the running processes below this one; those that have ended are reaped, so that their seconds count."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            # The name, in parentheses, may contain spaces and parentheses.
            state, parent, *_ = path.read_text().rpartition(")")[2].split()
            pid = int(path.parent.name)
            if state == "Z":
                if int(parent) == os.getpid():
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(pid, os.WNOHANG)
                continue
            children.setdefault(int(parent), []).append(pid)
    found, frontier = [], [os.getpid()]
    while frontier:
        below = children.get(frontier.pop(), [])
        found += below
        frontier += below
    return found


def _waited(process: subprocess.Popen[bytes], limit: float) -> int:
    """Returns the exit code of a process; meanwhile collects orphans that have ended, so that none stays a zombie.

    Raises:
      subprocess.TimeoutExpired: the process takes more than `limit` seconds.
    """
    end = time.monotonic() + limit
    while True:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None and ended.si_pid != process.pid:
            os.waitpid(ended.si_pid, 0)
        elif (code := process.poll()) is not None:
            return code
        elif time.monotonic() > end:
            raise subprocess.TimeoutExpired(process.args, limit)
        else:
            time.sleep(0.1)


def words(pid: int) -> str:
    """Returns the number and the command of a process."""
    with contextlib.suppress(OSError):
        return f"{pid} {Path(f'/proc/{pid}/cmdline').read_text().replace(chr(0), ' ').strip()[:160]}"
    return f"{pid} (ended meanwhile)"


def _until(done: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.05)


def main() -> int:
    """Returns the exit code of the process."""
    parser = argparse.ArgumentParser(description="The stages of .ci/run.")
    parser.add_argument("--python", default="", help="the newest Python, for make test-newest")
    parser.add_argument("--no-browser", action="store_true", help=f"leave out {IN_BROWSER}: there is no browser")
    parser.add_argument("--list", action="store_true", help="print the stages and their limits")
    parser.add_argument("--hold", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--answer", type=int, help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.hold is not None:
        code, cpu = hold(arguments.command, arguments.hold)
        with contextlib.suppress(BrokenPipeError):  # the runner was killed
            os.write(arguments.answer, json.dumps({"code": code, "cpu": cpu}).encode())
        return 0
    stages = lanes(arguments.python or None, browser=not arguments.no_browser)
    if arguments.list:
        for lane, members in stages.items():
            for stage in members:
                say(f"{stage.name:28} {lane:10} {stage.limit:6.0f} s  {' '.join(stage.command)}")
        return 0
    return run(stages, complete=bool(arguments.python), browser=not arguments.no_browser)


def run(stages: Mapping[str, Sequence[Stage]], *, complete: bool = True, browser: bool = True) -> int:
    """Runs the stages, prints the table, and returns 0 where all of them passed.

    Args:
      stages: by lane.
      complete: False where the machine has no newer Python, which makes the run fail.
      browser: False where the machine has no browser and cannot install one, which the last lines say.
    """
    began, runner = time.monotonic(), Runner(stages)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: runner.stop())
    passed = runner.run()
    say("")
    for line in runner.table():
        say(line)
    cpu = sum(result.cpu for result in runner.results)
    say(f"{'together':28} {'':10} {time.monotonic() - began:8.0f} {cpu:8.0f}")
    if not complete:
        say("=== this machine has no Python 3.12 or later, so the upper versions are untested: pyenv install 3.13")
    if not browser:
        say(f"=== {IN_BROWSER} is left out, so the page in a browser is untested: apt-get install chromium")
    left = "" if browser else f", without {IN_BROWSER}"
    say(f"=== all passed{left}" if passed and complete else "=== FAILED")
    return 0 if passed and complete else 1


if __name__ == "__main__":
    sys.exit(main())
