"""What every test shares: JAX on the CPU, whatever the machine has. Set before anything imports jax."""

from __future__ import annotations

import logging
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

from jaxbert.core import compiled
from jaxbert.observe.console import show_log


def compiled_programs() -> Path:
    """Returns the folder of compiled programs: in the user's cache folder, or else a temporary one.

    A program fits one version of jaxlib, which the folder's name has, and the instructions of one kind of CPU, which
    the programs' names have.
    """
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        place = cache / "jaxbert" / "tests" / f"jaxlib-{version('jaxlib')}"
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return place
    except (OSError, RuntimeError):  # no home, no room, or no permission
        return Path(tempfile.gettempdir()) / f"jaxbert-tests-{os.getpid()}"


os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests run side by side on few cores; a terminal bar would tear their output.
os.environ.setdefault("TERM", "dumb")
# Compiling is most of what tests cost, and takes a third of the time without optimisation. jaxlib 0.10 also has an
# older way to compile fused operations, which takes a third of what is left. jaxlib 0.12 does not know its flag, and
# ends the process. Both change last bits at most: where bits count, both runs are compiled alike. The quickstart, in
# `.ci/run`, is compiled as users have it.
_FLAGS = [
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    # Eight fake devices share the cores with other tests. XLA ends the process where one waits 40 s for another.
    "--xla_cpu_collective_call_terminate_timeout_seconds=300",
]
if version("jaxlib").startswith("0.10."):
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(_FLAGS))
# The same small programs are compiled again and again, also in processes that tests start and kill. The user's cache
# folder keeps them, so that the next clone of this repository finds them.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compiled_programs()))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Commands verify the programs, so that tests must do it from the start to find the same ones.
compiled.verify_kept_programs()
# Where a program cannot be kept, jax warns, and the warning would be one more line on the stderr that a test counts.
# This holds for processes that tests start, too.
_QUIET = ("Error reading persistent compilation cache", "Error writing persistent compilation cache")
os.environ["PYTHONWARNINGS"] = ",".join(
    [*filter(None, [os.environ.get("PYTHONWARNINGS")]), *(f"ignore:{start}" for start in _QUIET)]
)


# `make test-newest` asks for every fourth case of a test with several: they run the same code, and another version of a
# library breaks it for all of them. `make test` runs all cases.
_MANY = 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out cases of tests that have many, where JAXBERT_TESTS_EVERY says so. pytest counts them as deselected."""
    every = int(os.environ.get("JAXBERT_TESTS_EVERY", "1"))
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    kept = {item for each in cases.values() for item in (each[::every] if len(each) > _MANY else each)}
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


@pytest.fixture(autouse=True)
def the_log_as_after_a_command() -> None:
    """Gives each test the log that a command sets up, whatever ran before in this process; `caplog` sees it too."""
    show_log()
    logging.getLogger("jaxbert").propagate = True


@pytest.fixture(scope="session")
def small_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of pairs, 32 tokens long, of a vocabulary of 120 pieces; two splits."""
    from jaxbert.config import DataConfig
    from jaxbert.data.from_source import make_rows

    out = tmp_path_factory.mktemp("rows")
    sentences = [f"sentence number {n} of the text says {n * 7 % 13} words ." for n in range(900)]
    paragraphs = [" ".join(sentences[i : i + 9]) for i in range(0, 900, 9)]
    (out / "corpus.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    config = DataConfig(source=f"text:{out}/corpus.txt", validation_fraction=0.1)
    made = make_rows(config, vocab_size=120, lengths=[32], seed=0, out=out, workers=1, sentence_structure=True)
    return made[32]
