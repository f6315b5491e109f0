"""Evaluates a model on validation rows, on a file with right answers, or by the tasks of a suite."""

from __future__ import annotations

import argparse
from typing import Any

from jaxbert.commands.arguments import MODEL, Sources, add_batch_tokens, add_columns
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
    parser.add_argument(
        "--test",
        metavar="FILE",
        help="judge a fine-tuned run (its workdir, or WORKDIR/checkpoints/STEP) on this file with right answers: "
        ".jsonl, .csv, .tsv, .parquet, .conll, SQuAD's .json, glue:TASK:FOLDER, hf:NAME, tfds:NAME",
    )
    add_columns(
        parser,
        "columns of FILE, such as text=review label=stars (default: those that were named when the run was trained, "
        "else the usual names)",
    )
    parser.add_argument("--form", metavar="FORM", help="format of FILE (default: by its ending)")
    parser.add_argument("--split", help="split of a dataset or of GLUE that FILE names (default: test)")
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
    if args.test is not None:
        from jaxbert.evaluate.labelled_file import judge_file, judged_lines
        from jaxbert.labelled.columns import columns_of

        columns = columns_of(args.columns)
        judged = judge_file(args.model[0], args.test, columns=columns, form=args.form or "", split=args.split or "")
        print("\n".join(judged_lines(judged)))
        return judged
    from jaxbert.evaluate.evaluation import evaluate, lines

    found = evaluate(args.model[0], args.data, baselines=args.baselines)
    print("\n".join(lines(found)))
    return found


# The three ways to evaluate, each by the option that asks for it.
_ROWS, _FILE, _SUITE = "--data ROWS", "--test FILE", "--suite FILE.json"
_MEANT = {_ROWS: "on rows", _FILE: "on a file with labels", _SUITE: "by a suite"}


def _check(args: argparse.Namespace) -> None:
    """Raises InputError where options do not belong together."""
    given = {
        _ROWS: {"--data": args.data is not None, "--baselines": args.baselines},
        _FILE: {
            "--test": args.test is not None,
            "--columns": bool(args.columns),
            "--form": args.form is not None,
            "--split": args.split is not None,
        },
        _SUITE: {
            "--suite": args.suite is not None,
            "--corpus": args.corpus is not None,
            "--workdir": args.workdir is not None,
            "--batch-tokens": args.batch_tokens is not None,
        },
    }
    what = _SUITE if args.suite is not None else _FILE if args.test is not None else _ROWS
    for other, options in given.items():
        option = next((name for name, is_given in options.items() if is_given), "")
        if option and other != what:
            raise InputError(
                f"{option} is for an evaluation {_MEANT[other]}, but this is one {_MEANT[what]}",
                where="jaxbert evaluate",
                fix=f"Leave {option} out." if what != _ROWS else f"Leave {option} out, or add {other}.",
                code="E-EVALUATE-OPTION",
            )
    if what != _SUITE and len(args.model) > 1:
        raise InputError(
            f"{len(args.model)} models are given, but rows and files are evaluated with one",
            where="jaxbert evaluate",
            fix="Give one MODEL, or --suite FILE.json to compare several.",
            code="E-SUITE-MODEL",
        )
