"""Quantities that follow from a config: sizes, steps, phases, the directories of rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jaxbert.config.schema import LabelledTaskConfig, LoggingConfig, MeshConfig, PhaseConfig, RunConfig


def mesh_shape(mesh: MeshConfig, devices: int) -> tuple[int, int, int]:
    """Returns (data, fsdp, tensor) for a number of devices."""
    data = devices // (mesh.fsdp * mesh.tensor) if mesh.data == -1 else mesh.data
    return data, mesh.fsdp, mesh.tensor


def slots(config: RunConfig, phase: PhaseConfig) -> int:
    """Returns M of a phase of pretraining, the number of prediction slots a row. Other tasks have none."""
    masked = config.objectives.masked_lm
    return phase.slots or max(1, round((masked.rate if masked else 0.0) * phase.length))


def all_sinks(logging: LoggingConfig) -> tuple[str, ...]:
    """Returns the names of the sinks of a run, each once: `sinks`, with `tensorboard` as an older config says it."""
    names = tuple(dict.fromkeys(logging.sinks))
    if logging.tensorboard is None:
        return names
    others = tuple(name for name in names if name != "tensorboard")
    return ("tensorboard", *others) if logging.tensorboard else others


def phase_rows(config: RunConfig, phase: PhaseConfig, workdir: Path) -> list[tuple[str | Path, float]]:
    """Returns (directory or URL, weight) of the rows of a phase: those it names, or those made in the workdir."""
    if phase.rows:
        return [(source.path, source.weight) for source in phase.rows]
    kind = config.task.name if isinstance(config.task, LabelledTaskConfig) else config.data.policy
    return [(workdir / "data" / f"rows-{kind}-{phase.length}", 1.0)]


def schedule_start(config: RunConfig, index: int) -> int:
    """Returns the index of the phase whose schedule phase `index` follows."""
    while config.phases[index].schedule is None:
        index -= 1
    return index


def horizon(config: RunConfig, index: int) -> int:
    """Returns the steps over which the schedule of phase `index` decays: its phase and those that continue it."""
    start = schedule_start(config, index)
    schedule = config.phases[start].schedule
    assert schedule is not None
    if schedule.total_steps:
        return schedule.total_steps
    total = config.phases[start].steps
    for phase in config.phases[start + 1 :]:
        if phase.schedule is not None:
            break
        total += phase.steps
    return total


def total_steps(config: RunConfig) -> int:
    """Returns the number of steps of all phases."""
    return sum(phase.steps for phase in config.phases)


def phase_at(config: RunConfig, step: int) -> tuple[int, int]:
    """Returns (phase, step within it) of a global step; past the end (number of phases, 0)."""
    for index, phase in enumerate(config.phases):
        if step < phase.steps:
            return index, step
        step -= phase.steps
    return len(config.phases), 0


def settings_for_rows(config: RunConfig, lengths: Sequence[int | None], vocab_size: int) -> list[str]:
    """Returns the texts of `--set` that make a config fit rows.

    Args:
      config: the config that is to train on the rows.
      lengths: the length of the rows of each phase; None where the phase makes its own.
      vocab_size: the number of pieces of their vocabulary.
    """
    words = [
        f"phases.{number}.length={length}"
        for number, (phase, length) in enumerate(zip(config.phases, lengths, strict=True))
        if length not in (None, phase.length)
    ]
    encoder = config.encoder
    if vocab_size != encoder.vocab_size:
        words.append(f"encoder.vocab_size={vocab_size}")
    longest = max((length for length in lengths if length), default=0)
    if longest > encoder.longest_row:
        words.append(f"encoder.max_positions={encoder.max_positions + longest - encoder.longest_row}")
    return words
