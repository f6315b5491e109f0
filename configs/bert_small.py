"""BERT-small (4 layers x 512: google-research/bert README, "Smaller BERT Models"), for one GPU or a small TPU slice.

    jaxbert pretrain bert_small --workdir DIR --data ROWS_128

It has one phase of 125,000 steps of 256 rows of 128 tokens: 4.1B tokens. The original trained its small shapes by the
recipe of bert_base. We chose the shorter run and the higher rate.
"""

import dataclasses

from jaxbert.configs import bert_base

from jaxbert.config import EvaluationConfig, RunConfig, ScheduleConfig
from jaxbert.models.families.bert import PRESETS


def get_config() -> RunConfig:
    base = bert_base.get_config()
    schedule = ScheduleConfig(kind="linear", peak=5e-4, warmup_steps=5000, decay_from="zero")
    return dataclasses.replace(
        base,
        name="bert_small",
        encoder=PRESETS["small"],
        phases=(dataclasses.replace(base.phases[0], steps=125_000, schedule=schedule),),
        evaluation=EvaluationConfig(every_steps=5000, batch_size=256, batches=32),
    )
