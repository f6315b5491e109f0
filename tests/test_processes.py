"""What a process tells jax about its devices, by who started it. Real processes: tests/multiprocess, tests/engines."""

from __future__ import annotations

import os
from typing import Any

import jax
import pytest

from jaxbert.errors import InputError, Interrupted
from jaxbert.run.processes import initialise

HERE = {"JAXBERT_COORDINATOR": "localhost:1", "JAXBERT_PROCESSES": "2", "JAXBERT_PROCESS_ID": "1"}


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes back the number of threads that a test sets for its process."""
    monkeypatch.setenv("PJRT_NPROC", "2")


@pytest.mark.parametrize(
    ("environment", "distributed", "devices"),
    [
        # Launched here, two processes of four GPUs each of this machine.
        ({**HERE, "JAXBERT_DEVICES": "4"}, False, [4, 5, 6, 7]),
        # A machine of its own each, with four GPUs.
        ({**HERE, "JAXBERT_DEVICES": "4", "JAXBERT_LOCAL_ID": "0"}, False, [0, 1, 2, 3]),
        # Started on a machine of their own each: all that it has.
        (HERE, False, None),
        # The only process of its machine, with eight GPUs.
        ({**HERE, "JAXBERT_DEVICES": "8", "JAXBERT_LOCAL_ID": "0"}, False, list(range(8))),
        # Under Slurm: a task a node with all its GPUs; a task a GPU.
        ({"SLURM_LOCALID": "0", "SLURM_PROCID": "3", "JAXBERT_DEVICES": "8"}, True, list(range(8))),
        ({"SLURM_LOCALID": "2", "SLURM_PROCID": "6", "JAXBERT_DEVICES": "1"}, True, [2]),
        # jax decides.
        ({"SLURM_LOCALID": "2"}, True, None),
        # CPUs have no numbers.
        ({"SLURM_LOCALID": "2", "JAXBERT_DEVICES": "2", "JAX_PLATFORMS": "cpu"}, True, None),
    ],
)
def test_devices(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], distributed: bool, devices: Any):
    told: dict[str, Any] = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda **settings: told.update(settings))
    monkeypatch.setattr(jax.config, "update", lambda name, value: told.update({name: value}))
    initialise(distributed, environment)
    found = told.get("local_device_ids")
    assert (None if found is None else list(found)) == devices
    assert told.get("jax_num_cpu_devices") == (
        int(environment["JAXBERT_DEVICES"]) if "JAXBERT_DEVICES" in environment else None
    )


@pytest.mark.parametrize("several", [{}, HERE])
@pytest.mark.parametrize(
    "chips", [{"JAXBERT_PLATFORM": "tpu"}, {"JAXBERT_PLATFORM": "gpu"}, {"JAX_PLATFORMS": "cuda"}], ids=str
)
def test_the_cpu_stays_one_device_beside_chips(
    chips: dict[str, str], several: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    """Nor do the chips get the number of threads that devices of a CPU need."""
    told: dict[str, Any] = {}
    monkeypatch.delenv("PJRT_NPROC")
    monkeypatch.setattr(jax.distributed, "initialize", lambda **settings: None)
    monkeypatch.setattr(jax.config, "update", lambda name, value: told.update({name: value}))
    initialise(False, several | {"JAXBERT_DEVICES": "8"} | chips)
    assert "jax_num_cpu_devices" not in told and "PJRT_NPROC" not in os.environ


def test_several_devices_of_a_cpu_have_threads_enough(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    monkeypatch.delenv("PJRT_NPROC")
    initialise(False, {"JAXBERT_DEVICES": "1"})
    assert "PJRT_NPROC" not in os.environ
    initialise(False, {"JAXBERT_DEVICES": "40"})
    assert int(os.environ["PJRT_NPROC"]) >= 320
    # A user's own choice stays. NPROC is no choice: other programs use it too.
    monkeypatch.delenv("PJRT_NPROC")
    monkeypatch.setenv("NPROC", "2")
    initialise(False, {"JAXBERT_DEVICES": "40"})
    assert int(os.environ["PJRT_NPROC"]) >= 320
    monkeypatch.setenv("PJRT_NPROC", "3")
    initialise(False, {"JAXBERT_DEVICES": "40"})
    assert os.environ["PJRT_NPROC"] == "3"


@pytest.mark.parametrize(
    ("raised", "seen", "code"),
    [
        (ValueError("coordinator_address should be defined"), InputError, "coordinator_address.*E-PROCESS-UNKNOWN"),
        (jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED"), Interrupted, "DEADLINE_EXCEEDED.*E-PROCESS-ABSENT"),
    ],
)
def test_processes_that_do_not_find_each_other(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, seen: type[Exception], code: str
):
    def fails(**_: Any) -> None:
        raise raised

    monkeypatch.setattr(jax.distributed, "initialize", fails)
    with pytest.raises(seen, match=code):
        initialise(True, {})
