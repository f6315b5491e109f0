"""The peak FLOP/s of a device and of a mesh."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from typing import Any

# Peak dense FLOP/s of one jax device in (bfloat16, float32), by whole words in its `device_kind`. The first match
# counts, so longer names come first. On TPU a float32 product runs as bfloat16 passes (one at jax's default precision);
# on GPU it runs in TF32 at that precision. Sparsity is never counted.
# TPU: cloud.google.com/tpu/docs/v3, v4, v5e, v5p, v6e ("Peak compute per chip"); on v2 and v3 a chip is two devices, so
# theirs are halved. NVIDIA: the data sheets of A100, L4, L40S, H100 (SXM, PCIe, NVL), H200, GH200, GB200 and B200,
# halved where they give figures "with sparsity" only.
_PEAKS: tuple[tuple[str, float, float], ...] = (
    ("TPU v2", 22.5e12, 22.5e12),
    ("TPU v3", 61.5e12, 61.5e12),
    ("TPU v4", 275e12, 275e12),
    ("TPU v5 lite", 197e12, 197e12),
    ("TPU v5e", 197e12, 197e12),
    ("TPU v5", 459e12, 459e12),
    ("TPU v5p", 459e12, 459e12),
    ("TPU v6 lite", 918e12, 918e12),
    ("TPU v6e", 918e12, 918e12),
    ("A100", 312e12, 156e12),
    ("L40S", 362e12, 183e12),
    ("L4", 121e12, 60e12),
    ("H100 PCIe", 756e12, 378e12),
    ("H100 NVL", 835e12, 417.5e12),
    ("H100", 989.4e12, 494.7e12),
    ("H200 NVL", 835e12, 417.5e12),
    ("H200", 989.4e12, 494.7e12),
    ("GH200", 989.4e12, 494.7e12),
    ("GB200", 2500e12, 1250e12),
    ("B200", 2250e12, 1125e12),
)


def peak_flops(device_kind: str, dtype: str) -> float | None:
    """Returns the published peak FLOP/s of one device of this kind; None if the table has no figure.

    Args:
      device_kind: `jax.Device.device_kind`, for example "TPU v5 lite" or "NVIDIA H100 80GB HBM3".
      dtype: dtype of the matrix products: "bfloat16" or "float32".
    """
    for part, bfloat16, float32 in _PEAKS:
        if re.search(rf"\b{part}\b", device_kind):
            return bfloat16 if dtype == "bfloat16" else float32
    return None


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
