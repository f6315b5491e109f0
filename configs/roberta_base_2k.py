"""RoBERTa-base on books + Wikipedia only: 2,048 rows of 512 tokens, 125,000 steps (Liu et al. 2019, table 3).

    jaxbert pretrain roberta_base_2k --workdir DIR --data ROWS_512

This is the best line of the paper's table of batch sizes: peak 7e-4, and a perplexity of 3.68 on held-out text. With
256 rows and a million steps, which are as many tokens, it is 3.99. The warm-up of 10,000 steps is from fairseq's
README.pretraining. Everything else is as in roberta_base.
"""

import dataclasses

from jaxbert.configs import roberta_base

from jaxbert.config import RunConfig, ScheduleConfig


def get_config() -> RunConfig:
    base = roberta_base.get_config()
    schedule = ScheduleConfig(kind="linear", peak=7e-4, warmup_steps=10_000, decay_from="warmup")
    phase = dataclasses.replace(base.phases[0], batch_size=2048, steps=125_000, schedule=schedule)
    return dataclasses.replace(base, name="roberta_base_2k", phases=(phase,))
