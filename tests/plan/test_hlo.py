"""Collectives, cycles and bytes out of compiled HLO: loops, groups in each of their spellings, channels twice."""

# ruff: noqa: E501 (lines of HLO)

from __future__ import annotations

import pytest

from jaxbert.plan.hlo import Collective, Module

SIZES = {"data": 2, "fsdp": 4, "tensor": 1}
MODULE = """HloModule jit_step

%add (a: f32[], b: f32[]) -> f32[] {{
  ROOT %sum = f32[] add(%a, %b)
}}

%async_wrapper (p: bf16[8,4]) -> bf16[32,4] {{
  ROOT %all-gather.7 = bf16[32,4]{{1,0:T(8,128)(2,1)}} all-gather(%p), channel_id=1, replica_groups={fsdp}, dimensions={{0}}
}}

%other_core (p: f32[6]) -> f32[6] {{
  ROOT %all-reduce.9 = f32[6]{{0}} all-reduce(%p), channel_id=6, replica_groups={fsdp}, to_apply=%add
}}

%fused_start (p: f32[6]) -> f32[6] {{
  ROOT %ar.call-start = ((f32[6]{{0}}, token[]), f32[6]{{0}}, u32[]{{:S(8)}}) call-start(%p), async_execution_thread="sparsecore", to_apply=%other_core
}}

%cond (arg: (s32[], bf16[32,4])) -> pred[] {{
  %constant.1 = s32[]{{:T(128)}} constant(12)
  ROOT %lt = pred[] compare(%i, %constant.1), direction=LT
}}

%body (arg: (s32[], bf16[32,4])) -> (s32[], bf16[32,4]) {{
  %fusion.1 = bf16[32,4] fusion(%x), kind=kCustom, calls=%async_wrapper
  %fusion.2 = f32[6] fusion(%x), kind=kCustom, calls=%fused_start
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
    "mesh of devices in another order": {
        "fsdp": "mesh['a'=4,'b'=1,'c'=2], device_ids=([2,4]T(1,0)) {'a'}",
        "data": "mesh['a'=4,'b'=1,'c'=2], device_ids=([2,4]T(1,0)) {'b','c'}",
        "both": "mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a','b'}",
    },
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_collective_is_found_once_with_its_axes_and_count(spelling: str):
    found = list(Module(MODULE.format(**SPELLINGS[spelling])).collectives(SIZES))
    assert sorted(found, key=lambda one: (one.op, one.bytes)) == [
        Collective("all-gather", ("fsdp",), 32 * 4 * 2.0, 12),
        Collective("all-reduce", ("fsdp",), 6 * 4.0, 12),
        Collective("all-reduce", ("data",), 8 * 4.0, 1),
        Collective("all-reduce", ("data", "fsdp"), 32 * 4 * 2 + 10 * 4.0, 12),
        Collective("reduce-scatter", ("fsdp",), 8 * 4.0, 1),
    ]


def test_a_group_may_be_the_part_of_an_axis_in_one_slice():
    """An array of 4 x 2 floats is summed by four devices of an axis of eight."""
    text = MODULE.format(**SPELLINGS["listed"])
    found = list(Module(text).collectives({"data": 8}))
    (scattered,) = (one for one in found if one.op == "reduce-scatter")
    assert scattered == Collective("reduce-scatter", ("data",), 4 * 2 * 4.0, 1)


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
    assert Collective("collective-permute", ("fsdp",), 32.0, 144) in list(Module(text).collectives(SIZES))


def test_two_kinds_of_collectives_may_have_one_channel():
    text = MODULE.format(**SPELLINGS["iota"]).replace("channel_id=3", "channel_id=1")
    assert Collective("all-reduce", ("data",), 8 * 4.0, 1) in list(Module(text).collectives(SIZES))
    assert Collective("all-gather", ("fsdp",), 32 * 4 * 2.0, 12) in list(Module(text).collectives(SIZES))


WORKING = """HloModule jit_step

%fused (param_0.1: f32[12,32,4], param_1.1: s32[]) -> f32[32,4] {
  %param_0.1 = f32[12,32,4]{2,1,0} parameter(0)
  %param_1.1 = s32[] parameter(1)
  %slice = f32[1,32,4]{2,1,0} dynamic-slice(%param_0.1, %param_1.1), dynamic_slice_sizes={1,32,4}
  ROOT %cast = f32[32,4]{1,0} bitcast(%slice)
}

%placed (param_0.2: f32[12,32,4], param_1.2: f32[1,32,4]) -> f32[12,32,4] {
  %param_0.2 = f32[12,32,4]{2,1,0} parameter(0)
  %param_1.2 = f32[1,32,4]{2,1,0} parameter(1)
  ROOT %update = f32[12,32,4]{2,1,0} dynamic-update-slice(%param_0.2, %param_1.2, %i)
}

%cond (arg: (s32[])) -> pred[] {
  %constant.1 = s32[]{:T(128)S(6)} constant(12)
  ROOT %lt = pred[]{:T(512)S(6)} compare(%i, %constant.1), direction=LT
}

%body (arg: (s32[])) -> (s32[]) {
  %stack = f32[12,32,4]{2,1,0} get-tuple-element(%arg), index=0
  %i = s32[]{:T(128)S(6)} get-tuple-element(%arg), index=1
  %read = f32[32,4]{1,0:T(8,128)S(1)} fusion(%stack, %i), kind=kLoop, calls=%fused, backend_config={"window_config":{"estimated_cycles":"100"}}
  %near = f32[32,4]{1,0:T(8,128)S(1)} add(%read, %read), backend_config={"window_config":{"estimated_cycles":"10"}}
  %row = f32[1,32,4]{2,1,0:T(8,128)S(1)} bitcast(%near)
  %write = f32[12,32,4]{2,1,0} fusion(%stack, %row), kind=kLoop, calls=%placed
  %kernel = f32[32,4]{1,0} custom-call(%near), custom_call_target="tpu_custom_call"
}

ENTRY %main (p0: f32[8,8]) -> f32[8,8] {
  %p0 = f32[8,8]{1,0} parameter(0)
  %while.1 = (s32[]) while(%t), condition=%cond, body=%body
  ROOT %out = f32[8,8]{1,0} negate(%p0), backend_config={"window_config":{"estimated_cycles":"7"}}
}
"""


def test_cycles_and_kernels_are_counted_as_often_as_their_loop_runs():
    module = Module(WORKING)
    assert module.cycles() == 12 * 110 + 7
    assert module.kernels() == 12


def test_bytes_are_those_of_hbm_and_of_slices_only_what_moves():
    """A slice that is read, an update in its place, the kernel's result; and what the entry reads and writes."""
    layer = 32 * 4 * 4
    assert Module(WORKING).bytes() == 12 * (layer + layer + layer) + 2 * 8 * 8 * 4


# A loop as XLA writes it for a GPU: its number of runs in its line, and a kernel that runs beside others.
GPU_PROGRAM = """
%body.slice (p.0: f32[8,100], p.1: s32[]) -> f32[1,100] {
  %p.0 = f32[8,100]{1,0} parameter(0)
  %p.1 = s32[] parameter(1)
  ROOT %cut = f32[1,100]{1,0} dynamic-slice(%p.0, %p.1, %p.1), dynamic_slice_sizes={1,100}
}

%body (state: (s32[], f32[8,100])) -> (s32[], f32[8,100]) {
  %state = (s32[], f32[8,100]{1,0}) parameter(0)
  %step = s32[] get-tuple-element(%state), index=0
  %stack = f32[8,100]{1,0} get-tuple-element(%state), index=1
  %begun = ((f32[8,100]{1,0}, s32[]), f32[1,100]{1,0}, u32[]) fusion-start(%stack, %step), kind=kLoop, calls=%body.slice
  %done = f32[1,100]{1,0} fusion-done(%begun)
  ROOT %next = (s32[], f32[8,100]{1,0}) tuple(%step, %stack)
}

%condition (state.1: (s32[], f32[8,100])) -> pred[] {
  %state.1 = (s32[], f32[8,100]{1,0}) parameter(0)
  ROOT %less = pred[] fusion(%state.1), kind=kLoop, calls=%compared
}

ENTRY %main (given: (s32[], f32[8,100])) -> (s32[], f32[8,100]) {
  %given = (s32[], f32[8,100]{1,0}) parameter(0)
  ROOT %loop = (s32[], f32[8,100]{1,0}) while(%given), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"8"}}
}
"""


def test_the_bytes_of_a_loop_of_a_gpu_are_those_of_all_its_runs():
    module = Module(GPU_PROGRAM)
    assert module.runs["body"] == 8
    moved = {one.name: module.moved(found, one) for found, one, _ in module.executed()}
    # One row of the stack read, and one written; nothing again where it is waited for.
    assert moved["begun"] == 2 * 400 + 4 and moved["done"] == 0


def test_a_library_s_product_moves_its_operands_and_its_result():
    text = GPU_PROGRAM.replace("while(%given)", "custom-call(%given)").replace(
        "condition=%condition, body=%body", 'custom_call_target="__cublas$gemm"'
    )
    assert Module(text).bytes() == 2 * (3200 + 4)
    assert Module(text.replace("__cublas$gemm", "AllocateBuffer")).bytes() == 0


@pytest.mark.parametrize(
    ("kind", "inputs", "outputs"),
    [
        ("all-gather", "bf16[8,4]{1,0}, bf16[8,2]{1,0}", "bf16[32,4]{1,0}, bf16[32,2]{1,0}"),
        ("reduce-scatter", "bf16[32,4]{1,0}, bf16[32,2]{1,0}", "bf16[8,4]{1,0}, bf16[8,2]{1,0}"),
    ],
)
def test_a_collective_of_several_arrays_counts_all_of_them_once(kind: str, inputs: str, outputs: str):
    text = f"""
ENTRY %main (a: bf16[8,4], b: bf16[8,2]) -> bf16[32,4] {{
  %begun = (({inputs}), ({outputs})) {kind}-start(%a, %b), channel_id=1, replica_groups={{{{0,1,2,3}}}}, dimensions={{0}}
  ROOT %done = ({outputs}) {kind}-done(%begun)
}}
"""
    assert list(Module(text).collectives({"data": 1, "fsdp": 4, "tensor": 1})) == [
        Collective(kind, ("fsdp",), 2 * 32 * 6, 1)
    ]
