"""One run on fake devices: masks the golden bits on every mesh, losses on 2x2x2 those of one device."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "objectives"))

import golden_corruption as golden


@pytest.fixture(scope="module")
def runs(on_eight_devices) -> dict:
    return on_eight_devices("mesh_run.py")


def test_corruption_is_the_golden_one_on_every_mesh(runs):
    assert {name: run["masks"] for name, run in runs.items()} == dict.fromkeys(runs, golden.GOLDEN)


def test_losses_are_equal_to_one_millionth(runs):
    assert len(runs["1"]["losses"]) == 4
    np.testing.assert_allclose(runs["2x2x2"]["losses"], runs["1"]["losses"], rtol=1e-6)


def test_a_step_is_compiled_once(runs):
    assert [run["compilations"] for run in runs.values() if "losses" in run] == [1, 1]


def test_state_is_sharded_at_rest(runs):
    assert runs["2x2x2"]["bytes"] < 0.3 * runs["1"]["bytes"]


def test_a_toy_architecture_trains_in_every_layout(on_eight_devices):
    """Losses are those of one device; parameters lie as the layout says: (2 layers, D 64, F 128)."""
    found = on_eight_devices("rotary_run.py")
    one_device = found.pop("one")
    expected, learned = one_device["losses"], one_device["learned"]
    assert np.mean(learned[-10:]) < np.mean(expected) - 0.1, learned
    for one in found.values():
        np.testing.assert_allclose(one["losses"], expected, rtol=1e-6)
    shards = {name: one["shard"] for name, one in found.items()}
    whole = [2, 64, 128]
    assert shards == {"replicated": whole, "zero1": whole, "fsdp": [2, 16, 128], "fsdp_tensor": [2, 32, 64]}


def test_a_user_places_a_loaded_model_on_any_mesh(on_eight_devices):
    """Explicit axes, which `jax.make_mesh` makes by default, and gradients inside `shard_map` with its checks."""
    found = on_eight_devices("user_run.py")
    assert len(found) == 8
    assert all(value < 1e-5 for value in found.values()), found
