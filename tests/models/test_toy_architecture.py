"""A new architecture, a new head, a new layout and a new chip: a file or a class, and one line in a table."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbert
from jaxbert.config import (
    DataConfig,
    EncoderConfig,
    EvaluationConfig,
    MeshConfig,
    ObjectivesConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
    check,
    from_json,
    to_json,
)
from jaxbert.config.overrides import apply_overrides
from jaxbert.convert.hf import write_hf
from jaxbert.convert.names import check_heads
from jaxbert.core.chips import CHIPS, SLICES
from jaxbert.core.sharding import LAYOUTS, Layout, single_device_mesh
from jaxbert.errors import InputError
from jaxbert.models.cost import Product
from jaxbert.models.families import FAMILIES, distilbert
from jaxbert.models.families.family import dense
from jaxbert.models.heads import HEADS, Classifier, Pooler
from jaxbert.models.model import Model, encoder_of, head_sizes
from jaxbert.observe.flops import step_flops
from jaxbert.plan.planner import all_layouts, plan
from jaxbert.plan.topologies import topology
from tests.models.odd import random_params
from tests.models.toy_rotary import FAMILY, Rotary, RotaryConfig

TOY = RotaryConfig(
    vocab_size=60, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32, max_positions=16, vocab_multiple=16
)


def run_of(encoder: Any) -> RunConfig:
    return RunConfig(
        name="toy",
        encoder=encoder,
        objectives=ObjectivesConfig(next_sentence=None),
        data=DataConfig(source="none"),
        evaluation=EvaluationConfig(batch_size=8),
        phases=(PhaseConfig(length=16, batch_size=64, steps=9, schedule=ScheduleConfig(peak=1e-2, warmup_steps=1)),),
    )


@pytest.fixture
def rotary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "rotary", FAMILY)


def test_the_family_decides_the_class_of_the_config(rotary):
    config = run_of(TOY)
    assert from_json(RunConfig, to_json(config), "config") == config
    check(config)
    set_so = apply_overrides(run_of(EncoderConfig(num_layers=3)), ["encoder.family=rotary", "encoder.rotary_base=500"])
    assert set_so.encoder == RotaryConfig(num_layers=3, num_heads=12, intermediate_size=3072, rotary_base=500.0)
    assert encoder_of(TOY) is Rotary
    with pytest.raises(InputError, match=r"num_heads.*E-CONFIG-ENCODER"):
        check(run_of(dataclasses.replace(TOY, num_heads=16)))
    with pytest.raises(InputError, match=r"E-CONFIG-KEY|unknown key 'dropout'"):
        apply_overrides(config, ["encoder.dropout=0.1"])


def test_a_new_architecture_is_planned_by_its_own_cost(rotary):
    config = run_of(dataclasses.replace(TOY, vocab_multiple=128))
    made = plan(config, topology("v5e:2x2"), grid=475.0, compiled=False)
    D, F, L, N, M, V = 16, 32, 16, 2, 2, 60
    forward = N * (L * (4 * D * D + 2 * D * F) + 2 * L * L * D) + M * (D * D + D * V)
    assert made.phases[0].work.model_flops == 64 * 6 * forward
    assert made.phases[0].work.model_flops == 64 * step_flops(TOY, length=L, slots=M, heads=("masked_lm",))
    # The device computes the vocabulary's padding too.
    padded = forward + M * D * (128 - V)
    assert made.phases[0].work.flops * 4 == pytest.approx(64 * 6 * padded)
    assert {op.name for op in made.phases[0].work.ops} > {"dense", "attention", "norms and gelu", "lookups"}


def test_a_new_architecture_is_written_and_loaded(rotary, tmp_path):
    model = Model(TOY, ("masked_lm",))
    params = jax.tree.map(jnp.asarray, random_params(model))
    write_hf(tmp_path / "out", TOY, params)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["rotary_base"] == TOY.rotary_base
    loaded = jaxbert.load(str(tmp_path / "out"))
    assert type(loaded.config) is RotaryConfig and loaded.model.heads == ("masked_lm",)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, params)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 60, (2, 12)))
    group = jnp.tile(jnp.asarray([1] * 5 + [2] * 4 + [0] * 3), (2, 1))
    batch = {"tokens": tokens, "types": tokens * 0, "group": group}
    x_BLD = model.hidden(params, batch)
    np.testing.assert_array_equal(loaded.encode(loaded.params, tokens, group=group), x_BLD)
    # Positions restart with each group, and groups do not see each other.
    alone = {"tokens": tokens[:, 5:9], "types": tokens[:, 5:9] * 0, "group": group[:, 5:9] * 0 + 1}
    np.testing.assert_allclose(model.hidden(params, alone), x_BLD[:, 5:9], rtol=1e-5, atol=1e-5)


# ----------------------------------------------------------------------------------------------------------------------
# A pooler is what the config says


@pytest.mark.parametrize(("family", "activation"), [("bert", "tanh"), ("distilbert", "relu"), ("roberta", "tanh")])
def test_a_saved_config_without_the_field_has_the_pooler_that_it_had(family, activation):
    saved = to_json(run_of(FAMILIES[family].presets["tiny"]))
    assert saved["encoder"].pop("pooler") == activation
    assert from_json(RunConfig, saved, "config.json").encoder.pooler == activation


def test_the_config_decides_the_pooler_and_a_file_must_hold_it(tmp_path):
    x_BLD = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 128)), jnp.float32)
    relu = dataclasses.replace(FAMILIES["bert"].presets["tiny"], pooler="relu", vocab_size=60)
    tanh = dataclasses.replace(relu, pooler="tanh")
    params = random_params(Model(relu, ("pooler",)))
    with_relu, with_tanh = (Model(config, ("pooler",)).pooled(params, x_BLD) for config in (relu, tanh))
    assert (with_relu >= 0).all() and (with_relu > 1).any() and (with_tanh < 0).any()
    np.testing.assert_allclose(with_tanh[with_relu > 0], np.tanh(with_relu[with_relu > 0]), rtol=1e-5)
    with pytest.raises(InputError, match="E-EXPORT-POOLER"):
        write_hf(tmp_path / "out", relu, params)
    assert distilbert.from_published({}, "config.json").pooler == "relu"


# ----------------------------------------------------------------------------------------------------------------------
# A new head


class Brightness(Classifier):
    """A toy: three classes of a text."""

    classes = 3


def test_a_new_head_needs_its_class_and_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(HEADS, "brightness", Brightness)
    config = dataclasses.replace(FAMILIES["bert"].presets["tiny"], vocab_size=60, num_layers=1)
    model = Model(config, ("pooler", "brightness"))
    params = random_params(model)
    assert head_sizes(params) == {"brightness": {"labels": 3}}
    x_BLD = jnp.ones((2, 4, 128))
    expected = (
        model.pooled(params, x_BLD) @ params["brightness"]["dense"]["kernel"] + params["brightness"]["dense"]["bias"]
    )
    np.testing.assert_allclose(model.apply_head("brightness", params, x_BLD), expected, rtol=1e-5)
    with_head, without = (
        step_flops(config, length=8, slots=1, heads=heads) for heads in (("brightness",), ("pooler",))
    )
    assert with_head - without == 6 * 128 * 3
    with pytest.raises(InputError, match=r"no place for the head brightness.*--drop brightness.*E-EXPORT-HEAD"):
        write_hf(tmp_path / "out", config, params)
    assert not (tmp_path / "out").exists()
    write_hf(tmp_path / "out", config, {name: params[name] for name in ("encoder", "pooler")})


def test_a_new_head_is_written_and_loaded_where_a_family_has_a_place_for_it(monkeypatch, tmp_path):
    """The gate compares what it computes, and `Model` has no method of its name."""
    monkeypatch.setitem(HEADS, "brightness", Brightness)
    bert = FAMILIES["bert"]
    place = dense("brightness/dense", "cls.brightness")
    toy = dataclasses.replace(
        bert,
        model_type="toy",
        from_published=lambda published, where: dataclasses.replace(
            bert.from_published(published, where), family="toy"
        ),
        to_published=lambda config, heads: {**bert.to_published(config, heads), "model_type": "toy"},
        names=lambda config: (*bert.names(config), *place),
    )
    monkeypatch.setitem(FAMILIES, "toy", toy)
    config = dataclasses.replace(bert.presets["tiny"], family="toy", vocab_size=60, num_layers=1)
    params = random_params(Model(config, ("pooler", "brightness")))
    written = write_hf(tmp_path / "out", config, params)
    assert written.verdict.differences["jaxbert"]["brightness"] == 0
    loaded = jaxbert.load(str(tmp_path / "out"))
    assert loaded.model.heads == ("pooler", "brightness") and loaded.config.family == "toy"
    jax.tree.map(np.testing.assert_array_equal, loaded.params, params)


def test_who_has_a_place_for_a_head_is_named():
    """BERT's files have no sentence order; `tests/test_extension.py` trains one."""
    with pytest.raises(InputError, match=r"sentence_order.*albert.*E-EXPORT-HEAD"):
        check_heads(FAMILIES["bert"].presets["tiny"], ("masked_lm", "sentence_order"), "out")


def test_a_head_says_what_a_plan_counts():
    assert Pooler.products(EncoderConfig(hidden_size=8)) == (Product("rows", 8, 8),)


# ----------------------------------------------------------------------------------------------------------------------
# A new layout, and a new chip


def test_a_new_layout_needs_one_line(monkeypatch):
    """Feed-forward alone over `tensor`: a plan has what it sends from its table."""
    replicated = LAYOUTS["replicated"].parameters
    table = {**replicated, **{name: LAYOUTS["fsdp_tensor"].parameters[name] for name in ("up_DF", "bias_F", "down_FD")}}
    table = {
        name: jax.sharding.PartitionSpec(*(None if a == "fsdp" else a for a in spec)) for name, spec in table.items()
    }
    monkeypatch.setitem(LAYOUTS, "wide", Layout(table, table))
    assert LAYOUTS["wide"].axes == {"tensor"} and LAYOUTS["zero1"].axes == {"fsdp"} and not LAYOUTS["replicated"].axes
    config = run_of(dataclasses.replace(FAMILIES["bert"].presets["tiny"], vocab_multiple=1024, max_positions=16))
    config = dataclasses.replace(config, mesh=MeshConfig(tensor=2, layout="wide"))
    check(config, 4)
    found = plan(config, topology("v5e:2x2"), grid=475.0, compiled=False).phases[0].work
    assert ("tensor",) in {one.axes for one in found.transfers} and ("fsdp",) not in {
        one.axes for one in found.transfers
    }
    plans, _ = all_layouts(run_of(config.encoder), topology("v5e:2x2"), grid=475.0, compiled=False)
    assert {one.config.mesh.layout for one in plans} >= {"replicated", "wide"}


def test_a_new_chip_needs_one_line_in_each_table(monkeypatch):
    monkeypatch.setitem(CHIPS, "toy", dataclasses.replace(CHIPS["v5e"], name="toy", ring=4, device_kinds=("TOY",)))
    monkeypatch.setitem(SLICES, "toy", ("1x1", "2x4"))
    made = topology("toy:2x4")
    assert made.chips == 8 and made.rings(4) == (1, True) and made.rings(2) == (1, False)
    assert plan(run_of(EncoderConfig(max_positions=16)), made, grid=475.0, compiled=False).fits
    with pytest.raises(InputError, match=r"toy:2x4.*E-PLAN-SLICE\]"):
        topology("toy:3x3")


def test_no_step_of_a_plan_or_a_run_asks_for_a_layouts_name():
    config = run_of(FAMILIES["bert"].presets["tiny"])
    with jax.set_mesh(single_device_mesh()):
        names = Model(config.encoder, ("masked_lm",)).names
    dims = {leaf for leaf in jax.tree.leaves(names) if isinstance(leaf, str)}
    assert all(dims <= layout.parameters.keys() & layout.optimizer.keys() for layout in LAYOUTS.values())
