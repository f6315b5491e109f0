"""Compares LAMB with AdamW on BERT: validation loss over tokens, at two batch sizes and three rates each.

    taskset -c 1 python benchmarks/learning.py ROWS --out DIR

Every run is `jaxbert pretrain` in a separate process, with a separate folder under DIR. A finished run is not repeated,
and a stopped run continues. The program writes results/learning.json and results/learning.png, and prints a table.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, write

from jaxbert.config import (
    CheckpointConfig,
    DataConfig,
    EvaluationConfig,
    LoggingConfig,
    MaskedLMConfig,
    ObjectivesConfig,
    OptimizerConfig,
    OptimizerName,
    PhaseConfig,
    RowsSource,
    RunConfig,
    ScheduleConfig,
    load_json,
    save_json,
    slots,
    total_steps,
)
from jaxbert.data.pipeline import Rows
from jaxbert.models.families.bert import PRESETS

TOKENS = 2**18
POINTS = 8  # evaluations on the way, the last one at the end
# Rows a step -> rates, which bracket the best of each optimizer at that batch size.
RATES: dict[OptimizerName, dict[int, tuple[float, ...]]] = {
    "adamw": {8: (3e-4, 1e-3, 3e-3), 32: (3e-4, 1e-3, 3e-3)},
    "lamb_mlperf": {8: (1e-3, 3e-3, 1e-2), 32: (1e-3, 3e-3, 1e-2)},
}


def run_config(
    rows: Path,
    *,
    optimizer: OptimizerName,
    rate: float,
    batch_size: int,
    tokens: int,
    dropout: float = 0.0,
    points: int = POINTS,
    batches: int = 6,
    seed: int = 0,
) -> RunConfig:
    """Returns bert_mini's config for a budget in which the original recipe would still be at the constant guess.

    It has the quickstart's settings for a small model on few tokens: sinusoidal positions, large initial weights, 30%
    of the tokens predicted, short rows, many steps. The weights are above BERT's 0.02 and below the quickstart's 0.1,
    whose model is half as wide and half as deep. A third of the steps are warm-up: with a tenth, four post-LN layers
    stay at the constant guess.
    """
    train = Rows(rows, "train")
    encoder = dataclasses.replace(
        PRESETS["mini"],
        vocab_size=train.manifest["vocab_size"],
        max_positions=128,
        dropout=dropout,
        attention_dropout=dropout,
        initializer_range=0.04,
        position_init="sinusoidal",
    )
    steps = tokens // (batch_size * train.length)
    return RunConfig(
        name=f"{optimizer}-{batch_size}x{train.length}-{rate:g}-{seed}",
        encoder=encoder,
        objectives=ObjectivesConfig(masked_lm=MaskedLMConfig(rate=0.3)),
        optimizer=OptimizerConfig(name=optimizer, beta2=0.98, weight_decay=0.01, clip_norm=1.0),
        phases=(
            PhaseConfig(
                rows=(RowsSource(path=str(rows)),),
                length=train.length,
                batch_size=batch_size,
                steps=steps,
                schedule=ScheduleConfig(peak=rate, warmup_steps=steps // 3, decay_from="warmup"),
            ),
        ),
        data=DataConfig(source=""),
        checkpoint=CheckpointConfig(every_steps=steps, keep_best=False),
        evaluation=EvaluationConfig(every_steps=steps // points, batch_size=64, batches=batches),
        logging=LoggingConfig(every_steps=max(1, steps // 20), tensorboard=False),
        seed=seed,
    )


def run(config: RunConfig, out: Path) -> dict[str, Any]:
    """Makes the run unless it is done. Returns its settings, curve, last figures and seconds."""
    workdir, file = out / config.name, out / f"{config.name}.json"
    out.mkdir(parents=True, exist_ok=True)
    keep_to(config, file)
    curve = read_curve(workdir)
    if not curve or curve[-1]["step"] < total_steps(config):
        command = ["-m", "jaxbert", "pretrain", str(file), "--workdir", str(workdir)]
        subprocess.run([sys.executable, *command], check=True)
        curve = read_curve(workdir)
    phase = config.phases[0]
    schedule = phase.schedule
    assert schedule is not None
    for point in curve:
        point["tokens"] = point["step"] * phase.batch_size * phase.length
    clock = read_lines(workdir / "telemetry.jsonl")[-1]
    return {
        "name": config.name,
        "optimizer": config.optimizer.name,
        "batch_size": phase.batch_size,
        "length": phase.length,
        "rate": schedule.peak,
        "steps": phase.steps,
        "warmup_steps": schedule.warmup_steps,
        "seed": config.seed,
        # The first is for all steps. The second includes compilation and evaluations.
        "training_s": clock["useful_s"],
        "elapsed_s": clock["elapsed_s"],
        "final": curve[-1],
        "curve": curve,
    }


def keep_to(config: RunConfig, file: Path) -> None:
    """Saves the run's config as `file`. Stops where that file has other settings from another run."""
    if file.is_file() and load_json(file) != config:
        raise SystemExit(f"{file} is of a run with other settings: take another --out")
    save_json(config, file)


def read_curve(workdir: Path) -> list[dict[str, Any]]:
    """Returns the evaluations of a run: the step, and the figures without "validation_" in their names."""
    lines = [line for line in read_lines(workdir / "metrics.jsonl") if "validation_loss" in line]
    return [
        {name.removeprefix("validation_"): value for name, value in line.items() if name != "phase"} for line in lines
    ]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of a JSON-lines file. A file that does not exist has no lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def unigram(rows: Path) -> dict[str, float]:
    """Returns the loss (nats) and accuracy of a constant guess by token frequencies on the validation split.

    The frequencies are from each 20th row of the train split. Tokens that are never masked do not count.
    """
    train, validation = Rows(rows, "train"), Rows(rows, "validation")
    special = list(json.loads((rows / "tokenizer" / "special_tokens_map.json").read_text()).values())
    vocabulary = (rows / "tokenizer" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    ordinary = ~np.isin(vocabulary, special)

    def count(split: Rows, stride: int) -> np.ndarray:
        tokens = split.read(np.arange(0, len(split), stride))["tokens"]
        return np.bincount(tokens.ravel(), minlength=len(vocabulary))[ordinary]

    seen, wanted = count(train, 20) + 1.0, count(validation, 1)
    return {
        "masked_lm_loss": float(-(wanted * np.log(seen / seen.sum())).sum() / wanted.sum()),
        "masked_lm_accuracy": float(wanted[seen.argmax()] / wanted.sum()),
    }


def draw(runs: list[dict[str, Any]], floor: dict[str, float], path: Path) -> None:
    """Draws the masked-LM loss on validation rows over tokens: a panel for each batch size, colours for optimizers."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    sizes = sorted({run["batch_size"] for run in runs})
    colours, styles = {"adamw": "tab:blue", "lamb_mlperf": "tab:orange"}, (":", "-", "--")
    figure, panels = plt.subplots(1, len(sizes), figsize=(6 * len(sizes), 4.6), sharey=True, squeeze=False)
    for panel, size in zip(panels[0], sizes, strict=True):
        for optimizer, colour in colours.items():
            mine = sorted(
                (run for run in runs if run["batch_size"] == size and run["optimizer"] == optimizer),
                key=lambda run: run["rate"],
            )
            for run, style in zip(mine, styles, strict=False):
                panel.plot(
                    [point["tokens"] / 1e6 for point in run["curve"]],
                    [point["masked_lm_loss"] for point in run["curve"]],
                    color=colour,
                    linestyle=style,
                    marker="o",
                    markersize=3,
                    label=f"{NAMES[optimizer]}, rate {run['rate']:g}",
                )
        panel.axhline(floor["masked_lm_loss"], color="grey", linewidth=1)
        panel.annotate(
            "only token frequencies", (0.01, floor["masked_lm_loss"]), (0, 3), textcoords="offset points", color="grey"
        )
        panel.set_title(f"{size} rows x {runs[0]['length']} = {size * runs[0]['length']:,} tokens a step")
        panel.set_xlabel("training tokens (millions)")
        panel.grid(alpha=0.3)
        panel.legend()
    panels[0][0].set_ylabel("masked-LM loss, validation (nats a token)")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


NAMES = {"adamw": "AdamW", "lamb_mlperf": "LAMB"}


def table(runs: list[dict[str, Any]], floor: dict[str, float]) -> str:
    """Returns a Markdown table. The best loss of each optimizer and batch size is bold."""
    lines = [
        "| optimizer | rows a step | steps | rate | masked-LM loss | accuracy | training |",
        "|---|---|---|---|---|---|---|",
        f"| only token frequencies | | | | {floor['masked_lm_loss']:.3f} | {floor['masked_lm_accuracy']:.1%} | |",
    ]
    for run in runs:
        same = [r for r in runs if (r["optimizer"], r["batch_size"]) == (run["optimizer"], run["batch_size"])]
        best = run["final"]["masked_lm_loss"] == min(r["final"]["masked_lm_loss"] for r in same)
        loss = f"{run['final']['masked_lm_loss']:.3f}"
        loss = f"**{loss}**" if best else loss
        lines.append(
            f"| {NAMES[run['optimizer']]} | {run['batch_size']} | {run['steps']:,} | {run['rate']:g} | {loss} | "
            f"{run['final']['masked_lm_accuracy']:.1%} | {run['training_s']:.0f} s |"
        )
    return "\n".join(lines)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, metavar="ROWS", help="directory of `jaxbert rows`")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the runs are kept")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="tokens of each run (default: %(default)s)")
    arguments = parser.parse_args()
    rows = arguments.rows.absolute()
    configs = [
        run_config(rows, optimizer=optimizer, rate=rate, batch_size=size, tokens=arguments.tokens)
        for optimizer, sizes in RATES.items()
        for size, rates in sizes.items()
        for rate in rates
    ]
    runs = [run(config, arguments.out) for config in configs]
    floor = unigram(rows)
    first = configs[0]
    figures = {
        "tokens": arguments.tokens,
        "length": first.phases[0].length,
        "slots": slots(first, first.phases[0]),
        "vocab_size": first.encoder.vocab_size,
        "encoder": dataclasses.asdict(first.encoder),
        "optimizer": {name: value for name, value in dataclasses.asdict(first.optimizer).items() if name != "name"},
        "evaluation": dataclasses.asdict(first.evaluation),
        "rows": Rows(rows, "train").hash,
        "unigram": floor,
        "runs": runs,
    }
    write("learning", figures)
    draw(runs, floor, RESULTS / "learning.png")
    print(table(runs, floor))


if __name__ == "__main__":
    main()
