"""Slices of chips: their shapes, hosts and rings, and what `--topology` may say. Imports no jax.

The table of the chips and of the slices that are sold is in `jaxbert.core.chips`.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, replace
from itertools import permutations

from jaxbert.core.chips import CHIPS, SLICES, Chip, Price
from jaxbert.core.chips import GPU_POOL_FRACTION as GPU_POOL_FRACTION
from jaxbert.errors import InputError
from jaxbert.inputs.values import whole_number
from jaxbert.plan.typed import is_foreign, meaning


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
    def slice_devices(self) -> int:
        """Returns the number of jax's devices in one slice."""
        return self.slice_chips * self.chip.devices

    @property
    def devices(self) -> int:
        """Returns the number of jax's devices in all slices. A mesh is made of them."""
        return self.slice_devices * self.slices

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
        # Devices of one chip are neighbours. No figure of their link is published, so it counts as one of the slice.
        if size % self.chip.devices == 0:
            size //= self.chip.devices
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


def topology(text: str, slices: int = 1, own: Chip | None = None) -> Topology:
    """Returns the topology that `--topology` and `--slices` name.

    It takes CHIP:SLICE of the table, and other names that have exactly one meaning, for example "v5e-16" and "8xH100".

    Args:
      text: the name.
      slices: the number of slices.
      own: a chip of the user, known by its name. Any number of chips up to a machine is a slice of it.

    Raises:
      InputError: there is no such chip, the slice is not sold (the error names the nearest), the name has several
        meanings (the error names them), or one program cannot span so many slices.
    """
    made = _named(text, own)
    if not 1 <= slices <= _MOST_SLICES:
        raise InputError(
            f"the number of slices is {slices}",
            where="--slices",
            fix=f"Give 1 to {_MOST_SLICES:,}.",
            code="E-PLAN-SLICES",
        )
    made = replace(made, slices=slices)
    most = made.chip.most_chips
    if most and slices > 1 and made.chips > most:
        raise InputError(
            f"{slices} x {made.slice_chips} chips are {made.chips}; one program spans at most {most:,}",
            where="--slices",
            fix=f"Take at most {most // made.slice_chips}.",
            code="E-PLAN-SLICES",
        )
    return made


def _named(text: str, own: Chip | None) -> Topology:
    """Returns one slice of the topology that `text` names."""
    if own is not None:
        # As for the chips of the table, a number may come first: 4xA6000.
        text = re.sub(rf"(\d{{1,6}})[-\s]*[x*]?[-\s]*({re.escape(own.name)})", r"\2:\1", text.strip().lower())
    name, _, sides = text.partition(":")
    if own is not None and name == own.name:
        return Topology(own, (_own_count(text, sides, own),))
    chip = CHIPS.get(name.lower())
    shape = _shape(sides)
    if chip is not None and shape is not None and len(shape) == len(sides_of(SLICES[chip.name][0])):
        if any(sides_of(one) == shape for one in SLICES[chip.name]):
            return Topology(chip, shape)
        raise InputError(
            f"no slice of {sides} is sold",
            where=f"--topology {text}",
            fix=_sold(chip, shape),
            code="E-PLAN-SLICE",
        )
    meant = meaning(text)
    if len(meant.topologies) == 1:
        return _named(meant.topologies[0], None)
    if len(meant.topologies) > 1:
        raise InputError(
            f"{text} may mean {' or '.join(meant.topologies)}",
            where=f"--topology {text}",
            fix="Write the one that you mean.",
            code="E-PLAN-AMBIGUOUS",
        )
    if not meant.chips:
        raise _unknown(name, text, own)
    if len(meant.chips) > 1:
        raise InputError(
            f"there are several chips of the name {name}",
            where=f"--topology {text}",
            fix=f"Write {' or '.join(_example(CHIPS[one], meant.count) for one in meant.chips)}.",
            code="E-PLAN-AMBIGUOUS",
        )
    chip = CHIPS[meant.chips[0]]
    if not sides and meant.count is None and len(SLICES[chip.name]) == 1:
        return Topology(chip, sides_of(SLICES[chip.name][0]))
    if meant.count is not None or shape is not None:
        count = (meant.count,) if meant.count is not None else shape
        assert count is not None
        raise InputError(
            f"no slice of {sides if meant.count is None else f'{meant.count} chips'} is sold",
            where=f"--topology {text}",
            fix=_sold(chip, count),
            code="E-PLAN-SLICE",
        )
    raise InputError(
        f"{sides!r} is not a shape of a slice" if sides else f"the slice is missing after {name}",
        where=f"--topology {text}",
        fix=f"Write, for example, {_example(chip)}.",
        code="E-PLAN-SLICE",
    )


def _unknown(name: str, text: str, own: Chip | None) -> InputError:
    """Returns the error of a name that means no chip."""
    names = [*CHIPS, *([own.name] if own is not None else [])]
    if name.lower().partition("-")[0] == "cpu":
        return InputError(
            "the CPU is one device, and only `jaxbert plan --topology cpu` knows it",
            where=f"--topology {text}",
            fix="Write cpu for `jaxbert plan`. For `jaxbert launch` without GPUs, leave --topology out.",
            code="E-PLAN-CPU",
        )
    if is_foreign(text):
        return InputError(
            "jaxbert does not run on this accelerator: it needs an NVIDIA or AMD GPU, a Google TPU or a CPU",
            where=f"--topology {text}",
            fix=f"Choose one of {', '.join(names)}.",
            code="E-PLAN-CHIP",
        )
    # A typing error is near to one name. Names such as A10G and T4 are those of other chips.
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.8)
    hint = f"Did you mean {near[0]}? " if near else ""
    return InputError(
        f"there is no chip {name!r}",
        where=f"--topology {text}",
        fix=f"{hint}Known: {', '.join(names)}, and any other with --chip FILE.",
        code="E-PLAN-CHIP",
    )


def _own_count(text: str, sides: str, chip: Chip) -> int:
    """Returns the number of chips of a slice of the user's own chip."""
    count = whole_number(sides) if sides else 1
    if count is None or not 1 <= count <= chip.chips_per_host:
        raise InputError(
            f"a slice of {chip.name} has 1 to {chip.chips_per_host} chips, one machine's",
            where=f"--topology {text}",
            fix=f"Write, for example, {chip.name}:{chip.chips_per_host}, and --slices N for several machines.",
            code="E-PLAN-SLICE",
        )
    return count


def _shape(sides: str) -> tuple[int, ...] | None:
    """Returns (8, 8, 16) for "8x8x16"; None for what is not a shape."""
    numbers = [whole_number(side) for side in sides.lower().split("x")]
    return None if None in numbers else tuple(number for number in numbers if number is not None)


def _example(chip: Chip, count: int | None = None) -> str:
    """Returns a name that `--topology` takes: a slice of `count` chips if one is sold."""
    sold = SLICES[chip.name]
    fitting = [one for one in sold if math.prod(sides_of(one)) == count]
    return f"{chip.name}:{fitting[0] if fitting else sold[len(sold) // 2]}"


def with_price(
    made: Topology,
    price_per_hour: float | None,
    watts: float | None,
    pue: float | None,
    provider: str | None = None,
) -> Topology:
    """Returns `made` with the price of a chip-hour, the watts of a chip or the PUE that the user gives.

    Args:
      made: the topology.
      price_per_hour: the price of a chip-hour; None for those of the table.
      watts: the watts of a chip; None for those of the table.
      pue: the PUE of the data centre; None for that of the table.
      provider: keep the on-demand price of this provider only, a name of `PROVIDERS`, and no price for any other name;
        None to keep all.
    """
    chip = made.chip
    if provider is not None:
        kept = (price for price in chip.prices if price.provider in (provider, "") and price.on_demand)
        chip = replace(chip, prices=tuple(kept))
    if price_per_hour is not None:
        chip = replace(chip, prices=(Price(price_per_hour, "given"),))
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


def _sold(chip: Chip, shape: tuple[int, ...]) -> str:
    """Returns the advice for a slice that is not sold: several machines of GPUs, or the nearest slices."""
    count, most = math.prod(shape), max(math.prod(sides_of(one)) for one in SLICES[chip.name])
    if chip.kind == "gpu" and count > most and count % most == 0:
        return f"A slice has at most {most} chips. Write --topology {chip.name}:{most} --slices {count // most}."
    return f"The nearest slices are {', '.join(_near(chip, shape))}."


def _near(chip: Chip, shape: tuple[int, ...]) -> list[str]:
    """Returns the three sold slices nearest to `shape`, by number of chips and then by the difference of the sides."""
    wanted = max(1, math.prod(shape))

    def distance(sold: str) -> tuple[float, int]:
        sides = sides_of(sold)
        unlike = sum(abs(a - b) for a, b in zip(sorted(sides), sorted(shape), strict=False))
        # The logarithm of each: a typed number may be larger than any float.
        return abs(math.log(math.prod(sides)) - math.log(wanted)), unlike

    return [f"{chip.name}:{sold}" for sold in sorted(SLICES[chip.name], key=distance)[:3]]
