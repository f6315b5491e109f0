"""Measures what pretraining brings: fine-tuned tasks against a random start, and BLiMP over the steps of the run.

    jaxbert pretrain benchmarks/mini.py --text TEXTS --workdir RUN --no-finish
    python benchmarks/gains.py RUN --data FOLDER [--blimp FOLDER] [--tasks sst2 stsb wnut17] [--seeds N] [--write]

RUN is a pretraining with its checkpoints. FOLDER of --data has the files of the tasks, as for benchmarks/finetune.py.
Both starts have the same encoder, tokenizer, settings and seeds; the random one has no pretraining. Each start has the
best of --rates for the task, by its first seed: one rate for both would be a handicap for one of them. BLiMP is scored
at every checkpoint that the run has kept, by `jaxbert score`. With --write, results/gains.json is written after each
task.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import ENVIRONMENT, RESULTS, machine, write
from finetune import TASKS, Task, as_records, splits_of

from jaxbert.config import load_json
from jaxbert.core.machine import cores
from jaxbert.data.sources.lines import read_whole_lines
from jaxbert.evaluate.score_files import find_inputs
from jaxbert.stores.steps import committed_steps

STARTS = ("pretrained", "random")


def finetuned(
    task: Task, run: Path, directory: Path, start: str, seeds: range, epochs: float, rate: float, *, files: Path
) -> list[Any]:
    """Returns the judgements of the seeds of one start, which is fine-tuned in `directory`."""
    if not seeds:
        return []
    encoder = load_json(run / "config.json").encoder
    begin = ["--init", str(run)] if start == STARTS[0] else ["--tokenizer", str(run / "tokenizer")]
    # The workdir of a run says all that its encoder is.
    sizes = {
        f"encoder.{name}": json.dumps(value) if not isinstance(value, str) else value
        for name, value in dataclasses.asdict(encoder).items()
        if name not in ("vocab_size", "vocab_multiple", "remat")
    }
    length = min(task.length, encoder.max_positions)
    settings = {
        **({} if start == STARTS[0] else sizes),
        "task.epochs": epochs,
        "task.metric": task.metric,
        "seed": seeds.start,
        "phases.0.length": length,
        "phases.0.schedule.peak": rate,
        "logging.sinks": "[]",
        "logging.page": "no",
        **({"task.problem": task.problem} if task.kind == "classification" else {}),
    }
    workdir = directory / start
    command = [
        *(sys.executable, "-m", "jaxbert", "finetune", task.config, *begin, "--workdir", str(workdir)),
        *("--train", str(files / "train.jsonl"), "--validation", str(files / "validation.jsonl")),
        *("--seeds", str(len(seeds)), "--set", *(f"{key}={value}" for key, value in settings.items())),
    ]
    environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(cores())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode and any(code in done.stderr for code in ("E-RUN-DIVERGED", "E-RUN-NOT-FINITE")):
        return [{"value": None}]  # the rate is too high
    if done.returncode:
        raise SystemExit(f"{start}: {done.stderr[-2000:]}")
    places = sorted(workdir.glob("seed-*/judgement.json")) or [workdir / "judgement.json"]
    return [json.loads(place.read_text(encoding="utf-8")) for place in places]


def values_by_rate(
    task: Task, run: Path, directory: Path, start: str, epochs: float, rates: Sequence[float]
) -> dict[float, float]:
    """Returns the value of the first seed at each rate. A correlation with a constant has no value, and is worth 0."""
    found = {}
    for rate in rates:
        place = directory / f"rate-{rate}"
        (judged,) = finetuned(task, run, place, start, range(1), epochs, rate, files=directory)
        found[rate] = judged["value"] or 0.0
        print(f"{start}, rate {rate}: {found[rate]:.4f}", flush=True)
    return found


def some_pairs(folder: Path, number: int, out: Path) -> Path:
    """Writes `number` pairs of each file of minimal pairs, at even distances, and returns the folder of the copies."""
    out.mkdir()
    for file in map(Path, find_inputs([str(folder)]).files):
        lines = [line for _, line in read_whole_lines(file)]
        chosen = lines[:: max(1, len(lines) // number)][:number] if number else lines
        text = "".join(f"{line}\n" for line in chosen)
        (out / f"{file.name.partition('.')[0]}.jsonl").write_text(text, encoding="utf-8")
    return out


def blimp(run: Path, folder: Path, step: int) -> dict[str, Any]:
    """Returns the accuracy of minimal pairs at a step of the run, all together and of each file."""
    with tempfile.TemporaryDirectory() as temporary:
        figures = Path(temporary) / "figures.json"
        command = [sys.executable, "-m", "jaxbert", "score", str(run / "checkpoints" / str(step)), str(folder)]
        out = ["--json", str(figures), "--out", f"{temporary}/pairs.jsonl"]
        done = subprocess.run([*command, *out], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"step {step}: {done.stderr[-2000:]}")
        found = json.loads(figures.read_text(encoding="utf-8"))
    return {
        **{key: found[key] for key in ("pairs", "accuracy", "interval", "ties")},
        "by_file": {name: one["accuracy"] for name, one in found["by_uid"].items()},
    }


def validation_at(run: Path) -> dict[int, float]:
    """Returns the masked-LM accuracy of the run's evaluations by their steps."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    name = "validation_masked_lm_accuracy"
    return {line["step"]: line[name] for line in lines if name in line}


def draw(curve: list[dict[str, Any]], path: Path) -> None:
    """Draws accuracy over the steps: of all pairs with their interval, of each file, and of the masked tokens."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    steps = [one["step"] for one in curve]
    figure, panels = plt.subplots(1, 2, figsize=(14, 4.8), constrained_layout=True)
    panels[1].set_prop_cycle(plt.cycler(linestyle=["-", "--"]) * plt.cycler(color=plt.get_cmap("tab10").colors))
    low, high = ([100 * one["interval"][side] for one in curve] for side in (0, 1))
    panels[0].fill_between(steps, low, high, alpha=0.2, label="95% interval")
    panels[0].plot(steps, [100 * one["accuracy"] for one in curve], marker="o", label="minimal pairs of BLiMP")
    masked = [None if one["masked_tokens"] is None else 100 * one["masked_tokens"] for one in curve]
    panels[0].plot(steps, masked, marker="s", linestyle="--", label="masked tokens of validation")
    for name in curve[-1]["by_file"]:
        label = name.replace("_", " ")
        panels[1].plot(steps, [100 * one["by_file"][name] for one in curve], marker=".", label=label)
    for panel in panels:
        panel.axhline(50, color="grey", linewidth=0.8)
        panel.set_xlabel("steps of pretraining")
        panel.set_ylabel("right (%)")
        panel.grid(alpha=0.3)
    panels[0].legend()
    panels[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--blimp", type=Path, metavar="FOLDER")
    parser.add_argument("--pairs", type=int, default=250, help="pairs of each file of minimal pairs; 0 takes all")
    parser.add_argument("--tasks", nargs="*", default=["sst2", "stsb", "wnut17"], choices=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3])
    parser.add_argument("--write", action="store_true", help="write results/gains.json")
    args = parser.parse_args()
    results: dict[str, Any] = {}
    for name in args.tasks:
        task = TASKS[name]
        ((train, validation),) = splits_of(task, args.data)
        with tempfile.TemporaryDirectory() as temporary:
            directory = Path(temporary)
            for split, examples in (("train", train), ("validation", validation)):
                lines = "".join(json.dumps(one) + "\n" for one in as_records(task, examples))
                (directory / f"{split}.jsonl").write_text(lines, encoding="utf-8")
            settings = {"epochs": args.epochs, "rates_tried": args.rates, "seeds": args.seeds}
            found: dict[str, Any] = {**about(args.run), **settings, "metric": task.metric}
            for start in STARTS:
                tried = values_by_rate(task, args.run, directory, start, args.epochs, args.rates)
                rate = max(tried, key=lambda rate: tried[rate])
                others = range(1, args.seeds)
                judged = finetuned(task, args.run, directory, start, others, args.epochs, rate, files=directory)
                values = [tried[rate], *(one["value"] or 0.0 for one in judged)]
                deviation = statistics.stdev(values) if len(values) > 1 else None
                found[start] = {
                    "rate": rate,
                    "first_seed_by_rate": {str(rate): round(value, 4) for rate, value in tried.items()},
                    "mean": statistics.fmean(values),
                    "deviation": deviation,
                    "values": values,
                }
        found["points_gained"] = round(100 * (found[STARTS[0]]["mean"] - found[STARTS[1]]["mean"]), 2)
        results[name] = found
        print(json.dumps({name: found}, indent=2), flush=True)
        if args.write:
            save({"results": results})
    if args.blimp is None:
        return
    curve = []
    with tempfile.TemporaryDirectory() as temporary:
        pairs = some_pairs(args.blimp, args.pairs, Path(temporary) / args.blimp.name)
        masked = validation_at(args.run)
        for step in committed_steps(args.run):
            curve.append({"step": step, "masked_tokens": masked.get(step), **blimp(args.run, pairs, step)})
            print(json.dumps(curve[-1])[:300], flush=True)
            if args.write:
                save({"blimp": {**about(args.run), "pairs_of_each_file": args.pairs or "all", "curve": curve}})
                draw(curve, RESULTS / "blimp.png")


def about(run: Path) -> dict[str, Any]:
    """Returns the measured revision, and the name, the steps and the masked-LM accuracy of a pretraining run."""
    config = load_json(run / "config.json")
    return {
        "revision": machine()["revision"],
        "processor": machine()["processor"],
        "run": config.name,
        "steps": sum(phase.steps for phase in config.phases),
        "masked_tokens": list(validation_at(run).values())[-1],
    }


def save(new: dict[str, Any]) -> None:
    """Writes new figures beside those of earlier calls."""
    file = RESULTS / "gains.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    processor = {"processor": before.get("machine", {}).get("processor", "")}
    earlier = {name: {**processor, **found} for name, found in before.get("results", {}).items()}
    blimp = new.get("blimp") or {**processor, **before.get("blimp", {})}
    figures = {"results": {**earlier, **new.get("results", {})}, "blimp": blimp}
    print(f"wrote {write('gains', figures)}", flush=True)


if __name__ == "__main__":
    main()
