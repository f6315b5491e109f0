"""Trains a model from a config; the same command continues a run that was interrupted."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
from collections.abc import Mapping
from typing import Any

from jaxbert.commands.arguments import AUTO, EXAMPLE, add_config, add_language, add_overwrite, add_set
from jaxbert.commands.own_text import (
    add_text,
    add_time,
    check_auto,
    seconds_of,
    settings_of,
    source_of,
)
from jaxbert.core.shell import path_word
from jaxbert.core.signals import advising
from jaxbert.stores.storage import is_remote

_log = logging.getLogger(__name__)

EPILOG = f"To train on your own text:\n\n  {EXAMPLE}"


def add_run_arguments(parser: argparse.ArgumentParser, *, workdir: str = "", auto: bool = False) -> None:
    """Adds the arguments that `jaxbert pretrain` and `jaxbert launch` share.

    Args:
      parser: the parser of the command.
      workdir: the directory of the run where --workdir is left out, as the help says it; "" makes --workdir required.
      auto: whether the command takes CONFIG auto.
    """
    add_config(parser, auto=auto)
    default = f" (default: {workdir})" if workdir else ""
    parser.add_argument("--workdir", required=not workdir, metavar="DIR", help=f"the directory of the run{default}")
    add_text(parser)
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
    add_language(parser, "language of the text, as --set data.language=CODE", default=None)
    add_set(parser)
    add_overwrite(parser, "start anew where the workdir holds another run")
    parser.add_argument(
        "--anyway", action="store_true", help="train on text so little that the figures of the run will mean nothing"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    add_run_arguments(parser, workdir="runs/ and the config's name", auto=True)
    add_time(parser)
    parser.add_argument(
        "--finish",
        action=argparse.BooleanOptionalAction,
        help="after the training, evaluate the model beside tables of counts, draw the report and write the model for "
        "transformers (default: with --text or --source)",
    )
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
    from jaxbert.config import RunConfig, find_config
    from jaxbert.config.overrides import parse_settings, value_of
    from jaxbert.observe.console import show_log
    from jaxbert.run import devices, processes
    from jaxbert.run.deterministic import ask_for_deterministic_kernels
    from jaxbert.run.pool import ask_for_gpu_memory
    from jaxbert.run.profile import parse_steps
    from jaxbert.run.wanted import wanted

    if not processes.first(os.environ):
        show_log(logging.WARNING)
    ask_for_gpu_memory()
    profiled = parse_steps(args.profile) if args.profile is not None else None
    source = source_of(args)
    seconds = seconds_of(args)
    workdir = ""
    if args.config == AUTO:
        check_auto(args, source)
        assert source is not None
        # Devices are needed to choose, and the flag counts only before jax is imported.
        ask_for_deterministic_kernels(RunConfig(name=AUTO))
        devices.begin(args.distributed)
        from jaxbert.fit.chosen import chosen

        # The name decides where the recipe is looked for, and where the run is.
        given = settings_of(args)
        workdir = _workdir(args, value_of(parse_settings(given), "name") or AUTO)
        recipe = chosen(
            source,
            workdir,
            seconds=seconds,
            settings=given,
            overwrite=args.overwrite,
            anyway=args.anyway,
        )
        config, files, settings = recipe.config, recipe.files, recipe.settings
    else:
        config, files, settings = find_config(args.config), {}, tuple(settings_of(args))
    asked = wanted(
        config,
        source=source,
        data=args.data,
        init=args.init,
        tokenizer=args.tokenizer,
        settings=settings,
    )
    asked = dataclasses.replace(asked, files=files)
    workdir = workdir or _workdir(args, asked.config.name)
    if args.config != AUTO:
        # The flag counts only before jax is imported.
        ask_for_deterministic_kernels(asked.config)
        devices.begin(args.distributed)
    if args.distributed and not processes.is_first():
        show_log(logging.WARNING)
    from jaxbert.core.compiled import verify_kept_programs
    from jaxbert.run.pretrain import train

    verify_kept_programs()
    finishes = args.finish or (args.finish is None and source is not None)

    def ended(figures: dict[str, Any]) -> dict[str, Any]:
        if figures.pop("leader", True):
            print("\n".join(_ended(figures, workdir)), flush=True)
            if finishes:
                figures |= _finished(workdir)
        return figures

    return train(asked, workdir, overwrite=args.overwrite, anyway=args.anyway, profiled=profiled, after=ended)


def _workdir(args: argparse.Namespace, name: str) -> str:
    """Returns --workdir, or the one of a config's name where it is left out."""
    return f"runs/{name}" if args.workdir is None else args.workdir


def _finished(workdir: str) -> dict[str, Any]:
    """Does what follows the training, in this process, and returns its figures."""
    import jax

    if jax.process_count() > 1 or is_remote(workdir):
        place = path_word(workdir)
        _log.info("after a run of several processes or in a bucket, type this yourself:")
        _log.info("  jaxbert evaluate %s --baselines", place)
        _log.info("  jaxbert report %s%s", place, " --out DIR" if is_remote(workdir) else "")
        _log.info("  jaxbert convert %s DIR --to hf", place)
        return {}
    from jaxbert.run.finish import finish

    with advising("The training is done and saved. The same command makes what is missing."):
        return {"finished": finish(workdir)}


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
    for name in ("text", "data", "set"):
        if getattr(args, name):
            words += [f"--{name}", *getattr(args, name)]
    for name in ("source", "language", "init", "tokenizer"):
        if getattr(args, name) is not None:
            words += [f"--{name}", getattr(args, name)]
    return [*words, *(f"--{name}" for name in ("overwrite", "anyway") if getattr(args, name))]
