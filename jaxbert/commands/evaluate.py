"""Computes the loss and the accuracies on validation rows, with fixed masks."""

from __future__ import annotations

import argparse
from typing import Any

from jaxbert.commands.arguments import MODEL

EPILOG = MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--data", metavar="ROWS", help="validation split of these rows (default: those of the run)")
    parser.add_argument(
        "--baselines",
        action="store_true",
        help="also print the accuracy of tables of counts: constant, bigram, two-sided",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluates the model."""
    from jaxbert.core.compiled import verify_kept_programs
    from jaxbert.evaluate.evaluation import evaluate, lines

    verify_kept_programs()
    found = evaluate(args.model, args.data, baselines=args.baselines)
    print("\n".join(lines(found)))
    return found
