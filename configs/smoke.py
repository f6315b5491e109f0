"""A smoke test from sample text to checkpoint in half a minute: 30 steps of a model of toy size.

    jaxbert pretrain smoke --workdir runs/smoke

The model learns nothing. `make same-losses` compares its losses at two commits.
"""

import dataclasses

from jaxbert.configs import quickstart

from jaxbert.config import CheckpointConfig, EvaluationConfig, LoggingConfig, RunConfig, ScheduleConfig


def get_config() -> RunConfig:
    base = quickstart.get_config()
    encoder = dataclasses.replace(
        base.encoder, vocab_size=1024, hidden_size=32, intermediate_size=64, dropout=0.1, attention_dropout=0.1
    )
    schedule = ScheduleConfig(kind="linear", peak=1e-3, warmup_steps=5)
    return dataclasses.replace(
        base,
        name="smoke",
        encoder=encoder,
        phases=(dataclasses.replace(base.phases[0], batch_size=16, accumulation=2, steps=30, schedule=schedule),),
        checkpoint=CheckpointConfig(every_steps=10),
        evaluation=EvaluationConfig(every_steps=15, batch_size=16, batches=4),
        logging=LoggingConfig(every_steps=5),
    )
