"""Compares one train step with Hugging Face's PyTorch BERT on the same batch, with a process for each side, in turns.

    python benchmarks/train_step.py [--case NAME ...] [--rounds N] [--no-compile] [--write]

Our side is the step of `jaxbert pretrain` (`jaxbert.training.step.build`): corruption of the clean batch, forward,
backward, clipping, AdamW. The peer has no corruption: it gets a batch that ours corrupted once. Before anything is
timed, both losses must agree on the same weights and batch without dropout, otherwise the exit code is 1.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import ENVIRONMENT, write

from jaxbert.config import DataConfig, PhaseConfig, RunConfig, ScheduleConfig, find_config, slots
from jaxbert.core.machine import cores

TOLERANCE = 1e-4  # between the losses, as a share
RATE = 1e-4
WARM_UP = 3  # steps of each side before the first round
OURS = "ours"
# side -> (bfloat16 autocast, torch.compile)
PEERS = {
    "peer float32": (False, False),
    "peer bfloat16": (True, False),
    "peer float32 compiled": (False, True),
    "peer bfloat16 compiled": (True, True),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A config of ours with a batch, and the number of steps that a side makes in one round."""

    config: str
    rows: int
    length: int
    steps: int


CASES = {
    "quickstart 32x32": Case("quickstart", 32, 32, 20),
    "quickstart 16x64": Case("quickstart", 16, 64, 20),
    "bert_mini 32x128": Case("bert_mini", 32, 128, 4),
    "bert_base 8x128": Case("bert_base", 8, 128, 2),
}


def run_config(case: Case) -> RunConfig:
    """Returns the case's config with one phase of its batch at a constant rate."""
    config = find_config(case.config)
    phase = PhaseConfig(
        length=case.length,
        batch_size=case.rows,
        schedule=ScheduleConfig(kind="constant", peak=RATE, warmup_steps=0),
    )
    return dataclasses.replace(config, phases=(phase,), data=DataConfig(source="sample:aws-docs"))


def clean_batch(config: RunConfig) -> dict[str, np.ndarray]:
    """Returns full rows of two segments. Ids are drawn uniformly, because they do not change the work."""
    rows, length = config.phases[0].batch_size, config.phases[0].length
    rng = np.random.default_rng(0)
    batch = {
        "tokens": rng.integers(5, config.encoder.vocab_size, (rows, length)),
        "types": np.broadcast_to(np.arange(length) >= length // 2, (rows, length)),
        "group": np.ones((rows, length)),
        "label": rng.integers(0, 2, rows),
    }
    return {name: values.astype(np.int32) for name, values in batch.items()}


# ----------------------------------------------------------------------------------------------------------------------
# One side in a separate process. It reads a number of steps and writes their seconds.


def work(case: Case, side: str, directory: Path) -> None:
    """Reads a number of steps from each line of stdin, and answers with a JSON list of their seconds."""
    if side == "check":
        check(case, directory)
        return
    step = our_step(case) if side == OURS else peer_step(case, directory, *PEERS[side])
    began = time.perf_counter()
    for _ in range(WARM_UP):
        step()
    print(json.dumps(time.perf_counter() - began), flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            began = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - began)
        print(json.dumps(seconds), flush=True)


def our_step(case: Case) -> Callable[[], None]:
    """Returns our step with donated state, as a function that returns when the step is done."""
    import jax

    from jaxbert.core.sharding import make_mesh, replicated
    from jaxbert.training.step import build

    config = run_config(case)
    mesh = make_mesh(config.mesh)
    jax.set_mesh(mesh)
    program = build(config, mesh)
    held = [program.init(config.seed)]
    frozen = replicated(mesh, frozen_of(config))
    batch = {name: jax.device_put(x, program.batch[name].sharding) for name, x in clean_batch(config).items()}

    def step() -> None:
        held[0], metrics = program.step(held[0], frozen, batch)
        jax.block_until_ready((held[0], metrics))

    return step


def frozen_of(config: RunConfig) -> dict[str, np.ndarray]:
    """Returns vocabulary tables in which the first five ids are the special tokens, the last of them [MASK]."""
    from jaxbert.objectives.vocabulary import frozen_tables

    return frozen_tables(np.arange(config.encoder.vocab_size) < 5, 4)


def peer_step(case: Case, directory: Path, bfloat16: bool, compiled: bool) -> Callable[[], None]:
    """Returns the peer's step on the batch that `check` wrote."""
    import peer
    import torch

    from jaxbert.training.optim import clip_norm

    torch.set_num_threads(cores())
    torch.manual_seed(0)
    config = run_config(case)
    model = peer.make_peer(config.encoder)
    optimizer = peer.make_optimizer(model, config.optimizer, RATE)
    inputs = peer.peer_batch(np.load(directory / "batch.npz"))
    called = torch.compile(model) if compiled else model

    def step() -> None:
        peer.train_step(called, optimizer, inputs, clip_norm=clip_norm(config.optimizer), bfloat16=bfloat16)

    return step


def check(case: Case, directory: Path) -> None:
    """Compares both losses on the same weights and batch without dropout. Writes the corrupted batch as batch.npz."""
    import jax
    import peer
    import torch

    from jaxbert.tasks import make_task

    config = run_config(case)
    phase = config.phases[0]
    encoder = dataclasses.replace(config.encoder, dropout=0.0, attention_dropout=0.0)
    task = make_task(dataclasses.replace(config, encoder=encoder), phase)
    params = jax.jit(task.parts.init)(jax.random.key(0))
    clean = jax.tree.map(jax.numpy.asarray, clean_batch(config))
    frozen = jax.tree.map(jax.numpy.asarray, frozen_of(config))
    batch = task.prepare(params, frozen, clean, jax.random.key(1))

    @jax.jit
    def loss(params: Any) -> jax.Array:
        terms = task.compute(params, frozen, batch, dropout_key=None, dtype=jax.numpy.float32)
        return sum(task.terms[name].weight * term.sum / term.weight for name, term in terms.items())

    ours = float(loss(params))
    theirs_model = peer.make_peer(encoder)
    peer.load_params(theirs_model, params, encoder)
    with torch.no_grad():
        theirs = float(theirs_model(**peer.peer_batch(batch)).loss)
    np.savez(directory / "batch.npz", **batch)
    print(json.dumps({"ours": ours, "peer": theirs}), flush=True)


# ----------------------------------------------------------------------------------------------------------------------
# The parent: alternates the sides, one of them computing at a time


class Side:
    """The process of a side."""

    def __init__(self, name: str, side: str, directory: str):
        command = [sys.executable, __file__, "--work", side, "--case", name, "--directory", directory]
        environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(cores())}
        self.errors = Path(directory) / f"{side}.txt"  # not a pipe: nobody would read it while the side runs
        with self.errors.open("w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )

    def answer(self) -> Any:
        """Returns the next answer of the process; None after its end, where it failed."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.close()
            print(self.errors.read_text(encoding="utf-8")[-2000:], file=sys.stderr)
            return None
        return json.loads(line)

    def steps(self, number: int) -> list[float]:
        """Returns the seconds of `number` steps."""
        assert self.process.stdin is not None
        print(number, file=self.process.stdin, flush=True)
        seconds = self.answer()
        if seconds is None:
            raise SystemExit("a side ended before its time")
        return list(seconds)

    def close(self) -> None:
        self.process.communicate()


def measure(name: str, names: list[str], rounds: int) -> dict[str, Any]:
    """Measures one case.

    Raises:
      SystemExit: the losses differ, or a side that must run does not.
    """
    case = CASES[name]
    with tempfile.TemporaryDirectory() as directory:
        checking = Side(name, "check", directory)
        losses = checking.answer()
        checking.close()
        if losses is None or abs(losses["ours"] - losses["peer"]) > TOLERANCE * abs(losses["peer"]):
            raise SystemExit(f"{name}: the losses differ: {losses}")
        sides, started = {}, {}
        for side in names:
            process = Side(name, side, directory)
            started[side] = process.answer()  # one after the other, so that none disturbs another's compilation
            if started[side] is not None:
                sides[side] = process
            elif side == OURS or not PEERS[side][1]:
                raise SystemExit(f"{name}: {side} does not run")
        seconds: dict[str, list[list[float]]] = {side: [] for side in sides}
        for index in range(rounds):
            # The order turns round each time, so that a machine that drifts favours no side.
            for side in list(sides)[:: 1 if index % 2 == 0 else -1]:
                seconds[side].append(sides[side].steps(case.steps))
        for process in sides.values():
            process.close()
    tokens = case.rows * case.length
    figures: dict[str, Any] = {"losses_without_dropout": losses, "sides": {}, "does_not_run": []}
    figures["does_not_run"] = [side for side in names if side not in sides]
    for side, by_round in seconds.items():
        every = [one for part in by_round for one in part]
        rounds_of_both = zip(by_round, seconds[OURS], strict=True)
        ratios = [statistics.median(part) / statistics.median(ours) for part, ours in rounds_of_both]
        figures["sides"][side] = {
            "median_ms": round(1e3 * statistics.median(every), 2),
            "minimum_ms": round(1e3 * min(every), 2),
            "tokens_per_s": round(tokens / statistics.median(every)),
            "warm_up_s": round(started[side], 1),
            "times_ours_by_round": [round(ratio, 3) for ratio in ratios],
            "times_ours": round(statistics.median(ratios), 3),
        }
    return figures


def settings(rounds: int) -> dict[str, Any]:
    """Returns the settings that were the same for both sides, for the results."""
    return {
        "rounds": rounds,
        "warm_up_steps": WARM_UP,
        "environment": {**ENVIRONMENT, "OMP_NUM_THREADS": str(cores())},
        "ours": "jaxbert.training.step.build: corruption, forward, backward, clipping, AdamW; float32; state donated; "
        "the vocabulary projected at the masked slots only",
        "peer": "BertForPreTraining, sdpa attention, train mode; forward, backward, clip_grad_norm_, fused AdamW, "
        "zero_grad(set_to_none=True); no corruption; the vocabulary projected at every position, as it does with "
        "labels; bfloat16 is torch.autocast over the forward pass; compiled is torch.compile(model)",
        "peer_threads": cores(),
        "batch": "full rows, uniformly drawn ids, held in memory; the peer's as ours corrupted it once",
        "cases": {
            name: {
                "rows": case.rows,
                "length": case.length,
                "steps_a_round": case.steps,
                "slots": slots(config := run_config(case), config.phases[0]),
                "encoder": dataclasses.asdict(config.encoder),
                "optimizer": dataclasses.asdict(config.optimizer),
            }
            for name, case in CASES.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile's rows out")
    parser.add_argument("--write", action="store_true", help="write results/train_step.json")
    parser.add_argument("--work", choices=["check", OURS, *PEERS], help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(CASES[args.case[0]], args.work, args.directory)
        return
    names = [OURS, *(side for side, (_, compiled) in PEERS.items() if not (compiled and args.no_compile))]
    results: dict[str, Any] = {"settings": settings(args.rounds), "results": {}}
    print(f"{'case':<18}{'side':<24}{'median ms':>10}{'min ms':>10}{'tokens/s':>10}{'x ours':>8}  by round")
    for name in args.case:
        figures = results["results"][name] = measure(name, names, args.rounds)
        for side, one in figures["sides"].items():
            spread = f"{min(one['times_ours_by_round']):.2f} .. {max(one['times_ours_by_round']):.2f}"
            print(
                f"{name:<18}{side:<24}{one['median_ms']:>10.1f}{one['minimum_ms']:>10.1f}{one['tokens_per_s']:>10,}"
                f"{one['times_ours']:>8.2f}  {spread}",
                flush=True,
            )
    if args.write:
        print(f"wrote {write('train_step', results)}")


if __name__ == "__main__":
    main()
