"""The model's bytes, memory and traffic beside programs that XLA compiled for GPUs, whose figures are recorded.

tests/goldens/record_gpu_work.py compiles them again. The bounds here are the model's remaining error. XLA's compiler
for GPUs estimates no cycles.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from jaxbert.plan.report import traffic
from jaxbert.plan.work import work

TESTS = Path(__file__).parents[1]
sys.path.append(str(TESTS / "gpu"))

from gpu_cases import CASES, Case  # noqa: E402

GOLDEN: dict[str, Any] = json.loads((TESTS / "goldens" / "gpu_work.json").read_text(encoding="utf-8"))
# The model's figures by the program's: (least, most).
BYTES, MEMORY = (0.88, 1.12), (0.85, 1.2)
# What the program sends by what the contract says. With fsdp, XLA scatters the sums of gradients on GPUs and does not
# gather them again, so it sends less.
SENT = (0.75, 1.03)


def test_every_program_is_recorded():
    assert GOLDEN.keys() - {"compiler"} == {str(case) for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_model_is_near_the_program(case: Case):
    config, place = case.made()
    golden = GOLDEN[str(case)]
    found = work(config, place, config.phases[case.phase])
    assert BYTES[0] < found.bytes / golden["bytes"] < BYTES[1]
    assert MEMORY[0] < found.memory.total / golden["memory"] < MEMORY[1]
    ours = traffic(found.transfers)
    assert golden["sent"].keys() == {"+".join(axes) for axes in ours}
    for axes, size in ours.items():
        assert SENT[0] < golden["sent"]["+".join(axes)] / size < SENT[1]
