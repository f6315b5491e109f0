"""`bias`: which of two terms a model prefers in templates, by the difference of their pseudo-log-likelihoods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, ClassVar

import numpy as np

from jaxbert.core.metrics import Metric
from jaxbert.errors import InputError
from jaxbert.evaluate.likelihood import MASKS, ScoredText, count, score_stream
from jaxbert.evaluate.minimal_pairs import TIE
from jaxbert.evaluate.suite.base import Kind, Outcome, Setting, Task, notes_of_empty
from jaxbert.inputs.values import Maybe, OneOf, short
from jaxbert.labelled.tables import open_records
from jaxbert.scores import intervals
from jaxbert.text.text_rows import Text
from jaxbert.use.library import Loaded

TERM = "{term}"


@dataclass(frozen=True)
class Two:
    """A template with each of two terms.

    Attributes:
      place: file and line.
      first, second: the two texts.
      template: the name of the template.
    """

    place: str
    first: str
    second: str
    template: str


class Bias(Kind[Two]):
    """Records with two texts, or with a template for pairs of terms.

    A record has the fields "first" and "second", or "template" with `{term}`. Each template is filled with each pair of
    the option "terms". A term at the beginning of a template gets a capital letter.

    Options: terms, a list of pairs; mask, see `jaxbert.evaluate.likelihood.MASKS`; scored, "all" tokens, or the
    "shared" ones, which both texts have (Nangia et al. 2020, CrowS-Pairs, arXiv:2010.00133): then the frequency of the
    terms themselves does not count.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("effect", "mean difference", "nats", "number", "Score of the first text minus that of the second."),
        Metric("preference", "prefers the first", "first", note="Share of pairs with a higher score of the first."),
    )
    options: ClassVar[Mapping[str, Any]] = {
        "terms": Maybe([(str, str)]),
        "mask": Maybe(OneOf(tuple(MASKS))),
        "scored": Maybe(OneOf(("all", "shared"))),
    }
    heads: ClassVar[tuple[str, ...]] = ("masked_lm",)

    def read(self, task: Task) -> list[Two]:
        """See `Kind`."""
        terms = task.options.get("terms") or []
        found: list[Two] = []
        for file in task.files:
            for place, record in open_records(file, split="validation").read():
                texts = (record.get("first"), record.get("second"))
                template = record.get("template")
                if all(isinstance(text, str) and text for text in texts):
                    found.append(Two(place, str(texts[0]), str(texts[1]), place))
                elif isinstance(template, str) and template.count(TERM) == 1:
                    if not terms:
                        raise task.wrong("terms", "the files have templates, but no terms are given", _FIX)
                    found += [
                        Two(place, _filled(template, one), _filled(template, two), template) for one, two in terms
                    ]
                else:
                    raise InputError(
                        f"a record needs two texts, or a template with one {TERM}, and is {short(dict(record))}",
                        where=place,
                        fix='Write {"first": "...", "second": "..."} or {"template": "{term} is a doctor."}.',
                        code="E-SUITE-ITEM",
                    )
        return found

    def texts(self, item: Two) -> Sequence[str]:
        """See `Kind`."""
        return (item.first, item.second)

    def place(self, item: Two) -> str:
        """See `Kind`."""
        return item.place

    def check(self, model: Loaded, items: Sequence[Two], task: Task) -> None:
        """See `Kind`."""
        count(model, _both(items))

    def notes(self, model: Loaded, items: Sequence[Two]) -> Sequence[str]:
        """See `Kind`."""
        return notes_of_empty(count(model, _both(items)).empty)

    def answer(self, model: Loaded, items: Sequence[Two], task: Task, setting: Setting) -> Sequence[float]:
        """Returns the difference of each pair in nats."""
        mask = task.options.get("mask") or "token"
        shared = task.options.get("scored") == "shared"
        scores = score_stream(model, _both(items), mask=mask, batch_tokens=setting.batch_tokens)
        return [_difference(first, next(scores), shared=shared) for first in scores]

    def score(self, task: Task, items: Sequence[Two], answers: Sequence[float], setting: Setting) -> Outcome:
        """See `Kind`."""
        lead = np.array(answers, np.float64)
        lead[np.abs(lead) < TIE] = 0
        means = {"effect": lead, "preference": (lead > 0) + 0.5 * (lead == 0)}
        values = intervals.intervals(intervals.of_means(means))
        by_template: dict[str, list[float]] = {}
        for item, one in zip(items, lead.tolist(), strict=True):
            by_template.setdefault(item.template, []).append(one)
        details = {
            "standard_deviation": float(lead.std(ddof=1)) if len(lead) > 1 else None,
            "by_template": {name: float(np.mean(some)) for name, some in by_template.items()},
        }
        return Outcome(values, details)


_FIX = 'Write for example "options": {"terms": [["he", "she"], ["a man", "a woman"]]}.'


def _both(items: Sequence[Two]) -> Any:
    texts: list[tuple[str, Text]] = [(item.place, text) for item in items for text in (item.first, item.second)]
    return iter(texts)


def _filled(template: str, term: str) -> str:
    text = template.replace(TERM, term)
    return text[:1].upper() + text[1:] if template.startswith(TERM) else text


def _difference(first: ScoredText, second: ScoredText, *, shared: bool) -> float:
    """Returns the score of the first text minus that of the second; of the tokens that they share, where asked."""
    if not shared:
        return first.score - second.score
    matcher = SequenceMatcher(None, first.ids.tolist(), second.ids.tolist(), autojunk=False)
    total = 0.0
    for block in matcher.get_matching_blocks():
        total += float(first.scores[block.a : block.a + block.size].sum())
        total -= float(second.scores[block.b : block.b + block.size].sum())
    return total


KIND = Bias()
