"""Clocks of a training loop. Their readings are the lines of telemetry.jsonl.

telemetry.jsonl has only what a clock or another meter measures. It is never cut back: hours, joules and money that were
spent on steps that a kill lost stay spent, and goodput shows the loss. metrics.jsonl has what the run computes.

MFU, model FLOP/s utilisation (Chowdhery et al. 2022, appendix B), is

    (FLOPs of a row x real tokens / L) / (seconds x peak FLOP/s of the mesh)

in each window between two lines. The FLOPs of a row come from the analytic formula of the model: the backward pass
counts twice the forward pass, and recomputation does not count. Real tokens / L is the number of full rows of L tokens
that the real tokens would fill, so padding does not count either.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxbert.observe.energy import EnergyMeter
from jaxbert.observe.flops import MFU_FORMULA
from jaxbert.observe.lines import JsonLines
from jaxbert.observe.peaks import Peak


@dataclass(frozen=True)
class _Step:
    seconds: float
    wait_s: float
    real_tokens: int
    padded_tokens: int
    flops: float


class Meter:
    """Collects the clocks of a training loop and makes the lines of telemetry.jsonl.

    Rates and percentiles are for the window since the last line, without compilation, evaluations and checkpoints. Sums
    (elapsed time, goodput, energy, money) are for the whole run. They continue over restarts when `carried` has the
    earlier sums.

    Args:
      devices: the number of devices of the mesh.
      peak: the peak of the mesh; None leaves out MFU.
      energy: the meter of this process's machine; None leaves out energy. Other hosts are not counted.
      price_per_hour: the price of the whole mesh for an hour; 0 leaves out money.
      currency: the currency of the price.
      carried: the earlier sums, from `Meter.carry`.
      clock: returns seconds; tests replace it.
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
        self._first: _Step | None = None
        self._steps: list[_Step] = []

    @staticmethod
    def carry(path: Path, step: int) -> dict[str, float]:
        """Reads the sums of a run's earlier processes from its telemetry.jsonl.

        Args:
          path: the file telemetry.jsonl.
          step: the restored step. The useful seconds of later steps do not count, because these steps are lost.
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
        """Begins a phase.

        Args:
          flops_per_row: analytic FLOPs of one row in one step, forward and backward.
          length: L, tokens of a row.
        """
        self._flops_per_row, self._length = flops_per_row, length

    def step_done(
        self,
        seconds: float,
        real_tokens: int,
        padded_tokens: int,
        *,
        wait_s: float = 0.0,
        first: bool = False,
        flops: float | None = None,
    ) -> None:
        """Adds one step of the whole mesh.

        Args:
          seconds: the time of one turn of the loop. It includes the wait for the batch, but not evaluation,
            checkpointing and compilation.
          real_tokens: the tokens of the global batch without padding.
          padded_tokens: B x L.
          wait_s: the seconds for which the loop waited for the batch.
          first: whether it is the first step after a compilation. It often takes longer than the others, because
            libraries and connections start, so the rates leave it out where the window has another step.
          flops: model FLOPs of the real tokens; by default those of rows of the phase's length.
        """
        if flops is None:
            # The real tokens would fill real / L rows: padding does not count.
            flops = self._flops_per_row * real_tokens / self._length
        step = _Step(seconds, wait_s, real_tokens, padded_tokens, flops)
        if first:
            self._first = step
        else:
            self._steps.append(step)

    def compiled(self, seconds: float) -> None:
        """Adds the seconds of a compilation."""
        self._sums["compile_s"] += seconds

    def evaluation(self, seconds: float) -> None:
        """Adds the seconds for which an evaluation held up training."""
        self._sums["evaluation_s"] += seconds

    def checkpoint(self, seconds: float) -> None:
        """Adds the seconds for which a checkpoint held up training. An asynchronous write does not count."""
        self._sums["checkpoint_s"] += seconds

    def line(self, step: int) -> dict[str, Any]:
        """Returns the line of telemetry.jsonl at `step`, and starts a new window.

        Keys for the window: tokens_per_s (real tokens), padded_tokens_per_s, mfu, peak_source, step_ms {p50, p90, p99},
        data_wait_share.

        Keys for the run since its start: elapsed_s, useful_s, goodput, evaluation_s, checkpoint_s, compile_s,
        energy_joules, energy_source, money, currency. Goodput is useful_s / elapsed_s. Time for data, compilation,
        evaluation, checkpoints, and steps that a kill lost is not useful.

        Keys for memory now: host_rss_bytes, and where the backend reports them device_bytes, device_peak_bytes,
        device_limit_bytes.

        A key whose value is not known is left out.
        """
        every = [*self._steps, *([self._first] if self._first else [])]
        self._useful_s += max(0.0, sum(one.seconds - one.wait_s for one in every))
        elapsed = self._carried_s + self._clock() - self._began
        line: dict[str, Any] = {"step": step, **self.rates()}
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
        self._steps, self._first = [], None
        return line

    def rates(self) -> dict[str, Any]:
        """Returns the keys of the window (see `line`), and goes on with it. There are none before the first step."""
        counted = self._steps or ([self._first] if self._first else [])
        seconds = sum(one.seconds for one in counted)
        if seconds <= 0:
            return {}
        real = sum(one.real_tokens for one in counted)
        rates: dict[str, Any] = {
            "tokens_per_s": real / seconds,
            "padded_tokens_per_s": sum(one.padded_tokens for one in counted) / seconds,
        }
        done = sum(one.flops for one in counted)
        if self._peak is not None and done > 0:
            rates["mfu"] = done / (seconds * self._peak.flops)
            rates["peak_source"] = self._peak.source
        each = [one.seconds for one in counted]
        rates["step_ms"] = {f"p{share}": 1e3 * percentile(each, share / 100) for share in (50, 90, 99)}
        rates["data_wait_share"] = min(1.0, sum(one.wait_s for one in counted) / seconds)
        return rates

    def facts(self) -> dict[str, Any]:
        """Returns the facts for the first line of a run: devices, the peak and its source, the MFU formula."""
        facts: dict[str, Any] = {"devices": self._devices, "mfu_formula": MFU_FORMULA}
        if self._peak is not None:
            facts |= {"peak_flops": self._peak.flops, "peak_source": self._peak.source}
        return facts


def percentile(values: list[float], share: float) -> float:
    """Returns the smallest of `values` that at least `share` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def memory() -> dict[str, int]:
    """Returns bytes: the resident memory of this process, and of its first device the use, peak and limit if known."""
    import psutil

    found = {"host_rss_bytes": int(psutil.Process().memory_info().rss)}
    if "jax" in sys.modules:
        import jax

        stats = jax.local_devices()[0].memory_stats() or {}
        names = {"device_bytes": "bytes_in_use", "device_peak_bytes": "peak_bytes_in_use"}
        names["device_limit_bytes"] = "bytes_limit"
        found |= {ours: int(stats[theirs]) for ours, theirs in names.items() if theirs in stats}
    return found
