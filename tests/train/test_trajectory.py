"""A hundred steps of training against what transformers' BERT and torch's AdamW computed (tests/trajectory.py)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.trajectory import GOLDEN, STEPS, TOLERANCE, ours


def recorded(dtype: str) -> np.ndarray:
    table = np.loadtxt(GOLDEN, comments="#")
    assert table.shape == (STEPS, 3) and (table[:, 0] == np.arange(STEPS)).all()
    return table[:, ["float64", "float32"].index(dtype) + 1]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_every_loss_equals_the_peers(dtype: str) -> None:
    _, losses, rates = ours(dtype)
    np.testing.assert_allclose(losses, recorded(dtype), rtol=TOLERANCE[dtype])
    assert losses[-1] < 0.6 * losses[0], "a run that learns nothing would prove little"
    np.testing.assert_allclose(rates, [5e-3 * (s / 20 if s < 20 else 1 - s / STEPS) for s in range(STEPS)], rtol=1e-5)


def test_the_recorded_run_learns_and_says_what_made_it() -> None:
    first = GOLDEN.read_text(encoding="utf-8").splitlines()[0]
    assert "transformers 5.23.0" in first and "torch 2.13.0" in first
    np.testing.assert_allclose(recorded("float32"), recorded("float64"), rtol=1e-4)
