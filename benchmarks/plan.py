"""Runs `jaxbert plan` for a table of docs/how-to/plan.md, for 8 to 4,096 chips, and for a CPU, where it compares times.

python benchmarks/plan.py table [--analytic]     that table, between its marks; an hour with libtpu
python benchmarks/plan.py table --keep-memory    the same with the settings and the memory that it has; a minute
python benchmarks/plan.py scaling                8 to 4,096 chips: results/plan_scaling.json and .png
python benchmarks/plan.py cpu [--write]          predicted beside measured steps on this machine
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import math
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import ENVIRONMENT, RESULTS, write

from jaxbert.stores.files import write_whole

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "plan.md"
BEGIN, END = "<!-- plan: begin -->\n", "<!-- plan: end -->"


# ----------------------------------------------------------------------------------------------------------------------
# The table of docs/how-to/plan.md

FAMILIES = ("bert_base", "roberta_base", "albert_base", "spanbert_base", "distilbert_base")
PLACES = ("v5e:8x8", "v5p:4x4x4", "v6e:8x8", "h200:8")


def row(config: str, place: str, compiled: bool) -> tuple[list[str], dict[str, Any]]:
    """Returns (head and row in Markdown, the plan) for the config, or for the change of it that `plan` says fits.

    The row has the model's times, which need no compiler. The memory is the compiler's where it is asked.
    """
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "plan.json"
        settings: list[str] = []
        # First by the model, which takes a second, and then by the compiler.
        for by_model in (True, True, False, False) if compiled else (True, True):
            command = [sys.executable, "-m", "jaxbert", "plan", config, "--topology", place, "--table", *settings]
            ran = subprocess.run(
                [*command, *["--analytic"] * by_model, "--json", str(file)],
                capture_output=True,
                text=True,
                env=os.environ | ENVIRONMENT,
            )
            if ran.returncode == 0:
                if by_model != compiled:
                    made = json.loads(file.read_text(encoding="utf-8"))
                    if by_model:
                        return ran.stdout.splitlines(), made
                    times = subprocess.run(
                        [*command, "--analytic"], capture_output=True, text=True, env=os.environ | ENVIRONMENT
                    )
                    return with_memory_of(times.stdout.splitlines(), ran.stdout.splitlines()[2]), made
                continue
            fix = re.search(r"would fit: (--set .*?)\. --search", ran.stderr)
            if ran.returncode != 2 or fix is None:
                raise RuntimeError(f"{' '.join(command)}: {ran.stderr}")
            settings = shlex.split(fix[1])
        raise RuntimeError(f"{config} on {place}: what would fit does not: {ran.stderr}")


def planned_again(line: str) -> list[str]:
    """Returns head and row for the config, the topology and the settings of a row, by the model."""
    from jaxbert.commands.main import main as jaxbert

    config, place, settings = (cell.strip("`| ") for cell in line.split(" | ")[:3])
    command = ["plan", config, "--topology", place, "--table", "--analytic"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        if jaxbert([*command, "--set", *settings.split()] if settings else command):
            raise RuntimeError(f"{shlex.join(command)} failed")
    return said.getvalue().splitlines()


def with_memory_of(lines: list[str], other: str) -> list[str]:
    """Returns head and row with the memory that another row of the same run has."""
    cells, others = lines[2].split(" | "), other.split(" | ")
    column = lines[0].split(" | ").index("HBM a device")
    if cells[:column] != others[:column]:
        raise RuntimeError(f"these are not the same run: {lines[2]} and {other}")
    cells[column] = others[column]
    return [*lines[:2], " | ".join(cells)]


def table(compiled: bool, keep_memory: bool) -> None:
    """Writes the table.

    Args:
      compiled: whether to take the memory from the compiler.
      keep_memory: whether to take settings and memory from the table as it is.
    """
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    if keep_memory:
        lines = [with_memory_of(planned_again(line), line) for line in old.splitlines()[2:]]
        judged = {"the table as it was"}
    else:
        wanted = [(config, place) for config in FAMILIES for place in PLACES]
        with ThreadPoolExecutor(2 if compiled else 1) as pool:
            made = list(pool.map(lambda pair: row(*pair, compiled), wanted))
        lines = [one for one, _ in made]
        judged = {plan["judged_by"] for _, plan in made}
    listed = [*lines[0][:2], *(one[2] for one in lines)]
    print("\n".join(listed))
    write_whole(PAGE, before + BEGIN + "\n".join(listed) + "\n" + END + after)
    print(f"wrote it into {PAGE.name}; memory: {'; '.join(sorted(judged))}", file=sys.stderr)


# ----------------------------------------------------------------------------------------------------------------------
# From 8 to 4,096 chips

# Slices that are sold. Beyond the largest one, several of it.
GROWTH = {
    "v5e": [(shape, 1) for shape in ("2x4", "4x4", "4x8", "8x8", "8x16", "16x16")]
    + [("16x16", slices) for slices in (2, 4, 8, 16)],
    "v5p": [
        (shape, 1)
        for shape in ("2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16", "16x16x16")
    ],
}
ROWS_A_CHIP, GLOBAL_ROWS = 64, 32_768
CONFIG, PHASE = "bert_large_lamb", 1
KINDS = ("rows a chip", "rows in all")
# With the style of its line. fsdp is over at most 64 chips, which are whole sides of a slice.
LAYOUTS = {"replicated": "-", "fsdp": ":"}


def scaling() -> None:
    """Plans bert_large at 512 tokens with LAMB: step time and memory at 64 rows a chip, and at 32,768 rows in total."""
    found = [
        one
        for chip, slices in GROWTH.items()
        for shape, count in slices
        for layout in LAYOUTS
        for kind in KINDS
        for one in grown(chip, shape, count, layout, kind)
    ]
    write_whole(RESULTS / "plan_scaling.json", json.dumps(found, indent=1) + "\n")
    draw(found)
    for one in found:
        print(
            f"{one['chip']} {one['chips']:>5} chips, {one['layout']}, {one['kind']}: {1e3 * one['step_s']:9.1f} ms, "
            f"{one['hbm_bytes'] / 2**30:6.2f} GiB, sent {one['communication_share']:.1%}, MFU {one['mfu']:.0%}"
        )


def grown(chip: str, shape: str, count: int, layout: str, kind: str) -> Iterator[dict[str, Any]]:
    """Returns one point; None where the number of chips does not divide the batch."""
    from jaxbert.config import find_config
    from jaxbert.config.overrides import apply_overrides
    from jaxbert.errors import InputError
    from jaxbert.plan.layouts import judge, matmul_share
    from jaxbert.plan.planner import prepared
    from jaxbert.plan.topologies import topology

    place = topology(f"{chip}:{shape}", count)
    rows = ROWS_A_CHIP * place.chips if kind == "rows a chip" else GLOBAL_ROWS
    # Micro-batches of at most 16 rows a chip.
    accumulation = max(1, rows // place.chips // 16)
    settings = [f"phases.*.batch_size={rows}", f"phases.*.accumulation={accumulation}", "encoder.remat=dots"]
    settings += [f"evaluation.batch_size={max(256, place.chips)}"]
    if layout == "fsdp":
        settings += ["mesh.layout=fsdp", f"mesh.fsdp={whole_sides(place.shape)}"]
    try:
        config, _ = prepared(apply_overrides(find_config(CONFIG), settings), place)
    except InputError as error:
        print(f"{place.name} x {count}, {layout}, {kind}: {error}", file=sys.stderr)
        return
    candidate = judge(config, place)
    time_, work = candidate.times[PHASE], candidate.works[PHASE]
    peak = place.chip.flops * matmul_share(config, place.chip)
    yield {
        "chip": chip,
        "chips": place.chips,
        "slices": count,
        "layout": layout,
        "kind": kind,
        "rows": rows,
        "step_s": time_.expected,
        "best_s": time_.best,
        "communication_share": time_.communication_share,
        "hbm_bytes": work.memory.total,
        "mfu": work.model_flops / (time_.expected * place.devices * peak),
    }


def whole_sides(shape: tuple[int, ...]) -> int:
    """Returns a number of at most 64 chips that make whole sides of a slice, so that their axis is a ring."""
    subsets = itertools.chain.from_iterable(itertools.combinations(shape, count) for count in (1, 2, 3))
    return max(product for product in map(math.prod, subsets) if product <= 64)


def draw(found: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(3, 2, figsize=(11, 9), sharex=True, constrained_layout=True)
    titles = (f"{ROWS_A_CHIP} rows a chip", f"{GLOBAL_ROWS:,} rows in all")
    for column, (kind, title) in enumerate(zip(KINDS, titles, strict=True)):
        for chip, colour in (("v5e", "#0072b2"), ("v5p", "#d55e00")):
            for layout, dashes in LAYOUTS.items():
                part = [one for one in found if (one["chip"], one["kind"], one["layout"]) == (chip, kind, layout)]
                chips = [one["chips"] for one in part]
                style = {"color": colour, "ls": dashes, "marker": "o", "markersize": 3, "label": f"{chip}, {layout}"}
                axes[0, column].plot(chips, [one["step_s"] for one in part], **style)
                axes[1, column].plot(chips, [one["communication_share"] for one in part], **style)
                axes[2, column].plot(chips, [one["hbm_bytes"] / 2**30 for one in part], **style)
        axes[0, column].set(title=title, xscale="log", ylabel="seconds a step, expected")
        axes[1, column].set(ylabel="share of what is sent", ylim=(0, 0.35))
        axes[2, column].set(xlabel="chips", ylabel="GiB of HBM a chip", ylim=(0, 14))
        axes[2, column].set_xticks([8, 32, 128, 512, 2048], ["8", "32", "128", "512", "2,048"])
        for panel in axes[:, column]:
            panel.minorticks_off()
            panel.grid(alpha=0.3)
    axes[0, 0].set_ylim(0, None)
    axes[0, 1].set_yscale("log")
    axes[0, 0].legend(frameon=False)
    figure.suptitle("bert_large, 512 tokens, LAMB, remat dots: the plan's model (v5e beyond 256 chips: several slices)")
    figure.savefig(RESULTS / "plan_scaling.png", dpi=110)


# ----------------------------------------------------------------------------------------------------------------------
# A CPU as a chip

CASES = {
    "quickstart 32x32": ("quickstart", 32, 32),
    "quickstart 16x64": ("quickstart", 16, 64),
    "bert_tiny 32x128": ("bert_tiny", 32, 128),
    "bert_mini 32x128": ("bert_mini", 32, 128),
    "bert_small 16x128": ("bert_small", 16, 128),
    "bert_base 4x128": ("bert_base", 4, 128),
    "bert_base 2x512": ("bert_base", 2, 512),
}
# The cases to which the shares of the rates are fitted. The others are predicted.
CALIBRATES = ("quickstart 32x32", "bert_mini 32x128", "bert_base 4x128")
SHARES = ("products", "other arithmetic", "memory")


def cpu(writing: bool, rounds: int) -> None:
    """Compares measured steps with the prediction by the rates, before and after some of the cases calibrated them."""
    from train_step import Case, our_step, run_config

    from jaxbert.plan.cost import Efficiency, step_time
    from jaxbert.plan.here import measured_cpu
    from jaxbert.plan.layouts import sizes_of
    from jaxbert.plan.topologies import Topology
    from jaxbert.plan.work import work

    place = Topology(measured_cpu(seconds=2.0), (1,))
    chip = place.chip
    rates = {key: getattr(chip, key) for key in ("flops", "vector", "hbm_bandwidth", "gather")}
    print(
        f"products {chip.flops / 1e9:.0f} GFLOP/s, other arithmetic {chip.vector / 1e9:.0f} Gop/s, "
        f"memory {chip.hbm_bandwidth / 1e9:.1f} GB/s, look-ups {chip.gather / 1e9:.1f} GB/s"
    )
    steps, works, sizes = {}, {}, {}
    for name, (config_name, batch, length) in CASES.items():
        case = Case(config_name, batch, length, 1)
        config = run_config(case)
        step = our_step(case)
        steps[name] = step
        works[name], sizes[name] = work(config, place, config.phases[0]), sizes_of(config, place)

    times: dict[str, list[float]] = {name: [] for name in CASES}
    # Cases run in turns, so that a noisy minute affects all of them. The first two rounds are for warming up.
    for number in range(rounds + 2):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if number >= 2:
                times[name].append(time.perf_counter() - began)
    measured = {name: statistics.median(values) for name, values in times.items()}

    def predicted(name: str, shares: tuple[float, float, float]) -> float:
        attained = Efficiency(*shares, network=1.0, hidden=0.0)
        return step_time(works[name], place, sizes[name], attained=attained).expected

    def error(shares: tuple[float, float, float]) -> float:
        return sum(math.log(predicted(name, shares) / measured[name]) ** 2 for name in CALIBRATES)

    # Products cannot be faster than their peak. Data in the cache can be faster than memory.
    grids = ([0.5 + 0.02 * n for n in range(28)], *([0.1 * 1.08**n for n in range(44)],) * 2)
    shares = (1.0, 1.0, 1.0)
    for _ in range(20):
        for index in range(3):
            shares = min(((*shares[:index], value, *shares[index + 1 :]) for value in grids[index]), key=error)
    print("attained: " + ", ".join(f"{key} {value:.2f}" for key, value in zip(SHARES, shares, strict=True)))
    rows = {}
    for name, seconds in measured.items():
        alone, calibrated = predicted(name, (1.0, 1.0, 1.0)), predicted(name, shares)
        rows[name] = {
            "measured_s": seconds,
            "rates_alone_s": alone,
            "calibrated_s": calibrated,
            "calibrates": name in CALIBRATES,
        }
        print(
            f"{name:20} measured {1e3 * seconds:8.1f} ms; rates alone {1e3 * alone:8.1f} ms, {alone / seconds:.2f}; "
            f"calibrated {1e3 * calibrated:8.1f} ms, {calibrated / seconds:.2f}{' *' * (name in CALIBRATES)}"
        )
    if writing:
        fitted = dict(zip(SHARES, shares, strict=True))
        print(write("plan_cpu", {"rates": rates, "attained": fitted, "cases": rows}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("table")
    one.add_argument("--analytic", action="store_true", help="take the memory from the model")
    one.add_argument("--keep-memory", action="store_true", help="take settings and memory from the table as it is")
    commands.add_parser("scaling")
    one = commands.add_parser("cpu")
    one.add_argument("--write", action="store_true")
    one.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    match args.command:
        case "table":
            table(not args.analytic and not args.keep_memory, args.keep_memory)
        case "scaling":
            scaling()
        case _:
            if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
                # The commands of jaxbert begin in the same way, because a process chooses huge pages when it starts.
                sys.exit(subprocess.call([sys.executable, *sys.argv], env=os.environ | ENVIRONMENT))
            cpu(args.write, args.rounds)


if __name__ == "__main__":
    main()
