"""The rules of a config that its types do not enforce. Checks touch no device and no file."""

from __future__ import annotations

import dataclasses
import math
import typing
from typing import Any

from jaxbert.config.derived import horizon, mesh_shape
from jaxbert.config.io import check_number, variant
from jaxbert.config.registry import Registry
from jaxbert.config.schema import (
    DistillationConfig,
    EncoderBase,
    LabelledTaskConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    TaskConfig,
)
from jaxbert.errors import InputError

# The fix for a share or a probability that is outside its range.
_BETWEEN = "Set it to a number above 0 and below 1."


def check(config: RunConfig, devices: int | None = None) -> None:
    """Raises InputError at the first rule that `config` breaks. Touches no device and no file.

    Args:
      config: the run.
      devices: number of devices of the mesh. If it is known, the mesh and the batches are checked against it.
    """
    check_names(config)
    check_numbers(config)
    for problem in config.encoder.problems():
        raise InputError(
            f"{problem.field} {problem.what}" if problem.what.startswith("is ") else problem.what,
            where=f"encoder.{problem.field}",
            fix=problem.fix,
            code="E-CONFIG-ENCODER",
        )
    _range(0 <= config.seed < 2**31, config.seed, "seed", "Set it to a whole number from 0 to 2147483647.")
    _require(
        bool(config.phases),
        "the run has no phase",
        "phases",
        fix="Add a PhaseConfig to RunConfig.phases.",
        code="E-CONFIG-PHASE",
    )
    _range(
        config.max_passes >= 0, config.max_passes, "max_passes", "Set it to a number of passes, or to 0 for no limit."
    )
    TaskConfig.VARIANTS.entries[config.task.name].check(config)
    _check_phases(config)
    _check_optimizer(config.optimizer)
    layers, frozen = config.encoder.distinct_layers, config.optimizer.frozen_layers
    _require(
        frozen <= layers,
        f"{frozen} layers are to be frozen, but the encoder has {layers}",
        "optimizer.frozen_layers",
        fix=f"Set it to at most {layers}, or to -1 for the whole encoder.",
        code="E-CONFIG-OPTIMIZER",
    )
    _require(
        config.optimizer.layer_decay == 1.0 or not config.encoder.shares_layers,
        "layers that share their parameters cannot have different rates",
        "optimizer.layer_decay",
        fix="Set optimizer.layer_decay=1.",
        code="E-CONFIG-OPTIMIZER",
    )
    _range(
        config.checkpoint.keep >= 3,
        config.checkpoint.keep,
        "checkpoint.keep",
        "Set it to 3 or more, so that a good checkpoint is left when one is damaged.",
    )
    _positive(config.checkpoint, "checkpoint", "every_steps")
    evaluation = config.evaluation
    _positive(evaluation, "evaluation", "batch_size")
    for name in ("every_steps", "batches", "patience", "seed"):
        _range(getattr(evaluation, name) >= 0, getattr(evaluation, name), f"evaluation.{name}", "Set it to 0 or more.")
    _range(0 < evaluation.mask_rate < 1, evaluation.mask_rate, "evaluation.mask_rate", _BETWEEN)
    _positive(config.logging, "logging", "every_steps")
    _positive(config.guard, "guard", "max_skipped")
    _range(
        config.guard.max_diverged >= 0,
        config.guard.max_diverged,
        "guard.max_diverged",
        "Set it to a number of steps, or to 0 for no limit.",
    )
    _range(
        config.guard.hang_minutes >= 0,
        config.guard.hang_minutes,
        "guard.hang_minutes",
        "Set it to a number of minutes, or to 0 for no limit.",
    )
    _positive(config.data, "data", "copies shuffle_window")
    data = config.data
    _range(0 <= data.short_rows <= 1, data.short_rows, "data.short_rows", "Set it to a number from 0 to 1.")
    _range(
        0 <= data.validation_fraction < 1,
        data.validation_fraction,
        "data.validation_fraction",
        "Set it to 0 or more, and below 1.",
    )
    price = config.logging.price_per_hour
    _range(price >= 0, price, "logging.price_per_hour", "Set it to 0 or more.")
    for name in ("carbon_per_kwh", "predictions"):
        value = getattr(config.logging, name)
        _range(value >= 0, value, f"logging.{name}", "Set it to 0 or more.")
    for sentence in config.logging.sentences:
        _require(
            sentence.count("[MASK]") == 1,
            f"{sentence!r} has {sentence.count('[MASK]')} masks",
            "logging.sentences",
            fix='Write one [MASK] in each sentence: "The [MASK] of the bucket."',
            code="E-CONFIG-SENTENCE",
        )
    _check_mesh(config, devices)


def check_objectives(config: RunConfig) -> None:
    """Raises InputError at the first rule of pretraining that `config` breaks. Touches no device and no file."""
    objectives, encoder = config.objectives, config.encoder
    _require(
        objectives.masked_lm is not None,
        "pretraining needs the masked-LM term",
        "objectives.masked_lm",
        fix="Pass --set objectives.masked_lm=default.",
        code="E-CONFIG-OBJECTIVES",
    )
    masked, order = objectives.masked_lm, objectives.sentence_order
    boundary, distillation = objectives.span_boundary, objectives.distillation
    for name in ("next_sentence", "sentence_order"):
        _require(
            getattr(objectives, name) is None or encoder.type_vocab_size >= 2,
            f"the objective {name} has pairs with two token types, but the encoder has {encoder.type_vocab_size}",
            "encoder.type_vocab_size",
            fix=f"Pass --set encoder.type_vocab_size=2, or --set objectives.{name}=none.",
            code="E-CONFIG-OBJECTIVES",
        )
    _require(
        objectives.next_sentence is None or order is None,
        "next_sentence and sentence_order cannot label the same pairs",
        "objectives",
        fix="Pass --set objectives.next_sentence=none or --set objectives.sentence_order=none.",
        code="E-CONFIG-OBJECTIVES",
    )
    if masked is not None:
        where = "objectives.masked_lm"
        _range(0 < masked.rate < 1, masked.rate, f"{where}.rate", _BETWEEN)
        _require(
            masked.mask >= 0 and masked.random >= 0 and masked.mask + masked.random <= 1,
            f"mask is {masked.mask} and random is {masked.random}, but they are shares of the chosen tokens",
            where,
            fix="Set both to 0 or more, with a sum of at most 1.",
            code="E-CONFIG-OBJECTIVES",
        )
        _positive(masked, where, "word_cap max_ngram max_span")
        _range(0 < masked.span_p < 1, masked.span_p, f"{where}.span_p", _BETWEEN)
        _range(masked.smoothing >= 0, masked.smoothing, f"{where}.smoothing", "Set it to 0 or more.")
    for name in ("masked_lm", "next_sentence", "sentence_order", "span_boundary"):
        part = getattr(objectives, name)
        if part is not None:
            _range(part.weight >= 0, part.weight, f"objectives.{name}.weight", "Set it to 0 or more.")
    for extra in objectives.extra:
        _range(extra.weight >= 0, extra.weight, f"objectives.extra.{extra.name}.weight", "Set it to 0 or more.")
    for phase in config.phases:
        _require(
            0 <= phase.slots <= phase.length,
            f"slots is {phase.slots}, but rows have {phase.length} tokens",
            f"phases.{phase.name}.slots",
            fix=f"Set it to at most {phase.length}, or to 0 for round(rate x length).",
            code="E-CONFIG-PHASE",
        )
    if order is not None:
        _range(0 < order.swap < 1, order.swap, "objectives.sentence_order.swap", _BETWEEN)
    if boundary is not None:
        _positive(boundary, "objectives.span_boundary", "max_targets position_size")
    if distillation is not None:
        _check_distillation(config, distillation)


def _check_distillation(config: RunConfig, distillation: DistillationConfig) -> None:
    where, student, teacher = "objectives.distillation", config.encoder, distillation.encoder
    _require(
        bool(distillation.teacher),
        "distillation needs a teacher, and the config names none",
        f"{where}.teacher",
        fix=f"Pass --set {where}.teacher=MODEL.",
        code="E-CONFIG-DISTILLATION",
    )
    _range(
        distillation.temperature > 0, distillation.temperature, f"{where}.temperature", "Set it to a number above 0."
    )
    _positive(distillation, where, "chunk")
    for name in ("soft", "cosine"):
        _range(getattr(distillation, name) >= 0, getattr(distillation, name), f"{where}.{name}", "Set it to 0 or more.")
    _require(
        distillation.soft > 0 or distillation.cosine > 0,
        "soft and cosine are both 0, so the student learns nothing from the teacher",
        where,
        fix=f"Set {where}.soft or {where}.cosine above 0, or set {where}=none.",
        code="E-CONFIG-DISTILLATION",
    )
    _require(
        len(distillation.layers) in (0, student.distinct_layers),
        f"there are {len(distillation.layers)} layers of the teacher for {student.distinct_layers} of the student",
        f"{where}.layers",
        fix="Name one layer of the teacher for each layer of the student, or none for a random start.",
        code="E-CONFIG-DISTILLATION",
    )
    if teacher is None:
        return
    _require(
        teacher.vocab_size == student.vocab_size,
        f"the teacher's vocabulary has {teacher.vocab_size} pieces, but the student's has {student.vocab_size}",
        f"{where}.teacher",
        fix=f"Set encoder.vocab_size={teacher.vocab_size}, or name a teacher with the student's vocabulary.",
        code="E-CONFIG-DISTILLATION",
    )
    for phase in config.phases:
        _require(
            phase.length <= teacher.longest_row,
            f"rows have {phase.length} tokens, but the teacher takes at most {teacher.longest_row}",
            f"phases.{phase.name}.length",
            fix=f"Set the length of the phase to at most {teacher.longest_row}, or name another teacher.",
            code="E-CONFIG-DISTILLATION",
        )
    for layer in distillation.layers:
        _require(
            0 <= layer < teacher.num_layers,
            f"the setting names layer {layer}, but the teacher has {teacher.num_layers} layers, counted from 0",
            f"{where}.layers",
            fix=f"Name layers from 0 to {teacher.num_layers - 1}.",
            code="E-CONFIG-DISTILLATION",
        )
    for name in student.of_layers:
        mine, other = getattr(student, name), getattr(teacher, name, None)
        _require(
            not distillation.layers or mine == other,
            f"the student's {name} is {mine} and the teacher's is {other}, so the teacher's layers do not fit",
            f"{where}.layers",
            fix=f"Set {where}.layers=[] for a random start, or encoder.{name}={other}.",
            code="E-CONFIG-DISTILLATION",
        )


def _check_phases(config: RunConfig) -> None:
    names = [phase.name for phase in config.phases]
    _require(
        len(set(names)) == len(names),
        f"two phases have the same name; the names are {', '.join(names)}",
        "phases",
        fix="Give each phase another name.",
        code="E-CONFIG-PHASE",
    )
    for index, phase in enumerate(config.phases):
        where = f"phases.{phase.name}"
        _positive(phase, where, "length batch_size steps accumulation grouped")
        _require(
            not phase.lengths or isinstance(config.task, LabelledTaskConfig),
            "only rows of texts with labels can be cut to other lengths",
            f"{where}.lengths",
            fix=f"Pass --set phases.{index}.lengths=[].",
            code="E-CONFIG-PHASE",
        )
        for length in phase.lengths:
            _range(length >= 8, length, f"{where}.lengths", "Set each length to 8 or more.")
        _require(
            8 <= phase.length <= config.encoder.longest_row,
            f"the length is {phase.length}, but the encoder takes rows of 8 to {config.encoder.longest_row} tokens",
            f"{where}.length",
            fix="Set a length in this range, or raise encoder.max_positions.",
            code="E-CONFIG-PHASE",
        )
        _require(
            phase.batch_size % phase.accumulation == 0,
            f"accumulation {phase.accumulation} does not divide batch_size {phase.batch_size}",
            f"{where}.accumulation",
            fix=f"Set it to a divisor of {phase.batch_size}, or set another batch_size.",
            code="E-CONFIG-PHASE",
        )
        _require(
            index > 0 or phase.schedule is not None,
            "the first phase needs a schedule, because no phase before it has one to continue",
            f"{where}.schedule",
            fix=f"Set {where}.schedule=default, or give it a ScheduleConfig.",
            code="E-CONFIG-PHASE",
        )
        if phase.schedule is not None:
            _check_schedule(phase.schedule, horizon(config, index), f"{where}.schedule", f"phases.{index}.schedule")
        for source in phase.rows:
            _range(source.weight > 0, source.weight, f"{where}.rows.weight", "Set it to a number above 0.")
        _require(
            bool(phase.rows) or bool(config.data.source) or isinstance(config.task, LabelledTaskConfig),
            "the phase names no rows, and the config names no source to make them from",
            f"{where}.rows",
            fix="Pass --text PATH for text (a folder, a file or a pattern in quotes), or --data ROWS.",
            code="E-CONFIG-ROWS",
        )


def _that_fit(schedule: ScheduleConfig, steps: int, key: str) -> str:
    """Returns the settings of a warm-up that fits, and of a decay where the one that is there does not fit behind."""
    warmup = steps // 10
    words = [f"{key}.warmup_steps={warmup}"]
    if schedule.kind == "wsd" and not 0 < schedule.decay_steps <= steps - warmup:
        words.append(f"{key}.decay_steps={max(1, steps // 5)}")
    return " ".join(words)


def _check_schedule(schedule: ScheduleConfig, steps: int, where: str, key: str) -> None:
    _range(schedule.peak > 0, schedule.peak, f"{where}.peak", "Set it to a learning rate above 0.")
    for name in ("warmup_steps", "end", "total_steps", "decay_steps"):
        _range(getattr(schedule, name) >= 0, getattr(schedule, name), f"{where}.{name}", "Set it to 0 or more.")
    _range(schedule.first_step in (0, 1), schedule.first_step, f"{where}.first_step", "Set it to 0 or 1.")
    _range(schedule.power > 0, schedule.power, f"{where}.power", "Set it to a number above 0.")
    shaped = schedule.kind in ("polynomial", "wsd")
    _require(
        shaped or schedule.power == 1.0,
        f"power is {schedule.power}, but a schedule of kind {schedule.kind} has no power",
        f"{where}.power",
        fix=f"Set {key}.kind=polynomial or {key}.kind=wsd, or leave the power at 1.",
        code="E-CONFIG-SCHEDULE",
    )
    _require(
        schedule.kind in ("constant", "inverse_sqrt") or schedule.warmup_steps < steps,
        f"the warm-up of {schedule.warmup_steps} steps is not shorter than the schedule of {steps} steps",
        f"{where}.warmup_steps",
        fix=f"Make the warm-up shorter, for example --set {_that_fit(schedule, steps, key)}.",
        code="E-CONFIG-SCHEDULE",
    )
    _require(
        schedule.kind != "inverse_sqrt" or schedule.warmup_steps > 0,
        "the rate of inverse_sqrt is proportional to sqrt(warm-up / step), so it needs a warm-up",
        f"{where}.warmup_steps",
        fix=f"Set a warm-up, for example --set {key}.warmup_steps={max(1, steps // 10)}.",
        code="E-CONFIG-SCHEDULE",
    )
    _require(
        schedule.kind == "wsd" or schedule.decay_steps == 0,
        f"decay_steps is {schedule.decay_steps}, but a schedule of kind {schedule.kind} has no decay_steps",
        f"{where}.decay_steps",
        fix=f"Set {key}.kind=wsd, or leave decay_steps at 0.",
        code="E-CONFIG-SCHEDULE",
    )
    _require(
        schedule.kind != "wsd" or 0 < schedule.decay_steps <= steps - schedule.warmup_steps,
        f"a decay of {schedule.decay_steps} steps does not fit between the warm-up of {schedule.warmup_steps} and the "
        f"end at {steps}",
        f"{where}.decay_steps",
        fix=f"Set {key}.decay_steps between 1 and {max(1, steps - schedule.warmup_steps)}.",
        code="E-CONFIG-SCHEDULE",
    )


def _check_optimizer(optimizer: OptimizerConfig) -> None:
    for name in ("beta1", "beta2"):
        _range(
            0 <= getattr(optimizer, name) < 1,
            getattr(optimizer, name),
            f"optimizer.{name}",
            "Set it to 0 or more, and below 1.",
        )
    # With 0, the update of a parameter that has had no gradient yet would be 0 / 0.
    _range(
        optimizer.epsilon > 0, optimizer.epsilon, "optimizer.epsilon", "Set it to a number above 0, for example 1e-6."
    )
    _range(
        0 < optimizer.layer_decay <= 1,
        optimizer.layer_decay,
        "optimizer.layer_decay",
        "Set it to a number above 0 and at most 1, for example 0.9.",
    )
    _range(
        optimizer.frozen_layers >= -1,
        optimizer.frozen_layers,
        "optimizer.frozen_layers",
        "Set it to a number of layers, or to -1 for the whole encoder.",
    )
    for name in ("weight_decay", "clip_norm"):
        _range(
            (getattr(optimizer, name) or 0.0) >= 0,
            getattr(optimizer, name),
            f"optimizer.{name}",
            "Set it to 0 or more.",
        )


def _check_mesh(config: RunConfig, devices: int | None) -> None:
    mesh = config.mesh
    _positive(mesh, "mesh", "fsdp tensor")
    _range(
        mesh.data == -1 or mesh.data >= 1,
        mesh.data,
        "mesh.data",
        "Set it to 1 or more, or to -1 for all devices that are left.",
    )
    sizes = {"fsdp": mesh.fsdp, "tensor": mesh.tensor}
    _require(
        mesh.tensor == 1 or config.encoder.padded_vocab_size % (128 * mesh.tensor) == 0,
        f"the padded vocabulary of {config.encoder.padded_vocab_size} is not a multiple of 128 x tensor {mesh.tensor}",
        "encoder.vocab_multiple",
        fix=f"Set encoder.vocab_multiple={128 * mesh.tensor}, or a smaller mesh.tensor.",
        code="E-CONFIG-MESH",
    )
    for name, axes in config.encoder.sharded.items():
        size = getattr(config.encoder, name)
        _require(
            size % math.prod(sizes[axis] for axis in axes) == 0,
            f"encoder.{name} is {size}, which {' x '.join(f'{axis} {sizes[axis]}' for axis in axes)} does not divide",
            "mesh",
            fix=f"Set {' and '.join(f'mesh.{axis}' for axis in axes)} so that the product divides {size}.",
            code="E-CONFIG-MESH",
        )
    if devices is not None:
        check_devices(config, devices)


def check_devices(config: RunConfig, devices: int) -> None:
    """Raises InputError unless the mesh has this number of devices, and the batches divide over it.

    The rules need no size of the encoder. So they also hold for a config that inherits its encoder.
    """
    mesh = config.mesh
    inner = mesh.fsdp * mesh.tensor
    _require(
        devices % inner == 0 if mesh.data == -1 else mesh.data * inner == devices,
        f"there are {devices} devices, but the mesh is data {mesh.data} x fsdp {mesh.fsdp} x tensor {mesh.tensor}",
        "mesh",
        fix=f"Set a mesh of {devices} devices: {_meshes(config, devices)}. mesh.data=-1 takes all that are left.",
        code="E-CONFIG-MESH",
    )
    data, fsdp, _ = mesh_shape(mesh, devices)
    for phase in config.phases:
        _require(
            phase.batch_size % (data * fsdp * phase.accumulation) == 0,
            f"batch_size {phase.batch_size} is not a multiple of data {data} x fsdp {fsdp} x accumulation "
            f"{phase.accumulation}",
            f"phases.{phase.name}.batch_size",
            fix=f"Set it to a multiple of {data * fsdp * phase.accumulation}.",
            code="E-CONFIG-BATCH",
        )
    _require(
        config.evaluation.batch_size % (data * fsdp) == 0,
        f"batch_size {config.evaluation.batch_size} is not a multiple of data {data} x fsdp {fsdp}",
        "evaluation.batch_size",
        fix=f"Set it to a multiple of {data * fsdp}.",
        code="E-CONFIG-BATCH",
    )


def _meshes(config: RunConfig, devices: int) -> str:
    """Returns up to three meshes of that many devices, as text. The one nearest to the config's mesh comes first."""
    mesh, encoder = config.mesh, config.encoder
    found = [
        (abs(fsdp - mesh.fsdp) + abs(tensor - mesh.tensor), fsdp, tensor)
        for fsdp in _divisors(devices)
        for tensor in _divisors(devices // fsdp)
        if divides(encoder, fsdp, tensor)
    ]
    return ", ".join(
        f"data {devices // (fsdp * tensor)} x fsdp {fsdp} x tensor {tensor}" for _, fsdp, tensor in sorted(found)[:3]
    )


def _divisors(number: int) -> list[int]:
    low = [one for one in range(1, math.isqrt(number) + 1) if number % one == 0]
    return sorted({*low, *(number // one for one in low)})


def divides(encoder: EncoderBase, fsdp: int, tensor: int) -> bool:
    """Returns whether mesh axes of these sizes divide every size of the encoder that they shard."""
    sizes = {"fsdp": fsdp, "tensor": tensor}
    return all(
        getattr(encoder, name) % math.prod(sizes[axis] for axis in axes) == 0 for name, axes in encoder.sharded.items()
    )


def check_names(part: Any, where: str = "") -> None:
    """Raises InputError where a field of `part`, or of a dataclass in it, has a name that is not registered."""
    hints = typing.get_type_hints(type(part), include_extras=True)
    if hasattr(part, "VARIANTS"):
        variant(type(part), {part.VARIANT_KEY: getattr(part, part.VARIANT_KEY)}, where)
    for field in dataclasses.fields(part):
        value, path = getattr(part, field.name), f"{where}.{field.name}" if where else field.name
        hint, names = hints[field.name], [value]
        if typing.get_origin(hint) is tuple:
            hint, names = typing.get_args(hint)[0], list(value)
        for registry in getattr(hint, "__metadata__", ()):
            for name in names:
                if isinstance(registry, Registry) and name not in registry.names:
                    raise registry.unknown(name, path)
        for index, item in enumerate(value) if isinstance(value, tuple) else [(None, value)]:
            if dataclasses.is_dataclass(item):
                check_names(item, path if index is None else f"{path}.{index}")


def check_numbers(part: Any, where: str = "") -> None:
    """Raises InputError where a float of `part`, or of a dataclass in it, is not finite; see `check_number`."""
    for field in dataclasses.fields(part):
        value, path = getattr(part, field.name), f"{where}.{field.name}" if where else field.name
        for index, item in enumerate(value) if isinstance(value, tuple) else [(None, value)]:
            inner = path if index is None else f"{path}.{index}"
            if dataclasses.is_dataclass(item):
                check_numbers(item, inner)
            elif isinstance(item, float):
                check_number(item, inner)


def _require(condition: bool, what: str, where: str, *, fix: str, code: str) -> None:
    """Raises InputError where fields of the config do not go together."""
    if not condition:
        raise InputError(what, where=where, fix=fix, code=code)


def _range(condition: bool, value: Any, where: str, fix: str) -> None:
    """Raises InputError where one field is outside its range."""
    if not condition:
        raise InputError(f"{where.rpartition('.')[2]} is {value}", where=where, fix=fix, code="E-CONFIG-RANGE")


def _positive(part: Any, where: str, names: str) -> None:
    for name in names.split():
        _range(getattr(part, name) >= 1, getattr(part, name), f"{where}.{name}", "Set it to 1 or more.")


def check_slices(data: int, slices: int) -> None:
    """Raises InputError unless `slices` TPU slices divide the `data` axis, which runs over them."""
    _require(
        data % slices == 0,
        f"data is {data}, but the axis runs over {slices} slices, so it must be a multiple of {slices}",
        "mesh.data",
        fix=f"Set it to a multiple of {slices}, or leave it at -1 and fit fsdp x tensor into one slice.",
        code="E-CONFIG-SLICES",
    )
