"""Chips and slices as people type them: "v5e-16", "8xA100", "H100:8", "4090", "p5.48xlarge". Imports no jax.

Google names a slice of v5e and v6e by its chips and a slice of v3, v4, v5p and TPU7x by its cores, of which a chip has
two: "v5litepod-16" has 16 chips, "v4-16" has eight. The source is docs.cloud.google.com/tpu/docs/v5e, v6e, v4 and v5p.
We compared this with copies and quotations of these pages, of which we do not know the dates.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from jaxbert.core.chips import CHIPS, SLICES

# Names without makers, forms and memory -> the chips that they may mean.
_ALIASES: Mapping[str, tuple[str, ...]] = {
    **{name: (name,) for name in ("v3", "v4", "v5e", "v5p", "v6e", "l4", "l40s", "h200", "gh200", "b200", "gb200")},
    **{name: ("v5e",) for name in ("v5litepod", "v5lite", "v5-lite", "v5-litepod", "v5-lite-podslice")},
    "v5": ("v5e", "v5p"),
    **{name: ("v6e",) for name in ("v6", "v6-lite", "v6lite", "trillium")},
    **{name: ("tpu7x",) for name in ("tpu7", "tpu-7x", "v7", "v7x", "ironwood")},
    "v100": ("v100-16gb", "v100-32gb"),
    "a100": ("a100-40gb", "a100-80gb"),
    **{name: ("rtx4090",) for name in ("4090", "rtx4090", "rtx-4090")},
    # GKE's label of machines with a faster network is nvidia-h100-mega-80gb.
    **{name: ("h100",) for name in ("h100", "h100-mega")},
    "h100-pcie": ("h100-pcie",),
    "h100-nvl": ("h100-nvl",),
    "h200-nvl": ("h200-nvl",),
    "gb200-nvl72": ("gb200",),
    **{name: ("mi300x",) for name in ("mi300x", "mi300")},
}
# Machine types of AWS, Azure and Google Cloud -> (the chip, the number of chips; 0 where the name says it, -1 where
# slices have several machines). Names and chips are those of aws.amazon.com/ec2/instance-types,
# learn.microsoft.com/azure/virtual-machines/sizes, cloud.google.com/compute/docs/gpus and cloud.google.com/tpu/docs.
_MACHINES: Mapping[str, tuple[str, int]] = {
    r"p3\.16xlarge": ("v100-16gb", 8),
    r"p3dn\.24xlarge": ("v100-32gb", 8),
    r"p4d\.24xlarge": ("a100-40gb", 8),
    r"p4de\.24xlarge": ("a100-80gb", 8),
    r"p5\.48xlarge": ("h100", 8),
    r"p5en?\.48xlarge": ("h200", 8),
    r"p6-b200\.48xlarge": ("b200", 8),
    r"a2-(?:highgpu|megagpu)-(\d+)g": ("a100-40gb", 0),
    r"a2-ultragpu-(\d+)g": ("a100-80gb", 0),
    r"a3-(?:highgpu|megagpu|edgegpu)-(\d+)g": ("h100", 0),
    r"a3-ultragpu-(\d+)g": ("h200", 0),
    r"a4-highgpu-(\d+)g": ("b200", 0),
    r"a4x-highgpu-(\d+)g": ("gb200", 0),
    r"standard-nd96asr-v4": ("a100-40gb", 8),
    r"standard-nd96amsr-a100-v4": ("a100-80gb", 8),
    r"standard-nd96isr-h100-v5": ("h100", 8),
    r"standard-nd96isr-h200-v5": ("h200", 8),
    r"ct5lp-hightpu-\dt": ("v5e", -1),
    r"ct5p-hightpu-\dt": ("v5p", -1),
    r"ct6e-standard-\dt": ("v6e", -1),
    r"tpu7x-standard-\dt": ("tpu7x", -1),
}
# Chips for which jax has no plugin that this project knows.
_FOREIGN = re.compile(r"(?:trn|inf)\d.*|trainium.*|inferentia.*|gaudi.*|.*habana.*|.*ascend.*")
# Words that say nothing about which chip it is.
_NOISE = re.compile(r"nvidia|tesla|geforce|amd|instinct|google|cloud|gpus?|tpu|sxm\d?|hbm\d?e?|slice|podslice|pod")
# Gigabytes in the names of chips that are sold with one memory.
_GIGABYTES = {"l4": 24, "l40s": 48, "rtx4090": 24, "h100": 80, "h100-pcie": 80, "h100-nvl": 94, "h200": 141}
_GIGABYTES |= {"h200-nvl": 141, "gh200": 96, "b200": 180, "gb200": 186, "mi300x": 192}
# Chips whose slices Google names by cores, and the cores of a chip.
_CORES = {"v3": 2, "v4": 2, "v5p": 2, "tpu7x": 2}


@dataclass(frozen=True)
class Meaning:
    """The chips and topologies that a typed name may mean.

    Attributes:
      chips: names of the chips that it may mean; empty if it means none.
      topologies: names that `--topology` takes. Where there is exactly one, the typed name means it.
      count: the number of chips that was typed; None if there was none.
    """

    chips: tuple[str, ...]
    topologies: tuple[str, ...]
    count: int | None


def meaning(text: str) -> Meaning:
    """Returns what a name that is not in the form CHIP:SLICE of the table may mean."""
    text = re.sub(r"[\s_/]+", "-", text.strip().lower())
    for pattern, (chip, number) in _MACHINES.items():
        if found := re.fullmatch(pattern, text):
            return Meaning((chip,), (), None) if number < 0 else _counted((chip,), number or int(found[1]))
    found = re.fullmatch(r"(\d{1,6})(?:-?[x*]-?|-)(.+?)(?::(\d{1,6}))?", text)
    if found and (chips := _chips(found[2])):
        return _counted(chips, int(found[1]) * int(found[3] or 1))
    head, colon, tail = text.partition(":")
    if colon:
        chips = _chips(head)
        if re.fullmatch(r"\d{1,6}", tail):
            one = _counted(chips, int(tail))
            if not _CORES.keys() & set(chips):
                return one
            # The number may be of chips, or of cores for somebody who knows Google's names: never guess.
            cores = [name for chip in chips for name in _counted((chip,), int(tail) // _CORES.get(chip, 1)).topologies]
            names = tuple(dict.fromkeys((*one.topologies, *cores)))
            return Meaning(chips, names if len(names) > 1 else (), int(tail))
        return Meaning(chips, tuple(f"{chip}:{tail}" for chip in chips if tail in SLICES[chip]), None)
    if chips := _chips(text):
        return Meaning(chips, (), None)
    if (found := re.fullmatch(r"(.+?)-?(\d{1,4}(?:x\d{1,4}){1,2})", text)) and (chips := _chips(found[1])):
        sold = tuple(f"{chip}:{found[2]}" for chip in chips if found[2] in SLICES[chip])
        return Meaning(chips, sold or (f"{chips[0]}:{found[2]}",), None)
    if found := re.fullmatch(r"(.+?)-?[-x*]-?(\d{1,6})", text):
        chips, number = _chips(found[1]), int(found[2])
        each = [_counted((chip,), number // _CORES.get(chip, 1)) for chip in chips if not number % _CORES.get(chip, 1)]
        of_chip = _CORES.get(chips[0], 1) if len(chips) == 1 else 1
        return Meaning(chips, tuple(name for one in each for name in one.topologies), number // of_chip)
    return Meaning((), (), None)


def is_foreign(text: str) -> bool:
    """Returns whether a name is that of a chip on which jaxbert does not run."""
    return _FOREIGN.fullmatch(text.strip().lower()) is not None


def _counted(chips: tuple[str, ...], count: int) -> Meaning:
    names = [f"{chip}:{shape}" for chip in chips for shape in SLICES[chip] if math.prod(_sides(shape)) == count]
    return Meaning(chips, tuple(names), count)


def _sides(shape: str) -> list[int]:
    return [int(side) for side in shape.split("x")]


def _chips(text: str) -> tuple[str, ...]:
    """Returns the chips that a name without a number of chips may mean."""
    if text in CHIPS:
        return (text,)
    if text in _ALIASES:
        return _ALIASES[text]
    text = re.sub(r"^tpu-?(?=v\d)", "", text)
    if text in CHIPS:
        return (text,)
    words = [word for word in text.split("-") if word and not _NOISE.fullmatch(word)]
    memory = None
    if len(words) > 1 and (found := re.fullmatch(r"(\d{2,3})(?:gb?)?", words[-1])):
        memory, words = int(found[1]), words[:-1]
    elif len(words) > 1 and (found := re.fullmatch(r"(\d{2,3})gb?", words[1])):
        memory, words = int(found[1]), [words[0], *words[2:]]
    if words and words[0] == "a100":
        # Those of PCIe have the same chip.
        words = [word for word in words if word != "pcie"]
    chips = _ALIASES.get("-".join(words), ())
    return chips if memory is None else tuple(chip for chip in chips if _gigabytes(chip) == memory)


def _gigabytes(chip: str) -> int | None:
    found = re.search(r"-(\d+)gb$", chip)
    return int(found[1]) if found else _GIGABYTES.get(chip)
