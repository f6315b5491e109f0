"""The peak FLOP/s of a mesh. The published peaks are in the table of chips, `jaxbert.core.chips`."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from jaxbert.core.chips import peak_flops


@dataclass(frozen=True)
class Peak:
    """The peak FLOP/s of the whole mesh, and the source of the figure ("published" or "measured matmul")."""

    flops: float
    source: str


def mesh_peak(devices: list[Any], dtype: str) -> Peak | None:
    """Returns the peak of a mesh: the published figure, a measured one on CPU, or else None.

    Fake CPU devices share the machine's cores, so the CPU is measured once per process and not once per device.

    Args:
      devices: jax devices of the mesh.
      dtype: dtype of the matrix products: "bfloat16" or "float32".
    """
    if devices[0].platform == "cpu":
        processes = len({device.process_index for device in devices})
        return Peak(measured_matmul(dtype) * processes, "measured matmul")
    one = peak_flops(devices[0].device_kind, dtype)
    return None if one is None else Peak(one * len(devices), "published")


def measured_matmul(dtype: str = "float32", size: int = 1024, seconds: float = 0.3) -> float:
    """Measures the FLOP/s of square matrix products on this process's first device for `seconds`; returns the best."""
    import jax
    import jax.numpy as jnp

    device = jax.local_devices()[0]
    one = jax.device_put(jnp.ones((size, size), dtype), device)
    multiply = jax.jit(lambda x, y: x @ y)
    multiply(one, one).block_until_ready()
    best, end = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        multiply(one, one).block_until_ready()
        best = min(best, time.perf_counter() - began)
    return 2.0 * size**3 / best
