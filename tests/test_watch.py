"""The watch, the meaning of exit codes, and how a process learns which of several it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from jax.errors import JaxRuntimeError
from jaxbert.launch.running import worst

from jaxbert.errors import InputError, Interrupted, Stopped
from jaxbert.run.processes import (
    COORDINATOR,
    DEVICES,
    PROCESS_ID,
    PROCESSES,
    Watch,
    initialise,
    is_loss,
    meaning,
    supervise,
    wanted,
)


class Store:
    """jax's coordination service, as far as a watch uses it."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def key_value_set(self, key: str, value: str, allow_overwrite: bool = False) -> None:
        assert allow_overwrite or key not in self.values
        self.values[key] = value

    def key_value_dir_get(self, directory: str) -> list[tuple[str, str]]:
        return [(key, value) for key, value in self.values.items() if key.startswith(directory)]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def a_watch(process: int, store: Store | None) -> tuple[Watch, list[int], Clock]:
    codes: list[int] = []
    clock = Clock()
    return Watch(process, 1 if store is None else 2, store, leave=codes.append, clock=clock), codes, clock


def test_what_moves_is_left_alone_and_what_does_not_ends_with_3(capsys: Any):
    watch, codes, clock = a_watch(0, None)
    watch.look()
    watch.moving("step 7", minutes=1)
    clock.now += 50
    watch.look()
    assert codes == []
    watch.moving("step 8", minutes=1)
    clock.now += 61
    watch.look()
    assert codes == [3]
    said = capsys.readouterr().err
    assert "nothing has moved for 1.0 minutes" in said and "step 8, process 0 of 1" in said and "guard.hang" in said


def test_what_may_take_as_long_as_it_likes_does():
    watch, codes, clock = a_watch(0, None)
    watch.moving("rows", minutes=0)
    clock.now += 1e6
    watch.look()
    assert codes == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("no rows", where="x", fix="Make them.", code="E-TEST"), 2),
        (Stopped("loss", where="x", fix="Lower it.", code="E-TEST"), 4),
        (Interrupted("disk", where="x", fix="Again.", code="E-TEST"), 3),
        (KeyError("a bug"), 1),
    ],
)
def test_the_others_end_as_the_first(error: Exception, code: int, capsys: Any):
    store = Store()
    first, first_codes, _ = a_watch(0, store)
    other, codes, _ = a_watch(1, store)
    other.look()
    assert codes == []
    first.publish(error)
    first.look()
    other.look()
    assert (first_codes, codes) == ([], [code])
    assert "process 0: " in capsys.readouterr().err
    assert json.loads(store.values["jaxbert/failed/0"])["code"] == code and "jaxbert/seen/1" in store.values


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (JaxRuntimeError("INTERNAL: Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:2"), True),
        (JaxRuntimeError("UNKNOWN: Gloo AllGather failed: [pair.cc:525] Connection reset by peer"), True),
        (JaxRuntimeError("INTERNAL: NCCL operation ncclGroupEnd() failed: remote process exited or error"), True),
        (JaxRuntimeError("UNAVAILABLE: Socket closed"), True),
        (JaxRuntimeError("DEADLINE_EXCEEDED: Barrier timed out. Id: rows"), True),
        (JaxRuntimeError("ABORTED: Another task reported an error."), True),
        # What launchers must not repeat: bugs, though their words are similar.
        (JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"), False),
        (JaxRuntimeError("INVALID_ARGUMENT: barrier of peer aborted"), False),
        (JaxRuntimeError("INTERNAL: NCCL is not linked in"), False),
        (RuntimeError("UNAVAILABLE: a word of ours"), False),
        (RuntimeError("the peer aborted at the barrier"), False),
        (OSError("Connection reset by peer"), False),
        (ValueError("shapes do not match"), False),
    ],
)
def test_which_errors_say_that_another_process_has_gone(error: Exception, lost: bool):
    assert is_loss(error) == lost


def test_meanings():
    assert [meaning(code) for code in (0, 2, 3, -signal.SIGABRT, -signal.SIGKILL)] == [0, 2, 3, 3, 137]
    assert [worst(codes) for codes in ([0, 0], [3, 2], [4, 3], [3, 1], [0, 137], [0, 3])] == [0, 2, 4, 1, 3, 3]


def test_an_abort_under_supervision_is_3(capsys: Any):
    abort = [sys.executable, "-c", "import os; os.abort()"]
    assert supervise(abort, {}) == 3 and "another process has gone" in capsys.readouterr().err
    assert supervise([sys.executable, "-c", "raise SystemExit(4)"], {}) == 4


def test_a_signal_is_passed_on_to_the_supervised():
    program = (
        "import os, signal, sys; from jaxbert.run.processes import supervise\n"
        "child = 'import signal, sys, os, time; signal.signal(signal.SIGTERM, lambda *a: sys.exit(3)); "
        "os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)'\n"
        "sys.exit(supervise([sys.executable, '-c', child], os.environ))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 3


def test_one_of_several_is_what_the_environment_says():
    assert wanted({COORDINATOR: "a:1"}, False) and wanted({}, True) and not wanted({}, False)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({COORDINATOR: "localhost:1"}, PROCESSES),
        ({COORDINATOR: "localhost:1", PROCESSES: "2", PROCESS_ID: "2"}, "process 2 of 2"),
        ({COORDINATOR: "localhost:1", PROCESSES: "two", PROCESS_ID: "0"}, "'two'"),
        ({DEVICES: "0"}, DEVICES),
    ],
)
def test_a_bad_environment_is_bad_input(environment: dict[str, str], said: str):
    with pytest.raises(InputError, match="E-PROCESS-NUMBER") as caught:
        initialise(False, environment)
    assert said in str(caught.value)


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False)])
def test_the_ends_that_a_watch_makes_show_their_traceback_too(monkeypatch, capsys, value: str, shown: bool):
    monkeypatch.setenv("JAXBERT_TRACEBACK", value)
    watch, codes, clock = a_watch(0, None)
    watch.moving("step 7", minutes=1)
    clock.now += 61
    watch.look()
    said = capsys.readouterr().err
    # A watch raises nothing: the stacks show where each thread is.
    assert codes == [3] and ("in test_the_ends_that" in said) == shown
    assert said.splitlines()[-1].startswith("jaxbert: error: ") and said.rstrip().endswith("[E-PROCESS-HANG]")

    store = Store()
    first, other = a_watch(0, store)[0], a_watch(1, store)[0]
    try:
        {}["a bug"]
    except KeyError as error:
        first.publish(error)
    other.look()
    said = capsys.readouterr().err
    assert ('{}["a bug"]' in said) == shown and said.splitlines()[-1].startswith("jaxbert: error: process 0: ")


def test_a_process_that_jax_has_ended_says_why_by_a_code(capsys):
    abort = [sys.executable, "-c", "import os; os.abort()"]
    assert supervise(abort, os.environ) == 3
    assert capsys.readouterr().err.rstrip().endswith("[E-PROCESS-LOST]")
