"""ALBERT-large (version 1): 24 layers x 1024, 18M parameters.

    jaxbert pretrain albert_large --workdir DIR --data ROWS_512

Expected after 125,000 steps on books + Wikipedia: SQuAD 1.1 dev F1 90.6 (Lan et al. 2020, table 2). Recipe,
sources and departures are those of albert_base.
"""

import dataclasses

from jaxbert.configs import albert_base

from jaxbert.config import RunConfig
from jaxbert.models.families.albert import PRESETS


def get_config() -> RunConfig:
    encoder = PRESETS["large"]
    return dataclasses.replace(albert_base.get_config(), name="albert_large", encoder=encoder)
