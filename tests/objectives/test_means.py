"""The means of an evaluation: exact over many batches, no figure where there is no item, and what a constant scores."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.core.metrics import Metric, TermInfo, to_json
from jaxbert.evaluate import evaluation
from jaxbert.evaluate.evaluation import constant_answers, evaluate_rows, lines, measures
from jaxbert.objectives.base import Term, means

TASK: Any = SimpleNamespace(
    per_token=(),
    terms={"masked_lm": TermInfo(1.0, "masked LM"), "next_sentence": TermInfo(0.5, "next sentence")},
    measure=means,
    collate=None,
    fields={},
)
METRICS = (Metric("masked_lm_accuracy", "masked-LM accuracy", "mlm"), Metric("next_sentence_accuracy", "nsp", "nsp"))


def term(total: float, weight: float, right: float, ones: float | None = None) -> Term:
    made = [None if value is None else jnp.float32(value) for value in (total, weight, right, ones)]
    return Term(made[0], made[1], {"accuracy": made[2]}, made[3])  # type: ignore[arg-type]


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_an_evaluation_is_a_mean_in_float64(monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    """float32 has no 16777217, and its third has other digits."""
    given = [{"masked_lm": term(16777216.0, 3.0, 1.0)}, *[{"masked_lm": term(1.0, 4.0, 3.0)}] * (batches - 1)]
    program: Any = SimpleNamespace(
        task=TASK, judge=None, evaluate=lambda params, frozen, batch, number: given[int(number)]
    )

    class Batches(list[None]):
        def length(self, index: int) -> int:
            return 8

    monkeypatch.setattr(evaluation, "FixedBatches", lambda *args, **kwargs: Batches([None] * batches))
    monkeypatch.setattr(evaluation, "global_batch", lambda *args: {})
    config: Any = SimpleNamespace(evaluation=SimpleNamespace(batch_size=2, batches=0))
    rows: Any = [SimpleNamespace(length=8)]
    mesh: Any = None
    found = evaluate_rows(program, {}, {}, rows, mesh, config=config)
    weight = 3.0 + 4.0 * (batches - 1)
    assert found["masked_lm_loss"] == found["loss"] == (16777216.0 + batches - 1) / weight
    assert found["masked_lm_accuracy"] == (1.0 + 3.0 * (batches - 1)) / weight


def sums(**terms: Term) -> dict[str, Term]:
    return jax.tree.map(lambda value: np.float64(value), terms)


def test_a_term_without_an_item_has_no_figure() -> None:
    found = measures(TASK, sums(masked_lm=term(6.0, 3.0, 1.0), next_sentence=term(0.0, 0.0, 0.0, 0.0)))
    assert found == {"loss": 2.0, "masked_lm_loss": 2.0, "masked_lm_accuracy": pytest.approx(1 / 3, abs=1e-15)}
    about = {
        "directories": [str(Path("rows"))],
        "rows_in_all": 9,
        "conditions": "",
        "terms": {name: info.title for name, info in TASK.terms.items()},
        "metrics": to_json(METRICS),
    }
    shown = lines({**found, "rows": 5, "evaluated": about})
    assert shown[1:] == [
        "  masked LM   loss 2.0000   accuracy 33.3%",
        "  next sentence   nothing to judge: no row has an item of it",
    ]


def test_what_a_constant_answer_scores() -> None:
    """In rows of which two thirds are random, the accuracy by chance is not one half."""
    for ones, expected in ((31.0, 31 / 46), (15.0, 31 / 46), (23.0, 0.5)):
        judged = sums(next_sentence=term(23.0, 46.0, 31.0, ones), masked_lm=term(1.0, 1.0, 1.0))
        assert constant_answers(judged) == {"next_sentence": pytest.approx(expected)}
    assert constant_answers(sums(next_sentence=term(0.0, 0.0, 0.0, 0.0))) == {}


def test_a_step_without_an_item_has_no_figure_either() -> None:
    found = jax.jit(means)({"next_sentence": term(0.0, 0.0, 0.0), "masked_lm": term(3.0, 2.0, 1.0)})
    assert np.isnan(found["next_sentence_accuracy"]) and np.isnan(found["next_sentence_loss"])
    assert (found["masked_lm_loss"], found["masked_lm_accuracy"]) == (1.5, 0.5)
