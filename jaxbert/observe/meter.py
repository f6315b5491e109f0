"""The clocks of a training loop, as the lines of telemetry.jsonl."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxbert.observe.energy import EnergyMeter
from jaxbert.observe.flops import MFU_FORMULA
from jaxbert.observe.lines import JsonLines
from jaxbert.observe.peaks import Peak


class Meter:
    """Collects the clocks of a training loop and makes the lines of telemetry.jsonl.

    Sums (elapsed time, goodput, energy, money) go on over restarts when `carried` gives the earlier ones; rates and
    percentiles are of the window since the last line.

    Args:
      devices: number of devices of the mesh.
      peak: of the mesh; None leaves MFU out.
      energy: meter of this process's machine; None leaves energy out. Other hosts of the mesh are not in it.
      price_per_hour: of the whole mesh; 0 leaves money out.
      currency: its name.
      carried: from `Meter.carry`.
      clock: seconds, for tests.
    """

    def __init__(
        self,
        *,
        devices: int = 1,
        peak: Peak | None = None,
        energy: EnergyMeter | None = None,
        price_per_hour: float = 0.0,
        currency: str = "USD",
        carried: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._devices, self._peak, self._energy = devices, peak, energy
        self._price, self._currency, self._clock = price_per_hour, currency, clock
        carried = carried or {}
        self._carried_s = float(carried.get("elapsed_s", 0.0))
        self._carried_joules = float(carried.get("energy_joules", 0.0))
        self._useful_s = float(carried.get("useful_s", 0.0))
        self._sums = {name: float(carried.get(name, 0.0)) for name in ("evaluation_s", "checkpoint_s", "compile_s")}
        self._began = clock()
        self._flops_per_row, self._length = 0.0, 1
        self._seconds: list[float] = []
        self._wait = 0.0
        self._real = self._padded = 0

    @staticmethod
    def carry(path: Path, step: int) -> dict[str, float]:
        """Sums to go on from, out of a telemetry.jsonl that is never cut back: what was spent stays spent.

        Args:
          path: the file.
          step: the restored step; the useful seconds of later, lost steps do not count.
        """
        carried: dict[str, float] = {}
        for line in JsonLines.read(path):
            for name in ("elapsed_s", "energy_joules", "evaluation_s", "checkpoint_s", "compile_s"):
                if isinstance(line.get(name), (int, float)):
                    carried[name] = line[name]
            if line.get("step", 0) <= step and isinstance(line.get("useful_s"), (int, float)):
                carried["useful_s"] = line["useful_s"]
        return carried

    def start_phase(self, *, flops_per_row: float, length: int) -> None:
        """Sets the batches to come: `step_flops` of one of their rows, and L."""
        self._flops_per_row, self._length = flops_per_row, length

    def batch_ready(self, wait_s: float) -> None:
        """The loop waited so long for the next batch."""
        self._wait += wait_s

    def step_done(self, seconds: float, real_tokens: int, padded_tokens: int) -> None:
        """A step of the whole mesh is done.

        Args:
          seconds: one turn of the loop, the wait for the batch included; not evaluation, checkpoint and compilation.
          real_tokens: of the global batch, padding left out.
          padded_tokens: B x L.
        """
        self._seconds.append(seconds)
        self._real += real_tokens
        self._padded += padded_tokens

    def compiled(self, seconds: float) -> None:
        """A step that was compiled on its way took so long; kept apart from the others."""
        self._sums["compile_s"] += seconds

    def evaluation(self, seconds: float) -> None:
        """An evaluation held training up for so long."""
        self._sums["evaluation_s"] += seconds

    def checkpoint(self, seconds: float) -> None:
        """A checkpoint held training up for so long (an asynchronous write does not)."""
        self._sums["checkpoint_s"] += seconds

    def line(self, step: int) -> dict[str, Any]:
        """The line of telemetry.jsonl at `step`; starts a new window.

        Keys: step; of the window: tokens_per_s (real), padded_tokens_per_s, mfu, step_ms {p50, p90, p99},
        data_wait_share; since the start of the run: elapsed_s, useful_s, goodput (useful / elapsed: neither waiting for
        data, compiling, evaluating, checkpointing nor steps lost to a kill are useful), evaluation_s, checkpoint_s,
        compile_s, energy_joules, energy_source, money, currency; memory: host_rss_bytes, device_bytes,
        device_peak_bytes, device_limit_bytes where the backend tells. What is not known is left out.
        """
        seconds, wait = sum(self._seconds), self._wait
        self._useful_s += max(0.0, seconds - wait)
        elapsed = self._carried_s + self._clock() - self._began
        line: dict[str, Any] = {"step": step}
        if seconds > 0:
            line["tokens_per_s"] = self._real / seconds
            line["padded_tokens_per_s"] = self._padded / seconds
            if self._peak is not None and self._flops_per_row > 0:
                # real tokens / L full rows' worth of FLOPs: the share of padding taken off.
                done = self._flops_per_row * self._real / self._length
                line["mfu"] = done / (seconds * self._peak.flops)
                line["peak_source"] = self._peak.source
            line["step_ms"] = {f"p{share}": 1e3 * percentile(self._seconds, share / 100) for share in (50, 90, 99)}
            line["data_wait_share"] = min(1.0, wait / seconds)
        line |= {"elapsed_s": elapsed, "useful_s": self._useful_s}
        if elapsed > 0:
            line["goodput"] = min(1.0, self._useful_s / elapsed)
        line |= self._sums
        line |= memory()
        if self._energy is not None:
            line["energy_joules"] = self._carried_joules + self._energy.joules()
            line["energy_source"] = self._energy.source
        if self._price > 0:
            line |= {"money": self._price * elapsed / 3600, "currency": self._currency}
        self._seconds, self._wait, self._real, self._padded = [], 0.0, 0, 0
        return line

    def facts(self) -> dict[str, Any]:
        """What does not change during a run, for its first line: devices, peak and its source, the MFU formula."""
        facts: dict[str, Any] = {"devices": self._devices, "mfu_formula": MFU_FORMULA}
        if self._peak is not None:
            facts |= {"peak_flops": self._peak.flops, "peak_source": self._peak.source}
        return facts


def percentile(values: list[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def memory() -> dict[str, int]:
    """Bytes: this process's resident set, and its first device's memory in use, at peak and in all, where it tells."""
    import psutil

    found = {"host_rss_bytes": int(psutil.Process().memory_info().rss)}
    if "jax" in sys.modules:
        import jax

        stats = jax.local_devices()[0].memory_stats() or {}
        names = {"device_bytes": "bytes_in_use", "device_peak_bytes": "peak_bytes_in_use"}
        names["device_limit_bytes"] = "bytes_limit"
        found |= {ours: int(stats[theirs]) for ours, theirs in names.items() if theirs in stats}
    return found
