"""Writes an HTML page about one or several runs, and a PNG of each loss curve."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from jaxbert.errors import InputError
from jaxbert.stores.storage import is_remote

EPILOG = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    parser.add_argument("workdir", nargs="+", metavar="WORKDIR")
    parser.add_argument("--out", metavar="DIR", help="directory of the page (default: the first WORKDIR)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Writes the page and prints its path."""
    from jaxbert.report.page import write_report

    if any(is_remote(workdir) for workdir in args.workdir) and args.out is None:
        raise InputError(
            "a page cannot be written to a bucket", where="report", fix="Give --out DIR.", code="E-ARGUMENT-OUT"
        )
    workdirs = [_here(workdir) for workdir in args.workdir]
    written = write_report(workdirs, Path(args.out) if args.out else None)
    print("\n".join(f"wrote {path}" for path in written))
    return {"files": [str(path) for path in written]}


def _here(workdir: str) -> Path:
    if not is_remote(workdir):
        return Path(workdir)
    from jaxbert.use.model_place import local_copy

    return local_copy(workdir)
