"""Estimates the memory, time, money and energy that a run needs on a topology."""

from __future__ import annotations

import argparse
from typing import Any

from jaxbert.commands.arguments import add_config, add_set
from jaxbert.commands.figures import write_figures
from jaxbert.errors import InputError

EPILOG = ""
# The lowest and the highest value of each assumption. A data centre uses at least the energy that its chips use, and a
# price may be in a currency of small units.
_BOUNDS = {"price": (0.0, 1e9), "watts": (0.0, 1e6), "pue": (1.0, 100.0), "grid": (0.0, 1e5)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    from jaxbert.core.chips import PROVIDERS, WORLD_GRID

    add_config(parser)
    parser.add_argument(
        "--topology",
        required=True,
        metavar="CHIP:SLICE",
        help="for example v5e:4x4, v5p:8x8x16, h200:8; cpu for this machine's CPU, which is measured",
    )
    parser.add_argument("--chip", metavar="FILE", help="a JSON file with the figures of a chip that the table lacks")
    parser.add_argument("--slices", type=int, default=1, metavar="N", help="this many slices, joined by the network")
    add_set(parser)
    parser.add_argument("--layouts", choices=("all",), help="print a line for each layout")
    parser.add_argument("--search", action="store_true", help="rank layouts, micro-batches and remat; compile the best")
    parser.add_argument(
        "--analytic", action="store_true", help="use the model alone: seconds instead of a minute a phase"
    )
    parser.add_argument("--price", type=float, metavar="X", help="price of a chip-hour, in place of the table's")
    parser.add_argument(
        "--provider",
        choices=(*PROVIDERS, "none"),
        help="show the on-demand price of this provider only (default: all prices)",
    )
    parser.add_argument("--watts", type=float, metavar="X", help="power of a chip with its share of the host")
    parser.add_argument("--pue", type=float, metavar="X", help="power usage effectiveness of the data centre")
    parser.add_argument("--grid", type=float, default=WORLD_GRID, metavar="X", help="grams of CO2e a kWh (%(default)g)")
    parser.add_argument(
        "--real", type=float, default=1.0, metavar="X", help="share of the tokens that are not padding (%(default)g)"
    )
    parser.add_argument("--table", action="store_true", help="print one row in Markdown instead of everything")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Plans, prints and returns the figures.

    Raises:
      InputError: an argument is wrong, or the run does not fit the topology.
    """
    from jaxbert.config import find_config
    from jaxbert.plan.compile import prepare
    from jaxbert.plan.here import this_machine
    from jaxbert.plan.own import own_chip
    from jaxbert.plan.topologies import topology, with_price
    from jaxbert.run.wanted import wanted

    for name, (least, most) in _BOUNDS.items():
        value = getattr(args, name)
        if value is not None and not least <= value <= most:  # nor is NaN
            raise InputError(
                f"the value is {value}",
                where=f"--{name}",
                fix=f"Give a number from {least:g} to {most:,.0f}.",
                code="E-ARGUMENT-RANGE",
            )
    if not 0 < args.real <= 1:  # nor is NaN
        raise InputError(
            f"the value is {args.real}",
            where="--real",
            fix="Give a number above 0 and up to 1.",
            code="E-ARGUMENT-RANGE",
        )
    if args.layouts and (args.search or args.table):
        raise InputError(
            "--layouts prints its own lines",
            where="--search" if args.search else "--table",
            fix="Give one of --layouts, --search and --table in each command.",
            code="E-ARGUMENT-TOGETHER",
        )
    if args.topology.lower() in ("cpu", "cpu:1"):
        for name, given in (("--slices", args.slices != 1), ("--chip", args.chip is not None)):
            if given:
                raise InputError(
                    "the CPU of this machine is one device with measured figures",
                    where=f"--topology cpu {name}",
                    fix=f"Leave {name} away, or name another chip in --topology.",
                    code="E-PLAN-CPU",
                )
        prepare()
        place = this_machine()
    else:
        place = topology(args.topology, args.slices, None if args.chip is None else own_chip(args.chip))
    place = with_price(place, args.price, args.watts, args.pue, args.provider)
    config = wanted(find_config(args.config), settings=args.set, whole=False).config
    prepare()
    from jaxbert.plan.command import run as plan

    figures, error = plan(
        config,
        place,
        grid=args.grid,
        compiled=not args.analytic,
        layouts=args.layouts == "all",
        searching=args.search,
        table=args.table,
        settings=" ".join(args.set),
        real=args.real,
    )
    if error is not None:
        write_figures(args.json, figures)
        raise error
    return figures
