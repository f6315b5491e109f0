"""The complete config of a run: what the command line asks for, in its order, and what is found without a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from jaxbert.config import PhaseConfig, RunConfig, ScheduleConfig, find_config
from jaxbert.errors import InputError
from jaxbert.run.resolve import resolve
from jaxbert.run.wanted import wanted
from jaxbert.text.tokenizers import Tokenizer

CONFIG = RunConfig(name="run", phases=(PhaseConfig(batch_size=64, schedule=ScheduleConfig(warmup_steps=10)),))


def test_the_command_line_changes_a_config_once_and_in_its_order(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", logger="jaxbert")
    settings = ["scale.batch_size=32", "phases.0.batch_size=48", "data.source=text:a"]
    asked = wanted(CONFIG, data=["rows=2"], init="m", settings=settings)
    assert asked.base.init == "m" and asked.base.phases[0].rows[0].weight == 2.0
    assert asked.base.phases[0].batch_size == 64 and asked.config.phases[0].batch_size == 48
    # The scaling helper speaks once, although the command line is read before it is known what the run inherits.
    assert sum("rates follow" in line for line in caplog.messages) == 1
    assert not asked.incomplete and asked.finished(asked.base) == asked.config


def test_settings_come_after_init_of_the_config_and_of_the_command_line():
    assert wanted(CONFIG, data=["r"], settings=["init=x"]).config.init == "x"
    assert wanted(CONFIG, data=["r"], init="m", settings=["init=x"]).config.init == "x"


def test_a_named_tokenizer_is_a_new_vocabulary_only_where_there_is_a_model(tmp_path: Path):
    alone = wanted(CONFIG, data=["r"], tokenizer=str(tmp_path))
    assert (alone.config.init_vocabulary, alone.config.data.tokenizer) == ("same", str(tmp_path))
    for given in ({"init": "m"}, {"settings": ["init=m"]}):
        assert wanted(CONFIG, data=["r"], tokenizer=str(tmp_path), **given).config.init_vocabulary == "new"
    own = wanted(CONFIG, data=["r"], init="m", tokenizer=str(tmp_path), settings=["init_vocabulary=same"])
    assert own.config.init_vocabulary == "same"


@pytest.mark.parametrize(
    ("config", "given", "code"),
    [
        (CONFIG, {}, "E-CONFIG-ROWS"),  # neither rows nor a source
        (CONFIG, {"data": ["r=none"]}, "E-ARGUMENT-WEIGHT"),
        (CONFIG, {"data": ["r"], "settings": ["seed"]}, "E-SET-FORM"),
        (CONFIG, {"data": ["r"], "settings": ["inherit=encoder"]}, "E-RUN-INHERIT"),
        (find_config("adapt"), {"data": ["r"]}, "E-RUN-INHERIT"),
    ],
)
def test_mistakes_are_found_before_a_model_is_opened(config, given, code):
    with pytest.raises(InputError, match=code):
        wanted(config, **given)


def test_a_plan_needs_neither_rows_nor_a_model():
    assert wanted(find_config("adapt"), settings=["seed=3"], whole=False).config.seed == 3


def test_a_resolved_config_is_complete(tiny_rows: Path, tmp_path: Path):
    """The vocabulary of the rows' tokenizer, and a layout in the place of `auto`, which follows the devices."""
    small = ["encoder.hidden_size=16", "encoder.num_heads=2", "encoder.num_layers=1", "encoder.intermediate_size=32"]
    fitting = ["phases.0.length=32", "phases.0.schedule.kind=constant", "mesh.layout=auto"]
    asked = wanted(CONFIG, data=[str(tiny_rows)], tokenizer=str(tiny_rows / "tokenizer"), settings=[*small, *fitting])
    assert asked.incomplete and asked.config.encoder.vocab_size == 30522 and asked.config.mesh.layout == "auto"
    found = resolve(asked, tmp_path)
    assert found.config.encoder.vocab_size == Tokenizer.load(tiny_rows / "tokenizer").vocab_size
    assert found.config.mesh.layout == "replicated" and found.config.encoder.hidden_size == 16
    assert found.config.inherit == "nothing" and found.initial is None and found.teacher is None
