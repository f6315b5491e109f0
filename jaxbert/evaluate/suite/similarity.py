"""`similarity`: the correlation of the cosine of two texts' vectors with people's scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, get_args

import numpy as np

from jaxbert.convert.sentence_transformers import Pooling
from jaxbert.core.metrics import Metric
from jaxbert.evaluate.suite.base import Kind, Outcome, Setting, Task, notes_of_cuts, without_answer
from jaxbert.evaluate.suite.examples import COLUMNS, read_texts
from jaxbert.inputs.values import Maybe, OneOf
from jaxbert.labelled.examples import TextExample
from jaxbert.scores import intervals
from jaxbert.scores.numbers import CORRELATIONS
from jaxbert.use.embed import embed
from jaxbert.use.library import Loaded


class Similarity(Kind[TextExample]):
    """Pairs of texts with numbers.

    Options: pooling, "mean" or "cls", by default that of the model's sentence-transformers files, else the mean;
    columns, form and split as in `jaxbert.evaluate.suite.examples`.
    """

    metrics: ClassVar[tuple[Metric, ...]] = CORRELATIONS
    options: ClassVar[Mapping[str, Any]] = {**COLUMNS, "pooling": Maybe(OneOf(get_args(Pooling)))}

    def read(self, task: Task) -> list[TextExample]:
        """See `Kind`."""
        examples = read_texts(task, "sentence_vectors", "number")
        for one in examples:
            if not (isinstance(one.target, float) and math.isfinite(one.target)):
                raise without_answer(one, "the pair has no number", "Give the pair its number, or remove it.")
        return examples

    def texts(self, item: TextExample) -> Sequence[str]:
        """See `Kind`."""
        return (item.text, item.pair or "")

    def place(self, item: TextExample) -> str:
        """See `Kind`."""
        return item.place

    def check(self, model: Loaded, items: Sequence[TextExample], task: Task) -> None:
        """See `Kind`."""
        model.require_tokenizer()

    def notes(self, model: Loaded, items: Sequence[TextExample]) -> Sequence[str]:
        """See `Kind`."""
        return notes_of_cuts(model, list(dict.fromkeys(text for item in items for text in self.texts(item))))

    def answer(self, model: Loaded, items: Sequence[TextExample], task: Task, setting: Setting) -> Sequence[float]:
        """See `Kind`."""
        pooling = task.options.get("pooling") or (model.layout.pooling if model.layout else "mean")
        texts = list(dict.fromkeys(text for item in items for text in self.texts(item)))
        vectors = embed(model, texts, pooling=pooling, normalize=True, batch_tokens=setting.batch_tokens)
        number = {text: index for index, text in enumerate(texts)}
        one, other = ([number[self.texts(item)[side]] for item in items] for side in (0, 1))
        return list((vectors[one].astype(np.float64) * vectors[other]).sum(axis=1))

    def score(self, task: Task, items: Sequence[TextExample], answers: Sequence[float], setting: Setting) -> Outcome:
        """See `Kind`."""
        targets = np.array([item.target for item in items], np.float64)
        return Outcome(intervals.correlations(np.array(answers, np.float64), targets))


KIND = Similarity()
