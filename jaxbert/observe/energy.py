"""Meters for energy in joules: the counters of the machine, or an estimate from assumed watts.

`energy_meter` chooses the meter for a run. Each process measures its own machine only.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol


class EnergyMeter(Protocol):
    """A running count of joules.

    Attributes:
      source: the origin of the figure: "rapl", "nvml", both joined by "+", or "estimated".
    """

    source: str

    def joules(self) -> float:
        """Returns the joules since the meter was made. The value never falls."""
        ...


class Rapl:
    """Counts the CPU packages and the memory of this machine (Linux Documentation/power/powercap/powercap.rst).

    Raises:
      PermissionError: the counters exist, but only root may read them. Many machines are set up this way.
      OSError: the machine has no such counters.
    """

    source = "rapl"

    def __init__(self, root: Path = Path("/sys/class/powercap")):
        # A `package` does not include its `dram`, so both are counted. `psys` includes both, so it is left out.
        zones = [zone for zone in sorted(root.glob("*-rapl:*")) if _zone_name(zone).startswith(("package", "dram"))]
        self._zones = [(zone / "energy_uj", int((zone / "max_energy_range_uj").read_text())) for zone in zones]
        self._last = [_read_int(path) for path, _ in self._zones]
        if not self._zones:
            raise OSError("no RAPL zones")
        self._total = 0.0

    def joules(self) -> float:
        """See `EnergyMeter`. Call this every few minutes, because a counter starts again at 0 after its full range."""
        for index, (path, span) in enumerate(self._zones):
            now = _read_int(path)
            self._total += ((now - self._last[index]) % (span + 1)) / 1e6
            self._last[index] = now
        return self._total


def _zone_name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


def _read_int(path: Path) -> int:
    return int(path.read_text())


class Nvml:
    """Counts the NVIDIA GPUs that this process may see, by the driver's nvmlDeviceGetTotalEnergyConsumption.

    Raises:
      OSError: there is no NVIDIA driver, no GPU, or no counter.
    """

    source = "nvml"

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libnvidia-ml.so.1")
        self._call("nvmlInit_v2")
        count = ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        self._handles = [self._handle(index) for index in range(count.value)]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible and all(part.strip().isdigit() for part in visible.split(",")):
            chosen = [int(part) for part in visible.split(",")]
            self._handles = [self._handles[index] for index in chosen if index < len(self._handles)]
        if not self._handles:
            raise OSError("no NVIDIA GPU")
        self._start = [self._millijoules(handle) for handle in self._handles]

    def joules(self) -> float:
        """See `EnergyMeter`."""
        ends = [self._millijoules(handle) for handle in self._handles]
        return sum(end - start for end, start in zip(ends, self._start, strict=True)) / 1e3

    def _handle(self, index: int) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
        return handle

    def _millijoules(self, handle: ctypes.c_void_p) -> int:
        value = ctypes.c_ulonglong()
        self._call("nvmlDeviceGetTotalEnergyConsumption", handle, ctypes.byref(value))
        return value.value

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            raise OSError(f"{name} returned {status}")


class Estimated:
    """Estimates joules as assumed watts times seconds."""

    source = "estimated"

    def __init__(self, watts: float, clock: Callable[[], float] = time.monotonic):
        self._watts, self._clock, self._start = watts, clock, clock()

    def joules(self) -> float:
        """See `EnergyMeter`."""
        return self._watts * (self._clock() - self._start)


class Joined:
    """Adds up several meters that count different parts of one machine."""

    def __init__(self, meters: list[EnergyMeter]):
        self._meters = meters
        self.source = "+".join(meter.source for meter in meters)

    def joules(self) -> float:
        """See `EnergyMeter`."""
        return sum(meter.joules() for meter in self._meters)


def energy_meter(platform: str, watts: float = 0.0) -> EnergyMeter | None:
    """Returns the best meter for a run on this machine; None where there is none.

    A run on "cpu" takes RAPL. A run on "gpu" takes NVML, and RAPL as well where it is readable. TPUs have no counter.
    Without a counter, the meter is an estimate from `watts`.

    Args:
      platform: the platform of the devices, as jax names it.
      watts: the assumed power of the whole machine in W; 0 gives no estimate.
    """
    meters: list[EnergyMeter] = []
    wanted: dict[str, list[Callable[[], EnergyMeter]]] = {"cpu": [Rapl], "gpu": [Nvml, Rapl], "cuda": [Nvml, Rapl]}
    for make in wanted.get(platform, []):
        try:
            meters.append(make())
        except (OSError, ValueError, AttributeError):
            if make is Nvml:
                break  # RAPL alone would leave out the GPUs, and would look like the whole machine.
    if meters:
        return meters[0] if len(meters) == 1 else Joined(meters)
    return Estimated(watts) if watts > 0 else None
