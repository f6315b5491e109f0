"""ALBERT-xxlarge (version 1): 12 layers x 4096, 235M parameters, no dropout.

    jaxbert pretrain albert_xxlarge --workdir DIR --data ROWS_512

Expected after 125,000 steps on books + Wikipedia: SQuAD 1.1 dev F1 94.1, MNLI 88.0 (Lan et al. 2020, table 2). Recipe,
sources and departures are those of albert_base.
"""

import dataclasses

from jaxbert.configs import albert_base

from jaxbert.config import RunConfig
from jaxbert.models.families.albert import PRESETS


def get_config() -> RunConfig:
    encoder = dataclasses.replace(PRESETS["xxlarge"], remat="dots")
    return dataclasses.replace(albert_base.get_config(), name="albert_xxlarge", encoder=encoder)
