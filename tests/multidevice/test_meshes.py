"""The same run on 1, 8x1x1, 2x4x1, 2x2x2 fake devices: masks the golden bits, losses equal, one compilation each."""

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
    for name, run in runs.items():
        np.testing.assert_allclose(run["losses"], runs["1"]["losses"], rtol=1e-6, err_msg=name)


def test_a_step_is_compiled_once(runs):
    assert {name: run["compilations"] for name, run in runs.items()} == dict.fromkeys(runs, 1)


def test_state_is_sharded_at_rest(runs):
    whole = runs["1"]
    assert runs["8x1x1"]["parameter_bytes"] == whole["parameter_bytes"]
    assert runs["2x4x1"]["parameter_bytes"] < 0.27 * whole["parameter_bytes"]
    assert runs["2x4x1"]["moment_bytes"] < 0.27 * whole["moment_bytes"]
    assert runs["2x4x1 zero1"]["parameter_bytes"] == whole["parameter_bytes"]
    assert runs["2x4x1 zero1"]["moment_bytes"] < 0.27 * whole["moment_bytes"]
