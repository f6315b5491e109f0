"""Rows for runs of several processes, and a way to launch them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxbert.config import (
    CheckpointConfig,
    EncoderConfig,
    EvaluationConfig,
    GuardConfig,
    LoggingConfig,
    ObjectivesConfig,
    PhaseConfig,
    RowsSource,
    RunConfig,
    ScheduleConfig,
    save_json,
)

VOCAB, LENGTH = 120, 32


@pytest.fixture(scope="session")
def rows(small_rows: Path) -> Path:
    return small_rows


# jax's cache of compiled programs has a key for each program. On CPUs the key includes the devices as one process sees
# them, but only process 0 writes programs: the others would compile every program at every start. Here the key includes
# only the kind of the devices, so that they find what process 0 wrote. On GPUs and TPUs all keys agree by themselves.
# Process 0 compiles a program that it does not find, and sends it to the others. They would wait in vain for a program
# that only process 0 finds, so these runs have a cache that no other process writes to.
ONE_COMPILES = """
import jax
from jax._src import cache_key

assert callable(cache_key._hash_accelerator_config)
cache_key._hash_accelerator_config = cache_key._hash_devices
jax.config.update("jax_compilation_cache_dir", {cache!r})
jax.config.update("jax_share_binary_between_hosts", True)
jax.config.update("jax_share_binary_between_hosts_timeout_ms", 400_000)

from jaxbert.config import find_config
"""


def write_python_config(path: Path, name: str) -> Path:
    """Writes a Python file with the config `name` (CONFIG of the command line), in which one process compiles."""
    head = ONE_COMPILES.format(cache=str(path.with_suffix(".compiled")))
    path.write_text(f"{head}\n\ndef get_config():\n    return find_config({name!r})\n", encoding="utf-8")
    return path


def write_config(path: Path, rows: Path, steps: int) -> Path:
    """Writes a config file: dropout, micro-batches, an evaluation and checkpoints on the way. `path` ends with .py."""
    phase = PhaseConfig(
        rows=(RowsSource(path=str(rows)),),
        length=LENGTH,
        batch_size=16,
        accumulation=2,
        steps=steps,
        schedule=ScheduleConfig(peak=1e-3, warmup_steps=4),
    )
    save_json(
        RunConfig(
            name="tiny",
            encoder=EncoderConfig(
                vocab_size=VOCAB, hidden_size=32, num_layers=1, num_heads=2, intermediate_size=64, max_positions=LENGTH
            ),
            objectives=ObjectivesConfig(next_sentence=None),
            phases=(phase,),
            checkpoint=CheckpointConfig(every_steps=4),
            evaluation=EvaluationConfig(every_steps=steps // 2, batch_size=16, batches=2),
            logging=LoggingConfig(every_steps=1, tensorboard=False),
            guard=GuardConfig(hang_minutes=10),
        ),
        path.with_suffix(".json"),
    )
    return write_python_config(path, str(path.with_suffix(".json")))


@pytest.fixture(scope="session")
def config(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 28 steps, enough to be interrupted three times. It mostly spends the exchange of each step."""
    return write_config(tmp_path_factory.mktemp("config") / "tiny.py", rows, 28)


@pytest.fixture(scope="session")
def launch(config: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts `jaxbert launch local` with this config; with `plain`, as users' configs are: every process compiles."""

    def start(
        workdir: Path, processes: int, *more: str, devices: int = 1, plain: bool = False, **environment: str
    ) -> subprocess.Popen[str]:
        file = config.with_suffix(".json") if plain else config
        command = [sys.executable, "-m", "jaxbert", "launch", "local", str(file), "--workdir", str(workdir)]
        return subprocess.Popen(
            [*command, "--processes", str(processes), "--devices", str(devices), *more],
            env=os.environ | {"JAX_PLATFORMS": "cpu", "XDG_STATE_HOME": str(workdir.with_name("state"))} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
