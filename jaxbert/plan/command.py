"""The command `jaxbert plan`. It plans, prints, and says what would fit if the config does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jaxbert.config import RunConfig
from jaxbert.core.chips import CHIPS, GIB, SLICES
from jaxbert.errors import InputError
from jaxbert.plan.compile import available
from jaxbert.plan.layouts import Candidate, anything_fits, search
from jaxbert.plan.planner import SEARCHED, Plan, all_layouts, plan, prepared, what_would_fit
from jaxbert.plan.report import TABLE_HEAD, layout_lines, lines, search_lines, table_row, to_json
from jaxbert.plan.topologies import Topology, topology

# The number of candidates of a search that are printed.
_LISTED = 10


def run(
    config: RunConfig,
    place: Topology,
    *,
    grid: float,
    compiled: bool = True,
    layouts: bool = False,
    searching: bool = False,
    table: bool = False,
    settings: str = "",
    real: float = 1.0,
    say: Callable[[str], None] = print,
) -> tuple[dict[str, Any], InputError | None]:
    """Plans and prints.

    Args:
      config: the run.
      place: the topology.
      grid: grams of CO2 equivalent a kWh.
      compiled: whether to ask the chip's compiler, if it is installed.
      layouts: whether to print a line for each layout.
      searching: whether to also rank layouts, micro-batches and remat, and compile the best.
      table: whether to print only a row of the table of docs/how-to/plan.md.
      settings: the settings of `--set`, for that row.
      real: share of the rows' tokens that are not padding.
      say: prints a line of the result.

    Returns:
      (the figures, the error where the config does not fit).
    """
    if layouts:
        plans, refused = all_layouts(config, place, grid=grid, compiled=compiled, real=real)
        for line in [
            *layout_lines(plans),
            *(f"{name:<12}{error.what}: {error.fix}" for name, error in refused.items()),
        ]:
            say(line)
        figures: dict[str, Any] = {"layouts": [to_json(one) for one in plans]}
        fitting = [one for one in plans if one.fits]
        return figures, None if fitting else _too_large(config, plans[-1])
    made = plan(config, place, grid=grid, compiled=compiled, real=real)
    for line in [*TABLE_HEAD, table_row(made, settings)] if table else lines(made):
        say(line)
    figures = to_json(made)
    if searching:
        figures["search"] = _search(made, grid, compiled, say)
    return figures, None if made.fits else _too_large(config, made)


def _search(
    made: Plan,
    grid: float,
    compiled: bool,
    say: Callable[[str], None],
) -> list[Mapping[str, Any]]:
    """Ranks candidates by the model, compiles the best and prints them. Returns the JSON of those that it lists.

    Args:
      made: plan of the config as it was given. A candidate that is this config is not compiled again.
      grid: grams of CO2 equivalent a kWh.
      compiled: whether to ask the chip's compiler, if it is installed.
      say: prints a line of the result.
    """
    given, place = made.config, made.topology
    found = search(given, place)[:_LISTED]
    compiling = compiled and place.chip.kind == "tpu" and available() is not None
    judged = [
        made if one.config == given else plan(one.config, place, grid=grid, compiled=True)
        for one in (found[:SEARCHED] if compiling else [])
    ]
    say("")
    say("other ways to run it, fastest first:")
    for line in search_lines(found, given, judged):
        say(line)
    return [
        {
            "changes": one.changes(given),
            "seconds": one.seconds,
            "memory_model_bytes": one.memory,
            "fits_model": one.fits,
            "compiled": to_json(judged[index]) if index < len(judged) else None,
        }
        for index, one in enumerate(found)
    ]


def _too_large(config: RunConfig, made: Plan) -> InputError:
    """Returns the error of a plan that does not fit. It says by how much, and what would fit."""
    worst = max(made.phases, key=lambda one: one.over(made.topology.chip.hbm))
    options: list[Candidate] = what_would_fit(config, made.topology)
    given = prepared(config, made.topology)[0]
    if options:
        fix = f"By the analytic model, this would fit: {options[0].changes(given)}. --search ranks more changes."
    else:
        larger = _larger(config, made.topology)
        more = f"{larger} would fit." if larger else "Take a smaller model or batch."
        fix = f"No layout, accumulation or remat fits here. {more}"
    chip = made.topology.chip
    one = f"one {chip.name}" if chip.devices == 1 else f"one of the {chip.devices} devices of a {chip.name}"
    return InputError(
        f"phase {worst.phase.name} needs {made.over / GIB:.2f} GiB more than {one} has, {chip.hbm / GIB:.2f} GiB",
        where=f"{config.name} on {made.topology.name}",
        fix=fix,
        code="E-PLAN-MEMORY",
    )


def _larger(config: RunConfig, place: Topology) -> str:
    """Returns the smallest topology on which something fits: larger slices of the chip, then other chips."""
    for name in (place.chip.name, *(chip for chip in CHIPS if CHIPS[chip].kind == place.chip.kind)):
        for shape in SLICES.get(name, ()):
            other = topology(f"{name}:{shape}")
            if other.chips < place.chips:
                continue
            try:
                if anything_fits(prepared(config, other)[0], other):
                    return other.name
            except InputError:
                continue
    return ""
