"""Learning rates against their definitions, at every step; and how they pass from a phase to the next."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from jaxbert.config import DataConfig, PhaseConfig, RunConfig, ScheduleConfig, check
from jaxbert.errors import InputError
from jaxbert.training.optim import make_schedule
from jaxbert.training.step import phase_learning_rate

PEAK, END, WARMUP, STEPS = 3e-3, 2e-4, 20, 100


def jump(step: int) -> float:
    """google-research/bert: the decay runs from step 0, the warm-up overrides it."""
    return PEAK * step / WARMUP if step < WARMUP else PEAK + (END - PEAK) * step / STEPS


def no_jump(step: int) -> float:
    if step < WARMUP:
        return PEAK * step / WARMUP
    return PEAK + (END - PEAK) * (step - WARMUP) / (STEPS - WARMUP)


def nvidia(step: int) -> float:
    """NVIDIA's schedulers.py: progress counts from 1, the decay from 0, and it falls as a square root."""
    progress = (step + 1) / STEPS
    return PEAK * progress / (WARMUP / STEPS) if progress < WARMUP / STEPS else PEAK * (1 - progress) ** 0.5


def polynomial(step: int) -> float:
    if step < WARMUP:
        return PEAK * step / WARMUP
    return END + (PEAK - END) * (1 - (step - WARMUP) / (STEPS - WARMUP)) ** 2


def wsd(step: int) -> float:
    if step < WARMUP:
        return PEAK * step / WARMUP
    return PEAK if step < 70 else END + (PEAK - END) * (1 - (step - 70) / 30)


def inverse_sqrt(step: int) -> float:
    """Vaswani et al. 2017, section 5.3, scaled so that the peak is the rate at the end of the warm-up."""
    return PEAK * min(step / WARMUP, math.sqrt(WARMUP / max(step, 1)))


def constant(step: int) -> float:
    return PEAK * min(1.0, step / WARMUP)


def schedule(**changes: object) -> ScheduleConfig:
    return ScheduleConfig(**{"peak": PEAK, "warmup_steps": WARMUP, "end": END, **changes})


SCHEDULES: list[tuple[ScheduleConfig, Callable[[int], float]]] = [
    (schedule(kind="linear", decay_from="zero"), jump),
    (schedule(kind="linear", decay_from="warmup"), no_jump),
    (schedule(kind="polynomial", decay_from="zero", power=0.5, end=0.0, first_step=1), nvidia),
    (schedule(kind="polynomial", decay_from="warmup", power=2.0), polynomial),
    (schedule(kind="wsd", decay_steps=30), wsd),
    (schedule(kind="inverse_sqrt"), inverse_sqrt),
    (schedule(kind="constant"), constant),
]


@pytest.mark.parametrize(("config", "expected"), SCHEDULES, ids=[expected.__name__ for _, expected in SCHEDULES])
def test_rate_is_its_definition_at_every_step(config: ScheduleConfig, expected: Callable[[int], float]) -> None:
    rate = make_schedule(config, STEPS)
    found = np.asarray(rate(np.arange(STEPS)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [expected(step) for step in range(STEPS)], rtol=1e-5, atol=1e-9)


def test_past_the_horizon_the_rate_stays_at_its_end() -> None:
    for config, _ in SCHEDULES[:5]:
        np.testing.assert_allclose(float(make_schedule(config, STEPS)(STEPS + 50)), config.end, atol=1e-9)


def test_the_jump_is_there_and_only_there() -> None:
    at_peak = [float(make_schedule(config, STEPS)(WARMUP)) for config, _ in SCHEDULES[:2]]
    np.testing.assert_allclose(at_peak, [PEAK + (END - PEAK) * WARMUP / STEPS, PEAK], rtol=1e-6)


def test_without_warmup_the_peak_is_first() -> None:
    for kind in ("linear", "polynomial", "wsd", "constant"):
        first = float(make_schedule(schedule(kind=kind, warmup_steps=0, decay_steps=10), STEPS)(0))
        np.testing.assert_allclose(first, PEAK, rtol=1e-6)


def run(second: ScheduleConfig | None) -> RunConfig:
    """60 steps of one length, 40 of another."""
    first = schedule(kind="linear", decay_from="zero", end=0.0)
    phases = (
        PhaseConfig(name="short", length=16, steps=60, schedule=first),
        PhaseConfig(name="long", length=32, steps=40, schedule=second, moments="keep" if second is None else "reset"),
    )
    return RunConfig(name="test", phases=phases, data=DataConfig(source="none"))


def test_a_phase_without_a_schedule_goes_on_under_the_one_before() -> None:
    """BERT's own two lengths: one decay over both."""
    config = run(None)
    for phase, step in ((0, 59), (1, 60), (1, 99)):
        np.testing.assert_allclose(float(phase_learning_rate(config, phase)(step)), PEAK * (1 - step / 100), rtol=1e-5)


def test_a_phase_with_a_schedule_begins_it_at_its_first_step() -> None:
    """Each length has a separate decay and warm-up, as NVIDIA and the LAMB paper have it."""
    config = run(schedule(kind="linear", peak=1.0, end=0.0, warmup_steps=10, decay_from="warmup"))
    rates = [float(phase_learning_rate(config, 0)(step)) for step in (30, 59)]
    np.testing.assert_allclose(rates, [PEAK * 0.5, PEAK / 60], rtol=1e-5)
    rates = [float(phase_learning_rate(config, 1)(step)) for step in (60, 65, 70, 85, 99)]
    np.testing.assert_allclose(rates, [0.0, 0.5, 1.0, 0.5, 1 / 30], rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "wsd"}, "0 steps does not fit between the warm-up of 20 and the end at 60"),
        ({"kind": "wsd", "decay_steps": 50}, "decay_steps between 1 and 40"),
        ({"decay_steps": 5}, "phases.0.schedule.kind=wsd"),
        ({"power": 0.5}, "schedule.kind=polynomial or phases.0.schedule.kind=wsd"),
        ({"kind": "polynomial", "power": 0.0}, "above 0"),
        ({"kind": "inverse_sqrt", "warmup_steps": 0}, "warmup_steps=6"),
        ({"first_step": 2}, "Set it to 0 or 1"),
        ({"warmup_steps": 60}, "60 steps is not shorter than the schedule of 60 steps"),
        ({"end": -1.0}, "end is -1.0"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(changes: dict, says: str) -> None:
    phase = PhaseConfig(name="short", length=16, steps=60, schedule=schedule(**{"end": 0.0, **changes}))
    with pytest.raises(InputError) as error:
        check(RunConfig(name="test", phases=(phase,), data=DataConfig(source="none")))
    code = (
        "E-CONFIG-RANGE" if {"end", "first_step"} & set(changes) or changes.get("power") == 0 else "E-CONFIG-SCHEDULE"
    )
    assert says in str(error.value) and error.value.code == code, str(error.value)
