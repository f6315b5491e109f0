"""Seconds, hours, money and energy by hand."""

from __future__ import annotations

import dataclasses

import pytest

from jaxbert.models.cost import FUSED
from jaxbert.plan.cost import ATTAINED, CLOCKS, bill, bound, by_cycles, op_seconds, step_time, transfer_seconds
from jaxbert.plan.topologies import Topology, topology
from jaxbert.plan.work import Memory, Op, Transfer, Work

SIZES = {"data": 1024, "fsdp": 1, "tensor": 1}
V = 3e9


def sent(op: str, place: Topology, sizes: dict[str, int], axes: tuple[str, ...] = ("data",)) -> tuple[float, float]:
    return transfer_seconds(Transfer("", op, axes, V, 0), place, sizes)


def test_an_all_gather_on_a_torus_uses_all_its_sides():
    """v5p:8x8x16: three closed sides of two links, 100 GB/s each way: 600 GB/s."""
    assert sent("all-gather", topology("v5p:8x8x16"), SIZES) == pytest.approx((V * 1023 / 1024 / 600e9, 0.0))


def test_an_all_reduce_is_two_of_them():
    ring = {"data": 16, "fsdp": 1, "tensor": 1}
    place = topology("v5e:4x4")
    # 4x4 of v5e does not close: one link a side, 50 GB/s.
    assert sent("all-gather", place, ring)[0] == pytest.approx(V * 15 / 16 / 100e9)
    assert sent("all-reduce", place, ring)[0] == pytest.approx(2 * V * 15 / 16 / 100e9)


def test_between_slices_each_device_sums_its_part():
    sizes = {"data": 32, "fsdp": 1, "tensor": 1}
    inside, between = sent("all-reduce", topology("v5e:4x4", 2), sizes)
    assert inside == pytest.approx(2 * V * 15 / 16 / 100e9)
    assert between == pytest.approx(2 * V / 16 * (1 / 2) / (25e9 / 8))


def test_between_many_slices_messages_go_by_a_tree():
    """Two slices pass a message on twice; 64 slices send it 6 levels up and 6 down. InfiniBand is faster."""

    def waited(slices: int, machine: str = "h100:8") -> float:
        sizes = {"data": 8 * slices, "fsdp": 1, "tensor": 1}
        place = topology(machine, slices)
        return transfer_seconds(Transfer("", "all-reduce", ("data",), 0.0, 10), place, sizes)[1]

    assert waited(2) == pytest.approx(10 * 2 * 10e-6)
    assert waited(64) == pytest.approx(10 * 12 * 10e-6)
    for slow in ("v5e:2x4", "l4:8"):
        assert waited(64, slow) == pytest.approx(10 * 12 * 50e-6)


def test_what_stays_in_a_slice_crosses_nothing():
    sizes = {"data": 2, "fsdp": 16, "tensor": 1}
    assert sent("all-gather", topology("v5e:4x4", 2), sizes, ("fsdp",))[1] == 0.0


def test_nvlink_is_a_switch():
    sizes = {"data": 8, "fsdp": 1, "tensor": 1}
    assert sent("all-gather", topology("h200:8"), sizes)[0] == pytest.approx(V * 7 / 8 / 450e9)


def test_many_small_messages_wait_for_their_hops():
    few, many = (
        transfer_seconds(Transfer("", "all-reduce", ("data",), 1e3, count), topology("v5p:8x8x16"), SIZES)[0]
        for count in (1, 1000)
    )
    assert many > 500 * few > 0


def a_work(**changes: float) -> Work:
    op = Op("all", **{"flops": 459e12, "vector": 0.0, "bytes": 0.0, **changes})
    memory = Memory(1, 1, 1, 1, 1)
    return Work(1e15, 1e15, (op,), (), memory, 1, 1)


@pytest.mark.parametrize(
    ("changes", "binds"), [({}, "compute"), ({"vector": 28e12}, "vector"), ({"bytes": 2 * 2765e9}, "hbm")]
)
def test_the_largest_term_binds(changes: dict[str, float], binds: str):
    time = step_time(a_work(**changes), topology("v5p:8x8x16"), SIZES)
    assert time.terms.compute == pytest.approx(1.0)
    assert time.terms.binds == binds
    assert time.best < time.expected < time.worst
    assert time.expected == pytest.approx(op_seconds(a_work(**changes).ops[0], topology("v5p:8x8x16"), ATTAINED))


def test_float32_products_take_the_chips_other_peak():
    gpu, sizes = topology("h200:8"), {"data": 8, "fsdp": 1, "tensor": 1}
    half = step_time(a_work(), gpu, sizes, matmul_share=gpu.chip.float32)
    assert half.terms.compute == pytest.approx(2 * step_time(a_work(), gpu, sizes).terms.compute)


def test_sending_hides_behind_work_in_part():
    quiet = a_work()
    loud = dataclasses.replace(quiet, transfers=(Transfer("", "all-reduce", ("data",), 60e9, 1),))
    one, other = (step_time(work, topology("v5p:8x8x16"), SIZES) for work in (quiet, loud))
    assert other.expected - one.expected == pytest.approx(other.communication * (1 - ATTAINED.hidden))
    assert other.communication == pytest.approx(2 * 60e9 / (600e9 * ATTAINED.network), rel=0.01)


def test_the_bill():
    place = topology("v5e:4x4")
    found = bill(7200, place, grid=500)
    assert (found.hours, found.chip_hours) == (2.0, 32.0)
    assert found.money == pytest.approx(32 * place.chip.price.per_hour)
    assert found.kwh == pytest.approx(32 * place.chip.power.watts / 1000 * place.chip.power.pue)
    assert found.kwh_low < found.kwh < found.kwh_high
    assert found.kg_co2e == pytest.approx(found.kwh * 0.5)


def test_the_bound_is_the_tasks_and_not_the_programs():
    """Products of the task at the peak of all chips; or parameters and moments, read and written once."""
    place = topology("v5p:8x8x16")
    wasteful = a_work(flops=1e18, bytes=1e15)
    assert bound(wasteful, place) == bound(a_work(), place) == pytest.approx(1e15 / (1024 * 459e12))
    large = dataclasses.replace(a_work(), parameters=10**12)
    assert bound(large, place) == pytest.approx(24e12 / (1024 * 2765e9))


def test_cycles_take_the_place_of_the_operations():
    place = topology("v5p:8x8x16")
    quiet = a_work()
    loud = dataclasses.replace(quiet, transfers=(Transfer("", "all-reduce", ("data",), 60e9, 1),))
    model = step_time(loud, place, SIZES)
    cycles = 3 * CLOCKS["v5p"]
    found = by_cycles(model, loud, place, cycles=cycles, kernels=0)
    assert found.cycles == pytest.approx(3.0)
    assert found.expected == pytest.approx(3 + model.communication * (1 - ATTAINED.hidden))
    assert (found.best, found.communication, found.terms) == (model.best, model.communication, model.terms)
    assert found.worst / found.expected == pytest.approx(model.worst / model.expected)
    assert (model.judged_by, found.judged_by) == ("the model", "libtpu's estimates of cycles")
    # What libtpu does not estimate comes from the model.
    kernel = dataclasses.replace(loud, ops=(dataclasses.replace(loud.ops[0], name=FUSED),))
    more = by_cycles(model, kernel, place, cycles=cycles, kernels=1)
    assert more.cycles == pytest.approx(3 + op_seconds(loud.ops[0], place, ATTAINED))


def test_without_cycles_or_a_clock_the_model_stays():
    quiet = a_work()
    for place in (topology("v5p:8x8x16"), topology("h200:8")):
        model = step_time(quiet, place, SIZES)
        cycles = 0.0 if place.chip.kind == "tpu" else 1e9
        assert by_cycles(model, quiet, place, cycles=cycles, kernels=0) is model
