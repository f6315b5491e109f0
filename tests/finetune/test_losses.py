"""Every kind of task trains as transformers does: its recorded losses, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from tests.finetuning import CASES, RECORDED, TOLERANCE, ours, recorded


@pytest.mark.parametrize("name", CASES)
def test_losses_are_the_peers(name: str) -> None:
    """`make test-peers` compares a hundred steps, in float32 too. These see a change of ours."""
    _, losses, _ = ours(name, "float64", RECORDED)
    worst = float(np.abs(np.array(losses) / recorded()[name] - 1).max())
    assert worst <= TOLERANCE["float64"], worst
