"""RoBERTa-large in its own large-batch recipe (Liu et al. 2019, table 9): peak 4e-4, warm-up 30,000.

    jaxbert pretrain roberta_large --workdir DIR --data ROWS_512

Hardware: 1,024 V100, five days in the paper. Expected: MNLI-m 90.2, SQuAD 1.1 dev F1 94.6. Data, sources and
departures are those of roberta_base.
"""

import dataclasses

from jaxbert.configs import roberta_base

from jaxbert.config import RunConfig, ScheduleConfig
from jaxbert.models.families.roberta import PRESETS


def get_config() -> RunConfig:
    base = roberta_base.get_config()
    schedule = ScheduleConfig(kind="linear", peak=4e-4, warmup_steps=30_000, decay_from="warmup")
    return dataclasses.replace(
        base,
        name="roberta_large",
        encoder=dataclasses.replace(PRESETS["large"], remat="dots"),
        phases=(dataclasses.replace(base.phases[0], schedule=schedule),),
    )
