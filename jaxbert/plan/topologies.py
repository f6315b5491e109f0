"""The accelerators that can be had: what a chip does, in which slices it is sold, what it costs. Imports no jax.

libtpu compiles for shapes that nobody sells, so the table of slices is our own. Every figure has its source beside it,
but for peaks, which `jaxbert.observe.peaks` has; `plan` prints those it used. Prices and watts are the ones to check
before money is spent: both can be given anew.

Where the figures are from:
  TPU: cloud.google.com/tpu/docs/v5e, v5p, v6e (HBM, interconnect, slices, chips a host), read in November 2026.
    HBM is what libtpu lets a program have (its compiler refuses more), not what the package has. A link has its share
    of the published bidirectional bandwidth of a chip, half of it each way. Vector operations: lanes x arithmetic units
    x clock, derived from the published peak and jax-ml.github.io/scaling-book; nobody publishes the figure.
  GPU: NVIDIA's data sheets of H100 SXM and H200 SXM (HBM, NVLink); 400 Gbit/s of network a GPU
    as in NVIDIA's HGX reference design. Usable HBM: 92% of the published, the rest is the driver's and the allocator's.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

from jaxbert.errors import InputError
from jaxbert.observe.peaks import peak_flops

GIB = 2**30


@dataclass(frozen=True)
class Price:
    """What an hour of one chip costs, its host included.

    Attributes:
      per_hour: in `currency`.
      source: whose price, for what, and of when.
    """

    per_hour: float
    source: str
    currency: str = "USD"


@dataclass(frozen=True)
class Power:
    """What a chip draws with its share of the host, in watts.

    Attributes:
      watts: the figure that estimates use.
      low, high: the band it may lie in.
      source: where from; "assumed" where nobody publishes one.
      pue: power usage effectiveness of the data centre: all its power over that of its machines.
      pue_source: where from.
    """

    watts: float
    low: float
    high: float
    source: str
    pue: float
    pue_source: str


@dataclass(frozen=True)
class Chip:
    """One accelerator, as a roofline sees it.

    Attributes:
      name: as in `--topology`.
      kind: "tpu", "gpu" or "cpu".
      device_kinds: words that jax's name of the device has in it; `jaxbert.observe.peaks` has the peaks of the first.
      flops: peak of bfloat16 matrix products, FLOP/s.
      vector: peak of everything that is no matrix product, operations/s.
      hbm: bytes a program can have.
      hbm_bandwidth: bytes/s.
      links: of the fast network (ICI, NVLink), to neighbours.
      link_bandwidth: bytes/s of a link, one way.
      hop: seconds that a message takes over a link, beside its bytes.
      network: bytes/s between slices or machines (DCN, InfiniBand), one way.
      chips_per_host: in the machines of a slice, as libtpu's descriptions have it for TPUs.
      price, power: what it costs and draws.
      float32: peak of float32 matrix products relative to `flops`.
      gather: bytes/s of table look-ups and their scattered gradients; 0: as fast as other memory.
      ring: chips of a side that closes to a ring; 0: the chip has no torus.
      cubes: a slice is a torus from one cube on, every side of it then a ring.
      most_chips: that one program over several slices spans; 0: no limit is known.
    """

    name: str
    kind: str
    flops: float
    vector: float
    hbm: float
    hbm_bandwidth: float
    links: int
    link_bandwidth: float
    hop: float
    network: float
    chips_per_host: int
    price: Price
    power: Power
    float32: float = 1.0
    gather: float = 0.0
    ring: int = 0
    cubes: bool = False
    most_chips: int = 0
    device_kinds: tuple[str, ...] = ()


def _peaks(device_kinds: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a chip that the table of peaks decides."""
    bfloat16, float32 = (peak_flops(device_kinds[0], dtype) for dtype in ("bfloat16", "float32"))
    assert bfloat16 is not None and float32 is not None, device_kinds
    return {"device_kinds": device_kinds, "flops": bfloat16, "float32": float32 / bfloat16}


_GOOGLE = "Google Cloud, on demand, US regions, list price as last seen 2025"
_AWS = "AWS EC2 Capacity Blocks, US East (Ohio), list price of late 2024, instance of 8"
_NO_TPU_WATTS = "assumed: Google publishes none; TPU v4 drew 170 W on average (Jouppi et al. 2023), host's share added"
_GOOGLE_PUE = "Google's fleet, Environmental Report 2024"
_MLPERF = "MLPerf Training v4.0 power, BERT on 8 x H100: 6.7 kW for the whole machine"
_GPU_PUE = "assumed: a new colocation site"

# Grams of CO2 equivalent a kWh, over a year: what a grid emits on average, not what a contract says.
WORLD_GRID = 475.0
GRID_SOURCE = "world average, as CodeCarbon's default; --grid gives your region's"

CHIPS: Mapping[str, Chip] = {
    "v5e": Chip(
        name="v5e",
        kind="tpu",
        **_peaks(("TPU v5 lite", "TPU v5e")),
        vector=6.1e12,
        hbm=15.75 * GIB,
        hbm_bandwidth=819e9,
        links=4,
        link_bandwidth=50e9,
        hop=1e-6,
        network=25e9 / 8,
        chips_per_host=4,
        price=Price(1.20, _GOOGLE),
        power=Power(250, 170, 350, _NO_TPU_WATTS, 1.10, _GOOGLE_PUE),
        ring=16,
    ),
    "v5p": Chip(
        name="v5p",
        kind="tpu",
        **_peaks(("TPU v5", "TPU v5p")),
        vector=14e12,
        hbm=95.7 * GIB,
        hbm_bandwidth=2765e9,
        links=6,
        link_bandwidth=100e9,
        hop=1e-6,
        network=50e9 / 8,
        chips_per_host=4,
        price=Price(4.20, _GOOGLE),
        power=Power(500, 350, 700, _NO_TPU_WATTS, 1.10, _GOOGLE_PUE),
        ring=4,
        cubes=True,
        most_chips=18_432,  # One program over several slices: cloud.google.com/tpu/docs/v5p, multislice.
    ),
    "v6e": Chip(
        name="v6e",
        kind="tpu",
        **_peaks(("TPU v6 lite", "TPU v6e")),
        vector=7.2e12,
        hbm=31.25 * GIB,
        hbm_bandwidth=1638e9,
        links=4,
        link_bandwidth=100e9,
        hop=1e-6,
        network=100e9 / 8,
        chips_per_host=4,
        price=Price(2.70, _GOOGLE),
        power=Power(350, 250, 500, _NO_TPU_WATTS, 1.10, _GOOGLE_PUE),
        ring=16,
    ),
    "h100": Chip(
        name="h100",
        kind="gpu",
        **_peaks(("H100",)),
        vector=67e12,
        hbm=0.92 * 80e9,
        hbm_bandwidth=3350e9,
        links=18,
        link_bandwidth=25e9,
        hop=3e-6,
        network=50e9,
        chips_per_host=8,
        price=Price(4.92, _AWS),
        power=Power(840, 700, 1000, _MLPERF, 1.25, _GPU_PUE),
    ),
    "h200": Chip(
        name="h200",
        kind="gpu",
        **_peaks(("H200",)),
        vector=67e12,
        hbm=0.92 * 141e9,
        hbm_bandwidth=4800e9,
        links=18,
        link_bandwidth=25e9,
        hop=3e-6,
        network=50e9,
        chips_per_host=8,
        price=Price(5.41, _AWS),
        power=Power(840, 700, 1000, _MLPERF, 1.25, _GPU_PUE),
    ),
}

_TWO_D = ("2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
# v5p: the shapes of up to one cube, then those that Google's page names, which says that it names most of them.
SLICES: Mapping[str, tuple[str, ...]] = {
    "v5e": ("1x1", "2x2", *_TWO_D),
    "v6e": ("1x1", "2x2", *_TWO_D),
    "v5p": (
        *("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16"),
        *("16x16x16", "16x16x24"),
    ),
    "h100": ("1", "2", "4", "8"),
    "h200": ("1", "2", "4", "8"),
}


@dataclass(frozen=True)
class Topology:
    """Slices of one kind of chip.

    Attributes:
      chip: what it is made of.
      shape: chips along each side of one slice; one number for GPUs of one machine.
      slices: how many such slices (machines, for GPUs), joined by the slower network.
    """

    chip: Chip
    shape: tuple[int, ...]
    slices: int = 1

    @property
    def name(self) -> str:
        """As `--topology` takes it, for example "v5p:8x8x16"."""
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

    @property
    def slice_chips(self) -> int:
        """Chips of one slice."""
        return math.prod(self.shape)

    @property
    def chips(self) -> int:
        """Chips in all."""
        return self.slice_chips * self.slices

    @property
    def hosts(self) -> int:
        """Machines in all."""
        return max(1, self.slice_chips // self.chip.chips_per_host) * self.slices

    def rings(self, size: int) -> tuple[int, bool]:
        """How a mesh axis of `size` devices in a slice lies on it.

        Returns:
          (sides of the slice that it takes whole, or 1 where it takes a part of one; whether they close to rings).
        """
        if self.chip.kind != "tpu":
            return 1, True
        sides = [side for side in self.shape if side > 1]
        for order in sorted(set(permutations(sides)), reverse=True):
            taken, product = 0, 1
            for side in order:
                if product == size:
                    break
                product, taken = product * side, taken + 1
            if product == size and taken:
                ring = self.chip.ring
                closed = ring > 0 and all(side >= ring for side in order[:taken])
                if self.chip.cubes:
                    closed = closed and min(self.shape) >= ring
                return taken, closed
        return 1, False


def topology(text: str, slices: int = 1) -> Topology:
    """What `--topology` and `--slices` name.

    Raises:
      InputError: no such chip, a slice that is not sold (the nearest are named), or more slices than one program spans.
    """
    name, _, sides = text.partition(":")
    chip = CHIPS.get(name.lower())
    known = ", ".join(CHIPS)
    if chip is None:
        near = difflib.get_close_matches(name.lower(), CHIPS, n=1, cutoff=0.3)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise InputError(
            f"no chip {name!r}", where=f"--topology {text}", fix=f"{hint}Known: {known}.", code="E-PLAN-CHIP"
        )
    sold = SLICES[chip.name]
    try:
        shape = tuple(int(side) for side in sides.lower().split("x"))
    except ValueError:
        raise InputError(
            f"{sides!r} is no shape",
            where=f"--topology {text}",
            fix=f"Write for example {chip.name}:{sold[len(sold) // 2]}.",
            code="E-PLAN-SLICE",
        ) from None
    found = next((one for one in sold if sides_of(one) == shape), None)
    if found is None:
        raise InputError(
            f"no slice of {sides} is sold",
            where=f"--topology {text}",
            fix=f"Near it: {', '.join(_near(chip, shape))}.",
            code="E-PLAN-SLICE",
        )
    made = Topology(chip, shape, slices)
    if slices < 1:
        raise InputError(f"it is {slices}", where="--slices", fix="Take 1 or more.", code="E-PLAN-SLICES")
    most = chip.most_chips
    if most and slices > 1 and made.chips > most:
        raise InputError(
            f"{slices} x {made.slice_chips} chips are {made.chips}; one program spans at most {most:,}",
            where="--slices",
            fix=f"Take at most {most // made.slice_chips}.",
            code="E-PLAN-SLICES",
        )
    return made


def with_price(made: Topology, price_per_hour: float | None, watts: float | None, pue: float | None) -> Topology:
    """`made` with a price of a chip-hour, the watts of a chip or the PUE that the user gives."""
    chip = made.chip
    if price_per_hour is not None:
        chip = replace(chip, price=Price(price_per_hour, "given"))
    power = chip.power
    if watts is not None:
        power = replace(power, watts=watts, low=watts, high=watts, source="given")
    if pue is not None:
        power = replace(power, pue=pue, pue_source="given")
    return replace(made, chip=replace(chip, power=power))


def sides_of(text: str) -> tuple[int, ...]:
    """(8, 8, 16) of "8x8x16"."""
    return tuple(int(side) for side in text.split("x"))


def _near(chip: Chip, shape: tuple[int, ...]) -> list[str]:
    """The three sold slices nearest to `shape`: by number of chips, then by how the sides differ."""
    wanted = max(1, math.prod(shape))

    def distance(sold: str) -> tuple[float, int]:
        sides = sides_of(sold)
        unlike = sum(abs(a - b) for a, b in zip(sorted(sides), sorted(shape), strict=False))
        return abs(math.log(math.prod(sides) / wanted)), unlike

    return [f"{chip.name}:{sold}" for sold in sorted(SLICES[chip.name], key=distance)[:3]]
