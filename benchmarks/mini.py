"""bert_mini with the recipe of a small corpus: the pretraining that benchmarks/gains.py judges, half an hour on a CPU.

    jaxbert pretrain benchmarks/mini.py --text FOLDER --workdir RUN --no-finish

The sizes are bert_mini's (4 layers x 256). The recipe is the quickstart's, with the rate, the batch, the warm-up and
the initial weights that `jaxbert pretrain auto` takes for this shape. The run keeps all its checkpoints.
"""

import dataclasses

from jaxbert.configs import quickstart

from jaxbert.config import (
    CheckpointConfig,
    EvaluationConfig,
    LoggingConfig,
    ObjectivesConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
)
from jaxbert.models.families.bert import PRESETS


def get_config() -> RunConfig:
    base = quickstart.get_config()
    encoder = dataclasses.replace(
        PRESETS["mini"],
        vocab_size=8192,
        max_positions=128,
        dropout=0.0,
        attention_dropout=0.0,
        initializer_range=0.04,
        position_init="sinusoidal",
    )
    schedule = ScheduleConfig(kind="linear", peak=1e-3, warmup_steps=400, decay_from="warmup")
    return dataclasses.replace(
        base,
        name="mini",
        encoder=encoder,
        objectives=ObjectivesConfig(masked_lm=base.objectives.masked_lm, next_sentence=None),
        phases=(
            PhaseConfig(name="short", length=32, batch_size=64, steps=1500, schedule=schedule),
            PhaseConfig(name="long", length=64, batch_size=32, steps=1500, schedule=None),
        ),
        data=dataclasses.replace(base.data, source=""),
        checkpoint=CheckpointConfig(every_steps=300, keep=50),
        evaluation=EvaluationConfig(every_steps=300, batch_size=64, batches=20),
        logging=LoggingConfig(every_steps=100),
    )
