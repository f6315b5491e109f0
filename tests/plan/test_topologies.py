"""Slices that are sold, and what is said of those that are not."""

from __future__ import annotations

import math

import pytest

from jaxbert.errors import InputError
from jaxbert.plan.topologies import CHIPS, GIB, SLICES, sides_of, topology, with_price


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
        ("h200:16", "h200:8"),
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
        ("v5:4x4", "v5", "E-PLAN-CHIP"),
        ("v6e", "v6e:", "E-PLAN-SLICE"),
        ("tpu:2", "Known: v5e", "E-PLAN-CHIP"),
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
        assert chip.price.per_hour > 0 and any(character.isdigit() for character in chip.price.source)
        assert chip.power.low <= chip.power.watts <= chip.power.high and chip.power.source and chip.power.pue >= 1


def test_what_the_user_gives_takes_its_place():
    given = with_price(topology("v5e:4x4"), 0.5, 100.0, 1.3).chip
    assert (given.price.per_hour, given.power.watts, given.power.high, given.power.pue) == (0.5, 100.0, 100.0, 1.3)
    assert {given.price.source, given.power.source, given.power.pue_source} == {"given"}


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
    assert [CHIPS[name].hbm / GIB for name in ("v5e", "v5p", "v6e")] == [15.75, 95.7, 31.25]
