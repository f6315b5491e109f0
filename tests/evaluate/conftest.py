"""Fixtures of the evaluations."""

from __future__ import annotations

from pathlib import Path

import pytest

from jaxbert.use.library import Loaded
from tests.evaluate import models


@pytest.fixture(scope="session", params=models.FAMILY_NAMES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A tiny model of each family."""
    family: str = request.param
    return models.model(family, tmp_path_factory.getbasetemp() / f"family-{family}")


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return models.model("bert", tmp_path_factory.getbasetemp() / "family-bert")


@pytest.fixture(scope="session")
def directory(bert: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of `bert` as files."""
    written = tmp_path_factory.mktemp("models") / "tiny"
    bert.save(written)
    return written
