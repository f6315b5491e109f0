"""Trains a model from a config; the same command continues a run that was interrupted."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import math
import os
import shlex
from collections.abc import Mapping
from typing import Any

from jaxbert.commands.arguments import CONFIG, add_language, add_overwrite, add_set
from jaxbert.errors import InputError
from jaxbert.stores.storage import is_remote

_log = logging.getLogger(__name__)

EPILOG = CONFIG
# The CONFIG that is chosen for the text, the machine and the time.
AUTO = "auto"


def add_run_arguments(parser: argparse.ArgumentParser, *, workdir: str = "") -> None:
    """Adds the arguments that `jaxbert pretrain` and `jaxbert launch` share.

    Args:
      parser: the parser of the command.
      workdir: the directory of the run where --workdir is left out, as the help says it; "" makes --workdir required.
    """
    parser.add_argument("config", metavar="CONFIG")
    default = f" (default: {workdir})" if workdir else ""
    parser.add_argument("--workdir", required=not workdir, metavar="DIR", help=f"the directory of the run{default}")
    text = parser.add_mutually_exclusive_group()
    text.add_argument(
        "--text",
        nargs="+",
        metavar="PATH",
        help="train on this text: a folder, a file, or a pattern in quotes ('folder/**/*.txt')",
    )
    text.add_argument("--source", metavar="SOURCE", help="train on the text of a SOURCE (see `jaxbert prepare --help`)")
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
    add_run_arguments(parser, workdir="runs/ and the config's name")
    time = parser.add_mutually_exclusive_group()
    time.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help=f"CONFIG {AUTO}: the time of the whole command, preparation and evaluation included (default: 10 on a "
        "CPU, 30 on a GPU or TPU)",
    )
    time.add_argument("--hours", type=float, metavar="H", help=f"CONFIG {AUTO}: the same in hours")
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
    from jaxbert.observe.console import show_log
    from jaxbert.run import processes
    from jaxbert.run.deterministic import ask_for_deterministic_kernels
    from jaxbert.run.profile import parse_steps
    from jaxbert.run.wanted import wanted

    if not processes.first(os.environ):
        show_log(logging.WARNING)
    profiled = parse_steps(args.profile) if args.profile is not None else None
    source = source_of(args)
    seconds = _seconds(args)
    if args.config == AUTO:
        _check_auto(args, source)
        assert source is not None
        # Devices are needed to choose, and the flag counts only before jax is imported.
        ask_for_deterministic_kernels(RunConfig(name=AUTO))
        processes.initialise(args.distributed)
        from jaxbert.fit.chosen import chosen

        recipe = chosen(source, args.workdir or f"runs/{AUTO}", seconds=seconds, overwrite=args.overwrite)
        config, files = recipe.config, recipe.files
    else:
        config, files = find_config(args.config), {}
    asked = wanted(
        config,
        source=source,
        data=args.data,
        init=args.init,
        tokenizer=args.tokenizer,
        settings=settings_of(args),
    )
    asked = dataclasses.replace(asked, files=files)
    workdir = args.workdir or f"runs/{asked.config.name}"
    if args.config != AUTO:
        # The flag counts only before jax is imported.
        ask_for_deterministic_kernels(asked.config)
        processes.initialise(args.distributed)
    if args.distributed and not processes.is_first():
        show_log(logging.WARNING)
    from jaxbert.core.compiled import verify_kept_programs
    from jaxbert.run.pretrain import train

    verify_kept_programs()
    figures = train(asked, workdir, overwrite=args.overwrite, anyway=args.anyway, profiled=profiled)
    if figures.pop("leader", True):
        print("\n".join(_ended(figures, workdir)), flush=True)
        if args.finish or (args.finish is None and source is not None):
            figures |= _finished(workdir)
    return figures


def _seconds(args: argparse.Namespace) -> float | None:
    """Returns the time that --minutes or --hours gives; None where neither is given.

    Raises:
      InputError: it is not a time, or the config is not one that is chosen by time.
    """
    given = [(name, unit) for name, unit in (("minutes", 60), ("hours", 3600)) if getattr(args, name) is not None]
    if not given:
        return None
    ((name, unit),) = given
    value: float = getattr(args, name)
    if args.config != AUTO:
        raise InputError(
            f"the config {args.config} has its steps, and only CONFIG {AUTO} is chosen by time",
            where=f"--{name}",
            fix=f"Leave --{name} out, or give {AUTO} as CONFIG.",
            code="E-ARGUMENT-TIME",
        )
    if not 0 < value * unit < math.inf:
        raise InputError(
            f"{value:g} is not a time",
            where=f"--{name}",
            fix="Give a number above 0, for example --minutes 10.",
            code="E-ARGUMENT-TIME",
        )
    return value * unit


def _check_auto(args: argparse.Namespace, source: str | None) -> None:
    """Raises InputError where CONFIG auto has no text, or has what it would have to choose."""
    if source is None:
        raise InputError(
            f"{AUTO} chooses a config for a text, and there is none",
            where=f"CONFIG {AUTO}",
            fix="Give the text: --text PATH, or --source SOURCE.",
            code="E-ARGUMENT-AUTO",
        )
    for name in ("data", "init", "tokenizer"):
        if getattr(args, name):
            raise InputError(
                f"{AUTO} trains a new model and a new vocabulary on the text",
                where=f"--{name}",
                fix=f"Leave --{name} out, or give another CONFIG: adapt continues a model.",
                code="E-ARGUMENT-AUTO",
            )


def _finished(workdir: str) -> dict[str, Any]:
    """Does what follows the training, in this process, and returns its figures."""
    import jax

    if jax.process_count() > 1 or is_remote(workdir):
        place = shlex.quote(workdir)
        _log.info("after a run of several processes or in a bucket, type this yourself:")
        _log.info("  jaxbert evaluate %s --baselines", place)
        _log.info("  jaxbert report %s%s", place, " --out DIR" if is_remote(workdir) else "")
        _log.info("  jaxbert convert %s DIR --to hf", place)
        return {}
    from jaxbert.run.finish import finish

    return {"finished": finish(workdir)}


def settings_of(args: argparse.Namespace) -> list[str]:
    """Returns the texts of --set, after the one that --language stands for.

    Raises:
      InputError: --language is not a language code.
    """
    if args.language is None:
        return list(args.set)
    from jaxbert.text.sentences import check_language

    check_language(args.language)
    return [f"data.language={args.language}", *args.set]


def source_of(args: argparse.Namespace) -> str | None:
    """Returns the SOURCE of --text or --source; None where neither is given.

    Raises:
      InputError: --text has several paths, which is what a shell makes of a pattern without quotes.
    """
    if not args.text:
        return args.source  # type: ignore[no-any-return]
    if len(args.text) > 1:
        folder = os.path.commonpath([os.path.abspath(path) for path in args.text])
        folder = folder if os.path.isdir(folder) else os.path.dirname(folder)
        raise InputError(
            f"--text takes one path, but it got {len(args.text):,}: the shell has replaced a pattern by its files",
            where=f"--text {args.text[0]} {args.text[1]}",
            fix=f"Put the pattern in quotes, or give the folder: --text {shlex.quote(os.path.relpath(folder))}",
            code="E-ARGUMENT-TEXT",
        )
    from jaxbert.data.sources import BARE

    return f"{BARE}:{args.text[0]}"


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
