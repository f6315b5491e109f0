"""Measures the seconds from a command to its first optimizer step, with a cold and a warm compilation cache.

    python benchmarks/first_step.py [--case NAME ...] [--rounds N] [--rows DIR] [--write]

Our side is `jaxbert pretrain` as a user types it, on existing rows, up to its first line of metrics.jsonl. The cold run
has an empty compilation cache, and the warm run has the cache that the cold run left. The peer is a minimal script with
Hugging Face's BERT, eager, on one batch: interpreter, imports, model, optimizer, step.
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
import time
from pathlib import Path
from typing import Any

from jaxbert.config import find_config
from jaxbert.config.overrides import apply_overrides
from jaxbert.models.families import FAMILIES

SOURCE = "sample:aws-docs"
VOCABULARY = 8192


@dataclasses.dataclass(frozen=True)
class Case:
    """A config of ours with another batch in its first phase. `lengths` has L for the rows of each phase."""

    config: str
    rows: int
    lengths: dict[str, int]
    changes: tuple[str, ...] = ()

    @property
    def settings(self) -> list[str]:
        """Returns the settings for --set."""
        return [f"phases.0.batch_size={self.rows}", "logging.every_steps=1", *self.changes]

    @property
    def length(self) -> int:
        """L of the first phase."""
        return next(iter(self.lengths.values()))


CASES = {
    "quickstart 32x32": Case("quickstart", 32, {"short": 32, "long": 64}),
    "bert_base 2x128": Case("bert_base", 2, {"seq128": 128, "seq512": 512}, (f"encoder.vocab_size={VOCABULARY}",)),
}

# The script imports nothing of ours, because the time to import jax would count against it.
PEER = """
import json, sys, time
import torch, transformers
imported = time.time()
rows, length, published = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
model = transformers.BertForPreTraining(transformers.BertConfig(**published)).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
built = time.time()
ids = torch.randint(5, published["vocab_size"], (rows, length))
ones = torch.ones_like(ids)
labels = torch.where(torch.rand(ids.shape) < 0.15, ids, -100)
model(ids, ones, ones, labels=labels, next_sentence_label=ones[:, 0]).loss.backward()
torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
optimizer.step()
print(json.dumps({"imported": imported, "built": built, "stepped": time.time()}))
"""


def make_rows(directory: Path) -> None:
    """Makes a tokenizer, records, and rows of each case's length, unless they exist."""
    jaxbert = [sys.executable, "-m", "jaxbert"]
    tokenizer, records = directory / "tokenizer", directory / "records"
    quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    size = ["--vocab-size", str(VOCABULARY)]
    subprocess.run([*jaxbert, "tokenizer", SOURCE, *size, "--out", str(tokenizer)], **quiet)
    prepare = ["prepare", SOURCE, "--tokenizer", str(tokenizer), "--out", str(records), "--no-rows"]
    subprocess.run([*jaxbert, *prepare], **quiet)
    for length in sorted({length for case in CASES.values() for length in case.lengths.values()}):
        out = str(directory / f"rows-{length}")
        subprocess.run([*jaxbert, "rows", str(records), "--length", str(length), "--out", out], **quiet)


def ours(name: str, rows: Path, cache: Path) -> dict[str, float]:
    """Returns the seconds from starting `jaxbert pretrain` to its first line of metrics.jsonl, and those of its parts.

    The run is stopped there, because only the first step counts.
    """
    case = CASES[name]
    with tempfile.TemporaryDirectory() as workdir:
        data = [f"{phase}:{rows / f'rows-{length}'}" for phase, length in case.lengths.items()]
        command = [sys.executable, "-m", "jaxbert", "pretrain", case.config, "--workdir", workdir]
        command += ["--data", *data, "--set", *case.settings]
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
        began = time.time()
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        metrics, announced = Path(workdir) / "metrics.jsonl", None
        while not (metrics.is_file() and metrics.stat().st_size):
            # The run writes its config after its checks of the input, so imports and checks come before that moment.
            if announced is None and (Path(workdir) / "config.json").is_file():
                announced = time.time()
            if process.poll() is not None:
                assert process.stderr is not None
                raise SystemExit(f"{name}: the run ended before its first step: {process.stderr.read()[-2000:]}")
            time.sleep(0.01)
        stepped = time.time()
        process.kill()
        process.wait()
    announced = announced or stepped
    return {
        "imports_and_checks_s": announced - began,
        "build_compile_step_s": stepped - announced,
        "total_s": stepped - began,
    }


def theirs(name: str) -> dict[str, float]:
    """Returns the seconds from starting the peer's script to the end of its first step, and those of its parts."""
    case = CASES[name]
    encoder = apply_overrides(find_config(case.config), case.settings).encoder
    published = FAMILIES[encoder.family].to_published(encoder, ("pooler", "masked_lm", "next_sentence"))
    arguments = [str(case.rows), str(case.length), json.dumps(published)]
    began = time.time()
    done = subprocess.run([sys.executable, "-c", PEER, *arguments], check=True, capture_output=True, text=True)
    at = json.loads(done.stdout.splitlines()[-1])
    return {
        "imports_s": at["imported"] - began,
        "build_s": at["built"] - at["imported"],
        "step_s": at["stepped"] - at["built"],
        "total_s": at["stepped"] - began,
    }


def measure(name: str, rows: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Returns medians over the rounds. A round is ours cold, ours warm, and the peer."""
    seen: dict[str, list[dict[str, float]]] = {"ours, cold cache": [], "ours, warm cache": [], "peer, eager": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            seen["ours, cold cache"].append(ours(name, rows, Path(cache)))
            seen["ours, warm cache"].append(ours(name, rows, Path(cache)))
        seen["peer, eager"].append(theirs(name))
    return {
        side: {part: round(statistics.median(one[part] for one in runs), 2) for part in runs[0]}
        for side, runs in seen.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=Path, help="where the rows lie, or go where they are not there yet")
    parser.add_argument("--write", action="store_true", help="write results/first_step.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        rows = args.rows or Path(temporary)
        make_rows(rows)
        results = {
            "settings": {
                "rounds": args.rounds,
                "source": SOURCE,
                "cases": {name: dataclasses.asdict(case) for name, case in CASES.items()},
            },
            "results": {},
        }
        for name in args.case:
            results["results"][name] = measure(name, rows, args.rounds)
            for side, figures in results["results"][name].items():
                parts = "  ".join(f"{part.removesuffix('_s')} {seconds:.1f}" for part, seconds in figures.items())
                print(f"{name:<18}{side:<18}{parts}", flush=True)
    if args.write:
        from common import write

        print(f"wrote {write('first_step', results)}")


if __name__ == "__main__":
    main()
