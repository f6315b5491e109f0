"""Writes a vector for each line of a file."""

from __future__ import annotations

import argparse
from typing import Any

from jaxbert.commands.arguments import MODEL, add_batch_tokens, add_overwrite

EPILOG = MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "file",
        metavar="FILE",
        help="texts, one a line, or .jsonl#FIELD (.ndjson), .csv#COLUMN (.tsv), .parquet#COLUMN; all but .parquet may "
        "be .gz, .xz, .zst, .bz2; - is stdin",
    )
    parser.add_argument("--out", required=True, metavar="OUT", help="OUT.npy, float32 (N, D), or OUT.jsonl")
    parser.add_argument(
        "--pooling",
        choices=["mean", "cls"],
        help="mean of the last hidden states, or the one of the first token (default: the pooling of the model's "
        "sentence-transformers files, else mean)",
    )
    parser.add_argument(
        "--normalize",
        action=argparse.BooleanOptionalAction,
        help="vectors of length 1 (default: the setting in those files)",
    )
    parser.add_argument(
        "--max-length",
        type=int,
        metavar="L",
        help="cut texts to L tokens (default: the length in those files, else the model's longest row)",
    )
    add_batch_tokens(parser)
    add_overwrite(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Writes the vectors and prints the figures."""
    from jaxbert.core.compiled import verify_kept_programs
    from jaxbert.use.embed import embed_file, embedded_lines

    verify_kept_programs()
    figures = embed_file(
        args.model,
        args.file,
        args.out,
        pooling=args.pooling,
        normalize=args.normalize,
        max_length=args.max_length,
        batch_tokens=args.batch_tokens,
        overwrite=args.overwrite,
    )
    print("\n".join(embedded_lines(figures)))
    return figures
