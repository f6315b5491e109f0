"""ALBERT-xlarge (version 1): 24 layers x 2048, 60M parameters.

    jaxbert pretrain albert_xlarge --workdir DIR --data ROWS_512

Expected after 125,000 steps on books + Wikipedia: SQuAD 1.1 dev F1 92.5, exact match 86.1 (Lan et al. 2020, table 2).
Recipe, sources and departures are those of albert_base.
"""

import dataclasses

from jaxbert.configs import albert_base

from jaxbert.config import RunConfig
from jaxbert.models.families.albert import PRESETS


def get_config() -> RunConfig:
    encoder = dataclasses.replace(PRESETS["xlarge"], remat="dots")
    return dataclasses.replace(albert_base.get_config(), name="albert_xlarge", encoder=encoder)
