"""Steps that the TPU compiler is given: run by test_compile.py, recorded by tests/goldens/record_tpu_*.py."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import jax

from jaxbert.config import RunConfig, find_config
from jaxbert.config.overrides import apply_overrides
from jaxbert.plan.compile import Compiled, compile_step
from jaxbert.plan.planner import prepared
from jaxbert.plan.topologies import Topology, topology
from jaxbert.plan.work import Work, work


@contextmanager
def little_effort() -> Iterator[None]:
    """Makes the compiler search less for fast programs: the step of bert_large takes 60 s of its CPU instead of 217.

    The program is another one. Its memory is 3% to 5% smaller here, so it has its own recorded figures. Its cycles are
    4 to 7 times as many. It may sum the decoder's gradient of the word table in float32. It sums gradients in each run
    of a loop, for example those of weights that layers share, where the program of full effort sums them once after the
    loop. What else it sends is the same.
    """
    before = jax.config.jax_exec_time_optimization_effort
    jax.config.update("jax_exec_time_optimization_effort", -1.0)
    try:
        yield
    finally:
        jax.config.update("jax_exec_time_optimization_effort", before)


@dataclass(frozen=True)
class Case:
    """A step that is compiled.

    Attributes:
      config: name of the config.
      place: slice.
      phase: number of the phase.
      slices: number of slices.
      settings: settings of the config.
      full: whether the quick set leaves it out.
      quicker: whether the quick set compiles it with little effort.
      little: whether every set compiles it with little effort, so that only what it sends is held.
    """

    config: str
    place: str
    phase: int = 0
    slices: int = 1
    settings: tuple[str, ...] = ()
    full: bool = False
    quicker: bool = False
    little: bool = False

    def __str__(self) -> str:
        slices = f"{self.slices} x " if self.slices > 1 else ""
        return " ".join((self.config, f"{slices}{self.place}", f"phase {self.phase}", *self.settings))

    def made(self) -> tuple[RunConfig, Topology]:
        config = apply_overrides(find_config(self.config), list(self.settings))
        place = topology(self.place, self.slices)
        return prepared(config, place)[0], place

    def compile(self) -> tuple[Work, Compiled]:
        config, place = self.made()
        with little_effort() if self.little else contextlib.nullcontext():
            return work(config, place, config.phases[self.phase]), compile_step(config, place, self.phase)


# A step of each family, tiny, over data, fsdp and tensor.
MESHED = ("mesh.fsdp=2", "mesh.tensor=2", "encoder.vocab_multiple=256")
FAMILIES = [Case(f"{family}_tiny", "v5e:2x4") for family in ("bert", "roberta", "albert", "spanbert")] + [
    Case("distilbert_tiny", "v5e:2x4", settings=("objectives.distillation.teacher=config:bert_tiny",)),
    Case("bert_tiny", "v5e:2x4", settings=MESHED),
    Case("roberta_tiny", "v5p:2x2x2", settings=("mesh.fsdp=8", "mesh.layout=fsdp")),
    Case("bert_tiny", "v5e:2x4", slices=2),
    # Splash, whose blocks are of 128 tokens.
    Case(
        "bert_tiny",
        "v5e:2x4",
        settings=("encoder.attention=fused", "encoder.attention_dropout=0", "phases.*.length=128"),
    ),
]
# Sizes as they are published; in the quick set LAMB's largest batches, which need a pod. Splash holds no probabilities.
SIZES = [
    Case("bert_large_lamb", "v5p:8x8x16", 0),
    # It sends as much as the phase before, because the gradients are as large.
    Case("bert_large_lamb", "v5p:8x8x16", 1, quicker=True),
    *(
        Case(config, place, phase, full=True)
        for config in ("bert_base", "bert_large")
        for place in ("v5e:4x4", "v5p:4x4x4", "v6e:4x4")
        for phase in (0, 1)
    ),
    Case("bert_base_fast", "v5e:4x4", 1, full=True),
    Case("bert_base", "v5e:4x4", 0, settings=("mesh.layout=zero1", "mesh.fsdp=16"), full=True),
    Case("bert_base", "v5e:4x4", 0, settings=("mesh.tensor=4", "encoder.vocab_multiple=512"), full=True),
    Case("bert_base", "v6e:4x4", 0, slices=2, settings=("mesh.fsdp=16", "mesh.layout=fsdp"), full=True),
    Case("bert_large", "v5e:4x4", 1, settings=("mesh.layout=fsdp", "mesh.fsdp=16", "encoder.remat=dots"), full=True),
]
# Too large on purpose, and small enough to be compiled in seconds.
TOO_LARGE = Case("bert_tiny", "v5e:1x1", settings=("phases.*.batch_size=32768", "evaluation.batch_size=8"))

FSDP = ("mesh.layout=fsdp", "mesh.fsdp=4")
TENSOR = ("mesh.tensor=2", "mesh.layout=fsdp_tensor", "encoder.vocab_multiple=256")
OTHERS = [
    Case("albert_tiny", "v5e:2x2"),
    Case("albert_tiny", "v5e:2x2", settings=FSDP),
    Case("albert_tiny", "v5e:2x2", settings=(*FSDP, "phases.*.accumulation=2")),
    Case("bert_tiny", "v5e:2x2", settings=(*FSDP, "phases.*.accumulation=2")),
    Case("bert_tiny", "v5e:2x2", settings=(*TENSOR, "encoder.remat=dots")),
    Case("bert_tiny", "v5e:2x2", settings=(*TENSOR, "encoder.remat=full")),
    Case("bert_mini", "v5e:2x2", full=True),
    Case("bert_mini", "v6e:2x2", full=True),
    Case("bert_small", "v5p:2x2x1", full=True),
    Case("bert_base", "v5e:4x4", 0, full=True),
    Case("bert_base", "v5e:4x4", 1, full=True),
    Case("albert_base", "v5e:2x2", settings=("phases.*.batch_size=64",), full=True),
    Case("albert_base", "v5e:2x2", settings=("phases.*.batch_size=64", *FSDP, "phases.*.accumulation=2"), full=True),
    Case(
        "bert_large",
        "v5e:4x4",
        settings=("mesh.tensor=4", "mesh.layout=fsdp_tensor", "encoder.vocab_multiple=512", "encoder.remat=full"),
        full=True,
    ),
    Case("albert_base", "v5e:2x2", settings=("phases.*.batch_size=64", *TENSOR, "encoder.remat=full"), full=True),
    Case(
        "albert_xxlarge",
        "v5e:4x4",
        settings=("mesh.layout=fsdp", "mesh.fsdp=16", "phases.*.accumulation=16"),
        full=True,
    ),
]

# The base size of each family, on four chips with 16 rows of 512 tokens each (BERT: 64 of 128), or two micro-batches.
ROWS = ("phases.*.batch_size=64",)
BASES = {
    "bert_base": (),
    "roberta_base": ROWS,
    "albert_base": ROWS,
    "distilbert_base": (*ROWS, "objectives.distillation.teacher=config:bert_base"),
    "spanbert_base": ROWS,
}
LAYOUTS = {
    "replicated": ("mesh.layout=replicated",),
    "zero1": ("mesh.layout=zero1", "mesh.fsdp=4"),
    "fsdp": ("mesh.layout=fsdp", "mesh.fsdp=4"),
    "fsdp and data": ("mesh.layout=fsdp", "mesh.fsdp=2"),
    "tensor": ("mesh.layout=fsdp_tensor", "mesh.tensor=2", "encoder.vocab_multiple=256"),
}


def base(
    family: str, layout: str, remat: str, *settings: str, place: str = "v5e:2x2", slices: int = 1, little: bool = False
) -> Case:
    """Returns a program of the base size of a family."""
    settings = (*BASES[family], *LAYOUTS[layout], f"encoder.remat={remat}", *settings)
    return Case(family, place, slices=slices, settings=settings, full=True, little=little)


REMATS = ("none", "dots", "full")
# Programs of other families than ALBERT that are compiled as `pretrain` compiles them. With little effort the compiler
# sums ALBERT's gradients in each layer, so its programs are all usual ones.
USUAL = {
    ("bert_base", "replicated", "none"),
    ("bert_base", "fsdp", "full"),
    ("distilbert_base", "replicated", "none"),
    ("distilbert_base", "fsdp", "full"),
}
PUBLISHED = [
    *(
        base(*one, little=one[0] != "albert_base" and one not in USUAL)
        for one in itertools.product(BASES, LAYOUTS, REMATS)
    ),
    base("bert_base", "tensor", "dots", place="tpu7x:2x2x1", little=True),
    base("spanbert_base", "zero1", "dots", place="v3:2x2", little=True),
    base("roberta_base", "replicated", "none", place="v4:2x2x1", little=True),
    Case(
        "roberta_base",
        "v5p:2x2x1",
        settings=("phases.*.batch_size=16", *LAYOUTS["fsdp"], "encoder.remat=none"),
        full=True,
    ),
]
# Programs whose traffic, cycles and bytes are recorded in goldens/tpu_work.json, to which the model is held. They cover
# families, layouts, remat, shared layers and both lengths, at published sizes and at tiny ones.
WORKS = [*OTHERS, *PUBLISHED]
