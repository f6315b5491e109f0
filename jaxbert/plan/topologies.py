"""A table of accelerators: the figures of each chip, the slices that are sold, prices and watts. Imports no jax.

libtpu compiles for shapes that nobody sells, so this file has a table of the slices that are sold. Every figure has its
source beside it. The sources of peaks are in `jaxbert.observe.peaks`, and `plan` prints the peaks that it used. Check
prices and watts before you spend money: options of `jaxbert plan` replace both.

Sources:
  TPU: cloud.google.com/tpu/docs/v5e, v5p, v6e (HBM, interconnect, slices, chips a host), read in November 2026.
    HBM is the memory that libtpu gives a program (its compiler refuses more); the package has more. A link has its
    share of the published bidirectional bandwidth of a chip, half of it each way. Vector operations: lanes x arithmetic
    units x clock, derived from the published peak and jax-ml.github.io/scaling-book; nobody publishes the figure.
  GPU: NVIDIA's data sheets of H100 SXM and H200 SXM (HBM, NVLink); 400 Gbit/s of network per GPU
    as in NVIDIA's HGX reference design. A program can use `GPU_POOL_FRACTION` of the published HBM.
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

# The share of a GPU's memory that a run takes for its arrays: the value of XLA_CLIENT_MEM_FRACTION. jax itself takes
# 0.75 (docs.jax.dev/en/latest/201/gpu-memory.html, read in November 2026). The rest is for what lives outside jax's
# pool: the CUDA context, the code of kernels, NCCL's buffers and cuDNN's workspaces. They need 1 to 2 GB, and 8% of a
# card of 24 GB is 1.9 GB. jax refuses to start where XLA_PYTHON_CLIENT_MEM_FRACTION, the old name, is set too.
GPU_POOL_FRACTION = 0.92


@dataclass(frozen=True)
class Price:
    """The price of an hour of one chip, its host included.

    Attributes:
      per_hour: price in `currency`.
      source: the seller, the product and the date of the price.
    """

    per_hour: float
    source: str
    currency: str = "USD"


@dataclass(frozen=True)
class Power:
    """The power of a chip with its share of the host, in watts.

    Attributes:
      watts: the figure that estimates use.
      low, high: bounds of the true figure.
      source: source of the figure; "assumed" if nobody publishes one.
      pue: power usage effectiveness of the data centre: all its power divided by the power of its machines.
      pue_source: source of `pue`.
    """

    watts: float
    low: float
    high: float
    source: str
    pue: float
    pue_source: str


@dataclass(frozen=True)
class Chip:
    """The figures of one accelerator that a roofline needs.

    Attributes:
      name: name in `--topology`.
      kind: "tpu", "gpu" or "cpu".
      device_kinds: words that jax's name of the device has in it; `jaxbert.observe.peaks` has the peaks of the first.
      flops: peak of bfloat16 matrix products, FLOP/s.
      vector: peak of all other operations, operations/s.
      hbm: bytes of HBM that a program can use.
      hbm_bandwidth: bandwidth of HBM, bytes/s.
      links: number of links to neighbours in the fast network (ICI, NVLink).
      link_bandwidth: bytes/s of a link, one way.
      hop: latency of a message over a link, seconds.
      network: bytes/s between slices or machines (DCN, InfiniBand), one way.
      chips_per_host: chips in a machine of a slice. For TPUs the figure is from libtpu's descriptions.
      large_host: chips of the larger machine that holds a slice of just so many chips; 0: there is no such machine.
      price, power: its price and its power.
      float32: peak of float32 matrix products relative to `flops`.
      gather: bytes/s of table look-ups and their scattered gradients; 0: as fast as other memory.
      ring: number of chips at which a side closes to a ring; 0: the chip has no torus.
      cubes: whether a slice of one cube or more is a torus, in which every side is a ring.
      most_chips: the most chips of one program over several slices; 0: no limit is known.
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
    large_host: int = 0
    device_kinds: tuple[str, ...] = ()


def _peaks(device_kinds: tuple[str, ...]) -> dict[str, Any]:
    """Returns the fields of a chip that the table of peaks decides."""
    bfloat16, float32 = (peak_flops(device_kinds[0], dtype) for dtype in ("bfloat16", "float32"))
    assert bfloat16 is not None and float32 is not None, device_kinds
    return {"device_kinds": device_kinds, "flops": bfloat16, "float32": float32 / bfloat16}


_GOOGLE = "Google Cloud, on demand, US regions, list price as last seen 2025"
_AWS = "AWS EC2 Capacity Blocks, US East (Ohio), list price of late 2024, instance of 8"
_NO_TPU_WATTS = "assumed: Google publishes none; TPU v4 drew 170 W on average (Jouppi et al. 2023), host's share added"
_GOOGLE_PUE = "Google's fleet, Environmental Report 2024"
_MLPERF = "MLPerf Training v4.0 power, BERT on 8 x H100: 6.7 kW for the whole machine"
_GPU_PUE = "assumed: a new colocation site"

# Grams of CO2 equivalent per kWh: a grid's average over a year, whatever a contract says.
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
        large_host=8,  # 2x4 is one host in the tables of cloud.google.com/tpu/docs/v5e and v6e, November 2026.
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
        large_host=8,
        price=Price(2.70, _GOOGLE),
        power=Power(350, 250, 500, _NO_TPU_WATTS, 1.10, _GOOGLE_PUE),
        ring=16,
    ),
    "h100": Chip(
        name="h100",
        kind="gpu",
        **_peaks(("H100",)),
        vector=67e12,
        hbm=GPU_POOL_FRACTION * 80e9,
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
        hbm=GPU_POOL_FRACTION * 141e9,
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
# v5p: all shapes of up to one cube, then the shapes on Google's page. The page says that it names most of them.
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
      chip: the chip.
      shape: number of chips along each side of one slice; one number for the GPUs of one machine.
      slices: number of such slices (for GPUs: machines), joined by the slower network.
    """

    chip: Chip
    shape: tuple[int, ...]
    slices: int = 1

    @property
    def name(self) -> str:
        """Returns the name that `--topology` takes, for example "v5p:8x8x16"."""
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

    @property
    def slice_chips(self) -> int:
        """Returns the number of chips in one slice."""
        return math.prod(self.shape)

    @property
    def chips(self) -> int:
        """Returns the number of chips in all slices."""
        return self.slice_chips * self.slices

    @property
    def hosts(self) -> int:
        """Returns the number of machines in all slices."""
        if self.slice_chips == self.chip.large_host:
            return self.slices
        return max(1, self.slice_chips // self.chip.chips_per_host) * self.slices

    def rings(self, size: int) -> tuple[int, bool]:
        """Returns the place of a mesh axis of `size` devices in a slice.

        Returns:
          (number of whole sides of the slice that it takes, or 1 if it takes a part of a side; whether they are rings).
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
    """Returns the topology that `--topology` and `--slices` name.

    Raises:
      InputError: there is no such chip, the slice is not sold (the error names the nearest), or one program cannot span
      so
        many slices.
    """
    name, _, sides = text.partition(":")
    chip = CHIPS.get(name.lower())
    known = ", ".join(CHIPS)
    if chip is None:
        near = difflib.get_close_matches(name.lower(), CHIPS, n=1, cutoff=0.3)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise InputError(
            f"there is no chip {name!r}", where=f"--topology {text}", fix=f"{hint}Known: {known}.", code="E-PLAN-CHIP"
        )
    sold = SLICES[chip.name]
    try:
        shape = tuple(int(side) for side in sides.lower().split("x"))
    except ValueError:
        raise InputError(
            f"{sides!r} is not a shape of a slice" if sides else f"the slice is missing after {name}",
            where=f"--topology {text}",
            fix=f"Write, for example, {chip.name}:{sold[len(sold) // 2]}.",
            code="E-PLAN-SLICE",
        ) from None
    found = next((one for one in sold if sides_of(one) == shape), None)
    if found is None:
        raise InputError(
            f"no slice of {sides} is sold",
            where=f"--topology {text}",
            fix=f"The nearest slices are {', '.join(_near(chip, shape))}.",
            code="E-PLAN-SLICE",
        )
    made = Topology(chip, shape, slices)
    if not 1 <= slices <= _MOST_SLICES:
        raise InputError(
            f"the number of slices is {slices}",
            where="--slices",
            fix=f"Give 1 to {_MOST_SLICES:,}.",
            code="E-PLAN-SLICES",
        )
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
    """Returns `made` with the price of a chip-hour, the watts of a chip or the PUE that the user gives."""
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
    """Returns (8, 8, 16) for "8x8x16"."""
    return tuple(int(side) for side in text.split("x"))


# More than any program has spanned. The search of a layout takes time with the number of devices.
_MOST_SLICES = 4096


def _near(chip: Chip, shape: tuple[int, ...]) -> list[str]:
    """Returns the three sold slices nearest to `shape`, by number of chips and then by the difference of the sides."""
    wanted = max(1, math.prod(shape))

    def distance(sold: str) -> tuple[float, int]:
        sides = sides_of(sold)
        unlike = sum(abs(a - b) for a, b in zip(sorted(sides), sorted(shape), strict=False))
        # The logarithm of each: a typed number may be larger than any float.
        return abs(math.log(math.prod(sides)) - math.log(wanted)), unlike

    return [f"{chip.name}:{sold}" for sold in sorted(SLICES[chip.name], key=distance)[:3]]
