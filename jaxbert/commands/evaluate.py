"""Computes the loss and the accuracies on validation rows, with fixed masks; or the tasks of a suite."""

from __future__ import annotations

import argparse
from typing import Any

from jaxbert.commands.arguments import MODEL, Sources, add_batch_tokens
from jaxbert.errors import InputError

EPILOG = MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    parser.add_argument("model", nargs="+", metavar="MODEL", help="several MODELs are compared on a suite")
    parser.add_argument("--data", metavar="ROWS", help="validation split of these rows (default: those of the run)")
    parser.add_argument(
        "--baselines",
        action="store_true",
        help="also print the accuracy of tables of counts: constant, bigram, two-sided",
    )
    parser.add_argument("--suite", metavar="FILE.json", help="evaluate the tasks of this file (docs/how-to/score.md)")
    corpus = parser.add_argument(
        "--corpus",
        nargs="?",
        const="",
        metavar="SOURCE",
        help="look for the texts of the suite in the training text, and also score the rest: %(sources)s; "
        "without SOURCE, the text that the run's config names",
    )
    vars(corpus)["sources"] = Sources()
    parser.add_argument(
        "--workdir",
        metavar="DIR",
        help="the directory of the runs that tasks of the kind finetuned train (default: runs/ and the suite's name)",
    )
    add_batch_tokens(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluates the model, or the models by a suite."""
    _check(args)
    from jaxbert.core.compiled import verify_kept_programs

    verify_kept_programs()
    if args.suite is not None:
        from jaxbert.evaluate.suite import table
        from jaxbert.evaluate.suite.running import evaluate_suite
        from jaxbert.finetune.suite import trainer

        results = evaluate_suite(
            args.model,
            args.suite,
            corpus=args.corpus,
            batch_tokens=args.batch_tokens,
            finetune=trainer(args.suite, args.workdir),
        )
        print("\n".join(table.lines(results)))
        return results
    from jaxbert.evaluate.evaluation import evaluate, lines

    found = evaluate(args.model[0], args.data, baselines=args.baselines)
    print("\n".join(lines(found)))
    return found


def _check(args: argparse.Namespace) -> None:
    """Raises InputError where options do not belong together."""
    of_rows = {"--data": args.data is not None, "--baselines": args.baselines}
    of_suite = {
        "--corpus": args.corpus is not None,
        "--workdir": args.workdir is not None,
        "--batch-tokens": args.batch_tokens is not None,
    }
    wrong = of_suite if args.suite is None else of_rows
    option = next((name for name, given in wrong.items() if given), "")
    if option:
        raise InputError(
            f"{option} does not apply {'without' if args.suite is None else 'together with'} --suite",
            where="jaxbert evaluate",
            fix=f"Leave {option} out.",
            code="E-SUITE-OPTION",
        )
    if args.suite is None and len(args.model) > 1:
        raise InputError(
            f"{len(args.model)} models are given, but rows are evaluated with one",
            where="jaxbert evaluate",
            fix="Give one MODEL, or --suite FILE.json to compare several.",
            code="E-SUITE-MODEL",
        )
