"""Checks that jaxbert is right on this GPU, and compares the speed of its step with PyTorch's.

    python benchmarks/gpu.py [correctness] [steps] [variants] [--shapes base-128 ...] [--seconds-per-case N]
                             [--deadline SECONDS] [--out DIRECTORY] [--no-deterministic] [--smoke]

It runs on any GPU, and takes the first of several. It needs jax, flax, optax and numpy. The peer needs torch and
transformers; without them, its rows say so. By default all parts run within --deadline seconds, with compilation. Cases
for which no time is left are listed as skipped. A part that is named by itself has the whole time, and needs a separate
DIRECTORY. Each case has separate processes. A case that fails gives a row with its message, and the others continue.
DIRECTORY/gpu.json is written after every case. Exit code 1 means that a correctness check failed or did not run.
--smoke runs everything at toy size, also on a CPU: it tries this program and measures nothing.

correctness (`gpu_child.CHECKS` has details and tolerances)
    imports      what training needs imports without the libraries of data preparation and logging
    masks        masked rows have the hash recorded on CPUs
    isolation    in rows of several texts, changing one changes the others' hidden states by exactly 0
    gradients    float32 hidden states, losses and gradients against this machine's CPU, at jax's highest and default
                 matmul precision (on NVIDIA GPUs the default is TF32)
    losses       bfloat16 against float32, step by step from one start
    determinism  two runs are the same bits, in one process and in a second one

steps: bert_base and bert_large at 128 and 512 tokens. Both sides have the same full rows, masked positions (15%),
dropout of 0.1, clipping, AdamW, float32 weights and bfloat16 products. Both processes run and compute in turns.
    ours   `jaxbert.training.step.build`: corruption, forward, backward, clipping, AdamW, with
           --xla_gpu_deterministic_ops=true, as `jaxbert pretrain` sets it
    torch  transformers' BertForPreTraining: sdpa without a mask (the rows are full), torch.compile, fused AdamW,
           autocast; it gets corrupted batches, and projects every position on the vocabulary, ours only the masked ones
variants: ours without deterministic kernels (first shape); both without dropout (longest rows); torch with the masked
positions gathered before the projection, as ours has them.

    tokens/s  rows x length / seconds a step, the median over rounds; the input is already on the device
    MFU       step_flops(one row) x rows / (seconds a step x peak FLOP/s), by `jaxbert.observe`, for both sides:
              backward twice the forward, masked positions only, no recomputation, the published dense bfloat16 peak
    memory    peak bytes in use, by the side's own allocator
    J/token   the GPU's own energy counter (NVML) over the timed rounds
The number of rows follows from the device's memory (`ROWS`). A side that runs out of memory beside the other is
measured again by itself. If ours still runs out, it is measured with remat `dots`, and after that both with half the
rows.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from jaxbert.config import EncoderConfig  # noqa: E402
from jaxbert.models.families.bert import PRESETS  # noqa: E402
from jaxbert.observe.flops import MFU_FORMULA, step_flops  # noqa: E402
from jaxbert.stores.files import write_whole  # noqa: E402

Json = dict[str, Any]

PARTS = ("correctness", "steps", "variants")
CHECKS = ("imports", "masks", "isolation", "gradients", "losses", "determinism")
HEADS = ("pooler", "masked_lm", "next_sentence")
# Prediction slots of google-research/bert's two phases.
SLOTS = {32: 5, 128: 20, 512: 80}
# Rows a batch on a device of 80 GB, meant to let both sides fit beside each other; scaled to the memory that jax may
# take of the device, a power of two.
ROWS = {"base-128": 256, "base-512": 32, "large-128": 64, "large-512": 16, "toy-32": 8}
SHAPES = tuple(name for name in ROWS if name != "toy-32")
TOY = EncoderConfig(vocab_size=512, hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, max_positions=32)
FULL_BYTES = 75e9
ROUNDS = 3
# Share of the time that is left which correctness may take, and seconds below which no further case is begun.
CORRECTNESS_SHARE = 0.35
SHORTEST = 40.0
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


class Failure(Exception):
    """A case that gave no figures.

    Attributes:
      out_of_memory: whether it ran out of memory.
    """

    def __init__(self, message: str, out_of_memory: bool = False):
        super().__init__(message)
        self.out_of_memory = out_of_memory


class Child:
    """A process of `gpu_child.py`. It answers each line of JSON with one line of JSON.

    Args:
      kind: its task.
      deadline: on the monotonic clock; a question without an answer by then fails.
      deterministic: ask XLA for deterministic kernels.
    """

    def __init__(self, kind: str, deadline: float, *, deterministic: bool = True):
        self._deadline = deadline
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "gpu_child.py"), kind],
            env=environment(kind, deterministic),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def tell(self, **message: Any) -> None:
        assert self._process.stdin is not None
        try:
            print(json.dumps(message), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            return  # The process has ended; `answer` says how.

    def answer(self) -> Json:
        try:
            line = self._answers.get(timeout=max(0.0, self._deadline - time.monotonic()))
        except queue.Empty:
            raise Failure("no time left: cut off at the deadline") from None
        if not line:
            code = self._process.wait()
            self._log.seek(0)
            raise Failure(f"the process ended with {code}: {self._log.read()[-1000:].strip()}")
        found: Json = json.loads(line)
        if "error" in found and "out_of_memory" in found:
            raise Failure(found["error"], found["out_of_memory"])
        return found

    def ask(self, **message: Any) -> Json:
        self.tell(**message)
        return self.answer()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


def environment(kind: str, deterministic: bool) -> dict[str, str]:
    """Returns the environment of a child: one GPU, memory allocated as needed, and for torch's side jax on the CPU."""
    found = dict(os.environ)
    # Energy is read of all visible GPUs, in the order of the bus, and one computes.
    found.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    found["CUDA_VISIBLE_DEVICES"] = found.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    found |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95"}
    if deterministic:
        found["XLA_FLAGS"] = f"{found.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()
    if kind == "torch":
        found["JAX_PLATFORMS"] = "cpu"
    elif "cpu" not in found.get("JAX_PLATFORMS", "cpu"):
        found["JAX_PLATFORMS"] += ",cpu"  # `gradients` compares with it
    return found


class Benchmark:
    """The options, the clock, the results so far and their file."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.end = args, time.monotonic() + args.deadline
        self.path = args.out / "gpu.json"
        self.results: Json = {
            "command": " ".join(["benchmarks/gpu.py", *sys.argv[1:]]),
            "complete": False,
            "mfu_formula": MFU_FORMULA,
            "correctness": {},
            "steps": [],
            "skipped": [],
        }
        args.out.mkdir(parents=True, exist_ok=True)

    def left(self) -> float:
        return self.end - time.monotonic()

    def save(self) -> None:
        """Writes the results so far, whole or not at all."""
        write_whole(self.path, json.dumps(self.results, indent=2) + "\n")

    def skip(self, what: str, why: str) -> None:
        self.results["skipped"].append({"what": what, "why": why})
        print(f"SKIPPED  {what}: {why}", flush=True)
        self.save()

    def child(self, kind: str, deterministic: bool | None = None, end: float | None = None) -> Child:
        chosen = not self.args.no_deterministic if deterministic is None else deterministic
        return Child(kind, self.end if end is None else end, deterministic=chosen)


# ----------------------------------------------------------------------------------------------------------------------
# correctness


def correctness(bench: Benchmark) -> None:
    """Runs every check. A second process repeats the determinism check, because its compilation could differ."""
    checks, child = bench.results["correctness"], None
    alone = bench.args.smoke or bench.args.parts == ["correctness"]
    end = bench.end if alone else time.monotonic() + bench.left() * CORRECTNESS_SHARE
    for name in CHECKS:
        began = time.monotonic()
        try:
            child = child or bench.child("correctness", end=end)
            found = child.ask(check=name, smoke=bench.args.smoke)
            if name == "determinism":
                found = again(bench, found, end)
        except Failure as failure:
            found = {"passed": False, "failed": str(failure)}
            if child is not None:
                child.close()
            child = None
        checks[name] = {**found, "seconds": round(time.monotonic() - began, 1)}
        print(f"{'passed' if found['passed'] else 'FAILED'}   {name:<12} {summary(name, found)}", flush=True)
        bench.save()
    if child is not None:
        child.close()


def again(bench: Benchmark, found: Json, end: float) -> Json:
    """Compares `found`, the result of the determinism check, with a second process."""
    child = bench.child("correctness", end=end)
    try:
        other = child.ask(check="determinism", smoke=bench.args.smoke)
    finally:
        child.close()
    digests = found["sha256"] + other["sha256"]
    same = len(set(digests)) == 1
    # Without the flag XLA promises nothing, so the result is only reported.
    return {**found, "sha256": digests, "same": same, "passed": same or bench.args.no_deterministic}


def summary(name: str, found: Json) -> str:
    """Returns the most important figure of a check."""
    if "failed" in found:
        return found["failed"].splitlines()[-1][:200] if found["failed"] else "no message"
    if name == "losses":
        return f"largest relative difference {found['largest']:.1e}, at most {found['tolerance']:.0e}"
    if name == "gradients":
        parts = [
            f"{precision} {found[precision]['error']:.1e} (at most {tolerance:.0e}, {found[precision]['worst']})"
            for precision, tolerance in found["tolerances"].items()
        ]
        return "worst tensor at " + ", at ".join(parts)
    if name == "isolation":
        leak = max(max(found[dtype]["leak"].values()) for dtype in ("float32", "bfloat16", "bfloat16 fused"))
        alone = max(found["alone_first"], found["alone_second"])
        return f"fused attention {found['fused attention']}, leak {leak}, from a separate row {alone:.1e}"
    if name == "determinism":
        return f"{len(set(found['sha256']))} result of {len(found['sha256'])} runs, XLA_FLAGS={found['xla_flags']!r}"
    if name == "masks":
        return f"sha256 {found['sha256'][:16]}..., {found['slots']} masked"
    return found.get("error", "")[-200:]


# ----------------------------------------------------------------------------------------------------------------------
# steps


def case(bench: Benchmark, shape: str, side: str, **changes: Any) -> Json:
    """Returns the message to a side's process, and the beginning of its row in the results."""
    size, length = shape.rsplit("-", 1)
    share = (bench.results["facts"]["device_bytes"] or FULL_BYTES) / FULL_BYTES
    rows = ROWS["toy-32"] if size == "toy" else 1 << (max(1, int(ROWS[shape] * share)).bit_length() - 1)
    found = {
        "shape": shape,
        "side": side,
        "platform": bench.results["facts"]["platform"],
        "rows": rows,
        "length": int(length),
        "slots": SLOTS[int(length)],
        "dropout": 0.1,
        "remat": "none",
        "deterministic": side == "ours" and not bench.args.no_deterministic,
        "compile": side == "torch" and not bench.args.smoke,
        "gather": False,
        **changes,
    }
    encoder = dataclasses.replace(
        TOY if size == "toy" else PRESETS[size],
        dropout=found["dropout"],
        attention_dropout=found["dropout"],
        remat=found["remat"],
    )
    return {**found, "encoder": dataclasses.asdict(encoder)}


def measure(bench: Benchmark, cases: list[Json]) -> list[Json]:
    """Measures cases whose processes run together and compute in turns. A failed case has `failed`, and no figures."""
    children: dict[int, Child] = {}
    notes: list[Json] = [{} for _ in cases]
    times: list[list[Json]] = [[] for _ in cases]

    def attempt(index: int, answer: Any) -> None:
        try:
            answer()
        except Failure as failure:
            notes[index] |= {"failed": str(failure), "out_of_memory": failure.out_of_memory}
            children.pop(index).close()

    def in_turn(ask: Any, order: int = 1) -> None:
        for index in list(children)[::order]:
            attempt(index, lambda index=index: ask(index))

    def round_of(index: int) -> None:
        steps = max(1, round(bench.args.seconds_per_case / ROUNDS / notes[index]["step_s"]))
        times[index].append({"steps": steps, **children[index].ask(do="round", steps=steps)})

    try:
        for index, one in enumerate(cases):
            children[index] = bench.child(one["side"], deterministic=one["deterministic"])
            # Both compile at once, which is work for the CPU. From `warm` on they use the device in turns.
            children[index].tell(do="prepare", case=one)
        in_turn(lambda index: notes[index].update(children[index].answer()))
        in_turn(lambda index: notes[index].update(children[index].ask(do="warm")))
        together = len(children)
        for number in range(ROUNDS):
            # The order turns round each time, so that a device that warms up favours neither side.
            in_turn(round_of, 1 if number % 2 == 0 else -1)
    finally:
        for child in children.values():
            child.close()
    return [row(bench, *parts, together) for parts in zip(cases, notes, times, strict=True)]


def row(bench: Benchmark, one: Json, notes: Json, times: list[Json], together: int) -> Json:
    """Makes a row of the results from a case and the answer of its process."""
    found = {name: value for name, value in one.items() if name != "encoder"} | {"alternated": together > 1}
    if "failed" in notes:
        return {**found, "failed": notes["failed"], "out_of_memory": notes["out_of_memory"]}
    facts, tokens = bench.results["facts"], one["rows"] * one["length"]
    by_round = [part["seconds"] / part["steps"] for part in times]
    seconds = statistics.median(by_round)
    flops = step_flops(EncoderConfig(**one["encoder"]), length=one["length"], slots=one["slots"], heads=HEADS)
    joules = [part["joules"] for part in times]
    return {
        **found,
        "tokens_per_s": tokens / seconds,
        "step_ms": 1e3 * seconds,
        "step_ms_by_round": [1e3 * part for part in by_round],
        "steps": sum(part["steps"] for part in times),
        "mfu": flops * one["rows"] / (seconds * facts["peak_flops"]) if facts["peak_flops"] else None,
        "peak_bytes": times[-1]["peak_bytes"],
        "joules_per_token": None if None in joules else sum(joules) / (tokens * sum(part["steps"] for part in times)),
        "loss": times[-1]["loss"],
        "compile_s": notes["compile_s"],
    }


def label(found: Json) -> str:
    """Returns the words that distinguish a row from the others of its shape."""
    extra = [f"dropout {found['dropout']}"] if found["dropout"] != 0.1 else []
    if found["side"] == "ours":
        extra += [f"remat {found['remat']}"] if found["remat"] != "none" else []
        extra += [] if found["deterministic"] else ["not deterministic"]
    else:
        extra += ["compiled" if found["compile"] else "not compiled"]
        extra += ["gathered"] if found["gather"] else []
    return ", ".join([found["side"], *extra])


HEADER = (
    f"{'shape':<10} {'side':<34} {'rows':>4} {'tokens/s':>11} {'ms/step':>9} {'MFU':>6} {'GiB':>6} {'mJ/token':>9} "
    f"{'compile s':>9}"
)


def line(found: Json) -> str:
    """Formats a row for the terminal."""
    start = f"{found['shape']:<10} {label(found):<34} {found['rows']:>4}"
    if "failed" in found:
        why = found["failed"].strip().splitlines() or ["no message"]
        return f"{start} FAILED: {why[0] if found['out_of_memory'] else why[-1]}"[:200]
    mfu = f"{found['mfu']:.1%}" if found["mfu"] else "-"
    memory = f"{found['peak_bytes'] / 2**30:.1f}" if found["peak_bytes"] else "-"
    energy = f"{1e3 * found['joules_per_token']:.3f}" if found["joules_per_token"] else "-"
    return (
        f"{start} {found['tokens_per_s']:>11,.0f} {found['step_ms']:>9.1f} {mfu:>6} {memory:>6} {energy:>9} "
        f"{found['compile_s']:>9.1f}{'' if found['alternated'] else '  (alone)'}"
    )


def add(bench: Benchmark, rows: list[Json]) -> list[Json]:
    """Adds rows to the results and to the table."""
    bench.results["steps"] += rows
    for found in rows:
        print(line(found), flush=True)
    bench.save()
    return rows


def begun(bench: Benchmark, what: str) -> bool:
    """Says whether there is time for another case. If not, the case is listed as skipped."""
    least = 5.0 if bench.args.smoke else SHORTEST
    if bench.left() >= least:
        return True
    bench.skip(what, f"{max(0.0, bench.left()):.0f} s left of {bench.args.deadline:.0f} s")
    return False


def settled(bench: Benchmark, cases: list[Json]) -> None:
    """Measures cases beside each other, and again in smaller form those that run out of memory or do not compile."""
    halved = cases
    while begun(bench, " beside ".join(f"{one['shape']} {label(one)} ({one['rows']} rows)" for one in halved)):
        rows = add(bench, measure(bench, halved))
        too_large = False
        for one, found in zip(halved, rows, strict=True):
            if "failed" not in found:
                continue
            if found["out_of_memory"]:
                smaller = [one] if len(halved) > 1 else []
                if one["side"] == "ours" and one["remat"] == "none":
                    smaller.append({**one, "remat": "dots", "encoder": {**one["encoder"], "remat": "dots"}})
                too_large |= not any(fits(bench, each) for each in smaller)
            elif one["compile"] and "ModuleNotFoundError" not in found["failed"]:
                fits(bench, {**one, "compile": False})
        if not too_large or halved[0]["rows"] == 1:
            return
        halved = [{**one, "rows": one["rows"] // 2} for one in halved]


def fits(bench: Benchmark, one: Json) -> bool:
    """Measures a case by itself. Says whether it gave figures or failed for another reason than memory."""
    if not begun(bench, f"{one['shape']} {label(one)} ({one['rows']} rows)"):
        return True
    return not add(bench, measure(bench, [one]))[0].get("out_of_memory", False)


def steps(bench: Benchmark) -> None:
    """Measures both sides of every shape."""
    for shape in bench.args.shapes:
        settled(bench, [case(bench, shape, side) for side in sides(bench)])


def variants(bench: Benchmark) -> None:
    """Measures the variants, the shortest first."""
    both, shapes = sides(bench), bench.args.shapes
    longest = max(int(shape.rsplit("-", 1)[1]) for shape in shapes)
    settled(bench, [case(bench, shapes[0], "ours", deterministic=False)])
    for shape in shapes:
        if shape.endswith(f"-{longest}"):
            settled(bench, [case(bench, shape, side, dropout=0.0) for side in both])
    for shape in shapes:
        if "torch" in both:
            settled(bench, [case(bench, shape, "torch", gather=True)])


def sides(bench: Benchmark) -> list[str]:
    """Returns our side, and torch's where it is installed."""
    versions = bench.results["facts"]["machine"]["versions"]
    missing = [name for name in ("torch", "transformers") if name not in versions]
    note = f"the peer's rows: {' and '.join(missing)} not installed"
    if missing and all(one["what"] != note for one in bench.results["skipped"]):
        bench.skip(note, "pip install it for the comparison")
    return ["ours"] if missing else ["ours", "torch"]


# ----------------------------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="SHAPE", help=str(SHAPES))
    parser.add_argument("--seconds-per-case", type=float, help="timed seconds of a side (default 9)")
    parser.add_argument("--deadline", type=float, default=540.0, help="seconds for everything (default 540)")
    parser.add_argument("--out", type=Path, help="default benchmarks/results; with --smoke a temporary directory")
    parser.add_argument("--no-deterministic", action="store_true", help="leave XLA's deterministic kernels off")
    parser.add_argument("--smoke", action="store_true", help="toy shapes: tries this program, measures nothing")
    args = parser.parse_args()
    args.parts = args.parts or list(PARTS)
    args.seconds_per_case = args.seconds_per_case or (0.6 if args.smoke else 9.0)
    args.out = args.out or (Path(tempfile.mkdtemp()) if args.smoke else HERE / "results")
    if args.smoke:
        args.shapes = ["toy-32"]

    bench = Benchmark(args)
    child = bench.child("facts")
    try:
        bench.results["facts"] = child.ask()
    except Failure as failure:
        print(f"jax does not run here: {failure}", file=sys.stderr)
        return 1
    finally:
        child.close()
    facts = bench.results["facts"]
    peak = f"{facts['peak_flops'] / 1e12:.3g} TFLOP/s" if facts["peak_flops"] else "unknown"
    print(f"{facts['device']} ({facts['platform']}), {facts['dtype']}, peak {peak}: {facts['peak_source']}", flush=True)

    if "correctness" in args.parts:
        correctness(bench)
    if {"steps", "variants"} & set(args.parts):
        print(HEADER, flush=True)
    for name, part in (("steps", steps), ("variants", variants)):
        if name in args.parts:
            part(bench)
    wrong = [name for name, found in bench.results["correctness"].items() if not found["passed"]]
    failed = [found for found in bench.results["steps"] if "failed" in found]
    bench.results["complete"] = not (bench.results["skipped"] or failed or wrong)
    bench.save()
    print(f"wrote {bench.path}: {len(failed)} failed cases, {len(bench.results['skipped'])} skipped")
    if wrong:
        print(f"CORRECTNESS FAILED: {', '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
