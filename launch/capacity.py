"""The ways to get machines of Google Cloud: on demand, spot, flex-start, a reservation. A job takes one of them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from jaxbert.errors import InputError

# Flex-start keeps machines for seven days at most (cloud.google.com/tpu/docs/request-using-flex-start and
# cloud.google.com/kubernetes-engine/docs/concepts/dws).
_MOST_S = 7 * 86_400
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def add_arguments(parser: ArgumentParser) -> None:
    """Adds --flex-start, --max-run-duration and --reservation."""
    parser.add_argument(
        "--flex-start", action="store_true", help="wait for cheaper capacity that lasts seven days at most"
    )
    parser.add_argument(
        "--max-run-duration", metavar="T", help="with --flex-start: give the machines back after T (default: 7d)"
    )
    parser.add_argument("--reservation", metavar="NAME", help="take the machines from this reservation")


def seconds(duration: str) -> int:
    """Returns the seconds of a duration such as "6h"."""
    return int(duration[:-1]) * _UNITS[duration[-1]]


def check(options: Namespace, *, spot: bool) -> None:
    """Raises InputError where a job asks for two kinds of capacity, or for too long a time."""
    chosen = [
        *(["--spot"] if spot else []),
        *(["--flex-start"] if getattr(options, "flex_start", False) else []),
        *(["--reserved"] if getattr(options, "reserved", False) else []),
        *(["--reservation"] if options.reservation else []),
    ]
    if len(chosen) > 1 and chosen != ["--reserved", "--reservation"]:
        raise InputError(
            "these options exclude each other",
            where=" ".join(chosen),
            fix="Keep one.",
            code="E-LAUNCH-OPTIONS",
        )
    duration = getattr(options, "max_run_duration", None)
    if duration is None:
        return
    if "--flex-start" not in chosen:
        raise InputError(
            "only the machines of flex-start have a limit of time",
            where=f"--max-run-duration {duration}",
            fix="Add --flex-start, or remove the option.",
            code="E-LAUNCH-OPTIONS",
        )
    if not 600 <= seconds(duration) <= _MOST_S:
        raise InputError(
            "flex-start gives machines for ten minutes to seven days",
            where=f"--max-run-duration {duration}",
            fix="Write for example 2d.",
            code="E-LAUNCH-NUMBER",
        )


def run_seconds(options: Namespace) -> int:
    """Returns the seconds after which machines of flex-start are given back."""
    return seconds(options.max_run_duration) if options.max_run_duration else _MOST_S
