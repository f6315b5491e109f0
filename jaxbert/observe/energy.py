"""Joules, from the machine's own counters or from assumed watts."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol


class EnergyMeter(Protocol):
    """A running count of joules. `source` says how it is known: "rapl", "nvml", both joined by "+", or "estimated"."""

    source: str

    def joules(self) -> float:
        """Since the meter was made; never falls."""
        ...


class Rapl:
    """CPU packages and memory of this machine, through Linux powercap (Documentation/power/powercap/powercap.rst)."""

    source = "rapl"

    def __init__(self, root: Path = Path("/sys/class/powercap")):
        # Packages are the top zones; `dram` lies below a package and is not part of it. `psys` would count both again.
        zones = [zone for zone in sorted(root.glob("*-rapl:*")) if _zone_name(zone).startswith(("package", "dram"))]
        # The counters are there but only root may read them on many machines: that is a PermissionError here.
        self._zones = [(zone / "energy_uj", int((zone / "max_energy_range_uj").read_text())) for zone in zones]
        self._last = [_read_int(path) for path, _ in self._zones]
        if not self._zones:
            raise OSError("no RAPL zones")
        self._total = 0.0

    def joules(self) -> float:
        """See `EnergyMeter`. A counter wraps at its range, so this must be called more often than that (minutes)."""
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
    """The NVIDIA GPUs this process may see, through the driver's own counter (nvmlDeviceGetTotalEnergyConsumption)."""

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
            raise OSError(f"{name} gave {status}")


class Estimated:
    """Assumed watts times seconds."""

    source = "estimated"

    def __init__(self, watts: float, clock: Callable[[], float] = time.monotonic):
        self._watts, self._clock, self._start = watts, clock, clock()

    def joules(self) -> float:
        """See `EnergyMeter`."""
        return self._watts * (self._clock() - self._start)


class Joined:
    """Several meters that count different parts of one machine."""

    def __init__(self, meters: list[EnergyMeter]):
        self._meters = meters
        self.source = "+".join(meter.source for meter in meters)

    def joules(self) -> float:
        """See `EnergyMeter`."""
        return sum(meter.joules() for meter in self._meters)


def energy_meter(platform: str, watts: float = 0.0) -> EnergyMeter | None:
    """The best meter for a run on this process's machine.

    Counters that count the devices at work: RAPL for "cpu", NVML (and RAPL where readable) for "gpu". Elsewhere (TPUs
    have no counter) `watts`, labelled estimated; None where that is 0.

    Args:
      platform: of the devices, as jax names it.
      watts: assumed power of the whole machine.
    """
    meters: list[EnergyMeter] = []
    wanted: dict[str, list[Callable[[], EnergyMeter]]] = {"cpu": [Rapl], "gpu": [Nvml, Rapl], "cuda": [Nvml, Rapl]}
    for make in wanted.get(platform, []):
        try:
            meters.append(make())
        except (OSError, ValueError, AttributeError):
            if make is Nvml:
                break  # RAPL alone would leave the GPUs out and look like the whole.
    if meters:
        return meters[0] if len(meters) == 1 else Joined(meters)
    return Estimated(watts) if watts > 0 else None
