"""Compares a pretraining run of jaxbert with Hugging Face's Trainer: validation loss and time, over several seeds.

    taskset -c 1 python benchmarks/trainer.py ROWS --out DIR

Both sides of a seed have the same start (our weights at step 0), rows, order, masks, steps, AdamW, clipping and rates;
only the random numbers of dropout differ. jaxbert evaluates both results on the same fixed masks. The runs are separate
processes, one after the other, and a finished run is not repeated. Before them, twenty steps without dropout must give
both sides the same losses. The program writes results/trainer.json, and prints a table.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
import transformers
from common import ENVIRONMENT, write
from learning import keep_to, read_lines, run, run_config
from peer import load_params, make_optimizer, make_peer, peer_batch

from jaxbert.config import RunConfig, horizon, load_json
from jaxbert.convert.read import read_model
from jaxbert.core.machine import cores
from jaxbert.core.sharding import replicated, single_device_mesh
from jaxbert.data.pipeline import Batches, FixedBatches, Rows
from jaxbert.evaluate.evaluation import evaluate_rows
from jaxbert.objectives.vocabulary import frozen_tables
from jaxbert.tasks import Task, make_task
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.training.optim import clip_norm, make_schedule
from jaxbert.training.step import build

AGREEMENT_STEPS = 20
AGREEMENT = 1e-4  # largest relative difference of their losses


# ----------------------------------------------------------------------------------------------------------------------
# The same batches for both


def rows_of(config: RunConfig, split: str) -> Rows:
    """Opens a split of the run's rows."""
    return Rows(config.phases[0].rows[0].path, split)


def tables_of(config: RunConfig) -> dict[str, np.ndarray]:
    """Returns the tables of the vocabulary that masking reads."""
    tokenizer = Tokenizer.load(Path(config.phases[0].rows[0].path) / "tokenizer")
    return frozen_tables(tokenizer.special, tokenizer.mask_id)


def corruption(config: RunConfig, task: Task) -> Callable[[Any, jax.Array], Any]:
    """Jitted: (clean batch, key) -> the batch that the model sees, with slots and labels."""
    frozen = {name: jax.numpy.asarray(table) for name, table in tables_of(config).items()}
    return jax.jit(lambda batch, key: task.prepare({}, frozen, batch, key))


def training_batches(config: RunConfig, steps: int) -> Iterator[dict[str, torch.Tensor]]:
    """Returns the batches of the run as the peer's arguments: in our order, with our masks by the step's keys."""
    phase = config.phases[0]
    batches = Batches(
        [(rows_of(config, "train"), 1.0)],
        batch_size=phase.batch_size,
        seed=config.seed,
        window=config.data.shuffle_window,
    )
    corrupted = corruption(config, make_task(config, phase))
    seed = jax.random.key(config.seed, impl="threefry2x32")
    for step in range(steps):
        key, _ = jax.random.split(jax.random.fold_in(seed, step))
        yield peer_batch(jax.device_get(corrupted(batches.read(step), key)))


def validation_batches(config: RunConfig) -> Iterator[dict[str, torch.Tensor]]:
    """Returns the validation batches with their fixed masks as the peer's arguments."""
    corrupted = corruption(config, make_task(config, config.phases[0]).evaluation())
    seed = jax.random.key(config.evaluation.seed, impl="threefry2x32")
    batches = FixedBatches(rows_of(config, "validation"), config.evaluation.batch_size, limit=config.evaluation.batches)
    for number in range(len(batches)):
        yield peer_batch(jax.device_get(corrupted(batches.read(number), jax.random.fold_in(seed, number))))


# ----------------------------------------------------------------------------------------------------------------------
# Theirs


class Prepared(torch.utils.data.Dataset):
    """Rows that are already corrupted, in the order of the training."""

    def __init__(self, batches: Iterator[dict[str, torch.Tensor]]):
        every = list(batches)
        self.fields = {name: torch.cat([batch[name] for batch in every]) for name in every[0]}

    def __len__(self) -> int:
        return len(self.fields["input_ids"])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {name: values[index] for name, values in self.fields.items()}


class Recorder(transformers.Trainer):
    """A Trainer that keeps the loss of every step."""

    losses: list[float]

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """See Trainer."""
        loss = super().compute_loss(*args, **kwargs)
        self.losses.append(float(loss.detach()))
        return loss


def make_trainer(
    config: RunConfig, data: Prepared, steps: int, out: Path, kind: type[transformers.Trainer] = transformers.Trainer
) -> transformers.Trainer:
    """Returns a Trainer with our weights at step 0, our optimizer's settings, and our learning rate at each step."""
    phase = config.phases[0]
    assert phase.schedule is not None
    params = build(config, single_device_mesh()).init(config.seed)["params"]
    model = make_peer(config.encoder)
    load_params(model, jax.device_get(params), config.encoder)
    schedule = make_schedule(phase.schedule, horizon(config, 0))
    shares = np.asarray(jax.vmap(schedule)(np.arange(steps + 1)), np.float64) / phase.schedule.peak
    optimizer = make_optimizer(model, config.optimizer, phase.schedule.peak)
    arguments = transformers.TrainingArguments(
        output_dir=str(out),
        max_steps=steps,
        per_device_train_batch_size=phase.batch_size,
        max_grad_norm=clip_norm(config.optimizer),
        train_sampling_strategy="sequential",
        seed=config.seed,
        use_cpu=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        save_strategy="no",
        logging_steps=config.logging.every_steps,
        report_to="none",
        disable_tqdm=True,
    )
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: shares[step])
    return kind(model=model, args=arguments, train_dataset=data, optimizers=(optimizer, rates))


def train_theirs(config: RunConfig, out: Path) -> None:
    """Trains with Trainer. Writes the model and figures.json into `out`."""
    torch.set_num_threads(cores())
    steps = config.phases[0].steps
    started = time.perf_counter()
    data = Prepared(training_batches(config, steps))
    prepared = time.perf_counter()
    trainer = make_trainer(config, data, steps, out)
    trained = trainer.train()
    figures = {
        "corruption_s": prepared - started,
        "training_s": trained.metrics["train_runtime"],
        **evaluate_theirs(trainer.model, config),
    }
    trainer.model.save_pretrained(out)
    (out / "figures.json").write_text(json.dumps(figures) + "\n", encoding="utf-8")


def evaluate_theirs(model: torch.nn.Module, config: RunConfig) -> dict[str, float]:
    """Returns validation losses by torch only: means over all masked tokens and over all labelled pairs."""
    model.eval()
    sums = {"masked_lm_loss": [0.0, 0], "next_sentence_loss": [0.0, 0]}
    with torch.no_grad():
        for inputs in validation_batches(config):
            wanted = {"masked_lm_loss": inputs.pop("labels"), "next_sentence_loss": inputs.pop("next_sentence_label")}
            out = model(**inputs)
            logits = {"masked_lm_loss": out.prediction_logits, "next_sentence_loss": out.seq_relationship_logits}
            for name, label in wanted.items():
                flat = logits[name].flatten(0, -2)
                sums[name][0] += float(torch.nn.functional.cross_entropy(flat, label.flatten(), reduction="sum"))
                sums[name][1] += int((label >= 0).sum())
    means = {name: total / count for name, (total, count) in sums.items()}
    return {"loss": sum(means.values()), **means}


# ----------------------------------------------------------------------------------------------------------------------
# Both


def agreement(config: RunConfig, out: Path) -> dict[str, float]:
    """Returns the losses of the first steps without dropout on both sides, and their largest relative difference."""
    still = dataclasses.replace(config.encoder, dropout=0.0, attention_dropout=0.0)
    config = dataclasses.replace(config, encoder=still)
    batches = Batches(
        [(rows_of(config, "train"), 1.0)],
        batch_size=config.phases[0].batch_size,
        seed=config.seed,
        window=config.data.shuffle_window,
    )
    mesh = single_device_mesh()
    with jax.set_mesh(mesh):
        program = build(config, mesh)
        frozen = replicated(mesh, tables_of(config))
        state, ours = program.init(config.seed), []
        for step in range(AGREEMENT_STEPS):
            state, metrics = program.step(state, frozen, replicated(mesh, batches.read(step)))
            ours.append(float(metrics["loss"]))
    data = Prepared(training_batches(config, AGREEMENT_STEPS))
    trainer = make_trainer(config, data, AGREEMENT_STEPS, out, Recorder)
    trainer.losses = []
    trainer.train()
    relative = [abs(a - b) / a for a, b in zip(ours, trainer.losses, strict=True)]
    return {"steps": AGREEMENT_STEPS, "largest_relative_difference": max(relative), "last_loss": ours[-1]}


def judge(directory: Path, config: RunConfig) -> dict[str, float]:
    """Evaluates a Hugging Face directory by jaxbert, with the settings of the run `config`."""
    params = read_model(directory).params
    mesh = single_device_mesh()
    with jax.set_mesh(mesh):
        program = build(config, mesh)
        placed = jax.tree.map(lambda w, like: jax.device_put(w, like.sharding), params, program.state["params"])
        frozen = replicated(mesh, tables_of(config))
        return evaluate_rows(program, placed, frozen, [rows_of(config, "validation")], mesh, config=config)


def timed(command: list[str], record: Path) -> float:
    """Returns the seconds of a whole process. They are kept in `record`, and a finished process does not run again."""
    if not record.is_file():
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, env={**os.environ, **ENVIRONMENT})
        record.write_text(f"{time.perf_counter() - started}\n", encoding="utf-8")
    return float(record.read_text(encoding="utf-8"))


def one_seed(config: RunConfig, out: Path) -> dict[str, Any]:
    """Runs our side and then Trainer."""
    file, theirs_out = out / f"{config.name}.json", out / f"{config.name}-theirs"
    keep_to(config, file)
    ours_s = timed(
        ["-m", "jaxbert", "pretrain", str(file), "--workdir", str(out / config.name)], out / f"{config.name}.seconds"
    )
    ours = run(config, out)
    theirs_s = timed(
        [__file__, config.phases[0].rows[0].path, "--out", str(theirs_out), "--theirs", str(file)],
        out / f"{config.name}-theirs.seconds",
    )
    own = read_lines(theirs_out / "figures.json")[0]
    judged = judge(theirs_out, config)
    return {
        "seed": config.seed,
        "ours": {**ours["final"], "training_s": ours["training_s"], "whole_s": ours_s},
        "theirs": {**judged, "training_s": own["training_s"], "corruption_s": own["corruption_s"], "whole_s": theirs_s},
        "theirs_by_torch": {name: own[name] for name in ("loss", "masked_lm_loss", "next_sentence_loss")},
        "difference": ours["final"]["loss"] - judged["loss"],
    }


def summary(seeds: list[dict[str, Any]]) -> dict[str, float]:
    """Returns means over the seeds, the spread between seeds, and the mean difference with its standard error."""

    def column(side: str, name: str) -> list[float]:
        return [seed[side][name] for seed in seeds]

    differences = [seed["difference"] for seed in seeds]
    found = {
        "difference": statistics.mean(differences),
        "difference_standard_error": statistics.stdev(differences) / len(differences) ** 0.5,
        "judges_differ": max(abs(seed["theirs"]["loss"] - seed["theirs_by_torch"]["loss"]) for seed in seeds),
    }
    for side in ("ours", "theirs"):
        found |= {
            f"{side}_loss": statistics.mean(column(side, "loss")),
            f"{side}_spread": statistics.stdev(column(side, "loss")),
            f"{side}_training_s": statistics.mean(column(side, "training_s")),
            f"{side}_whole_s": statistics.mean(column(side, "whole_s")),
        }
    return found


def table(seeds: list[dict[str, Any]], means: Mapping[str, float]) -> str:
    """Returns a Markdown table with a line for each seed."""
    lines = [
        "| seed | loss: jaxbert | Trainer | difference | masked-LM accuracy | training, s | whole process, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for seed in seeds:
        ours, theirs = seed["ours"], seed["theirs"]
        lines.append(
            f"| {seed['seed']} | {ours['loss']:.4f} | {theirs['loss']:.4f} | {seed['difference']:+.4f} | "
            f"{ours['masked_lm_accuracy']:.1%} / {theirs['masked_lm_accuracy']:.1%} | "
            f"{ours['training_s']:.0f} / {theirs['training_s']:.0f} | {ours['whole_s']:.0f} / {theirs['whole_s']:.0f} |"
        )
    lines.append(
        f"| mean | {means['ours_loss']:.4f} | {means['theirs_loss']:.4f} | {means['difference']:+.4f} ± "
        f"{means['difference_standard_error']:.4f} | | "
        f"{means['ours_training_s']:.0f} / {means['theirs_training_s']:.0f} | "
        f"{means['ours_whole_s']:.0f} / {means['theirs_whole_s']:.0f} |"
    )
    lines.append(f"| spread over seeds | {means['ours_spread']:.4f} | {means['theirs_spread']:.4f} | | | | |")
    return "\n".join(lines)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, metavar="ROWS", help="directory of `jaxbert rows`")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the runs are kept")
    parser.add_argument("--tokens", type=int, default=3 * 2**17, help="tokens of each run (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="rows of a step (default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=1e-3, help="highest learning rate of AdamW (default: %(default)s)"
    )
    parser.add_argument("--dropout", type=float, default=0.1, help="dropout of both sides (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--theirs", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    out = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    if arguments.theirs:
        train_theirs(load_json(arguments.theirs), out)
        return
    configs = [
        run_config(
            arguments.rows.absolute(),
            optimizer="adamw",
            rate=arguments.rate,
            batch_size=arguments.batch_size,
            tokens=arguments.tokens,
            dropout=arguments.dropout,
            points=1,
            batches=32,
            seed=seed,
        )
        for seed in arguments.seeds
    ]
    same = agreement(configs[0], out / "agreement")
    apart = same["largest_relative_difference"]
    print(f"without dropout, {same['steps']} steps: losses within {apart:.1e}", flush=True)
    if not apart <= AGREEMENT:
        raise SystemExit(f"the losses differ by more than {AGREEMENT:.0e}: no comparison")
    seeds = [one_seed(config, out) for config in configs]
    means = summary(seeds)
    settings = {name: getattr(arguments, name) for name in ("tokens", "batch_size", "rate", "dropout")}
    figures = {
        **settings,
        "steps": configs[0].phases[0].steps,
        "length": configs[0].phases[0].length,
        "encoder": dataclasses.asdict(configs[0].encoder),
        "optimizer": dataclasses.asdict(configs[0].optimizer),
        "evaluation": dataclasses.asdict(configs[0].evaluation),
        "without_dropout": same,
        "seeds": seeds,
        "summary": means,
    }
    write("trainer", figures)
    print(table(seeds, means))


if __name__ == "__main__":
    main()
