"""Runs the hundred steps of tests/trajectory.py on both sides: `make test-peers`."""

from __future__ import annotations

import numpy as np
import pytest

from tests.goldens.record_trajectory import theirs
from tests.trajectory import TOLERANCE, ours


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_every_loss_equals_the_peers(dtype: str) -> None:
    start, losses, rates = ours(dtype)
    expected = np.array(theirs(start, rates, dtype))
    worst = float(np.abs(losses / expected - 1).max())
    print(f"worst relative difference over {len(losses)} steps, {dtype}: {worst:.1e}")
    assert worst <= TOLERANCE[dtype]
