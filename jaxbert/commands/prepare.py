"""Makes token records from documents, and then training rows."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from jaxbert.commands.arguments import add_language, add_overwrite, add_source, add_validation_fraction
from jaxbert.commands.rows import add_row_options, build, runner
from jaxbert.core.machine import cores

EPILOG = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    add_source(parser)
    parser.add_argument("--tokenizer", required=True, metavar="DIR", help="directory of a tokenizer, or of a run")
    parser.add_argument("--out", required=True, metavar="RECORDS")
    parser.add_argument("--rows", metavar="ROWS", help="directory of the rows (default: RECORDS-rows-LENGTH)")
    parser.add_argument("--no-rows", action="store_true", help="make the records only")
    add_validation_fraction(parser, "hold out")
    parser.add_argument("--keep-duplicates", action="store_true", help="keep documents that occur before")
    parser.add_argument("--remove-repeated-lines", action="store_true", help="drop lines that many documents share")
    add_language(parser, "language of the text, by whose rules sentences are split")
    add_row_options(parser)
    add_overwrite(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Makes the records and the rows."""
    from jaxbert.data.records import prepare_records
    from jaxbert.data.rows import check_arguments, check_rows_place
    from jaxbert.data.sources import open_source
    from jaxbert.text.tokenizers import Tokenizer

    target = Path(args.rows or f"{args.out.rstrip('/')}-rows-{args.length}")
    if not args.no_rows:
        # A mistake in these options must be found before the records, which may take hours.
        check_arguments(args.policy, args.length, args.copies, args.short_rows, args.seed)
        check_rows_place(
            Path(args.out),
            target,
            policy=args.policy,
            length=args.length,
            seed=args.seed,
            short_rows=args.short_rows,
            copies=args.copies,
            overwrite=args.overwrite,
        )
    summary = prepare_records(
        open_source(args.source),
        Tokenizer.load(Tokenizer.place(args.tokenizer)),
        Path(args.out),
        workers=args.workers or cores(),
        runner=runner(args),
        language=args.language,
        validation_fraction=args.validation_fraction,
        remove_duplicates=not args.keep_duplicates,
        remove_repeated_lines=args.remove_repeated_lines,
        overwrite=args.overwrite,
    )
    print("\n".join(summary.lines()))
    figures: dict[str, Any] = {"records": str(args.out), "summary": summary.to_json()}
    if not args.no_rows:
        figures |= build(args, Path(args.out), target)
    return figures
