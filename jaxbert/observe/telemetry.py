"""What a run says about itself: metrics and clocks, throughput, memory, energy, money, as lines and scalars.

Two files, kept apart on purpose. `metrics.jsonl` has only what the run computes, so that it is bit-identical after any
kill; `telemetry.jsonl` has everything a clock or a meter says. Only process 0 writes either.

Model FLOPs utilisation (MFU), everywhere in this repository:

    MFU = step_flops(one row) x rows a step x real tokens / padded tokens / (seconds a step x peak FLOP/s of the mesh)

analytic, real tokens only, no recomputation counted (`step_flops` has the terms). Imports jax only inside functions.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from jaxbert.config import DistillationConfig, EncoderConfig

MFU_FORMULA = (
    "analytic FLOPs x real tokens / padded tokens / (seconds x peak), backward = 2 x forward, no recomputation"
)

# ----------------------------------------------------------------------------------------------------------------------
# JSON lines


class JsonLines:
    """A file of one JSON object a line, appended to and flushed line by line.

    Numbers that JSON has no word for (nan, inf) are written as null.
    """

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def write(self, values: Mapping[str, Any]) -> None:
        """Appends one line. Values: JSON types and 0-d arrays."""
        self._file.write(json.dumps({key: _plain(value) for key, value in values.items()}, allow_nan=False) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Puts on disk what was written: before a checkpoint, so that its lines outlive the machine as it does."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Syncs to disk and closes; a second call does nothing."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    @staticmethod
    def read(path: Path) -> Iterator[dict[str, Any]]:
        """The lines of `path` in order; nothing if there is no such file; a torn line is left out."""
        if not path.is_file():
            return
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                values = _parse(line)
                if values is not None:
                    yield values

    @staticmethod
    def cut_back(path: Path, step: int) -> None:
        """Drops every line whose "step" is greater than `step`, and torn lines; the others stay byte for byte.

        Atomic: a kill leaves the old file or the new one.
        """
        if not path.is_file():
            return
        temporary = path.with_name(path.name + ".cut")
        with path.open(encoding="utf-8", errors="replace") as old, temporary.open("w", encoding="utf-8") as new:
            for line in old:
                values = _parse(line)
                if values is not None and values.get("step", step) <= step:
                    new.write(line)
            new.flush()
            os.fsync(new.fileno())
        os.replace(temporary, path)


def _parse(line: str) -> dict[str, Any] | None:
    """The object of one whole line; None for a torn one (a kill can leave half a line, at the end only)."""
    if not line.endswith("\n"):
        return None
    try:
        values = json.loads(line)
    except json.JSONDecodeError:
        return None
    return values if isinstance(values, dict) else None


def _plain(value: Any) -> Any:
    """`value` in JSON's types; arrays of no dimensions become numbers, nan and inf None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# ----------------------------------------------------------------------------------------------------------------------
# FLOPs


def step_flops(
    encoder: EncoderConfig,
    *,
    length: int,
    slots: int,
    heads: Collection[str],
    distillation: DistillationConfig | None = None,
) -> float:
    """FLOPs of one row in one training step: three times the forward pass (the backward pass is twice the forward).

    A multiply-add is two FLOPs. Forward, for one row of L tokens with M prediction slots:

        each of N layers   2 x (4 L D^2 + 2 L D F)     query, key, value, output; feed-forward up and down
                           2 x 2 L^2 D                 attention scores and weighted sum
        embeddings         2 x L E D                   their projection, where there is one
        masked_lm          2 x M (D E + E V)           transform and tied decoder, on the slots only
        span_boundary      2 x M (2 D^2 + D E + E V)   both boundaries, second layer, tied decoder, on the slots only
        pooler             2 x D^2                     first position only
        next_sentence, sentence_order   2 x 2 D

    A teacher adds its forward pass once, and the soft targets over all positions both decoders there (the student's
    three times, as everything of its own).

    Look-ups, LayerNorm, softmax, GELU, dropout, the optimizer, vocabulary padding and recomputation are not counted.

    Args:
      encoder: the shape.
      length: L.
      slots: M.
      heads: names of the heads the run trains (keys of `jaxbert.models.model.HEADS`); others count nothing.
      distillation: of a student, with its teacher's encoder.
    """
    size, width, vocabulary = encoder.hidden_size, encoder.embedding_width, encoder.vocab_size
    madds = _encoder_madds(encoder, length)
    decoder = size * width + width * vocabulary
    if "masked_lm" in heads:
        madds += slots * decoder
    if "span_boundary" in heads:
        madds += slots * (2 * size * size + decoder)
    pairs = [head for head in ("next_sentence", "sentence_order") if head in heads]
    if "pooler" in heads or pairs:
        madds += size * size
    madds += 2 * size * len(pairs)
    teacher = 0
    if distillation is not None and distillation.encoder is not None:
        over = distillation.encoder
        tokens = slots if distillation.over == "masked" else length
        madds += tokens * decoder
        teacher = _encoder_madds(over, length)
        teacher += tokens * (over.hidden_size * over.embedding_width + over.embedding_width * over.vocab_size)
    return 3.0 * 2.0 * madds + 2.0 * teacher


def _encoder_madds(encoder: EncoderConfig, length: int) -> int:
    """Multiply-adds of one forward pass over a row of L tokens."""
    size, inner = encoder.hidden_size, encoder.intermediate_size
    layer = 4 * length * size * size + 2 * length * size * inner + 2 * length * length * size
    return encoder.num_layers * layer + length * encoder.embedding_size * size


# Peak dense FLOP/s of one jax device in (bfloat16, float32), by whole words in its `device_kind`; the first match
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
    """Published peak FLOP/s of one device of this `jax.Device.device_kind`; None where this table has no figure.

    Args:
      device_kind: as jax names it, for example "TPU v5 lite" or "NVIDIA H100 80GB HBM3".
      dtype: of the matrix products: "bfloat16" or "float32".
    """
    for part, bfloat16, float32 in _PEAKS:
        if re.search(rf"\b{part}\b", device_kind):
            return bfloat16 if dtype == "bfloat16" else float32
    return None


@dataclass(frozen=True)
class Peak:
    """Peak FLOP/s of the whole mesh, and where the figure is from ("published" or "measured matmul")."""

    flops: float
    source: str


def mesh_peak(devices: list[Any], dtype: str) -> Peak | None:
    """Peak of a mesh: published figures where there are any, measured on CPU, else None.

    Fake CPU devices share the machine's cores, so a CPU is measured once a process, not once a device.

    Args:
      devices: jax devices of the mesh.
      dtype: of the matrix products: "bfloat16" or "float32".
    """
    if devices[0].platform == "cpu":
        processes = len({device.process_index for device in devices})
        return Peak(measured_matmul(dtype) * processes, "measured matmul")
    one = peak_flops(devices[0].device_kind, dtype)
    return None if one is None else Peak(one * len(devices), "published")


def measured_matmul(dtype: str = "float32", size: int = 1024, seconds: float = 0.3) -> float:
    """FLOP/s of a square matrix product on this process's first device: the best of as many as fit into `seconds`."""
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


# ----------------------------------------------------------------------------------------------------------------------
# Energy


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


# ----------------------------------------------------------------------------------------------------------------------
# The meter of a run


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


# ----------------------------------------------------------------------------------------------------------------------
# TensorBoard and the terminal

_BOARD_FLUSH_S = 20.0


class Board:
    """TensorBoard event files, scalars only; does nothing when switched off.

    Written by the calling thread: tensorboardX's own writer has a thread behind a queue, and where the disk is full
    that thread dies, the queue fills, and the run hangs.

    Args:
      path: the directory; made when the first scalar comes.
      enabled: off costs nothing, not even the import.
      step: a resumed run's restored step: what an earlier process wrote after it is hidden.
    """

    def __init__(self, path: Path, *, enabled: bool = True, step: int = 0):
        self._path, self._enabled, self._step = path, enabled, step
        self._writer: Any = None
        self._flush_at = 0.0

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes the numbers among `values`; nested mappings join their keys by a slash.

        Raises:
          OSError: for example a full disk.
        """
        if not self._enabled:
            return
        from tensorboardX.summary import scalar

        if self._writer is None:
            self._open()
        for name, value in _numbers(values):
            self._event(step=step, summary=scalar(name, value))
        if time.monotonic() >= self._flush_at:
            self._writer.flush()
            self._flush_at = time.monotonic() + _BOARD_FLUSH_S

    def close(self) -> None:
        """Flushes and closes; what a full disk does not take is left out, metrics.jsonl has it all."""
        if self._writer is not None:
            for end in (self._writer.flush, self._writer.close):
                with suppress(OSError):
                    end()
            self._writer = None

    def _open(self) -> None:
        from tensorboardX.proto.event_pb2 import SessionLog
        from tensorboardX.record_writer import RecordWriter

        self._path.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files in the order of their names; the process tells two of one second apart.
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self._writer = RecordWriter(str(self._path / name))
        self._event(file_version="brain.Event:2")
        if self._step:
            self._event(step=self._step + 1, session_log=SessionLog(status=SessionLog.START))

    def _event(self, **fields: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write(Event(wall_time=time.time(), **fields).SerializeToString())


def _numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        value = _plain(value)
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and key != "step":
            yield prefix + key, float(value)


class Progress:
    """A progress bar on a terminal, plain lines in a log.

    Args:
      total: steps, or whatever is counted.
      start: where it begins, for a resumed run.
      label: what it counts.
      stream: where to; stderr unless told.
      enabled: off says nothing (processes other than 0).
    """

    def __init__(
        self, total: int, *, start: int = 0, label: str = "step", stream: TextIO | None = None, enabled: bool = True
    ):
        self._total, self._label, self._done, self._start = total, label, start, start
        self._stream = sys.stderr if stream is None else stream
        self._enabled, self._text = enabled, ""
        self._began = time.monotonic()
        self._bar: Any = None
        if enabled and self._stream.isatty() and os.environ.get("TERM", "") != "dumb":
            self._bar, self._task = _bar(total, start, label, self._stream)

    def update(self, done: int, text: str | None = None) -> None:
        """`done` of the total are done. A log gets a line only when `text` is given; a terminal shows the last one."""
        self._done = done
        if not self._enabled:
            return
        if text is not None:
            self._text = text
        if self._bar is not None:
            self._bar.update(self._task, completed=done, text=self._text)
        elif text is not None:
            self._print(f"{self._label} {done}/{self._total}  {text}{self._left()}")

    def note(self, text: str) -> None:
        """A line that stays: above the bar, or in the log."""
        if not self._enabled:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            self._print(text)

    def close(self) -> None:
        """Takes the bar down."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _left(self) -> str:
        fresh = self._done - self._start
        if fresh <= 0 or self._done >= self._total:
            return ""
        seconds = (time.monotonic() - self._began) / fresh * (self._total - self._done)
        return f"  {duration(seconds)} left"

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _bar(total: int, start: int, label: str, stream: TextIO) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    bar = RichProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[text]}", markup=False),
        console=Console(file=stream),
    )
    bar.start()
    return bar, bar.add_task(label, total=total, completed=start, text="")


def duration(seconds: float) -> str:
    """Seconds as people say them: "42 s", "3 min 05 s", "2 h 07 min", "3 d 04 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"
