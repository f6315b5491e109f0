"""`geometry`: how the vectors of texts lie: how alike any two are, and how many directions they fill.

The vectors are the means of the last layer's hidden states, as `jaxbert embed` gives them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, get_args

import numpy as np

from jaxbert.convert.sentence_transformers import Pooling
from jaxbert.core.metrics import Metric
from jaxbert.errors import InputError, counted
from jaxbert.evaluate.suite.base import Kind, Outcome, Setting, Task, notes_of_cuts, without_interval
from jaxbert.inputs.values import Maybe, OneOf, Whole
from jaxbert.scores import intervals
from jaxbert.use.embed import embed
from jaxbert.use.library import Loaded
from jaxbert.use.texts import open_texts

_log = logging.getLogger(__name__)

_RESAMPLES = 1000
PAIRS = 10_000  # random pairs at most
NEIGHBOURS = 5  # texts whose neighbours are shown
_NEAREST = 3
_LEAST = 3  # texts without which there is nothing to measure

Placed = tuple[str, str]


class Geometry(Kind[Placed]):
    """Files with a text a line, or records; see `jaxbert.use.texts.open_texts`.

    Options: pooling, "mean" or "cls"; seed, of the random pairs; neighbours, the number of texts whose nearest texts
    are shown.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "anisotropy",
            "mean cosine of random pairs",
            "cosine",
            "number",
            "Ethayarajh (2019, arXiv:1909.00512). 0: the vectors fill all directions alike.",
            higher=False,
        ),
        Metric(
            "first_component",
            "variance of the first component",
            "pc1",
            note="Share of the variance along the first principal component.",
            higher=False,
        ),
        Metric(
            "dimensions",
            "effective dimensions",
            "dims",
            "number",
            "Participation ratio of the variances along the principal components.",
        ),
    )
    options: ClassVar[Mapping[str, Any]] = {
        "pooling": Maybe(OneOf(get_args(Pooling))),
        "seed": Maybe(Whole()),
        "neighbours": Maybe(Whole(0, 1000)),
    }

    def read(self, task: Task) -> list[Placed]:
        """See `Kind`."""
        every = [one for file in task.files for one in open_texts(file)]
        found = [(place, text) for place, text in every if text.strip()]
        if len(found) < len(every):
            _log.info(f"{task.name}: {counted(len(every) - len(found), 'line')} without a text left out")
        if len(found) < _LEAST:
            raise InputError(
                f"the files have {len(found)} texts, but at least {_LEAST} are needed",
                where=task.place,
                fix="Give files with more texts.",
                code="E-SUITE-ITEM",
            )
        return found

    def texts(self, item: Placed) -> Sequence[str]:
        """See `Kind`."""
        return (item[1],)

    def place(self, item: Placed) -> str:
        """See `Kind`."""
        return item[0]

    def check(self, model: Loaded, items: Sequence[Placed], task: Task) -> None:
        """See `Kind`."""
        model.require_tokenizer()

    def notes(self, model: Loaded, items: Sequence[Placed]) -> Sequence[str]:
        """See `Kind`."""
        return notes_of_cuts(model, [text for _, text in items])

    def answer(self, model: Loaded, items: Sequence[Placed], task: Task, setting: Setting) -> Sequence[np.ndarray]:
        """See `Kind`."""
        pooling: Pooling = task.options.get("pooling") or "mean"
        return list(embed(model, [text for _, text in items], pooling=pooling, batch_tokens=setting.batch_tokens))

    def score(self, task: Task, items: Sequence[Placed], answers: Sequence[np.ndarray], setting: Setting) -> Outcome:
        """See `Kind`."""
        if len(items) < _LEAST:
            nan = without_interval(float("nan"))
            return Outcome({metric.name: nan for metric in self.metrics}, {}, ["Too few texts are left."])
        vectors = np.stack(answers).astype(np.float64)
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        one, other = _pairs(len(items), task.options.get("seed") or 0)
        cosines = (unit[one] * unit[other]).sum(axis=1)
        # The squares of the singular values are the variances along the components, but for a factor.
        variances = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False) ** 2
        total = max(float(variances.sum()), 1e-300)
        values = {
            "anisotropy": _mean_cosine(cosines, one, other, len(items)),
            "first_component": without_interval(float(variances[0]) / total),
            "dimensions": without_interval(total**2 / max(float((variances**2).sum()), 1e-300)),
        }
        number = task.options.get("neighbours")
        shown = _neighbours(unit, [text for _, text in items], NEIGHBOURS if number is None else number)
        return Outcome(values, {"pairs": len(one), "neighbours": shown})


def _mean_cosine(cosines: np.ndarray, one: np.ndarray, other: np.ndarray, count: int) -> intervals.Interval:
    """Returns the mean with its interval over texts that are drawn again. Pairs of one text are not independent."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(_RESAMPLES):
        times = np.bincount(rng.integers(count, size=count), minlength=count)
        weights = times[one] * times[other]
        if weights.any():
            drawn.append(float(weights @ cosines / weights.sum()))
    ends = np.array([(1 - intervals.CONFIDENCE) / 2, (1 + intervals.CONFIDENCE) / 2])
    low, high = np.quantile(drawn, ends) if drawn else (math.nan, math.nan)
    return intervals.Interval(float(cosines.mean()), float(low), float(high), intervals.CONFIDENCE, "percentile")


def _pairs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns random pairs of different texts, or all pairs where there are no more than `PAIRS`."""
    if count * (count - 1) // 2 <= PAIRS:
        one, other = np.triu_indices(count, 1)
        return one, other
    rng = np.random.default_rng(seed)
    one = rng.integers(count, size=PAIRS)
    return one, (one + rng.integers(1, count, size=PAIRS)) % count


def _neighbours(unit: np.ndarray, texts: Sequence[str], number: int) -> dict[str, list[dict[str, Any]]]:
    """Returns the nearest texts of some texts at equal distances in the list, with their cosines."""
    found = {}
    for index in range(0, len(texts), max(1, len(texts) // number))[:number] if number else ():
        cosines = unit @ unit[index]
        cosines[index] = -2
        nearest = np.argsort(-cosines, kind="stable")[:_NEAREST]
        found[texts[index]] = [{"text": texts[at], "cosine": float(cosines[at])} for at in nearest.tolist()]
    return found


KIND = Geometry()
