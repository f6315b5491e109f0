"""Makes training rows from token records, without tokenising again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from jaxbert.commands.arguments import add_named, add_overwrite
from jaxbert.config import Registry
from jaxbert.core.machine import cores
from jaxbert.core.shell import path_word
from jaxbert.errors import InputError

EPILOG = ""
POLICIES = Registry("rows policy", "jaxbert.data.policies", "POLICIES")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    parser.add_argument("records", metavar="RECORDS")
    parser.add_argument("--out", required=True, metavar="ROWS")
    add_row_options(parser)
    add_overwrite(parser)


def add_row_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of rows, which `jaxbert prepare` has too."""
    add_named(
        parser, "--policy", POLICIES, default="segment_pair", help="rows policy: %(names)s (default: %(default)s)"
    )
    parser.add_argument("--length", type=int, default=128, metavar="L", help="tokens a row (default: %(default)s)")
    parser.add_argument(
        "--short-rows",
        type=float,
        default=0.1,
        metavar="P",
        help="for pairs: share of documents with a shorter target length (default: %(default)s)",
    )
    parser.add_argument(
        "--copies",
        type=int,
        default=1,
        metavar="N",
        help="for pairs: number of passes over the documents, each with other pairings (default: %(default)s; other "
        "policies make one pass)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: one a core)")
    parser.add_argument(
        "--beam",
        metavar="OPTIONS",
        help='make the shards by Apache Beam (extra "beam"): options of its pipeline, for example '
        '"runner=DataflowRunner project=P region=R temp_location=gs://B/t sdk_container_image=IMAGE"',
    )
    parser.add_argument("--staging", metavar="DIR", help="with --beam: a directory that all workers reach (gs://...)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Makes the rows."""
    return build(args, Path(args.records), Path(args.out))


def build(args: argparse.Namespace, records: Path, out: Path) -> dict[str, Any]:
    """Makes rows of `records` in `out`, prints a summary and returns the figures."""
    from jaxbert.data.rows import build_rows

    summary = build_rows(
        records,
        out,
        policy=args.policy,
        length=args.length,
        workers=args.workers or cores(),
        runner=runner(args),
        seed=args.seed,
        short_rows=args.short_rows,
        copies=args.copies,
        overwrite=args.overwrite,
    )
    print("\n".join(summary.lines()))
    print(f"Train on them: {_training(out)}")
    return {"rows": str(out), "rows_summary": summary.to_json()}


# The small config whose objectives learn from rows of a policy.
_CONFIGS = {
    "segment_pair": "bert_tiny",
    "full_sentences": "roberta_tiny",
    "doc_sentences": "roberta_tiny",
    "ordered_pair": "albert_tiny",
    "ordered_pair_mixed": "albert_tiny",
    "single_document": "spanbert_tiny",
}


def _training(rows: Path) -> str:
    """Returns a command that trains on rows: a small config with the settings that fit it to them."""
    from jaxbert.config import find_config, settings_for_rows
    from jaxbert.data.shards import read_manifest

    manifest = read_manifest(rows, "rows")
    name = _CONFIGS.get(manifest["policy"])
    if name is None:
        return f"jaxbert pretrain CONFIG --workdir WORKDIR --data {path_word(rows)}"
    config = find_config(name)
    words = settings_for_rows(config, [manifest["length"]] * len(config.phases), manifest["vocab_size"])
    settings = f" --set {' '.join(words)}" if words else ""
    return f"jaxbert pretrain {name} --workdir runs/{name} --data {path_word(rows)}{settings}"


def runner(args: argparse.Namespace) -> Any:
    """Returns the runner that makes the shards: Apache Beam, or None for local processes."""
    if not args.beam:
        if args.staging:
            raise InputError(
                "only the workers of Beam use this directory",
                where="--staging",
                fix="Give --beam OPTIONS too.",
                code="E-ARGUMENT-STAGING",
            )
        return None
    from jaxbert.data.beam import Beam

    return Beam.of(args.beam, args.staging)
