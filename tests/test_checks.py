"""The checks themselves: .ci/stages.py fails as it must, and the cache of compiled programs cannot fail a test."""

from __future__ import annotations

import importlib.util
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests import processes

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def stages() -> ModuleType:
    specification = importlib.util.spec_from_file_location("stages", ROOT / ".ci" / "stages.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["stages"] = module  # its dataclasses look their module up
    specification.loader.exec_module(module)
    return module


def of(stages: ModuleType, *commands: str, limit: float = 60) -> list:
    return [stages.Stage(command, ("sh", "-c", command), limit) for command in commands]


def test_all_stages_pass(stages, capfd):
    assert stages.run({"foreground": of(stages, "echo one"), "background": of(stages, "echo two")}) == 0
    out = capfd.readouterr().out
    assert "one" in out and "two" in out and out.endswith("=== all passed\n")


@pytest.mark.parametrize("lane", ["foreground", "background"])
def test_a_stage_that_fails_fails_the_run_and_the_others_run(stages, capfd, lane):
    lanes = {"foreground": of(stages, "echo one"), "background": of(stages, "echo two")}
    lanes[lane] = [*of(stages, "exit 7"), *lanes[lane]]
    assert stages.run(lanes) == 1
    out = capfd.readouterr().out
    assert "one\n" in out and "two\n" in out and "FAILED: exit code 7" in out and out.endswith("=== FAILED\n")


def test_a_stage_that_exceeds_its_limit_fails_and_leaves_no_process(stages, capfd, tmp_path):
    # One process of the stage itself, and one in a session of its own whose parent has ended, as a daemon.
    command = f"(setsid sh -c 'echo $$ >{tmp_path}/orphan; exec sleep 600' &); echo $$ >{tmp_path}/own; sleep 600"
    assert stages.run({"foreground": of(stages, command, limit=2)}) == 1
    out = capfd.readouterr().out
    assert "exceeded its limit of 2 s" in out and "sleep 600" in out
    for name in ("orphan", "own"):
        assert processes.ended(int((tmp_path / name).read_text()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_no_process(tmp_path, number):
    program = f"""
import sys
sys.path.insert(0, {str(ROOT / ".ci")!r})
import stages
sleep = lambda name: stages.Stage(name, ("sh", "-c", f"echo $$ >{tmp_path}/{{name}}; sleep 600"), 600)
sys.exit(stages.run({{"foreground": [sleep("one")], "background": [sleep("two")]}}))
"""
    runner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    files = [tmp_path / "one", tmp_path / "two"]
    until(lambda: all(file.is_file() and file.read_text() for file in files))
    runner.send_signal(number)
    runner.communicate(timeout=60)
    assert runner.returncode == (1 if number == signal.SIGTERM else -signal.SIGKILL)
    until(lambda: all(processes.ended(int(file.read_text())) for file in files))


def until(done: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_newest_python_that_is_missing_fails_the_run(stages, capfd):
    assert stages.run({"foreground": of(stages, "true")}, complete=False) == 1
    assert "pyenv install" in capfd.readouterr().out


def test_a_browser_that_is_missing_is_said(stages, capfd):
    assert stages.run({"foreground": of(stages, "true")}, browser=False) == 0
    out = capfd.readouterr().out
    assert "apt-get install chromium" in out and out.endswith("=== all passed, without make test-browser\n")
    names = {
        asked: {s.name for lane in stages.lanes("", browser=asked).values() for s in lane} for asked in (True, False)
    }
    assert names[True] - names[False] == {stages.IN_BROWSER} and names[False] < names[True]


def test_a_program_that_is_no_browser_is_not_taken_for_one(monkeypatch):
    """`.ci/run` asks so whether to install a browser."""
    for program, answer in (("true", 0), ("false", 1), ("no-such-program", 1)):
        monkeypatch.setenv("JAXBERT_CHROMIUM", program)
        asked = [sys.executable, "-S", "-m", "tests.browser.chromium"]
        assert subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).returncode == answer


def test_every_stage_is_a_target_of_the_makefile(stages):
    for stage in [stage for lane in stages.lanes("python3").values() for stage in lane]:
        done = subprocess.run([*stage.command, "-n"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert stage.limit > 0 and set(stage.after) <= {
            s.name for lane in stages.lanes("python3").values() for s in lane
        }


PROGRAM = "import jax, jax.numpy as jnp; print(jax.jit(lambda x: x * 2 + 1)(jnp.ones(3)))"


@pytest.mark.parametrize("harm", ["half a file", "not a folder"])
def test_a_damaged_cache_of_programs_is_neither_seen_nor_believed(tmp_path, harm):
    cache = tmp_path / "cache"
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PLATFORMS": "cpu"}

    def run() -> None:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
        )
        assert (done.stdout, done.stderr) == ("[3. 3. 3.]\n", "")

    if harm == "not a folder":
        cache.write_text("")
    else:
        run()
        programs = list(cache.glob("*-cache"))
        assert programs, "nothing was kept"
        for program in programs:
            program.write_bytes(program.read_bytes()[: program.stat().st_size // 2])
    run()


def test_a_worker_that_crashes_ends_the_run_and_fails_its_test(tmp_path):
    # The tests after the crash share its group: with another worker, pytest-xdist would wait for them for ever.
    (tmp_path / "test_crash.py").write_text(
        "import os, pytest\n"
        "@pytest.mark.parametrize('number', range(6))\n"
        "@pytest.mark.xdist_group('one')\n"
        "def test_number(number):\n"
        "    if number == 2: os.abort()\n"
    )
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider"]
    command = [*pytest_, "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, "--confcutdir", tmp_path, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stdout
    assert "crashed while running 'test_crash.py::test_number[2]" in done.stdout


def test_what_the_newest_python_leaves_out_exists():
    """`make test-newest` names files and beginnings of tests. A name that fits nothing would leave out nothing."""
    recipe = subprocess.run(
        ["make", "-n", "--no-print-directory", "test-newest"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]
    left_out = [word.split("=", 1)[1] for word in shlex.split(recipe) if word.startswith(("--ignore=", "--deselect="))]
    assert len(left_out) > 20
    for name in left_out:
        path, _, start = name.partition("::")
        assert (ROOT / path).is_file(), name
        assert f"\ndef {start.partition('[')[0]}" in (ROOT / path).read_text(encoding="utf-8"), name
