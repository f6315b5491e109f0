"""Every config that is shipped: valid, complete, and saying how it is run."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest

from jaxbert.config import (
    LabelledTaskConfig,
    RowsSource,
    RunConfig,
    check,
    config_names,
    find_config,
    from_json,
    to_json,
    total_steps,
)
from jaxbert.convert.names import check_fields
from jaxbert.models.families import FAMILIES
from jaxbert.run.teacher import resolve
from jaxbert.training.step import phase_learning_rate


@pytest.mark.parametrize("name", config_names())
def test_config_is_valid(name):
    config = find_config(name)
    labelled = isinstance(config.task, LabelledTaskConfig)
    if not config.data.source and not labelled:
        phases = tuple(dataclasses.replace(phase, rows=(RowsSource(path="rows"),)) for phase in config.phases)
        config = dataclasses.replace(config, phases=phases)
    check(config)
    assert config.name == name
    assert total_steps(config) > 0
    command = f"jaxbert finetune {name} --init MODEL" if labelled else f"jaxbert pretrain {name}"
    assert f"{command} --workdir" in importlib.import_module(f"jaxbert.configs.{name}").__doc__


@pytest.mark.parametrize("name", config_names())
def test_config_survives_json(name):
    config = find_config(name)
    assert from_json(RunConfig, to_json(config), name) == config


def test_what_the_readme_names_is_there():
    named = {"smoke", "quickstart", "bert_tiny", "bert_mini", "bert_small"}
    named |= {f"bert_{size}{recipe}" for size in ("base", "large") for recipe in ("", "_lamb", "_nvidia")}
    named |= {f"{family}_tiny" for family in FAMILIES}
    named |= {"roberta_base", "roberta_base_2k", "roberta_large", "spanbert_base", "spanbert_large", "distilbert_base"}
    named |= {f"albert_{size}" for size in ("base", "large", "xlarge", "xxlarge")}
    assert named <= set(config_names())


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_has_a_config_that_needs_nothing(family):
    config = find_config(f"{family}_tiny")
    assert config.encoder.family == family and config.data.source == "sample:aws-docs" and not config.phases[0].rows
    check_fields(config.encoder, family)


def test_a_teacher_that_is_trained_first_fits_its_student(tmp_path):
    named = [name for name in config_names() if find_config(name).objectives.distillation is not None]
    first = [name for name in named if find_config(name).objectives.distillation.teacher.startswith("config:")]
    assert "distilbert_tiny" in first
    for name in first:
        config, teacher = resolve(find_config(name), tmp_path / "run")
        check(config)
        check(teacher.run)
        assert config.objectives.distillation.encoder == teacher.run.encoder
        assert config.data.tokenizer == f"{tmp_path}/run-teacher/tokenizer"


# Liu et al. 2019, table 9; Lan et al. 2020; Joshi et al. 2020, section 4.2; distillation/README.md: batch, steps, peak,
# warm-up, length, beta2, epsilon, decay.
@pytest.mark.parametrize(
    ("name", "recipe", "adam"),
    [
        ("roberta_base", (8192, 500_000, 6e-4, 24_000, 512), (0.98, 1e-6, 0.01)),
        ("roberta_large", (8192, 500_000, 4e-4, 30_000, 512), (0.98, 1e-6, 0.01)),
        ("albert_base", (4096, 125_000, 1.76e-3, 3125, 512), (0.999, 1e-6, 0.01)),
        ("albert_xxlarge", (4096, 125_000, 1.76e-3, 3125, 512), (0.999, 1e-6, 0.01)),
        ("spanbert_base", (256, 2_400_000, 1e-4, 10_000, 512), (0.999, 1e-8, 0.1)),
        ("distilbert_base", (2048, 12_600, 5e-4, 630, 512), (0.98, 1e-6, 0.0)),
    ],
)
def test_recipes_are_the_published_ones(name, recipe, adam):
    config = find_config(name)
    (phase,), optimizer = config.phases, config.optimizer
    schedule = phase.schedule
    assert (phase.batch_size, phase.steps, schedule.peak, schedule.warmup_steps, phase.length) == recipe
    assert (optimizer.beta2, optimizer.epsilon, optimizer.weight_decay) == adam


def test_bert_base_is_the_papers():
    """One schedule over both lengths; the moments and the step count go on."""
    config = find_config("bert_base")
    assert config.optimizer.name == "bert_adamw" and config.phases[1].moments == "keep"
    rates = [
        float(phase_learning_rate(config, phase)(step)) for phase, step in ((0, 5_000), (0, 899_999), (1, 950_000))
    ]
    np.testing.assert_allclose(rates, [5e-5, 1.00001e-5, 5e-6], rtol=1e-4)
    assert total_steps(config) == 1_000_000 and {phase.batch_size for phase in config.phases} == {256}
    assert [phase.length for phase in config.phases] == [128, 512]
    encoder = config.encoder
    assert (encoder.num_layers, encoder.hidden_size, encoder.num_heads, encoder.intermediate_size) == (
        12,
        768,
        12,
        3072,
    )


@pytest.mark.parametrize("size", ["base", "large"])
def test_lamb_is_the_papers(size):
    """8,599 steps; the second length is warmed up again, to the rate of its own batch."""
    config = find_config(f"bert_{size}_lamb")
    assert config.encoder.num_layers == {"base": 12, "large": 24}[size]
    assert total_steps(config) == 8_599 and [phase.batch_size for phase in config.phases] == [65_536, 32_768]
    short, long = (phase.schedule for phase in config.phases)
    assert np.isclose(short.peak / long.peak, np.sqrt(2), rtol=1e-3) and long.peak == 5e-3
    for step, rate in ((7_037, 0.0), (7_037 + 156, 2.5e-3), (7_037 + 781, 2.5e-3), (8_598, 5e-3 / 1_562)):
        np.testing.assert_allclose(float(phase_learning_rate(config, 1)(step)), rate, rtol=1e-3, atol=1e-9)
    # A tenth of the rows are of the second length, and as many in all as in the paper's other runs.
    rows = [phase.batch_size * phase.steps for phase in config.phases]
    assert abs(rows[1] / sum(rows) - 0.1) < 1e-3 and abs(sum(rows) / 512e6 - 1) < 1e-2


@pytest.mark.parametrize("size", ["base", "large"])
def test_nvidias_is_its_scripts(size):
    """Each update's rate is that of schedulers.py with its arguments; moments stay, the count starts anew."""
    config = find_config(f"bert_{size}_nvidia")
    assert config.optimizer.name == "lamb_nvidia" and config.phases[1].moments == "keep_reset_count"
    assert [(phase.steps, phase.batch_size, phase.slots) for phase in config.phases] == [
        (7_038, 65_536, 20),
        (1_563, 32_768, 80),
    ]
    began = 0
    for index, (steps, peak, warmup) in enumerate(((7_038, 6e-3, 0.2843), (1_563, 4e-3, 0.128))):
        progress = np.arange(1, steps + 1) / steps
        expected = peak * np.where(progress < warmup, progress / warmup, (1 - progress) ** 0.5)
        found = np.asarray(phase_learning_rate(config, index)(began + np.arange(steps)))
        at_the_border = np.abs(progress * steps - warmup * steps) < 1  # Warm-ups are whole steps here.
        np.testing.assert_allclose(found[~at_the_border], expected[~at_the_border], rtol=5e-4, atol=1e-8)
        began += steps
