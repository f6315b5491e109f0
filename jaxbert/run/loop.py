"""The loop over the steps of a run, and the work between steps: evaluations, checkpoints, logs."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbert.config import (
    RunConfig,
    all_sinks,
    phase_at,
    schedule_start,
    to_json,
    total_steps,
)
from jaxbert.core import metrics as naming
from jaxbert.core.metrics import finite
from jaxbert.core.progress import Progress
from jaxbert.core.sharding import compute_dtype, global_batch
from jaxbert.core.signals import end_now, handling
from jaxbert.data.pipeline import Batches, FixedBatches
from jaxbert.errors import CommandError, Interrupted, Stopped
from jaxbert.evaluate.evaluation import constant_answers, evaluated
from jaxbert.fit.passes import counter
from jaxbert.observe.energy import energy_meter
from jaxbert.observe.lines import JsonLines
from jaxbert.observe.meter import Meter
from jaxbert.observe.pace import Pace, Work
from jaxbert.observe.peaks import mesh_peak
from jaxbert.observe.sinks import Sinks
from jaxbert.observe.sinks.base import RunFacts
from jaxbert.observe.started import started
from jaxbert.report.live import LivePage
from jaxbert.run.guard import Guard, settling
from jaxbert.run.hold import Hold
from jaxbert.run.inputs import PhaseRows
from jaxbert.run.processes import COMPILE_MINUTES, Watch, agreed, wait_for_all
from jaxbert.run.profile import Profile
from jaxbert.run.samples import Samples
from jaxbert.run.window import Window
from jaxbert.stores.checkpoint import Checkpoints
from jaxbert.stores.steps import sane_steps
from jaxbert.stores.workdir import CHECKPOINTS, METRICS, TELEMETRY
from jaxbert.tasks import make_task
from jaxbert.tasks.base import metrics_of
from jaxbert.training.step import Program, hand_over

_AHEAD = 2  # batches read ahead of the step


class Loop:
    """The loop over the steps of a run, with evaluations, checkpoints and logs.

    `memory` holds what the loop remembers beside the state. It goes into every checkpoint.
    """

    def __init__(
        self,
        config: RunConfig,
        hold: Hold,
        mesh: Mesh,
        frozen: Any,
        rows: list[PhaseRows],
        memory: dict[str, Any],
        step: int,
        leader: bool,
        watch: Watch,
        profile: Profile,
    ):
        self.profile = profile
        logging, workdir = config.logging, hold.path
        self.config, self.hold, self.name, self.mesh, self.frozen = config, hold, hold.name, mesh, frozen
        self.rows, self.memory, self.step, self.leader = rows, memory, step, leader
        self.watch, self.hang = watch, config.guard.hang_minutes
        self.saved_at = step
        self.sane, self.disowned = True, step
        self.checkpoints = Checkpoints(
            workdir,
            keep=config.checkpoint.keep,
            keep_best=config.checkpoint.keep_best,
            before_commit=hold.before_commit,
        )
        self.progress = Progress(total_steps(config), start=step, enabled=leader)
        self.metrics = JsonLines(workdir / METRICS) if leader else None
        self.telemetry = JsonLines(workdir / TELEMETRY) if leader else None
        facts = RunFacts(config.name, to_json(config), workdir, step)
        self.sinks = Sinks(all_sinks(logging) if leader else (), facts)
        self.samples = Samples(config, mesh, rows, workdir, leader=leader)
        self.page = LivePage(workdir, enabled=leader and logging.page)
        self.meter = Meter(
            devices=jax.device_count(),
            peak=mesh_peak(jax.devices(), compute_dtype(config.numerics.dtype).name),
            energy=energy_meter(jax.default_backend(), logging.watts),
            price_per_hour=logging.price_per_hour,
            currency=logging.currency,
            carried=Meter.carry(workdir / TELEMETRY, step),
        )
        self.window = Window(memory["window"], step=step)
        self.pace = _pace(config, rows)
        self.passes = counter(config, rows)
        self.epoch = 0.0  # passes over the text since the run began, over all phases
        self._evaluated: set[int] = set()  # the phases whose evaluation is compiled
        task = make_task(config, config.phases[0])
        weight = max((info.weight for info in task.terms.values()), default=1.0)
        self.guard = Guard(config.encoder.vocab_size, memory["guard"], weight=weight)
        self.shown, self.best = task.metrics, task.best
        self._write(
            self.telemetry,
            {
                "step": step,
                "device": jax.devices()[0].device_kind,
                **self.meter.facts(),
                **started(),
                "processes": jax.process_count(),
                "metrics": naming.to_json(metrics_of(task)),
                "validation_rows": sum(len(split) for phase in rows for split in phase.validation),
            },
        )

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *error: Any) -> None:
        self._moving("the last checkpoint")
        try:
            # A checkpoint that is being saved is finished also after an error.
            self.checkpoints.wait()
        finally:
            for part in (self.progress, self.metrics, self.telemetry, self.samples):
                if part is not None:
                    part.close()
            # Sinks have a limit themselves, and no other process waits for them.
            self.watch.moving("", 0.0)
            self.sinks.close(ended_well=error[0] is None)

    def run_phase(
        self, program: Program, phase: int, within: int, state: Any, interrupted: Callable[[], str | None]
    ) -> Any:
        """Runs the steps of a phase from `within` on; returns the state after them, or after an early stop."""
        config, now = self.config, self.config.phases[phase]
        task = program.task
        batches = Batches(
            self.rows[phase].train,
            batch_size=now.batch_size,
            seed=config.seed,
            window=config.data.shuffle_window,
            collate=task.collate,
            lengths=now.lengths,
            grouped=now.grouped,
            steps=now.steps,
        )
        # A batch that is cut to another length costs what its rows cost there.
        flops = {now.length: task.flops_per_row}
        flops |= {at: make_task(config, replace(now, length=at)).flops_per_row for at in now.lengths}
        compiled: set[int] = set()

        def read(index: int) -> Any:
            fields = task.fields_at(batches.length(index)) if now.lengths else task.fields
            return global_batch(self.mesh, lambda lo, hi: batches.read(index, lo, hi), now.batch_size, fields)

        if within == 0:
            state = {**state, "opt_state": hand_over(config, state["opt_state"], phase)}
            # Losses on other rows do not compare, so each phase has its own best.
            self.memory |= {"best": None, "evaluations_since_best": 0}
            # A rate that rises again may undo some of what was learned, before more is learned.
            learned = now.schedule is not None and (phase > 0 or config.init)
            self.guard.start_phase(settling(now.schedule.warmup_steps) if now.schedule and learned else 0)
        self.epoch = self.passes.after(phase, within)
        with Ahead(read, within, now.steps) as ahead:
            for index in range(within, now.steps):
                length = batches.length(index)
                first = length not in compiled
                if first:
                    compiled.add(length)
                    what = f"the step of phase {now.name}" + (f" for {length} tokens" if now.lengths else "")
                    self._compile(what, program.step, state, self.frozen, ahead.look(index))
                self._moving(f"step {self.step + 1}", compiling=first)
                started = time.perf_counter()
                batch = ahead.get(index)
                ready = time.perf_counter()
                self.profile.before_step(self.step + 1)
                state, metrics = program.step(state, self.frozen, batch)
                # This waits for the step. The next batch is read meanwhile, and a signal is answered within a step.
                found = jax.device_get(metrics)
                seconds = time.perf_counter() - started
                self.step += 1
                self.epoch = self.passes.after(phase, index + 1)
                self.profile.after_step(self.step)
                real_tokens, tokens = int(found["real_tokens"]), now.batch_size * length
                self.meter.step_done(
                    seconds,
                    real_tokens,
                    tokens,
                    wait_s=ready - started,
                    first=first,
                    flops=flops[length] * real_tokens / length,
                )
                self.pace.step(phase, seconds, first=first)
                self._after_step(program, phase, state, found, last=index + 1 == now.steps)
                if self.memory["stopped_early"]:
                    break
                name = agreed(interrupted())
                if name is not None and self.step < total_steps(config):
                    self.save(state)
                    self.checkpoints.wait()
                    # Process 0 writes the manifest. A process that ends before would end process 0 too.
                    wait_for_all("the last checkpoint has its manifest")
                    raise Interrupted(
                        f"stopped by {name} after step {self.step}; everything is saved",
                        where=self.name,
                        fix="Repeat the same command to continue.",
                        code="E-SIGNAL-INTERRUPT",
                    )
        return state

    def _moving(self, doing: str, compiling: bool = False) -> None:
        """Tells the watch what the run does next."""
        self.watch.moving(doing, self.hang + COMPILE_MINUTES * compiling if self.hang else 0.0)

    def _compile(self, what: str, function: Any, *arguments: Any) -> None:
        """Compiles a jitted function for these arguments, and says so. jax finds the program again when it is called.

        So neither the first step nor the first batch of an evaluation includes a compilation.
        """
        self._moving(f"compiling {what}", compiling=True)
        started = time.perf_counter()
        with self.progress.doing(f"compiling {what}"):
            function.lower(*arguments).compile()
        self.meter.compiled(time.perf_counter() - started)

    def _after_step(self, program: Program, phase: int, state: Any, metrics: Any, *, last: bool) -> None:
        config, step = self.config, self.step
        self.window.add(metrics)
        if step % config.logging.every_steps == 0 or last:
            self._log(program, phase)
        elif self.progress.due:
            self._show(self.window.means(program.task), self.meter.rates())
        else:
            self.progress.update(step, left_s=self.pace.left_s(step))
        self._judge(phase, metrics)
        every = config.evaluation.every_steps
        improved = False
        if self.rows[phase].validation and (step == total_steps(config) or (every and step % every == 0)):
            improved = self.evaluate(program, phase, state)
        if self.memory["stopped_early"] and self.window.steps:
            self._log(program, phase)
        due = step % config.checkpoint.every_steps == 0 or last or self.memory["stopped_early"]
        if due or (improved and config.checkpoint.keep_best):
            self.save(state)

    def _judge(self, phase: int, metrics: Any) -> None:
        """Tells the guard the loss of a step.

        Raises:
          Stopped: too many steps in a row were not finite, or had a loss that is not sane.
        """
        guard, step = self.config.guard, self.step
        skipped = int(metrics["skipped_in_a_row"])
        loss = float(metrics["loss"])
        broken = skipped == 0 and not math.isfinite(float(metrics["update_norm"]))
        lost = self.guard.step(loss, skipped=skipped, broken=broken)
        self.sane = lost == 0
        self.memory["guard"] = self.guard.memory
        if not self.sane:
            best = self.memory["best"]
            # The loss is that of the parameters after the step before. An evaluation of them says more than batches.
            for before in range(max(step - lost, self.disowned), step):
                if best is None or best["step"] != before:
                    self.checkpoints.disown(before)
            self.disowned = step
        if skipped >= guard.max_skipped:
            raise Stopped(
                f"{skipped} steps in a row had a loss or gradient that is not finite, the last of them step {step}",
                where=self.name,
                fix=self._way_back(phase),
                code="E-RUN-NOT-FINITE",
            )
        if guard.max_diverged and self.guard.in_a_row >= guard.max_diverged:
            raise Stopped(
                f"the run has diverged: {self.guard.in_a_row} steps in a row had a loss above {self.guard.limit:.3g}, "
                f"and step {step} has {loss:.3g}",
                where=self.name,
                fix=self._way_back(phase),
                code="E-RUN-DIVERGED",
            )

    def check_end(self) -> None:
        """Raises Stopped if the loss at the end of the run is not sane.

        A finished run of an earlier version, of which nothing is known but its last evaluation, is not judged.
        """
        if not self.guard.knows_the_run:
            return
        evaluation = self.memory["last_evaluation"]
        judged = evaluation is not None and evaluation["step"] == self.step
        lost = judged and not self.guard.sane_evaluation(evaluation["loss"])
        if self.config.guard.max_diverged and (lost or self.guard.diverged_at_the_end()):
            raise Stopped(
                f"the run has diverged: at its end, after step {self.step}, the "
                f"{'validation ' if lost else ''}loss is not finite or above "
                f"{self.guard.hopeless if lost else self.guard.limit:.3g}",
                where=self.name,
                fix=self._way_back(phase_at(self.config, self.step - 1)[0]),
                code="E-RUN-DIVERGED",
            )

    def _way_back(self, phase: int) -> str:
        """Returns the advice for a run that has diverged in `phase`. It names the newest checkpoint that is good."""
        with suppress(CommandError):
            self.checkpoints.wait()
        good = [step for step in sane_steps(self.hold.path) if step < self.step]
        start, peak = schedule_start(self.config, phase), _peak(self.config, phase)
        lower = f"--set phases.{start}.schedule.peak={peak / 3:.1e}"
        again = f"Begin again with a lower rate, for example {lower} --overwrite"
        if not good:
            return f"No checkpoint that is left has a sane loss. {again}."
        return (
            f"Checkpoint {good[-1]} is the newest with a sane loss. {again}, or start another run from that "
            f"checkpoint: --init {self.name}/{CHECKPOINTS}/{good[-1]} --workdir NEW {lower}."
        )

    def _log(self, program: Program, phase: int) -> None:
        """Writes the lines of a step to the files, and shows them. The next window begins."""
        figures = self.window.means(program.task)
        self.window.clear()
        self._write(self.metrics, {**self._where(phase), **figures})
        clock = {**self._where(phase), **self.meter.line(self.step)}
        self._write(self.telemetry, clock)
        self.sinks.scalars(self.step, {**figures, **clock})
        self._show(figures, clock)

    def _where(self, phase: int) -> dict[str, Any]:
        """Returns the keys with which every line begins."""
        return {"step": self.step, "phase": self.config.phases[phase].name, "epoch": self.epoch}

    def _show(self, figures: Mapping[str, Any], clock: Mapping[str, Any]) -> None:
        """Shows figures of the window on the terminal or in the log."""
        words = [f"epoch {_epoch(self.epoch)}", f"loss {figures['loss']:.3f}"]
        # There is no mean over no item: next sentence where no row since the last line has a pair.
        known = [one for one in self.shown if math.isfinite(figures.get(one.name, math.nan))]
        words += [f"{one.short} {one.text(figures[one.name])}" for one in known]
        words.append(f"rate {figures['rate']:.2e}")
        if "tokens_per_s" in clock:
            words.append(f"{clock['tokens_per_s']:,.0f} tok/s")
        if figures["skipped"]:
            words.append(f"skipped {figures['skipped']}")
        self.progress.update(self.step, "  ".join(words), left_s=self.pace.left_s(self.step))

    def evaluate(self, program: Program, phase: int, state: Any) -> bool:
        """Evaluates, logs, and decides on early stopping. Returns whether the model is the best so far."""
        name, given = self.config.phases[phase].name, (state["params"], self.frozen)
        if phase not in self._evaluated:
            self._evaluated.add(phase)
            # Batches of several lengths are compiled as they come.
            if not self.config.phases[phase].lengths:
                abstract = (program.evaluation_batch, np.int32(0))
                self._compile(f"the evaluation of phase {name}", program.judge or program.evaluate, *given, *abstract)
        started = time.perf_counter()
        with self.progress.doing(f"evaluating after step {self.step}", log=False):
            validation = self.rows[phase].validation
            found, sums = evaluated(
                program,
                *given,
                validation,
                self.mesh,
                config=self.config,
                moving=self._moving,
                lengths=self.config.phases[phase].lengths,
            )
            constant = constant_answers(sums)
        seconds = time.perf_counter() - started
        self.meter.evaluation(seconds)
        self.pace.evaluation(phase, seconds)
        figures: dict[str, Any] = {f"validation_{name}": value for name, value in found.items()}
        if constant:
            # What the better constant answer scores on these rows: an accuracy below it has learned nothing.
            figures["constant_answers"] = constant
        self._write(self.metrics, {**self._where(phase), **figures})
        self.sinks.scalars(self.step, {**self._where(phase), **figures})
        memory = self.memory
        memory["last_evaluation"] = {"step": self.step, **{name: finite(value) for name, value in found.items()}}
        sane = self.guard.sane_evaluation(found["loss"])
        improved = sane and (memory["best"] is None or self._rank(found) < self._rank(memory["best"]))
        memory["evaluations_since_best"] = 0 if improved else memory["evaluations_since_best"] + 1
        if improved:
            memory["best"] = memory["last_evaluation"]
        words = [f"loss {found['loss']:.4f}"]
        for one in self.shown:
            if one.name in found:
                term = one.name.removesuffix("_accuracy")
                beside = f" (a constant answer: {constant[term]:.1%})" if term in constant else ""
                words.append(f"{one.title} {one.text(found[one.name])}{beside}")
        best_yet = " (best so far)" if improved else ""
        if not sane:
            best_yet = f" (not sane: the limit is {self.guard.hopeless:.3g})"
        self.progress.note(f"step {self.step}, epoch {_epoch(self.epoch)}: validation {', '.join(words)}{best_yet}")
        self._moving("the predictions", compiling=True)
        with self.progress.doing("predicting the sentences of the page", log=False):
            self.samples.predict(program, state["params"], self.step, self.config.phases[phase].name)
            self.page.write()
        patience = self.config.evaluation.patience
        if patience and memory["evaluations_since_best"] >= patience:
            memory["stopped_early"] = True
            best = "none was sane" if memory["best"] is None else f"the best is step {memory['best']['step']}"
            chosen = "loss" if self.best is None else self.best.title
            self.progress.note(f"stopping early: no better {chosen} in {patience} evaluations; {best}")
        return improved

    def _rank(self, found: Mapping[str, Any]) -> float:
        """Returns the number by which evaluations are compared; the lowest is the best. Without the metric: infinity.

        A metric is not known where, for example, a correlation has no value, because all answers are equal.
        """
        value = found.get("loss" if self.best is None else self.best.name)
        if value is None or math.isnan(value):
            return math.inf
        return -value if self.best is not None and self.best.higher else value

    def save(self, state: Any) -> None:
        """Begins to save the state, unless this step is already saved."""
        if self.step == self.saved_at:
            return
        started = time.perf_counter()
        self._moving(f"the checkpoint of step {self.step}")
        phase, within = phase_at(self.config, self.step)
        evaluation = self.memory["last_evaluation"]
        judged = evaluation is not None and evaluation["step"] == self.step
        best = self.memory["best"]
        sane = self.sane and (not judged or self.guard.sane_evaluation(evaluation["loss"]))
        meta = {
            **self.memory,
            "window": self.window.memory,
            "sane": sane or (best is not None and best["step"] == self.step),
            "phase": phase,
            "next_batch": within,
            "skipped": int(np.asarray(state["skipped"])[0]),
            "validation_loss": evaluation["loss"] if judged else None,
            "rank": finite(self._rank(evaluation)) if judged else None,
            "evaluated_phase": phase_at(self.config, self.step - 1)[0],
        }
        if self.metrics is not None:
            self.metrics.sync()
        with self.progress.doing(f"saving the checkpoint of step {self.step}", log=False):
            self.checkpoints.save(self.step, state, meta)
        self.saved_at = self.step
        seconds = time.perf_counter() - started
        self.meter.checkpoint(seconds)
        self.pace.checkpoint(seconds)

    def summary(self) -> dict[str, Any]:
        """Returns the figures that `pretrain` returns."""
        evaluation = self.memory["last_evaluation"] or {}
        return {
            "workdir": self.name,
            "leader": self.leader,
            "step": self.step,
            "stopped_early": self.memory["stopped_early"],
            **{f"validation_{name}": value for name, value in evaluation.items()},
            "best": self.memory["best"],
            "metrics": naming.to_json(self.shown),
            "telemetry": self.meter.line(self.step),
        }

    def _write(self, file: JsonLines | None, line: dict[str, Any]) -> None:
        if file is not None:
            file.write(line)


class Ahead:
    """Reads batches in one thread, a few steps ahead of their use."""

    def __init__(self, read: Callable[[int], Any], start: int, stop: int):
        self._read, self._next, self._stop = read, start, stop
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._waiting: dict[int, Future[Any]] = {}

    def __enter__(self) -> Ahead:
        return self

    def look(self, index: int) -> Any:
        """Returns the batch `index`, which `get` will give, and has the next ones read meanwhile."""
        while self._next < min(self._stop, index + 1 + _AHEAD):
            self._waiting[self._next] = self._pool.submit(self._read, self._next)
            self._next += 1
        return self._waiting[index].result()

    def get(self, index: int) -> Any:
        """Returns the batch `index`, and has the next ones read meanwhile."""
        batch = self.look(index)
        del self._waiting[index]
        return batch

    def __exit__(self, *error: Any) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def signals() -> Iterator[Callable[[], str | None]]:
    """Gives a function that returns the name of the signal that came. A second SIGINT ends the process at once."""
    seen: list[str] = []

    def handle(number: int, frame: Any) -> None:
        if seen and number == signal.SIGINT:
            end_now(number)
        seen.append(signal.Signals(number).name)

    with handling(handle):
        yield lambda: seen[0] if seen else None


def _epoch(passes: float) -> str:
    """Returns passes over the text as people read them: "0.42", and "0.003" for very few of many rows."""
    return f"{passes:.2f}" if passes >= 0.01 else f"{passes:.1g}"


def _pace(config: RunConfig, rows: list[PhaseRows]) -> Pace:
    phases = []
    for phase, there in zip(config.phases, rows, strict=True):
        # A task that does not count its FLOPs has rows whose work is that of their tokens.
        each = make_task(config, phase).flops_per_row or float(phase.length)
        batch_size, most = config.evaluation.batch_size, config.evaluation.batches
        batches = sum(len(FixedBatches(split, batch_size, limit=most)) for split in there.validation)
        phases.append(Work(phase.steps, each * phase.batch_size, each * batches * batch_size))
    return Pace(phases, evaluate_every=config.evaluation.every_steps, save_every=config.checkpoint.every_steps)


def _peak(config: RunConfig, phase: int) -> float:
    schedule = config.phases[schedule_start(config, phase)].schedule
    assert schedule is not None
    return schedule.peak
