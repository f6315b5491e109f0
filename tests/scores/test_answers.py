"""Scores of answers by hand; tests/scores/test_goldens.py has the values of other packages."""

from __future__ import annotations

import numpy as np
import pytest

from jaxbert.errors import InputError
from jaxbert.scores import answers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat,\tsat.", "cat sat"),
        ("a.m.", "am"),
        ("An A the", ""),
        ("theatre", "theatre"),
        ("the-a cat", "thea cat"),
        ("“The” Ünder", "“ ” ünder"),
        ("", ""),
    ],
)
def test_normalized(text: str, expected: str):
    assert answers.normalized(text) == expected


def test_the_best_of_several_accepted_answers_counts():
    right = [["Denver Broncos", "the Broncos"], ["1976", "in 1976"]]
    scored = answers.score(["Broncos!", "in the year 1976"], right)
    assert scored.values == {"exact_match": 0.5, "f1": pytest.approx((1 + 0.8) / 2)}
    assert scored.details == {"version": "1.1"}


def test_a_word_counts_as_often_as_both_have_it():
    assert answers.points_of(["b b c"], [["b c c"]], "1.1").tolist() == [[0, pytest.approx(2 / 3)]]


def test_a_question_without_an_answer_wants_the_empty_one():
    scored = answers.score(["", "cat", "", "cat"], [[], [], ["cat"], ["cat"]])
    assert scored.values == {
        "f1": 0.5,
        "exact_match": 0.5,
        "has_answer_f1": 0.5,
        "has_answer_exact_match": 0.5,
        "no_answer_accuracy": 0.5,
    }
    assert scored.details == {"version": "2.0", "has_answer": 2, "no_answer": 2}


def test_the_versions_differ_in_answers_without_words():
    assert answers.points_of(["a"], [["the"]], "1.1").tolist() == [[1, 0]]
    assert answers.points_of(["a"], [["the"]], "2.0").tolist() == [[1, 1]]
    assert answers.points_of(["cat"], [["the", "cat"]], "2.0").tolist() == [[1, 1]]


def test_a_threshold_empties_answers():
    right, found, nulls = [["cat"], [], []], ["cat", "dog", "cow"], [0.2, 0.9, 0.4]
    scored = answers.score(found, right, null_scores=nulls, threshold=0.5)
    assert scored.values["exact_match"] == pytest.approx(2 / 3)
    assert scored.values["best_exact_match"] == 1 and scored.details["best_exact_match_threshold"] == 0.2
    low = answers.score(found, right, null_scores=nulls, threshold=0.1)
    assert low.values["has_answer_f1"] == 0 and low.values["no_answer_accuracy"] == 1


@pytest.mark.parametrize("nulls", [[0.3, 0.4], [0.0, 0.4], [-3.0, 2.0]])
def test_the_threshold_gives_the_best_value(nulls):
    """Also where it is best to answer nothing."""
    best = answers.best_threshold(np.zeros(2), np.array(nulls), np.array([False, False]), np.array([False, False]))
    assert best.value == 1 and all(null > best.threshold for null in nulls)


def test_unknown_questions_are_left_out():
    scored = answers.score(["x", "cat"], [None, ["cat"]], null_scores=[0.5, 0.5])
    assert scored.examples == 1 and scored.values["f1"] == 1


@pytest.mark.parametrize(
    ("found", "right", "more", "code"),
    [
        ([], [], {}, "E-SCORES-EMPTY"),
        (["x"], [None], {}, "E-SCORES-EMPTY"),
        (["x"], [["x"], ["y"]], {}, "E-SCORES-SHAPE"),
        (["x"], [["x"]], {"null_scores": [0.1, 0.2]}, "E-SCORES-SHAPE"),
        (["x"], [["x"]], {"threshold": 0.2}, "E-SCORES-SHAPE"),
        (["x"], [["x"]], {"null_scores": [np.nan]}, "E-SCORES-NAN"),
    ],
)
def test_what_does_not_fit_is_refused(found, right, more, code: str):
    with pytest.raises(InputError) as error:
        answers.score(found, right, **more)
    assert error.value.code == code
