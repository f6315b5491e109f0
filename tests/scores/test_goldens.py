"""Entities and answers have the values of seqeval, of conlleval and of SQuAD's official programs.

tests/goldens/record_scores.py has recorded them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.scores import answers, entities

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "goldens" / "scores.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", GOLDEN["entities"])
def test_entities_have_the_values_of_seqeval_and_conlleval(name: str):
    golden = GOLDEN["entities"][name]
    found, right = ([[tuple(one) for one in text] for text in golden[key]] for key in ("predicted", "right"))
    scored = entities.score(found, right)
    for key in ("precision", "recall", "f1", "macro_f1"):
        assert scored.values[f"entity_{key}"] == pytest.approx(golden[key], abs=1e-12), key
    assert scored.details["by_type"] == {kind: pytest.approx(values) for kind, values in golden["by_type"].items()}


@pytest.mark.parametrize("golden", GOLDEN["squad 1.1"])
def test_answers_have_the_values_of_squad_1(golden):
    right, found = zip(*golden["questions"], strict=True)
    np.testing.assert_allclose(answers.points_of(found, right, "1.1"), golden["each"], atol=1e-12)
    values = answers.score(found, right).values
    assert {name: 100 * value for name, value in values.items()} == pytest.approx(golden["official"])


@pytest.mark.parametrize("golden", GOLDEN["squad 2.0"])
def test_answers_have_the_values_of_squad_2(golden):
    right, found, nulls = zip(*golden["questions"], strict=True)
    official = golden["official"]
    np.testing.assert_allclose(answers.points_of(found, right, "2.0"), golden["each"], atol=1e-12)
    scored = answers.score(found, right, null_scores=nulls, threshold=golden["threshold"])
    names = {
        "exact_match": "exact",
        "f1": "f1",
        "has_answer_exact_match": "HasAns_exact",
        "has_answer_f1": "HasAns_f1",
        "no_answer_accuracy": "NoAns_exact",
        "best_exact_match": "best_exact",
        "best_f1": "best_f1",
    }
    for ours, theirs in names.items():
        assert (ours in scored.values) == (theirs in official)
        if theirs in official:
            assert 100 * scored.values[ours] == pytest.approx(official[theirs]), ours
    assert official.get("NoAns_exact") == official.get("NoAns_f1")
    assert scored.details["best_f1_threshold"] == official["best_f1_thresh"]
    assert scored.details["best_exact_match_threshold"] == official["best_exact_thresh"]
    assert scored.details["has_answer"] == official.get("HasAns_total", 0)
