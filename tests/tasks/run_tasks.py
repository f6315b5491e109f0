"""Trains each toy task on 8 devices: once in one go, once stopped by a signal and continued; evaluates and reports.

    python run_tasks.py ROWS OUT

Leaves OUT/TASK/whole and OUT/TASK/resumed, and prints as JSON what the test checks. Run by test_tasks.py.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import jax

sys.path.append(str(Path(__file__).parents[2]))

from jaxbert.config import (
    CheckpointConfig,
    EncoderConfig,
    EvaluationConfig,
    LoggingConfig,
    MeshConfig,
    ObjectivesConfig,
    PhaseConfig,
    RowsSource,
    RunConfig,
    ScheduleConfig,
)
from jaxbert.config.overrides import apply_overrides
from jaxbert.errors import Interrupted
from jaxbert.evaluate.evaluation import evaluate, lines
from jaxbert.report.page import write_report
from jaxbert.run import pretrain as command
from jaxbert.run.loop import Loop
from jaxbert.run.pretrain import pretrain
from jaxbert.tasks import TASKS
from jaxbert.training.step import build
from tests.tasks import replaced_tokens, token_targets, two_encoders

TOYS = {module.__name__.rpartition(".")[2]: module.KIND for module in (token_targets, replaced_tokens, two_encoders)}
STEPS, STOPPED = 6, 3


def config_of(task: str, rows: str) -> RunConfig:
    config = RunConfig(
        name=task,
        encoder=EncoderConfig(
            vocab_size=120, vocab_multiple=256, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32,
            max_positions=32,
        ),
        objectives=ObjectivesConfig(masked_lm=None, next_sentence=None),
        phases=(
            PhaseConfig(
                rows=(RowsSource(path=rows),), length=32, batch_size=16, accumulation=2, steps=STEPS,
                schedule=ScheduleConfig(peak=1e-2, warmup_steps=1),
            ),
        ),
        mesh=MeshConfig(fsdp=2, tensor=2),
        checkpoint=CheckpointConfig(every_steps=100),
        evaluation=EvaluationConfig(every_steps=2, batch_size=16),
        logging=LoggingConfig(every_steps=1, tensorboard=False),
    )  # fmt: skip
    settings = {"token_targets": ["task.name=token_targets", "task.period=5"]}
    return apply_overrides(config, settings.get(task, [f"task.name={task}"]))


def stopped(config: RunConfig, workdir: Path) -> int:
    """Trains until SIGTERM comes after step STOPPED; returns the exit code."""
    after_step = Loop._after_step

    def and_then_a_signal(self: Loop, *args: Any, **named: Any) -> None:
        after_step(self, *args, **named)
        if self.step == STOPPED:
            os.kill(os.getpid(), signal.SIGTERM)

    Loop._after_step = and_then_a_signal  # type: ignore[method-assign]
    try:
        pretrain(config, workdir)
    except Interrupted as error:
        return error.exit_code
    finally:
        Loop._after_step = after_step  # type: ignore[method-assign]
    return 0


def run(task: str, rows: str, out: Path) -> dict[str, Any]:
    config = config_of(task, rows)
    trained = pretrain(config, out / "whole")
    code = stopped(config, out / "resumed")
    at = len((out / "resumed/metrics.jsonl").read_text().splitlines())
    pretrain(config, out / "resumed")
    judged = evaluate(str(out / "whole"))
    (page, _) = write_report([out / "whole"])
    return {
        "devices": jax.device_count(),
        "summary": {name: value for name, value in trained.items() if name.startswith("validation_")},
        "exit code": code,
        "lines when stopped": at,
        "evaluated": {name: value for name, value in judged.items() if name != "evaluated"},
        "said": lines(judged),
        "page": str(page),
        "saved task": json.loads((out / "whole/config.json").read_text())["task"],
    }


if __name__ == "__main__":
    TASKS.update(TOYS)
    # The three runs of a task have the same config, so one program serves them, and it is traced once.
    command.build = functools.lru_cache(maxsize=1)(build)
    print(json.dumps({task: run(task, sys.argv[1], Path(sys.argv[2]) / task) for task in TOYS}))
