"""Intervals: the values of scipy where it has them, coverage, and odd cases."""

from __future__ import annotations

import json
import time
import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from jaxbert.errors import InputError
from jaxbert.scores import classes, entities, intervals, numbers


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


RNG = np.random.default_rng(0)
COUNTS = np.stack([RNG.integers(0, 3, 80), RNG.integers(2, 5, 80), RNG.integers(2, 4, 80)], axis=1)
GOLDS = RNG.integers(0, 3, 120)
FOUND = np.where(RNG.random(120) < 0.7, GOLDS, RNG.integers(0, 3, 120))


def entity_f1(places: np.ndarray, axis: int = -1) -> np.ndarray:
    right, found, true = np.moveaxis(COUNTS[places].sum(axis=-2 if axis == -1 else axis), -1, 0)
    return 2 * right / (found + true)


@pytest.mark.parametrize(("method", "theirs"), [("bca", "BCa"), ("percentile", "percentile")])
def test_sums_have_the_interval_of_scipy(method, theirs: str):
    """scipy takes another sample of resamples, so both have many."""
    ours = intervals.intervals(intervals.of_entities(COUNTS), method=method, resamples=20_000)["entity_f1"]
    found = stats.bootstrap(
        (np.arange(len(COUNTS)),),
        entity_f1,
        n_resamples=20_000,
        method=theirs,
        batch=1000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert ours.value == pytest.approx(float(entity_f1(np.arange(len(COUNTS)))))
    assert (ours.low, ours.high) == pytest.approx((found.low, found.high), abs=0.003)
    assert ours.method == method


def test_bca_of_given_resamples_is_that_of_scipy():
    values = np.random.default_rng(2).exponential(size=30)
    drawn = np.random.default_rng(3).choice(values, (999, 30)).mean(axis=1)
    result = stats.bootstrap((values,), np.mean, n_resamples=2, method="percentile")
    result.bootstrap_distribution = drawn
    theirs = stats.bootstrap((values,), np.mean, n_resamples=0, bootstrap_result=result, method="BCa")
    without = (values.sum() - values) / 29
    ours = intervals.bootstrapped(values.mean(), drawn, without, np.ones(30, int))
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), rel=1e-9)


def test_the_values_are_those_of_the_scores():
    found = intervals.intervals(intervals.of_labels(GOLDS, FOUND, 3))
    scored = classes.one_label(np.eye(3)[FOUND], GOLDS, "abc")
    assert {name: one.value for name, one in found.items()} == pytest.approx(
        {name: scored.values[name] for name in ("accuracy", "macro_f1", "matthews")}
    )
    assert all(one.low < one.value < one.high for one in found.values())
    assert found["accuracy"].method == "wilson" and found["matthews"].method == "bca"
    two = intervals.intervals(intervals.of_labels(GOLDS % 2, FOUND % 2, 2))
    assert two["f1"].value == pytest.approx(sk.f1_score(GOLDS % 2, FOUND % 2))

    targets, several = RNG.integers(0, 2, (60, 4)), RNG.random((60, 4)) < 0.5
    found = intervals.intervals(intervals.of_several_labels(several, targets.astype(np.uint8)))
    scored = classes.several_labels(np.where(several, 1.0, -1.0), targets, "abcd")
    assert {name: one.value for name, one in found.items()} == pytest.approx(
        {name: scored.values[name] for name in ("micro_f1", "macro_f1", "subset_accuracy")}
    )

    texts = [[("A", 0, 0)], [("A", 1, 2), ("B", 0, 0)], []]
    guesses = [[("A", 0, 0)], [("A", 1, 1), ("B", 0, 0)], [("B", 4, 4)]]
    found = intervals.intervals(intervals.of_entities(entities.counts_of(guesses, texts)))
    values = entities.score(guesses, texts).values
    assert {name: one.value for name, one in found.items()} == pytest.approx({name: values[name] for name in found})


def test_examples_without_a_label_are_left_out():
    golds = np.concatenate([GOLDS, [-1, -1]])
    assert intervals.intervals(intervals.of_labels(golds, [*FOUND, 0, 2], 3)) == intervals.intervals(
        intervals.of_labels(GOLDS, FOUND, 3)
    )


def test_an_interval_holds_the_true_value_as_often_as_it_says():
    rng = np.random.default_rng(5)
    held = 0
    for trial in range(200):
        values = rng.exponential(size=40)
        one = intervals.intervals(intervals.of_means({"mean": values}), confidence=0.8, resamples=400, seed=trial)
        held += one["mean"].low < 1 < one["mean"].high
    assert 140 <= held <= 176  # 160 +- 3 standard deviations, and less because the bootstrap of 40 examples is narrow


def test_many_different_rows_have_the_normal_interval(monkeypatch):
    values = np.random.default_rng(7).normal(size=500)
    monkeypatch.setattr(intervals, "MOST_KINDS", 100)
    one = intervals.intervals(intervals.of_means({"mean": values}))["mean"]
    half = 1.959964 * values.std(ddof=1) / np.sqrt(500)
    assert one.method == "normal"
    assert (one.low, one.high) == pytest.approx((values.mean() - half, values.mean() + half))


def test_a_seed_gives_the_same_interval_also_in_parts(monkeypatch):
    sums = intervals.of_entities(COUNTS)
    first = intervals.intervals(sums, seed=3)
    assert intervals.intervals(sums, seed=3) == first != intervals.intervals(sums, seed=4)
    monkeypatch.setattr(intervals, "_CELLS", 1000)
    assert intervals.intervals(sums, seed=3) == first


def test_equal_examples_have_no_width_but_shares_do():
    one = intervals.intervals(intervals.of_means({"f1": np.full(20, 0.5), "right": np.ones(20)}))
    assert (one["f1"].low, one["f1"].high) == (0.5, 0.5)
    assert one["right"].method == "wilson" and one["right"].high == 1 and 0.8 < one["right"].low < 0.9
    alone = intervals.intervals(intervals.of_means({"f1": [0.5]}))["f1"]
    assert (alone.value, alone.low, alone.high) == (0.5, 0.5, 0.5)
    nothing = intervals.intervals(intervals.of_entities(np.zeros((5, 3), int)))["entity_f1"]
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_wilson():
    # Wilson (1927): (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with 8 of 10 and z = 1.959964.
    one = intervals.share(8, 10)
    assert (one.value, one.low, one.high) == pytest.approx((0.8, 0.4901625, 0.9433178), abs=1e-6)
    for count, n in ((0, 1), (1, 1), (3, 7), (950, 1000)):
        theirs = stats.binomtest(count, n).proportion_ci(method="wilson")
        found = intervals.share(count, n)
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    half = intervals.share(7.5, 10)
    assert intervals.share(7, 10).low < half.low < one.low and half.value == 0.75


def test_seeds_have_students_interval():
    one = intervals.over_seeds([0.8, 0.82, 0.87])
    theirs = stats.ttest_1samp([0.8, 0.82, 0.87], 0).confidence_interval()
    assert (one.value, one.low, one.high) == pytest.approx((0.83, theirs.low, theirs.high))
    single = intervals.over_seeds([0.8])
    assert single.value == 0.8 and np.isnan(single.low)
    assert json.loads(json.dumps(single.to_json(), allow_nan=False))["high"] is None


def test_correlations_have_intervals():
    x = np.random.default_rng(1).normal(size=150)
    y = np.round(x + np.random.default_rng(2).normal(size=150), 1)
    found = intervals.correlations(x, y, resamples=500)
    assert found["pearson"].value == pytest.approx(stats.pearsonr(x, y).statistic)
    assert found["spearman"].value == pytest.approx(stats.spearmanr(x, y).statistic)
    fisher = stats.pearsonr(x, y).confidence_interval()
    assert (found["pearson"].low, found["pearson"].high) == pytest.approx(tuple(fisher), abs=0.03)
    assert found["spearman"].method == "bca"


def test_correlations_of_many_pairs_are_transformed(monkeypatch):
    x = np.random.default_rng(1).normal(size=150)
    y = x + np.random.default_rng(2).normal(size=150)
    monkeypatch.setattr(intervals, "MOST_RANKED", 100)
    found = intervals.correlations(x, y)
    fisher = stats.pearsonr(x, y).confidence_interval()
    assert (found["pearson"].low, found["pearson"].high) == pytest.approx(tuple(fisher))
    assert found["spearman"].method == "normal" and found["spearman"].low < found["spearman"].value
    monkeypatch.setattr(intervals, "MOST_RANKED", 200)
    monkeypatch.setattr(intervals, "MOST_JACKKNIFE", 100)
    assert intervals.correlations(x, y, resamples=100)["spearman"].method == "percentile"


def test_odd_correlations():
    constant = intervals.correlations(np.ones(5), np.arange(5.0))
    assert all(np.isnan(one.low) and np.isnan(one.value) for one in constant.values())
    perfect = intervals.correlations(np.arange(20.0), np.arange(20.0), resamples=50)["spearman"]
    assert (perfect.low, perfect.high) == pytest.approx((1, 1))
    few = intervals.correlations(np.array([1.0, 2, 3, 9]), np.array([1.0, 3, 2, 4]), resamples=50)
    assert all(-1 <= one.low <= one.high <= 1 for one in few.values())


def test_what_does_not_fit_is_refused():
    sums = intervals.of_means({"x": [1.0, 2.0]})
    for call, code in (
        (lambda: intervals.intervals(sums, confidence=95), "E-SCORES-CONFIDENCE"),
        (lambda: intervals.over_seeds([]), "E-SCORES-EMPTY"),
        (lambda: intervals.of_means({"x": []}), "E-SCORES-EMPTY"),
        (lambda: intervals.of_labels([-1], [0], 2), "E-SCORES-EMPTY"),
        (lambda: intervals.of_labels([0, 1], [0], 2), "E-SCORES-SHAPE"),
    ):
        with pytest.raises(InputError) as error:
            call()
        assert error.value.code == code


def test_words_are_drawn_by_their_texts():
    """A text whose words are all wrong together makes a wider interval than words by themselves."""
    rng = np.random.default_rng(0)
    golds = rng.integers(0, 3, 2000)
    texts = np.repeat(np.arange(100), 20)
    wrong = np.repeat(rng.random(100) < 0.3, 20)
    predicted = np.where(wrong, (golds + 1) % 3, golds)
    words = intervals.intervals(intervals.of_labels(golds, predicted, 3))
    by_text = intervals.intervals(intervals.of_words(golds, predicted, texts, 3))
    for name in ("accuracy", "macro_f1", "matthews"):
        assert by_text[name].value == pytest.approx(words[name].value)
        assert by_text[name].high - by_text[name].low > 2 * (words[name].high - words[name].low)


def test_bounds_of_ten_thousand_examples_take_no_second():
    """Every example has another value here, and every pair of labels occurs."""
    rng = np.random.default_rng(0)
    golds, values = rng.integers(0, 100, 10_000), rng.normal(size=10_000)
    began = time.process_time()
    found = intervals.bounds_of_sums(intervals.of_labels(golds, rng.permutation(golds), 100))
    found |= intervals.bounds_of_sums(intervals.of_means({"mean": values}))
    found |= numbers.correlation_bounds(values, values + rng.normal(size=10_000))
    assert time.process_time() - began < 2, "about 0.2 s by itself"
    assert found["mean"][0] < values.mean() < found["mean"][1] and found["pearson"][0] > 0.6
