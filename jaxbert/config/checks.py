"""The rules that a config must keep which concern more than one field. Touches no device and no file."""

from __future__ import annotations

import dataclasses
import math
import typing
from typing import Any

from jaxbert.config.derived import horizon, mesh_shape
from jaxbert.config.registry import Registry, did_you_mean
from jaxbert.config.schema import DistillationConfig, EncoderBase, OptimizerConfig, RunConfig, ScheduleConfig
from jaxbert.errors import InputError


def check(config: RunConfig, devices: int | None = None) -> None:
    """Raises InputError at the first rule that `config` breaks. Touches no device and no file.

    Args:
      config: the run.
      devices: number of devices of the mesh, where known: then the mesh and the batches are checked against it.
    """
    check_names(config)
    for problem in config.encoder.problems():
        raise InputError(
            f"encoder.{problem.field}: {problem.what}", where="config", fix=problem.fix, code="E-CONFIG-ENCODER"
        )
    _require(0 <= config.seed < 2**31, f"is {config.seed}", "seed", "Take one in 0 .. 2147483647.")
    _require(bool(config.phases), "a run needs at least one phase", "phases", "Add a PhaseConfig.")
    _require(
        config.objectives.masked_lm is not None,
        "a run needs the masked-LM term",
        "objectives.masked_lm",
        "Set objectives.masked_lm=default.",
    )
    _check_objectives(config)
    _check_phases(config)
    _check_optimizer(config.optimizer)
    _require(
        config.checkpoint.keep >= 3,
        f"keep is {config.checkpoint.keep}",
        "checkpoint.keep",
        "Keep at least 3, so that a damaged checkpoint leaves a good one behind it.",
    )
    _positive(config.checkpoint, "checkpoint", "every_steps")
    evaluation = config.evaluation
    _positive(evaluation, "evaluation", "batch_size")
    for name in ("every_steps", "batches", "patience", "seed"):
        _require(getattr(evaluation, name) >= 0, "is negative", f"evaluation.{name}", "Take 0 or more.")
    _require(0 < evaluation.mask_rate < 1, f"is {evaluation.mask_rate}", "evaluation.mask_rate", "Take one in (0, 1).")
    _positive(config.logging, "logging", "every_steps")
    _positive(config.guard, "guard", "max_skipped")
    _require(config.guard.hang_minutes >= 0, "is negative", "guard.hang_minutes", "0 never ends a run.")
    _positive(config.data, "data", "copies shuffle_window")
    _check_mesh(config, devices)


def _check_objectives(config: RunConfig) -> None:
    objectives, encoder = config.objectives, config.encoder
    masked, order = objectives.masked_lm, objectives.sentence_order
    boundary, distillation = objectives.span_boundary, objectives.distillation
    for name in ("next_sentence", "sentence_order"):
        _require(
            getattr(objectives, name) is None or encoder.type_vocab_size >= 2,
            f"pairs ({name}) have two token types, the table has {encoder.type_vocab_size}",
            "encoder.type_vocab_size",
            "Take 2.",
        )
    _require(
        objectives.next_sentence is None or order is None,
        "next_sentence and sentence_order label the same pairs",
        "objectives",
        "Set one of them to none.",
    )
    if masked is not None:
        where = "objectives.masked_lm"
        _require(0 < masked.rate < 1, f"rate is {masked.rate}", f"{where}.rate", "Take one in (0, 1).")
        _require(
            masked.mask >= 0 and masked.random >= 0 and masked.mask + masked.random <= 1,
            f"mask + random is {masked.mask + masked.random}",
            where,
            "Both must be at least 0 and their sum at most 1.",
        )
        _positive(masked, where, "word_cap max_ngram max_span")
        _require(0 < masked.span_p < 1, f"is {masked.span_p}", f"{where}.span_p", "Take one in (0, 1).")
        _require(masked.smoothing >= 0, f"is {masked.smoothing}", f"{where}.smoothing", "Take 0 or more.")
    if order is not None:
        _require(0 < order.swap < 1, f"is {order.swap}", "objectives.sentence_order.swap", "Take one in (0, 1).")
    if boundary is not None:
        _require(
            masked is not None and masked.scheme == "span",
            f"needs spans, but the masking scheme is {masked.scheme if masked else 'none'}",
            "objectives.span_boundary",
            "Set objectives.masked_lm.scheme=span.",
        )
        _positive(boundary, "objectives.span_boundary", "max_targets position_size")
    if distillation is not None:
        _check_distillation(config, distillation)


def _check_distillation(config: RunConfig, distillation: DistillationConfig) -> None:
    where, student, teacher = "objectives.distillation", config.encoder, distillation.encoder
    _require(bool(distillation.teacher), "no teacher", f"{where}.teacher", f"Pass --set {where}.teacher=MODEL.")
    _require(
        distillation.temperature > 0, f"is {distillation.temperature}", f"{where}.temperature", "Take one above 0."
    )
    _positive(distillation, where, "chunk")
    for name in ("soft", "cosine"):
        _require(getattr(distillation, name) >= 0, "is negative", f"{where}.{name}", "Take 0 or more.")
    _require(
        distillation.soft > 0 or distillation.cosine > 0,
        "soft and cosine are both 0, so the teacher teaches nothing",
        where,
        f"Give one of them a weight, or set {where}=none.",
    )
    _require(
        len(distillation.layers) in (0, student.distinct_layers),
        f"{len(distillation.layers)} layers of the teacher for {student.distinct_layers} of the student",
        f"{where}.layers",
        "Name one of the teacher's for each of the student's, or none for a random start.",
    )
    if teacher is None:
        return
    _require(
        teacher.vocab_size == student.vocab_size,
        f"the teacher's vocabulary has {teacher.vocab_size} pieces, the student's {student.vocab_size}",
        f"{where}.teacher",
        f"Set encoder.vocab_size={teacher.vocab_size}, or take a teacher of this vocabulary.",
    )
    for phase in config.phases:
        _require(
            phase.length <= teacher.longest_row,
            f"rows of {phase.length} tokens, the teacher takes {teacher.longest_row}",
            f"phases.{phase.name}.length",
            "Shorten the rows, or take another teacher.",
        )
    for layer in distillation.layers:
        _require(
            0 <= layer < teacher.num_layers,
            f"layer {layer} of a teacher that has {teacher.num_layers}",
            f"{where}.layers",
            f"Take numbers from 0 to {teacher.num_layers - 1}.",
        )
    for name in student.of_layers:
        mine, other = getattr(student, name), getattr(teacher, name, None)
        _require(
            not distillation.layers or mine == other,
            f"{name} is {mine}, the teacher's {other}, so its layers do not fit",
            f"{where}.layers",
            f"Set {where}.layers=[] for a random start, or make them equal.",
        )


def _check_phases(config: RunConfig) -> None:
    names = [phase.name for phase in config.phases]
    _require(len(set(names)) == len(names), f"phases share a name: {names}", "phases", "Give each its own.")
    for index, phase in enumerate(config.phases):
        where = f"phases.{phase.name}"
        _positive(phase, where, "length batch_size steps accumulation")
        _require(
            8 <= phase.length <= config.encoder.longest_row,
            f"length {phase.length} is outside 8 .. {config.encoder.longest_row}, the encoder's positions",
            f"{where}.length",
            "Shorten the rows or raise encoder.max_positions.",
        )
        _require(
            phase.batch_size % phase.accumulation == 0,
            f"accumulation {phase.accumulation} does not divide batch_size {phase.batch_size}",
            f"{where}.accumulation",
            "Choose one that does.",
        )
        _require(
            0 <= phase.slots <= phase.length,
            f"slots is {phase.slots}, rows have {phase.length} tokens",
            f"{where}.slots",
            "0 takes round(rate x length).",
        )
        _require(
            index > 0 or phase.schedule is not None,
            "the first phase has no schedule to continue",
            f"{where}.schedule",
            "Give it a ScheduleConfig.",
        )
        if phase.schedule is not None:
            _check_schedule(phase.schedule, horizon(config, index), f"{where}.schedule", f"phases.{index}.schedule")
        for source in phase.rows:
            _require(source.weight > 0, f"weight is {source.weight}", f"{where}.rows", "Weights are positive.")
        _require(
            bool(phase.rows) or bool(config.data.source),
            "no rows and no source to make them from",
            f"{where}.rows",
            "Pass --data ROWS, or set data.source.",
        )


def _check_schedule(schedule: ScheduleConfig, steps: int, where: str, key: str) -> None:
    _require(schedule.peak > 0, "peak is not positive", f"{where}.peak", "Give a rate.")
    for name in ("warmup_steps", "end", "total_steps", "decay_steps"):
        _require(getattr(schedule, name) >= 0, "negative", f"{where}.{name}", "Take 0 or more.")
    _require(schedule.first_step in (0, 1), f"is {schedule.first_step}", f"{where}.first_step", "Take 0 or 1.")
    _require(schedule.power > 0, f"is {schedule.power}", f"{where}.power", "Take one above 0.")
    shaped = schedule.kind in ("polynomial", "wsd")
    _require(
        shaped or schedule.power == 1.0,
        f"power is {schedule.power}, which {schedule.kind} does not have",
        f"{where}.power",
        f"Set {key}.kind=polynomial or wsd, or leave the power at 1.",
    )
    _require(
        schedule.kind in ("constant", "inverse_sqrt") or schedule.warmup_steps < steps,
        f"the warm-up of {schedule.warmup_steps} steps leaves nothing of {steps}",
        f"{where}.warmup_steps",
        f"Shorten it, for example --set {key}.warmup_steps={steps // 10}.",
    )
    _require(
        schedule.kind != "inverse_sqrt" or schedule.warmup_steps > 0,
        "inverse_sqrt falls as sqrt(warm-up / step), and there is no warm-up",
        f"{where}.warmup_steps",
        f"Give one, for example --set {key}.warmup_steps={max(1, steps // 10)}.",
    )
    _require(
        schedule.kind == "wsd" or schedule.decay_steps == 0,
        f"decay_steps is {schedule.decay_steps}, which {schedule.kind} does not have",
        f"{where}.decay_steps",
        f"Set {key}.kind=wsd, or leave it at 0.",
    )
    _require(
        schedule.kind != "wsd" or 0 < schedule.decay_steps <= steps - schedule.warmup_steps,
        f"{schedule.decay_steps} steps do not fit between the warm-up of {schedule.warmup_steps} and the end, {steps}",
        f"{where}.decay_steps",
        f"Set {key}.decay_steps between 1 and {max(1, steps - schedule.warmup_steps)}.",
    )


def _check_optimizer(optimizer: OptimizerConfig) -> None:
    for name in ("beta1", "beta2"):
        _require(0 <= getattr(optimizer, name) < 1, "outside [0, 1)", f"optimizer.{name}", "Take one in [0, 1).")
    # With 0, a parameter that has had no gradient yet would be moved by 0 / 0.
    _require(optimizer.epsilon > 0, f"is {optimizer.epsilon}", "optimizer.epsilon", "Take one above 0, say 1e-6.")
    for name in ("weight_decay", "clip_norm"):
        _require((getattr(optimizer, name) or 0.0) >= 0, "negative", f"optimizer.{name}", "Take 0 or more.")


def _check_mesh(config: RunConfig, devices: int | None) -> None:
    mesh = config.mesh
    _positive(mesh, "mesh", "fsdp tensor")
    _require(mesh.data == -1 or mesh.data >= 1, f"data is {mesh.data}", "mesh.data", "A positive number, or -1.")
    sizes = {"fsdp": mesh.fsdp, "tensor": mesh.tensor}
    _require(
        mesh.tensor == 1 or config.encoder.padded_vocab_size % (128 * mesh.tensor) == 0,
        f"the padded vocabulary of {config.encoder.padded_vocab_size} is not a multiple of 128 x tensor {mesh.tensor}",
        "encoder.vocab_multiple",
        f"Set it to {128 * mesh.tensor}.",
    )
    for name, axes in config.encoder.sharded.items():
        size = getattr(config.encoder, name)
        _require(
            size % math.prod(sizes[axis] for axis in axes) == 0,
            f"the mesh (fsdp {mesh.fsdp}, tensor {mesh.tensor}) does not divide {name} {size}",
            "mesh",
            "Choose one that does.",
        )
    if devices is None:
        return
    inner = mesh.fsdp * mesh.tensor
    _require(
        devices % inner == 0 if mesh.data == -1 else mesh.data * inner == devices,
        f"{devices} devices are not data {mesh.data} x fsdp {mesh.fsdp} x tensor {mesh.tensor}",
        "mesh",
        f"Make the product {devices}: {_meshes(config, devices)}; data -1 takes what is left.",
    )
    data, fsdp, _ = mesh_shape(mesh, devices)
    for phase in config.phases:
        _require(
            phase.batch_size % (data * fsdp * phase.accumulation) == 0,
            f"batch_size {phase.batch_size} is not a multiple of data {data} x fsdp {fsdp} x accumulation "
            f"{phase.accumulation}",
            f"phases.{phase.name}.batch_size",
            f"Take a multiple of {data * fsdp * phase.accumulation}.",
        )
    _require(
        config.evaluation.batch_size % (data * fsdp) == 0,
        f"batch_size {config.evaluation.batch_size} is not a multiple of data {data} x fsdp {fsdp}",
        "evaluation.batch_size",
        f"Take a multiple of {data * fsdp}.",
    )


def _meshes(config: RunConfig, devices: int) -> str:
    """Up to three meshes of that many devices, nearest to the config's first."""
    mesh, encoder = config.mesh, config.encoder
    found = [
        (abs(fsdp - mesh.fsdp) + abs(tensor - mesh.tensor), fsdp, tensor)
        for fsdp in range(1, devices + 1)
        for tensor in range(1, devices // fsdp + 1)
        if devices % (fsdp * tensor) == 0 and divides(encoder, fsdp, tensor)
    ]
    return ", ".join(
        f"data {devices // (fsdp * tensor)} x fsdp {fsdp} x tensor {tensor}" for _, fsdp, tensor in sorted(found)[:3]
    )


def divides(encoder: EncoderBase, fsdp: int, tensor: int) -> bool:
    """Whether mesh axes of these sizes divide every size of the encoder that they shard."""
    sizes = {"fsdp": fsdp, "tensor": tensor}
    return all(
        getattr(encoder, name) % math.prod(sizes[axis] for axis in axes) == 0 for name, axes in encoder.sharded.items()
    )


def check_names(part: Any, where: str = "") -> None:
    """Raises InputError where a field of `part`, or of a dataclass in it, names nothing that is registered."""
    hints = typing.get_type_hints(type(part), include_extras=True)
    for field in dataclasses.fields(part):
        value, path = getattr(part, field.name), f"{where}.{field.name}" if where else field.name
        for registry in getattr(hints[field.name], "__metadata__", ()):
            if isinstance(registry, Registry) and value not in registry.names:
                raise InputError(
                    f"{path}: no {registry.what} is called {value!r}",
                    where="config",
                    fix=f"{did_you_mean(str(value), registry.names)}Known: {', '.join(registry.names)}.",
                    code="E-CONFIG-NAME",
                )
        for index, item in enumerate(value) if isinstance(value, tuple) else [(None, value)]:
            if dataclasses.is_dataclass(item):
                check_names(item, path if index is None else f"{path}.{index}")


def _require(condition: bool, what: str, where: str, fix: str) -> None:
    if not condition:
        raise InputError(f"{where}: {what}", where="config", fix=fix)


def _positive(part: Any, where: str, names: str) -> None:
    for name in names.split():
        _require(getattr(part, name) >= 1, f"is {getattr(part, name)}", f"{where}.{name}", "Take 1 or more.")


def check_slices(data: int, slices: int) -> None:
    """Raises InputError unless `slices` TPU slices divide the `data` axis, which runs over them."""
    _require(
        data % slices == 0,
        f"{slices} slices do not divide data {data}",
        "mesh.data",
        f"Take a multiple of {slices}, or leave it at -1 and take fsdp x tensor that fits into one slice.",
    )
