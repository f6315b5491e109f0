"""Scores of numbers and of minimal pairs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

from jaxbert.core.metrics import from_json, to_json
from jaxbert.errors import InputError
from jaxbert.scores import numbers, pairs


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_numbers_have_the_values_of_scipy():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 6, 300) / 1.25  # many ties
    found = targets + rng.normal(size=300)
    found[::7] = found[0]
    values = numbers.score(found[:, None].astype(np.float32), targets).values
    assert values["pearson"] == pytest.approx(stats.pearsonr(found, targets).statistic, rel=1e-5)
    assert values["spearman"] == pytest.approx(stats.spearmanr(found, targets).statistic)
    assert values["squared_error"] == pytest.approx(((found - targets) ** 2).mean(), rel=1e-5)
    assert values["absolute_error"] == pytest.approx(np.abs(found - targets).mean(), rel=1e-5)


def test_ties_have_their_mean_rank():
    # Ranks 1.5 1.5 3 4 and 1 2 3.5 3.5: the Pearson correlation of these is 8/9.
    assert numbers.score([1, 1, 2, 3], [1, 2, 3, 3]).values["spearman"] == pytest.approx(4 / 4.5)


@pytest.mark.parametrize(
    ("found", "targets", "word"),
    [([1, 1, 1], [1, 2, 3], "predicted"), ([1, 2, 3], [2, 2, 2], "right"), ([1], [1], "One example")],
)
def test_a_constant_has_no_correlation(found, targets, word: str):
    scored = numbers.score(found, targets)
    assert np.isnan(scored.values["pearson"]) and np.isnan(scored.values["spearman"])
    assert np.isfinite(scored.values["squared_error"]) and word in scored.notes[0]


def test_nearly_constant_numbers_do_not_warn():
    assert np.isfinite(numbers.score(1e8 + np.array([0, 1e-8, 2e-8, 3e-8]), [1, 2, 3, 5]).values["squared_error"])


def test_numbers_without_a_target_are_left_out():
    scored = numbers.score([1, 5, 2, 4], [1, np.nan, 2, 3])
    assert scored.examples == 3 and scored.values == numbers.score([1, 2, 4], [1, 2, 3]).values


@pytest.mark.parametrize(
    ("found", "targets", "code"),
    [
        ([], [], "E-SCORES-EMPTY"),
        ([1.0], [np.nan], "E-SCORES-EMPTY"),
        ([1.0, 2.0], [1.0], "E-SCORES-SHAPE"),
        (np.zeros((2, 2)), [1.0, 2.0], "E-SCORES-SHAPE"),
        ([1.0, np.nan], [1.0, 2.0], "E-SCORES-NAN"),
        ([1.0, 2.0], [1.0, np.inf], "E-SCORES-TARGET"),
    ],
)
def test_what_does_not_fit_is_refused(found, targets, code: str):
    with pytest.raises(InputError) as error:
        numbers.score(found, targets)
    assert error.value.code == code


def test_pairs_count_ties_half():
    scored = pairs.score([-1, -2, -3, -4], [-2, -1, -3, -5], ["a", "a", "b", "a"])
    assert scored.values == {"accuracy": 0.625, "group_accuracy": pytest.approx((2 / 3 + 0.5) / 2), "ties": 0.25}
    assert scored.details == {
        "pairs": 4,
        "ties": 1,
        "by_group": {
            "a": {"accuracy": pytest.approx(2 / 3), "pairs": 3, "ties": 0},
            "b": {"accuracy": 0.5, "pairs": 1, "ties": 1},
        },
    }
    assert pairs.score([1, 2], [0, 3]).details["by_group"] == {}


@pytest.mark.parametrize(
    ("good", "bad", "groups", "code"),
    [
        ([], [], [], "E-SCORES-EMPTY"),
        ([1.0], [1.0, 2.0], [], "E-SCORES-SHAPE"),
        ([1.0], [2.0], ["a", "b"], "E-SCORES-SHAPE"),
        ([1.0, np.nan], [2.0, 3.0], [], "E-SCORES-NAN"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(good, bad, groups, code: str):
    with pytest.raises(InputError) as error:
        pairs.score(good, bad, groups)
    assert error.value.code == code


def test_metrics_keep_whether_higher_is_better():
    assert from_json(to_json(numbers.METRICS)) == list(numbers.METRICS)
    old = [{"name": name, "title": name, "short": name} for name in ("x_loss", "x_accuracy")]
    assert [metric.higher for metric in from_json(old)] == [False, True]
