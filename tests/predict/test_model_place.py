"""MODEL in every place: directories, runs, and URLs, here of fsspec's filesystem in memory. Buckets: tests/cloud."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

import jaxbert
from jaxbert.config import RunConfig, TaskConfig, save_json
from jaxbert.errors import InputError
from jaxbert.evaluate import evaluation
from jaxbert.evaluate.labelled_file import judge_file
from jaxbert.observe import provenance
from jaxbert.stores.steps import write_manifest
from jaxbert.use.library import Loaded
from jaxbert.use.model_place import ModelPlace, find_model, local_copy


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty bucket."""
    monkeypatch.setenv("JAXBERT_CACHE", str(tmp_path / "cache"))
    files = fsspec.filesystem("memory")
    yield "memory://bucket"
    files.rm("/bucket", recursive=True)


def put(place: Path, url: str) -> None:
    fsspec.filesystem("memory").put(f"{place}/", f"{url.removeprefix('memory:/')}/", recursive=True)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A workdir with three checkpoints that hold nothing but a file; the first is the best."""
    workdir = tmp_path / "run"
    for step, loss in ((10, 1.0), (20, 2.0), (30, None)):
        (workdir / "checkpoints" / str(step)).mkdir(parents=True)
        (workdir / "checkpoints" / str(step) / "array").write_bytes(b"x" * step)
        write_manifest(workdir, step, {"validation_loss": loss})
    save_json(RunConfig(name="run"), workdir / "config.json")
    return workdir


def test_directories(directory: Path, run: Path) -> None:
    assert find_model(directory) == ModelPlace(str(directory), directory, run=False)
    assert find_model(str(run)) == ModelPlace(str(run), run, run=True)
    assert find_model(run / "checkpoints" / "20") == ModelPlace(str(run / "checkpoints/20"), run, run=True, step=20)


def test_what_is_no_model(run: Path, tmp_path: Path) -> None:
    (run / "checkpoints" / "newest").mkdir()
    (tmp_path / "empty").mkdir()
    for place, code in (
        (run / "checkpoints" / "99", "E-MODEL-MISSING"),
        (run / "checkpoints" / "newest", "E-MODEL-STEP"),
        (tmp_path / "empty", "E-MODEL-NONE"),
        (tmp_path / "nowhere", "E-MODEL-MISSING"),
    ):
        with pytest.raises(InputError, match=code):
            find_model(place)


def test_a_published_model_at_a_url_is_loaded(directory: Path, url: str, model: Loaded) -> None:
    put(directory, f"{url}/model")
    loaded = jaxbert.load(f"{url}/model")
    assert loaded.source == f"{url}/model" and loaded.step is None and loaded.path is not None
    batch = model.batch(["w1 w2 [MASK]"])
    np.testing.assert_allclose(
        loaded.encode(loaded.params, **batch), model.encode(model.params, **batch), rtol=1e-5, atol=1e-6
    )
    # A second call finds the copy, and what has changed since.
    fsspec.filesystem("memory").rm_file("/bucket/model/vocab.txt")
    fsspec.filesystem("memory").rm_file("/bucket/model/tokenizer.json")
    assert jaxbert.load(f"{url}/model/").tokenizer is None


def test_a_run_at_a_url_brings_its_best_and_newest_checkpoint_or_the_one_that_is_named(run: Path, url: str) -> None:
    put(run, f"{url}/run")

    def steps(place: Path) -> list[str]:
        return sorted(path.parent.name for path in place.glob("checkpoints/*/array"))

    found = find_model(f"{url}/run")
    assert (found.run, found.step, steps(found.path)) == (True, None, ["10", "30"])
    assert sorted(path.parent.name for path in found.path.glob("checkpoints/*/manifest.json")) == ["10", "30"]
    named = find_model(f"{url}/run/checkpoints/20")
    assert (named.run, named.step, named.path) == (True, 20, found.path) and "20" in steps(named.path)
    assert (named.path / "checkpoints/20/array").read_bytes() == b"x" * 20


def test_nothing_at_a_url_leaves_nothing(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXBERT_CACHE", str(tmp_path))
    fsspec.filesystem("memory").pipe_file("/bucket/other", b"x")
    with pytest.raises(InputError, match="E-MODEL-URL"):
        local_copy(f"{url}/nothing")
    with pytest.raises(InputError, match="E-MODEL-URL"):
        jaxbert.load(f"{url}/nothing")
    assert not [path for path in (tmp_path / "runs").iterdir() if "nothing" in path.name]


def test_what_cannot_be_evaluated(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="E-EVALUATE-NAME-ROWS"):
        evaluation.evaluate(str(directory))
    monkeypatch.setattr(evaluation, "Rows", lambda *_, **__: [])
    with pytest.raises(InputError, match=r"rows.*E-EVALUATE-NO-ROWS"):
        evaluation.evaluate(str(directory), str(tmp_path / "rows"))


def test_what_has_not_learned_labels_is_not_judged_on_them(directory: Path, run: Path) -> None:
    for model, why in ((directory, "published model"), (run, "has not learned from labels")):
        with pytest.raises(InputError, match=rf"{why}.*E-EVALUATE-TEST"):
            judge_file(str(model), "any.csv")


def test_counts_guess_no_targets_of_another_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows and the run stand for those of a task that masks no tokens."""

    class AnyRows:
        length = 8

        def __init__(self, *_: object, **__: object):
            pass

        def __len__(self) -> int:
            return 1

        def require(self, **_: object) -> None:
            pass

    other = RunConfig(name="run", task=TaskConfig(name="token_targets"))
    judged = types.SimpleNamespace(place=tmp_path, config=other, tokenizer=types.SimpleNamespace(hash=""))
    monkeypatch.setattr(evaluation, "Rows", AnyRows)
    monkeypatch.setattr(evaluation, "_judged", lambda _: judged)
    monkeypatch.setattr(evaluation, "_on_one_device", lambda *_: other)
    with pytest.raises(InputError, match=r"token_targets.*E-EVALUATE-BASELINES"):
        evaluation.evaluate("model", "rows", baselines=True)


def test_a_checkpoint_without_its_manifest_tells_nothing(run: Path) -> None:
    next((run / "checkpoints" / "20").glob("*manifest*")).write_text("{")
    with pytest.raises(InputError, match=r"step 20.*E-CHECKPOINT-MANIFEST"):
        provenance.of_run(run, 20)
