"""What sets families apart: shared layers, narrow embeddings, no token types, positions from an offset, the start."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.config import EncoderConfig
from jaxbert.core.parameters import Params
from jaxbert.models.encoder import positions
from jaxbert.models.families import FAMILIES
from jaxbert.models.layers import take_slots
from jaxbert.models.model import Model
from tests.models.odd import ODD, heads_of, random_params

ROWS, LENGTH = 2, 14
# Two texts and padding, packed into a row.
GROUPS = np.array([1] * 5 + [2] * 6 + [0] * 3)


class Case(NamedTuple):
    config: EncoderConfig
    model: Model
    params: Params
    hidden: Any


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def case(request: pytest.FixtureRequest) -> Case:
    """A small odd model of each family with its heads, and its hidden states of every layer, compiled once."""
    return case_of(request.param)


def case_of(family: str, **changes: Any) -> Case:
    config = dataclasses.replace(ODD[family], **changes)
    model = Model(config, heads_of(family))
    hidden = jax.jit(lambda params, batch: model.hidden(params, batch, all_layers=True))
    return Case(config, model, random_params(model, seed=1), hidden)


def batch_of(config: EncoderConfig) -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    return {
        "tokens": jnp.asarray(rng.integers(0, config.vocab_size, (ROWS, LENGTH)), jnp.int32),
        "types": jnp.asarray(rng.integers(0, max(1, config.type_vocab_size), (ROWS, LENGTH)), jnp.int32),
        "group": jnp.tile(jnp.asarray(GROUPS, jnp.int32), (ROWS, 1)),
    }


def test_shapes(case: Case) -> None:
    config = case.config
    every = case.hidden(case.params, batch_of(config))
    assert every.shape == (config.num_layers + 1, ROWS, LENGTH, config.hidden_size)
    assert np.isfinite(every).all()
    outputs = jax.eval_shape(lambda params, x: case.model.masked_lm(params, x), case.params, every[-1])
    assert outputs.shape == (ROWS, LENGTH, config.padded_vocab_size)
    embeddings = case.params["encoder"]["embeddings"]
    assert embeddings["word"]["table"].shape == (config.padded_vocab_size, config.embedding_width)
    assert embeddings["position"]["table"].shape == (config.max_positions, config.embedding_width)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(case.params["encoder"]["layers"])} == {config.distinct_layers}
    assert jax.tree.structure(case.params) == jax.tree.structure(case.model.names)


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_groups_do_not_see_each_other(case: Case, changed: int) -> None:
    """Changing a text of a packed row changes the others, in every layer, by exactly 0, and itself by something."""
    before = batch_of(case.config)
    own = changed == GROUPS
    after = dict(before, tokens=jnp.where(own, (before["tokens"] + 7) % case.config.vocab_size, before["tokens"]))
    a, b = (np.asarray(case.hidden(case.params, x)) for x in (before, after))
    np.testing.assert_array_equal(a[..., ~own, :], b[..., ~own, :])
    assert np.abs(a[-1][:, own] - b[-1][:, own]).max() > 0.01


def test_the_embeddings_are_the_sums_that_the_tables_say(case: Case) -> None:
    """LayerNorm of word, position behind the offset and type, at width E; then the projection where there is one."""
    config, batch = case.config, {name: np.asarray(array) for name, array in batch_of(case.config).items()}
    embeddings = jax.tree.map(np.asarray, case.params["encoder"]["embeddings"])
    assert ("type" in embeddings) == (config.type_vocab_size > 0)
    assert ("projection" in embeddings) == (config.embedding_size > 0)
    place = np.array([*range(5), *range(6), 0, 0, 0]) + config.position_offset
    x = embeddings["word"]["table"][batch["tokens"]] + embeddings["position"]["table"][place]
    if config.type_vocab_size:
        x = x + embeddings["type"]["table"][batch["types"]]
    x = np.float64(x) - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + config.layer_norm_epsilon)
    x = x * embeddings["norm"]["scale"] + embeddings["norm"]["bias"]
    if config.embedding_size:
        x = x @ embeddings["projection"]["kernel"] + embeddings["projection"]["bias"]
    real = GROUPS > 0
    found = np.asarray(case.hidden(case.params, batch_of(config)))[0]
    np.testing.assert_allclose(found[:, real], x[:, real], rtol=1e-4, atol=1e-5)


def test_types_count_only_where_there_are_types(case: Case) -> None:
    before = batch_of(case.config)
    after = dict(before, types=before["types"] + 1)
    after["types"] = after["types"] % max(2, case.config.type_vocab_size)
    a, b = (np.asarray(case.hidden(case.params, x)) for x in (before, after))
    assert np.array_equal(a, b) == (case.config.type_vocab_size == 0)


def test_rows_before_the_offset_are_never_a_tokens() -> None:
    """Gradients name the rows of the position table that are used: from the offset on, as many as the longest text."""
    config, model, params, _ = case_of("roberta", num_layers=1)

    def loss(params: Params) -> jax.Array:
        return (model.hidden(params, batch_of(config))[:, GROUPS > 0] ** 3).sum()

    table = np.abs(jax.jit(jax.grad(loss))(params)["encoder"]["embeddings"]["position"]["table"]).max(-1)
    used = np.arange(config.max_positions)
    used = (used >= config.position_offset) & (used < config.position_offset + 6)
    np.testing.assert_array_equal(table > 0, used)


def test_positions_with_an_offset() -> None:
    """Padding has the one before it, wherever it stands, as fairseq's and transformers' code gives it."""
    group = jnp.asarray([[1, 1, 1, 2, 2, 3, 0, 0], [1, 1, 1, 1, 1, 1, 1, 1]])
    np.testing.assert_array_equal(positions(group, 2), [[2, 3, 4, 2, 3, 2, 1, 1], list(range(2, 10))])


@pytest.mark.parametrize("excess", [0, 1])
def test_the_longest_row_ends_where_the_table_does(excess: int) -> None:
    case = case_of("roberta")
    length = case.config.max_positions - case.config.position_offset + excess
    ones = {name: jnp.ones((1, length), jnp.int32) for name in ("tokens", "types", "group")}
    if excess:
        with pytest.raises(ValueError, match="rows have 17 tokens, but the encoder has positions for 16"):
            case.hidden(case.params, ones)
    else:
        assert np.isfinite(case.hidden(case.params, ones)).all()


@pytest.mark.parametrize("groups", [1, 2])
def test_shared_layers_are_the_same_layers_repeated(groups: int) -> None:
    """G groups of N/G layers and N layers whose weights are copies: the same vectors, and gradients that add up."""
    shared = case_of("albert", layer_groups=groups, remat="full")
    alone = case_of("albert", layer_groups=0)
    repeats = shared.config.num_layers // groups
    encoder = shared.params["encoder"]
    layers = jax.tree.map(lambda w: jnp.repeat(w, repeats, axis=0), encoder["layers"])
    copied = {**shared.params, "encoder": {**encoder, "layers": layers}}
    batch = batch_of(shared.config)
    # Two programs, which a compiler may round differently.
    np.testing.assert_allclose(shared.hidden(shared.params, batch), alone.hidden(copied, batch), rtol=1e-5, atol=5e-6)
    if groups == 1:
        return  # The gradients of two groups say what those of one do, and more.

    def gradient(case: Case, params: Params) -> Params:
        loss = jax.jit(jax.grad(lambda params: (case.model.hidden(params, batch)[:, GROUPS > 0] ** 3).sum()))
        return loss(params)["encoder"]["layers"]

    summed = jax.tree.map(lambda w: w.reshape(groups, repeats, *w.shape[1:]).sum(1), gradient(alone, copied))
    found = gradient(shared, shared.params)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(found))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(summed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * largest)


def test_dropout_of_shared_layers_is_drawn_anew_in_each() -> None:
    """The same weights, but not the same mask twice: as if each layer were its own."""
    shared, alone = (case_of("albert", num_layers=2, layer_groups=groups) for groups in (1, 0))
    encoder = shared.params["encoder"]
    layers = jax.tree.map(lambda w: jnp.repeat(w, shared.config.num_layers, axis=0), encoder["layers"])
    copied = {**shared.params, "encoder": {**encoder, "layers": layers}}
    batch, (key, other) = batch_of(shared.config), jax.random.split(jax.random.key(3))
    run_shared, run_alone = (
        jax.jit(lambda params, key, model=case.model: model.hidden(params, batch, dropout_key=key))
        for case in (shared, alone)
    )
    a, b, c = run_shared(shared.params, key), run_alone(copied, key), run_alone(copied, other)
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=5e-6)
    assert np.abs(np.asarray(b) - np.asarray(c)).max() > 0.1


STARTS = {family: "truncated_normal" if family in ("bert", "albert") else "normal" for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_preset_has_its_familys_start(family: str) -> None:
    assert {config.initializer for config in FAMILIES[family].presets.values()} == {STARTS[family]}


def test_a_normal_start_is_not_cut() -> None:
    """4.55% lie beyond two deviations; the fourth moment is 3. Bounds: four standard errors of 52,800 draws."""
    config = dataclasses.replace(ODD["roberta"], vocab_size=2200)
    params = jax.jit(Model(config, ()).init)(jax.random.key(2))
    table = np.asarray(params["encoder"]["embeddings"]["word"]["table"]) / config.initializer_range
    assert not table[config.vocab_size :].any()
    table = table[: config.vocab_size]
    error = 4 / np.sqrt(table.size)
    assert abs((np.abs(table) > 2).mean() - 0.0455) < error * np.sqrt(0.0455)
    assert abs(table.mean()) < error
    assert abs(table.std() - 1) < error / np.sqrt(2)
    assert abs((table**4).mean() - 3) < error * np.sqrt(96)
    layers = params["encoder"]["layers"]
    for name in ("query", "out", "up", "down"):
        assert np.abs(layers[name]["kernel"]).max() > 2 * config.initializer_range
        assert not np.any(layers[name]["bias"])
        assert not np.array_equal(layers[name]["kernel"][0], layers[name]["kernel"][1])
    assert np.all(layers["output_norm"]["scale"] == 1)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        *((family, {}) for family in sorted(FAMILIES)),
        ("bert", {"remat": "full"}),
        ("bert", {"num_layers": 1}),
        ("albert", {"layer_groups": 1, "remat": "dots"}),
        ("albert", {"layer_groups": 0}),
    ],
)
def test_vectors_at_some_positions_are_those_of_all(family: str, changes: dict[str, Any]) -> None:
    """The last layer computes the asked positions only: the same vectors, with the same gradients."""
    case = case_of(family, **changes)
    batch = batch_of(case.config)
    at = jnp.asarray([[0, 5, 9], [5, 0, 0]])
    weight = jnp.asarray(np.random.default_rng(2).standard_normal((ROWS, 3, case.config.hidden_size)), jnp.float32)

    def some(params: Params) -> jax.Array:
        return case.model.hidden(params, batch, at_BM=at)

    def of_all(params: Params) -> jax.Array:
        return take_slots(case.model.hidden(params, batch), at)

    def value_and_gradient(vectors: Any) -> Any:
        return jax.jit(jax.value_and_grad(lambda params: (vectors(params) * weight).sum()))(case.params)

    a, b = jax.jit(some)(case.params), jax.jit(of_all)(case.params)
    assert a.shape == weight.shape
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=5e-6)
    (_, found), (_, expected) = value_and_gradient(some), value_and_gradient(of_all)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected["encoder"]))
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=2e-6 * largest)


def test_all_layers_have_no_positions() -> None:
    case = case_of("bert")
    with pytest.raises(ValueError, match="all layers have vectors at all positions only"):
        case.model.hidden(case.params, batch_of(case.config), all_layers=True, at_BM=jnp.zeros((ROWS, 1), jnp.int32))
