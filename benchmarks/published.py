"""Puts the plan's figures beside published runs of BERT encoders: a table of docs/explanations/results.md.

python benchmarks/published.py [--write]     prints the table; --write puts it between its marks; a minute

Every run is planned by the model, because no compiler is here for most of these chips: the published batch and length
on the published chips, in the fastest layout, micro-batches and remat that fit (`jaxbert plan --search`). A ratio of
0.5 says that the plan expects half of the published speed. `bound` is the plan's `best` for the real tokens of the
rows, as a multiple of the published speed. Nothing published may be above it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from jaxbert.config import find_config
from jaxbert.config.overrides import apply_overrides
from jaxbert.plan.layouts import judge, search
from jaxbert.plan.planner import prepared
from jaxbert.plan.topologies import topology
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

BINNED = (
    "The loader puts rows of like lengths together. Half of the tokens of its rows are padding, on which we compute."
)
PASSES = (
    "Our attention writes scores and dropout masks to memory, and libtpu's estimates, to which the model is fitted, "
    "count many cycles for each pass over them. Nobody has measured how right these estimates are at 512 tokens."
)
BUCKETS = "The program has batches of six lengths and little padding. " + PASSES
UNPADDED = "The program skips padding, and its attention is a fused kernel."
FP8 = UNPADDED + " Some of its products are in FP8."
SMALL = UNPADDED + " With {} rows a chip, the plan waits for messages, 50 microseconds for each hop between machines."
OLDER = "A program of 2019, whose time includes evaluation and waiting for rows. The plan leaves both out."
FLOAT16 = "Products in float16. V100 has no bfloat16, so jaxbert computes in float32 there."


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
      why: the reason of a ratio that is off by more than `OFF`.
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


def nvidia(gpus: int, chip: str, length: int, rows_per_s: float, why: str = "") -> Published:
    """Returns a run of NVIDIA's BERT-large with LAMB: 8,192 rows a GPU at 128 tokens, 4,096 at 512."""
    batch = gpus * (8192 if length == 128 else 4096)
    each = min(gpus, 8)
    return Published(
        name=f"PyTorch, {gpus} x {chip.upper()}, {length} tokens",
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


def lamb(batch: str, place: str, seconds: float, settings: tuple[str, ...]) -> Published:
    """Returns a whole run of LAMB's paper: BERT-large, nine tenths of the rows of 128 tokens, then 512."""
    return Published(
        name=f"LAMB, {topology(place).chips:,} TPU v3, {batch} rows, both lengths",
        source=LAMB,
        config="bert_large_lamb",
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
        nvidia(1, "a100-80gb", 128, 580),
        nvidia(8, "a100-80gb", 128, 4591),
        nvidia(256, "a100-80gb", 128, 138_294),
        nvidia(1, "a100-80gb", 512, 210, BINNED),
        nvidia(8, "a100-80gb", 512, 1657, BINNED),
        nvidia(256, "a100-80gb", 512, 49_663, BINNED),
        nvidia(8, "v100-32gb", 128, 1746, FLOAT16),
        nvidia(8, "v100-32gb", 512, 586, FLOAT16 + " " + BINNED),
        mlperf("8 TPU v4, TensorFlow", "v0.7", "v4:2x2x2", 1, 256, 137, PASSES),
        mlperf("4,096 TPU v3, JAX", "v0.7", "v3:32x32", 4, 8192, 41.8, PASSES),
        mlperf("64 TPU v4, TensorFlow", "v1.0", "v4:4x4x4", 1, 3072, 196, BUCKETS),
        mlperf("8 A100-80G", "v2.0", "a100-80gb:8", 1, 448, 325, UNPADDED),
        mlperf("8 H100", "v3.0", "h100:8", 1, 768, 956, FP8),
        mlperf("768 H100", "v3.0", "h100:8", 96, 4608, 249, SMALL.format(6)),
        mlperf("3,472 H100", "v4.1", "h100:8", 434, 13_888, 220, SMALL.format(4)),
        mlperf("8 H200", "v5.0", "h200:8", 1, 768, 1016, FP8),
        mlperf("8 B200", "v5.0", "b200:8", 1, 768, 1449, FP8),
        lamb("512", "v3:4x4", 81.4 * 3600, both(512, 1_000_000)),
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
            why=FLOAT16,
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
      published, planned, bound: rows a second; for a whole recipe rows of both lengths.
    """

    run: Published
    published: float
    planned: float
    bound: float

    @property
    def ratio(self) -> float:
        """Returns the plan's speed as a multiple of the published one."""
        return self.planned / self.published

    @property
    def off(self) -> bool:
        """Returns whether the ratio is off by more than `OFF`."""
        return not 1 / OFF <= self.ratio <= OFF


def compared(run: Published) -> Compared:
    """Returns a published run beside the plan's fastest way to run it that fits."""
    place = topology(run.place, run.slices)
    settings = [f"evaluation.batch_size={max(256, place.devices)}", *run.settings]
    config = prepared(apply_overrides(find_config(run.config), settings), place)[0]
    # Where so many devices leave a search nothing to change, the config as it is.
    found = search(config, place)
    best = judge(found[0].config if found else config, place, run.real)
    phases = list(enumerate(config.phases)) if run.seconds else [(run.phase, config.phases[run.phase])]
    rows = sum(phase.steps * phase.batch_size for _, phase in phases)
    planned, bound = (
        rows / sum(phase.steps * float(getattr(best.times[index], name)) for index, phase in phases)
        for name in ("expected", "best")
    )
    return Compared(run, rows / run.seconds if run.seconds else run.rows_per_s, planned, bound)


def lines(found: list[Compared]) -> list[str]:
    """Returns the table in Markdown."""
    table = ["| run | published rows/s | plan | ratio | bound | why |", "|---|---|---|---|---|---|"]
    for one in found:
        table.append(
            f"| {one.run.name} ({one.run.source}) | {one.published:,.0f} | {one.planned:,.0f} | {one.ratio:.2f} | "
            f"{one.bound / one.published:.2f} | {one.run.why if one.off else ''} |"
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
