"""The encoder and its heads: shapes, isolation of groups, initial values, presets."""

from __future__ import annotations

import dataclasses
import pickle
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.core import FrozenDict

from jaxbert.config import EncoderConfig
from jaxbert.core.shapes import shapes_of
from jaxbert.core.sharding import LAYOUTS, single_device_mesh
from jaxbert.models.encoder import positions
from jaxbert.models.families import FAMILIES
from jaxbert.models.families.bert import PRESETS
from jaxbert.models.layers import affine, normal, parameter
from jaxbert.models.model import HEADS, Model
from tests.models.sizes import SIZES, size_of

CONFIG = EncoderConfig(
    vocab_size=61,
    vocab_multiple=16,
    hidden_size=24,
    num_layers=2,
    num_heads=3,
    intermediate_size=40,
    max_positions=20,
    initializer_range=0.2,
)
MODEL = Model(CONFIG, HEADS)
ROWS, LENGTH = 2, 14


@pytest.fixture(scope="module")
def initial() -> Any:
    """Initial parameters of three models from one key, compiled together because what they share costs once then."""
    fewer = Model(CONFIG, ["masked_lm"])
    sinusoidal = Model(dataclasses.replace(CONFIG, position_init="sinusoidal"), ())
    key = jax.random.key(0)
    return jax.jit(lambda: {"all": MODEL.init(key), "fewer": fewer.init(key), "sinusoidal": sinusoidal.init(key)})()


@pytest.fixture(scope="module")
def params(initial: Any) -> Any:
    return initial["all"]


def batch(group: list[int] | None = None) -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    return {
        "tokens": jnp.asarray(rng.integers(0, CONFIG.vocab_size, (ROWS, LENGTH)), jnp.int32),
        "types": jnp.asarray(rng.integers(0, 2, (ROWS, LENGTH)), jnp.int32),
        "group": jnp.asarray([group or [1] * LENGTH] * ROWS, jnp.int32),
    }


hidden = jax.jit(MODEL.hidden, static_argnames=("dtype", "all_layers"))


def test_shapes(params: Any) -> None:
    every = hidden(params, batch(), all_layers=True)
    last = hidden(params, batch())
    assert every.shape == (CONFIG.num_layers + 1, ROWS, LENGTH, CONFIG.hidden_size)
    np.testing.assert_array_equal(every[-1], last)
    assert MODEL.pooled(params, last).shape == (ROWS, CONFIG.hidden_size)
    assert MODEL.next_sentence(params, last).shape == (ROWS, 2)
    assert MODEL.masked_lm(params, last[:, :5]).shape == (ROWS, 5, 64)


def test_padded_vocabulary_has_probability_0(params: Any) -> None:
    probability = jax.nn.softmax(MODEL.masked_lm(params, hidden(params, batch())))
    assert float(probability[..., CONFIG.vocab_size :].max()) == 0.0
    np.testing.assert_allclose(probability.sum(-1), 1.0, rtol=1e-5)


def test_bfloat16_stays_near_and_logits_are_float32(params: Any) -> None:
    exact, low = hidden(params, batch()), hidden(params, batch(), dtype=jnp.bfloat16)
    assert low.dtype == jnp.bfloat16
    assert MODEL.masked_lm(params, low).dtype == jnp.float32
    error = jnp.linalg.norm(low.astype(jnp.float32) - exact) / jnp.linalg.norm(exact)
    assert 0 < float(error) < 0.05


GROUPS = [1] * 5 + [2] * 6 + [0] * 3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("equation", ["bld,dhk->blhk", "blhk,hkd->bld", "bmd,vd->bmv", "bd,dc->bc"])
def test_affine_and_its_gradients_are_the_einsums(equation: str, dtype: str) -> None:
    """Kernels as layers and heads hold them; the reference is JAX's own derivative, in float32."""
    sizes = dict(zip("bldhkvmc", (3, 5, 6, 2, 4, 11, 7, 2), strict=True))
    inputs, y_dims = equation.split("->")
    x_dims, w_dims = inputs.split(",")
    b_dims = y_dims[-1:] if len(y_dims) < 4 else y_dims[-2:]
    rng = np.random.default_rng(3)
    x, w, b, dy = (
        jnp.asarray(rng.normal(size=[sizes[d] for d in dims]), dtype) for dims in (x_dims, w_dims, b_dims, y_dims)
    )
    y, back = jax.vjp(lambda *args: affine(*args, equation, None, jnp.dtype(dtype)), x, w, b)
    wide = [part.astype(jnp.float32) for part in (x, w, b)]
    expected, reference = jax.vjp(lambda x, w, b: jnp.einsum(equation, x, w) + b, *wide)
    assert y.dtype == dtype and [g.dtype for g in back(dy)] == [dtype] * 3
    share = 2e-6 if dtype == "float32" else 1e-2
    for found, wanted in zip((y, *back(dy)), (expected, *reference(dy.astype(jnp.float32))), strict=True):
        difference = np.linalg.norm(np.asarray(found, np.float32) - wanted)
        assert difference <= share * np.linalg.norm(wanted)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("changed", [0, 1, 2])
def test_groups_do_not_see_each_other(params: Any, changed: int, dtype: str) -> None:
    """Changing one group changes the outputs of the others by exactly 0, and its own by something."""
    before = batch(GROUPS)
    own = np.asarray(GROUPS) == changed
    after = dict(before, tokens=jnp.where(own, (before["tokens"] + 7) % CONFIG.vocab_size, before["tokens"]))
    a, b = (np.asarray(hidden(params, x, dtype=dtype).astype(jnp.float32)) for x in (before, after))
    np.testing.assert_array_equal(a[:, ~own], b[:, ~own])
    assert np.abs(a[:, own] - b[:, own]).max() > 0.01


def test_a_packed_document_is_the_document_alone(params: Any) -> None:
    packed = batch(GROUPS)
    alone = {name: array[:, 5:11] for name, array in packed.items()}
    np.testing.assert_allclose(hidden(params, packed)[:, 5:11], hidden(params, alone), atol=1e-5)


def test_gradients_do_not_cross_groups(params: Any) -> None:
    """The loss of one group has gradient exactly 0 in the word vectors of the others."""
    row = batch(GROUPS)
    row["tokens"] = jnp.tile(jnp.arange(LENGTH, dtype=jnp.int32), (ROWS, 1))
    gradient = jax.jit(jax.grad(lambda p: (MODEL.hidden(p, row)[:, :5] ** 3).sum()))(params)
    word = np.abs(gradient["encoder"]["embeddings"]["word"]["table"]).max(-1)
    assert (word[:5] > 0).all()
    assert (word[5:] == 0).all()


def test_positions_restart_with_each_group() -> None:
    group = jnp.asarray([[1, 1, 1, 2, 2, 3, 0, 0], [1, 1, 1, 1, 1, 1, 1, 1]])
    np.testing.assert_array_equal(positions(group), [[0, 1, 2, 0, 1, 0, 1, 2], list(range(8))])


def test_positions_go_on_behind_a_zero_of_a_mask() -> None:
    """As transformers counts under an attention mask; a zero between two groups is padding before the second."""
    group = jnp.asarray([[1, 0, 0, 1, 1, 0, 1, 1], [0, 0, 1, 1, 1, 0, 0, 0], [1, 1, 0, 2, 0, 2, 2, 1]])
    np.testing.assert_array_equal(positions(group), [list(range(8)), list(range(8)), [0, 1, 2, 0, 1, 2, 3, 0]])
    # With an offset, what is masked counts unless it is the padding id, which is 1 here.
    tokens = jnp.asarray([[7, 7, 1, 7, 7, 7, 7, 7], [1, 1, 7, 7, 7, 1, 1, 1], [7, 7, 1, 7, 7, 7, 7, 7]])
    np.testing.assert_array_equal(
        positions(group, 2, tokens),
        [[2, 1, 1, 4, 5, 1, 7, 8], [1, 1, 2, 3, 4, 1, 1, 1], [2, 3, 1, 2, 1, 4, 5, 2]],
    )


@pytest.mark.parametrize(
    ("name", "wrong"), [("tokens", 61), ("tokens", 63), ("tokens", -1), ("types", -1), ("types", 2)]
)
def test_an_id_that_the_model_does_not_know_makes_its_row_nan(params: Any, name: str, wrong: int) -> None:
    """Behind the vocabulary the table has rows of padding, and Python counts negative ids from the end."""
    assert (CONFIG.vocab_size, CONFIG.padded_vocab_size) == (61, 64)
    given = batch()
    given[name] = given[name].at[1, 2].set(wrong)
    found = np.asarray(hidden(params, given))
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()


@pytest.mark.parametrize("kind", [dict, FrozenDict])
def test_parameters_may_be_any_mapping_of_numpy_arrays(params: Any, kind: Any) -> None:
    given = kind(jax.tree.map(np.asarray, params))
    expected = hidden(params, batch())
    np.testing.assert_allclose(MODEL.hidden(given, batch()), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(hidden(given, batch()), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(MODEL.masked_lm(given, expected), MODEL.masked_lm(params, expected), rtol=0, atol=1e-5)


def test_a_model_pickles(params: Any) -> None:
    again = pickle.loads(pickle.dumps(MODEL))
    np.testing.assert_allclose(again.hidden(params, batch()), hidden(params, batch()), rtol=0, atol=1e-5)
    assert (again.heads, again.sizes, again.names) == (MODEL.heads, MODEL.sizes, MODEL.names)


def test_an_id_outside_the_vocabulary_is_loud(params: Any) -> None:
    wrong = batch()
    wrong["tokens"] = wrong["tokens"].at[0, 0].set(1000)
    assert bool(jnp.isnan(hidden(params, wrong)[0, 0]).all())


def test_rows_longer_than_the_positions_are_refused(params: Any) -> None:
    long = {name: jnp.ones((1, CONFIG.max_positions + 1), jnp.int32) for name in ("tokens", "types", "group")}
    with pytest.raises(ValueError, match="positions for 20"):
        MODEL.hidden(params, long)


def test_dropout_needs_a_key_and_follows_it(params: Any) -> None:
    run = jax.jit(lambda key: MODEL.hidden(params, batch(), dropout_key=key))
    a, b, c = (np.asarray(run(jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.1
    assert np.abs(a - np.asarray(hidden(params, batch()))).max() > 0.1


def gradient(params: Any, remat: Any) -> Any:
    model = Model(dataclasses.replace(CONFIG, remat=remat), ())
    encoder = {"encoder": params["encoder"]}
    return jax.jit(jax.grad(lambda p: (model.hidden(p, batch()) ** 3).sum()))(encoder)


@pytest.fixture(scope="module")
def plain_gradient(params: Any) -> Any:
    return gradient(params, "none")


@pytest.mark.parametrize("remat", ["dots", "full"])
def test_rematerialisation_changes_no_gradient(params: Any, plain_gradient: Any, remat: str) -> None:
    everything = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(plain_gradient))
    for a, b in zip(jax.tree.leaves(plain_gradient), jax.tree.leaves(gradient(params, remat)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * everything)


def test_initial_values(params: Any) -> None:
    """Truncated at two deviations and not rescaled: 0.8796 of the nominal deviation is left."""
    word = np.asarray(params["encoder"]["embeddings"]["word"]["table"])
    assert np.abs(word).max() <= 2 * CONFIG.initializer_range
    assert abs(word.std() / CONFIG.initializer_range - 0.8796) < 0.05
    layers = params["encoder"]["layers"]
    assert not np.array_equal(layers["query"]["kernel"][0], layers["query"]["kernel"][1])
    assert np.all(layers["output_norm"]["scale"] == 1)
    assert not np.any(layers["up"]["bias"])
    assert not np.any(params["masked_lm"]["bias"])


def test_sinusoidal_positions_have_the_deviation_asked_for(initial: Any) -> None:
    table = np.asarray(initial["sinusoidal"]["encoder"]["embeddings"]["position"]["table"])
    assert abs(np.sqrt((table**2).mean()) / CONFIG.initializer_range - 1) < 0.05
    np.testing.assert_allclose(table[0, 1::2], np.sqrt(2) * CONFIG.initializer_range, rtol=1e-6)


def test_a_head_more_changes_no_other_parameter(params: Any, initial: Any) -> None:
    fewer = initial["fewer"]
    assert fewer.keys() == {"encoder", "masked_lm"}
    for part, tree in fewer.items():
        jax.tree.map(np.testing.assert_array_equal, tree, params[part])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_preset_is_a_model(family: str) -> None:
    presets = FAMILIES[family].presets
    assert presets
    for config in set(presets.values()):
        model = Model(config, ())
        shapes = shapes_of(model.init)
        assert config.family == family
        assert jax.tree.structure(shapes) == jax.tree.structure(model.names), config
        assert config.hidden_size % config.num_heads == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_without_draws_are_those_of_init(family: str) -> None:
    """With their types and places. `init` draws as before afterwards: jax keeps traces, and that one has zeros."""
    model, key = Model(FAMILIES[family].presets["tiny"], HEADS), jax.random.key(0)
    for mesh in (None, single_device_mesh()):
        with nullcontext() if mesh is None else jax.set_mesh(mesh):
            found, wanted = shapes_of(model.init), jax.eval_shape(model.init, key)
        assert jax.tree.structure(found) == jax.tree.structure(wanted)
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            assert (ours.shape, ours.dtype, ours.sharding) == (theirs.shape, theirs.dtype, theirs.sharding)
    assert "erf_inv" in str(jax.make_jaxpr(model.init)(key))


def test_a_jitted_part_of_an_init_is_drawn_after_its_shapes_were_taken() -> None:
    """An encoder of a user may jit a part of its `init`. jax must not give that part's zeros to a later call."""
    part = jax.jit(lambda key: parameter(nnx.Rngs(key), normal(1.0), (3,), "bias_D", LAYOUTS["replicated"])[...])
    assert shapes_of(lambda key: {"part": part(key)})["part"].shape == (3,)
    assert np.all(np.asarray(part(jax.random.key(0))) != 0)


@pytest.mark.parametrize(("family", "preset"), SIZES, ids="_".join)
def test_published_sizes(family: str, preset: str) -> None:
    heads, count = SIZES[family, preset]
    assert size_of(FAMILIES[family].presets[preset], heads) == count


def test_every_preset_has_a_published_size() -> None:
    assert set(SIZES) == {(name, preset) for name, family in FAMILIES.items() for preset in family.presets}


def test_google_published_24_small_shapes() -> None:
    small = {name: config for name, config in PRESETS.items() if name.startswith("l") and name != "large"}
    assert len(small) == 24
    assert all(
        config.head_dim == 64 and config.intermediate_size == 4 * config.hidden_size for config in small.values()
    )
