"""BERT-mini (4 layers x 256: google-research/bert README, "Smaller BERT Models"), for a GPU, or for hours on a CPU.

    jaxbert pretrain bert_mini --workdir DIR --data ROWS_128

It has one phase of 60,000 steps of 256 rows of 128 tokens: 2.0B tokens. The recipe is bert_small's with a higher rate,
which we chose.
"""

import dataclasses

from jaxbert.configs import bert_small

from jaxbert.config import RunConfig, ScheduleConfig
from jaxbert.models.families.bert import PRESETS


def get_config() -> RunConfig:
    small = bert_small.get_config()
    schedule = ScheduleConfig(kind="linear", peak=1e-3, warmup_steps=3000, decay_from="zero")
    return dataclasses.replace(
        small,
        name="bert_mini",
        encoder=PRESETS["mini"],
        phases=(dataclasses.replace(small.phases[0], steps=60_000, schedule=schedule),),
    )
