"""`minimal_pairs`: the share of pairs whose acceptable sentence has the higher pseudo-log-likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from jaxbert.core.metrics import Metric
from jaxbert.evaluate.likelihood import MASKS, count
from jaxbert.evaluate.minimal_pairs import BAD, GOOD, Judged, Pair, Tally, judge_stream, read_pairs, sentences
from jaxbert.evaluate.score_files import find_inputs
from jaxbert.evaluate.suite.base import Kind, Outcome, Setting, Task, mean_of_groups, notes_of_empty
from jaxbert.inputs.values import Maybe, OneOf
from jaxbert.scores.intervals import share
from jaxbert.scores.pairs import ACCURACY, GROUP_ACCURACY
from jaxbert.use.library import Loaded


class MinimalPairs(Kind[Pair]):
    """Minimal pairs, in files with the fields of BLiMP or in folders of them.

    Options: mask, see `jaxbert.evaluate.likelihood.MASKS`; good and bad, the fields of the sentences.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY, GROUP_ACCURACY)
    options: ClassVar[Mapping[str, Any]] = {"mask": Maybe(OneOf(tuple(MASKS))), "good": Maybe(str), "bad": Maybe(str)}
    heads: ClassVar[tuple[str, ...]] = ("masked_lm",)

    def read(self, task: Task) -> list[Pair]:
        """See `Kind`."""
        good, bad = task.options.get("good") or GOOD, task.options.get("bad") or BAD
        files = find_inputs(task.files, good=good, bad=bad).files
        return [pair for file in files for pair in read_pairs(file, good=good, bad=bad)]

    def texts(self, item: Pair) -> Sequence[str]:
        """See `Kind`."""
        return (item.good, *item.bad)

    def place(self, item: Pair) -> str:
        """See `Kind`."""
        return item.place

    def check(self, model: Loaded, items: Sequence[Pair], task: Task) -> None:
        """See `Kind`."""
        count(model, (sentence for pair in items for sentence in sentences(pair)))

    def notes(self, model: Loaded, items: Sequence[Pair]) -> Sequence[str]:
        """See `Kind`."""
        return notes_of_empty(count(model, (sentence for pair in items for sentence in sentences(pair))).empty)

    def answer(self, model: Loaded, items: Sequence[Pair], task: Task, setting: Setting) -> Sequence[Judged]:
        """See `Kind`."""
        mask = task.options.get("mask") or "token"
        return list(judge_stream(model, items, mask=mask, batch_tokens=setting.batch_tokens))

    def score(self, task: Task, items: Sequence[Pair], answers: Sequence[Judged], setting: Setting) -> Outcome:
        """See `Kind`."""
        tally = Tally()
        for judged in answers:
            tally.add(judged)
        figures = tally.figures()
        points = np.array([judged.points for judged in answers])
        names, groups = np.unique([pair.uid for pair in items], return_inverse=True)
        values = {
            "accuracy": share(float(points.sum()), len(points)),
            "group_accuracy": mean_of_groups(points, groups),
        }
        notes = []
        if figures["ties"]:
            notes.append(f"{figures['ties']:,} of {len(points):,} pairs are ties, each counted as half right.")
        details = {name: figures[name] for name in ("ties", "by_uid", "by_field")}
        return Outcome(values, {"paradigms": len(names), **details}, notes)


KIND = MinimalPairs()
