"""Slices that are sold, and what is said of those that are not."""

from __future__ import annotations

import math

import pytest

from jaxbert.core.chips import CHIPS, GIB, GPU_POOL_FRACTION, PROVIDERS, SLICES, Price
from jaxbert.errors import InputError
from jaxbert.plan.topologies import sides_of, topology, with_price


@pytest.mark.parametrize(
    ("text", "chips", "hosts"),
    [
        *[("v5e:4x4", 16, 4), ("v5p:8x8x16", 1024, 256), ("v6e:16x16", 256, 64), ("h200:8", 8, 1), ("v5e:1x1", 1, 1)],
        # A slice of eight chips is one larger machine.
        *[("v5e:2x4", 8, 1), ("v6e:2x4", 8, 1), ("v5p:2x2x2", 8, 2)],
    ],
)
def test_sold_slices(text: str, chips: int, hosts: int):
    found = topology(text)
    assert (found.chips, found.hosts, found.name) == (chips, hosts, text)


def test_slices_multiply():
    found = topology("v5p:4x4x4", 3)
    assert (found.chips, found.slice_chips, found.hosts) == (192, 64, 48)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("v5e:5x5", "v5e:4x8"),
        ("v5p:4x4", "v5p:2x2x4"),
        ("v6e:32x32", "v6e:16x16"),
        ("h200:9", "h200:8"),
        ("v5p:8x8x32", "v5p:8x16x16"),
    ],
)
def test_the_near_ones_are_named(text: str, named: str):
    with pytest.raises(InputError, match=r"E-PLAN-SLICE\]") as caught:
        topology(text)
    assert named in caught.value.fix and caught.value.fix.count(text.partition(":")[0]) == 3


@pytest.mark.parametrize(
    ("text", "named", "code"),
    [
        ("v55:4x4", "v5", "E-PLAN-CHIP"),
        ("v6e", "v6e:", "E-PLAN-SLICE"),
        ("tpu:2", "Known: v3", "E-PLAN-CHIP"),
        ("v5e:axb", "v5e:", "E-PLAN-SLICE"),
    ],
)
def test_what_is_no_topology_says_what_is(text: str, named: str, code: str):
    with pytest.raises(InputError, match=rf"{code}\]") as caught:
        topology(text)
    assert named in caught.value.fix


def test_one_program_does_not_span_any_number():
    assert topology("v5p:16x16x24", 3).chips == 18_432
    with pytest.raises(InputError, match=r"18,432.*E-PLAN-SLICES"):
        topology("v5p:16x16x24", 4)
    with pytest.raises(InputError, match=r"slices is 0.*E-PLAN-SLICES"):
        topology("v5e:4x4", 0)


def test_every_slice_is_of_whole_hosts_or_within_one():
    for name, shapes in SLICES.items():
        for shape in shapes:
            chips = math.prod(sides_of(shape))
            assert chips < CHIPS[name].chips_per_host or chips % CHIPS[name].chips_per_host == 0, (name, shape)


def test_every_figure_that_costs_money_has_a_source():
    for chip in CHIPS.values():
        for price in chip.prices:
            assert price.per_hour > 0 and any(character.isdigit() for character in price.source)
            assert PROVIDERS[price.provider] in price.source
        assert len({price.provider for price in chip.prices}) == len(chip.prices)
        assert chip.power.low <= chip.power.watts <= chip.power.high and chip.power.source and chip.power.pue >= 1


def test_what_the_user_gives_takes_its_place():
    given = with_price(topology("v5e:4x4"), 0.5, 100.0, 1.3).chip
    assert (given.price.per_hour, given.power.watts, given.power.high, given.power.pue) == (0.5, 100.0, 100.0, 1.3)
    assert {given.price.source, given.power.source, given.power.pue_source} == {"given"}


def test_a_price_is_of_one_provider_or_none():
    place = topology("h100:8")
    assert [price.provider for price in with_price(place, None, None, None, "google").chip.prices] == ["google"]
    assert with_price(place, None, None, None, "none").chip.price is None
    assert with_price(place, 3.0, None, None, "none").chip.price == Price(3.0, "given")
    assert with_price(topology("v3:2x2"), None, None, None, "google").chip.price is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("v5e-16", "v5e:4x4"),
        ("v5litepod-16", "v5e:4x4"),
        ("v5e:16", "v5e:4x4"),
        ("trillium-256", "v6e:16x16"),
        # These count cores.
        ("v5p-8", "v5p:2x2x1"),
        ("v4-8", "v4:2x2x1"),
        ("tpu-v4-16", "v4:2x2x2"),
        ("v3-8", "v3:2x2"),
        ("tpu7x-8", "tpu7x:2x2x1"),
        ("ironwood:2x2x1", "tpu7x:2x2x1"),
        # "v5" may be two chips, but only one has slices of two sides.
        ("v5:4x4", "v5e:4x4"),
        ("H100:8", "h100:8"),
        ("8xH100", "h100:8"),
        ("h100-8", "h100:8"),
        ("h100-80gb:8", "h100:8"),
        ("nvidia-h100-80gb:8", "h100:8"),
        ("a100-80:4", "a100-80gb:4"),
        ("NVIDIA A100-SXM4-40GB:4", "a100-40gb:4"),
        ("tesla-v100-sxm2-16gb:8", "v100-16gb:8"),
        ("2x4090", "rtx4090:2"),
        ("RTX 4090:1", "rtx4090:1"),
        ("gh200", "gh200:1"),
        ("gb200:72", "gb200:72"),
        ("MI300:8", "mi300x:8"),
        ("v5litepod-4x4", "v5e:4x4"),
        ("v5e 4x4", "v5e:4x4"),
        ("v5e/2x4", "v5e:2x4"),
        ("v4-2x2x4", "v4:2x2x4"),
        ("8 H100", "h100:8"),
        ("h100*8", "h100:8"),
        # GKE's label, and machine types of AWS and Google Cloud.
        ("nvidia-h100-mega-80gb:8", "h100:8"),
        ("p5.48xlarge", "h100:8"),
        ("p4d.24xlarge", "a100-40gb:8"),
        ("a3-highgpu-8g", "h100:8"),
        ("a2-ultragpu-4g", "a100-80gb:4"),
        ("Standard_ND96isr_H100_v5", "h100:8"),
    ],
)
def test_a_name_with_one_meaning_is_taken(text: str, name: str):
    assert topology(text).name == name


@pytest.mark.parametrize(
    ("text", "named", "code"),
    [
        ("a100", ["a100-40gb:", "a100-80gb:"], "E-PLAN-AMBIGUOUS"),
        ("8xA100", ["a100-40gb:8 or a100-80gb:8"], "E-PLAN-AMBIGUOUS"),
        ("v5", ["v5e:", "v5p:"], "E-PLAN-AMBIGUOUS"),
        # Eight chips, or eight cores.
        ("v5p:8", ["v5p:2x2x2", "v5p:2x2x1"], "E-PLAN-AMBIGUOUS"),
        ("4090", ["rtx4090:"], "E-PLAN-SLICE"),
        ("a100-80gb", ["a100-80gb:"], "E-PLAN-SLICE"),
        ("trillium", ["v6e:"], "E-PLAN-SLICE"),
        ("ironwood", ["tpu7x:"], "E-PLAN-SLICE"),
        ("v5e-12", ["v5e:4x4"], "E-PLAN-SLICE"),
        ("v7:2", ["tpu7x:1x1x1", "tpu7x:2x2x1"], "E-PLAN-SLICE"),
        ("a100-60gb:8", ["a100-80gb"], "E-PLAN-CHIP"),
        ("l40:1", ["l40s"], "E-PLAN-CHIP"),
        ("v5e-3x5", ["v5e:4x4"], "E-PLAN-SLICE"),
        ("h100:16", ["no slice of 16", "--topology h100:8 --slices 2"], "E-PLAN-SLICE"),
        ("h100:8x2", ["--topology h100:8 --slices 2"], "E-PLAN-SLICE"),
        ("2xh100:8", ["16 chips", "--topology h100:8 --slices 2"], "E-PLAN-SLICE"),
        ("v4-7", ["no slice of 3 chips", "v4:2x2x1"], "E-PLAN-SLICE"),
        ("ct5lp-hightpu-4t", ["v5e:"], "E-PLAN-SLICE"),
        ("trn1.32xlarge", ["does not run on this accelerator"], "E-PLAN-CHIP"),
        ("cpu:8", ["the CPU is one device", "leave --topology out"], "E-PLAN-CPU"),
        ("h10:8", ["Did you mean h100?"], "E-PLAN-CHIP"),
        (":", ["Known"], "E-PLAN-CHIP"),
        ("9" * 400 + "xh100", ["Known"], "E-PLAN-CHIP"),
    ],
)
def test_a_name_with_several_meanings_or_none_is_answered_with_the_right_ones(text: str, named: list[str], code: str):
    with pytest.raises(InputError, match=rf"{code}\]") as caught:
        topology(text)
    said = f"{caught.value.what} {caught.value.fix}"
    assert all(name in said for name in named), said


@pytest.mark.parametrize("text", ["T4", "A10G:4", "A6000", "gpu", "tpu", "v9:2"])
def test_another_chip_is_not_taken_for_one_of_the_table(text: str):
    with pytest.raises(InputError, match=r"E-PLAN-CHIP\]") as caught:
        topology(text)
    assert "Did you mean" not in caught.value.fix and "any other with --chip FILE" in caught.value.fix


def test_a_device_is_half_of_a_chip_of_v3_and_of_tpu7x():
    for name, devices in (("v3:4x4", 32), ("tpu7x:2x2x1", 8), ("v4:2x2x1", 4)):
        assert topology(name).devices == devices
    assert topology("v3:4x4").rings(32) == (2, False) and topology("v3:4x4").rings(8) == (1, False)
    assert topology("v3:32x32").rings(2048) == (2, True)


@pytest.mark.parametrize(
    ("text", "size", "sides", "closed"),
    [
        ("v5p:8x8x16", 1024, 3, True),
        ("v5p:8x8x16", 64, 2, True),
        ("v5p:8x8x16", 16, 1, True),
        ("v5p:8x8x16", 4, 1, False),
        ("v5p:2x2x2", 8, 3, False),
        ("v5e:4x4", 16, 2, False),
        ("v5e:16x16", 256, 2, True),
        ("v6e:8x16", 16, 1, True),
        ("v6e:8x16", 8, 1, False),
    ],
)
def test_axes_lie_on_sides_of_the_torus(text: str, size: int, sides: int, closed: bool):
    assert topology(text).rings(size) == (sides, closed)


def test_usable_memory_is_what_libtpu_gives():
    names = ("v3", "v4", "v5e", "v5p", "v6e", "tpu7x")
    assert [CHIPS[name].hbm / GIB for name in names] == [15.48, 30.75, 15.75, 95.7, 31.25, 94.75]


def test_a_gpu_gives_what_its_pool_has():
    assert CHIPS["h100"].hbm / GIB == pytest.approx(0.92 * 79.1)
    for chip in CHIPS.values():
        if chip.kind == "gpu":
            assert chip.hbm / GPU_POOL_FRACTION - chip.hbm > 1.2 * GIB
