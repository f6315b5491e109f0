"""Every config that is shipped: valid, complete, and saying how it is run."""

from __future__ import annotations

import dataclasses
import importlib

import pytest

from jaxbert.config import RowsSource, RunConfig, check, config_names, find_config, from_json, to_json, total_steps


@pytest.mark.parametrize("name", config_names())
def test_config_is_valid(name):
    config = find_config(name)
    if not config.data.source:
        phases = tuple(dataclasses.replace(phase, rows=(RowsSource(path="rows"),)) for phase in config.phases)
        config = dataclasses.replace(config, phases=phases)
    check(config)
    assert config.name == name
    assert total_steps(config) > 0
    assert f"jaxbert pretrain {name} --workdir" in importlib.import_module(f"jaxbert.configs.{name}").__doc__


@pytest.mark.parametrize("name", config_names())
def test_config_survives_json(name):
    config = find_config(name)
    assert from_json(RunConfig, to_json(config), name) == config


def test_what_the_readme_names_is_there():
    assert {"smoke", "quickstart", "bert_tiny", "bert_mini", "bert_small", "bert_base", "bert_large"} <= set(
        config_names()
    )


def test_bert_base_is_the_papers():
    config = find_config("bert_base")
    assert total_steps(config) == 1_000_000 and {phase.batch_size for phase in config.phases} == {256}
    assert [phase.length for phase in config.phases] == [128, 512]
    encoder = config.encoder
    assert (encoder.num_layers, encoder.hidden_size, encoder.num_heads, encoder.intermediate_size) == (
        12,
        768,
        12,
        3072,
    )
