"""Tasks with labels on eight fake devices have the losses of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests import fake_devices


def test_eight_devices_compute_what_one_computes() -> None:
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("device_runs.py")],
        env=os.environ | fake_devices.environment(),
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 8
    for name, (eight, one) in found.items():
        # The last number sums the outputs of a batch, which has no loss's mean over it.
        np.testing.assert_allclose(eight[:-1], one[:-1], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(eight[-1], one[-1], rtol=1e-4, err_msg=name)
