"""Runs a user's own program around `jaxbert.load` with only jax and optax.

It also runs every block of docs/tutorials/migration.md.
"""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import jaxbert
from jaxbert.errors import InputError
from tests.convert import foreign_loop, page
from tests.convert.comparison import RULE

GOLDENS = Path(__file__).parent.parent / "goldens" / "flax"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models that the page opens."""
    place = tmp_path_factory.mktemp("user")
    page.prepare(place, GOLDENS)
    return place


# ----------------------------------------------------------------------------------------------------------------------
# The migration page

BLOCKS = page.blocks()
AFTER = [name for when, name in BLOCKS if when == "after"]
BEFORE = load_file(GOLDENS / "migration.safetensors")


def test_the_page_has_both_sides() -> None:
    assert {name for when, name in BLOCKS if when == "before"} == set(page.RESULTS) <= set(AFTER)
    recorded = {f"{name}/{variable}" for name, variables in page.RESULTS.items() for variable in variables}
    assert recorded == set(BEFORE)


@pytest.mark.parametrize("name", AFTER)
def test_after_gives_the_numbers_of_before(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(folder)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not used by|.*left out.*")
        found = page.execute(name, BLOCKS["after", name])
    for variable in page.RESULTS.get(name, ()):
        ours, theirs = np.asarray(found[variable]), BEFORE[f"{name}/{variable}"]
        assert ours.shape == theirs.shape, variable
        if name == "the tree":
            np.testing.assert_array_equal(ours, theirs)
            continue
        if variable in ("hidden", "layers"):  # what stands at padding is nobody's business
            real = found["batch"]["group"] == 1
            assert not real.all()
            ours, theirs = ours[..., real, :], theirs[..., real, :]
        error, norm = np.linalg.norm(ours - theirs), np.linalg.norm(theirs)
        assert error <= RULE["float32"][0] * norm, (variable, error / norm)
    if name == "packed rows":
        np.testing.assert_allclose(found["together"][-len(found["alone"]) :], found["alone"], rtol=0, atol=1e-6)
    if name == "saving":
        assert found["same"]
    if name == "masked LM":
        np.testing.assert_allclose(found["masked"][:, 0], found["logits"][:, 3], rtol=0, atol=1e-5)
    if name == "bfloat16":
        ours, theirs = np.asarray(found["hidden"], np.float32), BEFORE["hidden states/hidden"]
        assert found["hidden"].dtype == jnp.bfloat16
        real = found["batch"]["group"] == 1
        assert 0 < np.abs(ours - theirs)[real].max() < 0.1
    if name == "several devices":
        assert found["hidden"].shape[0] == 2 * jax.device_count()
        assert len(found["hidden"].sharding.device_set) == jax.device_count()


# ----------------------------------------------------------------------------------------------------------------------
# A program of one's own

SUBJECTS, REST = ("cat", "dog"), ("the", "sat", "on", "mat", "a", "is")


@pytest.fixture(scope="module")
def start(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked-LM model as somebody saved it, with dropout."""
    source, saved = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("saved") / "masked-lm"
    for file in (GOLDENS / "FlaxBertForMaskedLM").iterdir():
        shutil.copy(file, source)
    shutil.copy(folder / "my-bert" / "vocab.txt", source)
    jaxbert.load(source).save(saved)
    return saved


def rows(count: int) -> tuple[list[str], np.ndarray]:
    """Texts about a cat or a dog, and which."""
    rng, labels = np.random.default_rng(3), np.arange(count) % 2
    texts = []
    for label in labels:
        words = list(rng.choice(REST, rng.integers(2, 8)))
        words.insert(int(rng.integers(0, len(words) + 1)), SUBJECTS[label])
        texts.append(" ".join(words))
    return texts, labels


def test_a_classifier_from_a_masked_lm(start: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InputError, match=r"sequence_classification.*E-MODEL-HEAD"):
        bare = jaxbert.load(start)
        bare.sequence_classification(bare.params, jnp.zeros((1, 3, 8)))
    model = jaxbert.load(start, heads={"sequence_classification": 2}, seed=1)
    assert "starts at random" in caplog.text
    assert model.config.dropout == model.config.attention_dropout == 0.1
    texts, labels = rows(32)
    batch = model.batch(texts)
    logits, loss = foreign_loop.classifier(model, batch, labels)
    params, losses = foreign_loop.train(model, loss, 120, 2e-2)
    assert losses[0] > 0.5
    assert losses[-10:].mean() < 0.2
    assert len(np.unique(losses)) > 100
    trained = np.asarray(jax.jit(logits)(params))
    assert (trained.argmax(-1) == labels).mean() >= 0.95
    changed = jax.tree.map(lambda old, new: bool((old != new).any()), model.params, params)
    assert all(jax.tree.leaves({name: changed[name] for name in ("pooler", "sequence_classification")}))

    model.params = params
    model.save(tmp_path / "classifier")
    again = jaxbert.load(tmp_path / "classifier")
    assert set(again.params) == {"encoder", "pooler", "masked_lm", "sequence_classification"}
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    np.testing.assert_array_equal(np.asarray(jax.jit(logits)(again.params)), trained)


def test_a_masked_lm_of_one_s_own(start: Path) -> None:
    model = jaxbert.load(start)
    assert model.tokenizer is not None
    texts, _ = rows(32)
    loss = foreign_loop.masked_lm(model, model.batch(texts), model.tokenizer.mask_id, specials=5)
    _, losses = foreign_loop.train(model, loss, 120, 2e-2)
    # Eight words are in the texts: whoever knows nothing but them is at log 8, or 2.08.
    assert losses[0] > 3.0
    assert losses[-20:].mean() < 2.2


def test_maps_over_models_and_over_rows(start: Path) -> None:
    """vmap over stacked parameters gives what each gives alone, and over rows a gradient for each."""
    model = jaxbert.load(start)
    batch = model.batch(rows(4)[0])
    tokens, group = jnp.asarray(batch["tokens"]), jnp.asarray(batch["group"])

    def encode(params: Any, tokens: jax.Array, group: jax.Array) -> jax.Array:
        return model.encode(params, tokens, group=group)

    other = jax.tree.map(lambda leaf: leaf * 1.1, model.params)
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), model.params, other)
    alone = jax.jit(encode)
    models = jax.jit(jax.vmap(encode, in_axes=(0, None, None)))(both, tokens, group)
    np.testing.assert_allclose(models[0], alone(model.params, tokens, group), rtol=0, atol=1e-5)
    np.testing.assert_allclose(models[1], alone(other, tokens, group), rtol=0, atol=1e-5)

    def of_a_row(params: Any, tokens: jax.Array, group: jax.Array) -> jax.Array:
        return jnp.sum(encode(params, tokens[None], group[None])[0, 0] ** 2)

    gradients = jax.jit(jax.vmap(jax.grad(of_a_row), in_axes=(None, 0, 0)))(model.params, tokens, group)
    whole = jax.jit(jax.grad(lambda params: jnp.sum(encode(params, tokens, group)[:, 0] ** 2)))(model.params)
    for each, total in zip(jax.tree.leaves(gradients), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(each.sum(0), total, rtol=0, atol=1e-3)
