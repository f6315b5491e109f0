"""The model's time, bytes and traffic beside programs that libtpu compiled, whose figures are recorded.

`make test-tpu` compiles them again. The bounds here are the model's remaining error.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from jaxbert.core.chips import GIB
from jaxbert.plan.cost import ATTAINED, CLOCKS, op_seconds
from jaxbert.plan.layouts import matmul_share
from jaxbert.plan.report import traffic
from jaxbert.plan.work import parameters_of, work

TESTS = Path(__file__).parents[1]
sys.path.append(str(TESTS / "tpu"))

from cases import WORKS, Case  # noqa: E402

GOLDEN: dict[str, Any] = json.loads((TESTS / "goldens" / "tpu_work.json").read_text(encoding="utf-8"))
# The model's seconds by libtpu's cycles: (least, most) in all cases, tiny ones too.
TIME = (0.78, 1.20)
# The model's bytes by the program's, at published sizes. More of a narrow model's arrays and of micro-batches stays in
# the core's memory, so the model counts up to 1.5 times the bytes. Of tiny steps it counts megabytes where the program
# has hardly any.
BYTES, NARROW_BYTES = (0.75, 1.25), (0.80, 1.55)
NARROW = 512
TINY = 1e9
# What is sent, of the program's bytes on an axis.
SENT = 0.03
# The width of float32 beyond bfloat16, in bytes.
WIDE = 4 - 2
# What the program needs at once, at published sizes.
MEMORY = 0.25


def test_every_program_is_recorded():
    assert GOLDEN.keys() - {"compiler"} == {str(case) for case in WORKS}


def is_tiny(case: Case) -> bool:
    return case.config.endswith("_tiny")


def in_stretches(case: Case) -> float:
    """Returns the bytes that a program of little effort sums after each stretch of distillation's tokens.

    They are float32, and weights of the head are bfloat16. What the model counts of these sums is taken off.
    """
    config, _ = case.made()
    phase, distillation = config.phases[case.phase], config.objectives.distillation
    if distillation is None:
        return 0.0
    stretches = math.ceil(phase.length / distillation.chunk)
    found = 0.0
    for p in parameters_of(config, phase):
        elements = p.elements / (config.mesh.tensor if "tensor" in p.axes else 1)
        counted = config.mesh.fsdp > 1 and "fsdp" in p.axes  # The model has a sum for each stretch.
        if p.path == "encoder/embeddings/word/table":
            found += elements * (WIDE * (stretches + 1) if counted else 4 * stretches)
        elif p.path.startswith("masked_lm/") and not counted:
            found += elements * (2 * stretches - 4 if p.kind == "weight" else 4 * (stretches - 1))
    return found


def summed_besides(case: Case) -> tuple[float, ...]:
    """Returns bytes of gradients that the program may sum in a micro-batch, and that the model does not count.

    It sums each decoder's gradient of the table in float32 over fsdp if the table is tiny, and with little effort on
    some chips and layouts.
    """
    config, _ = case.made()
    table = config.encoder.padded_vocab_size * config.encoder.embedding_width / config.mesh.tensor
    wider = WIDE * table * (1 + (config.objectives.span_boundary is not None))
    if is_tiny(case):
        return (wider if config.mesh.layout == "fsdp" else 0.0,)
    return (in_stretches(case), wider) if case.little else (0.0,)


def sends(ours: dict[str, float], theirs: dict[str, float], tiny: bool) -> bool:
    small = 300_000 if tiny else 20_000
    return all(
        ours.get(axes, 0.0) == pytest.approx(theirs.get(axes, 0.0), rel=SENT, abs=small)
        for axes in ours.keys() | theirs.keys()
    )


def sent_by_the_model(case: Case) -> list[dict[str, float]]:
    """Returns bytes by axes, with what such a program may sum besides."""
    config, place = case.made()
    phase = config.phases[case.phase]
    found = work(config, place, phase).transfers
    ours = {"+".join(axes): size for axes, size in traffic(found).items()}
    (axes,) = {"+".join(one.axes) for one in found if one.what == "gradients"}
    return [ours | {axes: ours[axes] + 2 * more * phase.accumulation} for more in summed_besides(case)]


@pytest.mark.parametrize("case", WORKS, ids=str)
def test_the_model_sends_what_the_program_sends(case: Case):
    ours, theirs = sent_by_the_model(case), GOLDEN[str(case)]["sent"]
    assert any(sends(one, theirs, is_tiny(case)) for one in ours), (ours, theirs)


@pytest.mark.parametrize("case", [case for case in WORKS if not case.little], ids=str)
def test_the_model_is_near_the_program(case: Case):
    config, place = case.made()
    golden, phase = GOLDEN[str(case)], config.phases[case.phase]
    found = work(config, place, phase)
    share = matmul_share(config, place.chip)
    busy = sum(op_seconds(op, place, ATTAINED, share) for op in found.ops)
    assert golden["kernels"] == 0
    assert TIME[0] < busy / (golden["cycles"] / CLOCKS[place.chip.name]) < TIME[1]
    if golden["hbm_bytes"] >= TINY:
        narrow = config.encoder.hidden_size < NARROW or phase.accumulation > 1
        least, most = NARROW_BYTES if narrow else BYTES
        assert least < found.bytes / golden["hbm_bytes"] < most
    if "total_gib" in golden:
        assert found.memory.total / GIB == pytest.approx(golden["total_gib"], rel=MEMORY)
