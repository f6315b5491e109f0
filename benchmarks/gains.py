"""Measures what pretraining brings: fine-tuned tasks against a random start, and BLiMP over the steps of the run.

    jaxbert pretrain benchmarks/mini.py --text TEXTS --workdir RUN --no-finish
    python benchmarks/gains.py RUN --data FOLDER [--blimp FOLDER] [--tasks sst2 stsb wnut17] [--seeds N] [--write]

RUN is a pretraining with its checkpoints. FOLDER of --data has the files of the tasks, as for benchmarks/finetune.py.
Both starts have the same encoder, tokenizer, settings and seeds; the random one has no pretraining. The rate is the one
that `jaxbert finetune` fits to the size of the model, the same for both. BLiMP is scored at every checkpoint that the
run has kept, by `jaxbert score`. With --write, results/gains.json is written after each task.
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
from pathlib import Path
from typing import Any

from common import ENVIRONMENT, RESULTS, write
from finetune import TASKS, Task, as_records, splits_of

from jaxbert.config import load_json
from jaxbert.core.machine import cores
from jaxbert.stores.steps import committed_steps

STARTS = ("pretrained", "random")


def finetuned(task: Task, run: Path, directory: Path, start: str, seeds: int, epochs: float, rate: float) -> list[Any]:
    """Returns the judgements of the seeds of one start."""
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
        "phases.0.length": length,
        "phases.0.lengths": json.dumps([each for each in task.lengths if each < length]),
        **({"phases.0.schedule.peak": rate} if rate else {}),
        "logging.sinks": "[]",
        "logging.page": "no",
        **({"task.problem": task.problem} if task.kind == "classification" else {}),
    }
    workdir = directory / start
    command = [
        *(sys.executable, "-m", "jaxbert", "finetune", task.config, *begin, "--workdir", str(workdir)),
        *("--train", str(directory / "train.jsonl"), "--validation", str(directory / "validation.jsonl")),
        *("--seeds", str(seeds), "--set", *(f"{key}={value}" for key, value in settings.items())),
    ]
    environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(cores())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{start}: {done.stderr[-2000:]}")
    places = sorted(workdir.glob("seed-*/judgement.json")) or [workdir / "judgement.json"]
    return [json.loads(place.read_text(encoding="utf-8")) for place in places]


def blimp(run: Path, folder: Path, step: int) -> dict[str, Any]:
    """Returns the accuracy of minimal pairs at a step of the run."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        model = run / "checkpoints" / str(step)
        command = [sys.executable, "-m", "jaxbert", "score", str(model), str(folder), "--json", file.name]
        done = subprocess.run([*command, "--out", os.devnull, "--overwrite"], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"step {step}: {done.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(Path(file.name).read_text(encoding="utf-8"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--blimp", type=Path, metavar="FOLDER")
    parser.add_argument("--tasks", nargs="*", default=["sst2", "stsb", "wnut17"], choices=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--rate", type=float, default=0.0, help="0: the rate that the size of the model asks for")
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
            found: dict[str, Any] = {"metric": task.metric}
            for start in STARTS:
                judged = finetuned(task, args.run, directory, start, args.seeds, args.epochs, args.rate)
                # A correlation with a constant has no value, and is worth nothing.
                values = [one["value"] or 0.0 for one in judged]
                deviation = statistics.stdev(values) if len(values) > 1 else None
                found[start] = {"mean": statistics.fmean(values), "deviation": deviation, "values": values}
        found["points_gained"] = round(100 * (found[STARTS[0]]["mean"] - found[STARTS[1]]["mean"]), 2)
        results[name] = found
        print(json.dumps({name: found}, indent=2), flush=True)
        if args.write:
            save(args, {"results": results})
    if args.blimp is None:
        return
    curve = []
    for step in committed_steps(args.run):
        curve.append({"step": step, **blimp(args.run, args.blimp, step)})
        print(json.dumps(curve[-1])[:300], flush=True)
        if args.write:
            save(args, {"blimp": curve})


def save(args: argparse.Namespace, new: dict[str, Any]) -> None:
    """Writes new figures beside those of earlier calls."""
    file = RESULTS / "gains.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    results = {**before.get("results", {}), **new.get("results", {})}
    config = load_json(args.run / "config.json")
    lines = (args.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    settings = {
        "run": config.name,
        "steps": sum(phase.steps for phase in config.phases),
        "validation": next(line for line in map(json.loads, reversed(lines)) if "validation_loss" in line),
        "epochs": args.epochs,
        "rate": args.rate or "fitted",
        "seeds": args.seeds,
    }
    figures = {"settings": settings, "results": results, "blimp": new.get("blimp", before.get("blimp", []))}
    print(f"wrote {write('gains', figures)}", flush=True)


if __name__ == "__main__":
    main()
