"""Starts a run: as processes here, or as a job of Slurm, GKE, Google's TPUs or SkyPilot; also shows and ends it."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from jaxbert.commands.arguments import AUTO
from jaxbert.commands.figures import write_figures
from jaxbert.commands.own_text import settings_of, source_of
from jaxbert.commands.pretrain import add_run_arguments, words_of
from jaxbert.core.shell import path_word, word
from jaxbert.errors import InputError

EPILOG = (
    "Before it sends anything, the command shows what the run needs and costs, and asks you to confirm. "
    "See docs/how-to/launch.md."
)
# The options that only `jaxbert pretrain` has, and what to do without each. A user who gives one here learns why.
_OF_PRETRAIN = {
    "minutes": f"Leave it out. Only CONFIG {AUTO} is chosen by time, and `jaxbert pretrain` chooses it.",
    "hours": f"Leave it out. Only CONFIG {AUTO} is chosen by time, and `jaxbert pretrain` chooses it.",
    "finish": "Leave it out. When the run has ended: jaxbert evaluate WORKDIR --baselines, and jaxbert report WORKDIR.",
    "no-finish": "Leave it out. A launched run ends with its training.",
    "profile": "Leave it out. `jaxbert pretrain` can record steps of a run of one process.",
    "distributed": "Leave it out. The processes of a launched run find each other.",
}
# Those of them that take no value.
_FLAGS = ("finish", "no-finish", "distributed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    from jaxbert.launch import TARGETS
    from jaxbert.launch.arguments import add_arguments as add_targets

    shared = argparse.ArgumentParser(add_help=False)
    add_run_arguments(shared)
    for name in _OF_PRETRAIN:
        if name in _FLAGS:
            shared.add_argument(f"--{name}", action="store_true", default=None, help=argparse.SUPPRESS)
        else:
            shared.add_argument(f"--{name}", help=argparse.SUPPRESS)
    add_targets(parser, TARGETS, shared)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Launches a run, or shows or ends one that was launched."""
    from jaxbert.launch import TARGETS
    from jaxbert.launch.arguments import CONTROLS
    from jaxbert.launch.control import control
    from jaxbert.launch.local import devices_of, launch_locally
    from jaxbert.launch.submit import submit

    if args.target in CONTROLS:
        return control(args.target, TARGETS, args)
    _check_launched(args)
    from jaxbert.config import find_config
    from jaxbert.run.before import check_before
    from jaxbert.run.wanted import wanted

    # A mistake is found here once, and not by each process.
    asked = wanted(
        find_config(args.config),
        source=source_of(args),
        data=args.data,
        init=args.init,
        tokenizer=args.tokenizer,
        settings=settings_of(args),
    )
    if args.target != "local":
        return submit(TARGETS[args.target], args, asked, words_of(args, workdir=False))
    check_before(asked, devices=devices_of(args), workdir=args.workdir, overwrite=args.overwrite)
    code = launch_locally(args, words_of(args))
    if code:
        write_figures(args.json, {"exit_code": code})
        sys.exit(code)
    return {"exit_code": code}


def _check_launched(args: argparse.Namespace) -> None:
    """Raises InputError where CONFIG or an option is one that only `jaxbert pretrain` has."""
    if args.config == AUTO:
        source_of(args)  # Several paths of --text are refused, because the advice would not work with them.
        text = f"--text {path_word(args.text[0])}" if args.text else f"--source {word(args.source or 'SOURCE')}"
        if args.anyway:
            text += " --anyway"
        choice = "".join(
            f" --{name} {word(value)}"
            for name in ("minutes", "hours", "language")
            if (value := getattr(args, name)) is not None
        )
        if args.set:
            choice += f" --set {' '.join(map(word, args.set))}"
        place = f"runs/{AUTO}"
        raise InputError(
            f"{AUTO} chooses for the machine that it runs on, and measures one process",
            where=f"CONFIG {AUTO}",
            fix=f"Choose first: `jaxbert pretrain {AUTO} {text}{choice} --workdir {place}`. It writes "
            f"{place}/{AUTO}.py before its first step, and you may then stop it with Ctrl-C. "
            "Launch that file, which has your settings: "
            f"`jaxbert launch {args.target} {place}/{AUTO}.py {text} --workdir ...`.",
            code="E-LAUNCH-AUTO",
        )
    for name, fix in _OF_PRETRAIN.items():
        if getattr(args, name.replace("-", "_")) is not None:
            raise InputError(
                "`jaxbert launch` does not have this option of `jaxbert pretrain`",
                where=f"--{name}",
                fix=fix,
                code="E-LAUNCH-OPTION",
            )
