"""Prints the most probable words for each mask."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from jaxbert.commands.arguments import MODEL, add_batch_tokens
from jaxbert.errors import InputError

EPILOG = MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    # argparse would show TEXT as required, though --file replaces it.
    parser.usage = "%(prog)s MODEL [TEXT ...] [--file FILE] [--top N] [--batch-tokens N] [--json FILE]"
    parser.add_argument("model", metavar="MODEL")
    # nargs="*" would match nothing where an option is between MODEL and the texts, and argparse would refuse the texts.
    parser.add_argument(
        "text",
        nargs="+",
        metavar="TEXT",
        default=[],
        help='a text with one or more masks, for example "a [MASK] day" (RoBERTa\'s tokenizer: "a <mask> day")',
    ).required = False
    parser.add_argument("--file", metavar="FILE", help="texts, one a line (.gz, .xz, .zst, .bz2, .jsonl#FIELD, or -)")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="candidates a mask (default: %(default)s)")
    add_batch_tokens(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Prints the candidates of each mask."""
    for text in args.text:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(
                f"{text!r} is not UTF-8", where="TEXT", fix="Give the text in UTF-8.", code="E-MASK-UTF8"
            ) from None
    from jaxbert.core.compiled import verify_kept_programs
    from jaxbert.use.texts import open_texts

    verify_kept_programs()
    given = [("fill-mask", text) for text in args.text]
    if args.file:
        given += [(place, text) for place, text in open_texts(args.file) if text.strip()]
    if not given:
        raise InputError(
            "no text", where="fill-mask", fix="Give a TEXT, or --file with a text a line.", code="E-MASK-EMPTY"
        )
    from jaxbert.use.library import load
    from jaxbert.use.predict import fill_mask, lines

    places, texts = zip(*given, strict=True)
    filled = fill_mask(load(args.model), texts, top=args.top, batch_tokens=args.batch_tokens, places=places)
    print("\n".join(lines(filled)))
    return {"masks": [dataclasses.asdict(one) for one in filled]}
