"""A roofline: from the work of a step to its time, and from that to hours, money, energy and carbon.

It gives three step times.
  best      The bound of the task, for any program: the model's FLOPs on real tokens at the chips' peak, or one read and
            one write of parameters and moments, whichever takes longer.
  expected  Operations run one after the other at `ATTAINED` of the peaks, each as slow as its slowest need. A part
            of the collectives hides behind the computation of the layer, and the step waits for the rest. Where libtpu
            compiled the step, its own estimates of cycles take the place of the operations (`by_cycles`).
  worst     The operations run one after the other at `POOR` of the peaks, and no collective hides.
The calibration is in docs/explanations/results.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from jaxbert.core.chips import Chip
from jaxbert.models.cost import FUSED, Op
from jaxbert.plan.topologies import Topology
from jaxbert.plan.work import Transfer, Work


@dataclass(frozen=True)
class Efficiency:
    """Shares of the published peaks.

    Attributes:
      matmul: share of the peak of matrix products.
      vector: share of the peak of other operations.
      memory: share of HBM's bandwidth.
      network: share of the bandwidth of links and DCN.
      hidden: share of the sent bytes that can hide behind computation.
    """

    matmul: float
    vector: float
    memory: float
    network: float
    hidden: float


# Cycles a second of the clock in which libtpu estimates. v3, v4: Jouppi et al., TPU v4 (ISCA 2023), table 4. v5e and
# v5p: the published peak divided by the multiply-adds of their matrix units, 4 of 128 x 128 a core (jax's own table,
# jax/_src/pallas/mosaic/tpu_info.py). v6e: so that libtpu's estimate of a copy reaches the same share of the published
# bandwidth as on v5e, 0.8.
CLOCKS = {"v3": 0.94e9, "v4": 1.05e9, "v5e": 1.5e9, "v5p": 1.75e9, "v6e": 1.75e9}
# Cycles of one core a second and device. v4 and v5p have two cores a device. On v6e libtpu's estimates of the same
# passes take 0.55 of the cycles.
_PASS_RATES = CLOCKS | {"v4": 2 * CLOCKS["v4"], "v5p": 2 * CLOCKS["v5p"], "v6e": CLOCKS["v6e"] / 0.55}


# Programs of this kind reach less than a data sheet says: large bfloat16 products 75-85% of a TPU's peak
# (jax-ml.github.io/scaling-book), copies 80-90% of HBM, collectives 80-90% of the links.
ATTAINED = Efficiency(matmul=0.75, vector=0.6, memory=0.8, network=0.8, hidden=0.5)
POOR = Efficiency(matmul=0.5, vector=0.35, memory=0.6, network=0.5, hidden=0.0)
# Shares of the rates that small programs measure on a CPU (`jaxbert.plan.here`), as the cases of
# docs/explanations/results.md fitted them.
ATTAINED_CPU = Efficiency(matmul=1.0, vector=0.15, memory=0.3, network=0.8, hidden=0.0)
POOR_CPU = Efficiency(matmul=0.7, vector=0.1, memory=0.2, network=0.5, hidden=0.0)


# Seconds of a message from one slice or machine to another. Both are assumed, and no source has them: the first is for
# a data centre's network, the second for GPUs whose share of the network is so fast (bytes/s) that it is InfiniBand.
SLOW_MESSAGE, FAST_MESSAGE = 50e-6, 10e-6
INFINIBAND = 50e9 / 8


@dataclass(frozen=True)
class Terms:
    """The seconds of a step by resource, as if the step used only that resource, at its published peak.

    Attributes:
      compute: seconds of matrix products.
      vector: seconds of all other operations: softmax, norms, GELU, random bits.
      hbm: seconds of reads and writes in HBM.
      ici: seconds of collectives over the links of a slice (NVLink in a machine).
      dcn: seconds of collectives between slices or machines.
    """

    compute: float
    vector: float
    hbm: float
    ici: float
    dcn: float

    @property
    def binds(self) -> str:
        """Returns the name of the largest term."""
        return max(vars(self), key=lambda name: float(getattr(self, name)))


@dataclass(frozen=True)
class StepTime:
    """The seconds of a step: the roofline's terms and three estimates; see the module.

    Attributes:
      terms: seconds by resource.
      best, expected, worst: the three estimates.
      communication: seconds of the collectives of `expected`, if none hides.
      cycles: seconds of libtpu's estimates, without collectives; 0 where `expected` is the model's.
    """

    terms: Terms
    best: float
    expected: float
    worst: float
    communication: float
    cycles: float = 0.0

    @property
    def judged_by(self) -> str:
        """Returns what gave `expected`."""
        return "libtpu's estimates of cycles" if self.cycles else "the model"

    @property
    def communication_share(self) -> float:
        """Returns the share of the expected step that communication would take if none of it were hidden."""
        return self.communication / self.expected


def step_time(
    work: Work,
    topology: Topology,
    sizes: dict[str, int],
    *,
    matmul_share: float = 1.0,
    attained: Efficiency | None = None,
) -> StepTime:
    """Returns the time of a step.

    Args:
      work: work of a step of one phase.
      topology: the topology on which it runs.
      sizes: sizes of the mesh's axes.
      matmul_share: peak of products in the run's dtype, relative to that of bfloat16.
      attained: shares of the peaks for `expected`; None for `ATTAINED`, or `ATTAINED_CPU` for measured rates.
    """
    ici, dcn = _sent(work, topology, sizes, 1.0)
    chip = topology.chip
    terms = Terms(
        compute=work.flops / (chip.flops * matmul_share),
        vector=work.vector / chip.vector + work.cycles / pass_rate(chip),
        hbm=work.bytes / chip.hbm_bandwidth,
        ici=ici,
        dcn=dcn,
    )
    times = {}
    communication = 0.0
    usual, poor = (ATTAINED_CPU, POOR_CPU) if chip.measured else (ATTAINED, POOR)
    for name, efficiency in (("expected", usual if attained is None else attained), ("worst", poor)):
        busy = sum(op_seconds(op, topology, efficiency, matmul_share) for op in work.ops)
        sent = sum(_sent(work, topology, sizes, efficiency.network))
        times[name] = _together(busy, sent, efficiency)
        if name == "expected":
            communication = sent
    return StepTime(terms, bound(work, topology), times["expected"], times["worst"], communication)


def _together(busy: float, sent: float, efficiency: Efficiency) -> float:
    """Returns the seconds of `busy` seconds of work and `sent` seconds of collectives, a part of which hides."""
    return busy + max(sent - busy, sent * (1 - efficiency.hidden))


# The bytes of a parameter and two moments in float32, read once and written once.
_LEAST_BYTES = 4.0 * 3 * 2


def bound(work: Work, topology: Topology) -> float:
    """Returns the seconds that the step of a task takes at least, for any program of 16-bit products.

    The chips do the model's FLOPs on real tokens at their peak, without recomputation and padding. Or they read and
    write parameters and moments once, each its share of them.
    """
    chip, devices = topology.chip, topology.devices
    products = work.task_flops / (devices * chip.flops)
    return max(products, work.parameters * _LEAST_BYTES / (devices * chip.hbm_bandwidth))


def pass_rate(chip: Chip) -> float:
    """Returns the cycles a second that a device has for passes over arrays (`Op.cycles`)."""
    return _PASS_RATES.get(chip.name, chip.vector / 4096)


def by_cycles(
    time: StepTime,
    work: Work,
    topology: Topology,
    *,
    cycles: float,
    kernels: int,
    matmul_share: float = 1.0,
) -> StepTime:
    """Returns the time of a step that libtpu compiled: `expected` from its estimates of cycles.

    libtpu has no estimate for Pallas kernels and for collectives, so the model's seconds of these are added. `worst`
    grows with `expected`.

    Args:
      time: time of the step by the model.
      work: work of the step.
      topology: the topology on which it runs.
      cycles: sum of the estimates over a step; 0 if there is none.
      kernels: number of runs of Pallas kernels in a step.
      matmul_share: peak of products in the run's dtype, relative to that of bfloat16.
    """
    clock = CLOCKS.get(topology.chip.name)
    if not cycles or clock is None:
        return time
    busy = cycles / clock
    if kernels:
        fused = (op for op in work.ops if op.name == FUSED)
        busy += sum(op_seconds(op, topology, ATTAINED, matmul_share) for op in fused)
    expected = _together(busy, time.communication, ATTAINED)
    worst = time.worst * max(1.0, expected / time.expected)
    return replace(time, expected=expected, worst=worst, cycles=busy)


def op_seconds(op: Op, topology: Topology, efficiency: Efficiency, matmul_share: float = 1.0) -> float:
    """Returns the seconds of an operation. It is as slow as the slowest of its needs."""
    chip = topology.chip
    bandwidth = chip.gather if op.gathers and chip.gather else chip.hbm_bandwidth
    return op.count * max(
        op.flops / (chip.flops * matmul_share * efficiency.matmul),
        op.vector / (chip.vector * efficiency.vector)
        + op.cycles / (pass_rate(chip) * efficiency.vector / ATTAINED.vector),
        op.bytes / (bandwidth * efficiency.memory),
    )


def _sent(work: Work, topology: Topology, sizes: dict[str, int], efficiency: float) -> tuple[float, float]:
    """Returns the seconds of a step's collectives, one after the other: (over links of a slice, between slices)."""
    ici = dcn = 0.0
    for transfer in work.transfers:
        inside, between = transfer_seconds(transfer, topology, sizes, efficiency)
        ici, dcn = ici + inside, dcn + between
    return ici, dcn


def transfer_seconds(
    transfer: Transfer, topology: Topology, sizes: dict[str, int], efficiency: float = 1.0
) -> tuple[float, float]:
    """Returns the seconds of a collective: (over the links of a slice, between slices).

    Over n devices and V bytes, an all-gather or a reduce-scatter moves V (n-1)/n past every device. An all-reduce is
    one of each. If k sides of a torus close to rings, a device has 2 k links to send on; on lines it has half as many.
    Between slices, each device sums the part that it holds. A message between slices takes `SLOW_MESSAGE` or
    `FAST_MESSAGE`, which are assumed.
    """
    chip = topology.chip
    group = math.prod(sizes[axis] for axis in transfer.axes)
    slices = topology.slices if "data" in transfer.axes else 1
    inside = group // slices
    passes = 2 if transfer.op == "all-reduce" else 1
    ici = dcn = 0.0
    if inside > 1:
        sides, closed = topology.rings(inside)
        if chip.kind == "tpu":
            bandwidth = chip.link_bandwidth * sides * (2 if closed else 1)
            hops = sides * inside ** (1 / sides) / (2 if closed else 1)
        else:
            bandwidth, hops = chip.link_bandwidth * chip.links, 1.0
        ici = passes * (
            transfer.bytes * (inside - 1) / inside / (bandwidth * efficiency) + transfer.count * hops * chip.hop
        )
    if slices > 1:
        part = transfer.bytes / inside
        # A ring passes a message on once for each slice. A tree goes up and down.
        hops = min(slices, 2 * math.ceil(math.log2(slices)))
        message = FAST_MESSAGE if chip.kind == "gpu" and chip.network >= INFINIBAND else SLOW_MESSAGE
        dcn = 2 * part * (slices - 1) / slices / (chip.network * efficiency) + transfer.count * hops * message
    return ici, dcn


@dataclass(frozen=True)
class Bill:
    """The cost of the whole recipe.

    Attributes:
      hours: hours on the whole topology, training and evaluation.
      chip_hours: hours times the number of chips.
      money: money in `currency`; None if no price is known.
      kwh, kwh_low, kwh_high: kWh of electricity, the data centre's overhead included.
      kg_co2e: kilograms of CO2 equivalent at the grid's average.
    """

    hours: float
    chip_hours: float
    money: float | None
    currency: str
    kwh: float
    kwh_low: float
    kwh_high: float
    kg_co2e: float


def bill(seconds: float, topology: Topology, grid: float) -> Bill:
    """Returns the cost of `seconds` on the topology. `grid` is in grams of CO2 equivalent per kWh."""
    chip, hours = topology.chip, seconds / 3600
    chip_hours = hours * topology.chips
    power = chip.power
    kwh = {name: chip_hours * getattr(power, name) / 1000 * power.pue for name in ("watts", "low", "high")}
    return Bill(
        hours=hours,
        chip_hours=chip_hours,
        money=None if chip.price is None else chip_hours * chip.price.per_hour,
        currency="" if chip.price is None else chip.price.currency,
        kwh=kwh["watts"],
        kwh_low=kwh["low"],
        kwh_high=kwh["high"],
        kg_co2e=kwh["watts"] * grid / 1000,
    )
