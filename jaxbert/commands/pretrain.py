"""Trains a model from a config; the same command continues a run that was interrupted."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping
from typing import Any

from jaxbert.commands.arguments import CONFIG, add_overwrite, add_set

EPILOG = CONFIG


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that `jaxbert pretrain` and `jaxbert launch` share."""
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="the directory of the run")
    parser.add_argument(
        "--data",
        nargs="+",
        action="extend",
        default=[],
        metavar="ROWS",
        help="rows to train on: [PHASE:]DIR[=WEIGHT]; several are mixed by weight",
    )
    parser.add_argument(
        "--init", metavar="MODEL", help="start from these parameters; CONFIG adapt takes the model's sizes too"
    )
    parser.add_argument(
        "--tokenizer",
        metavar="DIR",
        help="the rows' vocabulary; with --init a new one, whose embeddings start from the model's",
    )
    add_set(parser)
    add_overwrite(parser, "start anew where the workdir holds another run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    add_run_arguments(parser)
    parser.add_argument(
        "--profile",
        metavar="A:B",
        help="record steps A to B, both counted from 1 and included, for TensorBoard or Perfetto, in WORKDIR/profile",
    )
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="join the other processes of the run, which jax finds by itself (TPU slices, Slurm, MPI)",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Trains, prints the final figures and returns them."""
    from jaxbert.config import find_config
    from jaxbert.observe.console import show_log
    from jaxbert.run import processes
    from jaxbert.run.deterministic import ask_for_deterministic_kernels
    from jaxbert.run.profile import parse_steps
    from jaxbert.run.wanted import wanted

    if not processes.first(os.environ):
        show_log(logging.WARNING)
    profiled = parse_steps(args.profile) if args.profile is not None else None
    asked = wanted(
        find_config(args.config), data=args.data, init=args.init, tokenizer=args.tokenizer, settings=args.set
    )
    # The flag counts only before jax is imported.
    ask_for_deterministic_kernels(asked.config)
    processes.initialise(args.distributed)
    if args.distributed and not processes.is_first():
        show_log(logging.WARNING)
    from jaxbert.core.compiled import verify_kept_programs
    from jaxbert.run.pretrain import train

    verify_kept_programs()
    figures = train(asked, args.workdir, overwrite=args.overwrite, profiled=profiled)
    if figures.pop("leader", True):
        print("\n".join(_ended(figures, args.workdir)))
    return figures


def _ended(figures: Mapping[str, Any], workdir: str) -> list[str]:
    """Returns the lines that end a run: its figures, and its workdir."""
    from jaxbert.core.metrics import Metric, from_json

    early = " (stopped early)" if figures.get("stopped_early") else ""
    lines = [f"done after step {figures['step']}{early}; everything is in {workdir}"]
    words = []
    for metric in [Metric("loss", "loss", "loss", "number"), *from_json(figures.get("metrics"))]:
        value = figures.get(f"validation_{metric.name}")
        if isinstance(value, (int, float)):
            words.append(f"{metric.title} {metric.text(value)}")
    if words:
        lines.append(f"validation: {', '.join(words)}")
    best = figures.get("best")
    if best and best["step"] != figures["step"]:
        lines.append(f"best: loss {best['loss']:.4f} at step {best['step']}; MODEL={workdir} is this step")
    return lines


def words_of(args: argparse.Namespace, *, workdir: bool = True) -> list[str]:
    """Returns the words of `jaxbert pretrain` from the arguments that they were parsed to, for a launched job.

    Args:
      args: the arguments of `add_run_arguments`.
      workdir: include --workdir. A target adds its own.
    """
    words = [args.config, *(["--workdir", args.workdir] if workdir else [])]
    for name in ("data", "set"):
        if getattr(args, name):
            words += [f"--{name}", *getattr(args, name)]
    for name in ("init", "tokenizer"):
        if getattr(args, name) is not None:
            words += [f"--{name}", getattr(args, name)]
    return [*words, *(["--overwrite"] if args.overwrite else [])]
