"""Converts the steps of a run to tokens, epochs and hours: the horizontal axes of its curves."""

from __future__ import annotations

from contextlib import suppress
from itertools import accumulate
from typing import Any

from jaxbert.config import PhaseConfig, phase_rows
from jaxbert.data.shards import read_manifest
from jaxbert.data.staging import local
from jaxbert.errors import InputError
from jaxbert.fit.passes import Passes, Text
from jaxbert.inputs.values import is_number
from jaxbert.report.read import Run
from jaxbert.stores.storage import is_remote

# Pairs of an axis that the page holds: of one axis, of one axis of many runs, and of that axis of all runs. Between two
# pairs the page draws a straight line.
_MOST, _FEWEST, _ALL = 300, 60, 6000

Pairs = list[tuple[int, float]]


def most_pairs(runs: int) -> int:
    """Returns the most pairs of an axis on a page about a number of runs."""
    return max(_FEWEST, min(_MOST, _ALL // runs))


def axes_of(run: Run, most: int = _MOST) -> dict[str, Pairs]:
    """Returns the axes of a run by name, each as pairs (step, value) that rise. An axis that is not known is left out.

    "tokens" are real tokens, without padding. "epochs" are passes over the train text. "hours" are those of the clock
    since the run began, with evaluations, checkpoints, and steps that were lost, but without the time between two
    processes.
    """
    found = {"tokens": _tokens(run), "epochs": _epochs(run), "hours": _hours(run)}
    return {name: _thinned(_rising(pairs), most) for name, pairs in found.items() if len(pairs) > 1}


def boundaries(run: Run) -> list[tuple[int, str]]:
    """Returns (first step, name) of each phase after the first that the run has reached or will reach."""
    starts = list(accumulate(phase.steps for phase in run.config.phases))[:-1]
    return [(step, phase.name) for step, phase in zip(starts, run.config.phases[1:], strict=True)]


def _tokens(run: Run) -> Pairs:
    """Returns the real tokens up to each line: counted by the run, or else estimated from the batch of each line."""
    counted = _of_lines(run.metrics, "tokens")
    if counted:
        return [(0, 0.0), *counted]
    pairs: Pairs = [(0, 0.0)]
    for step, tokens in _of_lines(run.metrics, "real_tokens"):
        before, total = pairs[-1]
        if step > before:
            pairs.append((step, total + (step - before) * tokens))
    return pairs


def _epochs(run: Run) -> Pairs:
    """Returns the passes up to each line: counted by the run, or else by the sizes of the rows of each phase."""
    counted = _counted_epochs(run.metrics)
    if counted:
        return [(0, 0.0), *counted]
    texts = [_texts(run, phase) for phase in run.config.phases]
    if not all(texts):
        return []
    passes, pairs = Passes(run.config.phases, texts), [(0, 0.0)]
    for index, phase in enumerate(run.config.phases):
        pairs.append((pairs[-1][0] + phase.steps, passes.after(index, phase.steps)))
    return pairs


def _counted_epochs(lines: list[dict[str, Any]]) -> Pairs:
    """Returns the epochs of lines. Runs of an earlier version count anew in each phase: what was reached is added."""
    pairs: Pairs = []
    before, phase = 0.0, None
    for line in lines:
        if not is_number(line.get("epoch")):
            continue
        reached = pairs[-1][1] if pairs else 0.0
        if line.get("phase") != phase and before + line["epoch"] < reached:
            before = reached
        phase = line.get("phase")
        pairs.append((line["step"], before + line["epoch"]))
    return pairs


def _texts(run: Run, phase: PhaseConfig) -> list[Text]:
    """Returns the sources of a phase by the manifests of their rows; none where one of them cannot be read."""
    texts = []
    for directory, weight in phase_rows(run.config, phase, run.workdir):
        if is_remote(str(directory)):
            return []
        with suppress(InputError, LookupError, TypeError, ValueError, AttributeError):
            manifest = read_manifest(local(directory), "rows")
            texts.append(Text(weight, int(manifest["counts"]["train"]), int(manifest["arguments"].get("copies", 1))))
    return texts if len(texts) == len(phase.rows or (None,)) and all(text.rows > 0 for text in texts) else []


def _hours(run: Run) -> Pairs:
    return [(0, 0.0), *((step, seconds / 3600) for step, seconds in _of_lines(run.telemetry, "elapsed_s"))]


def _of_lines(lines: list[dict[str, Any]], name: str) -> Pairs:
    return [(line["step"], float(line[name])) for line in lines if is_number(line.get(name))]


def _rising(pairs: Pairs) -> Pairs:
    """Returns the pairs without those whose step or value is not above the one before: edited files may have any."""
    kept: Pairs = []
    for step, value in pairs:
        if not kept or (step > kept[-1][0] and value > kept[-1][1]):
            kept.append((step, value))
    return kept


def _thinned(pairs: Pairs, most: int) -> Pairs:
    if len(pairs) <= most:
        return pairs
    chosen = sorted({round(index * (len(pairs) - 1) / (most - 1)) for index in range(most)})
    return [pairs[index] for index in chosen]
