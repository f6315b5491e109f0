"""Starts a run: as processes here, or as a job of Slurm, GKE, Google's TPUs or SkyPilot; also shows and ends it."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from jaxbert.commands.figures import write_figures
from jaxbert.commands.own_text import settings_of, source_of
from jaxbert.commands.pretrain import add_run_arguments, words_of

EPILOG = (
    "Before it sends anything, the command shows what the run needs and costs, and asks you to confirm. "
    "See docs/how-to/launch.md."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    from jaxbert.launch import TARGETS
    from jaxbert.launch.arguments import add_arguments as add_targets

    add_targets(parser, TARGETS, add_run_arguments)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Launches a run, or shows or ends one that was launched."""
    from jaxbert.launch import TARGETS
    from jaxbert.launch.arguments import CONTROLS
    from jaxbert.launch.control import control
    from jaxbert.launch.local import launch_locally
    from jaxbert.launch.submit import submit

    if args.target in CONTROLS:
        return control(args.target, TARGETS, args)
    from jaxbert.config import find_config
    from jaxbert.run.inputs import check_named_inputs
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
        return submit(TARGETS[args.target], args, asked.config, words_of(args, workdir=False))
    check_named_inputs(asked.config)
    code = launch_locally(args, words_of(args))
    if code:
        write_figures(args.json, {"exit_code": code})
        sys.exit(code)
    return {"exit_code": code}
