"""What every test shares: JAX on the CPU, whatever the machine has. Set before anything imports jax."""

from __future__ import annotations

import logging
import os
from importlib.metadata import version
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests run side by side on few cores; a terminal bar would tear their output.
os.environ.setdefault("TERM", "dumb")
# Compiling is most of what tests cost, and takes half the time without optimisation. It changes last bits at most:
# where bits count, both runs are compiled alike. The quickstart, in `.ci/run`, is compiled as users have it.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
# The same small programs are compiled again and again, also in processes that tests start and kill. They are kept in
# the user's cache folder, by version, so that the next clone of this repository finds them.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE / "jaxbert" / "tests" / f"jax-{version('jaxlib')}"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


@pytest.fixture(autouse=True)
def propagated_log() -> None:
    """Lets `caplog` see messages again after a command ran in this process, which keeps them from the root logger."""
    logging.getLogger("jaxbert").propagate = True


@pytest.fixture(scope="session")
def small_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of pairs, 32 tokens long, of a vocabulary of 120 pieces; two splits."""
    from jaxbert.config import DataConfig
    from jaxbert.data.corpus import make_rows

    out = tmp_path_factory.mktemp("rows")
    sentences = [f"sentence number {n} of the text says {n * 7 % 13} words ." for n in range(900)]
    paragraphs = [" ".join(sentences[i : i + 9]) for i in range(0, 900, 9)]
    (out / "corpus.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    config = DataConfig(source=f"text:{out}/corpus.txt", validation_fraction=0.1)
    made = make_rows(config, vocab_size=120, lengths=[32], seed=0, out=out, workers=1, sentence_structure=True)
    return made[32]
