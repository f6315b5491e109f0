"""Runs the hundred steps of tests/finetuning.py on both sides: `make test-peers`."""

from __future__ import annotations

import numpy as np
import pytest

from tests.finetuning import CASES, TOLERANCE, ours
from tests.goldens.record_finetuning import theirs


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_every_loss_equals_the_peers(name: str, dtype: str) -> None:
    start, losses, rates = ours(name, dtype)
    expected = np.array(theirs(name, start, rates, dtype))
    worst = float(np.abs(np.array(losses) / expected - 1).max())
    print(f"worst relative difference of {name} over {len(losses)} steps, {dtype}: {worst:.1e}")
    assert worst <= TOLERANCE[dtype]
