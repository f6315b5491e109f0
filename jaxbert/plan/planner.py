"""One plan: a config on a topology. It touches no file, and changes nothing: it says what would fit."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass

from jaxbert.config import PhaseConfig, RunConfig, check, check_slices, find_config, mesh_shape
from jaxbert.core.sharding import LAYOUTS
from jaxbert.errors import InputError
from jaxbert.plan import compile as compiler
from jaxbert.plan.compile import Compiled
from jaxbert.plan.cost import Bill, StepTime, bill
from jaxbert.plan.layouts import Candidate, judge, natural, resolved, search
from jaxbert.plan.topologies import Topology
from jaxbert.plan.work import Work, check_planned

_log = logging.getLogger(__name__)
# What the largest compiled candidates of a search cost is a minute each.
SEARCHED = 3
_CONFIG = "config:"


@dataclass(frozen=True)
class PhasePlan:
    """One phase: its work, the time of a step, and the compiler's word where there is one."""

    phase: PhaseConfig
    work: Work
    time: StepTime
    compiled: Compiled | None

    @property
    def memory(self) -> float:
        """Bytes of HBM: the compiler's figure, or the model's."""
        return self.work.memory.total if self.compiled is None else self.compiled.total

    def over(self, limit: float) -> float:
        """Bytes that are too many; 0 where it fits."""
        if self.compiled is not None and not self.compiled.fits:
            return self.compiled.over
        return max(0.0, self.memory - limit)


@dataclass(frozen=True)
class Plan:
    """What a run takes on a topology.

    Attributes:
      config: the run, its layout no longer `auto`.
      topology: where.
      candidate: the analytic model's word.
      phases: each of them.
      evaluation_seconds: of all evaluations.
      bill: of the whole recipe.
      grid: grams of CO2 equivalent a kWh.
      judged_by: "libtpu VERSION", or why there is no compiler's word.
      remarks: what was assumed.
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
        """Bytes by which the largest phase does not fit; 0 where all do."""
        return max(phase.over(self.topology.chip.hbm) for phase in self.phases)

    @property
    def fits(self) -> bool:
        """Every phase does."""
        return self.over == 0

    @property
    def seconds(self) -> float:
        """Of training, evaluation left out."""
        return sum(one.phase.steps * one.time.expected for one in self.phases)

    def mfu(self, seconds: str) -> float:
        """Of the whole run, at the step times called so: best, expected or worst."""
        flops = sum(one.phase.steps * one.work.model_flops for one in self.phases)
        time = sum(one.phase.steps * float(getattr(one.time, seconds)) for one in self.phases)
        return flops / (time * self.topology.chips * self.topology.chip.flops)


def prepared(config: RunConfig, topology: Topology) -> tuple[RunConfig, tuple[str, ...]]:
    """The config that is planned, checked, and what was assumed: rows and a teacher that need not be there.

    Raises:
      InputError: a rule is broken, or mesh, batches and slices do not go with each other.
    """
    check_planned(config)
    remarks: list[str] = []
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
    check(config, topology.chips)
    check_slices(mesh_shape(config.mesh, topology.chips)[0], topology.slices)
    return config, tuple(remarks)


def _teacher(name: str) -> tuple[RunConfig, str]:
    """The run whose encoder stands for a teacher: no file is read."""
    if name.startswith(_CONFIG):
        config = name.removeprefix(_CONFIG)
        return find_config(config), f"the teacher ({config}) is trained first: plan it by itself"
    for config in ("bert_large", "bert_base"):
        if name.removeprefix("hf:").split("/")[-1].startswith(config.replace("_", "-")):
            return find_config(config), f"teacher: an encoder like {config}"
    raise InputError(
        f"of what shape the teacher {name!r} is is not known here: plan reads no file",
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
) -> Plan:
    """What `config` takes on `topology`.

    Args:
      config: the run.
      topology: where.
      grid: grams of CO2 equivalent a kWh.
      compiled: ask the chip's compiler, where it is here.

    Raises:
      InputError: config and topology do not go together; whether memory is enough is no error here: see `Plan.fits`.
    """
    config, remarks = prepared(config, topology)
    candidate = judge(config, topology)
    judged_by = _judge_of(topology, compiled)
    words: list[Compiled | None] = [None] * len(config.phases)
    if judged_by.startswith("libtpu "):
        for index, phase in enumerate(config.phases):
            _log.info(f"compiling the step of phase {phase.name} for {topology.chips} x {topology.chip.name} ...")
            words[index] = compiler.compile_step(config, topology, index)
    phases = tuple(map(PhasePlan, config.phases, candidate.works, candidate.times, words))
    evaluating = sum(_evaluation_seconds(config, one) for one in phases)
    seconds = candidate.seconds + evaluating
    return Plan(
        config, topology, candidate, phases, evaluating, bill(seconds, topology, grid), grid, judged_by, remarks
    )


def _judge_of(topology: Topology, compiled: bool) -> str:
    if topology.chip.kind != "tpu":
        return "analytic: there is no compiler for GPUs without one"
    if not compiled:
        return "analytic: not compiled, as asked"
    version = compiler.available()
    return f"libtpu {version}" if version else f"analytic: no libtpu here; {compiler.INSTALL}"


def _evaluation_seconds(config: RunConfig, one: PhasePlan) -> float:
    """Of a phase's evaluations: forward passes, a third of a training step's work a row."""
    evaluation = config.evaluation
    times = one.phase.steps // evaluation.every_steps if evaluation.every_steps else 0
    rows = times * evaluation.batches * evaluation.batch_size
    return one.time.expected / 3 * rows / one.phase.batch_size


def all_layouts(
    config: RunConfig, topology: Topology, *, grid: float, compiled: bool
) -> tuple[list[Plan], dict[str, InputError]]:
    """A plan for each layout, on the config's mesh where it has one, else on the best; and why the others have none.

    Raises:
      InputError: no layout goes with config and topology.
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
                changed = dataclasses.replace(changed, mesh=natural(prepared(given, topology)[0], topology, name))
            plans.append(plan(changed, topology, grid=grid, compiled=compiled))
        except InputError as error:
            refused[name] = error
    if not plans:
        raise next(iter(refused.values()))
    return plans, refused


def what_would_fit(config: RunConfig, topology: Topology) -> list[Candidate]:
    """The analytic model's candidates that fit, the fastest first."""
    return [one for one in search(prepared(config, topology)[0], topology) if one.fits]
