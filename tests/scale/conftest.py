"""Eight fake devices in this process: set before anything imports jax."""

from __future__ import annotations

import os

os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {os.environ.get('XLA_FLAGS', '')}"
