"""Pretraining: one function that reads from top to bottom. Phases in one workdir, resumable at any moment.

A run continues from its last committed checkpoint: parameters, moments, step. Everything else (rows, masks, dropout) is
a pure function of seed and step, so a resumed run gives the same bits. metrics.jsonl is cut back to the restored step,
so that it ends as if nothing had happened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxbert.config import RunConfig, all_sinks, load_json, phase_at, total_steps
from jaxbert.core.sharding import compute_dtype, make_mesh, replicated
from jaxbert.errors import InputError
from jaxbert.models.families import check_padding
from jaxbert.models.model import count_parameters
from jaxbert.observe.lines import JsonLines
from jaxbert.observe.sinks import check_installed
from jaxbert.run.deterministic import ask_for_deterministic_kernels
from jaxbert.run.hold import Hold, begun, check_inputs_lie_elsewhere, check_workdir, settle
from jaxbert.run.initial import check_named_tokenizer, check_tokenizer, load_initial, start_from, tokenizer_for_rows
from jaxbert.run.inputs import (
    PhaseRows,
    check_one_tokenizer,
    make_missing_rows,
    open_rows,
    rows_are_made,
    save_tokenizer,
    tokenizer_of,
)
from jaxbert.run.judging import fitted, mended
from jaxbert.run.loop import Loop, signals
from jaxbert.run.memory import check_memory
from jaxbert.run.pool import ask_for_gpu_memory
from jaxbert.run.processes import Watch, together, wait_for_all
from jaxbert.run.profile import Profile, Steps
from jaxbert.run.resolve import resolve
from jaxbert.run.resume import check_steps, continued_memory, new_memory
from jaxbert.run.student import started_by
from jaxbert.run.teacher import Teacher, check_vocabulary, frozen_parameters, load_teacher
from jaxbert.run.wanted import Wanted, wanted
from jaxbert.stores.checkpoint import restore
from jaxbert.stores.files import write_whole
from jaxbert.stores.steps import latest_good, read_manifest
from jaxbert.stores.workdir import METRICS, PARAMETERS, PREDICTIONS
from jaxbert.tasks import kind_of_task
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.training.step import build, parameter_table

_log = logging.getLogger(__name__)


def pretrain(
    config: RunConfig,
    workdir: Path | str,
    *,
    init: str | None = None,
    tokenizer: str | None = None,
    settings: Sequence[str] = (),
    overwrite: bool = False,
    anyway: bool = False,
    profiled: Steps | None = None,
) -> dict[str, Any]:
    """Runs, or continues, the run `config` in `workdir`.

    Args:
      config: the run.
      workdir: its directory or URL (gs://...): new, empty, or of the same run.
      init: MODEL whose parameters a new run starts from; see `jaxbert.run.initial`. A head that the model lacks starts
        at random, with a line in the log.
      tokenizer: tokenizer of the rows; with `init`, a new vocabulary, whose embeddings start from the model's.
      settings: `--set` texts that change the config, after it has inherited from `init`.
      overwrite: begin again, and remove what the run wrote in the workdir.
      anyway: train on a corpus on which the figures of the run will mean nothing, too.
      profiled: steps to record in WORKDIR/profile.

    Returns:
      Final figures: the workdir, the step, whether the run stopped early, losses and accuracies of the last evaluation,
        the best evaluation, and the last lines of metrics and telemetry.

    Raises:
      InputError: the config, the rows or the workdir cannot be used, or the corpus is too small for figures that mean
        anything. Nothing has been touched, but what was prepared of a text that is too small stays for the next call.
      Interrupted: a signal, a full disk, a network that failed; the same call continues.
      Stopped: the run has diverged (too many steps in a row are not finite, or have a loss that is not sane), a shard
        is damaged, no good checkpoint is left, or another process has taken the workdir over.
    """
    asked = wanted(config, init=init, tokenizer=tokenizer, settings=settings)
    return train(asked, workdir, overwrite=overwrite, anyway=anyway, profiled=profiled)


def train(
    asked: Wanted,
    workdir: Path | str,
    *,
    overwrite: bool = False,
    anyway: bool = False,
    profiled: Steps | None = None,
    after: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> dict[str, Any]:
    """Does what `pretrain` does, for a run that `jaxbert.run.wanted` has read already.

    Args:
      asked: the run.
      workdir: see `pretrain`.
      overwrite: see `pretrain`.
      anyway: see `pretrain`.
      profiled: see `pretrain`.
      after: the function that gets the final figures, and returns those to return. It is called while the run still
        holds the workdir, so that no other run changes what it reads.
    """
    ask_for_deterministic_kernels(asked.config)
    ask_for_gpu_memory()
    with together() as watch, Hold(workdir, watch) as hold:
        return after(_train(asked, overwrite, hold, watch, anyway, profiled))


def _train(
    asked: Wanted, overwrite: bool, hold: Hold, watch: Watch, anyway: bool = False, profiled: Steps | None = None
) -> dict[str, Any]:
    # --- Mistakes are found before anything is touched ---------------------------------------------------------------
    leader, workdir = jax.process_index() == 0, hold.path
    hold.wait()
    resolved = resolve(asked, workdir, overwrite=overwrite)
    config, teacher, initial = resolved.config, resolved.teacher, resolved.initial
    if leader:
        check_installed(all_sinks(config.logging))
    del resolved  # The model of `initial` leaves memory as soon as its parameters are the run's.
    if leader:
        settle(config, workdir, hold)
    wait_for_all("a run that was about to be replaced is settled")
    resuming = check_workdir(config, workdir, overwrite)
    wait_for_all("the workdir is checked")
    if not resuming:
        check_inputs_lie_elsewhere(config, workdir)
        check_memory(config)
    step = (latest_good(workdir) if resuming else None) or 0
    if step:
        check_steps(load_json(workdir / "config.json"), config, read_manifest(workdir, step).meta, workdir)
    initial = load_initial(config, initial) if config.init and step == 0 else None
    named = [open_rows(config, phase, workdir) if phase.rows else None for phase in config.phases]
    check_one_tokenizer([found for found in named if found is not None])
    if teacher is not None and teacher.run is not None:
        _train_teacher(teacher, teacher.run, [found for found in named if found is not None], hold, watch, anyway)
    teaching = None if teacher is None else teacher.loaded or load_teacher(teacher.model)
    known = [found for found in named if found is not None]
    if step and len(known) == len(named):
        continued_memory(read_manifest(workdir, step).meta, new_memory(known, teaching, initial), workdir)

    with begun(config, workdir, resuming, leader, hold, asked.files):
        _log.info(f"run {config.name} in {hold.name}" + (", continued" if resuming else ""))

        # --- Rows and vocabulary -------------------------------------------------------------------------------------
        missing = [phase for phase, found in zip(config.phases, named, strict=True) if found is None]
        if missing and leader and not (resuming and rows_are_made(config, missing, workdir, begun=step > 0)):
            make_missing_rows(config, missing, workdir, tokenizer_for_rows(config, initial), begun=step > 0)
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
        elif asked.tokenizer and step == 0:
            check_named_tokenizer(config, tokenizer)
        if teaching is not None:
            check_vocabulary(teaching, tokenizer.hash)
        if kind_of_task(config).make_rows is not None:
            pass  # The judgement is of texts to pretrain on.
        elif step == 0:
            config = fitted(config, asked.settings, rows, workdir, leader=leader, anyway=anyway)
        elif leader:
            mended(config, rows, workdir)
        try:
            check_padding(config.encoder, tokenizer.pad_id, str(rows[0].train[0][0].directory))
        except InputError as error:  # A rule of files, which `jaxbert.convert.hf` enforces.
            _log.warning(f"this run trains, but `jaxbert convert` will not write its model: {error}")

        # --- Mesh, program, state ------------------------------------------------------------------------------------
        mesh = make_mesh(config.mesh)
        phase, within = phase_at(config, step)
        memory = new_memory(rows, teaching, initial)
        with jax.set_mesh(mesh):
            program = build(config, mesh, min(phase, len(config.phases) - 1))
            if leader:
                write_whole(workdir / PARAMETERS, parameter_table(config))
            frozen = replicated(mesh, program.task.tables(tokenizer, lambda: [part for part, _ in rows[0].train]))
            if teaching is not None:
                frozen |= {name: frozen_parameters(teaching, program.frozen[name]) for name in program.task.teachers}
            if step == 0:
                state = program.init(config.seed)
                if initial is not None:
                    state = start_from(initial, config, tokenizer, state)
                    initial = None
                elif teaching is not None:
                    state = started_by(teaching, config, state)
            else:
                memory = continued_memory(read_manifest(workdir, step).meta, memory, workdir)
                state = restore(workdir, step, program.state)
                if memory["stopped_early"] or step >= total_steps(config):
                    _log.info(f"the training ended after step {step}; nothing is left to train")
                else:
                    _log.info(f"continuing after step {step} of {total_steps(config)}")
        if leader:
            save_tokenizer(tokenizer, workdir / "tokenizer")
            for name in (METRICS, PREDICTIONS):
                JsonLines.cut_back(workdir / name, step)
    # `resolve` has put a layout in the place of `auto`.
    _log.info(
        f"{count_parameters(program.state['params']):,} parameters; {jax.device_count()} x "
        f"{jax.devices()[0].device_kind} as data x fsdp x tensor = {' x '.join(map(str, mesh.devices.shape))}, "
        f"layout {config.mesh.layout}; "
        f"{compute_dtype(config.numerics.dtype).name}"
    )

    # --- The run -----------------------------------------------------------------------------------------------------
    profile = Profile(profiled, workdir / "profile")
    loop = Loop(config, hold, mesh, frozen, rows, memory, step, leader, watch, profile)
    # A signal during the last checkpoint waits until it counts.
    with signals() as interrupted, loop, profile, jax.set_mesh(mesh):
        while phase < len(config.phases) and not memory["stopped_early"]:
            state = loop.run_phase(program, phase, within, state, interrupted)
            phase, within = phase + 1, 0
            if phase < len(config.phases):
                program = build(config, mesh, phase)
    loop.page.write()
    loop.check_end()
    return loop.summary()


def _train_teacher(
    teacher: Teacher, run: RunConfig, named: list[PhaseRows], hold: Hold, watch: Watch, anyway: bool = False
) -> None:
    """Trains, or goes on training, a teacher that is trained before its student.

    Args:
      teacher: its place.
      run: its config.
      named: rows of the student that are there already.
      hold: the student's workdir.
      watch: over all processes.
      anyway: see `pretrain`.

    Raises:
      InputError: the student's workdir is a URL, its rows are of another vocabulary than the teacher will have, or the
        teacher's workdir holds something else.
    """
    if hold.mirror is not None:
        raise InputError(
            "the workdir is a URL, but a teacher that is trained first needs a disk",
            where=hold.name,
            fix="Train the teacher by itself and name it: --set objectives.distillation.teacher=MODEL.",
            code="E-RUN-TEACHER-DISK",
        )
    place = run.data.tokenizer or f"{teacher.model}/tokenizer"
    for found in named:
        there = Tokenizer.load(place).hash if Tokenizer.present(Path(place)) else None
        if found.train[0][0].manifest["tokenizer_hash"] != there:
            raise InputError(
                "the teacher is trained first, with another vocabulary than that of the rows",
                where=str(found.train[0][0].directory),
                fix="Train the teacher by itself, prepare the rows with its tokenizer, and name it: "
                "--set objectives.distillation.teacher=MODEL.",
                code="E-RUN-TEACHER-VOCABULARY",
            )
    try:
        check_workdir(run, Path(teacher.model), False)
    except InputError as error:
        raise InputError(
            f"the teacher's workdir: {error.what}",
            where=teacher.model,
            fix=f"Remove it, or name it as it is: --set objectives.distillation.teacher={teacher.model}.",
            code="E-RUN-TEACHER-WORKDIR",
        ) from None
    _log.info(f"the teacher first: {run.name} in {teacher.model}")
    with Hold(teacher.model, watch) as own:
        _train(wanted(run), False, own, watch, anyway)
