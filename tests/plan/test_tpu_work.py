"""The model's time, bytes and traffic beside programs that libtpu compiled, whose figures are recorded.

`make test-tpu` compiles them again. The bounds here are the model's remaining error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from jaxbert.plan.cost import ATTAINED, CLOCKS, op_seconds
from jaxbert.plan.layouts import matmul_share
from jaxbert.plan.report import traffic
from jaxbert.plan.work import work

TESTS = Path(__file__).parents[1]
sys.path.append(str(TESTS / "tpu"))

from cases import WORKS, Case  # noqa: E402

GOLDEN: dict[str, Any] = json.loads((TESTS / "goldens" / "tpu_work.json").read_text(encoding="utf-8"))
# The model's seconds by libtpu's cycles: (least, most) in all cases, tiny ones too.
TIME = (0.80, 1.20)
# The model's bytes by the program's, at published sizes. More of a narrow model's arrays and of micro-batches stays in
# the core's memory, so the model counts up to 1.5 times the bytes. Of tiny steps it counts megabytes where the program
# has hardly any.
BYTES, NARROW_BYTES = (0.80, 1.10), (0.80, 1.55)
NARROW = 512
TINY = 1e9
# What is sent: to 3%. Tiny word tables are summed once in float32 by fsdp, and the model counts bfloat16.
SENT, TINY_SENT = 0.03, 0.27


def test_every_program_is_recorded():
    assert GOLDEN.keys() - {"compiler"} == {str(case) for case in WORKS}


@pytest.mark.parametrize("case", WORKS, ids=str)
def test_the_model_is_near_the_program(case: Case):
    config, place = case.made()
    golden, phase = GOLDEN[str(case)], config.phases[case.phase]
    found = work(config, place, phase)
    share = matmul_share(config, place.chip)
    busy = sum(op_seconds(op, place, ATTAINED, share) for op in found.ops)
    assert golden["kernels"] == 0
    assert TIME[0] < busy / (golden["cycles"] / CLOCKS[place.chip.name]) < TIME[1]
    tiny = golden["hbm_bytes"] < TINY
    if not tiny:
        narrow = config.encoder.hidden_size < NARROW or phase.accumulation > 1
        least, most = NARROW_BYTES if narrow else BYTES
        assert least < found.bytes / golden["hbm_bytes"] < most
    ours = {"+".join(axes): size for axes, size in traffic(found.transfers).items()}
    for axes in ours.keys() | golden["sent"].keys():
        given, wanted = ours.get(axes, 0.0), golden["sent"].get(axes, 0.0)
        assert given == pytest.approx(wanted, rel=TINY_SENT if tiny else SENT, abs=300_000 if tiny else 20_000), axes
