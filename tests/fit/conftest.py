"""The config of a run over `tests.fit.manifests`."""

from __future__ import annotations

import pytest

from jaxbert.config import DataConfig, EvaluationConfig, PhaseConfig, RunConfig, ScheduleConfig


@pytest.fixture
def config() -> RunConfig:
    return RunConfig(
        name="test",
        phases=(
            PhaseConfig(
                name="main",
                length=100,
                batch_size=10,
                steps=1000,
                schedule=ScheduleConfig(peak=1e-3, warmup_steps=100),
            ),
        ),
        data=DataConfig(source="text:mine.txt"),
        evaluation=EvaluationConfig(every_steps=250, batch_size=10),
    )
