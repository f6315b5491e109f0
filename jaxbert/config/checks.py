"""The rules of a config that its types do not enforce. Checks touch no device and no file."""

from __future__ import annotations

import dataclasses
import math
import typing
from typing import Any

from jaxbert.config.derived import horizon, mesh_shape
from jaxbert.config.io import variant
from jaxbert.config.registry import Registry
from jaxbert.config.schema import (
    DistillationConfig,
    EncoderBase,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    TaskConfig,
)
from jaxbert.errors import InputError


def check(config: RunConfig, devices: int | None = None) -> None:
    """Raises InputError at the first rule that `config` breaks. Touches no device and no file.

    Args:
      config: the run.
      devices: number of devices of the mesh. If it is known, the mesh and the batches are checked against it.
    """
    check_names(config)
    for problem in config.encoder.problems():
        raise InputError(
            f"encoder.{problem.field}: {problem.what}", where="config", fix=problem.fix, code="E-CONFIG-ENCODER"
        )
    _range(0 <= config.seed < 2**31, config.seed, "seed", "Take one in 0 .. 2147483647.")
    _require(bool(config.phases), "a run needs at least one phase", "phases", "Add a PhaseConfig.")
    TaskConfig.VARIANTS.entries[config.task.name].check(config)
    _check_phases(config)
    _check_optimizer(config.optimizer)
    _range(
        config.checkpoint.keep >= 3,
        config.checkpoint.keep,
        "checkpoint.keep",
        "Keep at least 3, so that a good checkpoint is left when one is damaged.",
    )
    _positive(config.checkpoint, "checkpoint", "every_steps")
    evaluation = config.evaluation
    _positive(evaluation, "evaluation", "batch_size")
    for name in ("every_steps", "batches", "patience", "seed"):
        _range(getattr(evaluation, name) >= 0, getattr(evaluation, name), f"evaluation.{name}", "Take 0 or more.")
    _range(0 < evaluation.mask_rate < 1, evaluation.mask_rate, "evaluation.mask_rate", "Take one in (0, 1).")
    _positive(config.logging, "logging", "every_steps")
    _positive(config.guard, "guard", "max_skipped")
    _range(
        config.guard.hang_minutes >= 0,
        config.guard.hang_minutes,
        "guard.hang_minutes",
        "Take minutes, or 0 so that no run is ended.",
    )
    _positive(config.data, "data", "copies shuffle_window")
    _check_mesh(config, devices)


def check_objectives(config: RunConfig) -> None:
    """Raises InputError at the first rule of pretraining that `config` breaks. Touches no device and no file."""
    objectives, encoder = config.objectives, config.encoder
    _require(
        objectives.masked_lm is not None,
        "pretraining needs the masked-LM term",
        "objectives.masked_lm",
        "Set objectives.masked_lm=default.",
    )
    masked, order = objectives.masked_lm, objectives.sentence_order
    boundary, distillation = objectives.span_boundary, objectives.distillation
    for name in ("next_sentence", "sentence_order"):
        _require(
            getattr(objectives, name) is None or encoder.type_vocab_size >= 2,
            f"the objective {name} has pairs with two token types, but the encoder has {encoder.type_vocab_size}",
            "encoder.type_vocab_size",
            f"Set encoder.type_vocab_size=2, or objectives.{name}=none.",
        )
    _require(
        objectives.next_sentence is None or order is None,
        "next_sentence and sentence_order cannot label the same pairs",
        "objectives",
        "Set objectives.next_sentence=none or objectives.sentence_order=none.",
    )
    if masked is not None:
        where = "objectives.masked_lm"
        _range(0 < masked.rate < 1, masked.rate, f"{where}.rate", "Take one in (0, 1).")
        _require(
            masked.mask >= 0 and masked.random >= 0 and masked.mask + masked.random <= 1,
            f"mask is {masked.mask} and random is {masked.random}",
            where,
            "Take shares of at least 0 whose sum is at most 1.",
        )
        _positive(masked, where, "word_cap max_ngram max_span")
        _range(0 < masked.span_p < 1, masked.span_p, f"{where}.span_p", "Take one in (0, 1).")
        _range(masked.smoothing >= 0, masked.smoothing, f"{where}.smoothing", "Take 0 or more.")
    for phase in config.phases:
        _require(
            0 <= phase.slots <= phase.length,
            f"slots is {phase.slots}, but rows have {phase.length} tokens",
            f"phases.{phase.name}.slots",
            "Take at most the length, or 0 for round(rate x length).",
        )
    if order is not None:
        _range(0 < order.swap < 1, order.swap, "objectives.sentence_order.swap", "Take one in (0, 1).")
    if boundary is not None:
        _positive(boundary, "objectives.span_boundary", "max_targets position_size")
    if distillation is not None:
        _check_distillation(config, distillation)


def _check_distillation(config: RunConfig, distillation: DistillationConfig) -> None:
    where, student, teacher = "objectives.distillation", config.encoder, distillation.encoder
    _require(
        bool(distillation.teacher), "there is no teacher", f"{where}.teacher", f"Pass --set {where}.teacher=MODEL."
    )
    _range(distillation.temperature > 0, distillation.temperature, f"{where}.temperature", "Take one above 0.")
    _positive(distillation, where, "chunk")
    for name in ("soft", "cosine"):
        _range(getattr(distillation, name) >= 0, getattr(distillation, name), f"{where}.{name}", "Take 0 or more.")
    _require(
        distillation.soft > 0 or distillation.cosine > 0,
        "soft and cosine are both 0, so the student learns nothing from the teacher",
        where,
        f"Give one of them a weight, or set {where}=none.",
    )
    _require(
        len(distillation.layers) in (0, student.distinct_layers),
        f"it names {len(distillation.layers)} layers of the teacher for {student.distinct_layers} of the student",
        f"{where}.layers",
        "Name one layer of the teacher for each layer of the student, or none for a random start.",
    )
    if teacher is None:
        return
    _require(
        teacher.vocab_size == student.vocab_size,
        f"the teacher's vocabulary has {teacher.vocab_size} pieces, but the student's has {student.vocab_size}",
        f"{where}.teacher",
        f"Set encoder.vocab_size={teacher.vocab_size}, or take a teacher of this vocabulary.",
    )
    for phase in config.phases:
        _require(
            phase.length <= teacher.longest_row,
            f"rows have {phase.length} tokens, but the teacher takes at most {teacher.longest_row}",
            f"phases.{phase.name}.length",
            "Shorten the rows, or take another teacher.",
        )
    for layer in distillation.layers:
        _require(
            0 <= layer < teacher.num_layers,
            f"it names layer {layer} of a teacher that has {teacher.num_layers} layers",
            f"{where}.layers",
            f"Take numbers from 0 to {teacher.num_layers - 1}.",
        )
    for name in student.of_layers:
        mine, other = getattr(student, name), getattr(teacher, name, None)
        _require(
            not distillation.layers or mine == other,
            f"the student's {name} is {mine} and the teacher's is {other}, so the teacher's layers do not fit",
            f"{where}.layers",
            f"Set {where}.layers=[] for a random start, or give both the same {name}.",
        )


def _check_phases(config: RunConfig) -> None:
    names = [phase.name for phase in config.phases]
    _require(
        len(set(names)) == len(names),
        f"two phases have the same name: {', '.join(names)}",
        "phases",
        "Give each phase another name.",
    )
    for index, phase in enumerate(config.phases):
        where = f"phases.{phase.name}"
        _positive(phase, where, "length batch_size steps accumulation")
        _require(
            8 <= phase.length <= config.encoder.longest_row,
            f"length {phase.length} is outside 8 .. {config.encoder.longest_row}, which the encoder takes",
            f"{where}.length",
            "Shorten the rows, or raise encoder.max_positions.",
        )
        _require(
            phase.batch_size % phase.accumulation == 0,
            f"accumulation {phase.accumulation} does not divide batch_size {phase.batch_size}",
            f"{where}.accumulation",
            "Choose an accumulation that divides it.",
        )
        _require(
            index > 0 or phase.schedule is not None,
            "the first phase needs a schedule, because there is none before it",
            f"{where}.schedule",
            f"Set {where}.schedule=default, or give it a ScheduleConfig.",
        )
        if phase.schedule is not None:
            _check_schedule(phase.schedule, horizon(config, index), f"{where}.schedule", f"phases.{index}.schedule")
        for source in phase.rows:
            _range(source.weight > 0, source.weight, f"{where}.rows.weight", "Take a weight above 0.")
        _require(
            bool(phase.rows) or bool(config.data.source),
            "there are no rows, and no source to make them from",
            f"{where}.rows",
            "Pass --data ROWS, or set data.source.",
        )


def _check_schedule(schedule: ScheduleConfig, steps: int, where: str, key: str) -> None:
    _range(schedule.peak > 0, schedule.peak, f"{where}.peak", "Give a rate above 0.")
    for name in ("warmup_steps", "end", "total_steps", "decay_steps"):
        _range(getattr(schedule, name) >= 0, getattr(schedule, name), f"{where}.{name}", "Take 0 or more.")
    _range(schedule.first_step in (0, 1), schedule.first_step, f"{where}.first_step", "Take 0 or 1.")
    _range(schedule.power > 0, schedule.power, f"{where}.power", "Take one above 0.")
    shaped = schedule.kind in ("polynomial", "wsd")
    _require(
        shaped or schedule.power == 1.0,
        f"power is {schedule.power}, but a schedule of kind {schedule.kind} has no power",
        f"{where}.power",
        f"Set {key}.kind=polynomial or {key}.kind=wsd, or leave the power at 1.",
    )
    _require(
        schedule.kind in ("constant", "inverse_sqrt") or schedule.warmup_steps < steps,
        f"the warm-up of {schedule.warmup_steps} steps is not shorter than the schedule of {steps} steps",
        f"{where}.warmup_steps",
        f"Shorten it, for example --set {key}.warmup_steps={steps // 10}.",
    )
    _require(
        schedule.kind != "inverse_sqrt" or schedule.warmup_steps > 0,
        "inverse_sqrt falls as sqrt(warm-up / step), so it needs a warm-up",
        f"{where}.warmup_steps",
        f"Give one, for example --set {key}.warmup_steps={max(1, steps // 10)}.",
    )
    _require(
        schedule.kind == "wsd" or schedule.decay_steps == 0,
        f"decay_steps is {schedule.decay_steps}, but a schedule of kind {schedule.kind} has no decay_steps",
        f"{where}.decay_steps",
        f"Set {key}.kind=wsd, or leave decay_steps at 0.",
    )
    _require(
        schedule.kind != "wsd" or 0 < schedule.decay_steps <= steps - schedule.warmup_steps,
        f"a decay of {schedule.decay_steps} steps does not fit between the warm-up of {schedule.warmup_steps} and the "
        f"end at {steps}",
        f"{where}.decay_steps",
        f"Set {key}.decay_steps between 1 and {max(1, steps - schedule.warmup_steps)}.",
    )


def _check_optimizer(optimizer: OptimizerConfig) -> None:
    for name in ("beta1", "beta2"):
        _range(0 <= getattr(optimizer, name) < 1, getattr(optimizer, name), f"optimizer.{name}", "Take one in [0, 1).")
    # With 0, the update of a parameter that has had no gradient yet would be 0 / 0.
    _range(optimizer.epsilon > 0, optimizer.epsilon, "optimizer.epsilon", "Take one above 0, for example 1e-6.")
    for name in ("weight_decay", "clip_norm"):
        _range((getattr(optimizer, name) or 0.0) >= 0, getattr(optimizer, name), f"optimizer.{name}", "Take 0 or more.")


def _check_mesh(config: RunConfig, devices: int | None) -> None:
    mesh = config.mesh
    _positive(mesh, "mesh", "fsdp tensor")
    _range(mesh.data == -1 or mesh.data >= 1, mesh.data, "mesh.data", "Take 1 or more, or -1 for all that is left.")
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
    if hasattr(part, "VARIANTS"):
        variant(type(part), {part.VARIANT_KEY: getattr(part, part.VARIANT_KEY)}, where)
    for field in dataclasses.fields(part):
        value, path = getattr(part, field.name), f"{where}.{field.name}" if where else field.name
        for registry in getattr(hints[field.name], "__metadata__", ()):
            if isinstance(registry, Registry) and value not in registry.names:
                raise registry.unknown(value, path)
        for index, item in enumerate(value) if isinstance(value, tuple) else [(None, value)]:
            if dataclasses.is_dataclass(item):
                check_names(item, path if index is None else f"{path}.{index}")


def _require(condition: bool, what: str, where: str, fix: str) -> None:
    """Raises InputError where fields of the config do not go together."""
    if not condition:
        raise InputError(f"{where}: {what}", where="config", fix=fix, code="E-CONFIG-RULE")


def _range(condition: bool, value: Any, where: str, fix: str) -> None:
    """Raises InputError where one field is outside its range."""
    if not condition:
        raise InputError(f"{where} is {value}", where="config", fix=fix, code="E-CONFIG-RANGE")


def _positive(part: Any, where: str, names: str) -> None:
    for name in names.split():
        _range(getattr(part, name) >= 1, getattr(part, name), f"{where}.{name}", "Take 1 or more.")


def check_slices(data: int, slices: int) -> None:
    """Raises InputError unless `slices` TPU slices divide the `data` axis, which runs over them."""
    _require(
        data % slices == 0,
        f"{slices} slices do not divide data {data}",
        "mesh.data",
        f"Take a multiple of {slices}, or leave it at -1 and take fsdp x tensor that fits into one slice.",
    )
