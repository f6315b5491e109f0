"""Formats a plan as lines for a terminal, as JSON, and as rows of the table of docs/how-to/plan.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from jaxbert.config import RunConfig
from jaxbert.core.chips import GIB, GRID_SOURCE, Price
from jaxbert.core.progress import duration
from jaxbert.plan.hlo import Collective
from jaxbert.plan.layouts import Candidate, sizes_of
from jaxbert.plan.planner import PhasePlan, Plan
from jaxbert.plan.work import Transfer

_TERMS = {
    "compute": "matrix products",
    "vector": "all other arithmetic",
    "hbm": "HBM",
    "ici": "links",
    "dcn": "between slices",
}


def lines(plan: Plan) -> list[str]:
    """Returns the lines of the whole plan."""
    config, topology = plan.config, plan.topology
    sizes = sizes_of(config, topology)
    slices = f"{topology.slices} slices of " if topology.slices > 1 else ""
    found = [
        f"{config.name} on {slices}{topology.name}: {topology.chips} chips, {topology.hosts} "
        f"host{'s' if topology.hosts > 1 else ''}; layout {config.mesh.layout}, "
        f"data x fsdp x tensor = {' x '.join(str(size) for size in sizes.values())}",
        *(f"  {remark}" for remark in plan.remarks),
        f"  {plan.phases[0].work.parameters:,} parameters; memory by {plan.judged_by}; time by {_time_judges(plan)}",
    ]
    for one in plan.phases:
        found += ["", *_phase_lines(plan, one)]
    found += ["", *_bill_lines(plan)]
    return found


def _time_judges(plan: Plan) -> str:
    """Returns what gave the expected times, one or both."""
    return " and ".join(dict.fromkeys(one.time.judged_by for one in plan.phases))


def _phase_lines(plan: Plan, one: PhasePlan) -> list[str]:
    phase, work, time, chip = one.phase, one.work, one.time, plan.topology.chip
    rows = phase.batch_size // (plan.topology.devices // sizes_of(plan.config, plan.topology)["tensor"])
    each = "chip" if chip.devices == 1 else "device"
    micro = f" in {phase.accumulation} micro-batches" if phase.accumulation > 1 else ""
    found = [
        f"phase {phase.name}: {phase.steps:,} steps of {phase.batch_size:,} rows x {phase.length} "
        f"({rows} rows a device{micro})"
    ]
    over = one.over(chip.hbm)
    verdict = f"does NOT fit: {_gib(over)} too much" if over else f"fits, {_gib(chip.hbm - one.memory)} to spare"
    found.append(f"  HBM    {_gib(one.memory if not over else chip.hbm + over)} of {_gib(chip.hbm)}: {verdict}")
    found += [f"         {name:<30}{_gib(size):>12}" for name, size in memory_by_kind(one).items()]
    found.append(
        f"  step   {_ms(time.expected)} expected, {_ms(time.worst)} at worst; no program of 16-bit products "
        f"takes less than {_ms(time.best)}; {work.tokens / time.expected:,.0f} tokens/s"
    )
    if time.cycles:
        found.append(f"         {'cycles of the program, by libtpu':<33}{_ms(time.cycles):>9}")
    for name, seconds in vars(time.terms).items():
        binds = "   <- binds" if name == time.terms.binds else ""
        found.append(f"         {_TERMS[name]:<30}{_ms(seconds):>12}{binds}")
    found.append(
        f"  work   {work.model_flops / 1e12:,.1f} TFLOP a step ({work.flops * plan.topology.devices / 1e12:,.1f} with "
        f"recomputation and padding); {work.bytes / 1e9:,.1f} GB through each {each}'s HBM"
    )
    expected, low = (work.model_flops / (getattr(time, name) * plan.peak(name)) for name in ("expected", "worst"))
    found.append(f"  MFU    {expected:.0%} expected, {low:.0%} at worst")
    sent = sum(transfer.bytes for transfer in work.transfers)
    found.append(
        f"  sent   {sent / 1e9:,.2f} GB a device in collectives, {time.communication_share:.1%} of the step if none "
        "hides behind it"
    )
    for transfer in work.transfers:
        name = f"{transfer.op} over {'+'.join(transfer.axes)}"
        found.append(f"         {name:<30}{transfer.bytes / 1e6:>9,.1f} MB  {transfer.what}")
    if one.compiled is not None and one.compiled.fits:
        program = one.compiled.collectives
        size, count = sum(each.bytes * each.count for each in program), sum(each.count for each in program)
        found.append(
            f"         {'the compiled program has':<30}{size / 1e6:>9,.1f} MB  in {count} collectives "
            f"({_by_axes(program)})"
        )
    return found


def memory_by_kind(one: PhasePlan) -> dict[str, float]:
    """Returns bytes of HBM by kind. The layout gives parameters and optimizer; compiler or model gives the rest."""
    memory, compiled = one.work.memory, one.compiled
    if compiled is None:
        return {
            "parameters": memory.parameters,
            "optimizer": memory.optimizer,
            "gradients": memory.gradients,
            "activations and temporaries": memory.activations,
            "batch, tables, teacher": memory.other,
        }
    if not compiled.fits:
        return {"parameters": memory.parameters, "optimizer": memory.optimizer}
    rest = max(0.0, compiled.arguments - memory.parameters - memory.optimizer)
    return {
        "parameters": memory.parameters,
        "optimizer": memory.optimizer,
        "batch, tables, teacher": rest,
        "activations and temporaries": compiled.temporaries + compiled.outputs,
        "code": compiled.code,
    }


def _bill_lines(plan: Plan) -> list[str]:
    chip, bill = plan.topology.chip, plan.bill
    power = chip.power
    steps = sum(one.phase.steps for one in plan.phases)
    return [
        f"the whole recipe, {steps:,} steps: {duration(bill.hours * 3600)} "
        f"({duration(plan.evaluation_seconds)} of it evaluation), {bill.chip_hours:,.0f} chip-hours, "
        f"MFU {plan.mfu('expected'):.0%} ({plan.mfu('worst'):.0%} at worst)",
        *_money_lines(chip.prices, bill.chip_hours),
        f"  energy {bill.kwh:,.0f} kWh ({bill.kwh_low:,.0f} to {bill.kwh_high:,.0f}): {power.watts:.0f} W a chip "
        f"({power.source}), PUE {power.pue:.2f} ({power.pue_source})",
        f"  carbon {bill.kg_co2e:,.0f} kg CO2e at {plan.grid:.0f} g/kWh"
        + (f" ({GRID_SOURCE})" if "--grid" in GRID_SOURCE and plan.grid == 475.0 else ""),
        "  estimates: waiting for data, checkpoints, restarts and compilation are not in them",
    ]


def _money_lines(prices: Sequence[Price], chip_hours: float) -> list[str]:
    """Returns a line for each price that is known."""
    if not prices:
        return ["  money  no price is known: give --price, the price of a chip-hour"]
    return [
        f"  {'money' if number == 0 else 'or':<6} {price.per_hour * chip_hours:,.0f} {price.currency} at "
        f"{price.per_hour:.2f} a chip-hour ({price.source})"
        for number, price in enumerate(prices)
    ]


def layout_lines(plans: Sequence[Plan]) -> list[str]:
    """Returns a heading and one line per layout."""
    found = [f"{'layout':<12}{'mesh':>14}{'HBM':>12}{'':>8}{'step':>12}{'sent':>8}{'hours':>10}{'money':>12}"]
    for plan in plans:
        sizes = "x".join(str(size) for size in sizes_of(plan.config, plan.topology).values())
        largest = max(plan.phases, key=lambda one: one.memory)
        fits = "fits" if plan.fits else "over"
        share = max(one.time.communication_share for one in plan.phases)
        step = plan.seconds / sum(one.phase.steps for one in plan.phases)
        memory = largest.memory if plan.fits else plan.topology.chip.hbm + plan.over
        found.append(
            f"{plan.config.mesh.layout:<12}{sizes:>14}{_gib(memory):>12}{fits:>8}{_ms(step):>12}{share:>8.1%}"
            f"{plan.bill.hours:>10,.1f}{_money(plan):>12}"
        )
    return found


def search_lines(found: Sequence[Candidate], given: RunConfig, judged: Sequence[Plan]) -> list[str]:
    """Returns lines of the best candidates of a search, with the compiler's figures for those that it compiled."""
    listed = [f"{'step':>12}{'HBM, model':>14}{'HBM, compiled':>16}  change"]
    for index, one in enumerate(found):
        compiled = "" if index >= len(judged) else _word(judged[index])
        step = one.seconds / sum(phase.steps for phase in one.config.phases)
        listed.append(f"{_ms(step):>12}{_gib(one.memory):>14}{compiled:>16}  {one.changes(given) or 'no change'}")
    return listed


def _word(plan: Plan) -> str:
    if plan.phases[0].compiled is None:
        return "-"
    return _gib(max(one.memory for one in plan.phases)) if plan.fits else f"{_gib(plan.over)} over"


def to_json(plan: Plan) -> dict[str, Any]:
    """Returns all figures, in bytes, seconds, FLOPs and the units that keys name."""
    chip = plan.topology.chip
    return {
        "config": plan.config.name,
        "topology": plan.topology.name,
        "slices": plan.topology.slices,
        "chips": plan.topology.chips,
        "devices": plan.topology.devices,
        "hosts": plan.topology.hosts,
        "mesh": {"layout": plan.config.mesh.layout, **sizes_of(plan.config, plan.topology)},
        "judged_by": plan.judged_by,
        "remarks": list(plan.remarks),
        "fits": plan.fits,
        "over_bytes": plan.over,
        "hbm_bytes": chip.hbm,
        "mfu": {name: plan.mfu(name) for name in ("worst", "expected", "best")},
        "phases": [_phase_json(plan, one) for one in plan.phases],
        "evaluation_s": plan.evaluation_seconds,
        "bill": asdict(plan.bill),
        "price": None if chip.price is None else asdict(chip.price),
        "prices": [asdict(price) for price in chip.prices],
        "power": asdict(chip.power),
        "grid_g_per_kwh": plan.grid,
    }


def _phase_json(plan: Plan, one: PhasePlan) -> dict[str, Any]:
    work, time = one.work, one.time
    found: dict[str, Any] = {
        "name": one.phase.name,
        "steps": one.phase.steps,
        "batch_size": one.phase.batch_size,
        "length": one.phase.length,
        "accumulation": one.phase.accumulation,
        "over_bytes": one.over(plan.topology.chip.hbm),
        "memory_bytes": memory_by_kind(one),
        "memory_model_bytes": {**asdict(work.memory), "total": work.memory.total},
        "model_flops": work.model_flops,
        "device_flops": work.flops,
        "device_vector_ops": work.vector,
        "device_hbm_bytes": work.bytes,
        "tokens": work.tokens,
        "tokens_per_s": work.tokens / time.expected,
        "task_flops": work.task_flops,
        "step_s": {"best": time.best, "expected": time.expected, "worst": time.worst},
        "step_judged_by": time.judged_by,
        "cycles_s": time.cycles,
        "terms_s": vars(time.terms),
        "binds": time.terms.binds,
        "communication_s": time.communication,
        "communication_share": time.communication_share,
        "mfu": {
            name: work.model_flops / (getattr(time, name) * plan.peak(name)) for name in ("worst", "expected", "best")
        },
        "transfers": [asdict(transfer) for transfer in work.transfers],
    }
    if one.compiled is not None:
        compiled = asdict(one.compiled)
        compiled["collectives"] = [asdict(each) for each in joined(one.compiled.collectives)]
        found["compiled"] = compiled | {"total": one.compiled.total}
    return found


def joined(found: Iterable[Collective]) -> list[Collective]:
    """Joins the collectives of one kind over the same axes into one, with the sum of their bytes."""
    sums: dict[tuple[str, tuple[str, ...]], list[float]] = {}
    for one in found:
        size = sums.setdefault((one.op, one.axes), [0.0, 0])
        size[0] += one.bytes * one.count
        size[1] += one.count
    return [Collective(op, axes, size / count, int(count)) for (op, axes), (size, count) in sums.items()]


def traffic(found: Iterable[Collective | Transfer]) -> dict[tuple[str, ...], float]:
    """Returns sent bytes by mesh axes; an all-reduce counts twice. Plan and program are compared by them."""
    sums: dict[tuple[str, ...], float] = {}
    for one in found:
        total = one.bytes * (one.count if isinstance(one, Collective) else 1)
        sums[one.axes] = sums.get(one.axes, 0.0) + total * (2 if one.op == "all-reduce" else 1)
    return sums


def _by_axes(found: Iterable[Collective]) -> str:
    sums: dict[tuple[str, ...], float] = {}
    for one in found:
        sums[one.axes] = sums.get(one.axes, 0.0) + one.bytes * one.count
    return ", ".join(f"{'+'.join(axes)} {size / 1e6:,.1f}" for axes, size in sums.items()) or "none"


def table_row(plan: Plan, settings: str = "") -> str:
    """Returns a row of the table of docs/how-to/plan.md, in Markdown. `settings` are the settings of `--set`."""
    largest = max(plan.phases, key=lambda one: one.memory)
    word = "" if largest.compiled is not None else " (model)"
    verdict = f"{_gib(largest.memory)} of {_gib(plan.topology.chip.hbm)}{word}"
    if not plan.fits:
        verdict = f"does not fit: {_gib(plan.over)} over"
    slices = f"{plan.topology.slices} x " if plan.topology.slices > 1 else ""
    return (
        f"| `{plan.config.name}` | {slices}{plan.topology.name} | {f'`{settings}`' if settings else ''} | {verdict} | "
        f"{plan.mfu('expected'):.0%} ({plan.mfu('worst'):.0%}) | "
        f"{_tokens(plan)} | {duration(plan.bill.hours * 3600)} | {_money(plan)} | {plan.bill.kwh:,.0f} | "
        f"{plan.bill.kg_co2e:,.0f} |"
    )


TABLE_HEAD = (
    "| config | on | with `--set` | HBM a device | MFU expected (at worst) | tokens/s | time | USD | kWh | kg CO2e |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def _tokens(plan: Plan) -> str:
    tokens = sum(one.phase.steps * one.work.tokens for one in plan.phases)
    return f"{tokens / plan.seconds / 1e6:,.1f} M"


def _money(plan: Plan) -> str:
    return "-" if plan.bill.money is None else f"{plan.bill.money:,.0f}"


def _gib(size: float) -> str:
    return f"{size / GIB:,.2f} GiB"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.1f} ms" if seconds < 10 else f"{seconds:,.1f} s"
