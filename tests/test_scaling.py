"""`--set scale.KEY=VALUE`: what each helper changes, what it leaves, what it says."""

from __future__ import annotations

import dataclasses
import math

import pytest

from jaxbert.config import (
    CheckpointConfig,
    DataConfig,
    EvaluationConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
    check,
    find_config,
)
from jaxbert.config.overrides import apply_overrides, apply_settings, parse_settings
from jaxbert.errors import InputError

CONFIG = RunConfig(
    name="test",
    data=DataConfig(source="none"),
    phases=(
        PhaseConfig(
            name="short",
            batch_size=64,
            accumulation=8,
            steps=1000,
            schedule=ScheduleConfig(kind="wsd", peak=4e-3, end=4e-4, warmup_steps=100, decay_steps=200),
        ),
        PhaseConfig(
            name="long", length=512, batch_size=32, steps=300, schedule=ScheduleConfig(total_steps=400, warmup_steps=9)
        ),
    ),
    evaluation=EvaluationConfig(every_steps=50),
)


def scaled(*settings: str) -> tuple[RunConfig, list[str]]:
    return apply_settings(CONFIG, parse_settings(settings))


def test_batch_size_follows_the_square_root_rule() -> None:
    config, lines = scaled("scale.batch_size=4")
    short, long = config.phases
    assert (short.batch_size, long.batch_size) == (4, 2)
    assert (short.steps, long.steps) == (16_000, 4_800)
    for new, old in zip(config.phases, CONFIG.phases, strict=True):
        assert new.steps * new.batch_size == old.steps * old.batch_size
        assert math.isclose(new.schedule.peak, old.schedule.peak / 4)
        assert math.isclose(new.schedule.end, old.schedule.end / 4)
        assert new.schedule.warmup_steps == old.schedule.warmup_steps
    assert short.schedule.decay_steps == 3_200 and long.schedule.total_steps == 6_400
    assert short.accumulation == 4, "the largest that divides both the old one and the batch"
    assert config.evaluation.every_steps == 800 and config.checkpoint.every_steps == 16_000
    check(config)
    assert [line.removeprefix("scale.batch_size=4: ") for line in lines] == [
        "rates follow the square root of the batch (x 0.25), steps keep the number of rows, warm-ups keep their steps",
        "phase short: batch 64 -> 4 rows, steps 1,000 -> 16,000, rate 0.004 -> 0.001, warm-up 100 as before, "
        "decay 200 -> 3,200, accumulation 8 -> 4",
        "phase long: batch 32 -> 2 rows, steps 300 -> 4,800, rate 0.0001 -> 2.5e-05, warm-up 9 as before",
        "evaluation every 800 steps, checkpoint every 16,000",
        "evaluation of the whole split in batches of 2 rows, the smallest batch of training",
    ]


def test_batch_size_goes_up_too() -> None:
    config, _ = scaled("scale.batch_size=256")
    assert [phase.batch_size for phase in config.phases] == [256, 128]
    assert [phase.steps for phase in config.phases] == [250, 75]
    assert math.isclose(config.phases[0].schedule.peak, 8e-3)


def test_steps_scale_warmups_and_decays_with_them() -> None:
    config, lines = scaled("scale.steps=0.1")
    short, long = config.phases
    assert (short.steps, short.schedule.warmup_steps, short.schedule.decay_steps) == (100, 10, 20)
    assert (long.steps, long.schedule.warmup_steps, long.schedule.total_steps) == (30, 1, 40)
    assert short.schedule.peak == 4e-3 and short.batch_size == 64
    # As many evaluations and checkpoints as before, but not closer together than ten steps.
    assert config.checkpoint.every_steps == 100 and config.evaluation.every_steps == 10
    assert lines[-1] == "scale.steps=0.1: evaluation every 10 steps, checkpoint every 100"
    assert lines[0] == (
        "scale.steps=0.1: phase short: batch 64 rows as before, steps 1,000 -> 100, rate 0.004 as before, "
        "warm-up 100 -> 10, decay 200 -> 20"
    )


def test_a_recipe_of_a_million_steps_becomes_one_of_a_thousand() -> None:
    given = find_config("bert_base")
    config = apply_overrides(given, ["scale.steps=0.001"])
    evaluation, checkpoint = given.evaluation.every_steps, given.checkpoint.every_steps
    assert config.evaluation.every_steps == max(10, evaluation // 1000) <= 40
    assert config.checkpoint.every_steps == max(10, checkpoint // 1000)
    assert config.phases[0].schedule.warmup_steps == 10
    check(dataclasses.replace(config, data=DataConfig(source="none")))
    # However short a phase becomes, its warm-up is shorter.
    for share in ("1e-6", "3e-6"):
        check(dataclasses.replace(apply_overrides(given, [f"scale.steps={share}"]), data=DataConfig(source="none")))
    # No evaluation before the end stays none, and what was closer together than ten steps stays so.
    close = dataclasses.replace(
        CONFIG, evaluation=EvaluationConfig(every_steps=0), checkpoint=CheckpointConfig(every_steps=4)
    )
    short, lines = apply_settings(close, parse_settings(["scale.steps=0.5"]))
    assert (short.evaluation.every_steps, short.checkpoint.every_steps) == (0, 4)
    assert lines[-1].endswith("evaluation at the end, checkpoint every 4")


def test_schedules_fit_whatever_a_helper_makes_of_the_steps() -> None:
    """Warm-ups and decays are rounded one by one, and a schedule may go over several phases."""
    wsd = ScheduleConfig(kind="wsd", peak=1e-3, warmup_steps=150, decay_steps=850)
    whole = ScheduleConfig(kind="linear", peak=1e-3, warmup_steps=2_600)
    root = ScheduleConfig(kind="inverse_sqrt", peak=1e-3, warmup_steps=2)
    for schedule in (wsd, whole, root):
        first = dataclasses.replace(CONFIG.phases[0], steps=1000, schedule=schedule)
        later = [dataclasses.replace(CONFIG.phases[1], name=f"later{n}", steps=1000, schedule=None) for n in range(2)]
        given = dataclasses.replace(CONFIG, phases=(first, *later), data=DataConfig(source="none"))
        check(given)
        for helper in ("scale.steps=0.0025", "scale.steps=0.0005", "scale.batch_size=32768", "scale.batch_size=4096"):
            check(apply_overrides(given, [helper]))


def test_the_advice_for_a_warm_up_that_is_too_long_is_enough() -> None:
    schedule = ScheduleConfig(kind="wsd", peak=1e-3, warmup_steps=100, decay_steps=200)
    phase = dataclasses.replace(CONFIG.phases[0], steps=1000, schedule=schedule)
    given = dataclasses.replace(CONFIG, phases=(phase,), data=DataConfig(source="none"))
    for steps in ("1", "7", "50"):
        short = apply_overrides(given, [f"phases.0.steps={steps}"])
        with pytest.raises(InputError, match="E-CONFIG-SCHEDULE") as caught:
            check(short)
        check(apply_overrides(short, caught.value.fix.partition("--set ")[2].rstrip(".").split()))


def test_what_follows_a_helper_has_the_last_word() -> None:
    config, _ = scaled("scale.batch_size=16", "phases.short.schedule.peak=1e-3", "scale.steps=2")
    assert config.phases[0].schedule.peak == 1e-3 and config.phases[0].steps == 8_000


def test_the_sum_of_lamb_recipes_fits_one_device() -> None:
    """64k rows scaled to what one accelerator takes: the LAMB paper's rate for 512 rows, 6.25e-4."""
    config = apply_overrides(find_config("bert_large_lamb"), ["scale.batch_size=512"])
    assert math.isclose(config.phases[0].schedule.peak, 6.25e-4, rel_tol=1e-3)
    assert config.phases[0].steps == 7_037 * 128
    evaluation = config.evaluation
    assert (evaluation.batch_size, evaluation.batches) == (256, 64), (
        "as many rows, in batches that fit where training does"
    )


@pytest.mark.parametrize(
    ("setting", "says", "code"),
    [
        ("scale.batch_size=3", "phase long would have 1.5 rows", "E-CONFIG-BATCH"),
        ("scale.batch_size=0", "'0'", "E-CONFIG-TYPE"),
        ("scale.batch_size=many", "'many'", "E-CONFIG-TYPE"),
        ("scale.batch_size=\u00b2", "'\u00b2'", "E-CONFIG-TYPE"),
        ("scale.steps=0", "'0'", "E-CONFIG-TYPE"),
        ("scale.steps=half", "'half'", "E-CONFIG-TYPE"),
        ("scale.batchsize=4", "Did you mean batch_size?", "E-CONFIG-KEY"),
    ],
)
def test_what_cannot_be_scaled(setting: str, says: str, code: str) -> None:
    with pytest.raises(InputError, match=rf"\[{code}\]$") as error:
        scaled(setting)
    assert says in str(error.value) and setting.split("=")[0] in str(error.value)
