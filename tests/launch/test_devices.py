"""Every process that a target starts learns its platform and its number of devices, which `pretrain` checks.

The targets' own scripts run here, with a program in place of `jaxbert pretrain` that shows its environment. For `local`
see test_local.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import pytest

from jaxbert.core.chips import GPU_POOL_FRACTION
from jaxbert.run.processes import initialise
from tests.launch.test_bounds import Here, google, skypilot
from tests.launch.test_targets import sent

ENGINES = {"queued-resource": google, "gce-tpu": google, "skypilot": skypilot}
POOL = "XLA_CLIENT_MEM_FRACTION"


def environment(target: str, launch, tmp_path: Path, *more: str) -> dict[str, str]:
    here = Here(tmp_path / "engine", 0)
    ENGINES[target](sent(launch, target, tmp_path, *more), here)
    lines = here.record.with_name("starts.environment").read_text().splitlines()
    return dict(line.partition("=")[::2] for line in lines)


@pytest.mark.parametrize(
    ("target", "topology", "platform", "devices"),
    [
        ("queued-resource", "v5e:4x4", "tpu", "4"),
        ("queued-resource", "v5e:1x1", "tpu", "1"),
        ("queued-resource", "v5p:2x2x2", "tpu", "4"),
        ("gce-tpu", "v6e:4x4", "tpu", "4"),
        ("skypilot", "v5e:4x4", "tpu", "4"),
        ("skypilot", "h100:8", "gpu", "8"),
        ("skypilot", "h100:1", "gpu", "1"),
    ],
)
def test_every_process_learns_its_devices(target, topology, platform, devices, launch, programs, tmp_path: Path):
    found = environment(target, launch, tmp_path, "--topology", topology)
    assert (found["JAXBERT_PLATFORM"], found["JAXBERT_DEVICES"]) == (platform, devices)
    assert found.get(POOL) == (str(GPU_POOL_FRACTION) if platform == "gpu" else None)


@pytest.mark.parametrize("name", [POOL, "XLA_PYTHON_CLIENT_MEM_FRACTION"])
def test_a_share_of_the_gpu_that_the_node_sets_stays(name: str, launch, programs, tmp_path: Path, monkeypatch):
    # jax refuses to start where both names are set.
    run = Here.run
    monkeypatch.setattr(Here, "run", lambda here, *command, **more: run(here, *command, **more, **{name: "0.5"}))
    found = environment("skypilot", launch, tmp_path, "--topology", "h100:8")
    assert {key: value for key, value in found.items() if "MEM_FRACTION" in key} == {name: "0.5"}


def test_a_node_of_several_takes_its_own_gpus(launch, programs, tmp_path: Path, monkeypatch):
    run = Here.run
    nodes = {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1"}
    monkeypatch.setattr(Here, "run", lambda here, *command, **more: run(here, *command, **(more | nodes)))
    found = environment("skypilot", launch, tmp_path, "--topology", "h100:8", "--slices", "2")
    told: dict[str, Any] = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda **settings: told.update(settings))
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    initialise(False, found)
    assert (told["num_processes"], told["process_id"]) == (2, 1)
    # jax numbers the GPUs of a machine from 0.
    assert list(told["local_device_ids"]) == list(range(8))
