"""The config of a task of GLUE, with the settings that were published for it."""

from __future__ import annotations

from typing import Literal

from jaxbert.config import (
    CheckpointConfig,
    EvaluationConfig,
    LabelledConfig,
    LoggingConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
)
from jaxbert.tasks.sequences import ClassificationConfig


def glue_config(
    task: str,
    *,
    rate: float,
    batch_size: int,
    warmup: float = 0.06,
    metric: str = "accuracy",
    problem: Literal["one_label", "number"] = "one_label",
) -> RunConfig:
    """Returns the config of a task of GLUE with RoBERTa's settings.

    Source: facebookresearch/fairseq, examples/roberta/README.glue.md: rate, batch and warm-up by task; for all tasks
    10 epochs, rows of 512 tokens, Adam with beta2 0.98, epsilon 1e-6 and decay 0.1 of all parameters, dropout 0.1, no
    clipping, and a rate that falls linearly to 0.

    Args:
      task: a key of `jaxbert.labelled.glue.TASKS`.
      rate: the peak.
      batch_size: rows of a batch.
      warmup: share of the steps in which the rate rises.
      metric: the metric that chooses the checkpoint.
      problem: `one_label` or `number`.
    """
    return RunConfig(
        name=f"glue_{task}",
        inherit="encoder",
        task=ClassificationConfig(
            data=LabelledConfig(form=f"glue:{task}"),
            problem=problem,
            metric=metric,
            epochs=10.0,
            warmup=warmup,
        ),
        optimizer=OptimizerConfig(name="fairseq_adamw", beta2=0.98, epsilon=1e-6, weight_decay=0.1, clip_norm=0.0),
        phases=(
            PhaseConfig(
                length=512,
                batch_size=batch_size,
                steps=1000,
                lengths=(32, 64, 128, 256),
                grouped=64,
                schedule=ScheduleConfig(kind="linear", peak=rate, warmup_steps=60, decay_from="warmup"),
            ),
        ),
        checkpoint=CheckpointConfig(every_steps=1000),
        evaluation=EvaluationConfig(every_steps=500, batch_size=64),
        logging=LoggingConfig(every_steps=50),
    )
