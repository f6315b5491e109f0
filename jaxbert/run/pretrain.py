"""Pretraining: one function read from top to bottom. Phases in one workdir, resumable at any moment to the same bits.

What is continued after a kill is the last committed checkpoint: parameters, moments, step. Everything else (which rows,
which masks, which dropout) is a pure function of seed and step. metrics.jsonl is cut back to the restored step, so that
it ends as if nothing had happened.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbert.config import (
    RunConfig,
    check,
    load_json,
    phase_at,
    total_steps,
)
from jaxbert.core.sharding import compute_dtype, make_mesh, replicated
from jaxbert.errors import InputError
from jaxbert.models.families import check_padding
from jaxbert.models.model import count_parameters
from jaxbert.observe.lines import JsonLines
from jaxbert.plan.layouts import chosen_here
from jaxbert.run.hold import Hold, begun, check_workdir, say, say_nothing
from jaxbert.run.initial import (
    check_named_tokenizer,
    check_tokenizer,
    inherit,
    load_initial,
    start_from,
    tokenizer_for_rows,
)
from jaxbert.run.inputs import (
    PhaseRows,
    check_one_tokenizer,
    make_run_rows,
    open_rows,
    rows_are_made,
    save_tokenizer,
    tokenizer_of,
)
from jaxbert.run.loop import Loop, signals
from jaxbert.run.processes import Watch, together, wait_for_all
from jaxbert.run.teacher import (
    TRAINED_FIRST,
    Teacher,
    check_vocabulary,
    fingerprint,
    frozen_parameters,
    load_teacher,
    resolve,
    student_start,
)
from jaxbert.stores.checkpoint import latest_good, read_manifest, restore
from jaxbert.stores.storage import is_remote
from jaxbert.tasks import make_task
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.training.step import build, parameter_table


def pretrain(
    config: RunConfig,
    workdir: Path | str,
    *,
    init: str | None = None,
    tokenizer: str | None = None,
    settings: Sequence[str] = (),
    overwrite: bool = False,
) -> dict[str, Any]:
    """Runs, or goes on with, the run `config` in `workdir`.

    Args:
      config: the run.
      workdir: its directory or URL (gs://...): new, empty, or of the same run.
      init: MODEL whose parameters a new run starts from; see `jaxbert.run.initial`. Heads it lacks start at random, and
        that is said.
      tokenizer: of the rows; with `init`, a new vocabulary, whose embeddings start from the model's.
      settings: `--set` strings that change the config, once it has inherited from `init` what it says it does.
      overwrite: begin again, removing what the run wrote there.

    Returns:
      Final figures: step, losses and accuracies of the last evaluation, the best one's, rows and tokens seen.

    Raises:
      InputError: the config, the rows or the workdir cannot be used; nothing has been touched.
      Interrupted: a signal, a full disk, a network that failed; the same call continues.
      Stopped: too many non-finite steps in a row, a damaged shard, no good checkpoint left, another process has taken
        the workdir over.
    """
    config = dataclasses.replace(config, init=init or config.init)
    with together() as watch, Hold(workdir, watch) as hold:
        return _pretrain(config, overwrite, hold, watch, named_tokenizer=tokenizer, settings=settings)


def _pretrain(
    config: RunConfig,
    overwrite: bool,
    hold: Hold,
    watch: Watch,
    *,
    named_tokenizer: str | None = None,
    settings: Sequence[str] = (),
) -> dict[str, Any]:
    # --- What can be wrong is found before anything is touched -------------------------------------------------------
    leader = jax.process_index() == 0
    note = say if leader else say_nothing
    workdir = hold.path
    hold.wait(note)
    config, initial = inherit(
        config, workdir, tokenizer=named_tokenizer, settings=settings, overwrite=overwrite, note=note
    )
    config, teacher = resolve(config, workdir)
    config = chosen_here(config, jax.devices())
    check(config, jax.device_count())
    for phase_config in config.phases:
        task = make_task(config, phase_config)
        if not phase_config.rows:
            task.check_rows({"policy": config.data.policy, "length": phase_config.length}, "data.policy")
    resuming = check_workdir(config, workdir, overwrite)
    wait_for_all("the workdir is checked")
    if not resuming:
        _check_inputs_lie_elsewhere(config, workdir)
    step = (latest_good(workdir, say) if resuming else None) or 0
    if step:
        _check_steps(load_json(workdir / "config.json"), config, read_manifest(workdir, step).meta)
    initial = load_initial(config, initial, note) if config.init and step == 0 else None
    named = [open_rows(config, phase, workdir) if phase.rows else None for phase in config.phases]
    check_one_tokenizer([found for found in named if found is not None])
    if teacher is not None and teacher.run is not None:
        if hold.mirror is not None:
            raise InputError(
                "a teacher that is trained first must lie on a disk",
                where=hold.name,
                fix="Train it by itself and name it: --set objectives.distillation.teacher=MODEL.",
            )
        _check_teachers_vocabulary(teacher, [found for found in named if found is not None])
        _train_teacher(teacher, note, watch)
    teaching = None if teacher is None else teacher.loaded or load_teacher(teacher.model)

    with begun(config, workdir, resuming, leader, hold):
        note(f"run {config.name} in {hold.name}" + (", continued" if resuming else ""))

        # --- Rows and vocabulary -------------------------------------------------------------------------------------
        missing = [phase for phase, found in zip(config.phases, named, strict=True) if found is None]
        if missing and leader and not (resuming and rows_are_made(config, missing, workdir)):
            make_run_rows(
                config, [phase.length for phase in missing], workdir, tokenizer_for_rows(config, initial), note
            )
        if missing:
            hold.share()
        wait_for_all("rows")
        if missing and not leader and hold.mirror is not None:
            hold.mirror.fetch()
        rows = [
            open_rows(config, phase, workdir) if found is None else found
            for phase, found in zip(config.phases, named, strict=True)
        ]
        check_one_tokenizer(rows)
        tokenizer = tokenizer_of(rows[0].train[0][0])
        if initial is not None:
            check_tokenizer(config, initial, tokenizer)
        elif named_tokenizer is not None and step == 0:
            check_named_tokenizer(config, tokenizer)
        if teaching is not None:
            check_vocabulary(teaching, tokenizer.hash)
        check_padding(config.encoder, tokenizer.pad_id, str(rows[0].train[0][0].directory))

        # --- Mesh, program, state ------------------------------------------------------------------------------------
        mesh = make_mesh(config.mesh)
        phase, within = phase_at(config, step)
        memory: dict[str, Any] = {
            "rows": [[part.hash for part, _ in found.train] for found in rows],
            "teacher": fingerprint(teaching.params) if teaching is not None else None,
            "init": fingerprint(initial.params) if initial is not None else None,
            "best": None,
            "last_evaluation": None,
            "evaluations_since_best": 0,
            "stopped_early": False,
        }
        with jax.set_mesh(mesh):
            program = build(config, mesh, min(phase, len(config.phases) - 1))
            if leader:
                (workdir / "parameters.txt").write_text(parameter_table(config), encoding="utf-8")
            frozen = replicated(mesh, program.task.tables(tokenizer, lambda: [part for part, _ in rows[0].train]))
            if teaching is not None:
                frozen |= {name: frozen_parameters(teaching, program.frozen[name]) for name in program.task.teachers}
            if step == 0:
                state = program.init(config.seed)
                if initial is not None:
                    state = start_from(initial, config, tokenizer, state, note)
                    initial = None  # Its memory is the run's.
                elif teaching is not None:
                    state = _started_by(teaching, config, state, note)
            else:
                saved = dict(read_manifest(workdir, step).meta)
                _check_same_inputs(saved, memory, workdir)
                memory = {name: saved.get(name) for name in memory}
                state = restore(workdir, step, program.state)
                note(f"continuing after step {step} of {total_steps(config)}")
        if leader:
            save_tokenizer(tokenizer, workdir / "tokenizer")
            JsonLines.cut_back(workdir / "metrics.jsonl", step)
    # `auto` is named here as what it has become.
    note(
        f"{count_parameters(program.state['params']):,} parameters; {jax.device_count()} x "
        f"{jax.devices()[0].device_kind} as data x fsdp x tensor = {' x '.join(map(str, mesh.devices.shape))}, "
        f"layout {config.mesh.layout}; "
        f"{compute_dtype(config.numerics.dtype).name}"
    )

    # --- The run -----------------------------------------------------------------------------------------------------
    loop = Loop(config, hold, mesh, frozen, rows, memory, step, leader, watch)
    with loop, signals() as interrupted, jax.set_mesh(mesh):
        while phase < len(config.phases) and not memory["stopped_early"]:
            state = loop.run_phase(program, phase, within, state, interrupted)
            phase, within = phase + 1, 0
            if phase < len(config.phases):
                program = build(config, mesh, phase)
    return loop.summary()


def _check_teachers_vocabulary(teacher: Teacher, named: list[PhaseRows]) -> None:
    """Rows that are there already must be of the vocabulary that a teacher to be trained has by then.

    Raises:
      InputError: they are of another, or the teacher makes its own.
    """
    assert teacher.run is not None
    place = teacher.run.data.tokenizer or f"{teacher.model}/tokenizer"
    for found in named:
        there = Tokenizer.load(place).hash if Tokenizer.present(Path(place)) else None
        if found.train[0][0].manifest["tokenizer_hash"] != there:
            raise InputError(
                "the teacher is trained first, with a vocabulary that is not the rows'",
                where=str(found.train[0][0].directory),
                fix="Train the teacher by itself, prepare the rows with its tokenizer, and name it: "
                "--set objectives.distillation.teacher=MODEL.",
            )


def _train_teacher(teacher: Teacher, note: Callable[[str], None], watch: Watch) -> None:
    """Trains, or goes on training, a teacher that is trained first."""
    assert teacher.run is not None
    try:
        check_workdir(teacher.run, Path(teacher.model), False)
    except InputError as error:
        raise InputError(
            f"of the teacher: {error.what}",
            where=teacher.model,
            fix=f"Remove it, or name it as it is: --set objectives.distillation.teacher={teacher.model}.",
        ) from None
    note(f"the teacher first: {teacher.run.name} in {teacher.model}")
    with Hold(teacher.model, watch) as hold:
        _pretrain(teacher.run, False, hold, watch)


def _check_inputs_lie_elsewhere(config: RunConfig, workdir: Path) -> None:
    """What a run is made from must not lie in the workdir that it replaces."""
    inputs = [source.path for phase in config.phases for source in phase.rows if not is_remote(source.path)]
    distillation = config.objectives.distillation
    if distillation is not None and not distillation.teacher.startswith(TRAINED_FIRST):
        inputs.append(distillation.teacher)
    for path in filter(None, [*inputs, config.data.tokenizer, config.init]):
        if workdir.absolute() in [Path(path).absolute(), *Path(path).absolute().parents]:
            raise InputError(
                "lies in the workdir of the new run, which would replace it",
                where=path,
                fix="Give another --workdir, or move it.",
            )


def _check_steps(before: RunConfig, now: RunConfig, meta: Mapping[str, Any]) -> None:
    """A resumed run may change the steps that are still to come, not those that are done.

    Raises:
      InputError: steps of a phase that is over, or fewer than the current one has done.
    """
    current, done = meta["phase"], meta["next_batch"]
    if current == len(before.phases):
        current, done = current - 1, before.phases[-1].steps
    for index, (old, new) in enumerate(zip(before.phases, now.phases, strict=True)):
        changed = index < current and old.steps != new.steps
        if changed or (index == current and new.steps < done):
            finished = "is over" if changed else f"has done {done} steps"
            raise InputError(
                f"steps: {old.steps} -> {new.steps}, but phase {new.name} {finished}",
                where=f"phases.{new.name}.steps",
                fix=f"Leave it at {old.steps}." if changed else f"Take {done} or more.",
            )


def _check_same_inputs(saved: dict[str, Any], now: dict[str, Any], workdir: Path) -> None:
    if saved["rows"] != now["rows"]:
        raise InputError(
            "the rows are not those that the run began with (their hashes differ)",
            where=str(workdir),
            fix="Give the same rows, or begin another run with --init on this one.",
        )
    if saved.get("teacher") != now["teacher"]:
        raise InputError(
            "the teacher is not the one that the run began with (its parameters differ)",
            where=str(workdir),
            fix="Give the same teacher, or begin another run with --init on this one.",
        )


def _started_by(teacher: Any, config: RunConfig, state: Any, note: Callable[[str], None]) -> Any:
    """The fresh state with the student's parameters started from the teacher's, where the config names its layers."""
    distillation = config.objectives.distillation
    assert distillation is not None
    if not distillation.layers:
        note("the student starts at random (objectives.distillation.layers is empty)")
        return state
    params = state["params"]
    started = student_start(distillation, teacher, params)
    placed = jax.tree.map(
        lambda value, like: value if value is like else jax.device_put(np.asarray(value, np.float32), like.sharding),
        started,
        params,
    )
    note(f"the student starts from the teacher's layers {' '.join(map(str, distillation.layers))}")
    return {**state, "params": placed}
