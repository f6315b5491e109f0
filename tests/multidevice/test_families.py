"""Each family with its objectives on 1 and 2x2x2 fake devices: the same rows seen, equal losses, one compilation."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="module")
def runs(on_eight_devices) -> dict:
    return on_eight_devices("families_run.py")


def test_rows_are_corrupted_alike(runs):
    for family, meshes in runs.items():
        assert meshes["2x2x2"]["seen"] == meshes["1"]["seen"], family
    weights = {family: np.sum(meshes["1"]["seen"]["slot_weight"]) for family, meshes in runs.items()}
    assert min(weights.values()) > 30
    assert 1 in runs["albert"]["1"]["seen"]["label"] and 0 in runs["albert"]["1"]["seen"]["label"]
    assert np.sum(runs["spanbert"]["1"]["seen"]["span_weight"]) > 10


def test_losses_are_equal_to_one_millionth(runs):
    for family, meshes in runs.items():
        for one, many in zip(meshes["1"]["figures"], meshes["2x2x2"]["figures"], strict=True):
            assert one.keys() == many.keys()
            np.testing.assert_allclose(many["loss"], one["loss"], rtol=1e-6, err_msg=family)
            np.testing.assert_allclose(many["update_norm"], one["update_norm"], rtol=1e-5, err_msg=family)
        for term, value in meshes["1"]["judged"].items():
            np.testing.assert_allclose(meshes["2x2x2"]["judged"][term], value, rtol=1e-5, err_msg=family)


def test_terms_are_all_there(runs):
    terms = {family: set(meshes["1"]["judged"]) for family, meshes in runs.items()}
    assert terms == {
        "roberta": {"masked_lm"},
        "albert": {"masked_lm", "sentence_order"},
        "spanbert": {"masked_lm", "span_boundary"},
        "distilbert": {"masked_lm", "soft_targets", "cosine"},
    }


def test_a_step_is_compiled_once(runs):
    assert {run["compilations"] for meshes in runs.values() for run in meshes.values()} == {1}


def test_the_teacher_is_sharded(runs):
    teachers = {name: run["teacher_bytes"] for name, run in runs["distilbert"].items()}
    assert 0 < teachers["2x2x2"] < 0.3 * teachers["1"]
