"""Scores of entities by hand; tests/scores/test_goldens.py has the values of seqeval."""

from __future__ import annotations

import pytest

from jaxbert.errors import InputError
from jaxbert.scores import entities

TEXTS = [[("PER", 0, 1), ("LOC", 2, 2), ("ORG", 4, 6)], [], [("LOC", 0, 0)]]


def test_an_entity_needs_its_type_and_all_its_words():
    found = [[("PER", 0, 1), ("ORG", 2, 2), ("ORG", 4, 5)], [("MISC", 3, 3)], [("LOC", 0, 0), ("LOC", 0, 0)]]
    scored = entities.score(found, TEXTS)
    assert scored.details["entities"] == {"right": 2, "predicted": 5, "true": 4}
    assert scored.values["entity_precision"] == pytest.approx(2 / 5)
    assert scored.values["entity_recall"] == pytest.approx(2 / 4)
    assert scored.values["entity_f1"] == pytest.approx(4 / 9)
    types = scored.details["by_type"]
    assert list(types) == ["LOC", "MISC", "ORG", "PER"]
    assert types["LOC"] == {"precision": 1, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert types["MISC"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}
    assert scored.values["entity_macro_f1"] == pytest.approx((2 / 3 + 0 + 0 + 1) / 4)
    assert scored.notes == ("The model predicts MISC, which no text has.",)
    schemes = scored.details["schemes"]
    # "exact" forgives the type of LOC 2 2; "type" forgives the end of ORG 4 6; "partial" gives that one half a point.
    assert schemes["exact"]["precision"] == pytest.approx(3 / 5)
    assert schemes["type"]["recall"] == pytest.approx(3 / 4)
    assert schemes["partial"]["recall"] == pytest.approx(3.5 / 4)
    assert entities.counts_of(found, TEXTS).tolist() == [[1, 3, 3], [0, 1, 0], [1, 1, 1]]


def test_the_right_entities_are_all_right():
    scored = entities.score(TEXTS, TEXTS)
    assert set(scored.values.values()) == {1.0} and not scored.notes
    assert all(set(scheme.values()) == {1.0} for scheme in scored.details["schemes"].values())


@pytest.mark.parametrize(
    ("found", "right", "note"),
    [
        ([[], []], [[], []], "No text has an entity"),
        ([[("A", 0, 0)], []], [[], []], "No text has an entity"),
        ([[], []], [[("A", 0, 0)], []], "predicts no entity"),
        ([[("B", 1, 1)]], [[("A", 0, 0)]], "never predicts A"),
    ],
)
def test_nothing_right_is_0(found, right, note: str):
    scored = entities.score(found, right)
    assert set(scored.values.values()) == {0.0} and note in scored.notes[0]


@pytest.mark.parametrize(
    ("found", "right", "code"),
    [
        ([], [], "E-SCORES-EMPTY"),
        ([[]], [[], []], "E-SCORES-SHAPE"),
        ([[("A", 2, 1)]], [[]], "E-SCORES-ENTITY"),
        ([[]], [[("A", -1, 1)]], "E-SCORES-ENTITY"),
    ],
)
def test_what_does_not_fit_is_refused(found, right, code: str):
    with pytest.raises(InputError) as error:
        entities.score(found, right)
    assert error.value.code == code
