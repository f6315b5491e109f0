"""Puts the plan's figures beside published runs of BERT encoders: a table of docs/explanations/results.md.

python benchmarks/published.py [--write]     prints the table; --write puts it between its marks; a minute

Every run is planned by the model, because libtpu and CUDA's compilers cannot serve most of these chips without one: the
published batch and length on the published chips, in the fastest layout, micro-batches and remat that fit
(`jaxbert plan --search`). A row of one length plans that phase only. A ratio of 0.5 says that the plan expects half of
the published speed. `bound` is the plan's `best` for the real tokens of the rows, as a multiple of the published speed.
Nothing published may be above it.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

from jaxbert.config import RunConfig, find_config
from jaxbert.config.overrides import apply_overrides
from jaxbert.plan.layouts import judge, search
from jaxbert.plan.planner import prepared
from jaxbert.plan.topologies import Topology, topology
from jaxbert.stores.files import write_whole

PAGE = Path(__file__).parents[1] / "docs" / "explanations" / "results.md"
BEGIN, END = "<!-- published: begin -->\n", "<!-- published: end -->"

# The share of tokens that are not padding in rows of 512 tokens of BERT's Wikipedia rows, one document's pair a row:
# Krell et al., arXiv 2107.02027, abstract of version 1 ("in excess of 50%" is padding).
WIKIPEDIA_512 = 0.5
# A ratio that is off by more has an explanation.
OFF = 1.5

NVIDIA = "NVIDIA/DeepLearningExamples, PyTorch/LanguageModeling/BERT/README.md"
MLPERF = "result logs of mlcommons/training_results_{}"
LAMB = "You et al., arXiv 1904.00962, table 1"

NO_GPU = "We have not compared the model with a GPU's program."
BINNED = (
    "NVIDIA's loader puts rows of like lengths together, so its program computes on little padding. The plan computes "
    "on all 512 positions. How much of the ratio this explains was not measured. " + NO_GPU
)
PASSES = (
    "The published run computed on full padding, at about {} of the chip's peak. The plan expects that jaxbert's "
    "attention writes scores and dropout masks to memory. Its costs are fitted to libtpu's estimates for programs on "
    "v5e, v5p and v6e, and not to a program on {}. Neither these estimates nor the plan were measured at 512 tokens."
)
POD = (
    " The plan joins four slices by a data centre's network. The published machine was probably joined by faster "
    "links; we have not checked it."
)
BUCKETS = (
    "The published program has batches of six lengths and computes on little padding. The plan computes on all 512 "
    "positions, and its costs of attention are fitted to libtpu's estimates on v5e, v5p and v6e. Neither part was "
    "measured."
)
UNPADDED = (
    "The published program skips padding, and its attention is a fused kernel. The plan computes on all 512 positions "
    "with unfused attention. The parts were not measured. " + NO_GPU
)
FP8 = UNPADDED + " The published program computes some of its products in FP8."
SMALL = (
    UNPADDED + " With {} rows a chip, the plan waits for messages between machines. It assumes 10 microseconds for "
    "each, and nobody has measured that."
)
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
      why: what a reader should know about the ratio. A ratio that is off by more than `OFF` has it.
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
    why: str = ""


def mlperf(name: str, when: str, place: str, slices: int, batch: int, rows_per_s_chip: float, why: str) -> Published:
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
        why=why,
    )


def nvidia(gpus: int, chip: str, length: int, rows: int, rows_per_s: float, why: str = "") -> Published:
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
        why=why,
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
        why=OLDER,
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
        nvidia(1, "a100-80gb", 512, 4096, 210, BINNED),
        nvidia(8, "a100-80gb", 512, 4096, 1657, BINNED),
        nvidia(256, "a100-80gb", 512, 128, 49_663, BINNED),
        nvidia(8, "v100-32gb", 128, 4096, 1746, FLOAT16),
        nvidia(8, "v100-32gb", 512, 2048, 586, FLOAT16 + " " + BINNED),
        mlperf("8 TPU v4, TensorFlow", "v0.7", "v4:2x2x2", 1, 256, 137, PASSES.format("51%", "v4")),
        mlperf("4,096 TPU v3, JAX", "v0.7", "v3:32x32", 4, 8192, 41.8, PASSES.format("35%", "v3") + POD),
        mlperf("64 TPU v4, TensorFlow", "v1.0", "v4:4x4x4", 1, 3072, 196, BUCKETS),
        mlperf("8 A100-80G", "v2.0", "a100-80gb:8", 1, 448, 325, UNPADDED),
        mlperf("8 H100", "v3.0", "h100:8", 1, 768, 956, FP8),
        mlperf("768 H100", "v3.0", "h100:8", 96, 4608, 249, SMALL.format(6)),
        mlperf("3,472 H100", "v4.1", "h100:8", 434, 13_888, 220, SMALL.format(4)),
        mlperf("8 H200", "v5.0", "h200:8", 1, 768, 1016, FP8),
        mlperf("8 B200", "v5.0", "b200:8", 1, 768, 1449, FP8),
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
            why=TWO_ERRORS,
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
    """

    run: Published
    config: RunConfig
    searched: int
    published: float
    planned: float
    bound: float

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
        return not 1 / OFF <= self.ratio <= OFF


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
    phases = list(zip(config.phases, best.times, strict=True))
    rows = sum(phase.steps * phase.batch_size for phase, _ in phases)
    speeds = [
        rows / sum(phase.steps * float(getattr(time, name)) for phase, time in phases) for name in ("expected", "best")
    ]
    published = rows / run.seconds if run.seconds else run.rows_per_s
    return Compared(run, best.config, len(found), published, *speeds)


def lines(found: list[Compared]) -> list[str]:
    """Returns the table in Markdown."""
    table = [
        "| run | planned way | published rows/s | planned rows/s | planned / published | bound / published | why |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found:
        table.append(
            f"| {one.run.name} ({one.run.source}) | {one.way} | {one.published:,.0f} | {one.planned:,.0f} | "
            f"{one.ratio:.2f} | {one.bound / one.published:.2f} | {one.run.why} |"
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    made = lines([compared(run) for run in runs()])
    print("\n".join(made))
    if args.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        write_whole(PAGE, before + BEGIN + "\n".join(made) + "\n" + END + after)
        print(f"wrote it into {PAGE.name}", file=sys.stderr)


if __name__ == "__main__":
    main()
