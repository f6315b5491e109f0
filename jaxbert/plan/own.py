"""A chip that the table does not have: `--chip FILE`, a small JSON file with its figures. Imports no jax."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from jaxbert.core.chips import CHIPS, GIB, GPU_POOL_FRACTION, Chip, Power, Price, gpu_power
from jaxbert.core.shell import path_word
from jaxbert.errors import InputError
from jaxbert.inputs.values import Matching, Maybe, OneOf, Whole, read_json

_FIX = "docs/how-to/plan.md has an example."
# Key -> (the lowest and the highest value, the value where the key is missing). None: the file must have it, or other
# keys give it. A link is PCIe 4.0 x16 and a network has 25 Gbit/s, because these are what machines have at least.
_NUMBERS: dict[str, tuple[float, float, float | None]] = {
    "tflops": (1e-3, 1e6, None),
    "float32_tflops": (1e-3, 1e6, None),
    "vector_tflops": (1e-4, 1e6, None),
    "memory_gib": (0.1, 1e5, None),
    "memory_gb_per_s": (0.1, 1e6, None),
    "link_gb_per_s": (1e-3, 1e5, 32.0),
    "network_gbit_per_s": (1e-3, 1e5, 25.0),
    "price": (0.0, 1e9, None),
    "watts": (0.0, 1e6, 400.0),
}
_NEEDED = ("tflops", "memory_gib", "memory_gb_per_s")
_SHAPE = {
    "name": Matching(r"[a-z][a-z0-9-]{0,30}", "a name of small letters, digits and hyphens"),
    "kind": Maybe(OneOf(("gpu", "tpu"))),
    "bfloat16": Maybe(bool),
    "chips_per_host": Maybe(Whole(1, 1024)),
    "currency": Maybe(str),
    **{key: float if key in _NEEDED else Maybe(float) for key in _NUMBERS},
}


def own_chip(path: str) -> Chip:
    """Returns the chip of a file.

    The file must say `name`, `tflops` (the peak of products of 16 bits), `memory_gib` (all of the card) and
    `memory_gb_per_s`. It may say `kind`, `float32_tflops` (default: half of `tflops`), `vector_tflops` (the peak of
    float32 outside matrix units; default: a sixteenth, as on A100 and H100), `bfloat16` (false for a GPU that has
    float16 only; then the file must say `float32_tflops`, because such a GPU computes in float32), `link_gb_per_s` (of
    one chip, one way), `network_gbit_per_s` (of one chip), `chips_per_host`,
    `price` and `currency` (of a chip-hour) and `watts` (of the data sheet).

    Args:
      path: the file.

    Raises:
      InputError: the file is missing or is not JSON, a key is unknown or missing, or a value is not in its bounds. The
        message names the key.
    """
    place = Path(path)
    try:
        found = read_json(place, "the chip cannot be used", fix=_FIX, code="E-PLAN-CHIP-FILE", shape=_SHAPE)
    except FileNotFoundError:
        raise _wrong(
            "the file does not exist", path, "Give the path of a JSON file with the figures of a chip."
        ) from None
    given = {key: value for key, value in found.items() if value is not None}
    for key in given:
        if key not in _SHAPE:
            near = difflib.get_close_matches(key, _SHAPE, n=1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise _wrong(f"the key {key[:60]!r} is not known", path, f"{hint}Known: {', '.join(_SHAPE)}.")
    if given["name"] in (*CHIPS, "cpu"):
        raise _wrong(
            f"{given['name']} is the name of a chip whose figures are known",
            path,
            f"Choose another name, for example my-{given['name']}. Without --chip, --topology takes {given['name']}.",
        )
    numbers = {key: float(given.get(key, default) or 0.0) for key, (_, _, default) in _NUMBERS.items()}
    for key, (least, most, _) in _NUMBERS.items():
        if key in given and not least <= numbers[key] <= most:
            raise _wrong(f"{key} is {given[key]}", path, f"Give a number from {least:g} to {most:,.0f}.")
    if given.get("bfloat16") is False and "float32_tflops" not in given:
        raise _wrong(
            "bfloat16 is false and float32_tflops is missing: matrix products run in float32 there, at a peak that "
            "does not follow from tflops",
            path,
            "Add float32_tflops, the peak of float32 on the data sheet.",
        )
    return _chip(given, numbers)


def _wrong(what: str, path: str, fix: str) -> InputError:
    return InputError(what, where=f"--chip {path_word(path)}", fix=fix, code="E-PLAN-CHIP-FILE")


def _chip(given: dict[str, Any], numbers: dict[str, float]) -> Chip:
    """Returns the chip of checked values. `numbers` has 0 for a number that is missing and has no default."""
    kind = given.get("kind", "gpu")
    flops = numbers["tflops"] * 1e12
    power = gpu_power(numbers["watts"])
    if "watts" not in given:
        power = Power(
            power.watts, 0.25 * power.watts, 3 * power.watts, "assumed: --chip says no watts", 1.25, "assumed"
        )
    price = Price(numbers["price"], "given by --chip", currency=given.get("currency", "USD"))
    return Chip(
        name=given["name"],
        kind=kind,
        flops=flops,
        float32_flops=numbers["float32_tflops"] * 1e12 or flops / 2,
        vector=numbers["vector_tflops"] * 1e12 or flops / 16,
        hbm=numbers["memory_gib"] * GIB * (GPU_POOL_FRACTION if kind == "gpu" else 1.0),
        hbm_bandwidth=numbers["memory_gb_per_s"] * 1e9,
        links=1,
        link_bandwidth=numbers["link_gb_per_s"] * 1e9,
        hop=3e-6,
        network=numbers["network_gbit_per_s"] * 1e9 / 8,
        chips_per_host=given.get("chips_per_host", 8),
        power=power,
        prices=(price,) if "price" in given else (),
        bfloat16=given.get("bfloat16", True),
        own=True,
    )
