"""Scores of labels and of choices: the values of scikit-learn, and odd cases."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from jaxbert.errors import InputError
from jaxbert.scores import classes


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def drawn(count: int, labels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, labels, count)
    return rng.normal(size=(count, labels)) + 1.2 * np.eye(labels)[targets], targets


@pytest.mark.parametrize("labels", [2, 3, 7])
def test_one_label_has_the_values_of_sklearn(labels: int):
    logits, targets = drawn(400, labels)
    names = [f"label {number}" for number in range(labels)]
    scored = classes.one_label(logits.astype(np.float32), targets, names)
    found = logits.astype(np.float32).argmax(1)
    assert scored.values["accuracy"] == pytest.approx(sk.accuracy_score(targets, found))
    assert scored.values["macro_f1"] == pytest.approx(sk.f1_score(targets, found, average="macro"))
    assert scored.values["matthews"] == pytest.approx(sk.matthews_corrcoef(targets, found))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert scored.values["log_loss"] == pytest.approx(sk.log_loss(targets, probabilities), rel=1e-5)
    assert ("f1" in scored.values) == (labels == 2)
    if labels == 2:
        assert scored.values["f1"] == pytest.approx(sk.f1_score(targets, found))
    assert scored.details["confusion"] == sk.confusion_matrix(targets, found).tolist()
    p, r, f, s = sk.precision_recall_fscore_support(targets, found)
    for number, name in enumerate(names):
        assert list(scored.details["by_label"][name].values()) == pytest.approx(
            [p[number], r[number], f[number], s[number]]
        )
    assert set(scored.values) == {metric.name for metric in scored.metrics} and not scored.notes


def test_examples_without_a_label_are_left_out():
    logits, targets = drawn(50, 3)
    some = targets.copy()
    some[::5] = -1
    whole = classes.one_label(logits[some >= 0], targets[some >= 0], "abc")
    assert classes.one_label(logits, some, "abc") == whole and whole.examples == 40


def test_a_label_that_is_never_right_has_f1_0_and_one_that_does_not_occur_counts_for_nothing():
    # Right a a b b, predicted a a a c; d does not occur.
    logits = np.eye(4)[[0, 0, 0, 2]]
    scored = classes.one_label(logits, np.array([0, 0, 1, 1]), ["a", "b", "c", "d"])
    assert scored.values["macro_f1"] == pytest.approx(0.8 / 3)
    assert scored.details["by_label"]["d"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}
    assert scored.notes == ("No example has the labels 'c', 'd'.", "The model never predicts the label 'b'.")


def test_one_answer_for_all_has_no_matthews_correlation():
    scored = classes.one_label(np.array([[2.0, 0], [2, 0], [2, 0]]), np.array([0, 1, 0]), ["no", "yes"])
    assert (scored.values["matthews"], scored.values["f1"]) == (0, 0)
    assert any("Matthews" in note for note in scored.notes)
    assert classes.one_label(np.zeros((2, 1)), np.zeros(2, int), ["only"]).values["accuracy"] == 1


def test_calibration_is_the_mean_distance_of_confidence_and_accuracy():
    # Two of three are right at confidence 0.9, and both at 0.6: (3 |2/3 - 0.9| + 2 |1 - 0.6|) / 5.
    confidence, right = np.array([0.9, 0.9, 0.9, 0.6, 0.6]), np.array([0, 0, 1, 0, 0])
    scored = classes.one_label(np.log(np.stack([confidence, 1 - confidence], 1)), right, ["a", "b"])
    assert scored.values["calibration_error"] == pytest.approx((3 * (0.9 - 2 / 3) + 2 * 0.4) / 5)
    bins = scored.details["calibration"]
    assert [one["count"] for one in bins] == [0] * 8 + [2, 0, 0, 0, 0, 3, 0]
    assert bins[13]["accuracy"] == pytest.approx(2 / 3) and bins[0]["accuracy"] is None
    assert classes.one_label(np.array([[1e4, 0]]), np.array([0]), ["a", "b"]).details["calibration"][14]["count"] == 1


def test_several_labels_have_the_values_of_sklearn():
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 2, (200, 5)).astype(np.uint8)
    logits = rng.normal(size=(200, 5)) + targets - 0.5
    names = list("abcde")
    scored = classes.several_labels(logits, targets, names)
    found = (logits > 0).astype(int)
    assert scored.values["micro_f1"] == pytest.approx(sk.f1_score(targets, found, average="micro"))
    assert scored.values["macro_f1"] == pytest.approx(sk.f1_score(targets, found, average="macro"))
    assert scored.values["subset_accuracy"] == pytest.approx(sk.accuracy_score(targets, found))
    losses = [sk.log_loss(targets[:, c], 1 / (1 + np.exp(-logits[:, c]))) for c in range(5)]
    assert scored.values["log_loss"] == pytest.approx(np.mean(losses))
    p, r, f, s = sk.precision_recall_fscore_support(targets, found)
    for number, name in enumerate(names):
        assert list(scored.details["by_label"][name].values()) == pytest.approx(
            [p[number], r[number], f[number], s[number]]
        )
    unknown = np.vstack([targets, np.full((3, 5), 255, np.uint8)])
    assert classes.several_labels(np.vstack([logits, logits[:3]]), unknown, names) == scored


def test_several_labels_without_any():
    scored = classes.several_labels(-np.ones((4, 2)), np.zeros((4, 2), np.uint8), ["a", "b"])
    assert scored.values["micro_f1"] == scored.values["macro_f1"] == 0 and scored.values["subset_accuracy"] == 1
    assert scored.notes == ("No example has the labels 'a', 'b'.",)


def test_choices_may_be_missing():
    logits = np.array([[0.0, 1, 2], [3, 1, -np.inf], [0, 1, -np.inf], [0, 0, 0]])
    scored = classes.choices(logits, np.array([2, 0, 0, -1]))
    assert scored.values["accuracy"] == pytest.approx(2 / 3) and scored.examples == 3
    assert scored.details["right"] == [2, 0, 1] and scored.details["predicted"] == [1, 1, 1]
    expected = -np.log([np.e**2 / (1 + np.e + np.e**2), np.e**3 / (np.e + np.e**3), 1 / (1 + np.e)]).mean()
    assert scored.values["log_loss"] == pytest.approx(expected)


def test_large_inputs_have_the_same_values_in_parts(monkeypatch):
    logits, targets = drawn(100, 3)
    whole = classes.one_label(logits, targets, "abc")
    several = classes.several_labels(logits, np.eye(3, dtype=np.uint8)[targets], "abc")
    monkeypatch.setattr(classes, "_CHUNK", 7)
    assert classes.one_label(logits, targets, "abc").values == pytest.approx(whole.values)
    assert classes.several_labels(logits, np.eye(3, dtype=np.uint8)[targets], "abc").values == pytest.approx(
        several.values
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(monkeypatch, value: float):
    monkeypatch.setattr(classes, "_CHUNK", 4)
    logits, targets = drawn(10, 3)
    logits[6, 1] = value
    for call in (
        lambda: classes.one_label(logits, targets, "abc"),
        lambda: classes.choices(logits, targets),
        lambda: classes.several_labels(logits, np.eye(3, dtype=np.uint8)[targets], "abc"),
    ):
        with pytest.raises(InputError) as error:
            call()
        assert error.value.code == "E-SCORES-NAN" and error.value.where == "example 6"


@pytest.mark.parametrize(
    ("logits", "targets", "code"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), "E-SCORES-EMPTY"),
        (np.zeros((2, 3)), np.array([-1, -1]), "E-SCORES-EMPTY"),
        (np.zeros((2, 3)), np.array([0]), "E-SCORES-SHAPE"),
        (np.zeros((2, 4)), np.array([0, 1]), "E-SCORES-SHAPE"),
        (np.zeros(2), np.array([0, 1]), "E-SCORES-SHAPE"),
        (np.zeros((2, 3)), np.array([0, 3]), "E-SCORES-TARGET"),
        (np.zeros((2, 3)), np.array([0, -2]), "E-SCORES-TARGET"),
        (np.zeros((2, 3)), np.array([0.0, 1.0]), "E-SCORES-TARGET"),
    ],
)
def test_what_does_not_fit_is_refused(logits, targets, code: str):
    with pytest.raises(InputError) as error:
        classes.one_label(logits, targets, "abc")
    assert error.value.code == code


def test_targets_of_several_labels_are_checked():
    for targets, code in (
        (np.full((2, 3), 2), "E-SCORES-TARGET"),
        (np.zeros((2, 2)), "E-SCORES-TARGET"),
        (np.full((2, 3), 255), "E-SCORES-EMPTY"),
    ):
        with pytest.raises(InputError) as error:
            classes.several_labels(np.zeros((2, 3)), targets, "abc")
        assert error.value.code == code
