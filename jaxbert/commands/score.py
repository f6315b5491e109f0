"""Scores texts and minimal pairs by their pseudo-log-likelihood."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from jaxbert.commands.arguments import MODEL, add_batch_tokens, add_overwrite

EPILOG = MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "file",
        nargs="+",
        metavar="FILE",
        help="texts, one a line or .jsonl#FIELD, .csv#COLUMN, .parquet#COLUMN; or minimal pairs, records with "
        "the fields of BLiMP; or a folder of such files; all but .parquet may be .gz, .xz, .zst, .bz2; - is stdin",
    )
    parser.add_argument(
        "--mask",
        default="token",
        metavar="HOW",
        help="how to mask the token that is scored: token, word (with all pieces of its word) or word-l2r (with the "
        "pieces to its right in its word) (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        metavar="OUT.jsonl",
        help="write a record for each text or pair (default: print those of texts)",
    )
    parser.add_argument("--pieces", action="store_true", help="also write each token with its score")
    parser.add_argument("--good", metavar="FIELD", help="the field of the acceptable sentence (default: sentence_good)")
    parser.add_argument("--bad", metavar="FIELD", help="the field of the other sentence (default: sentence_bad)")
    add_batch_tokens(parser)
    add_overwrite(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Scores the files, and prints the figures: on stderr where the records are printed."""
    from jaxbert.core.compiled import verify_kept_programs
    from jaxbert.evaluate.score_files import lines, score_files

    verify_kept_programs()
    figures = score_files(
        args.model,
        args.file,
        out=args.out,
        mask=args.mask,
        good=args.good,
        bad=args.bad,
        pieces=args.pieces,
        batch_tokens=args.batch_tokens,
        overwrite=args.overwrite,
    )
    records_shown = figures["kind"] == "texts" and not args.out
    print("\n".join(lines(figures)), file=sys.stderr if records_shown else sys.stdout)
    return figures
