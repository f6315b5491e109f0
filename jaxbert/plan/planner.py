"""Makes the plan of a config on a topology. It touches no file and changes nothing."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from jaxbert.config import PhaseConfig, RunConfig, check, check_slices, find_config, mesh_shape
from jaxbert.core.chips import GPU_POOL_FRACTION, Chip
from jaxbert.core.sharding import LAYOUTS
from jaxbert.errors import InputError
from jaxbert.plan import compile as compiler
from jaxbert.plan.compile import Compiled
from jaxbert.plan.cost import Bill, StepTime, bill, by_cycles
from jaxbert.plan.layouts import Candidate, anything_fits, judge, matmul_share, natural, resolved, search
from jaxbert.plan.topologies import Topology
from jaxbert.plan.work import Work, check_planned

_log = logging.getLogger(__name__)
# The number of candidates of a search that are compiled. The largest ones take a minute each.
SEARCHED = 3
_CONFIG = "config:"


@dataclass(frozen=True)
class PhasePlan:
    """The plan of one phase: its work, the time of a step, and the compiler's answer if there is one."""

    phase: PhaseConfig
    work: Work
    time: StepTime
    compiled: Compiled | None

    @property
    def memory(self) -> float:
        """Returns the bytes of HBM: the compiler's figure, or else the model's."""
        return self.work.memory.total if self.compiled is None else self.compiled.total

    def over(self, limit: float) -> float:
        """Returns the bytes that do not fit; 0 if all fit."""
        if self.compiled is not None and not self.compiled.fits:
            return self.compiled.over
        return max(0.0, self.memory - limit)


@dataclass(frozen=True)
class Plan:
    """The plan of a run on a topology.

    Attributes:
      config: the run, with a resolved layout instead of `auto`.
      topology: the topology.
      candidate: the analytic model's figures.
      phases: the plan of each phase.
      evaluation_seconds: seconds of all evaluations.
      bill: cost of the whole recipe.
      grid: grams of CO2 equivalent per kWh.
      judged_by: "libtpu VERSION", or the reason why no compiler judged it.
      remarks: assumptions of the plan.
    """

    config: RunConfig
    topology: Topology
    candidate: Candidate
    phases: tuple[PhasePlan, ...]
    evaluation_seconds: float
    bill: Bill
    grid: float
    judged_by: str
    remarks: tuple[str, ...] = ()

    @property
    def over(self) -> float:
        """Returns the bytes of the largest phase that do not fit; 0 if all phases fit."""
        return max(phase.over(self.topology.chip.hbm) for phase in self.phases)

    @property
    def fits(self) -> bool:
        """Returns whether every phase fits."""
        return self.over == 0

    @property
    def seconds(self) -> float:
        """Returns the seconds of training, without evaluation."""
        return sum(one.phase.steps * one.time.expected for one in self.phases)

    def peak(self, seconds: str) -> float:
        """Returns the peak FLOP/s of all devices that MFU is a share of.

        A run's meter divides by the peak of the products that the chip really computes in (`core.chips.peak_flops`),
        and so do "expected" and "worst". "best" is the bound of any program of 16-bit products, so its peak is that of
        16 bits.

        Args:
          seconds: "best", "expected" or "worst".
        """
        chip = self.topology.chip
        share = 1.0 if seconds == "best" else matmul_share(self.config, chip)
        return self.topology.devices * chip.flops * share

    def mfu(self, seconds: str) -> float:
        """Returns the MFU of the whole run. `seconds` chooses the step times: "best", "expected" or "worst"."""
        flops = sum(one.phase.steps * one.work.model_flops for one in self.phases)
        time = sum(one.phase.steps * float(getattr(one.time, seconds)) for one in self.phases)
        return flops / (time * self.peak(seconds))


def prepared(config: RunConfig, topology: Topology) -> tuple[RunConfig, tuple[str, ...]]:
    """Returns the checked config that is planned, and the assumptions. Its rows and its teacher need not exist.

    Raises:
      InputError: the config breaks a rule, or mesh, batches and slices do not divide each other.
    """
    check_planned(config)
    remarks: list[str] = []
    if config.inherit != "nothing":
        remarks.append("sizes: those of the config, although a run takes them from the model of --init")
    if not config.data.source:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, source="not read"))
    distillation = config.objectives.distillation
    if distillation is not None and distillation.encoder is None:
        teacher = _teacher(distillation.teacher)
        remarks.append(teacher[1])
        found = dataclasses.replace(distillation, encoder=teacher[0].encoder)
        config = dataclasses.replace(config, objectives=dataclasses.replace(config.objectives, distillation=found))
    if config.mesh.layout == "auto":
        config = resolved(config, topology)
        mesh = config.mesh
        remarks.append(f"layout auto: {mesh.layout}, fsdp {mesh.fsdp}, tensor {mesh.tensor}")
    check(config, topology.devices)
    check_slices(mesh_shape(config.mesh, topology.devices)[0], topology.slices)
    return config, tuple(remarks)


def _teacher(name: str) -> tuple[RunConfig, str]:
    """Returns (a run whose encoder has the teacher's shape, a remark). It reads no file."""
    if name.startswith(_CONFIG):
        config = name.removeprefix(_CONFIG)
        return find_config(config), (
            f"the teacher ({config}) is trained first, and this plan leaves it out: run `jaxbert plan {config}` too"
        )
    for config in ("bert_large", "bert_base"):
        if name.removeprefix("hf:").split("/")[-1].startswith(config.replace("_", "-")):
            return find_config(config), f"teacher: an encoder like {config}"
    raise InputError(
        f"the shape of the teacher {name!r} is not known, because plan reads no files",
        where="objectives.distillation.teacher",
        fix="Name a config of its shape: --set objectives.distillation.teacher=config:bert_base.",
        code="E-PLAN-TEACHER",
    )


def plan(
    config: RunConfig,
    topology: Topology,
    *,
    grid: float,
    compiled: bool = True,
    real: float = 1.0,
) -> Plan:
    """Plans `config` on `topology`.

    Args:
      config: the run.
      topology: the topology.
      grid: grams of CO2 equivalent per kWh.
      compiled: whether to ask the chip's compiler, if it is installed.
      real: share of the rows' tokens that are not padding; only the bound of the task depends on it.

    Raises:
      InputError: the topology cannot run the config. A lack of memory is not an error here; see `Plan.fits`.
    """
    config, remarks = prepared(config, topology)
    remarks = (*remarks, *_of_the_chip(topology.chip))
    candidate = judge(config, topology, real)
    judged_by = _judge_of(topology, compiled)
    words: list[Compiled | None] = [None] * len(config.phases)
    if judged_by.startswith("libtpu "):
        words = list(_compiled(config, topology))
    phases = tuple(
        PhasePlan(phase, work, _timed(config, topology, work, time, word), word)
        for phase, work, time, word in zip(config.phases, candidate.works, candidate.times, words, strict=True)
    )
    evaluating = sum(_evaluation_seconds(config, one) for one in phases)
    seconds = sum(one.phase.steps * one.time.expected for one in phases) + evaluating
    return Plan(
        config, topology, candidate, phases, evaluating, bill(seconds, topology, grid), grid, judged_by, remarks
    )


def _of_the_chip(chip: Chip) -> Iterator[str]:
    """Yields the assumptions about the chip that a user should know."""
    if chip.kind == "gpu":
        yield (
            f"memory: {GPU_POOL_FRACTION:.0%} of the card. `jaxbert pretrain` asks jax for so much. In your own "
            f"program, set XLA_CLIENT_MEM_FRACTION={GPU_POOL_FRACTION}: jax by itself takes 75%"
        )
    if chip.measured:
        yield (
            f"measured: matrix products {chip.flops / 1e9:,.0f} GFLOP/s, other arithmetic {chip.vector / 1e9:,.0f} "
            f"Gop/s, memory {chip.hbm_bandwidth / 1e9:,.1f} GB/s. Other work on this machine makes them lower"
        )
    if not chip.bfloat16:
        yield f"{chip.name} has no units for bfloat16, so matrix products are planned in float32"


def _compiled(config: RunConfig, topology: Topology) -> Iterator[Compiled]:
    """Yields the compiler's answer for each phase. Phases with the same batches have the same step, compiled once."""
    known: dict[PhaseConfig, Compiled] = {}
    for index, phase in enumerate(config.phases):
        # The program of a step does not depend on these, but for the numbers in its schedule.
        same = dataclasses.replace(phase, name="", rows=(), steps=1, schedule=None, moments="keep")
        if same not in known:
            _log.info(f"compiling the step of phase {phase.name} for {topology.chips} x {topology.chip.name} ...")
            known[same] = compiler.compile_step(config, topology, index)
        yield known[same]


def _timed(config: RunConfig, topology: Topology, work: Work, time: StepTime, compiled: Compiled | None) -> StepTime:
    """Returns the time of a step, with the compiler's estimates of cycles where it has some."""
    if compiled is None:
        return time
    share = matmul_share(config, topology.chip)
    return by_cycles(time, work, topology, cycles=compiled.cycles, kernels=compiled.kernels, matmul_share=share)


def _judge_of(topology: Topology, compiled: bool) -> str:
    if topology.chip.kind == "cpu":
        return "the analytic model, with rates that were measured on this machine"
    if topology.chip.kind != "tpu":
        return "the analytic model, because the plan has no compiler for GPUs"
    if topology.chip.own:
        return "the analytic model, because libtpu does not know a chip of --chip"
    if not compiled:
        return "the analytic model, because of --analytic"
    version = compiler.available()
    return f"libtpu {version}" if version else f"the analytic model, because libtpu is missing: {compiler.INSTALL}"


def _evaluation_seconds(config: RunConfig, one: PhasePlan) -> float:
    """Returns the seconds of a phase's evaluations. A row takes a forward pass: a third of its work in training."""
    evaluation = config.evaluation
    times = one.phase.steps // evaluation.every_steps if evaluation.every_steps else 0
    rows = times * evaluation.batches * evaluation.batch_size
    return one.time.expected / 3 * rows / one.phase.batch_size


def all_layouts(
    config: RunConfig, topology: Topology, *, grid: float, compiled: bool, real: float = 1.0
) -> tuple[list[Plan], dict[str, InputError]]:
    """Returns a plan for each layout, and the error of each layout that has no plan.

    A layout takes the config's mesh if the mesh suits it, or else the fastest mesh.

    Raises:
      InputError: no layout suits the config and the topology.
    """
    plans: list[Plan] = []
    refused: dict[str, InputError] = {}
    for name, layout in LAYOUTS.items():
        mesh = dataclasses.replace(config.mesh, layout=name)
        changed = dataclasses.replace(config, mesh=mesh)
        suits = not layout.axes or any(getattr(mesh, axis) > 1 for axis in layout.axes)
        try:
            if not suits:
                given = dataclasses.replace(changed, mesh=dataclasses.replace(mesh, layout="replicated"))
                try:
                    changed = dataclasses.replace(changed, mesh=natural(prepared(given, topology)[0], topology, name))
                except InputError:
                    # The config's own layout goes with its own mesh, which splits nothing.
                    if name != config.mesh.layout:
                        raise
            plans.append(plan(changed, topology, grid=grid, compiled=compiled, real=real))
        except InputError as error:
            refused[name] = error
    if not plans:
        raise next(iter(refused.values()))
    return plans, refused


def what_would_fit(config: RunConfig, topology: Topology) -> list[Candidate]:
    """Returns the analytic model's candidates that fit, the fastest first."""
    config = prepared(config, topology)[0]
    return [one for one in search(config, topology) if one.fits] if anything_fits(config, topology) else []
