"""Converts the steps of a run to tokens, epochs and hours: the horizontal axes of its curves."""

from __future__ import annotations

from contextlib import suppress
from itertools import accumulate
from typing import Any

from jaxbert.config import phase_rows
from jaxbert.data.shards import read_manifest
from jaxbert.data.staging import local
from jaxbert.errors import InputError
from jaxbert.report.read import Run, is_number
from jaxbert.stores.storage import is_remote

# Pairs of an axis that the page holds. Between two pairs the page draws a straight line.
_MOST = 300

Pairs = list[tuple[int, float]]


def axes_of(run: Run) -> dict[str, Pairs]:
    """Returns the axes of a run by name, each as pairs (step, value) that rise. An axis that is not known is left out.

    "tokens" are real tokens, without padding. "epochs" are passes over the train rows. "hours" are those of the clock
    since the run began, with evaluations, checkpoints, and steps that were lost, but without the time between two
    processes.
    """
    found = {"tokens": _tokens(run), "epochs": _epochs(run), "hours": _hours(run)}
    return {name: _thinned(_rising(pairs)) for name, pairs in found.items() if len(pairs) > 1}


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
    for name in ("epoch", "epochs"):
        counted = _of_lines(run.metrics, name)
        if counted:
            return [(0, 0.0), *counted]
    pairs: Pairs = [(0, 0.0)]
    for phase in run.config.phases:
        rows = 0
        for directory, _ in phase_rows(run.config, phase, run.workdir):
            if is_remote(str(directory)):
                return []
            with suppress(InputError, KeyError, TypeError):
                count: Any = read_manifest(local(directory), "rows")["counts"]["train"]
                rows += count if isinstance(count, int) else 0
        if not rows:
            return []
        step, passes = pairs[-1]
        pairs.append((step + phase.steps, passes + phase.steps * phase.batch_size / rows))
    return pairs


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


def _thinned(pairs: Pairs) -> Pairs:
    if len(pairs) <= _MOST:
        return pairs
    chosen = sorted({round(index * (len(pairs) - 1) / (_MOST - 1)) for index in range(_MOST)})
    return [pairs[index] for index in chosen]
