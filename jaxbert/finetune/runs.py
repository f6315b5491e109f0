"""Runs a fine-tuning: each run by `jaxbert.run.pretrain.train`, its judgement, and the table over all.

Everything continues where it was interrupted: a run that was judged is not trained again, the one that was cut off goes
on from its last checkpoint, and the others follow.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax

from jaxbert.config import LabelledConfig, LabelledTaskConfig, RunConfig, load_json, resume_differences
from jaxbert.core.shell import path_word
from jaxbert.errors import InputError, Stopped, counted
from jaxbert.evaluate.judged import (
    Judged,
    best_of,
    best_of_line,
    line_of_split,
    lines_of,
    metric_of,
    read_judgement,
)
from jaxbert.finetune.results import judge_run, table, write_failed, write_results
from jaxbert.finetune.settings import Run
from jaxbert.report.live import LivePage
from jaxbert.run.hold import Hold
from jaxbert.run.inherit import inherit
from jaxbert.run.pretrain import train
from jaxbert.run.processes import together
from jaxbert.run.resume import model_has_changed
from jaxbert.stores.steps import committed_steps
from jaxbert.stores.storage import is_remote
from jaxbert.stores.workdir import CHECKPOINTS, FINETUNE, JUDGEMENT, PAGE, SUITE
from jaxbert.tasks import kind_of_task
from jaxbert.tasks.labelled_runs import check_epochs, same_places
from jaxbert.tasks.splits import changed_files
from jaxbert.text.tokenizers import Tokenizer

_log = logging.getLogger(__name__)


def _check_settings(run: Run) -> None:
    """Raises InputError where the settings of a run of several are out of range, with the name of the run."""
    config = run.asked.config
    assert isinstance(config.task, LabelledTaskConfig)
    try:
        check_epochs(config.task, {setting.key for setting in run.asked.settings})
        # Which metrics there are depends on the labels, which the files say.
        kind_of_task(config).check(dataclasses.replace(config, task=dataclasses.replace(config.task, metric="")))
    except InputError as error:
        raise InputError(error.what, where=f"{run.name}: {error.where}", fix=error.fix, code=error.code) from None


def finetune(
    runs: Sequence[Run],
    workdir: Path | str,
    *,
    overwrite: bool = False,
    only_same: bool = False,
    keep_outputs: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Trains and judges runs, one after the other, and returns the figures.

    With several runs, only the best one keeps its checkpoints, so that a sweep does not fill the disk.

    Args:
      runs: of `jaxbert.finetune.settings.runs_of`.
      workdir: of all runs.
      overwrite: begin again, and replace what is there.
      only_same: refuse runs that have begun with another content of their files, or from another model.
      keep_outputs: each run keeps its outputs; see `judge_run`.
      say: the function that gets each line of the results.

    Returns:
      For a single run the content of its judgement.json, else that of finetune.json; and "workdir", the MODEL to use.

    Raises:
      InputError, Interrupted, Stopped: see `jaxbert.run.pretrain.pretrain`. The same call continues.
    """
    place = Path(workdir)
    several = len(runs) > 1 or bool(runs[0].name)
    if is_remote(workdir) and several:
        raise InputError(
            "several runs share a workdir, and it is a URL",
            where=str(workdir),
            fix="Give a directory on a disk, or one seed and no --sweep.",
            code="E-FINETUNE-PLACE",
        )
    settings = runs[0].asked.config.task
    if is_remote(workdir) and isinstance(settings, LabelledTaskConfig) and settings.data.test:
        raise InputError(
            "a run in a bucket is not judged, so its test file would do nothing",
            where="--test",
            fix="Leave --test out. After the run, copy its workdir to a disk: `jaxbert evaluate COPY --test FILE`.",
            code="E-FINETUNE-PLACE",
        )
    if not several and (place / FINETUNE).exists() and not (place / "config.json").exists():
        raise InputError(
            "the workdir holds several runs of a fine-tuning, and a single run does not fit into it",
            where=str(workdir),
            fix="Repeat the command with its --seeds and --sweep, or give another --workdir.",
            code="E-FINETUNE-PLACE",
        )
    if several and (place / "config.json").exists() and not (place / FINETUNE).exists():
        raise InputError(
            "the workdir holds a single run, and several runs do not fit into it",
            where=str(workdir),
            fix="Give another --workdir.",
            code="E-FINETUNE-PLACE",
        )
    if not overwrite:
        if several and not only_same:  # A suite takes the scores of its runs, and no best one.
            _check_others(runs, place)
        _check_inputs(runs, place, only_same)
    if several:
        for run in runs:  # A setting that no run can have must not end a sweep after hours.
            _check_settings(run)
    done: list[Judged] = []
    for number, run in enumerate(runs):
        where = place / run.name if run.name else place
        if several:
            _log.info(f"run {number + 1} of {len(runs)}: {run.name}")
        found = None if overwrite else _judged_before(where, run)
        if found is not None:
            _log.info(f"{where} has ended before, and is not trained again")
            _finish_page(where, run)
        else:
            found = _train(
                run,
                str(where) if run.name else str(workdir),
                where,
                overwrite,
                may_fail=several,
                keep_outputs=keep_outputs,
            )
        if found is None or not _leads():  # Process 0 compares the runs and writes the results.
            continue
        if several and overwrite:
            (place / SUITE).unlink(missing_ok=True)  # It is about the best of the runs that are replaced.
        judged = Judged(run.name, found)
        done.append(judged)
        for line in _lines(judged):
            say(line)
        if several:
            _keep_best(place, done, runs)
    if not done:
        return {"workdir": str(workdir)}
    if several:
        _check_some_are_left(done, place)
        _train_best_again(place, done, runs)
    pages = runs[0].asked.config.logging.page
    if not several:
        if pages and (place / PAGE).is_file():
            say(f"page: {place / PAGE}")
        for line in _next(place, runs[0]):
            say(line)
        return {**done[0].found, "workdir": str(workdir)}
    results = write_results(place, done)
    if metric_of(done).name:
        say("")
        for line in table(done):
            say(line)
        say(f"best: {best_of(done).name}; MODEL={workdir} is this run")
    else:
        say("no run is the best, because there is no validation split")
    if LivePage(place, enabled=pages).write():
        say(f"page: {place / PAGE}")
    if metric_of(done).name:
        for line in _next(place, runs[0]):
            say(line)
    return {**results, "workdir": str(workdir)}


def _judged_before(where: Path, run: Run) -> dict[str, Any] | None:
    """Returns the judgement of a run that has ended before, if it was the same run."""
    found = read_judgement(where)
    if found is None:
        return None
    try:
        saved = load_json(where / "config.json")
    except InputError:
        return None
    # What a kill at the end of the run has left of its lease is removed.
    with together() as watch, Hold(str(where), watch) as hold:
        hold.wait()
        if _leads():
            hold.take()
    return found if _same(run, saved, where) else None


def _same(run: Run, saved: RunConfig, where: Path) -> bool:
    """Returns whether a workdir holds this run: what its user asks for, with what it found when it began, is saved."""
    asked = run.asked.config
    if (saved.name, saved.init, saved.task.name) != (asked.name, asked.init, asked.task.name):
        return False
    if not same_places(_data(saved), _data(asked)):
        return False
    config, _ = inherit(run.asked, where)
    complete = kind_of_task(config).complete
    assert complete is not None
    tokenizer = Tokenizer.load(where / "tokenizer")
    config = complete(config, tokenizer, saved, [setting.key for setting in run.asked.settings])
    # A run may go on with more steps, but then it is not judged yet.
    return config.phases[0].steps == saved.phases[0].steps and not resume_differences(saved, config)


def _data(config: RunConfig) -> LabelledConfig:
    assert isinstance(config.task, LabelledTaskConfig)
    return config.task.data


def _check_others(runs: Sequence[Run], place: Path) -> None:
    """Raises InputError where the workdir has runs of other seeds or settings, which the table would leave out.

    The best run would be chosen without them, and a worse model would take the place of a better one.
    """
    asked = {run.name for run in runs}
    # Names are those of `runs_of`: "seed-0", or "rate=1e-5/seed-0".
    found = (*place.glob(f"*/{JUDGEMENT}"), *place.glob(f"*/*/{JUDGEMENT}"))
    judged = (path.parent.relative_to(place).as_posix() for path in found)
    if others := sorted(set(judged) - asked):
        some = ", ".join(others[:3]) + (" ..." if len(others) > 3 else "")
        raise InputError(
            f"the workdir has {counted(len(others), 'run')} that this command does not ask for ({some}), and the best "
            "run is chosen among all",
            where=str(place),
            fix="Ask for them too, with --seeds and --sweep, or give another --workdir. --overwrite begins again.",
            code="E-FINETUNE-PLACE",
        )


def _check_inputs(runs: Sequence[Run], place: Path, only_same: bool) -> None:
    """Looks at the inputs of runs that have begun before: the model of --init, and the files with labels.

    The run of a changed input goes on, with a warning. But runs that have not begun would take the input of today, and
    no table may compare the two.

    Raises:
      InputError: an input has changed, and some of the runs have not begun, or `only_same` asks for the same.
    """
    begun: dict[str, RunConfig] = {}
    for run in runs:
        with suppress(InputError):
            saved = load_json(place / run.name / "config.json")
            if isinstance(saved.task, LabelledTaskConfig) and saved.task.name == run.asked.config.task.name:
                begun[run.name] = saved
    if not begun:
        return
    names = list(dict.fromkeys(name for config in begun.values() for name in changed_files(_data(config))))
    changed = [f"{counted(len(names), 'file')} ({', '.join(names)})"] if names else []
    if model_has_changed([place / name for name in begun], runs[0].asked.config.init):
        changed.append(f"the model {runs[0].asked.config.init}")
        if not only_same:
            _log.warning(
                f"the model of --init, {runs[0].asked.config.init}, changed since this run began. The run keeps what "
                "it learned from the model of that time; for a run from the model of today, repeat the command with "
                "another --workdir"
            )
    if changed and only_same:
        raise InputError(
            f"{' and '.join(changed)} changed since this was fine-tuned",
            where=str(place),
            fix="Give another --workdir, remove this directory, or restore what has changed.",
            code="E-LABELLED-CHANGED",
        )
    if changed and len(begun) < len(runs):
        raise InputError(
            f"{' and '.join(changed)} changed since {next(iter(begun))} began, and {len(runs) - len(begun)} of "
            f"{len(runs)} runs have not begun: their figures could not be compared",
            where=str(place),
            fix="Restore what has changed, or give another --workdir.",
            code="E-LABELLED-CHANGED",
        )


def _finish_page(where: Path, run: Run) -> None:
    """Writes the page of a run that was killed after its judgement and before its page."""
    page = where / PAGE
    if not page.exists() or page.stat().st_mtime < (where / JUDGEMENT).stat().st_mtime:
        LivePage(where, enabled=run.asked.config.logging.page and _leads()).write()


def _train(
    run: Run, name: str, where: Path, overwrite: bool, *, may_fail: bool = False, keep_outputs: bool = False
) -> dict[str, Any] | None:
    """Trains a run and judges it; returns its judgement, in the first process only.

    With `may_fail`, a run that has diverged is judged as one, and raises nothing.
    """

    def judged(figures: dict[str, Any]) -> dict[str, Any]:
        if not figures.get("leader", True):
            return {}
        if is_remote(name):
            _log.info(
                "a run in a bucket is not judged; to judge it, copy its workdir to a disk: "
                "`jaxbert evaluate COPY --test FILE`"
            )
            return {"metric": {}, "value": None, "learned": True, "seed": run.seed, "setting": run.setting,
                    "step": figures["step"], "splits": {}, "stopped_early": figures["stopped_early"]}  # fmt: skip
        with jax.default_device(jax.local_devices()[0]):
            found = judge_run(
                where,
                seed=run.seed,
                setting=run.setting,
                stopped_early=figures["stopped_early"],
                keep_outputs=keep_outputs,
            )
        LivePage(where, enabled=run.asked.config.logging.page).write()
        return found

    try:
        found = train(run.asked, name, overwrite=overwrite, after=judged)
    except Stopped as error:
        if not may_fail or error.code not in _DIVERGED:
            raise
        _log.warning(f"run {run.name} counts as failed: {error.what}")
        return write_failed(where, seed=run.seed, setting=run.setting, why=error.what) if _leads() else None
    return found or None


# The errors of a run whose loss is lost. The other runs of a sweep go on.
_DIVERGED = ("E-RUN-DIVERGED", "E-RUN-NOT-FINITE")


def _leads() -> bool:
    return jax.process_index() == 0


def _keep_best(workdir: Path, done: Sequence[Judged], runs: Sequence[Run]) -> None:
    """Removes the checkpoints of runs that cannot become the best one. Without a metric, no run is the best.

    Settings are compared by their means, and the mean of a setting is known when its last seed has ended. Until then
    its best seed keeps its checkpoints.
    """
    if not metric_of(done).name:
        return
    ended = {run.name for run in done}
    open_settings = {run.setting for run in runs if run.name not in ended}
    lines = lines_of(done)
    kept = {best_of_line(line).name for line in lines if line.setting in open_settings}
    closed = [line for line in lines if line.setting not in open_settings]
    if closed:
        kept.add(best_of_line(closed[0]).name)
    for run in done:
        if run.name not in kept:
            shutil.rmtree(workdir / run.name / CHECKPOINTS, ignore_errors=True)


def _check_some_are_left(done: Sequence[Judged], place: Path) -> None:
    """Raises Stopped where every run has diverged."""
    if all(run.found.get("diverged") for run in done):
        raise Stopped(
            f"all {len(done)} runs have diverged, the last one because {done[-1].found['diverged']}",
            where=str(place),
            fix="Give lower rates, for example --sweep rate=1e-5,3e-5, and another --workdir.",
            code="E-FINETUNE-DIVERGED",
        )


def _train_best_again(place: Path, done: Sequence[Judged], runs: Sequence[Run]) -> None:
    """Trains the best run again where an earlier command removed its checkpoints: seeds added later made it the best.

    It ends with the same bits, because its rows, its seed and its settings are the same.
    """
    if not metric_of(done).name:
        return
    best = best_of(done)
    # A kill may have left a part of its checkpoints: while they were removed, or while it was trained again.
    if best.found["step"] in committed_steps(place / best.name):
        return
    if jax.process_count() > 1:
        # The other processes do not know which run it is.
        _log.warning(
            f"{best.name} is the best run now, but its checkpoints were removed before: give another --workdir to "
            "train all runs again"
        )
        return
    _log.info(f"{best.name} is the best run now, and its checkpoints were removed before: it is trained again")
    run = next(run for run in runs if run.name == best.name)
    _train(run, str(place / run.name), place / run.name, False)


# The files that `jaxbert predict` takes, by the kind of the task.
_FILES = {
    "classification": "FILE.txt",
    "token_labels": "FILE.txt",
    "question_answering": "FILE.jsonl",
    "multiple_choice": "FILE.jsonl",
}


def _next(workdir: Path, run: Run) -> list[str]:
    """Returns the commands to type next."""

    def beside(ending: str) -> str:
        return path_word(workdir.with_name(f"{workdir.name}-{ending}"))

    model, kind = path_word(workdir), run.asked.config.task.name
    if kind == "sentence_vectors":
        commands = [
            f"jaxbert embed {model} FILE.txt --out FILE.npy",
            f"jaxbert convert {model} {beside('st')} --to sentence-transformers",
        ]
    else:
        commands = [
            f"jaxbert predict {model} {_FILES.get(kind, 'FILE')}",
            f"jaxbert convert {model} {beside('hf')} --to hf",
        ]
    return ["Next:", *(f"  {command}" for command in commands)]


def _lines(judged: Judged) -> list[str]:
    """Returns what a run has reached, as lines for people."""
    found = judged.found
    if found.get("diverged"):
        return [f"{judged.name}: this run has diverged ({found['diverged']})"]
    words = [line_of_split(split, one, judged.metric.name) for split, one in found["splits"].items()]
    early = ", stopped early" if found["stopped_early"] else ""
    name = f"{judged.name}, " if judged.name else ""
    lines = [f"{name}the best checkpoint is that of step {found['step']}{early}:", *(f"  {line}" for line in words)]
    if not found["learned"]:
        lines.append(
            "  This run has not learned: a constant answer is no worse. Give more examples; or, with another "
            "--workdir, train longer (--sweep epochs=10,30), try other rates (--sweep rate=RATE,RATE), or other seeds "
            "(--seeds 5)."
        )
    return lines
