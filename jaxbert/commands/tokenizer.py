"""Trains a tokenizer on the train split of a source."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from jaxbert.commands.arguments import add_named, add_overwrite, add_source, add_validation_fraction
from jaxbert.config import Registry
from jaxbert.errors import InputError
from jaxbert.inputs.files import read_bytes
from jaxbert.inputs.values import parse
from jaxbert.stores.files import is_partial, write_whole

EPILOG = ""
KINDS = Registry("kind of tokenizer", "jaxbert.text.tokenizers", "REGISTRY")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    add_source(parser)
    add_named(parser, "--kind", KINDS, default="wordpiece", help="kind of vocabulary: %(names)s (default: %(default)s)")
    parser.add_argument("--vocab-size", type=int, required=True, metavar="N", help="pieces, with special tokens")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--cased", action="store_true", help="keep upper case and accents, as bpe always does")
    add_validation_fraction(parser, "leave out")
    add_overwrite(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Trains the tokenizer, unless --out has it already."""
    fraction = args.validation_fraction
    if not 0 <= fraction < 1:
        raise InputError(
            f"the validation fraction is {fraction}",
            where="--validation-fraction",
            fix="Give a number from 0 up to, but not including, 1.",
            code="E-ARGUMENT-RANGE",
        )
    if args.kind not in KINDS.names:
        raise KINDS.unknown(args.kind, "--kind")
    from jaxbert.data.sources import open_source
    from jaxbert.data.split import train_texts
    from jaxbert.text.tokenizers import REGISTRY, Tokenizer, train_tokenizer
    from jaxbert.text.tokenizers.base import writing

    out = Path(args.out)
    cased = args.cased or REGISTRY[args.kind].keeps_case
    source = open_source(args.source)
    made_from = {
        "source": args.source,
        "source_hash": source.hash,
        "kind": args.kind,
        "vocab_size": args.vocab_size,
        "lowercase": not cased,
        "validation_fraction": fraction,
    }
    # `begun` becomes `record` when every file is written. A directory that has only `begun` was not finished.
    record, begun = out / "made_from.json", out / ".begun.json"
    if out.exists() and not out.is_dir():
        raise InputError(
            "the path is a file, but a directory is needed",
            where=str(out),
            fix="Give another --out.",
            code="E-TOKENIZER-OUT",
        )
    if out.is_dir() and any(not is_partial(path.name) for path in out.iterdir()):
        if _read_json(record) == made_from:
            made = Tokenizer.load(out)
            print(f"{out} is there already, made from the same source with the same options.")
            return {"vocab_size": made.vocab_size, "hash": made.hash, "out": str(out)}
        if not args.overwrite and _read_json(begun) != made_from:
            raise InputError(
                "the directory holds something else already",
                where=str(out),
                fix="Give another --out, or --overwrite to replace it.",
                code="E-TOKENIZER-EXISTS",
            )
    texts = train_texts(source, fraction)
    made = train_tokenizer(args.kind, texts, vocab_size=args.vocab_size, lowercase=not cased, where=args.source)
    with writing(out):
        write_whole(begun, json.dumps(made_from, indent=1, sort_keys=True) + "\n")
        record.unlink(missing_ok=True)
        made.save(out)
        os.replace(begun, record)
    words = f"{'cased' if cased else 'uncased'} {args.kind}" + (" (it always is)" if cased and not args.cased else "")
    print(f"{made.vocab_size} pieces, {words}: {out}")
    findings = source.findings()
    if made.learned is not None:
        print(made.learned.line())
        findings += made.learned.findings()
    for finding in findings:
        print(f"look at: {finding}")
    return {"vocab_size": made.vocab_size, "hash": made.hash, "out": str(out)}


def _read_json(path: Path) -> Any:
    """Returns the value in a JSON file; None where the file is missing or damaged."""
    try:
        return parse(read_bytes(path))
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return None
