"""Signals before the loop of a run owns them: the process ends at once with 3, whatever it is doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from jaxbert.core import signals
from jaxbert.run.processes import supervise

SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"]
# What a process is doing when the signal comes. Each swallows or changes an exception of a handler, or delays it.
DOING = {
    "a library that reports every error as one of the input": """
while True:
    try:
        for _ in range(10**6): pass
    except BaseException as error:
        print("swallowed"); raise KeyError("of another model")
""",
    "a callback of the garbage collector": """
import gc
gc.callbacks.append(lambda *_: [None for _ in range(10**5)])
while True: gc.collect()
""",
    "a long call of a library": """
import ctypes
ctypes.CDLL(None).sleep(60)
""",
}


@pytest.fixture(autouse=True, scope="module")
def as_in_a_terminal() -> Iterator[None]:
    """Where the tests run under nohup, or in a shell's background, children would begin with ignored signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    for number, handler in before.items():
        if handler == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def answer(process: subprocess.Popen[str], name: str) -> tuple[int, str]:
    """Sends a signal to a process that runs; returns its exit code and stderr."""
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "up\n"
        process.send_signal(getattr(signal, name))
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert out == ""
    return process.returncode, errors


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("doing", DOING)
def test_a_signal_ends_with_3_at_once(doing, name):
    begin = "from jaxbert.core.signals import end_at_once; end_at_once()"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{begin}\nprint('up', flush=True)\n{DOING[doing]}"], stdout=-1, stderr=-1, text=True
    )
    code, errors = answer(process, name)
    assert code == 3
    assert errors == f"jaxbert: error: got {name} (signal). The same command continues. [E-SIGNAL-INTERRUPT]\n"


def test_the_line_gives_the_advice_of_the_part_that_runs():
    code = """
from jaxbert.core.signals import advising, end_at_once, ended_by
end_at_once("Before.")
with advising("The training is done."):
    print("up", flush=True)
    import time; time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True)
    assert answer(process, "SIGTERM")[1].endswith("(signal). The training is done. [E-SIGNAL-INTERRUPT]\n")
    with signals.advising("Only inside."):
        assert signals.ended_by(signal.SIGTERM).fix == "Only inside."
    assert signals.ended_by(signal.SIGTERM).fix == "The same command continues."


@pytest.mark.parametrize("name", SIGNALS)
def test_every_command_answers_before_it_is_imported(name):
    """`python -m jaxbert` and the `jaxbert` script have the same beginning."""
    code = """
import sys
class Waits:
    def find_spec(self, name, path=None, target=None):
        if name == "jaxbert.commands.main":
            print("up", flush=True)
            import time; time.sleep(60)
sys.meta_path.insert(0, Waits())
sys.argv = ["jaxbert", "plan", "smoke"]
from jaxbert.__main__ import entry
entry()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True)
    code, errors = answer(process, name)
    assert code == 3 and "E-SIGNAL-INTERRUPT" in errors and errors.count("\n") == 1


def test_nohup_stays_in_force():
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    code += "from jaxbert.core.signals import end_at_once; end_at_once()\nprint('up', flush=True)\ninput()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, stderr=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGHUP)
    process.communicate("\n", timeout=60)
    assert process.returncode == 0


def test_a_signal_waits_while_the_process_starts_again():
    """Between `start_again` and `end_at_once` of the new process, which has yet to import them."""
    again = "print('up', flush=True); input(); from jaxbert.core.signals import end_at_once; end_at_once(); input()"
    code = "import sys; from jaxbert.core.signals import start_again\n"
    code += f"start_again(sys.executable, ['python', '-c', {again!r}])"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, stderr=-1, text=True)
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.wait(60) == 3
    process.communicate()


def test_other_processes_end_too():
    """The workers of `prepare` and `rows`, which would go on writing."""
    code = """
import subprocess
from jaxbert.core.signals import end_at_once, ends_with_us
end_at_once()
worker = subprocess.Popen(["sleep", "600"])
ends_with_us(worker)
print("up", flush=True)
worker.wait()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.terminate()
    # stdout ends when the last process that has it ends, and the worker has it too.
    process.communicate(timeout=120)
    assert process.returncode == 3


def test_a_forked_child_has_the_usual_handlers():
    code = """
import os, signal, time
from jaxbert.core.signals import end_at_once
end_at_once()
child = os.fork()
if not child:
    print("up", flush=True)
    time.sleep(60)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as file:
        os.kill(int(file.read()), signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == f"{-signal.SIGTERM}\n" and process.returncode == 0


def test_a_handler_takes_the_signals_over_and_gives_them_back():
    came: list[int] = []
    before = [signal.getsignal(number) for number in signals.numbers()]
    with signals.handling(lambda number, frame: came.append(number)):
        for name in SIGNALS:
            os.kill(os.getpid(), getattr(signal, name))
    assert came == [getattr(signal, name) for name in SIGNALS]
    assert [signal.getsignal(number) for number in signals.numbers()] == before


def test_a_library_is_interrupted_by_an_exception():
    """A program that uses the package must not end because a run in it is interrupted twice."""
    with pytest.raises(KeyboardInterrupt):
        signals.end_now(signal.SIGINT)


def test_a_child_that_a_forwarded_signal_ends_before_it_can_answer(capfd):
    """`supervise` and `launch` forward SIGTERM to a process that has not even started Python's own machinery."""
    code = f"import os, signal, time; os.kill({os.getpid()}, signal.SIGTERM); time.sleep(60)"
    assert supervise([sys.executable, "-S", "-c", code], os.environ) == 3
    assert "E-SIGNAL-INTERRUPT" in capfd.readouterr().err
