"""The arguments of `jaxbert launch`: a parser for each target, and one each for status, logs and stop."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser
from collections.abc import Mapping, Sequence

from jaxbert.observe.accelerators import CUDA_DRIVERS

from .job import Target

CONTROLS = {
    "status": "show the state of a job",
    "logs": "show the output of a job's first process",
    "stop": "end a job; the same launch command continues the run",
}
_RESTARTS = 50


def add_arguments(parser: ArgumentParser, targets: Mapping[str, Target], run: ArgumentParser) -> None:
    """Adds a parser for `local`, for each target, and for status, logs and stop.

    Args:
      parser: of `jaxbert launch`.
      targets: by their names.
      run: has the arguments of a run, which `local` and each target share; made without --help.
    """
    words = parser.add_subparsers(dest="target", metavar="TARGET", required=True, parser_class=type(parser))

    def added(name: str, summary: str, epilog: str = "", parents: Sequence[ArgumentParser] = ()) -> ArgumentParser:
        description = f"{summary[0].upper()}{summary[1:]}."
        return words.add_parser(name, help=summary, description=description, epilog=epilog, parents=parents)

    _local(added("local", "processes on this machine", parents=[run]))
    for name, target in targets.items():
        example = f"Example: jaxbert launch {name} bert_base --workdir DIR --data ROWS {target.example}".rstrip()
        one = added(name, target.summary, example, [run])
        _common(one, needed=None not in target.kinds)
        if "gpu" in target.kinds and not target.shares_disk:
            _cuda(one)
        target.add_arguments(one)
    for name, summary in CONTROLS.items():
        one = added(name, summary)
        one.add_argument("--workdir", required=True, metavar="DIR", help="the --workdir of the launch")
        one.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
        if name == "logs":
            one.add_argument("--follow", action="store_true", help="keep showing new output")
        _json(one)


def _local(one: ArgumentParser) -> None:
    one.add_argument("--processes", type=int, required=True, metavar="N", help="number of processes")
    one.add_argument("--devices", type=int, metavar="D", help="devices of each process: CPU devices, or GPUs")
    one.add_argument(
        "--grace",
        type=float,
        default=20.0,
        metavar="S",
        help="after a process has failed, seconds until the others are stopped (default: %(default)s)",
    )
    one.add_argument(
        "--restarts",
        type=int,
        default=0,
        metavar="N",
        help="restart the run at most N times after exit 3 (default: %(default)s)",
    )
    # For the other targets only: who gives it here learns why, and --help does not offer it.
    one.add_argument("--topology", help=SUPPRESS)
    one.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    _json(one)


def _common(one: ArgumentParser, needed: bool) -> None:
    one.add_argument("--topology", required=needed, metavar="CHIP:SLICE", help="for example v5p:2x2x4, h100:8")
    one.add_argument(
        "--slices", type=int, default=1, metavar="N", help="number of slices, or of machines with GPUs (default: 1)"
    )
    one.add_argument("--spot", action="store_true", help="take cheaper capacity that the provider may take away")
    one.add_argument("--name", metavar="NAME", help="name of the job (default: made from CONFIG and the workdir)")
    one.add_argument(
        "--restarts",
        type=int,
        default=_RESTARTS,
        metavar="N",
        help="restart the run at most N times after an interruption (default: %(default)s)",
    )
    one.add_argument(
        "--secret",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME[=WHERE]",
        help="pass an environment variable to the run by reference; its value is not written into any file",
    )
    one.add_argument("--analytic", action="store_true", help="plan with the model, without the chip's compiler")
    one.add_argument("--chip", metavar="FILE", help="a JSON file with the figures of a chip that the table lacks")
    one.add_argument("--price", type=float, metavar="X", help="price of a chip-hour (default: the list price)")
    one.add_argument("--yes", action="store_true", help="submit without asking")
    one.add_argument("--dry-run", action="store_true", help="print every command and file, and send nothing")
    _json(one)


def _cuda(one: ArgumentParser) -> None:
    one.add_argument(
        "--cuda",
        type=int,
        choices=sorted(CUDA_DRIVERS),
        help="the lock file of NVIDIA GPUs: CUDA 13 needs a driver of 580 or later, CUDA 12 one of 525.60.13 or later "
        "(default: the one that the driver of the machines, or the image, decides)",
    )


def _json(one: ArgumentParser) -> None:
    one.add_argument("--json", metavar="FILE", default=SUPPRESS, help="also write the figures to FILE")
