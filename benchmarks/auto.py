"""Compares the recipe that `jaxbert pretrain auto` chooses with the quickstart's, and with tables of counts, on a text.

    python benchmarks/auto.py TEXT --out DIR [--minutes 10] [--write NAME]

Both runs are the command of a user, in a separate process each. The quickstart gets the vocabulary and the held-out
documents of the other run, so that both are evaluated on the same masked tokens. A finished run is not repeated, and a
stopped run continues. The program prints a table, and --write adds the figures to results/auto.json under NAME.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import RESULTS, machine
from learning import read_lines

from jaxbert.config import load_json, total_steps
from jaxbert.data.pipeline import Rows
from jaxbert.stores.files import write_whole

COUNTS = "two-sided counts, seeing what the model sees"


def command(*words: str) -> float:
    """Runs a jaxbert command, and returns its seconds."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "jaxbert", *words], check=True)
    return time.monotonic() - began


def evaluated(model: Path, rows: Path, file: Path) -> dict[str, Any]:
    """Returns the figures of a model on all validation rows of a directory, beside the tables of counts."""
    command("evaluate", str(model), "--data", str(rows), "--baselines", "--json", str(file))
    found = json.loads(file.read_text(encoding="utf-8"))
    return {name: found[name] for name in ("masked_lm_loss", "masked_lm_accuracy", "rows", "baselines")}


def described(workdir: Path) -> dict[str, Any]:
    """Returns the steps, tokens, seconds and the curve of a run."""
    config = load_json(workdir / "config.json")
    lines = read_lines(workdir / "metrics.jsonl")
    clock = [line for line in read_lines(workdir / "telemetry.jsonl") if "useful_s" in line][-1]
    tokens, ends = 0, []
    for phase in config.phases:
        ends.append((phase.steps, phase.batch_size * phase.length))
        tokens += phase.steps * phase.batch_size * phase.length

    def seen(step: int) -> int:
        total = 0
        for steps, each in ends:
            total += min(step, steps) * each
            step = max(0, step - steps)
        return total

    return {
        "steps": total_steps(config),
        "tokens": tokens,
        "training_s": clock["useful_s"],
        "elapsed_s": clock["elapsed_s"],
        "curve": [
            {"tokens": seen(line["step"]), "accuracy": line["validation_masked_lm_accuracy"]}
            for line in lines
            if "validation_masked_lm_accuracy" in line
        ],
    }


def main() -> None:
    """Makes both runs, evaluates them, and prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--without-quickstart", action="store_true", help="leave the quickstart's recipe out")
    parser.add_argument("--write", metavar="NAME", help="add the figures to results/auto.json under this name")
    parser.add_argument("--note", default="", help="a remark for the results, for example that the machine was busy")
    args = parser.parse_args()
    auto, quick = args.out / "auto", args.out / "quickstart"
    figures: dict[str, Any] = {"minutes": args.minutes, "note": args.note}
    words = ["--text", args.text]
    # A command that is repeated takes seconds. Those of the first one are kept.
    kept = args.out / "auto_command_s.json"
    seconds = command("pretrain", "auto", *words, "--minutes", f"{args.minutes:g}", "--workdir", str(auto))
    if not kept.is_file():
        write_whole(kept, f"{seconds:.0f}\n")
    figures["auto_command_s"] = json.loads(kept.read_text(encoding="utf-8"))
    config = load_json(auto / "config.json")
    figures["lines"] = json.loads((auto / "auto.json").read_text(encoding="utf-8"))["lines"]
    if not args.without_quickstart:
        command(
            *("pretrain", "quickstart", *words, "--workdir", str(quick), "--no-finish", "--set"),
            *(f"data.tokenizer={auto / 'tokenizer'}", f"encoder.vocab_size={config.encoder.vocab_size}"),
            f"data.validation_fraction={config.data.validation_fraction}",
        )
    rows = auto / "data" / f"rows-{config.data.policy}-{config.phases[-1].length}"
    figures["corpus_tokens"] = Rows(rows, "train").manifest["statistics"]["train"]["tokens"]
    runs = {"auto": auto} if args.without_quickstart else {"auto": auto, "quickstart": quick}
    for name, workdir in runs.items():
        figures[name] = described(workdir) | {"evaluation": evaluated(workdir, rows, args.out / f"{name}.json")}
    for line in table(figures):
        print(line)
    if args.write:
        file = RESULTS / "auto.json"
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        known[args.write] = {"machine": machine(), **figures}
        write_whole(file, json.dumps(known, indent=2) + "\n")
        print(f"wrote {file}")


def table(figures: dict[str, Any]) -> list[str]:
    """Returns the lines of a table in Markdown."""
    counts = figures["auto"]["evaluation"]["baselines"][COUNTS]
    lines = ["| | tokens | masked-LM accuracy |", "|---|---|---|", f"| {COUNTS} | | {counts:.1%} |"]
    for name in ("quickstart", "auto"):
        if name not in figures:
            continue
        found = figures[name]
        accuracy = found["evaluation"]["masked_lm_accuracy"]
        lines.append(f"| `{name}` | {found['tokens'] / 1e6:.1f}M | {accuracy:.1%} |")
    return lines


if __name__ == "__main__":
    main()
