"""The CPU as eight devices."""

from __future__ import annotations

import os

from jaxbert.core.machine import THREADS, threads_of_devices

DEVICES = 8


def environment() -> dict[str, str]:
    """Returns the variables for a process with eight devices; they count before jax finds its devices."""
    flags = f"--xla_force_host_platform_device_count={DEVICES} {os.environ.get('XLA_FLAGS', '')}"
    return {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, THREADS: str(threads_of_devices(DEVICES))}
