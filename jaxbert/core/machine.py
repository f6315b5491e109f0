"""Properties of the machine. Imports no jax."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

# XLA reads this flag once, when jax makes its first backend.
DETERMINISTIC_OPS = "--xla_gpu_deterministic_ops"
# The number of threads in the pools of XLA's clients of CPUs and GPUs. XLA reads it once, when jax makes its first
# backend. Without it, XLA reads NPROC, which other programs use too, and without that it takes a thread a core
# (`DefaultThreadPoolSize` of github.com/openxla/xla, xla/pjrt/utils.cc).
THREADS = "PJRT_NPROC"


def cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Returns the bytes of memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def boot() -> str:
    """Returns an identifier that changes whenever this machine is started; "" where the system has none."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def process_space() -> str:
    """Returns the name of the space in which process numbers count: a container has its own. "" without such spaces."""
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def started(process: int) -> str | None:
    """Returns when a process of this machine started, so that a later one with the same number has another value.

    On Linux this is the start time in ticks since the machine was started (field 22 of /proc/PID/stat, proc(5)).

    Args:
      process: its number.

    Returns:
      The time as a text that means nothing elsewhere; None if no such process runs. A zombie does not run.
    """
    if Path("/proc/self/stat").exists():
        with suppress(OSError, IndexError):
            # The second field is the name of the program in brackets, and may hold anything.
            fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
            return None if fields[0] in (b"Z", b"X") else f"ticks {int(fields[19])}"
        return None
    import psutil

    with suppress(psutil.Error):
        found = psutil.Process(process)
        return None if found.status() == psutil.STATUS_ZOMBIE else f"time {found.create_time():.2f}"
    return None


def threads_of_devices(devices: int) -> int:
    """Returns the number of threads that XLA needs where the CPU counts as several devices.

    A thread waits in each collective operation until all devices are in it. XLA starts several of them at once, and by
    itself has one thread a device on a small machine. If devices meet two operations in different orders, all threads
    wait for ever: with eight devices on two busy cores that ended three of four runs of 400 steps, and none of four
    with eight threads a device.
    """
    return max(cores(), 8 * devices)


def backend() -> str | None:
    """Returns the platform of the backend that jax has made; None where it has made none yet."""
    if "jax" not in sys.modules:
        return None
    from jax._src import xla_bridge  # jax has no public name for this question.

    if not xla_bridge.backends_are_initialized():
        return None
    import jax

    return jax.default_backend()
