"""`max_passes`: the steps a recipe keeps on a small corpus, what has the last word, what a resumed run gets."""

from __future__ import annotations

import dataclasses

import pytest

from jaxbert.config import RunConfig, check, find_config
from jaxbert.config.overrides import apply_settings, parse_settings
from jaxbert.errors import InputError
from jaxbert.fit.passes import all_passes, as_begun, limited
from tests.fit.manifests import phase_rows

# 1,000 rows in batches of 10: 100 steps are a pass, and the config has 1,000.
ROWS = [phase_rows()]


def asked(config: RunConfig, *settings: str) -> tuple[RunConfig, str, RunConfig]:
    """Returns the config with the settings before and after the limit, and the line about it."""
    parsed = parse_settings(settings)
    before, _ = apply_settings(dataclasses.replace(config, max_passes=2.5), parsed)
    after, line = limited(before, parsed, ROWS)
    return after, line, before


def test_the_recipe_is_shortened_and_this_is_said(config: RunConfig) -> None:
    after, line, _ = asked(config)
    (phase,) = after.phases
    assert (phase.steps, phase.schedule.warmup_steps, phase.schedule.peak) == (250, 25, 1e-3)
    assert after.evaluation.every_steps == 62 and after.checkpoint.every_steps == 250 and after.steps_share == 0.25
    assert all_passes(after, ROWS) == 2.5
    check(after)
    assert line == (
        "1,000 steps would be 10 passes over this text, so the run has 250 steps, 2.5 passes (max_passes=2.5); "
        "evaluation every 62 steps; checkpoint every 250; for the recipe as it is: --overwrite --set max_passes=0"
    )


@pytest.mark.parametrize("settings", [["max_passes=0"], ["max_passes=11"], ["phases.0.steps=999"], ["scale.steps=2"]])
def test_it_is_as_asked_for(config: RunConfig, settings: list[str]) -> None:
    """Where a setting asks for steps, or the limit is kept, nothing changes and nothing is said."""
    after, line, before = asked(config, *settings)
    assert after == before and line == ""


def test_settings_have_the_last_word(config: RunConfig) -> None:
    after, _, _ = asked(config, "evaluation.every_steps=7", "phases.main.schedule.warmup_steps=3", "scale.batch_size=5")
    assert after.phases[0].steps == 500 and after.phases[0].schedule.warmup_steps == 3
    assert after.evaluation.every_steps == 7 and after.checkpoint.every_steps == 500
    # The limit itself may be asked for beside a number of steps.
    begun, _, before = asked(config, "phases.0.steps=4000", "max_passes=5")
    assert begun.phases[0].steps == 500
    assert as_begun(before, parse_settings(["phases.0.steps=4000", "max_passes=5"]), begun) == begun
    assert asked(config, "scale.steps=4", "max_passes=5")[0].phases[0].steps == 500


def test_a_resumed_run_has_the_same_steps(config: RunConfig) -> None:
    begun, _, before = asked(config)
    assert as_begun(before, [], begun) == begun
    # It may be told to go on for longer, as any run.
    more = parse_settings(["phases.0.steps=300"])
    wanted, _ = apply_settings(dataclasses.replace(config, max_passes=2.5), more)
    resumed = as_begun(wanted, more, begun)
    assert resumed.phases[0].steps == 300 and resumed.phases[0].schedule == begun.phases[0].schedule
    assert limited(resumed, [], ROWS) == (resumed, "")
    # Another limit is another run.
    other = dataclasses.replace(before, max_passes=3)
    assert as_begun(other, [], begun) == other
    assert as_begun(before, [], before) == before


def test_adapt_has_a_limit_and_a_recipe_without_one_keeps_its_steps(config: RunConfig) -> None:
    assert find_config("adapt").max_passes == 40 and find_config("bert_base").max_passes == 0
    assert limited(config, [], ROWS) == (config, "")
    with pytest.raises(InputError, match=r"max_passes is -1\.0.*E-CONFIG-RANGE"):
        check(dataclasses.replace(config, max_passes=-1.0))
