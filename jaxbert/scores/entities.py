"""Scores entities: type and exact words, as the CoNLL shared tasks do (conlleval).

The schemes of SemEval-2013 task 9.1, which also count entities that are nearly right, come from nervaluate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxbert.core.metrics import Metric
from jaxbert.errors import InputError
from jaxbert.scores.base import Scored, same_count
from jaxbert.scores.classes import by_label, precision_recall_f1

# A type, the first word and the last word, both from 0.
Entity = tuple[str, int, int]

F1 = Metric("entity_f1", "entity F1", "f1", note="An entity is right if its type and all its words are.")
PRECISION = Metric("entity_precision", "entity precision", "precision")
RECALL = Metric("entity_recall", "entity recall", "recall")
MACRO_F1 = Metric("entity_macro_f1", "macro entity F1", "macro-f1", note="The mean of the types' F1.")
METRICS = (F1, PRECISION, RECALL, MACRO_F1)
# nervaluate takes about a millisecond for each example.
MOST_IN_SCHEMES = 20_000


def score(predicted: Sequence[Sequence[Entity]], right: Sequence[Sequence[Entity]], *, schemes: bool = True) -> Scored:
    """Scores the entities of texts.

    Micro F1 over all entities, as conlleval and seqeval's default mode define it: an entity counts where its type, its
    first and its last word are right. A share of nothing is 0.

    Args:
      predicted: the entities of each text. An entity that occurs twice in a text counts once.
      right: the right entities of each text.
      schemes: also count entities that are nearly right, for up to `MOST_IN_SCHEMES` texts.

    Returns:
      The values of `METRICS`. Macro F1 is the mean over the types that occur, right or predicted. details: "entities"
      with the counts "right", "predicted" and "true"; "by_type" with precision, recall, F1 and support; and "schemes"
      with precision, recall and F1 where the bounds must be right and the type need not ("exact"), where half a point
      is given for an overlap ("partial"), and where the type must be right and an overlap is enough ("type").

    Raises:
      InputError: the numbers of texts differ, there are none, or an entity ends before it begins.
    """
    same_count(len(predicted), len(right), "texts")
    _check(predicted, "predicted")
    _check(right, "right")
    shared: Counter[str] = Counter()
    found: Counter[str] = Counter()
    true: Counter[str] = Counter()
    for ours, theirs in zip(predicted, right, strict=True):
        ours_once, theirs_once = set(ours), set(theirs)
        found.update(kind for kind, _, _ in ours_once)
        true.update(kind for kind, _, _ in theirs_once)
        shared.update(kind for kind, _, _ in ours_once & theirs_once)
    types = sorted(found.keys() | true.keys())
    counts = np.array([[shared[one], found[one], true[one]] for one in types], np.int64).reshape(-1, 3)
    precision, recall, f1 = (float(value) for value in precision_recall_f1(*counts.sum(axis=0)))
    each = precision_recall_f1(*counts.T)
    values = {
        "entity_f1": f1,
        "entity_precision": precision,
        "entity_recall": recall,
        "entity_macro_f1": float(each[2].mean()) if types else 0.0,
    }
    all_right, all_found, all_true = (int(count) for count in counts.sum(axis=0))
    details: dict[str, Any] = {
        "entities": {"right": all_right, "predicted": all_found, "true": all_true},
        "by_type": by_label(types, *each, counts[:, 2]),
    }
    if schemes and types and len(right) <= MOST_IN_SCHEMES:
        details["schemes"] = _schemes(predicted, right, types)
    return Scored(values, METRICS, len(right), details, tuple(_notes(types, found, true)))


def counts_of(predicted: Sequence[Sequence[Entity]], right: Sequence[Sequence[Entity]]) -> np.ndarray:
    """Returns of each text the entities that are right, predicted and true, int64 (N, 3): what F1 is made of."""
    rows = [
        (len(set(ours) & set(theirs)), len(set(ours)), len(set(theirs)))
        for ours, theirs in zip(predicted, right, strict=True)
    ]
    return np.array(rows, np.int64).reshape(-1, 3)


def _check(texts: Sequence[Sequence[Entity]], what: str) -> None:
    for number, entities in enumerate(texts):
        for kind, first, last in entities:
            if not 0 <= first <= last:
                raise InputError(
                    f"the {what} entity {kind!r} is from word {first} to word {last}",
                    where=f"text {number}",
                    fix="Give the first and the last word, from 0.",
                    code="E-SCORES-ENTITY",
                )


def _notes(types: Sequence[str], found: Counter[str], true: Counter[str]) -> list[str]:
    notes = []
    if not sum(true.values()):
        notes.append("No text has an entity, so F1 is 0.")
    elif not sum(found.values()):
        notes.append("The model predicts no entity, so F1 is 0.")
    else:
        silent = [one for one in types if not found[one]]
        unknown = [one for one in types if not true[one]]
        if silent:
            notes.append(f"The model never predicts {', '.join(silent)}.")
        if unknown:
            notes.append(f"The model predicts {', '.join(unknown)}, which no text has.")
    return notes


def _schemes(
    predicted: Sequence[Sequence[Entity]], right: Sequence[Sequence[Entity]], types: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Returns the precision, recall and F1 of each scheme but the strict one."""
    from nervaluate.entities import Entity as Span
    from nervaluate.strategies import EntityTypeEvaluation, ExactEvaluation, PartialEvaluation

    makers = {"exact": ExactEvaluation, "partial": PartialEvaluation, "type": EntityTypeEvaluation}
    found = {}
    for name, make in makers.items():
        strategy = make()
        points = ours_count = theirs_count = 0.0
        for ours, theirs in zip(predicted, right, strict=True):
            spans = [[Span(*_span(one)) for one in sorted(set(entities), key=_order)] for entities in (theirs, ours)]
            result, _ = strategy.evaluate(*spans, list(types))
            points += result.correct + (0.5 * result.partial if name == "partial" else 0)
            ours_count += result.actual
            theirs_count += result.possible
        precision, recall, f1 = precision_recall_f1(points, ours_count, theirs_count)
        found[name] = {"precision": float(precision), "recall": float(recall), "f1": float(f1)}
    return found


def _span(entity: Entity) -> tuple[str, int, int]:
    return entity[0], int(entity[1]), int(entity[2])


def _order(entity: Entity) -> tuple[int, int, str]:
    return entity[1], entity[2], entity[0]
