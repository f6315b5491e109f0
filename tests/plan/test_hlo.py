"""Collectives out of compiled HLO: loops, groups in each of their spellings, channels that stand there twice."""

# ruff: noqa: E501 (lines of HLO)

from __future__ import annotations

import pytest

from jaxbert.plan.compile import Collective, collectives

SIZES = {"data": 2, "fsdp": 4, "tensor": 1}
MODULE = """HloModule jit_step

%add (a: f32[], b: f32[]) -> f32[] {{
  ROOT %sum = f32[] add(%a, %b)
}}

%async_wrapper (p: bf16[8,4]) -> bf16[32,4] {{
  ROOT %all-gather.7 = bf16[32,4]{{1,0:T(8,128)(2,1)}} all-gather(%p), channel_id=1, replica_groups={fsdp}, dimensions={{0}}
}}

%cond (arg: (s32[], bf16[32,4])) -> pred[] {{
  %constant.1 = s32[]{{:T(128)}} constant(12)
  ROOT %lt = pred[] compare(%i, %constant.1), direction=LT
}}

%body (arg: (s32[], bf16[32,4])) -> (s32[], bf16[32,4]) {{
  %fusion.1 = bf16[32,4] fusion(%x), kind=kCustom, calls=%async_wrapper
  %all-gather.8 = bf16[32,4]{{1,0:T(8,128)(2,1)}} all-gather(%p), channel_id=1, replica_groups={fsdp}, dimensions={{0}}
  %all-reduce.3 = (bf16[32,4]{{1,0}}, f32[10]{{0}}) all-reduce(%a, %b), channel_id=2, replica_groups={both}, to_apply=%add
}}

ENTRY %main (p0: f32[8]) -> f32[8] {{
  %while.1 = (s32[], bf16[32,4]) while(%t), condition=%cond, body=%body
  %ar-start = f32[8]{{0}} all-reduce-start(%p0), channel_id=3, replica_groups={data}, to_apply=%add
  %reduce-scatter.1 = f32[2]{{0}} reduce-scatter(%p0), channel_id=4, replica_groups={fsdp}, dimensions={{0}}, to_apply=%add
  %lonely = f32[8]{{0}} all-reduce(%p0), channel_id=5, replica_groups={{{{0}},{{1}}}}, to_apply=%add
}}
"""
SPELLINGS = {
    "listed": {"fsdp": "{{0,1,2,3},{4,5,6,7}}", "data": "{{0,4},{1,5},{2,6},{3,7}}", "both": "{{0,1,2,3,4,5,6,7}}"},
    "iota": {"fsdp": "[2,4]<=[8]", "data": "[4,2]<=[2,4]T(1,0)", "both": "[1,8]<=[8]"},
    "mesh": {
        "fsdp": "mesh['a'=2,'b'=4] {'b'}",
        "data": "mesh['a'=2,'b'=4] {'a'}",
        "both": "mesh['a'=2,'b'=4] {'a','b'}",
    },
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_collective_is_found_once_with_its_axes_and_count(spelling: str):
    found = list(collectives(MODULE.format(**SPELLINGS[spelling]), SIZES))
    assert sorted(found, key=lambda one: (one.op, one.bytes)) == [
        Collective("all-gather", ("fsdp",), 32 * 4 * 2.0, 12),
        Collective("all-reduce", ("data",), 8 * 4.0, 1),
        Collective("all-reduce", ("data", "fsdp"), 32 * 4 * 2 + 10 * 4.0, 12),
        Collective("reduce-scatter", ("fsdp",), 8 * 4.0, 1),
    ]


def test_loops_in_loops_multiply():
    text = MODULE.format(**SPELLINGS["iota"]).replace(
        "%fusion.1 = bf16[32,4] fusion(%x), kind=kCustom, calls=%async_wrapper",
        "%inner = (s32[], bf16[32,4]) while(%t), condition=%cond, body=%again",
    )
    text = text.replace(
        "ENTRY",
        "%again (arg: f32[]) -> f32[] {\n"
        "  %permute = f32[8]{0} collective-permute(%p), channel_id=9, source_target_pairs={{0,1},{1,0}}\n}\n\nENTRY",
    )
    assert Collective("collective-permute", ("fsdp",), 32.0, 144) in list(collectives(text, SIZES))
