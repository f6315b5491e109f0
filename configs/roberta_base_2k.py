"""RoBERTa-base on books + Wikipedia alone: 2,048 rows of 512 tokens, 125,000 steps (Liu et al. 2019, table 3).

    jaxbert pretrain roberta_base_2k --workdir DIR --data ROWS_512

The best line of the paper's table of batch sizes (perplexity 3.68 on held-out text; 3.99 with 256 rows and a million
steps, as many tokens): peak 7e-4. Warm-up 10,000 as in fairseq's README.pretraining. The rest as in roberta_base.
"""

import dataclasses

from jaxbert.configs import roberta_base

from jaxbert.config import RunConfig, ScheduleConfig


def get_config() -> RunConfig:
    base = roberta_base.get_config()
    schedule = ScheduleConfig(kind="linear", peak=7e-4, warmup_steps=10_000, decay_from="warmup")
    phase = dataclasses.replace(base.phases[0], batch_size=2048, steps=125_000, schedule=schedule)
    return dataclasses.replace(base, name="roberta_base_2k", phases=(phase,))
