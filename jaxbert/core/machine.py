"""Properties of the machine. Imports no jax."""

from __future__ import annotations

import os
import sys

# XLA reads this flag once, when jax makes its first backend.
DETERMINISTIC_OPS = "--xla_gpu_deterministic_ops"


def cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Returns the bytes of memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def backend() -> str | None:
    """Returns the platform of the backend that jax has made; None where it has made none yet."""
    if "jax" not in sys.modules:
        return None
    from jax._src import xla_bridge  # jax has no public name for this question.

    if not xla_bridge.backends_are_initialized():
        return None
    import jax

    return jax.default_backend()
