"""From a step's work to its time, and from that to hours, money, energy and carbon: a roofline, stated term by term.

Three step times. `best`: every term at its published peak and all of them at once, so the largest counts; nothing is
faster. `expected`: each operation is as slow as its slowest need at `ATTAINED` of the peaks, one after the other, and
what is sent waits for all of it that does not hide behind the layer's own work. `worst`: the terms one after another at
`POOR`. MFU of the first and the last is the range; calibration is in docs/results.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxbert.models.cost import Op
from jaxbert.plan.topologies import Topology
from jaxbert.plan.work import Transfer, Work


@dataclass(frozen=True)
class Efficiency:
    """Shares of the published peaks.

    Attributes:
      matmul: of matrix products.
      vector: of other operations.
      memory: of HBM's bandwidth.
      network: of links and DCN.
      hidden: share of what is sent that hides behind computation, where there is enough of it.
    """

    matmul: float
    vector: float
    memory: float
    network: float
    hidden: float


# What programs of this kind reach, not what a data sheet says: large bfloat16 products 75-85% of a TPU's peak
# (jax-ml.github.io/scaling-book), copies 80-90% of HBM, collectives 80-90% of the links.
ATTAINED = Efficiency(matmul=0.75, vector=0.6, memory=0.8, network=0.8, hidden=0.5)
POOR = Efficiency(matmul=0.5, vector=0.35, memory=0.6, network=0.5, hidden=0.0)


@dataclass(frozen=True)
class Terms:
    """Seconds of a step by what it waits for, each alone at its published peak.

    Attributes:
      compute: matrix products.
      vector: all other operations: softmax, norms, GELU, random bits.
      hbm: what is read and written.
      ici: collectives over the links of a slice (NVLink in a machine).
      dcn: collectives between slices or machines.
    """

    compute: float
    vector: float
    hbm: float
    ici: float
    dcn: float

    @property
    def binds(self) -> str:
        """The largest."""
        return max(vars(self), key=lambda name: float(getattr(self, name)))


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step: the roofline's terms and three estimates; see the module."""

    terms: Terms
    best: float
    expected: float
    worst: float
    communication: float

    @property
    def communication_share(self) -> float:
        """Of the expected step, were nothing of it hidden."""
        return self.communication / self.expected


def step_time(
    work: Work,
    topology: Topology,
    sizes: dict[str, int],
    *,
    matmul_share: float = 1.0,
    attained: Efficiency = ATTAINED,
) -> StepTime:
    """The time of a step.

    Args:
      work: of one phase.
      topology: where it runs.
      sizes: of the mesh's axes.
      matmul_share: peak of products in the run's dtype, relative to bfloat16's.
      attained: shares of the peaks, for `expected`; where peaks were measured, 1.
    """
    ici, dcn = _sent(work, topology, sizes, 1.0)
    chip = topology.chip
    terms = Terms(
        compute=work.flops / (chip.flops * matmul_share),
        vector=work.vector / chip.vector,
        hbm=work.bytes / chip.hbm_bandwidth,
        ici=ici,
        dcn=dcn,
    )
    times = {}
    communication = 0.0
    for name, efficiency in (("expected", attained), ("worst", POOR)):
        busy = sum(op_seconds(op, topology, efficiency, matmul_share) for op in work.ops)
        sent = sum(_sent(work, topology, sizes, efficiency.network))
        times[name] = busy + max(sent - busy, sent * (1 - efficiency.hidden))
        if name == "expected":
            communication = sent
    best = max(vars(terms).values())
    return StepTime(terms, best, times["expected"], times["worst"], communication)


def op_seconds(op: Op, topology: Topology, efficiency: Efficiency, matmul_share: float = 1.0) -> float:
    """An operation is as slow as the slowest of its needs."""
    chip = topology.chip
    bandwidth = chip.gather if op.gathers and chip.gather else chip.hbm_bandwidth
    return op.count * max(
        op.flops / (chip.flops * matmul_share * efficiency.matmul),
        op.vector / (chip.vector * efficiency.vector),
        op.bytes / (bandwidth * efficiency.memory),
    )


def _sent(work: Work, topology: Topology, sizes: dict[str, int], efficiency: float) -> tuple[float, float]:
    """Seconds of a step's collectives, each alone: over the links of a slice, and between slices."""
    ici = dcn = 0.0
    for transfer in work.transfers:
        inside, between = transfer_seconds(transfer, topology, sizes, efficiency)
        ici, dcn = ici + inside, dcn + between
    return ici, dcn


def transfer_seconds(
    transfer: Transfer, topology: Topology, sizes: dict[str, int], efficiency: float = 1.0
) -> tuple[float, float]:
    """Seconds of a collective (over the links of a slice, between slices).

    Over n devices, V bytes: an all-gather or a reduce-scatter moves V (n-1)/n past every device, an all-reduce is both.
    A ring of k sides of a torus that close has 2 k links to send on, a line half of that. Between slices, each device
    sums the part that it holds.
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
        # 50 microseconds a message: a data centre's round trip through several switches.
        dcn = 2 * part * (slices - 1) / slices / (chip.network * efficiency) + transfer.count * slices * 50e-6
    return ici, dcn


@dataclass(frozen=True)
class Bill:
    """What the whole recipe takes.

    Attributes:
      hours: of the whole topology, training and evaluation.
      chip_hours: times the chips.
      money: in `currency`.
      kwh, kwh_low, kwh_high: of electricity, the data centre's overhead included.
      kg_co2e: of the grid's average.
    """

    hours: float
    chip_hours: float
    money: float
    currency: str
    kwh: float
    kwh_low: float
    kwh_high: float
    kg_co2e: float


def bill(seconds: float, topology: Topology, grid: float) -> Bill:
    """What `seconds` of the topology cost. `grid`: grams of CO2 equivalent a kWh."""
    chip, hours = topology.chip, seconds / 3600
    chip_hours = hours * topology.chips
    power = chip.power
    kwh = {name: chip_hours * getattr(power, name) / 1000 * power.pue for name in ("watts", "low", "high")}
    return Bill(
        hours=hours,
        chip_hours=chip_hours,
        money=chip_hours * chip.price.per_hour,
        currency=chip.price.currency,
        kwh=kwh["watts"],
        kwh_low=kwh["low"],
        kwh_high=kwh["high"],
        kg_co2e=kwh["watts"] * grid / 1000,
    )
