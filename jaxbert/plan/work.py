"""What one training step does, from the config alone: FLOPs, bytes, what is sent over which axis, what memory holds.

Nothing is compiled and no device is touched: shapes come from `jax.eval_shape`, places from the layout's tables. The
compiled program is the judge of memory where there is a compiler for the chip (`jaxbert.plan.compile`); this model goes
everywhere, ranks layouts in milliseconds, and is what its figures are held against.

All figures are of one device and one optimizer step, unless a name says otherwise.
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

# Optimizer bytes a parameter element, float32: read gradient, parameter, two moments; write the last three; the norm of
# the gradient; old and new once more, for the step that is not taken when something is not finite.
_ADAM_BYTES, _TRUST_BYTES = 4.0 * (4 + 3 + 1 + 3), 4.0 * 3


@dataclass(frozen=True)
class Parameter:
    """One parameter as the layout places it.

    Attributes:
      path: its name.
      elements: in all, layers included.
      kind: weight, bias or norm.
      stacked: over layers.
      axes: mesh axes that it is sharded over at rest.
      moment_axes: and its moments.
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
      what: for people.
      op: "all-gather" or "all-reduce".
      axes: mesh axes of the devices that take part.
      bytes: of the whole array that each of them has in the end, summed over the step.
      count: collectives in the step.
    """

    what: str
    op: str
    axes: tuple[str, ...]
    bytes: float
    count: float


@dataclass(frozen=True)
class Memory:
    """Bytes of HBM by kind, and what a program needs of it at once."""

    parameters: float
    optimizer: float
    gradients: float
    activations: float
    other: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.parameters + self.optimizer + self.gradients + self.activations + self.other


@dataclass(frozen=True)
class Work:
    """A step of one phase.

    Attributes:
      model_flops: of the whole mesh, by `Task.flops_per_row`: what MFU is measured by.
      ops: what a device does.
      transfers: what it sends.
      memory: what it holds, by the analytic model.
      tokens: of the whole mesh, padding included.
      parameters: elements of the whole model.
    """

    model_flops: float
    ops: tuple[Op, ...]
    transfers: tuple[Transfer, ...]
    memory: Memory
    tokens: int
    parameters: int

    @property
    def flops(self) -> float:
        """Of matrix products, recomputation and the vocabulary's padding included."""
        return sum(op.flops * op.count for op in self.ops)

    @property
    def vector(self) -> float:
        """Operations that are no matrix products."""
        return sum(op.vector * op.count for op in self.ops)

    @property
    def bytes(self) -> float:
        """Read and written in HBM."""
        return sum(op.bytes * op.count for op in self.ops)


def check_planned(config: RunConfig) -> None:
    """Raises InputError for a task whose work this model does not know: it would give the figures of another one."""
    if not kind_of_task(config).planned:
        raise InputError(
            f"a plan knows the work of one encoder with heads, not that of the task {config.task.name}",
            where="task.name",
            fix="Train it without a plan: run `jaxbert pretrain` with a layout by name, as --set mesh.layout=fsdp.",
            code="E-PLAN-TASK",
        )


def parameters_of(config: RunConfig, phase: PhaseConfig) -> tuple[Parameter, ...]:
    """Every parameter of the run's model, in the config's layout."""
    return _parameters(*_plain(config, phase))


def _plain(config: RunConfig, phase: PhaseConfig) -> tuple[RunConfig, PhaseConfig]:
    """Leaves out all that the model does not depend on: a search asks for the same models again and again."""
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
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0)))
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


def _axes(spec: Any) -> tuple[str, ...]:
    return tuple(axis for axis in spec if axis is not None)


def work(config: RunConfig, topology: Topology, phase: PhaseConfig) -> Work:
    """What a step of `phase` does on `topology`. The mesh's layout must be a name of `LAYOUTS`, not `auto`."""
    return _Step(config, topology, phase).work()


class _Step:
    """The figures that all parts of the model share."""

    def __init__(self, config: RunConfig, topology: Topology, phase: PhaseConfig):
        check_planned(config)
        self.config, self.encoder, self.phase = config, config.encoder, phase
        self.data, self.fsdp, self.tensor = mesh_shape(config.mesh, topology.chips)
        self.layout = config.mesh.layout
        self.split = self.tensor if "tensor" in LAYOUTS[self.layout].axes else 1
        self.sizes = {"data": self.data, "fsdp": self.fsdp, "tensor": self.tensor}
        self.width = compute_dtype(config.numerics.dtype, topology.chip.kind).itemsize
        self.accumulation = phase.accumulation
        rows = phase.batch_size / (self.data * self.fsdp * phase.accumulation)
        self.batch = MicroBatch(
            rows, phase.length, slots(config, phase), self.width, self.split, platform=topology.chip.kind
        )
        self.rows, self.tokens, self.slots = rows, self.batch.tokens, self.batch.slots
        self.parameters = parameters_of(config, phase)
        self.task = _task(*_plain(config, phase))
        assert isinstance(self.task.parts, Model)  # As `TaskKind.planned` says.
        self.heads = self.task.parts.sizes
        self.decoders = sum(HEADS[head].decodes for head in self.heads)
        self.cost = encoder_of(self.encoder).cost(self.encoder)

    # --- Sizes of what lies where ------------------------------------------------------------------------------------

    def _share(self, axes: tuple[str, ...]) -> float:
        return 1.0 / math.prod(self.sizes[axis] for axis in axes)

    def resting(self) -> float:
        """Parameter elements of one device."""
        return sum(p.elements * self._share(p.axes) for p in self.parameters)

    def moments(self) -> float:
        """Elements of one moment on one device."""
        return sum(p.elements * self._share(p.moment_axes) for p in self.parameters)

    def in_use(self, p: Parameter) -> tuple[float, int]:
        """(elements of one device once gathered over fsdp, bytes an element) of a parameter in the forward pass."""
        share = self._share(tuple(axis for axis in p.axes if axis != "fsdp"))
        return p.elements * share, self.width if p.kind == "weight" else 4

    def uses(self, p: Parameter) -> int:
        """How often a step's micro-batch makes a gradient of the parameter that is summed by itself.

        The word table is used by the embeddings and by each decoder; shared layers by every layer of their group.
        """
        if p.path == "encoder/embeddings/word/table":
            distilled = self.config.objectives.distillation is not None
            return 1 + self.decoders + int(distilled)
        return self.encoder.num_layers // self.encoder.distinct_layers if p.stacked else 1

    def teachers_parameters(self) -> tuple[Parameter, ...]:
        """The teacher's, in the run's layout."""
        distillation = self.config.objectives.distillation
        assert distillation is not None
        return _teachers_parameters(distillation, self.encoder, self.layout)

    # --- What is sent ------------------------------------------------------------------------------------------------

    def transfers(self) -> Iterator[Transfer]:
        """The collectives of a step; the contract between layout and network."""
        yield from self._gathers()
        yield from self._gradient_sums()
        yield from self._updates()
        yield from self._across_heads()

    def _gathers(self) -> Iterator[Transfer]:
        """Weights gathered over fsdp: forward, and in the backward pass again where layers are computed again."""
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

    def _gradient_sums(self) -> Iterator[Transfer]:
        """Gradients summed over the batch's axes, in the dtype of the weights in use, in every micro-batch."""
        axes = tuple(axis for axis in ("data", "fsdp") if self.sizes[axis] > 1)
        if not axes:
            return
        size = count = 0.0
        for p in self.parameters:
            size += math.prod(self.in_use(p)) * self.uses(p)
            # XLA joins the sums of a layer into one.
            count += self.uses(p) * (self.encoder.distinct_layers if p.stacked else 1) / 8
        yield Transfer("gradients", "all-reduce", axes, size * self.accumulation, math.ceil(count) * self.accumulation)

    def _updates(self) -> Iterator[Transfer]:
        """Parameters that are whole while their moments are sharded: the updated shards are gathered, in float32."""
        split = [p for p in self.parameters if "fsdp" in p.moment_axes and "fsdp" not in p.axes]
        if self.fsdp > 1 and split:
            size = 4.0 * sum(p.elements * self._share(p.axes) for p in split)
            yield Transfer("updated parameters", "all-gather", ("fsdp",), size, len(split))

    def _across_heads(self) -> Iterator[Transfer]:
        """Activations summed over `tensor`: each layer's, forward and backward; embeddings; the vocabulary's sums."""
        if self.split == 1:
            return
        encoder, axes = self.encoder, ("tensor",)
        again = 1 + (encoder.remat != "none")
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
        # The slots' hidden gradients, and three sums a slot for each loss over the vocabulary.
        slot = self.rows * self.slots * (encoder.embedding_width * self.width + 3 * 4)
        yield Transfer(
            "sums over the vocabulary",
            "all-reduce",
            axes,
            slot * self.decoders * self.accumulation,
            4 * self.accumulation,
        )

    # --- What is computed --------------------------------------------------------------------------------------------

    def ops(self) -> Iterator[Op]:
        """What a device computes in a step."""
        encoder = self.encoder
        for op in self.cost.layer(self.batch):
            yield op.times(encoder.num_layers * self.accumulation)
        for op in self._ends():
            yield op.times(self.accumulation)
        if self.config.objectives.distillation is not None:
            for op in self._teaching():
                yield op.times(self.accumulation)
        moved, trust = self.moments(), bool(trusted(self.config.optimizer))
        yield Op(
            "optimizer",
            vector=moved * (20 + 6 * trust),
            bytes=moved * (_ADAM_BYTES + _TRUST_BYTES * trust),
        )
        cast = sum(self.in_use(p)[0] for p in self.parameters if p.kind == "weight")
        if self.width < 4:
            yield Op("casts of weights", bytes=cast * (4 + self.width), count=self.accumulation)
        if self.accumulation > 1:
            yield Op("sum of micro-batches", bytes=12 * self.resting(), count=self.accumulation)

    def _ends(self) -> Iterator[Op]:
        """Embeddings, heads and losses."""
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
        # Corruption: keys, one sort, a gather; some 200 operations a token.
        yield Op("masking", vector=self.tokens * 200, bytes=self.tokens * 4 * 20)

    def _decoder(self, positions: float, *, train: bool = True) -> Iterator[Op]:
        encoder, width = self.encoder, self.width
        vocabulary = encoder.padded_vocab_size / self.split
        yield dense_op("decoder", positions, encoder.embedding_width, vocabulary, width, train=train)
        logits = positions * vocabulary
        yield Op("loss", vector=logits * 12, bytes=logits * 4 * (6 if train else 2))

    def _teaching(self) -> Iterator[Op]:
        """The teacher's forward pass, and soft targets over the vocabulary on both sides."""
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

    # --- What is held ------------------------------------------------------------------------------------------------

    def memory(self) -> Memory:
        """Bytes by kind. The activations' terms were fitted to programs that libtpu compiled."""
        encoder, width = self.encoder, self.width
        # Of the last micro-batch, beside their sum.
        gradients = 4.0 * self.resting() * (1 if self.accumulation > 1 else 0)
        stacked = sum(math.prod(self.in_use(p)) for p in self.parameters if p.stacked)
        tables = sum(math.prod(self.in_use(p)) for p in self.parameters if not p.stacked)
        layer = self.cost.saved(self.batch, "none")
        if encoder.remat == "none":
            saved = encoder.num_layers * layer
            copies = stacked if width < 4 or self.fsdp > 1 else 0.0
        else:
            saved = encoder.num_layers * self.cost.saved(self.batch, encoder.remat) + layer
            # The stack, cast before the loop over layers, some of it in both orders; and two layers gathered.
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

    def work(self) -> Work:
        """All of it."""
        phase = self.phase
        return Work(
            model_flops=self.task.flops_per_row * phase.batch_size,
            ops=tuple(self.ops()),
            transfers=tuple(self.transfers()),
            memory=self.memory(),
            tokens=phase.batch_size * phase.length,
            parameters=sum(p.elements for p in self.parameters),
        )
