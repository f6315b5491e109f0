"""An analytic model of one training step, from the config: FLOPs, bytes, collectives by mesh axis, memory.

It compiles nothing and touches no device: shapes come from `jax.eval_shape`, and places from the layout's tables. If
there is a compiler for the chip, the compiled program decides about memory (`jaxbert.plan.compile`). The model runs
everywhere and ranks layouts in milliseconds, and its figures are checked against the compiler's.

All figures are per device and per optimizer step, unless a name says otherwise.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax

from jaxbert.config import (
    DistillationConfig,
    EncoderBase,
    LayoutName,
    MeshConfig,
    PhaseConfig,
    RunConfig,
    mesh_shape,
    slots,
)
from jaxbert.core.parameters import ParameterKind, is_stacked, kind_of, path_of
from jaxbert.core.shapes import shapes_of
from jaxbert.core.sharding import LAYOUTS, compute_dtype
from jaxbert.errors import InputError
from jaxbert.models.cost import MicroBatch, Op, dense_op
from jaxbert.models.model import HEADS, Model, encoder_of
from jaxbert.objectives.distillation import teacher_model
from jaxbert.plan.topologies import Topology
from jaxbert.tasks import Task, kind_of_task, make_task
from jaxbert.tasks.base import Parts
from jaxbert.training.optim import trusted
from jaxbert.training.step import specs

# The table that embeddings and decoders share.
_WORD = "encoder/embeddings/word/table"
# Optimizer bytes per element of a parameter, float32. It reads gradient, parameter and two moments, and writes the last
# three. The norm of the gradient reads it again. The choice between old and new, for a step that is not finite, reads
# both.
_ADAM_BYTES, _TRUST_BYTES = 4.0 * (4 + 3 + 1 + 3), 4.0 * 3
# The same on a GPU, with LAMB and without, by programs that XLA compiled for A100 and H100: the choice is part of the
# update.
_GPU_OPTIMIZER_BYTES = 36.0
# On a TPU each instruction of the program takes at least 1,800 cycles by libtpu's estimates. A step has so
# many instructions, a micro-batch and a layer of it more: counted in programs that libtpu compiled.
_START, _STARTS_A_STEP, _STARTS_A_MICRO_BATCH, _STARTS_A_LAYER = 1800.0, 320, 93, 80


@dataclass(frozen=True)
class Parameter:
    """One parameter as the layout places it.

    Attributes:
      path: its name.
      elements: number of its elements, all layers included.
      kind: weight, bias or norm.
      stacked: whether it is stacked over layers.
      axes: mesh axes over which it is sharded at rest.
      moment_axes: mesh axes over which its moments are sharded.
    """

    path: str
    elements: int
    kind: ParameterKind
    stacked: bool
    axes: tuple[str, ...]
    moment_axes: tuple[str, ...]


@dataclass(frozen=True)
class Transfer:
    """One kind of collective of the step.

    Attributes:
      what: description for people.
      op: "all-gather" or "all-reduce".
      axes: mesh axes of the devices that take part.
      bytes: bytes of the whole array that each device has in the end, summed over the step.
      count: number of such collectives in the step.
    """

    what: str
    op: str
    axes: tuple[str, ...]
    bytes: float
    count: float


@dataclass(frozen=True)
class Memory:
    """The bytes of HBM that a program needs at once, by kind."""

    parameters: float
    optimizer: float
    gradients: float
    activations: float
    other: float

    @property
    def total(self) -> float:
        """Returns the sum of all kinds."""
        return self.parameters + self.optimizer + self.gradients + self.activations + self.other


@dataclass(frozen=True)
class Work:
    """The work of a step of one phase.

    Attributes:
      model_flops: FLOPs of the whole mesh by `Task.flops_per_row`, from which MFU is computed.
      task_flops: the same for rows without their padding: what the task needs at least.
      ops: the operations of a device.
      transfers: the collectives of a device.
      memory: the memory of a device, by the analytic model.
      tokens: tokens of the whole mesh, padding included.
      parameters: number of elements of the whole model.
    """

    model_flops: float
    task_flops: float
    ops: tuple[Op, ...]
    transfers: tuple[Transfer, ...]
    memory: Memory
    tokens: int
    parameters: int

    @property
    def flops(self) -> float:
        """Returns the FLOPs of matrix products, recomputation and the vocabulary's padding included."""
        return sum(op.flops * op.count for op in self.ops)

    @property
    def vector(self) -> float:
        """Returns the number of operations outside matrix products."""
        return sum(op.vector * op.count for op in self.ops)

    @property
    def cycles(self) -> float:
        """Returns the cycles of a TPU's core that take the place of such operations."""
        return sum(op.cycles * op.count for op in self.ops)

    @property
    def bytes(self) -> float:
        """Returns the bytes that are read and written in HBM."""
        return sum(op.bytes * op.count for op in self.ops)


def check_planned(config: RunConfig) -> None:
    """Raises InputError for a task whose work this model does not know: it would give the figures of another one."""
    if not kind_of_task(config).planned:
        raise InputError(
            f"a plan covers only an encoder with heads, not the task {config.task.name}",
            where="task.name",
            fix="Run `jaxbert pretrain` with a named layout, for example --set mesh.layout=fsdp.",
            code="E-PLAN-TASK",
        )


def parameters_of(config: RunConfig, phase: PhaseConfig) -> tuple[Parameter, ...]:
    """Returns every parameter of the run's model, in the config's layout."""
    return _parameters(*_plain(config, phase))


def _plain(config: RunConfig, phase: PhaseConfig) -> tuple[RunConfig, PhaseConfig]:
    """Removes all settings that do not change the model, because a search asks for the same models many times."""
    encoder = dataclasses.replace(config.encoder, remat="none")
    mesh = MeshConfig(layout=config.mesh.layout)
    return (
        RunConfig(name="", encoder=encoder, task=config.task, objectives=config.objectives, mesh=mesh),
        dataclasses.replace(phase, accumulation=1, batch_size=1, steps=1, schedule=None),
    )


@lru_cache(maxsize=256)
def _parameters(config: RunConfig, phase: PhaseConfig) -> tuple[Parameter, ...]:
    return _listed(_task(config, phase).parts, config.mesh.layout)


@lru_cache(maxsize=256)
def _task(config: RunConfig, phase: PhaseConfig) -> Task:
    return make_task(config, phase)


@lru_cache(maxsize=32)
def _teachers_parameters(
    distillation: DistillationConfig, student: EncoderBase, layout: LayoutName
) -> tuple[Parameter, ...]:
    return _listed(teacher_model(distillation, student), layout)


def _listed(model: Parts, name: LayoutName) -> tuple[Parameter, ...]:
    layout = LAYOUTS[name]
    shapes = shapes_of(model.init)
    places = jax.tree.leaves(specs(model.names, layout.parameters), is_leaf=_is_spec)
    moments = jax.tree.leaves(specs(model.names, layout.optimizer), is_leaf=_is_spec)
    found = []
    for (keys, leaf), place, moment in zip(
        jax.tree_util.tree_flatten_with_path(shapes)[0], places, moments, strict=True
    ):
        path = path_of(keys)
        found.append(
            Parameter(path, math.prod(leaf.shape), kind_of(path), is_stacked(path), _axes(place), _axes(moment))
        )
    return tuple(found)


def _is_spec(leaf: Any) -> bool:
    return isinstance(leaf, jax.sharding.PartitionSpec)


def _decodes(p: Parameter) -> bool:
    """Returns whether the masked-LM head and its decoder use the parameter."""
    return p.path == _WORD or p.path.startswith("masked_lm/")


def _axes(spec: Any) -> tuple[str, ...]:
    return tuple(axis for axis in spec if axis is not None)


def work(config: RunConfig, topology: Topology, phase: PhaseConfig, *, real: float = 1.0) -> Work:
    """Returns the work of a step of `phase` on `topology`.

    Args:
      config: the run; its layout is a name of `LAYOUTS`, and not `auto`.
      topology: the topology on which it runs.
      phase: the phase.
      real: share of the rows' tokens that are not padding.
    """
    return _Step(config, topology, phase).work(real)


class _Step:
    """The figures of a step that all parts of the model share."""

    def __init__(self, config: RunConfig, topology: Topology, phase: PhaseConfig):
        check_planned(config)
        self.config, self.encoder, self.phase = config, config.encoder, phase
        self.data, self.fsdp, self.tensor = mesh_shape(config.mesh, topology.devices)
        self.layout = config.mesh.layout
        self.split = self.tensor if "tensor" in LAYOUTS[self.layout].axes else 1
        self.sizes = {"data": self.data, "fsdp": self.fsdp, "tensor": self.tensor}
        self.width = compute_dtype(config.numerics.dtype, topology.chip.kind).itemsize
        self.accumulation = phase.accumulation
        self.platform = topology.chip.kind
        rows = phase.batch_size / (self.data * self.fsdp * phase.accumulation)
        self.batch = MicroBatch(
            rows, phase.length, slots(config, phase), self.width, self.split, platform=self.platform
        )
        self.rows, self.tokens, self.slots = rows, self.batch.tokens, self.batch.slots
        self.parameters = parameters_of(config, phase)
        self.task = _task(*_plain(config, phase))
        assert isinstance(self.task.parts, Model)  # As `TaskKind.planned` says.
        self.heads = self.task.parts.sizes
        self.decoders = sum(HEADS[head].decodes for head in self.heads)
        self.cost = encoder_of(self.encoder).cost(self.encoder)

    # --- Elements on each device -------------------------------------------------------------------------------------

    def _share(self, axes: tuple[str, ...]) -> float:
        return 1.0 / math.prod(self.sizes[axis] for axis in axes)

    def resting(self) -> float:
        """Returns the number of parameter elements on one device."""
        return sum(p.elements * self._share(p.axes) for p in self.parameters)

    def moments(self) -> float:
        """Returns the number of elements of one moment on one device."""
        return sum(p.elements * self._share(p.moment_axes) for p in self.parameters)

    def in_use(self, p: Parameter) -> tuple[float, int]:
        """Returns (elements on one device after the gather over fsdp, bytes per element) in the forward pass."""
        share = self._share(tuple(axis for axis in p.axes if axis != "fsdp"))
        return p.elements * share, self.width if p.kind == "weight" else 4

    def stretches(self) -> int:
        """Returns the number of stretches of tokens in which distillation computes its logits; 0: not in stretches."""
        distillation = self.config.objectives.distillation
        if distillation is None or distillation.over == "masked":
            return 0
        return math.ceil(self.phase.length / distillation.chunk)

    def uses(self, p: Parameter) -> int:
        """Returns the number of separately summed gradients of the parameter in a micro-batch.

        The embeddings and each decoder use the word table. The layers of a group add up the gradients of their shared
        weights on each device, before the one sum over devices. Distillation uses the masked-LM head once more, in
        stretches of tokens. It adds up their gradients in the same way, except where fsdp splits the parameter: there
        the program sums each one.
        """
        again = 0
        if _decodes(p) and self.config.objectives.distillation is not None:
            again = self.stretches() if self.fsdp > 1 and "fsdp" in p.axes else 0
            again = again or 1
        return 1 + again + (self.decoders if p.path == _WORD else 0)

    def summed(self, p: Parameter) -> float:
        """Returns the bytes of all such gradients, in the dtype of the weight in use.

        What stretches of tokens add up on a device is float32. The word table's gradients of slots are added to it
        before their sum, so these two are as many bytes as two of the weight in use.
        """
        elements, width = self.in_use(p)
        if self.stretches() and p.path != _WORD and self.uses(p) == 2:
            return elements * (width + 4)
        return elements * width * self.uses(p)

    def teachers_parameters(self) -> tuple[Parameter, ...]:
        """Returns the teacher's parameters, in the run's layout."""
        distillation = self.config.objectives.distillation
        assert distillation is not None
        return _teachers_parameters(distillation, self.encoder, self.layout)

    # --- Collectives -------------------------------------------------------------------------------------------------

    def transfers(self) -> Iterator[Transfer]:
        """Yields the collectives of a step: the contract between layout and network."""
        yield from self._gathers()
        yield from self._gradient_sums()
        yield from self._updates()
        yield from self._across_heads()

    def _gathers(self) -> Iterator[Transfer]:
        """Yields the gathers of weights over fsdp: forward, and backward again if layers are computed again."""
        if self.fsdp == 1:
            return
        for stacked, what in ((True, "layers' weights"), (False, "tables' and heads' weights")):
            chosen = [p for p in self.parameters if p.stacked == stacked and "fsdp" in p.axes]
            again = 2 if stacked and self.encoder.remat != "none" and not self.encoder.shares_layers else 1
            size = sum(math.prod(self.in_use(p)) for p in chosen)
            layers = self.encoder.distinct_layers if stacked else 1
            if size:
                yield Transfer(
                    what,
                    "all-gather",
                    ("fsdp",),
                    size * again * self.accumulation,
                    len(chosen) * layers * again * self.accumulation,
                )
        if self.config.objectives.distillation is not None:
            chosen = [p for p in self.teachers_parameters() if "fsdp" in p.axes]
            size = sum(math.prod(self.in_use(p)) for p in chosen)
            yield Transfer(
                "the teacher's weights", "all-gather", ("fsdp",), size * self.accumulation, self.accumulation
            )
        if self.stretches():
            # The backward pass computes the logits of each stretch again, and gathers both decoders for it.
            chosen = [p for p in (*self.parameters, *self.teachers_parameters()) if "fsdp" in p.axes and _decodes(p)]
            size = sum(math.prod(self.in_use(p)) for p in chosen)
            count = self.stretches() * self.accumulation
            yield Transfer(
                "decoders of each stretch of tokens", "all-gather", ("fsdp",), size * count, len(chosen) * count
            )

    def _gradient_sums(self) -> Iterator[Transfer]:
        """Yields the sums of gradients over the batch's axes per micro-batch, in the dtype of the weights in use."""
        axes = tuple(axis for axis in ("data", "fsdp") if self.sizes[axis] > 1)
        if not axes:
            return
        size = count = 0.0
        for p in self.parameters:
            size += self.summed(p)
            # XLA joins the sums of a layer into one.
            count += self.uses(p) * (self.encoder.distinct_layers if p.stacked else 1) / 8
        yield Transfer("gradients", "all-reduce", axes, size * self.accumulation, math.ceil(count) * self.accumulation)

    def _updates(self) -> Iterator[Transfer]:
        """Yields the float32 gathers of updated shards, for whole parameters that have sharded moments."""
        split = [p for p in self.parameters if "fsdp" in p.moment_axes and "fsdp" not in p.axes]
        if self.fsdp > 1 and split:
            size = 4.0 * sum(p.elements * self._share(p.axes) for p in split)
            yield Transfer("updated parameters", "all-gather", ("fsdp",), size, len(split))

    def _across_heads(self) -> Iterator[Transfer]:
        """Yields the sums of activations over `tensor`: of each layer, of the embeddings and of the vocabulary."""
        if self.split == 1:
            return
        encoder, axes = self.encoder, ("tensor",)
        # Remat "dots" keeps the results of products after their sum, so only "full" sums them again.
        again = 1 + (encoder.remat == "full")
        layers = encoder.num_layers * self.accumulation
        hidden = self.tokens * encoder.hidden_size * self.width
        forward, backward = self.cost.sums
        yield Transfer(
            "attention and feed-forward outputs",
            "all-reduce",
            axes,
            forward * hidden * layers * again,
            forward * layers,
        )
        yield Transfer("gradients of their inputs", "all-reduce", axes, backward * hidden * layers, backward * layers)
        embedded = self.tokens * encoder.embedding_width * self.width
        yield Transfer("embeddings", "all-reduce", axes, embedded * self.accumulation, self.accumulation)
        # The hidden gradients of the slots, and three sums per slot for each loss over the vocabulary.
        slot = self.rows * self.slots * (encoder.embedding_width * self.width + 3 * 4)
        yield Transfer(
            "sums over the vocabulary",
            "all-reduce",
            axes,
            slot * self.decoders * self.accumulation,
            4 * self.accumulation,
        )
        if self.config.objectives.distillation is not None:
            yield from self._teacher_across_heads(self.config.objectives.distillation)

    def _teacher_across_heads(self, distillation: DistillationConfig) -> Iterator[Transfer]:
        """Yields sums over `tensor`: those of the teacher's forward pass, and of soft targets over the vocabulary."""
        teacher = teacher_model(distillation, self.encoder).config
        axes, micro_batches = ("tensor",), self.accumulation
        sums = encoder_of(teacher).cost(teacher).sums[0] * teacher.num_layers
        size = self.tokens * self.width * (sums * teacher.hidden_size + teacher.embedding_width)
        yield Transfer("the teacher's outputs", "all-reduce", axes, size * micro_batches, (sums + 1) * micro_batches)
        # The student's hidden gradients. Five float32 sums for each position: the largest logit and the sum of
        # exponentials of both models, and the divergence. The backward pass of stretches computes them again.
        stretches = self.stretches()
        positions = self.tokens if stretches else self.rows * self.slots
        again = 2 if stretches else 1
        size = positions * (self.encoder.embedding_width * self.width + 5 * 4 * again)
        count = (1 + 3 * again) * max(1, stretches)
        yield Transfer("soft targets", "all-reduce", axes, size * micro_batches, count * micro_batches)

    # --- Operations --------------------------------------------------------------------------------------------------

    def ops(self) -> Iterator[Op]:
        """Yields the operations of a device in a step."""
        encoder = self.encoder
        for op in self.cost.layer(self.batch):
            yield op.times(encoder.num_layers * self.accumulation)
        for op in self._ends():
            yield op.times(self.accumulation)
        if self.config.objectives.distillation is not None:
            for op in self._teaching():
                yield op.times(self.accumulation)
        moved, trust = self.moments(), bool(trusted(self.config.optimizer))
        each = _GPU_OPTIMIZER_BYTES if self.platform == "gpu" else _ADAM_BYTES + _TRUST_BYTES * trust
        yield Op("optimizer", vector=moved * (20 + 6 * trust), bytes=moved * each)
        cast = sum(self.in_use(p)[0] for p in self.parameters if p.kind == "weight")
        if self.width < 4:
            yield Op("casts of weights", bytes=cast * (4 + self.width), count=self.accumulation)
        if self.platform == "tpu":
            each = _STARTS_A_MICRO_BATCH + _STARTS_A_LAYER * encoder.num_layers
            yield Op("starts of instructions", cycles=_START * (_STARTS_A_STEP + each * self.accumulation))
        if self.accumulation > 1:
            yield Op("sum of micro-batches", bytes=12 * self.resting(), count=self.accumulation)

    def _ends(self) -> Iterator[Op]:
        """Yields the operations of embeddings, heads and losses."""
        yield from self.cost.embeddings(self.batch)
        for head, sizes in sorted(self.heads.items()):
            for product in HEADS[head].products(self.encoder, **sizes):
                vectors = self.batch.vectors(product.over)
                if not product.planned:
                    continue
                if product.decodes:
                    yield from self._decoder(vectors)
                else:
                    yield dense_op("heads", vectors, product.into, product.out, self.width)
        # Corruption: keys, one sort, a gather; about 200 operations per token.
        yield Op("masking", vector=self.tokens * 200, bytes=self.tokens * 4 * 20)

    def _decoder(self, positions: float, *, train: bool = True) -> Iterator[Op]:
        encoder, width = self.encoder, self.width
        vocabulary = encoder.padded_vocab_size / self.split
        yield dense_op("decoder", positions, encoder.embedding_width, vocabulary, width, train=train)
        logits = positions * vocabulary
        yield Op("loss", vector=logits * 12, bytes=logits * 4 * (6 if train else 2))

    def _teaching(self) -> Iterator[Op]:
        """Yields the teacher's forward pass, and soft targets over the vocabulary on both sides."""
        distillation = self.config.objectives.distillation
        assert distillation is not None
        teacher = teacher_model(distillation, self.encoder).config
        # The plan counts the teacher's attention with the student's kernel.
        cost = encoder_of(teacher).cost(teacher).with_kernels_of(self.cost)
        for op in cost.layer(self.batch, train=False):
            yield op.times(teacher.num_layers)
        positions = self.rows * (self.slots if distillation.over == "masked" else self.phase.length)
        yield from self._decoder(positions)
        yield from self._decoder(positions, train=False)

    # --- Memory ------------------------------------------------------------------------------------------------------

    def memory(self) -> Memory:
        """Returns bytes by kind. The terms of activations were fitted to programs that libtpu compiled."""
        encoder, width = self.encoder, self.width
        # The gradients of the last micro-batch, beside the sum of all.
        gradients = 4.0 * self.resting() * (1 if self.accumulation > 1 else 0)
        stacked = sum(math.prod(self.in_use(p)) for p in self.parameters if p.stacked)
        tables = sum(math.prod(self.in_use(p)) for p in self.parameters if not p.stacked)
        layer = self.cost.saved(self.batch, "none")
        if encoder.remat == "none":
            saved = encoder.num_layers * layer
            copies = stacked if width < 4 or self.fsdp > 1 else 0.0
        else:
            saved = encoder.num_layers * self.cost.saved(self.batch, encoder.remat) + layer
            # The stack of layers, cast before the loop, a part of it in both orders; and two gathered layers.
            cast = sum(
                math.prod(self.in_use(p)) * self._share(tuple(axis for axis in p.axes if axis == "fsdp"))
                for p in self.parameters
                if p.stacked and width < 4
            )
            copies = 1.5 * cast + 2 * stacked / encoder.distinct_layers
        logits = self.rows * self.slots * encoder.padded_vocab_size / self.split * 4.0 * 2
        distillation = self.config.objectives.distillation
        other = 4.0 * self.rows * self.accumulation * (3 * self.phase.length + 1) + 2 * tables
        if distillation is not None:
            other += sum(2.0 * p.elements * self._share(p.axes) for p in self.teachers_parameters())
            logits += self.rows * min(distillation.chunk, self.phase.length) * encoder.padded_vocab_size * 4.0 * 3
        return Memory(
            parameters=4.0 * self.resting(),
            optimizer=8.0 * self.moments(),
            gradients=gradients + 4.0 * self.resting(),
            activations=saved + copies + logits,
            other=other,
        )

    def _task_flops(self, real: float) -> float:
        """Returns the FLOPs of the whole mesh for rows of their real tokens, all of the mean length.

        Scores of other lengths with the same mean take more, so this is a bound.
        """
        if real == 1.0:
            return self.task.flops_per_row * self.phase.batch_size
        length, count = (max(1, math.floor(real * n)) for n in (self.phase.length, slots(self.config, self.phase)))
        phase = dataclasses.replace(self.phase, length=length, slots=count)
        return _task(*_plain(self.config, phase)).flops_per_row * self.phase.batch_size

    def work(self, real: float) -> Work:
        """Returns all figures of the step. `real` is the share of the tokens that are not padding."""
        phase = self.phase
        return Work(
            model_flops=self.task.flops_per_row * phase.batch_size,
            task_flops=self._task_flops(real),
            ops=tuple(self.ops()),
            transfers=tuple(self.transfers()),
            memory=self.memory(),
            tokens=phase.batch_size * phase.length,
            parameters=sum(p.elements for p in self.parameters),
        )
