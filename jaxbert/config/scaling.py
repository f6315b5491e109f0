"""`--set scale.KEY=VALUE`: helpers that change several fields of a run together, and report each change. Imports no
jax.

    scale.batch_size=N    the first phase's batch becomes N rows, the others' in proportion. The rates follow the square
                          root of the batch, the steps keep the number of rows, the warm-ups keep their steps as far
                          as they fit; batches of evaluation become no larger than training's
    scale.steps=SHARE     that share of the steps, warm-ups and decays, and of the steps between evaluations and between
                          checkpoints; rates and batches stay

The rules of `scale.batch_size` are those of You et al. 2020 (LAMB): rates in proportion to the square root of the
batch, and warm-ups whose share grows with the batch as the number of steps falls: 3,125 steps at every size in its
table.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

from jaxbert.config.derived import horizon
from jaxbert.config.registry import did_you_mean
from jaxbert.config.schema import EvaluationConfig, PhaseConfig, RunConfig
from jaxbert.errors import InputError
from jaxbert.inputs.values import whole_number

PREFIX = "scale."
# Evaluations and checkpoints of a recipe that is made much shorter stay so many steps apart: each costs a few steps.
_LEAST_INTERVAL = 10


def scale(config: RunConfig, key: str, value: str) -> tuple[RunConfig, list[str]]:
    """Returns `config` as the helper `key` changes it, and a line for each change.

    Raises:
      InputError: there is no such helper, or it cannot take the value.
    """
    if key not in HELPERS:
        known = ", ".join(f"{PREFIX}{name}" for name in HELPERS)
        raise InputError(
            f"unknown key {key!r}",
            where=f"--set {PREFIX}{key}",
            fix=f"{did_you_mean(key, list(HELPERS))}Known: {known}.",
            code="E-CONFIG-KEY",
        )
    return HELPERS[key](config, value)


def scale_batch_size(config: RunConfig, value: str) -> tuple[RunConfig, list[str]]:
    """Scales every batch in proportion to the first one, which becomes `value` rows; see the module."""
    where = f"--set {PREFIX}batch_size"
    rows = whole_number(value)
    if not rows:
        raise InputError(
            f"{value!r} is not a number of rows",
            where=where,
            fix="Give a whole number of 1 or more.",
            code="E-CONFIG-TYPE",
        )
    first = config.phases[0].batch_size
    share = rows / first
    lines = [
        f"{PREFIX}batch_size={value}: rates follow the square root of the batch (x {math.sqrt(share):.3g}), steps keep "
        "the number of rows, warm-ups keep their steps"
    ]
    phases = []
    for phase in config.phases:
        rows, rest = divmod(phase.batch_size * int(value), first)
        if rest or rows < 1:
            raise InputError(
                f"phase {phase.name} would have {phase.batch_size * share:g} rows",
                where=where,
                fix=f"Take a multiple of {first // math.gcd(first, *(other.batch_size for other in config.phases))}.",
                code="E-CONFIG-BATCH",
            )
        phases.append(_with_batch(phase, rows, share))
    scaled = dataclasses.replace(
        config,
        phases=_fitting(tuple(phases), config),
        checkpoint=dataclasses.replace(config.checkpoint, every_steps=_steps(config.checkpoint.every_steps, 1 / share)),
        evaluation=_evaluation(config.evaluation, 1 / share, min(phase.batch_size for phase in phases)),
    )
    lines += [
        f"{PREFIX}batch_size={value}: {_changes(old, new)}"
        for old, new in zip(config.phases, scaled.phases, strict=True)
    ]
    evaluation = scaled.evaluation
    lines.append(f"{PREFIX}batch_size={value}: {_intervals(scaled)}")
    if evaluation.batch_size != config.evaluation.batch_size:
        batches = f"{evaluation.batches:,} batches" if evaluation.batches else "the whole split in batches"
        lines.append(
            f"{PREFIX}batch_size={value}: evaluation of {batches} of {evaluation.batch_size:,} rows, "
            "the smallest batch of training"
        )
    return scaled, lines


def scale_steps(config: RunConfig, value: str) -> tuple[RunConfig, list[str]]:
    """Scales the steps, the warm-up and the decay of every phase by `value`, and what is done every so many steps."""
    where = f"--set {PREFIX}steps"
    try:
        share = float(value)
    except ValueError:
        share = math.nan
    if not 0 < share < math.inf:
        raise InputError(
            f"{value!r} is not a share of the steps",
            where=where,
            fix="Give a number above 0, for example 0.1.",
            code="E-CONFIG-TYPE",
        )
    scaled = with_share_of_steps(config, share)
    lines = [f"{PREFIX}steps={value}: {_changes(a, b)}" for a, b in zip(config.phases, scaled.phases, strict=True)]
    return scaled, [*lines, f"{PREFIX}steps={value}: {_intervals(scaled)}"]


def with_share_of_steps(config: RunConfig, share: float) -> RunConfig:
    """Returns `config` with a share of its steps, and with evaluations and checkpoints so much closer together.

    So a shorter run has as many evaluations and checkpoints as the recipe, but for those that would be fewer than
    `_LEAST_INTERVAL` steps apart. A warm-up stays shorter than its phase, and a decay fits behind it.

    Args:
      config: the run.
      share: a number above 0.
    """
    return dataclasses.replace(
        config,
        phases=_fitting(tuple(_with_steps(phase, share) for phase in config.phases), config),
        checkpoint=dataclasses.replace(config.checkpoint, every_steps=_interval(config.checkpoint.every_steps, share)),
        evaluation=dataclasses.replace(config.evaluation, every_steps=_interval(config.evaluation.every_steps, share)),
    )


HELPERS: Mapping[str, Callable[[RunConfig, str], tuple[RunConfig, list[str]]]] = {
    "batch_size": scale_batch_size,
    "steps": scale_steps,
}


def _with_batch(phase: PhaseConfig, rows: int, share: float) -> PhaseConfig:
    """Returns `phase` with batches of `rows` rows, which is `share` times the rows that it had."""
    schedule = phase.schedule
    if schedule is not None:
        schedule = dataclasses.replace(
            schedule,
            peak=schedule.peak * math.sqrt(share),
            end=schedule.end * math.sqrt(share),
            total_steps=_steps(schedule.total_steps, 1 / share),
            decay_steps=_steps(schedule.decay_steps, 1 / share),
        )
    return dataclasses.replace(
        phase,
        batch_size=rows,
        steps=_steps(phase.steps, 1 / share),
        accumulation=math.gcd(phase.accumulation, rows),
        schedule=schedule,
    )


def _fitting(phases: tuple[PhaseConfig, ...], before: RunConfig) -> tuple[PhaseConfig, ...]:
    """Returns `phases` with warm-ups and decays that fit into their steps, where those of the config before did.

    Numbers of steps are rounded one by one, and batches change the steps but not the warm-ups.
    """
    after, made = dataclasses.replace(before, phases=phases), list(phases)
    for index, (old, new) in enumerate(zip(before.phases, phases, strict=True)):
        if old.schedule is None or new.schedule is None:
            continue
        schedule, steps = new.schedule, horizon(after, index)
        warmup = schedule.warmup_steps
        if schedule.kind == "inverse_sqrt":
            warmup = max(warmup, min(1, old.schedule.warmup_steps))
        elif schedule.kind != "constant" and old.schedule.warmup_steps < horizon(before, index):
            warmup = min(warmup, steps - 1)
        decay = schedule.decay_steps
        if decay and old.schedule.warmup_steps + old.schedule.decay_steps <= horizon(before, index):
            decay = min(decay, steps - warmup)
        made[index] = dataclasses.replace(
            new, schedule=dataclasses.replace(schedule, warmup_steps=warmup, decay_steps=decay)
        )
    return tuple(made)


def _evaluation(evaluation: EvaluationConfig, share: float, most: int) -> EvaluationConfig:
    """Returns the evaluation as often in rows, over as many rows, in batches of at most `most` rows."""
    rows = min(evaluation.batch_size, most)
    return dataclasses.replace(
        evaluation,
        every_steps=_steps(evaluation.every_steps, share),
        batch_size=rows,
        batches=-(-evaluation.batches * evaluation.batch_size // rows),
    )


def _with_steps(phase: PhaseConfig, share: float) -> PhaseConfig:
    """Returns `phase` with a share of its steps."""
    schedule, steps = phase.schedule, _steps(phase.steps, share)
    if schedule is not None:
        warmup = _steps(schedule.warmup_steps, share)
        schedule = dataclasses.replace(
            schedule,
            warmup_steps=min(warmup, steps - 1) if schedule.warmup_steps < phase.steps else warmup,
            total_steps=_steps(schedule.total_steps, share),
            decay_steps=_steps(schedule.decay_steps, share),
        )
    return dataclasses.replace(phase, steps=steps, schedule=schedule)


def _interval(steps: int, share: float) -> int:
    """Scales a number of steps between two evaluations or checkpoints."""
    return max(_steps(steps, share), min(steps, _LEAST_INTERVAL))


def _intervals(config: RunConfig) -> str:
    every = config.evaluation.every_steps
    evaluation = f"every {every:,} steps" if every else "at the end"
    return f"evaluation {evaluation}, checkpoint every {config.checkpoint.every_steps:,}"


def _steps(steps: int, share: float) -> int:
    """Scales a number of steps. 0 means "none" in every such field, so it stays 0."""
    return max(1, round(steps * share)) if steps else 0


def _changes(old: PhaseConfig, new: PhaseConfig) -> str:
    """Returns a line about a changed phase: 'phase long: batch 64 -> 16 rows, steps ...'."""
    parts = [_change("batch", f"{old.batch_size:,}", f"{new.batch_size:,}", " rows")]
    parts.append(_change("steps", f"{old.steps:,}", f"{new.steps:,}"))
    if old.schedule is not None and new.schedule is not None:
        parts.append(_change("rate", f"{old.schedule.peak:.3g}", f"{new.schedule.peak:.3g}"))
        parts.append(_change("warm-up", f"{old.schedule.warmup_steps:,}", f"{new.schedule.warmup_steps:,}"))
        if old.schedule.decay_steps:
            parts.append(_change("decay", f"{old.schedule.decay_steps:,}", f"{new.schedule.decay_steps:,}"))
    if old.accumulation != new.accumulation:
        parts.append(_change("accumulation", str(old.accumulation), str(new.accumulation)))
    return f"phase {new.name}: {', '.join(parts)}"


def _change(what: str, old: str, new: str, unit: str = "") -> str:
    return f"{what} {new}{unit} as before" if old == new else f"{what} {old} -> {new}{unit}"
