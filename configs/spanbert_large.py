"""SpanBERT-large in its own recipe (Joshi et al. 2020, section 4.2).

    jaxbert pretrain spanbert_large --workdir DIR --data ROWS_512

Hardware: 32 V100, 15 days in the paper. Expected: SQuAD 1.1 test F1 94.6, exact match 88.8. Data, sources and
departures are those of spanbert_base.
"""

import dataclasses

from jaxbert.configs import spanbert_base

from jaxbert.config import RunConfig
from jaxbert.models.families.spanbert import PRESETS


def get_config() -> RunConfig:
    encoder = dataclasses.replace(PRESETS["large"], remat="dots")
    return dataclasses.replace(spanbert_base.get_config(), name="spanbert_large", encoder=encoder)
