"""Puts the plan's figures beside published runs of BERT encoders: two tables of docs/explanations/results.md.

python benchmarks/published.py [--write]     prints the tables; --write puts them between their marks; a minute
python benchmarks/published.py --compile     results/published.json: libtpu's estimates of `PROGRAMS`; half an hour,
                                             in the environment of `make test-tpu`

Every run is planned by the model: the published batch and length on the published chips, in the fastest layout,
micro-batches and remat that fit (`jaxbert plan --search`). A row of one length plans that phase only. A ratio of 0.5
says that the plan expects half of the published speed. `bound` is the plan's `best` for the real tokens of the rows, as
a multiple of the published speed. Nothing published may be above it.

The second table has each ratio that is off by more than `OFF`. It plans the same run again, each time nearer to what
the published program did. For TPUs it has libtpu's estimate of our step too, compiled for a slice that has as many
rows a device.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from common import RESULTS, write

from jaxbert.config import RunConfig, check, find_config, slots
from jaxbert.config.overrides import apply_overrides
from jaxbert.errors import InputError
from jaxbert.plan.compile import available, prepare
from jaxbert.plan.cost import ATTAINED, by_cycles, op_seconds, step_time
from jaxbert.plan.hlo import Module, cycles_of
from jaxbert.plan.layouts import Candidate, judge, matmul_share, search, sizes_of
from jaxbert.plan.planner import prepared
from jaxbert.plan.topologies import Topology, topology
from jaxbert.plan.work import work
from jaxbert.stores.files import write_whole

PAGE = Path(__file__).parents[1] / "docs" / "explanations" / "results.md"
BEGIN, END = "<!-- published: begin -->\n", "<!-- published: end -->"
# The marks of the second table.
PARTS_BEGIN, PARTS_END = "<!-- explained: begin -->\n", "<!-- explained: end -->"

# The share of tokens that are not padding in rows of 512 tokens of BERT's Wikipedia rows, one document's pair a row:
# Krell et al., arXiv 2107.02027, abstract of version 1 ("in excess of 50%" is padding).
WIKIPEDIA_512 = 0.5
# A ratio that is off by more has an explanation.
OFF = 1.5

NVIDIA = "NVIDIA/DeepLearningExamples, PyTorch/LanguageModeling/BERT/README.md"
MLPERF = "result logs of mlcommons/training_results_{}"
LAMB = "You et al., arXiv 1904.00962, table 1"

# What is known of a published program, and of nothing but it.
BINNED = (
    "NVIDIA's loader puts rows of like lengths together, so its program computes on little padding. Its attention "
    "stores scores, as ours does."
)
UNKNOWN = " We do not know whether its attention stores scores."
BUCKETS = "The published program has batches of six lengths and computes on little padding." + UNKNOWN
UNPADDED = "The published program skips padding, and its attention is a fused kernel."
FP8 = UNPADDED + " It computes some of its products in FP8."
FULL = "The published run computed on full padding, at about {} of the chip's peak."
JAX = (
    " Its attention stores scores, but in 16 bits, and its dropout has the hardware's random numbers. The plan joins "
    "four slices by a data centre's network. The published machine was probably joined by faster links; we have not "
    "checked it."
)
# Rows a second and chip of the baseline of LAMB's paper, which has 16 rows a core as its other runs have: table 1.
BASELINE = 512 * 1_000_000 / (81.4 * 3600) / 16
OLDER = (
    "The published time is that of a program of 2019. It may include evaluation and waiting for rows; the paper does "
    "not say. The plan leaves both out."
)
FLOAT16 = "The published program multiplies in float16. V100 has no bfloat16, so jaxbert computes in float32 there."

TWO_ERRORS = (
    "Two errors cancel. V100 has no bfloat16, so the plan computes in float32, whose peak is an eighth of that of "
    "float16. The published run reached only about 8% of the peak of float16, and the plan does not know why."
)


@dataclass(frozen=True)
class Program:
    """A step of ours that libtpu compiles, with as many rows a device as published runs have.

    Attributes:
      place: a slice that is quick to compile for.
      phase: number of the phase of bert_large_lamb.
      settings: batch, mesh and remat: the way that was planned for the published runs.
    """

    place: str
    phase: int
    settings: tuple[str, ...]

    def made(self) -> tuple[RunConfig, Topology]:
        """Returns the config and the topology."""
        place = topology(self.place)
        settings = ["evaluation.batch_size=256", *self.settings]
        return prepared(apply_overrides(find_config("bert_large_lamb"), settings), place)[0], place


def _zero1(batch: int, fsdp: int, *more: str) -> tuple[str, ...]:
    return (f"phases.*.batch_size={batch}", "mesh.layout=zero1", f"mesh.fsdp={fsdp}", "encoder.remat=dots", *more)


PROGRAMS = {
    "v4, 32 rows of 512": Program("v4:2x2x2", 1, _zero1(256, 8, "phases.1.slots=76")),
    "v4, 48 rows of 512": Program("v4:2x2x2", 1, _zero1(384, 8, "phases.1.slots=76")),
    "v3, 1 row of 512": Program(
        "v3:4x8",
        1,
        ("phases.*.batch_size=64", "mesh.layout=fsdp", "mesh.fsdp=64", "encoder.remat=none", "phases.1.slots=76"),
    ),
    "v3, 16 rows of 128": Program("v3:4x8", 0, _zero1(1024, 64)),
    "v3, 16 rows of 512": Program("v3:4x8", 1, _zero1(1024, 64)),
}


@dataclass(frozen=True)
class Published:
    """A published run.

    Attributes:
      name: chips, framework, length.
      source: where the figure is.
      config: our config of the same model and recipe.
      place, slices: the topology.
      rows_per_s: rows a second of all chips; 0 where `seconds` is given.
      seconds: seconds of the whole recipe, all phases.
      settings: batch, length and steps.
      phase: the phase whose rows are counted.
      real: share of the tokens that are not padding.
      known: what is known of the published program that the plan does not do.
      skips: whether the published program computes on little padding.
      stores: whether it is known that the published program stores scores.
      peak: the peak of its products, as a multiple of the chip's peak of 16 bits. 0 for a chip whose peak of 16 bits
        jaxbert cannot use, and the published program does.
      waits: whether its rows a chip are so few that messages matter.
      programs: names of `PROGRAMS`, one for each phase that is counted.
    """

    name: str
    source: str
    config: str
    place: str
    slices: int = 1
    rows_per_s: float = 0.0
    seconds: float = 0.0
    settings: tuple[str, ...] = ()
    phase: int = 0
    real: float = 1.0
    known: str = ""
    skips: bool = False
    stores: bool = False
    peak: float = 1.0
    waits: bool = False
    programs: tuple[str, ...] = ()


def mlperf(
    name: str, when: str, place: str, slices: int, batch: int, rows_per_s_chip: float, known: str, **more: Any
) -> Published:
    """Returns a run of MLPerf Training: BERT-large at 512 tokens with 76 predictions a row."""
    chips = topology(place, slices).chips
    return Published(
        name=f"MLPerf {when}: {name}, {batch:,} rows",
        source=MLPERF.format(when),
        config="bert_large_lamb",
        place=place,
        slices=slices,
        rows_per_s=rows_per_s_chip * chips,
        settings=("phases.1.slots=76", f"phases.*.batch_size={batch}"),
        phase=1,
        real=WIKIPEDIA_512,
        known=known,
        **more,
    )


def nvidia(gpus: int, chip: str, length: int, rows: int, rows_per_s: float) -> Published:
    """Returns a run of NVIDIA's BERT-large with LAMB. `rows` is the accumulated batch of a GPU."""
    batch = gpus * rows
    each = min(gpus, 8)
    return Published(
        name=f"PyTorch, {gpus} x {chip.upper()}, {length} tokens, {batch:,} rows",
        source=NVIDIA,
        config="bert_large_nvidia",
        place=f"{chip}:{each}",
        slices=gpus // each,
        rows_per_s=rows_per_s,
        settings=(f"phases.*.batch_size={batch}",),
        phase=0 if length == 128 else 1,
        real=1.0 if length == 128 else WIKIPEDIA_512,
        known=" ".join([FLOAT16] * (chip == "v100-32gb") + [BINNED] * (length == 512)),
        skips=length == 512,
        stores=True,
        peak=0.0 if chip == "v100-32gb" else 1.0,
    )


def lamb(
    batch: str,
    place: str,
    seconds: float,
    settings: tuple[str, ...],
    *,
    run: str = "LAMB",
    config: str = "bert_large_lamb",
) -> Published:
    """Returns a whole run of LAMB's paper: BERT-large, nine tenths of the rows of 128 tokens, then 512."""
    return Published(
        name=f"{run}, {topology(place).chips:,} TPU v3, {batch} rows, both lengths",
        source=LAMB,
        config=config,
        place=place,
        seconds=seconds,
        settings=settings,
        known=OLDER,
        programs=("v3, 16 rows of 128", "v3, 16 rows of 512"),
    )


def both(batch: int, steps: int) -> tuple[str, ...]:
    """Returns the settings of a recipe with one batch for both lengths."""
    return (f"phases.*.batch_size={batch}", f"phases.0.steps={steps * 9 // 10}", f"phases.1.steps={steps // 10}")


def runs() -> list[Published]:
    """Returns all published runs."""
    return [
        nvidia(1, "a100-80gb", 128, 8192, 580),
        nvidia(8, "a100-80gb", 128, 8192, 4591),
        nvidia(256, "a100-80gb", 128, 256, 138_294),
        nvidia(1, "a100-80gb", 512, 4096, 210),
        nvidia(8, "a100-80gb", 512, 4096, 1657),
        nvidia(256, "a100-80gb", 512, 128, 49_663),
        nvidia(8, "v100-32gb", 128, 4096, 1746),
        nvidia(8, "v100-32gb", 512, 2048, 586),
        mlperf(
            "8 TPU v4, TensorFlow",
            "v0.7",
            "v4:2x2x2",
            1,
            256,
            137,
            FULL.format("51%"),
            programs=("v4, 32 rows of 512",),
        ),
        mlperf(
            *("4,096 TPU v3, JAX", "v0.7", "v3:32x32", 4, 8192, 41.8),
            FULL.format("35%") + JAX,
            stores=True,
            waits=True,
            programs=("v3, 1 row of 512",),
        ),
        mlperf(
            *("64 TPU v4, TensorFlow", "v1.0", "v4:4x4x4", 1, 3072, 196),
            BUCKETS,
            skips=True,
            programs=("v4, 48 rows of 512",),
        ),
        mlperf("8 A100-80G", "v2.0", "a100-80gb:8", 1, 448, 325, UNPADDED, skips=True),
        mlperf("8 H100", "v3.0", "h100:8", 1, 768, 956, FP8, skips=True, peak=2.0),
        mlperf("768 H100", "v3.0", "h100:8", 96, 4608, 249, UNPADDED, skips=True, waits=True),
        mlperf("3,472 H100", "v4.1", "h100:8", 434, 13_888, 220, UNPADDED, skips=True, waits=True),
        mlperf("8 H200", "v5.0", "h200:8", 1, 768, 1016, FP8, skips=True, peak=2.0),
        mlperf("8 B200", "v5.0", "b200:8", 1, 768, 1449, FP8, skips=True, peak=2.0),
        # The paper's baseline. Its row of LAMB at this batch took 82.8 hours.
        lamb("512", "v3:4x4", 81.4 * 3600, both(512, 1_000_000), run="LAMB's baseline", config="bert_large"),
        lamb("8,192", "v3:16x16", 390.5 * 60, both(8192, 62_000)),
        lamb("32,768", "v3:32x32", 101.2 * 60, both(32_768, 15_600)),
        lamb("65,536, then 32,768", "v3:32x32", 76.19 * 60, ()),
        Published(
            name="RoBERTa-large, fairseq, 1,024 V100, 100,000 steps of 8,192 rows",
            source="Liu et al., arXiv 1907.11692, section 5 (about one day)",
            config="roberta_large",
            place="v100-32gb:8",
            slices=128,
            rows_per_s=100_000 * 8192 / 86_400,
            settings=("phases.*.batch_size=8192",),
            known=TWO_ERRORS,
            peak=0.0,
        ),
        Published(
            name="RoBERTa-large, run_mlm_flax.py, 4 TPU v3, 1,048 rows",
            source="card of NbAiLab's norwegian-roberta-large: 8,005 steps in 2 h 40 min",
            config="roberta_large",
            place="v3:2x2",
            rows_per_s=8005 * 1048 / 9600,
            settings=("phases.*.batch_size=1048", "phases.*.length=128"),
        ),
    ]


@dataclass(frozen=True)
class Compared:
    """A run beside the plan.

    Attributes:
      run: the run.
      config: the way to run it that was planned.
      searched: the number of ways that the search compared; 0 where the config was planned as it is.
      published, planned, bound: rows a second; for a whole recipe rows of both lengths.
      parts: for a ratio that is off, the ratios of the second table, by column; each includes the ones before it.
    """

    run: Published
    config: RunConfig
    searched: int
    published: float
    planned: float
    bound: float
    parts: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Returns the plan's speed as a multiple of the published one."""
        return self.planned / self.published

    @property
    def way(self) -> str:
        """Returns the planned layout, micro-batches and remat in words."""
        counts = [phase.accumulation for phase in self.config.phases]
        many = " and ".join(f"{count:,}" for count in dict.fromkeys(counts))
        mesh = self.config.mesh
        sizes = "".join(f" {size}" for size in (mesh.fsdp, mesh.tensor) if size > 1)
        word = "micro-batch" if many == "1" else "micro-batches"
        way = f"{mesh.layout}{sizes}, {many} {word}, remat {self.config.encoder.remat}"
        return way if self.searched else f"{way} (not searched)"

    @property
    def off(self) -> bool:
        """Returns whether the ratio is off by more than `OFF`."""
        return is_off(self.ratio)

    @property
    def why(self) -> str:
        """Returns what is known of the published program, and for a ratio that is off what explains it."""
        return " ".join([*([self.run.known] if self.run.known else []), *(self._explanation() if self.off else ())])

    def _explanation(self) -> Iterator[str]:
        parts = self.parts
        if LIBTPU in parts:
            yield f"libtpu's estimates of our compiled step give {parts[LIBTPU]:.2f}."
            if 0.8 < parts[LIBTPU] / self.ratio < 1.25:
                yield "So the plan is about right about our program, as far as these estimates are right."
            if len(self.run.programs) == 1:
                (program,) = (compiled()[name] for name in self.run.programs)
                yield f"{program['scores'] / program['cycles']:.0%} of the program's cycles read or write scores."
        for name, words in _WORDS.items():
            if name in parts and not (name == SCORES and self.run.stores):
                yield words.format(f"{parts[name]:.2f}")
        left = parts[LEFT]
        if is_off(left):
            factor = max(left, 1 / left)
            yield f"A factor of {factor:.1f} stays unexplained."
        else:
            yield f"The rest is within a factor of {OFF}."


def is_off(ratio: float) -> bool:
    """Returns whether a ratio is off by more than `OFF`."""
    return not 1 / OFF <= ratio <= OFF


# Columns of the second table, and what the text says of them.
LIBTPU, SCALED, TOKENS, DROPOUT, SCORES, PEAK, LEFT, WAITS = COLUMNS = (
    "by libtpu",
    "as fast as on 16 chips",
    "real tokens",
    "no dropout",
    "no stored scores",
    "published type",
    "left",
    "no waits",
)
_WORDS = {
    SCALED: (
        "Per chip the published run is slower than the paper's baseline on 16 chips, with as many rows a chip. If it "
        "were as fast, the ratio would be {}. So more than half of the difference is speed that the published program "
        "loses on more chips. The plan expects no such loss."
    ),
    TOKENS: "On real tokens only the plan expects {}.",
    DROPOUT: "Without dropout the plan expects {}.",
    SCORES: "Without stored scores too it expects {}.",
    PEAK: "At the peak of the published type it expects {}.",
    WAITS: "Without the waits for messages between machines, whose length is assumed, it would expect {}.",
}


def planned(run: Published) -> tuple[RunConfig, Topology]:
    """Returns what is planned for a run: its config, only with the phases that are counted, and its topology."""
    place = topology(run.place, run.slices)
    settings = [f"evaluation.batch_size={max(256, place.devices)}", *run.settings]
    config = prepared(apply_overrides(find_config(run.config), settings), place)[0]
    if not run.seconds:
        # A search gives all phases the same layout and remat, and limits the micro-batches of one by another's.
        config = dataclasses.replace(config, phases=(config.phases[run.phase],))
    return config, place


def compared(run: Published) -> Compared:
    """Returns a published run beside the plan's fastest way to run it that fits.

    Raises:
      ValueError: no way to run it fits.
    """
    config, place = planned(run)
    found = search(config, place)
    best = judge(found[0].config if found else config, place, run.real)
    if not best.fits:
        raise ValueError(f"{run.name}: no way to run it fits on {place.name}")
    rows = sum(phase.steps * phase.batch_size for phase in config.phases)
    bound = rows / sum(phase.steps * time.best for phase, time in zip(config.phases, best.times, strict=True))
    published = rows / run.seconds if run.seconds else run.rows_per_s
    made = Compared(run, best.config, len(found), published, rows / best.seconds, bound)
    if not made.off:
        return made
    speeds = dict(_parts(run, best, place))
    parts = {name: rows / seconds / published for name, seconds in speeds.items()}
    # Columns that are no part of what is known of the published program.
    hypothetical = {WAITS} | ({SCORES} if run.stores else set())
    left = [made.ratio, *(ratio for name, ratio in parts.items() if name not in hypothetical)][-1]
    return dataclasses.replace(made, parts=parts | {LEFT: left})


def _parts(run: Published, best: Candidate, place: Topology) -> Iterator[tuple[str, float]]:
    """Yields (column, seconds of the whole run), each with all that the columns before it have."""
    if run.programs:
        yield LIBTPU, _by_libtpu(run, best, place)
    if run.seconds:
        rows = sum(phase.steps * phase.batch_size for phase in best.config.phases)
        yield SCALED, _by_libtpu(run, best, place) * BASELINE / (rows / run.seconds / place.chips)
        return
    config, (phase,) = best.config, best.config.phases
    if run.skips:
        length, count = (int(run.real * each) for each in (phase.length, slots(config, phase)))
        config = dataclasses.replace(config, phases=(dataclasses.replace(phase, length=length, slots=count),))
        yield TOKENS, _fastest(config, place).seconds
    if place.chip.kind == "tpu":
        config = _changed(config, dropout=0.0, attention_dropout=0.0)
        yield DROPOUT, _fastest(config, place).seconds
    # V100 has no fused attention kernel that jax knows.
    if run.peak:
        scored, config = config, _changed(config, attention="fused", attention_dropout=0.0)
        yield SCORES, _fastest(config, place).seconds
        config = scored if run.stores else config
    if run.peak != 1:
        chip = dataclasses.replace(place.chip, bfloat16=True, flops=place.chip.flops * (run.peak or 1))
        place = dataclasses.replace(place, chip=chip)
        yield PEAK, _fastest(config, place).seconds
    if run.waits:
        yield WAITS, _fastest(config, place, waits=False).seconds


def _changed(config: RunConfig, **fields: Any) -> RunConfig:
    """Returns the config with other fields of its encoder."""
    encoder: Any = config.encoder
    return dataclasses.replace(config, encoder=dataclasses.replace(encoder, **fields))


def _by_libtpu(run: Published, best: Candidate, place: Topology) -> float:
    """Returns the seconds of a run by libtpu's estimates of our step, with the model's seconds of messages."""
    seconds = 0.0
    for name, phase, one, time in zip(run.programs, best.config.phases, best.works, best.times, strict=True):
        seconds += phase.steps * by_cycles(time, one, place, cycles=compiled()[name]["cycles"], kernels=0).expected
    return seconds


def _fastest(config: RunConfig, place: Topology, *, waits: bool = True) -> Candidate:
    """Returns the fastest way that fits in the config's mesh: each remat and number of micro-batches."""
    found = []
    (phase,) = config.phases
    for remat in ("none", "dots", "full"):
        for power in range((phase.batch_size // place.devices).bit_length()):
            phases = (dataclasses.replace(phase, accumulation=2**power),)
            changed = dataclasses.replace(_changed(config, remat=remat), phases=phases)
            try:
                check(changed, place.devices)
            except InputError:
                continue
            made = judge(changed, place)
            if not waits:
                (one,) = made.works
                one = dataclasses.replace(
                    one, transfers=tuple(dataclasses.replace(each, count=0.0) for each in one.transfers)
                )
                share = matmul_share(changed, place.chip)
                time = step_time(one, place, sizes_of(changed, place), matmul_share=share)
                made = dataclasses.replace(made, seconds=phase.steps * time.expected)
            found.append(made)
    return min(found, key=lambda one: (not one.fits, one.seconds))


@lru_cache(maxsize=1)
def compiled() -> dict[str, Any]:
    """Returns the recorded figures of `PROGRAMS`."""
    programs: dict[str, Any] = json.loads((RESULTS / "published.json").read_text(encoding="utf-8"))["programs"]
    return programs


def compile_program(name: str) -> dict[str, Any]:
    """Returns libtpu's figures of a program."""
    import jax

    from jaxbert.core.sharding import make_mesh
    from jaxbert.plan.compile import devices
    from jaxbert.training.step import build

    config, place = PROGRAMS[name].made()
    mesh = make_mesh(config.mesh, devices(place))
    built = build(config, mesh, PROGRAMS[name].phase)
    step: Any = built.step
    with jax.set_mesh(mesh):
        return figures_of(name, step.lower(built.state, built.frozen, built.batch).compile().as_text())


def figures_of(name: str, text: str) -> dict[str, Any]:
    """Returns cycles, those of instructions that read or write scores, and bytes, with the model's figures.

    Args:
      name: the program's name.
      text: the compiled module.
    """
    program, module = PROGRAMS[name], Module(text)
    config, place = program.made()
    phase = config.phases[program.phase]
    ours = work(config, place, phase)
    # Scores, their masks and gradients are the only arrays with two sides of L; random bits have one of L / 2.
    pair = re.compile(rf"\b{phase.length},{phase.length}\b|\b{phase.length},{phase.length // 2}\b")
    scores = 0
    for computation, one, count in module.executed():
        taken = (computation.instructions[each].shapes for each in one.operands if each in computation.instructions)
        if pair.search(" ".join((one.shapes, *taken))):
            scores += count * cycles_of(one)
    return {
        "place": program.place,
        "settings": list(program.settings),
        "cycles": module.cycles(),
        "scores": scores,
        "hbm_bytes": module.bytes(),
        "kernels": module.kernels(),
        "model_s": sum(op_seconds(op, place, ATTAINED) for op in ours.ops),
        "model_bytes": ours.bytes,
    }


def lines(found: list[Compared]) -> list[str]:
    """Returns the first table in Markdown."""
    table = [
        "| run | planned way | published rows/s | planned rows/s | planned / published | bound / published | why |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found:
        table.append(
            f"| {one.run.name} ({one.run.source}) | {one.way} | {one.published:,.0f} | {one.planned:,.0f} | "
            f"{one.ratio:.2f} | {one.bound / one.published:.2f} | {one.why} |"
        )
    return table


def parts_lines(found: list[Compared]) -> list[str]:
    """Returns the second table in Markdown: what explains each ratio that is off."""
    table = [f"| run | as planned | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for one in found:
        if one.off:
            cells = (f"{one.parts[name]:.2f}" if name in one.parts else "" for name in COLUMNS)
            table.append(f"| {one.run.name} | {one.ratio:.2f} | {' | '.join(cells)} |")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    if args.compile:
        # The children import jax with this environment.
        prepare()
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            programs = dict(zip(PROGRAMS, pool.map(compile_program, PROGRAMS), strict=True))
        print(f"wrote {write('published', {'libtpu': available(), 'programs': programs})}", file=sys.stderr)
        return
    found = [compared(run) for run in runs()]
    made = ((BEGIN, lines(found), END), (PARTS_BEGIN, parts_lines(found), PARTS_END))
    print("\n".join(line for _, table, _ in made for line in table))
    if args.write:
        text = PAGE.read_text(encoding="utf-8")
        for begin, table, end in made:
            before, _, rest = text.partition(begin)
            text = before + begin + "\n".join(table) + "\n" + end + rest.partition(end)[2]
        write_whole(PAGE, text)
        print(f"wrote them into {PAGE.name}", file=sys.stderr)


if __name__ == "__main__":
    main()
