"""Pretraining: one function read from top to bottom. Phases in one workdir, resumable at any moment to the same bits.

What is continued after a kill is the last committed checkpoint: parameters, moments, step. Everything else (which rows,
which masks, which dropout) is a pure function of seed and step. metrics.jsonl is cut back to the restored step, so that
it ends as if nothing had happened.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import importlib.metadata
import math
import os
import platform
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbert.config import (
    PhaseConfig,
    RunConfig,
    check,
    load_json,
    phase_at,
    resume_differences,
    save_json,
    schedule_start,
    slots,
    total_steps,
)
from jaxbert.core.sharding import compute_dtype, global_batch, make_mesh, replicated
from jaxbert.data.pipeline import Batches, Rows
from jaxbert.data.staging import phase_rows
from jaxbert.errors import CommandError, InputError, Interrupted, Stopped
from jaxbert.evaluate.evaluation import accuracies, evaluate_rows, vocabulary_tables
from jaxbert.models.families import check_family, check_padding
from jaxbert.models.model import count_parameters
from jaxbert.objectives import check_rows_fit, heads_of
from jaxbert.observe.telemetry import Board, JsonLines, Meter, Progress, energy_meter, mesh_peak, step_flops
from jaxbert.plan.layouts import chosen_here
from jaxbert.run.initial import (
    check_named_tokenizer,
    check_tokenizer,
    inherit,
    load_initial,
    start_from,
    tokenizer_for_rows,
)
from jaxbert.run.processes import COMPILE_MINUTES, Watch, agreed, together, wait_for_all
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
from jaxbert.stores.checkpoint import Checkpoints, latest_good, read_manifest, restore
from jaxbert.stores.lease import Lease
from jaxbert.stores.storage import is_remote, storage
from jaxbert.stores.workdir import BEFORE, CHECKPOINTS, Mirror, name_of, storage_of
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.training.step import Program, batch_fields, build, hand_over, parameter_table, phase_objectives

# What a run writes in its workdir; --overwrite removes these and nothing else.
OUTPUTS = (
    *("config.json", "parameters.txt", "checkpoints", "tokenizer", "data"),
    *("metrics.jsonl", "telemetry.jsonl", "tensorboard"),
    *("report.html", "loss.png", "evaluation.json"),
)
# Where a run that is being replaced waits until the new one stands.
_REPLACED = ".replaced"
_LOCK = ".lock"
_AHEAD = 2  # batches read ahead of the step
# What the terms are called in a line of the log.
_SHORT = {"masked_lm": "mlm", "next_sentence": "nsp", "sentence_order": "sop", "span_boundary": "sbo"}


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
    with together() as watch, _Hold(workdir, watch) as hold:
        return _pretrain(config, overwrite, hold, watch, named_tokenizer=tokenizer, settings=settings)


def _pretrain(
    config: RunConfig,
    overwrite: bool,
    hold: _Hold,
    watch: Watch,
    *,
    named_tokenizer: str | None = None,
    settings: Sequence[str] = (),
) -> dict[str, Any]:
    # --- What can be wrong is found before anything is touched -------------------------------------------------------
    leader = jax.process_index() == 0
    note = _say if leader else _say_nothing
    workdir = hold.path
    hold.wait(note)
    config, initial = inherit(
        config, workdir, tokenizer=named_tokenizer, settings=settings, overwrite=overwrite, note=note
    )
    config, teacher = resolve(config, workdir)
    config = chosen_here(config, jax.devices())
    check(config, jax.device_count())
    check_family(config.encoder, heads_of(phase_objectives(config, config.phases[0])))
    for made_here in (phase for phase in config.phases if not phase.rows):
        check_rows_fit(phase_objectives(config, made_here), config.data.policy, "data.policy")
    resuming = _check_workdir(config, workdir, overwrite)
    wait_for_all("the workdir is checked")
    if not resuming:
        _check_inputs_lie_elsewhere(config, workdir)
    step = (latest_good(workdir, _say) if resuming else None) or 0
    if step:
        _check_steps(load_json(workdir / "config.json"), config, read_manifest(workdir, step).meta)
    initial = load_initial(config, initial, note) if config.init and step == 0 else None
    named = [_open_rows(config, phase, workdir) if phase.rows else None for phase in config.phases]
    _check_one_tokenizer([found for found in named if found is not None])
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

    with _begun(config, workdir, resuming, leader, hold):
        note(f"run {config.name} in {hold.name}" + (", continued" if resuming else ""))

        # --- Rows and vocabulary -------------------------------------------------------------------------------------
        missing = [phase for phase, found in zip(config.phases, named, strict=True) if found is None]
        if missing and leader and not (resuming and _rows_are_made(config, missing, workdir)):
            _make_rows(config, [phase.length for phase in missing], workdir, tokenizer_for_rows(config, initial), note)
        if missing:
            hold.share()
        wait_for_all("rows")
        if missing and not leader and hold.mirror is not None:
            hold.mirror.fetch()
        rows = [
            _open_rows(config, phase, workdir) if found is None else found
            for phase, found in zip(config.phases, named, strict=True)
        ]
        _check_one_tokenizer(rows)
        tokenizer = _tokenizer_of(rows[0].train[0][0])
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
            frozen = replicated(mesh, vocabulary_tables(config, tokenizer, [part for part, _ in rows[0].train]))
            if teaching is not None:
                frozen["teacher"] = frozen_parameters(teaching, program.frozen["teacher"])
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
            _save_tokenizer(tokenizer, workdir / "tokenizer")
            JsonLines.cut_back(workdir / "metrics.jsonl", step)
    # `auto` is named here as what it has become.
    note(
        f"{count_parameters(program.state['params']):,} parameters; {jax.device_count()} x "
        f"{jax.devices()[0].device_kind} as data x fsdp x tensor = {' x '.join(map(str, mesh.devices.shape))}, "
        f"layout {config.mesh.layout}; "
        f"{compute_dtype(config.numerics.dtype).name}"
    )

    # --- The run -----------------------------------------------------------------------------------------------------
    loop = _Loop(config, hold, mesh, frozen, rows, memory, step, leader, watch)
    with loop, _signals() as interrupted, jax.set_mesh(mesh):
        while phase < len(config.phases) and not memory["stopped_early"]:
            state = loop.run_phase(program, phase, within, state, interrupted)
            phase, within = phase + 1, 0
            if phase < len(config.phases):
                program = build(config, mesh, phase)
    return loop.summary()


class _Loop:
    """The steps of a run and what happens between them: evaluation, checkpoints, logs.

    `memory` is what the loop remembers beside the state; it goes into every checkpoint.
    """

    def __init__(
        self,
        config: RunConfig,
        hold: _Hold,
        mesh: Mesh,
        frozen: Any,
        rows: list[_PhaseRows],
        memory: dict[str, Any],
        step: int,
        leader: bool,
        watch: Watch,
    ):
        logging, workdir = config.logging, hold.path
        self.config, self.name, self.mesh, self.frozen = config, hold.name, mesh, frozen
        self.rows, self.memory, self.step, self.leader = rows, memory, step, leader
        self.watch, self.hang = watch, config.guard.hang_minutes
        self.saved_at = step
        self.checkpoints = Checkpoints(
            workdir,
            keep=config.checkpoint.keep,
            keep_best=config.checkpoint.keep_best,
            before_commit=hold.before_commit,
        )
        self.progress = Progress(total_steps(config), start=step, enabled=leader)
        self.metrics = JsonLines(workdir / "metrics.jsonl") if leader else None
        self.telemetry = JsonLines(workdir / "telemetry.jsonl") if leader else None
        self.board = Board(workdir / "tensorboard", enabled=leader and logging.tensorboard, step=step)
        self.meter = Meter(
            devices=jax.device_count(),
            peak=mesh_peak(jax.devices(), compute_dtype(config.numerics.dtype).name),
            energy=energy_meter(jax.default_backend(), logging.watts),
            price_per_hour=logging.price_per_hour,
            currency=logging.currency,
            carried=Meter.carry(workdir / "telemetry.jsonl", step),
        )
        self._write(
            self.telemetry,
            {"step": step, "device": jax.devices()[0].device_kind, **self.meter.facts(), "versions": _versions()},
        )

    def __enter__(self) -> _Loop:
        return self

    def __exit__(self, *error: Any) -> None:
        self._moving("the last checkpoint")
        try:
            # Also when something else went wrong: what was being saved is worth having.
            self.checkpoints.wait()
        finally:
            for part in (self.progress, self.board, self.metrics, self.telemetry):
                if part is not None:
                    part.close()
            self.watch.moving("", 0.0)

    def run_phase(
        self, program: Program, phase: int, within: int, state: Any, interrupted: Callable[[], str | None]
    ) -> Any:
        """The steps of a phase from `within` on; returns the state after them, or after an early stop."""
        config, now = self.config, self.config.phases[phase]
        batches = Batches(
            self.rows[phase].train, batch_size=now.batch_size, seed=config.seed, window=config.data.shuffle_window
        )
        flops = step_flops(
            config.encoder,
            length=now.length,
            slots=slots(config, now),
            heads=program.model.heads,
            distillation=config.objectives.distillation,
        )
        self.meter.start_phase(flops_per_row=flops, length=now.length)
        fields = batch_fields(now.length)

        def read(index: int) -> Any:
            return global_batch(self.mesh, lambda lo, hi: batches.read(index, lo, hi), now.batch_size, fields)

        if within == 0:
            state = {**state, "opt_state": hand_over(config, state["opt_state"], phase)}
            # Losses on other rows do not compare: each phase has a best of its own.
            self.memory |= {"best": None, "evaluations_since_best": 0}
        with _Ahead(read, within, now.steps) as ahead:
            for index in range(within, now.steps):
                self._moving(f"step {self.step + 1}", compiling=index == within)
                started = time.perf_counter()
                batch = ahead.get(index)
                ready = time.perf_counter()
                state, metrics = program.step(state, self.frozen, batch)
                # One step at a time: the next batch is being read meanwhile, and a signal is answered within a step.
                real_tokens = int(metrics["real_tokens"])
                done = time.perf_counter()
                self.step += 1
                if index == within:
                    self.meter.compiled(done - ready)
                else:
                    self.meter.batch_ready(ready - started)
                    self.meter.step_done(done - started, real_tokens, now.batch_size * now.length)
                self._after_step(program, phase, state, metrics, last=index + 1 == now.steps)
                if self.memory["stopped_early"]:
                    break
                name = agreed(interrupted())
                if name is not None and self.step < total_steps(config):
                    self.save(state)
                    self.checkpoints.wait()
                    raise Interrupted(
                        f"stopped by {name} after step {self.step}; everything is saved",
                        where=self.name,
                        fix="Repeat the same command to continue.",
                    )
        return state

    def _moving(self, doing: str, compiling: bool = False) -> None:
        """Tells the watch what comes now."""
        self.watch.moving(doing, self.hang + COMPILE_MINUTES * compiling if self.hang else 0.0)

    def _after_step(self, program: Program, phase: int, state: Any, metrics: Any, *, last: bool) -> None:
        config, step = self.config, self.step
        if step % config.logging.every_steps == 0 or last:
            self._log(phase, metrics)
        in_a_row = int(metrics["skipped_in_a_row"])
        if in_a_row >= config.guard.max_skipped:
            raise Stopped(
                f"{in_a_row} steps in a row had a loss or gradient that is not finite, the last of them step {step}",
                where=self.name,
                fix="The checkpoints before are good. Begin again with a lower rate, for example "
                f"--set phases.{schedule_start(config, phase)}.schedule.peak={_peak(config, phase) / 3:.1e} "
                "--overwrite.",
            )
        every = config.evaluation.every_steps
        improved = False
        if self.rows[phase].validation and (step == total_steps(config) or (every and step % every == 0)):
            improved = self.evaluate(program, phase, state)
        due = step % config.checkpoint.every_steps == 0 or last or self.memory["stopped_early"]
        if due or (improved and config.checkpoint.keep_best):
            self.save(state)

    def _log(self, phase: int, metrics: Any) -> None:
        figures = {name: np.asarray(value).item() for name, value in jax.device_get(metrics).items()}
        self._write(self.metrics, {"step": self.step, "phase": self.config.phases[phase].name, **figures})
        clock = self.meter.line(self.step)
        self._write(self.telemetry, clock)
        self.board.scalars(self.step, {**figures, **clock})
        words = [f"loss {figures['loss']:.3f}"]
        words += [
            f"{_SHORT.get(name.removesuffix('_accuracy'), name)} {value:.1%}"
            for name, value in figures.items()
            if name.endswith("_accuracy")
        ]
        words.append(f"rate {figures['rate']:.2e}")
        if "tokens_per_s" in clock:
            words.append(f"{clock['tokens_per_s']:,.0f} tok/s")
        if figures["skipped"]:
            words.append(f"skipped {figures['skipped']}")
        self.progress.update(self.step, "  ".join(words))

    def evaluate(self, program: Program, phase: int, state: Any) -> bool:
        """Evaluates, logs, and decides on early stopping; returns whether this is the best so far."""
        started = time.perf_counter()
        found = evaluate_rows(
            program,
            state["params"],
            self.frozen,
            self.rows[phase].validation,
            self.mesh,
            config=self.config,
            moving=self._moving,
        )
        self.meter.evaluation(time.perf_counter() - started)
        figures = {f"validation_{name}": value for name, value in found.items()}
        self._write(self.metrics, {"step": self.step, "phase": self.config.phases[phase].name, **figures})
        self.board.scalars(self.step, figures)
        memory = self.memory
        memory["last_evaluation"] = {"step": self.step, **found}
        improved = math.isfinite(found["loss"]) and (memory["best"] is None or found["loss"] < memory["best"]["loss"])
        memory["evaluations_since_best"] = 0 if improved else memory["evaluations_since_best"] + 1
        if improved:
            memory["best"] = memory["last_evaluation"]
        words = f"step {self.step}: validation loss {found['loss']:.4f}, {', '.join(accuracies(found))}"
        self.progress.note(words + (" (best so far)" if improved else ""))
        patience = self.config.evaluation.patience
        if patience and memory["evaluations_since_best"] >= patience:
            memory["stopped_early"] = True
            best = "none was finite" if memory["best"] is None else f"the best is step {memory['best']['step']}"
            self.progress.note(f"stopping early: no better loss in {patience} evaluations; {best}")
        return improved

    def save(self, state: Any) -> None:
        """Begins to save the state, unless this step is saved already."""
        if self.step == self.saved_at:
            return
        started = time.perf_counter()
        self._moving(f"the checkpoint of step {self.step}")
        phase, within = phase_at(self.config, self.step)
        evaluation = self.memory["last_evaluation"]
        meta = {
            **self.memory,
            "phase": phase,
            "next_batch": within,
            "skipped": int(np.asarray(state["skipped"])[0]),
            "validation_loss": evaluation["loss"] if evaluation and evaluation["step"] == self.step else None,
            "evaluated_phase": phase_at(self.config, self.step - 1)[0],
        }
        if self.metrics is not None:
            self.metrics.sync()
        self.checkpoints.save(self.step, state, meta)
        self.saved_at = self.step
        self.meter.checkpoint(time.perf_counter() - started)

    def summary(self) -> dict[str, Any]:
        """The figures that `pretrain` returns."""
        evaluation = self.memory["last_evaluation"] or {}
        return {
            "workdir": self.name,
            "leader": self.leader,
            "step": self.step,
            "stopped_early": self.memory["stopped_early"],
            **{f"validation_{name}": value for name, value in evaluation.items()},
            "best": self.memory["best"],
            "telemetry": self.meter.line(self.step),
        }

    def _write(self, file: JsonLines | None, line: dict[str, Any]) -> None:
        if file is not None:
            file.write(line)


@dataclasses.dataclass(frozen=True)
class _PhaseRows:
    """Train splits with their weights, and validation splits, of a phase."""

    train: list[tuple[Rows, float]]
    validation: list[Rows]


def _open_rows(config: RunConfig, phase: PhaseConfig, workdir: Path) -> _PhaseRows:
    """Opens and checks the rows of a phase: length, vocabulary, policy; every shard's checksum."""
    objectives = phase_objectives(config, phase)
    train, validation = [], []
    for directory, weight in phase_rows(config, phase, workdir):
        for split in ("train", "validation"):
            rows = Rows(directory, split, verify=True)
            rows.require(length=phase.length, vocab_size=config.encoder.vocab_size)
            check_rows_fit(objectives, rows.manifest["policy"], str(directory))
            if split == "train":
                train.append((rows, weight))
            elif len(rows):
                validation.append(rows)
    return _PhaseRows(train, validation)


def _check_one_tokenizer(phases: list[_PhaseRows]) -> None:
    """All rows of a run must be of one tokenizer: ids mean nothing without it."""
    every = [rows for phase in phases for rows, _ in phase.train]
    for rows in every[1:]:
        rows.require(tokenizer_hash=every[0].manifest["tokenizer_hash"])


def _make_rows(
    config: RunConfig, lengths: list[int], workdir: Path, tokenizer: Tokenizer | None, note: Callable[[str], None]
) -> None:
    """Rows of these lengths in the workdir, with `tokenizer` where it is given, else as `DataConfig` says."""
    from jaxbert.data.corpus import make_rows
    from jaxbert.data.shards import default_workers

    if tokenizer is not None:
        _save_tokenizer(tokenizer, workdir / "data" / "tokenizer")
    make_rows(
        config.data,
        vocab_size=config.encoder.vocab_size,
        lengths=lengths,
        seed=config.seed,
        out=workdir / "data",
        workers=default_workers(),
        sentence_structure=config.objectives.next_sentence is not None or config.objectives.sentence_order is not None,
        note=note,
    )


def _check_teachers_vocabulary(teacher: Teacher, named: list[_PhaseRows]) -> None:
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
        _check_workdir(teacher.run, Path(teacher.model), False)
    except InputError as error:
        raise InputError(
            f"of the teacher: {error.what}",
            where=teacher.model,
            fix=f"Remove it, or name it as it is: --set objectives.distillation.teacher={teacher.model}.",
        ) from None
    note(f"the teacher first: {teacher.run.name} in {teacher.model}")
    with _Hold(teacher.model, watch) as hold:
        _pretrain(teacher.run, False, hold, watch)


def _check_workdir(config: RunConfig, workdir: Path, overwrite: bool) -> bool:
    """Whether this continues a run: one of the same config, with or without `overwrite`.

    Raises:
      InputError: the directory belongs to something else, or, without `overwrite`, to a run that differs.
    """
    if workdir.exists() and not workdir.is_dir():
        raise InputError("is a file where a directory is due", where=str(workdir), fix="Give another --workdir.")
    nearest = next(path for path in [workdir, *workdir.absolute().parents] if path.exists())
    if not nearest.is_dir():
        raise InputError("is a file where a directory is due", where=str(nearest), fix="Give another --workdir.")
    if not os.access(nearest, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise InputError("no permission to write", where=str(nearest), fix="Give another --workdir.")
    name = name_of(workdir)
    if not workdir.is_dir() or {path.name for path in workdir.iterdir()} <= {_REPLACED, _LOCK, *BEFORE}:
        if is_remote(name) and storage_of(workdir).names(CHECKPOINTS):
            raise InputError("has checkpoints but no config.json", where=name, fix="Give a new URL.")
        return False
    try:
        saved = load_json(workdir / "config.json")
    except InputError:
        raise InputError("is not empty and no run's workdir", where=name, fix="Give a new directory.") from None
    differences = resume_differences(saved, config)
    if differences and not overwrite:
        raise InputError(
            f"holds another run; it differs in {'; '.join(differences)}",
            where=name,
            fix="Give another --workdir, undo the difference, or replace that run with --overwrite.",
        )
    if differences and is_remote(name):
        raise InputError(
            "a run in a bucket is not replaced", where=name, fix="Give another --workdir, or remove that one first."
        )
    return not differences


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


@contextmanager
def _begun(config: RunConfig, workdir: Path, resuming: bool, leader: bool, hold: _Hold) -> Iterator[None]:
    """The workdir while a run is being prepared in it.

    A new run's workdir is as it was before if its input turns out to be wrong; a run that is replaced is removed only
    when the new one stands.
    """
    if not leader:
        yield
        return
    made = [path for path in [workdir, *workdir.absolute().parents] if not path.exists()]
    workdir.mkdir(parents=True, exist_ok=True)
    hold.take()
    old = workdir / _REPLACED
    if resuming:
        _write_config(config, workdir)
        yield
        hold.begun()
        shutil.rmtree(old, ignore_errors=True)
        return
    _move(workdir, old)
    try:
        _write_config(config, workdir)
        yield
    except InputError:
        _remove_outputs(workdir)
        _move(old, workdir)
        hold.forget()
        for path in made:
            path.rmdir()
        raise
    hold.begun()
    shutil.rmtree(old, ignore_errors=True)


def _write_config(config: RunConfig, workdir: Path) -> None:
    temporary = workdir / "config.json.tmp"
    save_json(config, temporary)
    os.replace(temporary, workdir / "config.json")


def _move(source: Path, target: Path) -> None:
    """Moves a run's outputs; removes `source` if it is the hidden place of a replaced run."""
    for name in OUTPUTS:
        if (source / name).exists():
            target.mkdir(exist_ok=True)
            os.replace(source / name, target / name)
    if source.name == _REPLACED and source.is_dir():
        source.rmdir()


def _remove_outputs(workdir: Path) -> None:
    for name in OUTPUTS:
        path = workdir / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _rows_are_made(config: RunConfig, phases: list[PhaseConfig], workdir: Path) -> bool:
    """Whether the rows of these phases were finished before; the source need not be there any more."""
    return all((phase_rows(config, phase, workdir)[0][0] / "manifest.json").is_file() for phase in phases)


def _tokenizer_of(rows: Rows) -> Tokenizer:
    """The tokenizer beside the rows.

    Raises:
      InputError: it is not the one that the rows were made with.
    """
    tokenizer = Tokenizer.load(rows.directory / "tokenizer")
    if tokenizer.hash != rows.manifest["tokenizer_hash"]:
        raise InputError(
            "is not the tokenizer that the rows were made with",
            where=str(rows.directory / "tokenizer"),
            fix="Restore it, or make the rows again.",
        )
    return tokenizer


def _save_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Writes the run's tokenizer, unless it is there whole."""
    try:
        if Tokenizer.load(path).hash == tokenizer.hash:
            return
    except InputError:
        pass
    shutil.rmtree(path, ignore_errors=True)
    tokenizer.save(path)


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


class _Hold:
    """A workdir, and the right to write it: a file lock on this machine, a lease where others may see the place.

    Attributes:
      name: as the user gave it: a directory or a URL.
      path: the directory of this machine.
      mirror: of a workdir in a bucket.
    """

    def __init__(self, workdir: Path | str, watch: Watch):
        self.name = str(workdir)
        self.mirror = Mirror(self.name, jax.process_index()) if is_remote(self.name) else None
        self.path = Path(workdir) if self.mirror is None else self.mirror.path
        self._file: Any = None
        self._new = self._begun = False
        self._lease = Lease(storage(self.name), on_loss=watch.end)

    def wait(self, note: Callable[[str], None]) -> None:
        """Returns in every process once nobody else writes the workdir.

        Raises:
          InputError: another process does.
        """
        self._lease.wait(self._owner_lives, note)
        wait_for_all("the workdir is free")
        if self.mirror is not None:
            self.mirror.fetch()

    def _owner_lives(self) -> bool | None:
        """Of an owner on this machine: it has the file lock as long as it lives. In a bucket there is none."""
        try:
            if self.mirror is None:
                with (self.path / _LOCK).open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return False
        except BlockingIOError:
            return True
        except OSError:
            pass
        return None

    def take(self) -> None:
        """Takes the right to write; process 0's.

        Raises:
          InputError: another process has it.
        """
        path = self.path / _LOCK
        self._new = not path.exists()
        self._file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            raise InputError(
                f"another process ({owner}) is training here", where=self.name, fix="Wait for it, or stop it first."
            ) from None
        except OSError as error:
            # Of disks that know no such locks; the lease is there all the same.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()}\n")
        self._file.flush()
        self._lease.take()

    def begun(self) -> None:
        """The run stands: what it has written so far is there to stay."""
        self._begun = True
        if self.mirror is not None:
            self.mirror.publish()
            self.mirror.start(lambda error: _say(f"not copied, tried again in a minute: {error}"))

    def share(self) -> None:
        """Shows the other processes of the run what process 0 has made in the workdir."""
        if self.mirror is not None and jax.process_index() == 0 and jax.process_count() > 1:
            self.mirror.publish()

    def before_commit(self) -> None:
        """Before a checkpoint counts: the workdir is still ours, and what belongs to the step lies beside it."""
        self._lease.check()
        if self.mirror is not None:
            self.mirror.publish()

    def forget(self) -> None:
        """Leaves no trace of a run that could not begin."""
        if self.mirror is not None:
            self.mirror.withdraw()
        self._lease.release()
        if self._new:
            Path(self._file.name).unlink(missing_ok=True)

    def __enter__(self) -> _Hold:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if self.mirror is not None and self._begun:
                self.mirror.stop()
                # Not where another has taken over; and an error of its own is worth more than one that follows from it.
                with suppress(CommandError) if error is not None else nullcontext():
                    self.before_commit()
        finally:
            self._lease.release()
            if self._file is not None:
                self._file.close()


class _Ahead:
    """Batches read by one thread, a few steps ahead of their use."""

    def __init__(self, read: Callable[[int], Any], start: int, stop: int):
        self._read, self._next, self._stop = read, start, stop
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._waiting: dict[int, Future[Any]] = {}

    def __enter__(self) -> _Ahead:
        return self

    def get(self, index: int) -> Any:
        while self._next < min(self._stop, index + 1 + _AHEAD):
            self._waiting[self._next] = self._pool.submit(self._read, self._next)
            self._next += 1
        return self._waiting.pop(index).result()

    def __exit__(self, *error: Any) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _signals() -> Iterator[Callable[[], str | None]]:
    """Gives a function that names the SIGTERM or SIGINT that has come; a second SIGINT interrupts at once."""
    seen: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def handle(number: int, frame: Any) -> None:
        if seen and number == signal.SIGINT:
            raise KeyboardInterrupt
        seen.append(signal.Signals(number).name)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: seen[0] if seen else None
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _peak(config: RunConfig, phase: int) -> float:
    schedule = config.phases[schedule_start(config, phase)].schedule
    assert schedule is not None
    return schedule.peak


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _say_nothing(line: str) -> None:
    pass


def _versions() -> dict[str, str]:
    names = (
        "jaxbert",
        "jax",
        "jaxlib",
        "flax",
        "optax",
        "orbax-checkpoint",
        "grain",
        "tokenizers",
        "sentencepiece",
        "numpy",
    )
    found = {"python": platform.python_version()}
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
