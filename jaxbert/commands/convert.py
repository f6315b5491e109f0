"""Writes a model in another system's format, and keeps the files only if they compute the same outputs."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from jaxbert.commands.arguments import MODEL, add_overwrite
from jaxbert.errors import InputError

EPILOG = MODEL
# The options that only a layout of sentence-transformers has.
_OF_LAYOUT = ("pooling", "normalize", "max_length")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    parser.add_argument("source", metavar="SRC", help="a MODEL")
    parser.add_argument("target", metavar="DST", help="the directory to write")
    parser.add_argument(
        "--to",
        required=True,
        choices=["hf", "sentence-transformers"],
        help="hf: Hugging Face's class of its family; sentence-transformers: what SentenceTransformer opens, too",
    )
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        help="type of the weights (default: that of SRC; float32 for a run)",
    )
    parser.add_argument(
        "--drop",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATTERN",
        help="tensors of SRC to leave out, where it has more than a model",
    )
    parser.add_argument("--license", default="", metavar="NAME", help="licence of the model, for its card (apache-2.0)")
    parser.add_argument(
        "--data-license", default="", metavar="NAME", help="licence of the data, where the run does not know it"
    )
    parser.add_argument(
        "--pooling", choices=["mean", "cls"], help="sentence-transformers: pooling of the vectors (default: mean)"
    )
    parser.add_argument(
        "--normalize",
        action=argparse.BooleanOptionalAction,
        help="sentence-transformers: vectors of length 1 (default: for a run that learned vectors)",
    )
    parser.add_argument(
        "--max-length",
        type=int,
        metavar="L",
        help="sentence-transformers: longest text, in tokens (default: that of a run that learned vectors)",
    )
    add_overwrite(parser, "replace an export that is there; refused where anything else would be lost")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Converts the model and prints the verdict of the comparison."""
    from jaxbert.convert.sentence_transformers import check_length
    from jaxbert.convert.target import check_target, may_write

    # The options and the target are checked before the model is read, which may be large.
    changes = {name: value for name in _OF_LAYOUT if (value := getattr(args, name)) is not None}
    layout = None
    if args.to != "sentence-transformers" and changes:
        raise InputError(
            "this option belongs to --to sentence-transformers",
            where=f"--{next(iter(changes)).replace('_', '-')}",
            fix="Leave it out, or change --to.",
            code="E-ARGUMENT-TO",
        )
    if args.max_length is not None:
        check_length(args.max_length, "--max-length")
    check_target(Path(args.target), args.overwrite, may_write(layout=args.to == "sentence-transformers"))
    from jaxbert.core.compiled import verify_kept_programs
    from jaxbert.use.batches import check_limits
    from jaxbert.use.library import load
    from jaxbert.use.tasks import trained_layout

    verify_kept_programs()
    model = load(args.source, drop=args.drop)
    if args.to == "sentence-transformers":
        if args.max_length is not None:
            check_limits(model, args.max_length, None)
        layout = dataclasses.replace(trained_layout(model), **changes)
    written = model.save(
        args.target,
        overwrite=args.overwrite,
        dtype=args.dtype or "",
        layout=layout,
        licence=args.license,
        data_licence=args.data_license,
    )
    print(f"{written.verdict.line()}")
    opens = "SentenceTransformer(DIR)" if layout is not None else "transformers' from_pretrained"
    print(f"wrote {args.target}: open it with {opens}, or as a MODEL here")
    return {"out": str(args.target), "gate": written.verdict.to_json()}
